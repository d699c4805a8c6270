"""Upper bounds of Lipschitz constants, from cheap to exact."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd import _core
from lipgd._check import choice, flag, integer, number
from lipgd.lipschitz._branch_and_bound import branch_and_bound
from lipgd.lipschitz._certificate import (
    Certificate,
    certify,
    default_max_sweeps,
    default_tolerance,
)
from lipgd.lipschitz._estimate import Estimate
from lipgd.lipschitz._question import Question, above, question
from lipgd.lipschitz._relu_cells import largest_slope_on_line, largest_slope_on_plane
from lipgd.lipschitz._split import split_bound
from lipgd.lipschitz._zonotope import longest_sum, zonotope_of
from lipgd.lipschitz.domains import input_norm
from lipgd.network import Network

__all__ = ["METHODS", "upper"]

METHODS = (
    "auto",
    "sdp",
    "product",
    "closed_form",
    "balanced",
    "exact",
    "branch_and_bound",
    "split",
)


def upper(
    net: Any,
    method: str = "auto",
    domain: Any = None,
    rigorous: bool = True,
    *,
    norm: float = 2,
    tolerance: float = default_tolerance,
    max_sweeps: int = default_max_sweeps,
    seconds: float | None = None,
) -> Estimate:
    """Bound the Lipschitz constant of a network from above.

    Parameters
    ----------
    net : object
        A network of any depth, or whatever else :func:`lipgd.lipschitz.read` takes or returns.
    method : str
        From cheap to tight:

        - ``"product"``: of spectral norms and largest slopes;
        - ``"closed_form"``: multipliers without optimization;
        - ``"balanced"``: two scaled spectral norms, for two weight matrices;
        - ``"sdp"`` (the same as ``"auto"``): the optimum of LipSDP-Neuron up to the tolerance;
        - ``"branch_and_bound"``: the largest norm over all slopes of the activation (the formal
          constant), as a bracket that narrows until the time is over;
        - ``"exact"``: the constant itself for ReLU networks with one hidden layer and at most two
          inputs; the formal constant by enumeration with one output and up to four inputs, or one
          input and up to four outputs; else ``"branch_and_bound"``;
        - ``"split"``: the certificates of ever smaller parts of a bounded domain, until the time
          is over.
    domain : Ball or Box, optional
        Where the bound is to hold; by default everywhere.
    rigorous : bool
        Whether to count every rounding error.
    norm : 2 or inf
        The norm of the inputs; outputs have the Euclidean one. With one output and ``inf`` it is
        the largest sum of the sizes of the derivatives. Another norm is refused.
    tolerance : float
        When to stop: the relative gap to the optimum that remains at most.
    max_sweeps : int
        Of the optimization.
    seconds : float, optional
        A time limit for the optimization; 10 by default for ``"branch_and_bound"`` and
        ``"split"``.

    Returns
    -------
    Estimate
        With ``value`` nan and a reason if nothing could be proved.

    Raises
    ------
    ValueError, TypeError
        If an argument is not accepted.

    References
    ----------
    certificates.md, sections 2 to 5 and 7 to 10

    Examples
    --------
    >>> import lipgd
    >>> net = lipgd.Network.create([4, 50, 2], activation="silu", seed=0)
    >>> tight, loose = lipgd.lipschitz.upper(net), lipgd.lipschitz.upper(net, "product")
    >>> tight.value < loose.value
    True
    """
    begin = time.perf_counter()
    method = choice("method", method, METHODS)
    flag("rigorous", rigorous)
    limits = _Limits(
        number("tolerance", tolerance, above=0.0, at_most=1.0),
        integer("max_sweeps", max_sweeps, at_least=1),
        None if seconds is None else number("seconds", seconds, above=0.0),
        bool(rigorous),
    )
    asked = question(net, domain, input_norm(norm))
    name = "sdp" if method == "auto" else method
    found = _BOUNDS[name](asked, limits)
    return _estimate(found, asked, name, limits, begin)


class _Limits:
    """How far to go."""

    def __init__(
        self, tolerance: float, max_sweeps: int, seconds: float | None, rigorous: bool
    ) -> None:
        self.tolerance = tolerance
        self.max_sweeps = max_sweeps
        self.seconds = seconds
        self.rigorous = rigorous


class _Found:
    """A bound of the matrices, before the output scale, and what is known of it."""

    def __init__(
        self,
        value: float,
        method: str | None = None,
        multipliers: list[npt.NDArray[np.float64]] | None = None,
        lower: float | None = None,
        reason: str | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self.value = value
        self.method = method
        self.multipliers = multipliers
        self.lower = lower
        self.reason = reason
        self.certificate = certificate


def _estimate(
    found: _Found, asked: Question, method: str, limits: _Limits, begin: float
) -> Estimate:
    value = asked.answer(found.value) if math.isfinite(found.value) else math.nan
    reason = found.reason
    if not math.isfinite(value):
        value = math.nan
        reason = reason or "the bound exceeds the largest float64"
    bracket = None
    if found.lower is not None and value == value:
        bracket = (min(found.lower * asked.scale, value), value)
    return Estimate(
        value,
        "upper",
        "local" if asked.local else "global",
        found.method or method,
        limits.rigorous and value == value,
        None,
        found.multipliers,
        bracket,
        time.perf_counter() - begin,
        reason,
        found.certificate,
    )


def _product(asked: Question, limits: _Limits) -> _Found:
    if not all(np.isfinite(matrix).all() for matrix in asked.weights):
        layer = next(i for i, m in enumerate(asked.weights) if not np.isfinite(m).all())
        return _Found(math.nan, reason=f"weights[{layer}] has an entry that is not finite")
    return _Found(asked.product())


def _certified(asked: Question, limits: _Limits, max_sweeps: int) -> _Found:
    """Return the certificate, or the product of norms should that be smaller."""
    found = certify(
        asked.weights,
        asked.lo,
        asked.hi,
        tolerance=limits.tolerance,
        max_sweeps=max_sweeps,
        rigorous=limits.rigorous,
        seconds=limits.seconds,
    )
    unfinished = max_sweeps == 0 or not found.gap <= limits.tolerance
    if found.reason and "not finite" in found.reason:
        return _Found(math.nan, reason=found.reason)
    product = asked.product() if unfinished or found.reason else math.inf
    if math.isnan(found.value) or product < found.value:
        reason = found.reason or "the product of spectral norms was smaller"
        return _Found(product, method="product", reason=reason)
    with np.errstate(over="ignore"):  # what proves has the exponents apart
        multipliers = [
            np.ldexp(numbers, exponents)
            for numbers, exponents in zip(found.multipliers, found.exponents, strict=True)
        ]
    return _Found(found.value, None, multipliers, found.primal if max_sweeps else None, None, found)


def _sdp(asked: Question, limits: _Limits) -> _Found:
    return _certified(asked, limits, limits.max_sweeps)


def _closed_form(asked: Question, limits: _Limits) -> _Found:
    return _certified(asked, limits, 0)


def _balanced(asked: Question, limits: _Limits) -> _Found:
    if len(asked.weights) != 2:
        raise ValueError(
            f"method is 'balanced', but the network has {len(asked.weights)} weight matrices, "
            "expected two"
        )
    net = Network(asked.weights)
    slopes = (asked.steepest()[0], float(asked.lo[0].min()), float(asked.hi[0].max()))
    return _Found(_core.certificate(net._call, net._flat, 1, slopes))


def _branch_and_bound(asked: Question, limits: _Limits) -> _Found:
    if len(asked.weights) == 1:
        return _sdp(asked, limits)
    found = branch_and_bound(
        asked.weights,
        asked.lo,
        asked.hi,
        tolerance=limits.tolerance,
        seconds=10.0 if limits.seconds is None else limits.seconds,
        rigorous=limits.rigorous,
    )
    return _Found(found.upper, None, None, found.lower, found.reason)


def _split(asked: Question, limits: _Limits) -> _Found:
    upper_bound, attained = split_bound(
        asked,
        tolerance=limits.tolerance,
        seconds=10.0 if limits.seconds is None else limits.seconds,
        rigorous=limits.rigorous,
    )
    if not math.isfinite(upper_bound):
        return _Found(math.nan, reason="the bound exceeds the largest float64")
    return _Found(upper_bound, None, None, attained)


def _exact(asked: Question, limits: _Limits) -> _Found:
    """Return what section 7 of certificates.md enumerates, else the result of a search."""
    two_layers = len(asked.weights) == 2
    relu = all(activation.name == "relu" for activation in asked.activations)
    exact_weights = not any(asked.errors) and asked.input_scales is None
    if two_layers and relu and not asked.local and exact_weights:
        inputs, width = asked.weights[0].shape[1], asked.weights[0].shape[0]
        if inputs == 1 and _moderate(asked):
            return _Found(largest_slope_on_line(asked), "exact")
        if inputs == 2 and width <= 3000 and _moderate(asked):
            return _Found(largest_slope_on_plane(asked), "exact")
    columns = zonotope_of(asked) if _moderate(asked) else None
    if columns is not None:
        longest = longest_sum(columns[0])
        if longest is not None:
            return _Found(above(longest + columns[1]), "exact formal")
    found = _branch_and_bound(asked, limits)
    found.method = "branch_and_bound" if two_layers or len(asked.weights) > 2 else "exact"
    return found


def _moderate(asked: Question) -> bool:
    """Return whether no product of entries can overflow, or lose digits by underflow."""
    for matrix in (*asked.weights, *asked.biases):
        sizes = np.abs(matrix[matrix != 0])
        if len(sizes) and not (sizes.min() > 1e-70 and sizes.max() < 1e70):
            return False
    return True


_BOUNDS: dict[str, Callable[[Question, _Limits], _Found]] = {
    "product": _product,
    "closed_form": _closed_form,
    "balanced": _balanced,
    "sdp": _sdp,
    "exact": _exact,
    "branch_and_bound": _branch_and_bound,
    "split": _split,
}
