"""Batch sizes: the spread between runs, and what formulas say of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.dynamics import Recording
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, exponent
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.dynamics._problem import digits, network

__all__ = ["findings", "study", "training"]

_SIZES = (32, 64, 128, 256)
#: Variances over so many runs are off by this share, in the mean.
_ERROR = math.sqrt(2.0)


def study(request: Request) -> Study:
    """Return an ensemble per batch size: one start, many orders of batches."""
    runs, steps = request.pick(48, 8), request.pick(200, 40)
    sizes = request.pick((8, *_SIZES, 512), _SIZES)
    jobs = [partial(training, size, runs, steps, request.pick(5, 10)) for size in sizes]
    return Study("batches", "Batch sizes", jobs, findings)


def training(size: int, runs: int, steps: int, every: int) -> Sequence[dict[str, Any]]:
    """Return the row of one batch size."""
    data = digits()
    found = lipgd.dynamics.ensemble(
        network("silu", 0),
        data.X,
        data.y,
        runs=runs,
        steps=steps,
        batch_size=size,
        rate=0.1,
        loss="cross_entropy",
        record_every=every,
        dynamics=Recording(diagonal=False),
        targets=[steps],
        n_threads=1,
    )
    row = found.table()[-1]
    return [
        {
            "batch_size": size,
            "noise": 1.0 / size - 1.0 / len(data.X),
            "runs": runs,
            "steps": steps,
            "change": row["mean_change"],
            "change_error": row["mean_error"],
            "noise_free": row["noise_free"],
            "noise_curvature": row["noise_curvature"],
            "variance": row["variance"],
            "propagated": row["propagated"],
            "innovation": row["innovation"],
        }
    ]


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    table = TableOf(
        "batches",
        rows.pick([c for c in rows.columns if c != "noise"]),
        "Change of Z (mean over the runs, its error, and without noise), the share of it that is "
        "noise-curvature, the variance of Z between runs at the end, and two formulas over that "
        "variance: the propagated one (4.1), and the integral of lambda^2, the innovation alone",
        {"propagated": "propagated / variance", "innovation": "integral of lambda^2 / variance"},
    )
    claims = [_inverse(rows), _mean(rows), _formula(rows)]
    answer = (
        "What does the batch size do? "
        f"{claims[0].seen[0].upper()}{claims[0].seen[1:]} {claims[1].seen[0].upper()}"
        f"{claims[1].seen[1:]}"
    )
    return Findings([answer, table, _picture(rows)], [answer], claims)


def _inverse(rows: Rows) -> Claim:
    power = exponent(rows["noise"], rows["variance"])
    return Claim(
        "Batch size and variance",
        "the variance of Z between runs is proportional to 1/M - 1/N: exponent 1.",
        f"the fitted exponent of the variance between runs is {power:.2f} over batch sizes "
        f"{int(rows['batch_size'].min())} to {int(rows['batch_size'].max())}.",
        None if math.isnan(power) else bool(0.75 <= power <= 1.25),
    )


def _mean(rows: Rows) -> Claim:
    change, error = rows["change"], rows["change_error"]
    wide = float(change.max() - change.min())
    chance = 3.0 * float(np.hypot(error[change.argmax()], error[change.argmin()]))
    kappa = rows["noise_curvature"]
    return Claim(
        "Batch size and mean: kappa accounts, it does not cause (4.3)",
        "the mean change does not depend on the batch size although noise-curvature does: the "
        "drift makes up for it.",
        f"the mean change of Z varies by {wide:.3g} over the batch sizes (three errors: "
        f"{chance:.2g}), noise-curvature by {float(kappa.max() - kappa.min()):.3g}.",
        bool(wide <= max(chance, 0.25 * float(kappa.max() - kappa.min()))),
    )


def _formula(rows: Rows) -> Claim:
    error = 3.0 * _ERROR / np.sqrt(rows["runs"].astype(float) - 1)
    off = np.abs(rows["propagated"] - 1.0)
    ratio = rows["innovation"]
    return Claim(
        "Which formula is the spread between runs (4.2)",
        "the propagated variance, within 25 % and chance; the integral of lambda^2 is not.",
        f"the propagated variance is {float(rows['propagated'].min()):.2f} to "
        f"{float(rows['propagated'].max()):.2f} of the observed one, the integral of lambda^2 "
        f"{float(ratio.min()):.2f} to {float(ratio.max()):.2f}.",
        bool((off <= 0.25 + error).all()),
    )


def _picture(rows: Rows) -> Picture:
    figure, (left, right) = plotting.panels(2)
    size = rows["batch_size"]
    shown = {
        "between runs": rows["variance"],
        "propagated (4.1)": rows["variance"] * rows["propagated"],
        "integral of lambda^2": rows["variance"] * rows["innovation"],
    }
    for place, (name, values) in enumerate(shown.items()):
        style = charts.point_style(place)
        left.plot(size, values, **{**style, "linestyle": "-"}, label=name)
    charts.name_axes(left, "batch size", "variance of Z", log="xy", ticks=[int(s) for s in size])
    style = charts.point_style(0)
    right.errorbar(
        size, rows["change"], 2.0 * rows["change_error"], **style, label="mean over runs"
    )
    right.plot(size, rows["noise_free"], color="#333333", linewidth=1.0, label="without noise")
    charts.name_axes(right, "batch size", "change of Z", log="x", ticks=[int(s) for s in size])
    return Picture(
        "batches",
        figure,
        rows,
        "Left: variance of Z between runs from one start, beside the two formulas. Right: mean "
        "change of Z with two standard errors.",
        "The variance falls with the batch size like the propagated formula; the mean is flat.",
    )
