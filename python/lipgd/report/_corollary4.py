"""Corollary 4 and Theorem R along a training: how far the risk may be from the training risk."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..constraints import RateCaps
from ..theory import generalization
from ..theory._numbers import UP
from ..theory.rate_constraints import Quantities
from ..types import DoubleArray
from ._evidence import Evidence
from ._theorem3 import Growth

__all__ = ["Gaps", "gaps"]


#: Norms beyond belong to trainings that diverged, and overflow.
_LARGEST = 1e50


@dataclass(frozen=True)
class Gaps:
    """Bounds of risk minus training risk at every row, NaN where there are none."""

    wasserstein: DoubleArray
    rademacher: DoubleArray
    wasserstein_trivial: DoubleArray  #: what holds for any sample: the range of the loss
    rademacher_trivial: DoubleArray
    conditions: tuple[str, ...]
    reasons: dict[str, str]


@dataclass(frozen=True)
class _Class:
    """Networks of two layers that are fixed before the sample, by what bounds need of them."""

    complexity: float
    lipschitz: float
    output: float  #: the largest norm of an output on the box


def gaps(evidence: Evidence, found: Growth) -> Gaps:
    """Return both bounds at every row."""
    count = len(evidence.step)
    none = np.full(count, np.nan)
    if evidence.sample_weight is not None:
        why = "samples are weighted: the bounds are for the plain mean over independent samples"
        both = {"gap_wasserstein": why, "gap_rademacher": why}
        return Gaps(none, none, none, none, (), both)
    reasons: dict[str, str] = {}
    first = _wasserstein(evidence, found, reasons)
    second = _rademacher(evidence, found, reasons)
    return Gaps(first[0], second[0], first[1], second[1], _conditions(evidence, found), reasons)


def _conditions(evidence: Evidence, found: Growth) -> tuple[str, ...]:
    box = "the box given"
    if not evidence.box_given:
        box = "the least box around the data seen, taken as if it had been known before (see box)"
    words = [f"samples are independent, from a law within {box}"]
    if evidence.quantities.depth == 2 and not isinstance(_ball_of(evidence, found), str):
        words.append("initial network and budgets were chosen without the samples (Rademacher)")
    return tuple(words)


def _wasserstein(
    evidence: Evidence, found: Growth, reasons: dict[str, str]
) -> tuple[DoubleArray, DoubleArray]:
    """Return the bound by (10) with the best Lipschitz constant at every row, and the trivial."""
    count, loss = len(evidence.step), evidence.loss
    bounds, trivial = np.full(count, np.nan), np.full(count, np.nan)
    if loss.takes_labels:
        reasons["gap_wasserstein"] = (
            f"targets of {loss.kind} are labels: Corollary 4 is for numbers"
        )
        return bounds, trivial
    best = lipschitz(evidence, found)
    inputs, outputs = (high - low for low, high in evidence.box)
    diameter = float(np.linalg.norm(np.concatenate([inputs, outputs]))) * UP
    for row in np.flatnonzero(np.isfinite(best)):
        residual, output = _extent(evidence, int(row), float(best[row]))
        if math.inf in (residual, output):
            continue
        bounds[row] = generalization.wasserstein_gap(
            loss,
            float(best[row]),
            inputs,
            outputs,
            evidence.quantities.n_samples,
            evidence.delta,
            residual_bound=residual,
            output_bound=output,
        )
        slope = generalization.loss_slope(
            loss, len(outputs), float(best[row]), residual_bound=residual, output_bound=output
        )
        trivial[row] = slope * diameter
    if np.isnan(bounds).any():
        records = "'lipschitz_upper' and 'risk'" if loss.kind == "mse" else "'lipschitz_upper'"
        reasons["gap_wasserstein"] = (
            "known at both ends alone, as is the size of the outputs"
            if loss.kind == "logistic"
            else f"some rows lack what {loss.kind} needs: record {records}"
        )
    return bounds, trivial


def lipschitz(evidence: Evidence, found: Growth) -> DoubleArray:
    """Return the least upper bound of the Lipschitz constant that is known at every row."""
    best = np.fmin(evidence.measured["lipschitz_upper"], np.fmin(found.given, found.drift))
    if evidence.target is not None:
        best = np.fmin(best, evidence.target.limit)
    return best


def _extent(evidence: Evidence, row: int, slope: float) -> tuple[float | None, float | None]:
    """Return bounds of residuals and of outputs on the box, None if needless, inf if not known."""
    (x_low, x_high), (y_low, y_high) = evidence.box
    width = float(np.linalg.norm(x_high - x_low))
    if evidence.loss.kind == "mse":
        # Some residual of a sample is at most the root of D times the risk.
        risk = float(np.nan_to_num(evidence.measured["risk"][row], nan=math.inf))
        residual = math.sqrt(len(y_low) * risk)
        return (residual + slope * width + float(np.linalg.norm(y_high - y_low))) * UP, None
    if evidence.loss.kind == "logistic":
        nets = {0: evidence.run.initial, len(evidence.step) - 1: evidence.run.network}
        if row not in nets:
            return None, math.inf
        middle = ((x_low + x_high) / 2)[None]
        largest = float(np.abs(nets[row](middle)).max())
        return None, (largest + slope * width / 2) * (1 + 1e-6)
    return None, None


def _rademacher(
    evidence: Evidence, found: Growth, reasons: dict[str, str]
) -> tuple[DoubleArray, DoubleArray]:
    """Return Theorem R at every row: of the ball that budgets make, else of norms at both ends."""
    count, quantities = len(evidence.step), evidence.quantities
    bounds, trivial = np.full(count, np.nan), np.full(count, np.nan)
    if quantities.depth != 2:
        reasons["gap_rademacher"] = f"Theorem R is for two layers, and these are {quantities.depth}"
        return bounds, trivial
    ball = _ball_of(evidence, found)
    if not isinstance(ball, str):
        for row in range(count):
            radii = {name: float(radius[row]) for name, radius in found.radii.items()}
            if all(map(math.isfinite, radii.values())):
                bounds[row], trivial[row] = _gap(
                    evidence, _ball(evidence, radii, ball), evidence.delta
                )
        return bounds, trivial
    norms = _norms(evidence)
    for at in np.flatnonzero(~np.isnan(norms).any(axis=1)):
        bounds[at], trivial[at] = _stratified(evidence, *norms[at].tolist())
    words = f"{ball}: the class of networks with no larger norms, Theorem R (a), is bounded instead"
    if np.isnan(bounds).any():
        names = ", ".join(f"parameter_norm:{name}" for name in quantities.names)
        words += f", at both ends alone: record {names}"
    reasons["gap_rademacher"] = words
    return bounds, trivial


def _norms(evidence: Evidence) -> DoubleArray:
    """Return the Frobenius norms of [W, b], B and c at every row, NaN where they are not known."""
    found = np.full((len(evidence.step), 4), np.nan)
    names = ("W1", "b1", "W2", "b2")
    for column, name in enumerate(names):
        if name not in evidence.quantities.names:
            found[:, column] = 0.0
        elif (values := evidence.recorded(f"parameter_norm:{name}")) is not None:
            found[:, column] = values
    for row, net in ((0, evidence.run.initial), (-1, evidence.run.network)):
        for name, array in net.named():
            found[row, names.index(name)] = np.linalg.norm(array.astype(np.float64))
    return np.stack([np.hypot(found[:, 0], found[:, 1]), found[:, 2], found[:, 3]], axis=1)


def _ball_of(evidence: Evidence, found: Growth) -> RateCaps | str:
    """Return the caps that make a ball around the start, fixed before the sample, or why not."""
    caps = found.obeyed
    if caps is None:
        return "no budgets limit how far the parameters go"
    missing = [name for name in evidence.trained if name not in caps.budgets]
    if missing:
        return f"{', '.join(missing)} has no budget"
    if not found.radii or not found.displaced:
        return "the parameters may move beyond their budgets"
    return caps


def _ball(evidence: Evidence, radii: dict[str, float], caps: RateCaps) -> _Class:
    """Return the networks within radii of the initial one."""
    quantities, net = evidence.quantities, evidence.run.initial
    scale, slope = abs(net.output_scale), net.activation.lipschitz
    rank = min(net.weights[0].shape) if caps.norm == "spectral" and "W1" in caps.budgets else 1
    outer_rank = min(net.weights[1].shape) if caps.norm == "spectral" else 1
    hidden = math.hypot(radii["W1"] * math.sqrt(rank), radii.get("b1", 0.0)) * UP
    outer = radii["W2"] * math.sqrt(outer_rank) * UP
    bias = radii.get("b2", 0.0)
    largest = _largest_input(evidence, quantities.biased[0])
    several = net.n_outputs > 1
    start = quantities.weight_frobenius[1] if several else quantities.weight_norms[1]
    features = _features(quantities, evidence, 0.0, 0.0)
    complexity = generalization.ball_complexity(
        quantities.n_samples,
        net.sizes[1],
        lipschitz=slope,
        hidden_radius=hidden,
        outer_radius=outer,
        outer_bias_radius=bias,
        start_outer_norm=start,
        start_feature_rms=features,
        input_rms=largest,
        n_outputs=net.n_outputs,
        output_scale=scale,
    )
    reached = _features(quantities, evidence, radii["W1"], radii.get("b1", 0.0))
    outer_norm = quantities.weight_norms[1] + radii["W2"]
    output = scale * (outer_norm * reached + quantities.bias_norms[1] + bias) * UP
    lipschitz = quantities.slope_product * (quantities.weight_norms[0] + radii["W1"]) * outer_norm
    return _Class(complexity, lipschitz * UP, output)


def _stratified(
    evidence: Evidence, hidden: float, outer: float, bias: float
) -> tuple[float, float]:
    """Return Theorem R (a) for norms that are known after training, rounded up to powers of two.

    Every triple of exponents i has the share ``prod 1 / (m (m + 1))`` of delta, where m counts
    0, 1, -1, 2, -2, ... from 1: a union bound over all classes.
    """
    norms = (hidden, outer, bias)
    if not all(norm < _LARGEST for norm in norms):
        return math.inf, math.inf
    exponents = [math.ceil(math.log2(norm * (1 + 1e-9))) if norm > 0 else 0 for norm in norms]
    counts = [2 * abs(i) + (1 if i <= 0 else 0) for i in exponents]
    share = evidence.delta / math.prod(m * (m + 1) for m in counts)
    hidden, outer, bias = (2.0**i for i in exponents)
    net = evidence.run.initial
    if net.biases[1] is None:
        bias = 0.0
    quantities, scale = evidence.quantities, abs(net.output_scale)
    largest = _largest_input(evidence, net.biases[0] is not None)
    slope, at_zero = net.activation.lipschitz, abs(net.activation.at_zero)
    complexity = generalization.norm_class_complexity(
        quantities.n_samples,
        net.sizes[1],
        lipschitz=slope,
        hidden_norm=hidden,
        outer_norm=outer,
        outer_bias=bias,
        input_rms=largest,
        at_zero=at_zero,
        n_outputs=net.n_outputs,
        output_scale=scale,
    )
    features = min(
        at_zero * math.sqrt(net.sizes[1]) + slope * hidden * largest, quantities.feature_limit(1)
    )
    output = scale * (outer * features + bias) * UP
    return _gap(evidence, _Class(complexity, scale * slope * hidden * outer * UP, output), share)


def _gap(evidence: Evidence, networks: _Class, delta: float) -> tuple[float, float]:
    """Return the bound of the gap of a class of networks, and the range of their loss."""
    loss, n_outputs = evidence.loss, evidence.run.initial.n_outputs
    (x_low, x_high), (y_low, y_high) = evidence.box
    largest_target = float(np.linalg.norm(np.maximum(np.abs(y_low), np.abs(y_high))))
    residual = (networks.output + largest_target) * UP
    omega = loss.lipschitz(n_outputs)
    if loss.kind == "mse":
        omega, range_ = 2.0 * residual / n_outputs, residual * residual / n_outputs
    elif loss.kind == "huber":
        range_ = min(omega * residual, residual * residual / (2.0 * n_outputs))
    elif loss.kind == "logistic":
        range_ = math.log(2.0) + networks.output
    else:
        range_ = math.log(n_outputs) + math.sqrt(2.0) * networks.output
    if not loss.takes_labels:
        sides = np.concatenate([x_high - x_low, y_high - y_low])
        slope = generalization.loss_slope(
            loss,
            n_outputs,
            networks.lipschitz,
            residual_bound=residual,
            output_bound=networks.output,
        )
        range_ = min(range_, slope * float(np.linalg.norm(sides)))
    range_ *= UP
    losses = generalization.loss_complexity(networks.complexity, omega * UP, n_outputs)
    gap = generalization.rademacher_gap(losses, range_, evidence.quantities.n_samples, delta)
    return gap, range_


def _features(
    quantities: Quantities, evidence: Evidence, weight_radius: float, bias_radius: float
) -> float:
    """Bound the norm of the features of any point of the box, for parameters within radii."""
    activation = quantities.activation
    arriving = (quantities.weight_norms[0] + weight_radius) * _largest_input(evidence, False)
    arriving += quantities.bias_norms[0] + bias_radius
    start = abs(activation.at_zero) * math.sqrt(quantities.sizes[1])
    return min(start + activation.lipschitz * arriving, quantities.feature_limit(1)) * UP


def _largest_input(evidence: Evidence, biased: bool) -> float:
    low, high = evidence.box[0]
    return math.hypot(float(np.linalg.norm(np.maximum(np.abs(low), np.abs(high)))), biased) * UP
