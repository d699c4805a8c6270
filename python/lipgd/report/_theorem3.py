"""Theorem 3 along a training: how large the Lipschitz constant may be, and how far it may go."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._batches import Batches
from .._caps import described_rule, increments_of
from .._step_rule import accelerated
from ..constraints import RateCaps
from ..theory import rate_constraints
from ..theory._numbers import UP
from ..theory.initialization import Law
from ..theory.rate_constraints import Quantities, UpdateRule, update_bounds
from ..types import DoubleArray
from ._evidence import Evidence

__all__ = ["Growth", "allowed_radii", "growth", "room"]

#: Steps that are tracked one by one; beyond, majorants at infinite radii serve.
_MOST_TRACKED = 20_000
#: What may be above a bound by rounding of steps and the width of recorded norms alone.
_ROOM = {np.dtype(np.float64): 1e-5, np.dtype(np.float32): 2e-3}
#: A step may be cut that ends so little below the limit, per layer.
_ROOM_AT_LIMIT = 4e-6
_BUDGETS = "the budgets of the caps"


@dataclass(frozen=True)
class Growth:
    """Bounds of the Lipschitz constant at every row, NaN with a reason where there are none."""

    given: DoubleArray  #: the product, given the initial network
    drift: DoubleArray  #: (3+), given the initial network
    before: DoubleArray  #: the product, with the probability of the law
    allowed: DoubleArray  #: what the caps to judge by allow, whether or not they were obeyed
    radii: dict[
        str, DoubleArray
    ]  #: how far every parameter is from its start at most; may be empty
    source: str  #: where the radii come from
    displaced: bool  #: whether the radii bound displacements, not just the growth of norms
    obeyed: RateCaps | None  #: the caps that the bounds rest on
    reasons: dict[str, str]


def growth(evidence: Evidence) -> Growth:
    """Return what Theorem 3 says of every row."""
    reasons: dict[str, str] = {}
    obeyed = _obeyed(evidence, reasons)
    quantities, shape = evidence.quantities, evidence.step.shape
    given, drift = np.full(shape, np.nan), np.full(shape, np.nan)
    radii: dict[str, DoubleArray] = {}
    source, displaced = "", False
    found = _radii(evidence, quantities, obeyed)
    if isinstance(found, str):
        reasons.update(lipschitz_theorem3=found, lipschitz_drift=found)
    else:
        radii, source, displaced = found
        given = _until_limit(evidence, _product(quantities, radii))
        if quantities.depth != 2:
            reasons["lipschitz_drift"] = f"(3+) is for 2 layers, and these are {quantities.depth}"
        elif not displaced:
            reasons["lipschitz_drift"] = "decay, penalties or rescaling move weights beyond radii"
        else:
            start = rate_constraints.slope_box_bound(evidence.run.initial)
            drift = _all(rate_constraints.drift_bound(quantities, _weights(radii), start), given)
    before = _before(evidence, obeyed)
    if isinstance(before, str):
        reasons["lipschitz_before"] = before
        before = np.full(shape, np.nan)
    before = _until_limit(evidence, before)
    allowed = np.full(shape, np.nan)
    if evidence.caps is not None:
        allowed = _product(quantities, allowed_radii(evidence, evidence.caps))
    return Growth(given, drift, before, allowed, radii, source, displaced, obeyed, reasons)


def _until_limit(evidence: Evidence, bound: DoubleArray) -> DoubleArray:
    """Return the bound before movements may have been carried over, and from then on the limit.

    Below the limit no step is cut, and none goes on; at it, the rates alone bound nothing.
    """
    target, settings = evidence.target, evidence.run.settings
    way = (settings.update, settings.momentum, settings.batch_size)
    if target is None or not accelerated(target, *way):
        return bound
    met = target.limit * (1.0 - _ROOM_AT_LIMIT * evidence.run.initial.depth)
    return np.where(bound >= met, target.limit, bound)


def room(evidence: Evidence) -> float:
    """Return the part by which a record may exceed a bound by rounding alone."""
    return _ROOM[evidence.run.initial.dtype]


def allowed_radii(evidence: Evidence, caps: RateCaps) -> dict[str, DoubleArray]:
    """Return the radii (C / N) G(T) at every row, 0 of frozen parameters, inf without a budget."""
    total = increments_of(caps).total(evidence.run.steps)[evidence.step]
    radii = rate_constraints.budget_radii(evidence.quantities, caps.budgets, total)
    shape = evidence.step.shape
    return {
        name: np.broadcast_to(radius * UP if name in evidence.trained else 0.0, shape)
        for name, radius in radii.items()
    }


def outside(evidence: Evidence, law: Law) -> str | None:
    """Return why the initial network is not among those that the law's bounds hold for."""
    quantities = evidence.quantities
    weights, biases = law.norms(quantities.sizes, any(quantities.biased))
    found = {"W": (quantities.weight_norms, weights), "b": (quantities.bias_norms, biases)}
    over = [
        f"{kind}{layer} has the norm {norm:.4g}, the law at most {bound:.4g}"
        for kind, pairs in found.items()
        for layer, (norm, bound) in enumerate(zip(*pairs, strict=True), 1)
        if norm > bound * (1 + room(evidence))
    ]
    if not over:
        return None
    return f"the initial network is outside of what {law.init} allows: {'; '.join(over)}"


