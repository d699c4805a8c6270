"""Deeper networks, with constant and decaying rates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, mean
from lipgd.experiments._study import Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._schedules import kinds
from lipgd.experiments.rate_constraints._trainings import compare, cube, named, network

__all__ = ["findings", "study", "training"]

_SAMPLES, _WIDTH, _RATE = 150, 64, 0.02
_CHOSEN = ("constant", "exponential .002", "exponential .02")
_NEAR = 0.1


def study(request: Request) -> Study:
    """Return the trainings of every depth."""
    steps = request.pick(1000, 150)
    jobs = [
        partial(training, depth, seed, steps)
        for depth in request.pick((2, 3, 4, 5), (2, 4))
        for seed in request.repeats(8, 2)
    ]
    return Study("depth", "Deeper networks", jobs, findings)


def training(depth: int, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return a row per schedule for a network of so many weight matrices."""
    data = cube(_SAMPLES, seed)
    net = network(data, _WIDTH, init="he", depth=depth, seed=seed)
    rates = {name: kinds(_RATE)[name] for name in _CHOSEN}
    return [{"depth": depth, "seed": seed, **row} for row in compare(net, data, rates, steps)]


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    numbers = {
        n: (n, mean) for n in ("local_start", "local", "product", "risk", "test_risk", "same_risk")
    }
    summary = rows.summary(["depth", "schedule"], **numbers)
    sentence = _sentence(summary)
    figure, axes = plotting.panels(3)
    labels = ("local Lipschitz constant", "product bound", "test risk (Huber)")
    depths = summary.values("depth")
    for ax, column, label in zip(axes, ("local", "product", "test_risk"), labels, strict=True):
        charts.lines(ax, rows, "depth", column, "schedule")
        key = "" if column == "local" else None
        log = "y" if column == "product" else ""
        charts.name_axes(ax, "weight matrices", label, log=log, ticks=depths, key=key)
    caption = "After training, means over seeds, and the deviation as a band."
    table = TableOf("depth", summary, "Means over seeds (he start, relu, width 64, Huber loss)")
    picture = Picture("depth", figure, summary, caption, sentence)
    return Findings([sentence, picture, table], [sentence])


def _sentence(summary: Rows) -> str:
    """Say whether depth changes what a constant rate does to the regularity."""
    depths = summary.values("depth")
    worst: dict[int, float] = {}
    ends = {}
    for depth in depths:
        part = summary.where(depth=depth)
        decays = [name for name in part.values("schedule") if name != "constant"]
        cells = [part.where(schedule=name) for name in decays]
        equal = [float(cell["local"][0] / cell["same_risk"][0]) for cell in cells]
        worst[depth] = max(equal, key=lambda ratio: abs(ratio - 1) if np.isfinite(ratio) else 0.0)
        constant = float(part.where(schedule="constant")["local"][0])
        ends[depth] = constant / float(cells[-1]["local"][0])
    apart = [depth for depth in depths if not abs(worst[depth] - 1) <= _NEAR]
    if not apart:
        verdict = (
            f"No: at the same training risk constant and decaying rates are within {_NEAR:.0%} of "
            "each other at every depth"
        )
    elif len(apart) == len(depths):
        verdict = "No: at no depth are they alike at the same training risk"
    else:
        verdict = f"Yes: they are alike at the same training risk but for depth {named(apart)}"
    numbers = "; ".join(
        f"depth {depth}: the decay that differs most has {worst[depth]:.2f} times the constant "
        f"rate's local constant at equal risk; at the end the constant rate has {ends[depth]:.2f} "
        "times that of the fast decay"
        for depth in depths
    )
    return f"Does depth change what a constant rate does to the regularity? {verdict} ({numbers})."
