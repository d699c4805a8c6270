"""The same on real data: diabetes (regression) and digits (ten classes)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._prepare import split, standardize
from lipgd.experiments._rows import Rows, exponent, mean
from lipgd.experiments._study import Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._schedules import kinds, same_regularity
from lipgd.experiments.rate_constraints._trainings import Data, compare, network

__all__ = ["findings", "study", "training"]

_FRACTION, _WIDTH, _SAMPLES = 0.25, 100, 300
#: The loss, the rate that is held, and the outputs.
_SETS = {"diabetes": ("huber", 0.02, 1), "digits": ("cross_entropy", 0.05, 10)}
_CHOSEN = ("constant", "exponential .002", "exponential .02")


def study(request: Request) -> Study:
    """Return the trainings with every schedule, number of samples and width."""
    steps = request.pick(1000, 100)
    counts, widths = request.pick(
        ((50, 100, 200, 300, 500, 1000), (50, 100, 200, 500)), ((50, 300), (50, 200))
    )
    seeds = request.repeats(3, 1)
    jobs = []
    for name in _SETS:
        largest = len(_load(name)[0])
        some = [count for count in counts if count <= largest]
        settings = [("N", count, _WIDTH) for count in some]
        settings += [("p", _SAMPLES, width) for width in widths]
        settings.append(("schedule", _SAMPLES if request.quick else largest, _WIDTH))
        jobs += [
            partial(training, name, axis, count, width, seed, steps)
            for axis, count, width in settings
            for seed in seeds
        ]
    return Study("real", "Real data", jobs, findings)


@cache
def _load(name: str) -> tuple[Any, Any, Any, Any]:
    """Return both parts of a data set, standardized on the training part."""
    data = lipgd.data.load(name)
    classify = data.task == "classification"
    X, y, X_test, y_test = split(data.X, data.y, fraction=_FRACTION, seed=0, stratify=classify)
    scaling = standardize(X, y, targets=not classify)
    return scaling.inputs(X), scaling.targets(y), scaling.inputs(X_test), scaling.targets(y_test)


def training(
    name: str, axis: str, count: int, width: int, seed: int, steps: int
) -> Sequence[dict[str, Any]]:
    """Return a row per schedule for some of the samples and a width."""
    X, y, X_test, y_test = _load(name)
    chosen = np.random.default_rng([seed, count]).permutation(len(X))[:count]
    data = Data(X[chosen], y[chosen], X_test, y_test)
    loss, rate, n_outputs = _SETS[name]
    net = network(data, width, activation="silu", seed=seed, n_outputs=n_outputs)
    rates = {kind: kinds(rate)[kind] for kind in (_CHOSEN if axis == "schedule" else _CHOSEN[:1])}
    labels = {"data_set": name, "axis": axis, "N": count, "p": width, "seed": seed}
    found = compare(net, data, rates, steps, loss=loss, record_every=max(1, steps // 20))
    return [{**labels, **row} for row in found]


def findings(rows: Rows) -> Findings:
    """Return the tables, the figure and what they say."""
    numbers = {n: (n, mean) for n in ("local", "product", "risk", "test_risk", "same_risk")}
    rates = rows.where(axis="schedule").summary(["data_set", "N", "schedule"], **numbers)
    sweeps = rows.where(schedule="constant").summary(["data_set", "axis", "N", "p"], **numbers)
    sweeps = Rows(sweeps.columns, tuple(c for c in sweeps.cells if c[1] != "schedule"))
    sentences = [
        f"{name}. {same_regularity(rates.where(data_set=name), name)} {_sweeps(sweeps, name)}"
        for name in rows.values("data_set")
    ]
    figure, axes = plotting.panels(2)
    for ax, axis, label in zip(axes, ("N", "p"), ("samples N", "width p"), strict=True):
        part = rows.where(axis=axis, schedule="constant")
        charts.lines(ax, part, axis, "local", "data_set")
        ticks = part.values(axis)
        key = "" if axis == "N" else None
        charts.name_axes(ax, label, "local Lipschitz constant", log="xy", ticks=ticks, key=key)
    caption = "Constant rate on standardized data, mean over seeds, and the deviation as a band."
    units = "Huber loss of the standardized target for diabetes, cross entropy for digits"
    return Findings(
        [
            *sentences,
            TableOf("real_schedules", rates, f"With each schedule, means over seeds ({units})"),
            Picture("real", figure, sweeps, caption, " ".join(sentences)),
            TableOf("real_sweeps", sweeps, f"Against N and p, constant rate ({units})"),
        ]
    )


def _sweeps(sweeps: Rows, name: str) -> str:
    by_n = sweeps.where(data_set=name, axis="N")
    by_p = sweeps.where(data_set=name, axis="p")
    counts, ends = by_n["N"], by_n["local"]
    powers = [exponent(by_p["p"], by_p[column]) for column in ("local", "product")]
    return (
        f"From N = {counts[0]} to {counts[-1]} the local constant goes from {ends[0]:.3g} to "
        f"{ends[-1]:.3g}; the fitted exponents of p are {powers[0]:.2f} for the local constant and "
        f"{powers[1]:.2f} for the product."
    )
