"""Scales of the initialisation: whether the start is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.dynamics import Recording
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.dynamics._problem import PARTS, along, digits, facts, network, train

__all__ = ["findings", "study", "training"]

_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def study(request: Request) -> Study:
    """Return a training per scale and seed."""
    steps = request.pick(2000, 120)
    jobs = [
        partial(training, scale, seed, steps) for scale in _SCALES for seed in request.repeats(3, 1)
    ]
    return Study("starts", "Scales of the initialisation", jobs, findings)


def training(scale: float, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return rows along one training."""
    run = train(
        network("silu", seed, scale),
        digits(),
        steps=steps,
        record_every=4,
        dynamics=Recording(movement=0.03, diagonal=False),
        shuffle_seed=seed,
    )
    found = lipgd.dynamics.predict(run)
    head = {"scale": scale, "seed": seed, "risk": float(run.history["risk"][-1]), **facts(found)}
    return [{**head, **row} for row in along(found)]


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    first = rows.where(step=0).summary(["scale"], start=("Z", np.mean))
    ends = rows.last(["scale", "seed"])
    numbers = {name: (name, np.mean) for name in ("change", *PARTS, "risk")}
    shown = ends.summary(["scale"], end=("Z", np.mean), **numbers)
    starts = dict(zip(first["scale"], first["start"], strict=True))
    merged = Rows.of(
        {
            "scale": row[0],
            "start": float(starts[row[0]]),
            **dict(zip(shown.columns[1:], row[1:], strict=True)),
        }
        for row in shown.cells
    )
    table = TableOf(
        "starts",
        merged,
        "Z at the start and at the end, and the parts of its change (means over the seeds), by the "
        "factor of the usual initial weights",
        {"start": "Z at the start", "end": "Z at the end", "noise_curvature": "noise-curvature"},
    )
    claims = [_forgotten(merged)]
    answer = f"Does the scale of the initialisation last? {claims[0].seen}"
    return Findings([answer, table, _picture(rows)], [answer], claims)


def _forgotten(table: Rows) -> Claim:
    small = table["scale"] <= 1.0
    begin, end = table["start"][small], table["end"][small]
    before, after = float(np.ptp(begin)), float(np.ptp(end))
    largest = int(np.argmax(table["scale"]))
    moved = float(table["change"][largest])
    return Claim(
        "Small initialisations are forgotten, a large one is kept (section 15)",
        "starts at or below the usual scale end at nearly the same Z, and the largest one hardly "
        "moves.",
        f"At or below the usual scale Z differs by {before:.2f} at the start and {after:.2f} at "
        f"the end; with the factor {table['scale'][largest]:g} it moves by {moved:+.2f}.",
        bool(after < 0.25 * before and abs(moved) < 0.25 * before),
    )


def _picture(rows: Rows) -> Picture:
    figure, (ax,) = plotting.panels(1)
    drawn = charts.lines(ax, rows.where(seed=rows["seed"][0]), "step", "Z", "scale")
    charts.name_axes(ax, "step", "Z (sum of log norms)", key="factor")
    return Picture(
        "starts",
        figure,
        drawn,
        "Z along trainings from scaled initial weights. First seed.",
        "Lines from different heights come together, but for the largest scale.",
    )
