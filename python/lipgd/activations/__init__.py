"""Activation functions with the constants that bounds use.

An :class:`Activation` is found by its name with :func:`get`. Its constants are exact, or rounded
outward: they hold as bounds in floating point. See rate-constraints.md, section 1.1, and
large-stepsize.md, section 1.1.
"""

from __future__ import annotations

from lipgd.activations._activation import Activation, get, leaky, names

__all__ = ["Activation", "get", "leaky", "names"]
