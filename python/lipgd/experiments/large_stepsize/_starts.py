"""How the transition and the rate depend on the initial weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.large_stepsize._problems import descend, mean_field, summary, xor

__all__ = ["findings", "study", "training"]

_SIZES = (0.01, 0.1, 1, 3, 10)
_KINDS = ("normal", "uniform", "rademacher")
_STEPSIZE, _WIDTH = 1000.0, 20


def study(request: Request) -> Study:
    """Return trainings from all sizes and kinds of starts, many seeds each."""
    steps = request.pick(4000, 1000)
    jobs = [
        partial(training, kind, size, request.repeats(20, 5), steps)
        for kind in _KINDS
        for size in _SIZES
    ]
    return Study("starts", "Initial weights", jobs, findings)


def training(kind: str, size: float, seeds: range, steps: int) -> Sequence[dict[str, Any]]:
    """Return a row per seed."""
    data = xor(0.1)
    rows = []
    for seed in seeds:
        net = mean_field("leaky(softplus, 0.5)", _WIDTH, 3, seed, size=size, kind=kind)
        run = descend(net, data, _STEPSIZE, steps)
        facts = summary(run, data)
        rows.append(
            {
                "kind": kind,
                "size": size,
                "start": f"{kind}, {size:g}",
                "seed": seed,
                "observed": facts["observed"],
                "certified": facts["certified"],
                "scaled": facts["scaled"],
                "decay": facts["decay"],
            }
        )
    return rows


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    table = rows.summary(
        ["kind", "size"],
        certified_median=("certified", _median),
        certified_low=("certified", partial(_quantile, share=0.1)),
        certified_high=("certified", partial(_quantile, share=0.9)),
        observed_median=("observed", _median),
        scaled_median=("scaled", _median),
        scaled_low=("scaled", partial(_quantile, share=0.1)),
        scaled_high=("scaled", partial(_quantile, share=0.9)),
    )
    answer = _answer(table)
    seeds = len(rows.values("seed"))
    shown = TableOf(
        "starts",
        table,
        f"Lifted XOR, {seeds} seeds each: median and first and last tenth of the certified step, "
        "of the last rise, and of stepsize x step x risk at the end; the size is the deviation of "
        "the hidden weights times the root of the number of inputs",
    )
    return Findings([answer, shown, _picture(rows)], [answer], [_claim(table)])


def _median(values: Any) -> float:
    return float(np.nanmedian(np.asarray(values, float)))


def _quantile(values: Any, share: float) -> float:
    return float(np.nanquantile(np.asarray(values, float), share))


def _answer(table: Rows) -> str:
    normal = table.where(kind="normal")
    times = ", ".join(
        f"{size:g}: {time:.0f}"
        for size, time in zip(normal["size"], normal["certified_median"], strict=True)
    )
    scaled = table["scaled_median"]
    return (
        "Does the start matter? Median certified step by the size of normal weights: "
        f"{times}. The rate at the end, stepsize x step x risk, has medians from "
        f"{scaled.min():.3g} to {scaled.max():.3g} over all sizes and kinds."
    )


def _claim(table: Rows) -> Claim:
    small = table["size"] <= 1.0
    scaled = table["scaled_median"][small]
    spread = float(scaled.max() / scaled.min())
    one = table.where(size=1.0)["certified_median"]
    return Claim(
        "Sensitivity to the start",
        "the rate after the transition does not depend on the start (Theorem 4); the bound (5.5) "
        "allows a delay that grows with the norm of the initial weights.",
        f"certified steps of the kinds at size 1: {', '.join(f'{value:.0f}' for value in one)}; "
        f"medians of the rate up to size 1 within a factor {spread:.2f}; certified step at size "
        f"10 against 0.1: {_ratio(table):.1f} times.",
        bool(one.max() <= 2.0 * max(one.min(), 1.0) and spread < 3.0),
    )


def _ratio(table: Rows) -> float:
    large, small = (table.where(size=size)["certified_median"].mean() for size in (10.0, 0.1))
    return float(large / max(small, 1.0))


def _picture(rows: Rows) -> Picture:
    figure, axes = plotting.panels(2, 3)
    for place, kind in enumerate(rows.values("kind")):
        part = rows.where(kind=kind)
        for ax, quantity, words in (
            (axes[2 * place], "certified", "certified step (Theorem 1)"),
            (axes[2 * place + 1], "scaled", "stepsize x step x risk"),
        ):
            charts.boxes(ax, part, quantity, "size")
            charts.name_axes(ax, "size of the initial weights", words, title=kind, log="y")
    return Picture(
        "starts",
        figure,
        rows.pick(["kind", "size", "seed", "certified", "scaled"]),
        "Quartiles over seeds of the certified step and of the rate, by law and size of the "
        "initial weights.",
        "Boxes per size; large initial weights are certified later.",
    )
