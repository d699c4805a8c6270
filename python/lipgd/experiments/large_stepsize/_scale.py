"""The output scale b, with test accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.large_stepsize._problems import (
    accuracy,
    descend,
    digits,
    mean_field,
    summary,
    tidy,
)
from lipgd.theory import large_stepsize

__all__ = ["findings", "study", "training"]

_SCALES = (0.5, 1.0, 2.0, 4.0)
_STEPSIZES = (10.0, 100.0, 1000.0)
_ACTIVATION, _WIDTH = "leaky(gelu, 0.5)", 50


def study(request: Request) -> Study:
    """Return trainings on digits with every scale and stepsize."""
    steps, seeds = request.pick(3000, 300), request.repeats(5, 2)
    jobs = [
        partial(training, scale, stepsize, seed, steps)
        for scale in _SCALES
        for stepsize in _STEPSIZES
        for seed in seeds
    ]
    return Study("scale", "The output scale b", jobs, findings)


def training(scale: float, stepsize: float, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return the row of one training."""
    data = digits(seed)
    net = mean_field(_ACTIVATION, _WIDTH, data.X.shape[1], seed, scale=scale)
    run = descend(net, data, stepsize, steps)
    facts = summary(run, data)
    found = large_stepsize.constants(net, data.X)
    return [
        {
            "b": scale,
            "stepsize": tidy(stepsize),
            "seed": seed,
            "accuracy": accuracy(run.network, data.X_test, data.y_test),
            "log_risk": facts["log_risk"],
            "risk": math.exp(max(facts["log_risk"], -700.0)),
            "certified": facts["certified"],
            "margin": facts["margin"],
            "kappa": found.homogeneity_gap,
            "sharpness_limit": 2.0 / stepsize / found.gradient_bound**2,
        }
    ]


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    means = rows.summary(
        ["b", "stepsize"],
        accuracy=("accuracy", _mean),
        log_risk=("log_risk", _mean),
        certified=("certified", _mean),
        margin=("margin", _mean),
        kappa=("kappa", _mean),
    )
    table = TableOf(
        "scale",
        means,
        "Digits 3 and 8, means over seeds: test accuracy and log risk at the end, the steps at "
        "which risk and margin are certified (empty: in no training), and kappa",
        {"log_risk": "log risk"},
    )
    answer = _answer(means)
    return Findings([answer, table, _picture(rows)], [answer], [_claim(means)])


def _mean(values: Any) -> float | None:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None


def _answer(means: Rows) -> str:
    best = [
        f"b = {scale:g}: {means.where(b=scale)['accuracy'].max():.3f}"
        for scale in means.values("b")
    ]
    top = means["accuracy"].max()
    place = int(np.argmax(means["accuracy"]))
    return (
        "Which output scale tests best? Best mean test accuracy over stepsizes: "
        f"{', '.join(best)}. The best of all, {top:.3f}, has b = {means['b'][place]:g} and "
        f"stepsize {means['stepsize'][place]:g}."
    )


def _claim(means: Rows) -> Claim:
    drops = []
    for stepsize in means.values("stepsize"):
        part = means.where(stepsize=stepsize)["log_risk"]
        drops.append(bool((np.diff(part) < 0).all()))
    return Claim(
        "Scale of the network (Theorem 6)",
        "gamma_*^2 grows like b^2: at a fixed stepsize the risk falls faster the larger b is.",
        f"so for {sum(drops)} of {len(drops)} stepsizes.",
        all(drops),
    )


def _picture(rows: Rows) -> Picture:
    figure, axes = plotting.panels(2)
    drawn = []
    for ax, quantity, words, log in (
        (axes[0], "accuracy", "test accuracy", "x"),
        (axes[1], "risk", "risk at the end (nats)", "xy"),
    ):
        found = charts.lines(ax, rows, "b", quantity, "stepsize")
        charts.name_axes(ax, "output scale b", words, log=log, ticks=_SCALES)
        ax.legend(title="stepsize", frameon=False, fontsize=8)
        drawn += [
            {"quantity": quantity, **dict(zip(found.columns, row, strict=True))}
            for row in found.cells
        ]
    return Picture(
        "scale",
        figure,
        Rows.of(drawn),
        "Means over seeds and standard deviations, by output scale and stepsize.",
        "Test accuracy and risk against the output scale, a line per stepsize.",
    )