def _obeyed(evidence: Evidence, reasons: dict[str, str]) -> RateCaps | None:
    """Return the caps that certainly held, and say why others did not."""
    caps = evidence.caps
    if caps is None:
        return None
    if not evidence.enforced:
        reasons["lipschitz_caps"] = "the caps were not those of the training: what they would allow"
        return None
    if caps.initial != "given" and (fault := outside(evidence, caps.initial)) is not None:
        reasons["lipschitz_caps"] = f"{fault}: the caps are not what they should be"
        return None
    return caps


def _before(evidence: Evidence, obeyed: RateCaps | None) -> DoubleArray | str:
    """Bound the Lipschitz constant before the initial weights are drawn, or say why not."""
    law, quantities = evidence.law, evidence.quantities
    if law is None:
        return "the law of the initial weights is not known: give law='he_normal' or the like"
    if (fault := outside(evidence, law)) is not None:
        return fault
    norms = law.norms(quantities.sizes, any(quantities.biased))
    wider = rate_constraints.norm_only(quantities, *norms)
    found = _radii(evidence, wider, obeyed)
    return found if isinstance(found, str) else _product(wider, found[0])


def _radii(
    evidence: Evidence, quantities: Quantities, caps: RateCaps | None
) -> tuple[dict[str, DoubleArray], str, bool] | str:
    """Return radii at every row, where they come from, and whether they bound displacements."""
    settings, trained = evidence.run.settings, evidence.trained
    if (fault := _large_decay(evidence)) is not None:
        return fault
    budgets = {} if caps is None else caps.budgets
    uncapped = [name for name in trained if name not in budgets]
    matrices = [name for name in uncapped if name.startswith("W")]
    retracts = evidence.target is not None and evidence.target.method == "retract"
    # Modes that look at the step cap all of it, decay included; penalties that shrink and the
    # rescaling come after it.
    shrinks = any(kind != "l1" for kind, _ in (settings.proximal or {}).values())
    own = uncapped or caps is None or caps.mode in ("tracked", "linear")
    decays = bool(own) and any(settings.weight_decay.values())
    displaced = not (shrinks or retracts or decays)
    radii = {name: np.zeros(len(evidence.step)) for name in quantities.names}
    if caps is not None:
        radii = allowed_radii(evidence, caps)
    if uncapped:
        rule = _rule(evidence, retracts)
        if isinstance(rule, str):
            if matrices:
                return f"{', '.join(matrices)} has no budget, and {rule}"
            unknown = np.full(len(evidence.step), math.inf)
            return {**radii, **dict.fromkeys(uncapped, unknown)}, _BUDGETS, displaced
        tracked = _tracked(evidence, quantities, rule, caps)
        radii |= {name: tracked[name] for name in uncapped}
    if not matrices:
        return radii, _BUDGETS, displaced
    source = "the rates, by the recursion of tracked caps"
    return radii, f"budgets and {source}" if budgets else source, displaced


