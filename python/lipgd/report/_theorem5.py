"""Theorem 5 along a training: how small the smallest gradient so far must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._arguments import targets_of, weights_of
from .._caps import a_priori_rates, described_rule
from ..constraints import RateCaps
from ..theory import convergence, rate_constraints
from ..theory._numbers import UP
from ..types import DoubleArray
from ._evidence import Evidence
from ._theorem3 import Growth

__all__ = ["Descent", "descent"]

#: Rows at which the smoothness is evaluated, for at most two layers and for more.
_ROWS, _DEEP_ROWS = 64, 8
_ITERATIONS = 200

#: The smoothness within radii of ``[W_l, b_l]``, one per layer, for a risk of at most R_0.
Curvature = Callable[[list[float]], float]


@dataclass(frozen=True)
class Descent:
    """A bound of the smallest gradient norm before each row, or the reason for none."""

    bound: DoubleArray | None
    reason: str | None
    smoothness: float | None = None  #: at the last row that has a bound
    source: str | None = None  #: what keeps the iterates in the region


def descent(evidence: Evidence, found: Growth) -> Descent:
    """Return what Theorem 5 (b) says of every row."""
    if (reason := _unfit(evidence)) is not None:
        return Descent(None, reason)
    rates = _rates(evidence)
    if isinstance(rates, str):
        return Descent(None, rates)
    lowest, highest = rates
    quantities = evidence.quantities
    curvature = _curvature(evidence)
    few = _ROWS if quantities.depth <= 2 else _DEEP_ROWS
    count = len(evidence.step)
    rows = np.unique(np.linspace(0, count - 1, min(count, few)).astype(np.int64))
    area = np.concatenate([[0.0], np.cumsum(highest)])[evidence.step] * (1 + len(highest) * 2**-52)
    top = np.concatenate([[0.0], np.maximum.accumulate(highest)])[evidence.step]
    regions = _regions(evidence, found)
    etas, sources, bends = np.full(count, math.inf), [""] * len(rows), np.full(len(rows), math.inf)
    least = math.inf
    start = 0
    for place, row in enumerate(rows):
        candidates = {
            name: curvature([float(radius[row]) for radius in radii])
            for name, radii in regions.items()
            if all(np.isfinite(radius[row]) for radius in radii)
        }
        energy = _energy(curvature, quantities.depth, float(area[row]), float(top[row]), evidence)
        if energy is not None:
            candidates["the energy bound (12)"] = energy
        if candidates:
            sources[place] = min(candidates, key=candidates.__getitem__)
            bends[place] = candidates[sources[place]]
            least = min(least, bends[place])
        # The smoothness does not fall with the rows: the next evaluated one serves those before.
        etas[start : row + 1] = top[row] * bends[place] * UP
        start = int(row) + 1
    return _descent(evidence, lowest, etas, (rows, bends, sources), float(top[-1]))


def _descent(
    evidence: Evidence,
    lowest: DoubleArray,
    etas: DoubleArray,
    evaluated: tuple[np.ndarray, DoubleArray, list[str]],
    top: float,
) -> Descent:
    """Return the bound where the rates are below twice the inverse smoothness."""
    risk, step = evidence.measured["risk"], evidence.step
    rounding = 64.0 * float(np.finfo(evidence.run.initial.dtype).eps) * evidence.quantities.risk
    reached = np.where(np.isnan(risk), 0.0, risk)
    drop = np.maximum(evidence.quantities.risk - reached, 0.0) + rounding
    sums = np.concatenate([[0.0], np.cumsum(lowest)])[step] * (1 - len(lowest) * 2**-52)
    bound = np.full(len(step), np.nan)
    for row in np.flatnonzero(etas < 2.0 / UP):
        bound[row] = convergence.gradient_bound(
            float(drop[row]), float(sums[row]), etas[row] or 1.0
        )
    rows, bends, sources = evaluated
    good = [place for place, row in enumerate(rows) if np.isfinite(bound[row])]
    if not good:
        finite = bends[np.isfinite(bends)]
        beyond = f", which is known to be at most {finite.max():.4g} there" if finite.size else ""
        return Descent(
            None,
            f"rates of {top:.4g} are not certified to stay below 2 / S with the smoothness S of "
            f"the region that the iterates reach{beyond}: a smaller rate, or path_length records",
        )
    last = good[-1]
    partly = None
    if last < len(rows) - 1:
        partly = f"beyond step {step[rows[last]]} rates are not certified to stay below 2 / S"
    return Descent(bound, partly, float(bends[last]), sources[last])


def _unfit(evidence: Evidence) -> str | None:
    """Return the fixed reason why Theorem 5 is not about this training."""
    settings, net = evidence.run.settings, evidence.run.initial
    if net.depth > 1 and not net.activation.smooth:
        return f"the slope of {net.activation.name} jumps: Theorem 5 is for smooth activations"
    if settings.update != "gradient" or settings.momentum:
        method = settings.update if settings.update != "gradient" else "momentum"
        return f"the steps are those of {method}: Theorem 5 is for plain gradient descent"
    if settings.batch_size is not None:
        return "the steps are those of mini-batches: Theorem 5 is for the gradient over all samples"
    if settings.clip_norm is not None:
        return "gradients are clipped: Theorem 5 is for plain gradient descent"
    if settings.proximal:
        return "steps are proximal: Theorem 5 bounds the gradient mapping, which is not recorded"
    if any(settings.weight_decay.values()):
        return "weights decay: Theorem 5 (f) bounds the gradient of risk and penalty together"
    if evidence.target is not None and evidence.target.method == "retract":
        return "weights are moved onto a limit after steps: no convergence is proved then"
    return None


def _rates(evidence: Evidence) -> tuple[DoubleArray, DoubleArray] | str:
    """Return the least and the largest rate of every step, or which record would tell."""
    settings, steps = evidence.run.settings, evidence.run.steps
    constraint = settings.constraint
    if constraint is None:
        table = [settings.rates[name][:steps] for name in evidence.trained]
    elif isinstance(constraint, RateCaps) and constraint.mode in ("tracked", "linear"):
        table = list(_capped(evidence, constraint)[:, :steps])
    else:
        columns = [evidence.recorded(f"rate:{name}") for name in evidence.trained]
        every = len(evidence.step) == steps + 1
        if not every or any(column is None for column in columns):
            wanted = ", ".join(f"rate:{name}" for name in evidence.trained)
            return f"the rates that were taken are not known: record {wanted} with record_every=1"
        table = [column[:steps] for column in columns if column is not None]
    if not steps:
        return np.zeros(0), np.zeros(0)
    lowest, highest = table[0], table[0]
    for rates in table[1:]:
        lowest, highest = np.minimum(lowest, rates), np.maximum(highest, rates)
    return lowest, highest


def _capped(evidence: Evidence, caps: RateCaps) -> DoubleArray:
    """Return the rates of the trained groups under caps that are known before training."""
    run, names = evidence.run, evidence.quantities.names
    settings = run.settings
    none = np.zeros(settings.steps)
    base = np.stack([settings.rates.get(name, none) for name in names])
    rows, net = evidence.quantities.n_samples, run.initial
    x = np.asarray(evidence.X)
    values, labels = targets_of("y", evidence.y, evidence.loss, rows, net.n_outputs, net.dtype)
    weights = weights_of(evidence.sample_weight, rows, net.dtype)
    data = (x, labels if values is None else values, weights)
    rule = described_rule(settings, None)
    capped = a_priori_rates(caps, net, data, evidence.loss, base, rule)
    taken: DoubleArray = capped[[names.index(name) for name in evidence.trained]]
    return taken


def _regions(evidence: Evidence, found: Growth) -> dict[str, list[DoubleArray]]:
    """Return radii of ``[W_l, b_l]`` at every row that all iterates up to it stay within."""
    regions = {}
    if found.radii and found.displaced:
        regions[found.source] = _joined(evidence, found.radii, found.obeyed)
    lengths = {name: evidence.recorded(f"path_length:{name}") for name in evidence.trained}
    if all(values is not None for values in lengths.values()):
        regions["the recorded path lengths"] = _joined(evidence, _running(lengths))
    moved = {name: evidence.recorded(f"displacement:{name}") for name in evidence.trained}
    every = len(evidence.step) == evidence.run.steps + 1
    if every and all(values is not None for values in moved.values()):
        regions["the recorded displacements"] = _joined(evidence, _running(moved))
    return regions


def _running(columns: dict[str, DoubleArray | None]) -> dict[str, DoubleArray]:
    """Return the largest values so far; a row without a record makes all later ones unknown."""
    return {
        name: np.maximum.accumulate(np.where(np.isnan(values), math.inf, values)) * (1 + 2**-40)
        for name, values in columns.items()
        if values is not None
    }


def _joined(
    evidence: Evidence, radii: dict[str, DoubleArray], caps: RateCaps | None = None
) -> list[DoubleArray]:
    """Return the radius of the weights and the bias of every layer together."""
    none = np.zeros(len(evidence.step))
    joined = []
    for layer, weight in enumerate(evidence.run.initial.weights, 1):
        name = f"W{layer}"
        spectral = caps is not None and caps.norm == "spectral" and name in caps.budgets
        factor = math.sqrt(min(weight.shape)) if spectral else 1.0
        joined.append(np.hypot(radii.get(name, none) * factor, radii.get(f"b{layer}", none)) * UP)
    return joined


def _curvature(evidence: Evidence) -> Curvature:
    """Return the smoothness as a function of the radii of the layers."""
    quantities = evidence.quantities
    if quantities.depth <= 2:

        def shallow(radii: list[float]) -> float:
            hidden = radii[0] if len(radii) == 2 else 0.0
            region = convergence.region_smoothness(quantities, hidden, radii[-1], sublevel=True)
            return region.value

        return shallow
    samples = rate_constraints.measure_samples(
        evidence.run.initial, evidence.X, evidence.y, evidence.loss, evidence.sample_weight
    )
    return lambda radii: convergence.deep_smoothness(quantities, samples, radii)


def _energy(
    curvature: Curvature, depth: int, area: float, top: float, evidence: Evidence
) -> float | None:
    """Return S(r) for the least r with ``A R_0 / (1 - rate S(r) / 2) <= r^2``: rates alone keep it.

    No iterate leaves the ball of that radius, by the argument of first exit of Theorem 5 (e).
    """
    radius = math.sqrt(area * evidence.quantities.risk) * UP
    for _ in range(_ITERATIONS):
        bend = curvature([radius] * depth)
        left = 1.0 - top * bend / 2.0
        if not left > 0.0:
            return None
        needed = math.sqrt(area * evidence.quantities.risk / left) * UP
        if needed <= radius:
            return bend
        radius = needed * (1 + 1e-6)
    return None
