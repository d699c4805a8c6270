"""The Lipschitz constant against the number of samples, over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lipgd import plotting, schedules
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, mean
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._trainings import (
    cube,
    curves,
    network,
    row_of,
    starts,
)

__all__ = ["findings", "study", "training"]

_RATE, _WIDTH = 0.02, 100


def study(request: Request) -> Study:
    """Return the trainings of every number of samples."""
    counts = request.pick((50, 100, 150, 200, 300, 400, 500), (50, 150, 500))
    steps, hold = request.pick((1500, 500), (300, 100))
    jobs = [
        partial(training, init, activation, count, seed, steps, hold)
        for init in ("torch", "he")
        for activation in ("relu", "silu")
        for count in counts
        for seed in request.repeats(10, 3)
    ]
    return Study("samples", "Lipschitz constant against the number of samples", jobs, findings)


def training(
    init: str, activation: str, count: int, seed: int, steps: int, hold: int
) -> Sequence[dict[str, Any]]:
    """Return a row for every tenth part of a training."""
    data = cube(count, seed)
    net = network(data, _WIDTH, activation=activation, init=init, seed=seed)
    rate = schedules.hold_then_decay(_RATE, hold, schedules.exponential(1.0, 2.5 / hold))
    run = curves(net, data, rate, steps, loss="mse", record_every=steps // 10)
    labels = {"init": init, "activation": activation, "N": count, "seed": seed}
    return [
        {**labels, "step": int(step), "status": run.status, **row_of(run.history, row)}
        for row, step in enumerate(run.history.step)
    ]


def findings(rows: Rows) -> Findings:
    """Return the tables, the figures and what they say."""
    rows = starts(rows)
    ends = rows.last(["start", "N", "seed"])
    summary = ends.summary(
        ["start", "N"],
        local=("local", mean),
        local_deviation=("local", np.std),
        product=("product", mean),
        test_risk=("test_risk", mean),
    )
    trends = _trends(summary)
    sentence = _sentence(trends)
    blocks: list[str | TableOf | Picture] = [
        sentence,
        TableOf(
            "samples_trend",
            trends,
            "From the smallest to the largest N, after training: factors of the mean Lipschitz "
            "constants and of the deviation over seeds",
        ),
        _against_samples(summary, ends, sentence),
        _over_steps(rows),
        TableOf("samples", summary, "After training, means over seeds (mean squared error)"),
    ]
    return Findings(blocks, [sentence], [_claim(trends)])


def _trends(summary: Rows) -> Rows:
    """Return how the constants of each start change from the smallest to the largest N."""
    found = []
    for start in summary.values("start"):
        part = summary.where(start=start)
        ends = {name: part[name][[0, -1]] for name in ("local", "product", "local_deviation")}
        found.append(
            {
                "start": start,
                "local": float(ends["local"][1] / ends["local"][0]),
                "product": float(ends["product"][1] / ends["product"][0]),
                "deviation": _shrinks(ends["local_deviation"]),
                "local_falls_always": bool((np.diff(part["local"]) < 0).all()),
            }
        )
    return Rows.of(found)


def _shrinks(ends: Any) -> float:
    """Return the factor of the deviation, NaN where one seed has none."""
    return float(ends[1] / ends[0]) if ends[0] > 0 else float("nan")


def _sentence(trends: Rows) -> str:
    local, product = trends["local"], trends["product"]
    falls = int(np.sum(local < 1))
    direction = (
        "falls" if falls == len(trends) else "rises" if falls == 0 else "does not move one way"
    )
    return (
        f"Lip against N: from the smallest to the largest N the local Lipschitz constant "
        f"{direction} (factors {local.min():.2f} to {local.max():.2f} over {len(trends)} starts), "
        f"the product bound has factors {product.min():.2f} to {product.max():.2f}; the local "
        f"constant falls at every increase of N for {int(trends['local_falls_always'].sum())} of "
        f"them, and its deviation over seeds {_deviations(trends)}."
    )


def _deviations(trends: Rows) -> str:
    known = int(np.sum(~np.isnan(trends["deviation"])))
    if not known:
        return "is not known from one seed"
    return f"shrinks for {int(np.sum(trends['deviation'] < 1))} of {known}"


def _against_samples(summary: Rows, ends: Rows, sentence: str) -> Picture:
    figure, axes = plotting.panels(2)
    counts = summary.values("N")
    for ax, column, key in zip(axes, ("local", "product"), ("", None), strict=True):
        charts.lines(ax, ends, "N", column, "start")
        label = f"{column} Lipschitz constant"
        charts.name_axes(ax, "samples N", label, log="xy", ticks=counts, key=key)
    caption = "After training, mean over seeds, and the deviation as a band."
    return Picture("samples", figure, summary, caption, sentence)


def _over_steps(rows: Rows) -> Picture:
    """Return the local constant over the steps, a panel per start and a line per N."""
    names = rows.values("start")
    figure, axes = plotting.panels(2, -(-len(names) // 2))
    for ax, start in zip(axes, names, strict=False):
        charts.lines(ax, rows.where(start=start), "step", "local", "N")
        key = "N" if start == names[0] else None
        charts.name_axes(ax, "step", "local Lipschitz constant", title=start, key=key)
    numbers = rows.summary(
        ["start", "N", "step"], mean=("local", mean), deviation=("local", np.std)
    )
    caption = "Over the steps, mean and deviation over seeds, a line per number of samples."
    alt = f"Local Lipschitz constant over the steps for N = {rows.values('N')}."
    return Picture("samples_over_steps", figure, numbers, caption, alt)


def _claim(trends: Rows) -> Claim:
    """Compare with observation 1."""
    local = trends["local"]
    mild = bool(((local < 1) & (local > 0.6)).all())
    uneven = not bool(trends["local_falls_always"].all())
    unknown = bool(np.isnan(trends["deviation"]).any())
    shrinks = int(np.sum(trends["deviation"] < 1)) > len(trends) / 2
    return Claim(
        "Lip against N (observation 1)",
        "the trend is downward but mild and not monotone, and the spread over seeds shrinks in "
        "most settings.",
        f"the local constant at the largest N is {local.min():.2f} to {local.max():.2f} of that at "
        f"the smallest; it falls at every increase in {int(trends['local_falls_always'].sum())} of "
        f"{len(trends)} starts; the deviation {_deviations(trends)}.",
        None if mild and uneven and unknown else mild and uneven and shrinks,
    )
