"""What Theorems 4 to 7 say of a training: its transition time and bounds of its risk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd.margins._reasons import separable_reasons, smooth_reasons
from lipgd.margins._separation import separating_direction
from lipgd.network import Network
from lipgd.run import Run
from lipgd.theory import large_stepsize
from lipgd.theory.large_stepsize import Constants
from lipgd.types import DoubleArray

__all__ = ["Prediction", "predictions", "trained_norm"]

#: How near a stepsize is to that of Theorem 7: its digits may have been printed and read.
_SAME_STEPSIZE = 1e-6
#: Bounds that do without a curvature bound, and statements that do not.
_AVERAGES = ("average_risk_theorem5", "average_slope_theorem6")
_SMOOTH = ("transition_time", "risk_before_theorem6", "risk_theorem6", "risk_theorem7")


@dataclass(frozen=True)
class Prediction:
    """What can be said, and the codes of what keeps Theorems 5 to 7 from saying more."""

    transition_time: float | None
    bounds: dict[str, DoubleArray]
    separable_faults: tuple[str, ...]
    smooth_faults: tuple[str, ...]
    fast_fault: str | None

    def reasons(
        self, certain: bool, late: tuple[str, ...], margin: tuple[str, ...]
    ) -> dict[str, tuple[str, ...]]:
        """Return the codes by statement, given those of the certificates."""
        result: dict[str, tuple[str, ...]] = {}
        if self.separable_faults:
            result = dict.fromkeys(_AVERAGES, self.separable_faults)
        faults = (*self.smooth_faults, *self.separable_faults)
        if faults:
            result.update(dict.fromkeys(_SMOOTH, faults))
        elif not certain:
            result["risk_theorem6"] = late
        if not faults and self.fast_fault:
            result["risk_theorem7"] = (self.fast_fault,)
        if "risk_theorem4" not in self.bounds:
            result["risk_theorem4"] = margin
        return result


def predictions(
    run: Run,
    X: Any,
    y: Any,
    logs: DoubleArray,
    found: Constants,
    stepsize: float,
    rows: Mapping[str, int | None],
) -> Prediction:
    """Evaluate Theorems 4 to 7 on the rows of a history."""
    net, frozen, steps = run.initial, run.settings.frozen, run.history.step
    bounds: dict[str, DoubleArray] = {}
    if rows["margin"] is not None:
        rates = _modified_margins(run, logs, found)
        bounds["risk_theorem4"] = _after(found, stepsize, logs, steps, rates, rows["margin"])
    faults, rough = separable_reasons(net, found), smooth_reasons(found)
    direction = None if faults else separating_direction(net, X, y, frozen)
    if isinstance(direction, str):
        faults = (direction,)
    if faults or direction is None or isinstance(direction, str):
        return Prediction(None, bounds, faults, rough, None)
    v, margin = direction
    rate = large_stepsize.separation_rate(found, margin)
    norm, alignment = _start(net, v, frozen)
    earlier = np.maximum(steps, 1)
    average = large_stepsize.average_risk_bound(found, rate, stepsize, earlier, norm, alignment)
    slope = large_stepsize.average_slope_bound(found, rate, stepsize, earlier, norm)
    bounds["average_risk_theorem5"] = np.where(steps > 0, average, np.nan)
    bounds["average_slope_theorem6"] = np.where(steps > 0, slope, np.nan)
    if rough:
        return Prediction(None, bounds, (), rough, None)
    before = large_stepsize.log_risk_after(found, rate, stepsize, norm, steps)
    bounds["risk_before_theorem6"] = np.where(np.isinf(before), np.nan, _risk(before))
    starts = [row for row in (rows["certified"], rows["spectral"]) if row is not None]
    if starts:
        rates = np.full(len(logs), rate)
        bounds["risk_theorem6"] = _after(found, stepsize, logs, steps, rates, min(starts))
    fault = _fast(run, found, rate, stepsize, norm)
    if fault is None:
        last = np.full(len(steps), np.nan)
        last[-1] = large_stepsize.fast_risk_bound(found, rate, run.steps)
        bounds["risk_theorem7"] = last
    time = large_stepsize.transition_time(found, rate, stepsize, norm)
    return Prediction(time, bounds, (), (), fault)


def trained_norm(net: Network, frozen: tuple[str, ...]) -> float:
    """Return the length of the trained parameters."""
    parts = [np.ravel(array) for name, array in net.named() if name not in frozen]
    flat = np.concatenate(parts).astype(np.float64)
    largest = float(np.abs(flat).max(initial=0.0))
    return largest * float(np.linalg.norm(flat / largest)) if largest else 0.0


def _start(net: Network, v: DoubleArray, frozen: tuple[str, ...]) -> tuple[float, float]:
    table = dict(net.named())
    unit = large_stepsize.comparator(net, v)
    alignment = sum(float((unit[name] * table[name]).sum()) for name in unit)
    return trained_norm(net, frozen), alignment


def _modified_margins(run: Run, logs: DoubleArray, found: Constants) -> DoubleArray:
    """Return the modified margin on every row, or what it is at least from its certificate on.

    As the norm never falls from there on, that of the last network bounds all earlier ones.
    """
    if "modified_margin" in run.history:
        return np.asarray(run.history["modified_margin"], np.float64)
    norm = trained_norm(run.network, run.settings.frozen)
    gap, n = found.homogeneity_gap, found.n_samples
    return np.asarray(large_stepsize.modified_margin(logs, n, norm, gap))


def _after(
    found: Constants,
    stepsize: float,
    logs: DoubleArray,
    steps: npt.NDArray[np.int64],
    rates: DoubleArray,
    first: int,
) -> DoubleArray:
    """Bound the risk from certified rows on: from the first, and from the first with D <= 1/2."""
    d = np.fmin(
        large_stepsize.stability(found, stepsize, logs),
        large_stepsize.spectral_stability(found, stepsize, logs),
    )
    best = np.full(len(logs), np.nan)
    usable = np.isfinite(logs) & (rates >= 0.0) & (np.arange(len(logs)) >= first)
    starts = [np.flatnonzero(usable & (d <= most))[:1] for most in (1.0, 0.5)]
    for start in np.unique(np.concatenate(starts)):
        bound = large_stepsize.stable_log_risk_bound(
            float(logs[start]),
            found.n_samples,
            float(d[start]),
            stepsize,
            float(rates[start]),
            steps[start:] - steps[start],
        )
        best[start:] = np.fmin(best[start:], _risk(bound))
    return best


def _risk(log_bound: Any) -> DoubleArray:
    """Return the bound itself; one that underflows is the smallest number, not 0."""
    with np.errstate(under="ignore", over="ignore"):
        bound: DoubleArray = np.maximum(np.exp(log_bound) * (1.0 + 1e-12), 5e-324)
    return bound


def _fast(run: Run, found: Constants, rate: float, stepsize: float, norm: float) -> str | None:
    """Return why Theorem 7 says nothing of a training; None if it bounds its last risk."""
    if run.steps < 1 or run.history.step[-1] != run.steps:
        return "too few steps"
    wanted = large_stepsize.fast_stepsize(found, rate, run.steps)
    if abs(stepsize - wanted) > _SAME_STEPSIZE * wanted:
        return "stepsize of another length"
    fault = large_stepsize.fast_stepsize_fault(found, rate, run.steps, norm)
    return "too few steps" if fault else None
