"""Distributions over many seeds, with constant and decaying rates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._schedules import kinds
from lipgd.experiments.rate_constraints._trainings import compare, cube, network

__all__ = ["findings", "study", "training"]

_SAMPLES = 150


def study(request: Request) -> Study:
    """Return the trainings of every seed."""
    steps = request.pick(1000, 200)
    jobs = [partial(training, seed, steps) for seed in request.repeats(50, 8)]
    return Study("distribution", "Distributions over seeds", jobs, findings)


def training(seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return a row per schedule: data, start and noise are those of the seed."""
    data = cube(_SAMPLES, seed)
    return [
        {"seed": seed, **row} for row in compare(network(data, seed=seed), data, kinds(), steps)
    ]


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    quartiles = {
        f"{column}_{words}": (column, partial(np.quantile, q=q))
        for column in ("local", "product", "test_risk")
        for words, q in (("low", 0.25), ("median", 0.5), ("high", 0.75))
    }
    summary = rows.summary(["schedule"], **quartiles)
    sentence = _sentence(rows, summary)
    figure, axes = plotting.panels(3)
    labels = ("local Lipschitz constant", "product bound", "test risk (Huber)")
    for ax, column, label in zip(axes, ("local", "product", "test_risk"), labels, strict=True):
        charts.boxes(ax, rows, column, "schedule")
        charts.name_axes(ax, "", label)
        ax.tick_params("x", labelsize=7)
    shown = rows.pick(["schedule", "seed", "local", "product", "test_risk"])
    caption = (
        f"{len(rows.values('seed'))} seeds: median, quartiles, and the range without outliers."
    )
    table = TableOf("distribution", summary, "Quartiles over seeds (torch start, relu, Huber loss)")
    return Findings([sentence, Picture("distribution", figure, shown, caption, sentence), table])


def _sentence(rows: Rows, summary: Rows) -> str:
    count, constant = len(rows.values("seed")), rows.where(schedule="constant")
    parts = []
    for name in summary.values("schedule"):
        if name != "constant":
            other = rows.where(schedule=name)
            smoother = int(np.sum(other["local"] < constant["local"]))
            better = int(np.sum(other["test_risk"] < constant["test_risk"]))
            parts.append(f"{name} ends smoother in {smoother} and tests better in {better}")
    low, high = (
        float(summary.where(schedule="constant")[f"local_{w}"][0]) for w in ("low", "high")
    )
    return (
        f"Of {count} seeds, compared with the constant rate from the same start, "
        f"{'; '.join(parts)}. Half of the seeds have a local constant from {low:.2f} to {high:.2f} "
        "with the constant rate."
    )
