"""The certificate of a network, as numbers: weights and intervals of slopes in, a bound out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd import _core

from ._fixed import Merged, merge_fixed

__all__ = ["Certificate", "certify", "default_max_sweeps", "default_tolerance"]

Doubles = npt.NDArray[np.float64]

default_tolerance = 1e-4
default_max_sweeps = 3000
#: More than that of the value is not given away to have a shorter network.
_LARGEST_EXTRA = 1e-8


@dataclass(frozen=True)
class Certificate:
    """An upper bound of the formal constant of a network, and what proves it.

    Attributes
    ----------
    value : float
        The bound; nan only together with a reason.
    multipliers : list of ndarray
        A number ``t = 1 / N`` per neuron of each hidden layer, to be multiplied by two to the power
        of its entry in ``exponents``: with them and ``rho = value**2`` the block-tridiagonal matrix
        of certificates.md, section 9, is positive semidefinite, but for rounding in the last
        digits. For one hidden layer it is ``theta / (value * h)``, and infinite for ``h = 0``. Zero
        marks neurons that never act. It is infinite too in layers all of whose slopes are known.
        Empty if nothing was proved, or for a linear network.
    exponents : list of ndarray of int
        Powers of two, which leave room for any scale of the weights.
    primal : float
        A lower bound of the optimum of LipSDP-Neuron, but for rounding: what more sweeps could gain
        is at most ``value - primal``.
    sweeps : int
        Forward and backward passes.
    rigorous : bool
        Whether the value covers every rounding error.
    reason : str or None
        Why there is no value.
    seconds : float
        The time it took.
    """

    value: float
    multipliers: list[Doubles]
    exponents: list[npt.NDArray[np.int64]]
    primal: float
    sweeps: int
    rigorous: bool
    reason: str | None
    seconds: float
    #: The point of the iteration, from which the certificate of a similar network may start.
    state: Any = field(default=None, repr=False, compare=False)
    #: Per hidden layer what each neuron loses if its contraction becomes a slope, and rows of ends,
    #: -1 or 1, of the slope intervals that random projections of the point say.
    neurons: Any = field(default=(), repr=False, compare=False)

    @property
    def gap(self) -> float:
        """The largest part of the value that better multipliers could take away."""
        return max(0.0, 1.0 - self.primal / self.value) if self.value > 0 else 0.0


def certify(
    weights: Sequence[npt.NDArray[Any]],
    lo: Sequence[npt.ArrayLike],
    hi: Sequence[npt.ArrayLike],
    *,
    tolerance: float = default_tolerance,
    max_sweeps: int = default_max_sweeps,
    start: Certificate | None = None,
    rigorous: bool = True,
    seconds: float | None = None,
    projections: int = 0,
) -> Certificate:
    """Bound ``|W_{H+1} S_H W_H ... S_1 W_1|`` over all slopes ``S`` in the given intervals.

    Parameters
    ----------
    weights : sequence of ndarray, each (n_out, n_in)
        float64 or float32, which is converted exactly.
    lo, hi : sequence of array_like (n_out,) of each hidden layer
        The intervals of slopes of the neurons.
    tolerance : float
        Stop when ``1 - primal / value`` is not larger.
    max_sweeps : int
        Stop after so many sweeps; 0 gives the closed form of section 3 or 4.
    start : Certificate, optional
        Of a network of the same sizes: a warm start.
    rigorous : bool
        Whether to count every rounding error.
    seconds : float, optional
        Stop sweeping after this time.
    projections : int
        How many guesses of the worst slopes to draw.

    Returns
    -------
    Certificate

    References
    ----------
    certificates.md, sections 3 to 5 and 9

    Examples
    --------
    >>> import numpy as np
    >>> from lipgd.lipschitz._certificate import certify
    >>> weights = [np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0]])]
    >>> round(certify(weights, [np.zeros(2)], [np.ones(2)]).value, 3)
    1.0
    """
    begin = time.perf_counter()
    matrices = [np.ascontiguousarray(matrix, np.float64) for matrix in weights]
    if len(matrices) == 1:
        return _linear(matrices[0], rigorous, begin)
    pairs = zip(lo, hi, strict=True)
    slopes = [_widened(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
    merged = merge_fixed(matrices, slopes)
    if merged is not None:
        left = [slopes[layer] for layer in merged.kept]
        found = certify(
            merged.weights,
            [low for low, _ in left],
            [high for _, high in left],
            tolerance=tolerance,
            max_sweeps=max_sweeps,
            start=start,
            rigorous=rigorous,
            seconds=seconds,
            projections=projections,
        )
        extra = merged.perturbation(left)
        if extra <= _LARGEST_EXTRA * found.value:
            widths = [len(matrix) for matrix in matrices[:-1]]
            return _of_all_layers(found, merged, widths, projections, extra, begin)
    value, primal, sweeps, reason, multipliers, state, neurons = _core.certify(
        matrices,
        [np.ascontiguousarray(low) for low, _ in slopes],
        [np.ascontiguousarray(high) for _, high in slopes],
        tolerance,
        max_sweeps,
        rigorous,
        math.inf if seconds is None else seconds,
        None if start is None or start.state is None else start.state,
        projections,
    )
    if value == 0.0 and not multipliers:
        widths = [len(matrix) for matrix in matrices[:-1]]
        multipliers = [(np.zeros(n), np.zeros(n, np.int64)) for n in widths]
    return Certificate(
        value,
        [numbers for numbers, _ in multipliers],
        [exponents for _, exponents in multipliers],
        primal,
        sweeps,
        rigorous and not reason,
        reason or None,
        time.perf_counter() - begin,
        state if state[0] else None,
        neurons,
    )


def _of_all_layers(
    found: Certificate,
    merged: Merged,
    widths: list[int],
    projections: int,
    extra: float,
    begin: float,
) -> Certificate:
    """Return the certificate of a network some of whose layers were merged."""
    multipliers = [np.full(n, np.inf) for n in widths]
    exponents = [np.zeros(n, np.int64) for n in widths]
    neurons = [(np.zeros(n), np.ones((projections, n))) for n in widths]
    for place, layer in enumerate(merged.kept):
        multipliers[layer], exponents[layer] = found.multipliers[place], found.exponents[place]
        if found.neurons:
            neurons[layer] = found.neurons[place]
    return replace(
        found,
        value=math.nextafter(found.value + extra, math.inf) if extra else found.value,
        multipliers=multipliers,
        exponents=exponents,
        neurons=neurons if found.neurons else (),
        seconds=time.perf_counter() - begin,
    )


def _widened(low: Doubles, high: Doubles) -> tuple[Doubles, Doubles]:
    """Return intervals that are either points or no shorter than rounding allows a proof.

    Those of a small region are: multipliers in proportion to their inverse would lose all digits.
    """
    least = 2e-6 * np.maximum(np.abs(low), np.abs(high)).max(initial=0.0)
    short = (high > low) & (high - low < least)
    if not short.any():
        return low, high
    pad = 0.5 * (least - (high - low))
    return np.where(short, low - pad, low), np.where(short, high + pad, high)


def _linear(matrix: Doubles, rigorous: bool, begin: float) -> Certificate:
    lower, upper, iterations, certified = _core.spectral_norm(
        matrix, 1e-9, _core.default_spectral_iterations
    )
    reason = None
    if not certified:
        finite = bool(np.isfinite(matrix).all())
        reason = (
            "the bound exceeds the largest float64"
            if finite
            else "weights[0] has an entry that is not finite"
        )
    value, primal = (upper, lower) if certified else (math.nan, 0.0)
    seconds = time.perf_counter() - begin
    return Certificate(value, [], [], primal, iterations, rigorous and certified, reason, seconds)
