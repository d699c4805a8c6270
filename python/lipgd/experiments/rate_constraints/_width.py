"""The Lipschitz constant against the width: fitted exponents, and when a rate is too large."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting, schedules
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, exponent, mean
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._trainings import (
    cube,
    curves,
    named,
    network,
    row_of,
    starts,
)

__all__ = ["findings", "study", "training"]

_SAMPLES, _RATE, _LARGE = 150, 0.005, 0.02
#: The risk rises on more than this part of the steps where a rate is too large.
_UNSTEADY = 0.05


def study(request: Request) -> Study:
    """Return the trainings of every width."""
    widths = request.pick((50, 100, 150, 200, 300, 400, 500), (50, 150, 500))
    steps, hold = request.pick((1500, 500), (300, 100))
    jobs = [
        partial(training, init, activation, width, seed, steps, hold)
        for init in ("torch", "he")
        for activation in ("relu", "silu")
        for width in widths
        for seed in request.repeats(5, 2)
    ]
    return Study("width", "Lipschitz constant against the width", jobs, findings)


def training(
    init: str, activation: str, width: int, seed: int, steps: int, hold: int
) -> Sequence[dict[str, Any]]:
    """Return one row: the constants before and after, and how often a large rate goes uphill."""
    data = cube(_SAMPLES, seed)
    net = network(data, width, activation=activation, init=init, seed=seed)
    decay = schedules.exponential(1.0, 2.5 / hold)
    run = curves(net, data, schedules.hold_then_decay(_RATE, hold, decay), steps, loss="mse")
    start, end = row_of(run.history, 0), row_of(run.history)
    large = lipgd.train(net, data.X, data.y, rate=_LARGE, steps=hold, n_threads=1)
    return [
        {
            "init": init,
            "activation": activation,
            "p": width,
            "seed": seed,
            "status": run.status,
            "local_start": start["local"],
            "product_start": start["product"],
            **end,
            "large_rate_status": large.status,
            "large_rate_uphill": float(np.mean(np.diff(large.history["risk"]) > 0)),
        }
    ]


_FITTED = ("product_start", "product", "local_start", "local")


def findings(rows: Rows) -> Findings:
    """Return the tables, the figure and what they say."""
    rows = starts(rows)
    numbers = {name: (name, mean) for name in (*_FITTED, "test_risk", "large_rate_uphill")}
    summary = rows.summary(["start", "p"], **numbers)
    fits = Rows.of(
        {
            "start": start,
            **{
                name: exponent(summary.where(start=start)["p"], summary.where(start=start)[name])
                for name in _FITTED
            },
            "largest_steady_p": _largest_steady(rows.where(start=start)),
        }
        for start in summary.values("start")
    )
    sentence = _sentence(fits)
    figure, axes = plotting.panels(2)
    for ax, column in zip(axes, ("local", "product"), strict=True):
        charts.lines(ax, rows, "p", column, "start")
        label = f"{column} Lipschitz constant"
        key = "" if column == "product" else None
        charts.name_axes(ax, "width p", label, log="xy", ticks=summary.values("p"), key=key)
    caption = "After training, mean over seeds, and the deviation as a band."
    blocks: list[str | TableOf | Picture] = [
        sentence,
        TableOf(
            "width_exponents",
            fits,
            "Fitted exponents of p, before and after training, and the largest width at which a "
            f"rate of {_LARGE:g} is steady: the risk rises on at most {_UNSTEADY:.0%} of the steps",
        ),
        Picture("width", figure, summary, caption, sentence),
        TableOf("width", summary, "Means over seeds (mean squared error, N = 150)"),
    ]
    return Findings(blocks, [sentence], [_claim(fits, summary)])


def _largest_steady(rows: Rows) -> int | None:
    """Return the largest width up to which the large rate goes downhill with every seed."""
    largest = None
    for width in rows.values("p"):
        part = rows.where(p=width)
        if "diverged" in part.values("large_rate_status"):
            break
        if part["large_rate_uphill"].max() > _UNSTEADY:
            break
        largest = int(width)
    return largest


def _range(values: Any) -> str:
    return f"{np.min(values):.2f} to {np.max(values):.2f}"


def _kind(values: Any) -> str:
    """Say which growth exponents are."""
    if np.all(np.abs(values) <= 0.1):
        return "is flat"
    if np.all((values > 0.25) & (values < 0.6)):
        return "grows about like the square root of p"
    if np.all(values > 0.1):
        return "grows with p"
    return "falls with p" if np.all(values < -0.1) else "has no common trend"


def _sentence(fits: Rows) -> str:
    return (
        f"Lip against p: after training the product bound {_kind(fits['product'])} (fitted "
        f"exponents {_range(fits['product'])}, at the start {_range(fits['product_start'])}), and "
        f"the local Lipschitz constant {_kind(fits['local'])} ({_range(fits['local'])})."
    )


def _claim(fits: Rows, summary: Rows) -> Claim:
    """Compare with observation 2."""
    he = np.array([start.startswith("he") for start in fits["start"]])
    product = fits["product"]
    widest = max(summary.values("p"))
    steady = fits["largest_steady_p"]
    unsteady = [s for s, p in zip(fits["start"], steady, strict=True) if not p >= widest]
    conditions = {
        "exponents of the product from 0.38 to 0.5 with he": bool(
            ((product[he] > 0.38) & (product[he] < 0.5)).all()
        ),
        "from 0.25 to 0.42 with torch": bool(((product[~he] > 0.25) & (product[~he] < 0.42)).all()),
        "local exponents within 0.1": bool((np.abs(fits["local"]) <= 0.1).all()),
        "the large rate too large for the widest networks of he": any(
            start.startswith("he") for start in unsteady
        ),
    }
    broken = [name for name, holds in conditions.items() if not holds]
    return Claim(
        "Lip against p (observation 2)",
        "the product grows like the square root of p (exponents 0.42 to 0.45 with he, 0.32 to 0.35 "
        "with torch), the local constant is flat (0.01 to 0.07), and with a rate of .02 and he the "
        "largest widths leave the stable range.",
        f"exponents of the product {_range(product[he])} with he and {_range(product[~he])} with "
        f"torch, of the local constant {_range(fits['local'])}; a rate of {_LARGE:g} is not steady "
        f"at p = {widest} for {named(unsteady)}. Not seen: {named(broken)}.",
        not broken,
    )
