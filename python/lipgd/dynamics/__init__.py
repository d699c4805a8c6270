"""What moves the Lipschitz constant of a network under mini-batch gradient descent: dynamics.md."""

from __future__ import annotations

from lipgd.dynamics._triplets import Triplets

__all__ = ["Triplets"]
