"""Long runs: whether the bound goes on growing near convergence, and by which part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.dynamics import Recording
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.dynamics._problem import PARTS, digits, network, percent, train
from lipgd.plotting._style import log_steps

__all__ = ["findings", "study", "training"]

_SIZES = (64, 16, 10)
_LABELS = {"clean": 0.0, "20 % random": 0.2}
#: A part below this share of the growth is not significant.
_SIGNIFICANT = 0.05


def study(request: Request) -> Study:
    """Return one long training of a small network per kind of labels."""
    steps = request.pick(320_000, 4000)
    jobs = [partial(training, labels, steps) for labels in _LABELS]
    return Study("convergence", "Near convergence", jobs, findings)


def training(labels: str, steps: int) -> Sequence[dict[str, Any]]:
    """Return a row per window of steps, each twice as long as the one before."""
    run = train(
        network("silu", 0, sizes=_SIZES),
        digits(_LABELS[labels]),
        steps=steps,
        record_every=20,
        dynamics=Recording(movement=0.02, diagonal=False),
    )
    found = lipgd.dynamics.predict(run)
    risk = np.interp(found.step, run.history.step, run.history["risk"])
    ends = [0, *(steps // 2**k for k in range(int(math.log2(steps / 125)), -1, -1))]
    places = np.unique([int(np.searchsorted(found.step, end)) for end in ends])
    rows = []
    for begin, end in pairwise(places):
        grown = float(found.observed[end] - found.observed[begin])
        parts = {part: getattr(found, part)[end] - getattr(found, part)[begin] for part in PARTS}
        rows.append(
            {
                "labels": labels,
                "begin": int(found.step[begin]),
                "end": int(found.step[end]),
                "risk": float(risk[end]),
                "Z": float(found.observed[end]),
                "growth": grown,
                **{part: float(value) for part, value in parts.items()},
                "kappa_share": float(parts["noise_curvature"]) / grown if grown else math.nan,
                "slope": grown / math.log(found.step[end] / found.step[begin]) if begin else None,
            }
        )
    return rows


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    table = TableOf(
        "convergence",
        rows,
        "Growth of Z in windows of steps, its parts, the share of noise-curvature in it, and its "
        "slope by the logarithm of the steps",
        {**PARTS, "kappa_share": "share of noise-curvature", "slope": "dZ / d log t"},
    )
    claims = [_growing(rows), _kappa(rows)]
    answers = [
        f"Does the bound stop growing near convergence? {claims[0].seen}",
        f"Is noise-curvature significant near convergence? {claims[1].seen}",
    ]
    return Findings([*answers, table, _picture(rows)], answers, claims)


def _growing(rows: Rows) -> Claim:
    last = rows.last(["labels"])
    clean = rows.where(labels="clean")
    slopes = [float(value) for value in clean["slope"][-3:]]
    text = ", ".join(
        f"{label}: {growth:+.3f} in steps {begin:,} to {end:,}"
        for label, growth, begin, end in zip(
            last["labels"], last["growth"], last["begin"], last["end"], strict=True
        )
    )
    return Claim(
        "The bound goes on growing near convergence",
        "Z grows in the last window too, by a slope that falls with the logarithm of time.",
        f"{text}. On clean labels the last slopes by log t are "
        f"{', '.join(f'{slope:.2f}' for slope in slopes)}.",
        bool((last["growth"].astype(float) > 0).all()),
    )


def _kappa(rows: Rows) -> Claim:
    seen, late = [], {}
    for label in rows.values("labels"):
        part = rows.where(labels=label)
        share = part["kappa_share"]
        late[label] = float(share[-1])
        seen.append(
            f"With {label} labels its share of the growth goes from at most "
            f"{percent(float(np.nanmax(share)))} to {percent(late[label])} in the last window, "
            f"where the risk is {float(part['risk'][-1]):.2g}."
        )
    return Claim(
        "Kappa stays significant near convergence",
        f"noise-curvature makes at least {percent(_SIGNIFICANT)} of the growth in the last window.",
        " ".join(seen),
        bool(all(share >= _SIGNIFICANT for share in late.values())),
    )


def _picture(rows: Rows) -> Picture:
    figure, (left, right) = plotting.panels(2)
    charts.lines(left, rows, "end", "Z", "labels")
    charts.name_axes(left, "step", "Z (sum of log norms)")
    charts.lines(right, rows, "end", "kappa_share", "labels")
    charts.name_axes(right, "step", "share of noise-curvature in the growth", key=None)
    for ax in (left, right):
        log_steps(ax, 100.0)
    return Picture(
        "convergence",
        figure,
        rows,
        "Left: Z at the ends of the windows. Right: the share of noise-curvature in each window.",
        "Z keeps growing; the share of noise-curvature falls once the labels are fitted.",
    )
