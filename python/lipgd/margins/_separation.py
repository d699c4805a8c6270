"""A direction that separates the data, as Theorems 5 to 7 want it."""

from __future__ import annotations

from typing import Any

from lipgd.margins._separability import separability
from lipgd.network import Network
from lipgd.types import DoubleArray

__all__ = ["separating_direction"]


def separating_direction(
    net: Network, X: Any, y: Any, frozen: tuple[str, ...]
) -> tuple[DoubleArray, float] | str:
    """Return a unit direction and the margin it has for certain, or the code of a reason.

    If hidden biases are trained, the inputs have a constant 1 behind them.
    """
    biased = net.biases[0] is not None and "b1" not in frozen
    try:
        found = separability(X, y, bias=biased)
    except ImportError:
        return "separability unknown"
    if found.direction is None:
        return "not separable"
    return found.direction, found.margin
