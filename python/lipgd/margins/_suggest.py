"""Stepsizes that the theorems recommend."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lipgd import losses
from lipgd._arguments import finite_inputs_of, targets_of
from lipgd._check import integer
from lipgd._risk import risk
from lipgd.margins._bounds import trained_norm
from lipgd.margins._reasons import separable_reasons, smooth_reasons
from lipgd.margins._separation import separating_direction
from lipgd.network import Network
from lipgd.theory import large_stepsize
from lipgd.types import ArrayLike

__all__ = ["Stepsizes", "suggest_stepsize"]


class Stepsizes(tuple[float | None, float]):
    """The pair ``(fast, monotone)`` of :func:`suggest_stepsize`, and what is known of it.

    Attributes
    ----------
    fast : float or None
        eta of Theorem 7; None where it does not apply.
    monotone : float
        The largest eta with which the risk is proved never to rise, from the start on.
    reason : str or None
        The code of :data:`REASONS` that keeps Theorem 7 from giving its bound.
    risk_bound : float or None
        The bound of the risk after the steps with ``fast``, if ``reason`` is None.
    """

    reason: str | None
    risk_bound: float | None

    def __new__(
        cls, fast: float | None, monotone: float, reason: str | None, risk_bound: float | None
    ) -> Stepsizes:
        """Return a pair of stepsizes."""
        pair = super().__new__(cls, (fast, monotone))
        pair.reason, pair.risk_bound = reason, risk_bound
        return pair

    @property
    def fast(self) -> float | None:
        """The stepsize of Theorem 7."""
        return self[0]

    @property
    def monotone(self) -> float:
        """The largest stepsize that is proved monotone."""
        return self[1]


def suggest_stepsize(
    net: Network, X: ArrayLike, y: ArrayLike, *, steps: int, frozen: Iterable[str] = ("W2",)
) -> Stepsizes:
    """Return the stepsize of Theorem 7 for so many steps, and the largest provably monotone one.

    With the first, on separable data and with a slope bounded away from 0, the risk after T steps
    is of order ``T^-2``, after a phase in which it oscillates; with the second it never rises.

    Parameters
    ----------
    net : Network
        Where training starts: two layers, the outer one frozen, or one layer.
    X : array_like, shape (n_samples, n_inputs)
        Samples.
    y : array_like, shape (n_samples,)
        Labels, -1 or +1.
    steps : int
        T, at least 1. Theorem 7 is about an even number: an odd one is taken for one less.
    frozen : iterable of str
        The parameters that are not trained.

    Returns
    -------
    Stepsizes
        The pair ``(fast, monotone)`` with a reason and a bound of the risk. With the reason
        ``"too few steps"`` the stepsize is given, but nothing is promised of it.

    Raises
    ------
    ValueError
        If the network has no constants: see :func:`lipgd.theory.large_stepsize.unsuited`.

    References
    ----------
    large-stepsize.md, sections 3 and 5, Theorems 1, 2 and 7.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> X, y = np.array([[1.0, 0.2], [-0.4, 1.0]]), np.array([1.0, -1.0])
    >>> signs = np.array([[1.0, -1.0, 1.0, -1.0]])
    >>> net = lipgd.Network(
    ...     [np.zeros((4, 2)), signs], activation="leaky(softplus, 0.5)", output_scale=0.25
    ... )
    >>> fast, monotone = lipgd.margins.suggest_stepsize(net, X, y, steps=100_000)
    >>> fast > 50 * monotone
    True
    """
    taken = integer("steps", steps, at_least=1)
    names = (frozen,) if isinstance(frozen, str) else tuple(frozen)
    found = large_stepsize.constants(net, X, names)
    samples = finite_inputs_of("X", X, net.n_inputs, net.dtype)
    logistic = losses.get("logistic")
    labels, _ = targets_of("y", y, logistic, len(samples), 1, net.dtype)
    start = risk(net, samples, y, logistic)
    level = math.log(start) if start > 0.0 else -math.inf
    monotone = max(
        large_stepsize.monotone_stepsize(found, level),
        large_stepsize.spectral_stepsize(found, level),
    )
    faults = (*smooth_reasons(found), *separable_reasons(net, found))
    if faults:
        return Stepsizes(None, monotone, faults[0], None)
    direction = separating_direction(net, samples, labels, names)
    if isinstance(direction, str):
        return Stepsizes(None, monotone, direction, None)
    rate = large_stepsize.separation_rate(found, direction[1])
    even = max(taken - taken % 2, 1)
    fast = large_stepsize.fast_stepsize(found, rate, even)
    if large_stepsize.fast_stepsize_fault(found, rate, even, trained_norm(net, names)):
        return Stepsizes(fast, monotone, "too few steps", None)
    return Stepsizes(fast, monotone, None, large_stepsize.fast_risk_bound(found, rate, even))