def _large_decay(evidence: Evidence) -> str | None:
    """Return why decay may enlarge weights, if it may."""
    settings = evidence.run.settings
    for name, decay in settings.weight_decay.items():
        rates = settings.rates[name][: evidence.run.steps]
        largest = float(rates.max()) * decay if decay and len(rates) else 0.0
        if largest > 1.0:
            return f"rate times weight decay of {name} reaches {largest:.3g}, above 1"
    return None


def _rule(evidence: Evidence, retracts: bool) -> UpdateRule | str:
    settings = evidence.run.settings
    sizes = None
    if settings.batch_size is not None:
        sizes = Batches(
            evidence.quantities.n_samples, settings.batch_size, settings.sampling, 0
        ).sizes
    try:
        words: dict[str, Any] = described_rule(settings, sizes)
    except ValueError:
        return f"directions of {settings.update} have no bound before training"
    words["shrinking_prox"] = words["shrinking_prox"] or retracts
    return UpdateRule(**words)


def _tracked(
    evidence: Evidence, quantities: Quantities, rule: UpdateRule, caps: RateCaps | None
) -> dict[str, DoubleArray]:
    """Return radii by ``rho(s + 1) = rho(s) + rate M(rho(s))``, at most those of the budgets."""
    steps, names = evidence.run.steps, quantities.names
    settings = evidence.run.settings
    none = np.zeros(steps)
    rates = {
        name: settings.rates[name][:steps] if name in settings.rates else none for name in names
    }
    if steps > _MOST_TRACKED:
        bounds = update_bounds(
            quantities, dict.fromkeys(names, math.inf), rule, step=np.arange(steps)
        )
        return {
            name: _spent(rates[name], bounds[name])[evidence.step] * (1.0 + steps * (UP - 1.0))
            for name in names
        }
    limits = _limits(evidence, names, caps)
    radii = {name: np.zeros(steps + 1) for name in names}
    now: dict[str, float] = dict.fromkeys(names, 0.0)
    for step in range(steps):
        bounds = update_bounds(quantities, now, rule, step=step)
        for name in names:
            rate, bound = float(rates[name][step]), float(bounds[name])
            grown = (now[name] + (rate * bound if rate else 0.0)) * UP
            now[name] = min(grown, float(limits[name][step + 1]))
            radii[name][step + 1] = now[name]
        if all(math.isinf(now[name]) for name in names if name in settings.rates):
            for name in settings.rates:
                radii[name][step + 1 :] = math.inf
            break
    return {name: values[evidence.step] for name, values in radii.items()}


def _limits(
    evidence: Evidence, names: tuple[str, ...], caps: RateCaps | None
) -> dict[str, DoubleArray]:
    """Return what the budgets allow before every step, in Frobenius norm."""
    steps = evidence.run.steps
    limits = {name: np.full(steps + 1, math.inf) for name in names}
    if caps is None:
        return limits
    totals = increments_of(caps).total(steps) / evidence.quantities.n_samples * UP
    shapes = dict(evidence.run.initial.named())
    for name, budget in caps.budgets.items():
        rank = min(shapes[name].shape) if caps.norm == "spectral" else 1
        limits[name] = budget * totals * math.sqrt(rank) * UP
    return limits


def _spent(rates: DoubleArray, bound: Any) -> DoubleArray:
    lengths = np.broadcast_to(np.asarray(bound, dtype=np.float64), rates.shape)
    with np.errstate(invalid="ignore"):
        steps = np.where(rates == 0.0, 0.0, rates * lengths)
    return np.concatenate([[0.0], np.cumsum(steps)])


def _product(quantities: Quantities, radii: dict[str, DoubleArray]) -> DoubleArray:
    radius = _weights(radii)
    return _all(rate_constraints.product_bound(quantities, radius), radius["W1"])


def _all(values: Any, like: DoubleArray) -> DoubleArray:
    return np.array(np.broadcast_to(np.asarray(values, np.float64), like.shape))


def _weights(radii: dict[str, DoubleArray]) -> dict[str, DoubleArray]:
    return {name: radius for name, radius in radii.items() if name.startswith("W")}
