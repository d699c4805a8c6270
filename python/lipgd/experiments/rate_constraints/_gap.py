"""The generalization gap beside its bounds, against the number of samples and the width."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting, report, schedules
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, mean
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._trainings import Data, cube, named, network
from lipgd.theory import generalization

__all__ = ["findings", "study", "terms", "training"]

_LARGEST = 1.8  #: Targets are cut off here, so that their law has a box.
_RADIUS, _RATE, _DELTA = 0.5, 0.05, 0.05
_SHAPE = schedules.hold_then_decay(1.0, 50, schedules.exponential(1.0, 0.01))
_BOUNDS = ("wasserstein", "rademacher")


def study(request: Request) -> Study:
    """Return the trainings against N and p in two dimensions, and the terms of the bounds."""
    counts = request.pick((50, 100, 200, 300, 500), (50, 500))
    widths = request.pick((50, 100, 200, 300, 500), (50, 500))
    many = request.pick((5_000, 50_000), (5_000,))
    steps = request.pick(500, 100)
    jobs: list[Any] = []
    for n_inputs in (1, 4):
        for seed in request.repeats(8, 1):
            jobs += [partial(training, "N", n_inputs, n, 100, seed, steps) for n in counts]
            jobs += [partial(training, "p", n_inputs, 150, p, seed, steps) for p in widths]
        jobs += [partial(training, "N", n_inputs, n, 100, 0, steps) for n in many]
    jobs.append(terms)
    return Study("gap", "Generalization gap and its bounds", jobs, findings)


def training(
    axis: str, n_inputs: int, count: int, width: int, seed: int, steps: int
) -> Sequence[dict[str, Any]]:
    """Return the gap at the end of a training whose four parameters all have budgets."""
    plain = cube(count, seed, n_inputs)
    targets = [np.clip(y, -_LARGEST, _LARGEST) for y in (plain.y, plain.y_test)]
    data = Data(plain.X, targets[0], plain.X_test, targets[1])
    net = network(data, width, init="torch", seed=seed)
    budget = count * _RADIUS / _SHAPE.limit
    run = lipgd.train(
        net,
        data.X,
        data.y,
        loss="huber",
        rate=_RATE,
        steps=steps,
        constraint=lipgd.RateCaps(
            dict.fromkeys(("W1", "b1", "W2", "b2"), budget), _SHAPE, mode="carry_over"
        ),
        record_every=steps,
        n_threads=1,
    )
    box = ((-1.0, 1.0), (-_LARGEST, _LARGEST))
    found = report.guarantees(run, data.X, data.y, data.test, _DELTA, box=box)
    row = {"kind": "training", "axis": axis, "d": n_inputs, "N": count, "p": width, "seed": seed}
    row |= {"risk": float(found["risk"][-1]), "gap": float(found["gap"][-1])}
    for name in _BOUNDS:
        column = f"gap_{name}"
        row[name] = float(found[column][-1])
        row[f"{name}_vacuous"] = bool(found.vacuous[column][-1])
    return [row]


def terms() -> Sequence[dict[str, Any]]:
    """Return the terms of both bounds without the deviation, in the setting of observation 7."""
    rows = []
    for n_inputs in (1, 2, 4, 9):
        for count in (10**3, 10**6):
            distance = generalization.mean_wasserstein([2.0] * n_inputs + [3.0], count)
            ball = generalization.ball_complexity(
                count,
                100,
                lipschitz=1.0,
                hidden_radius=0.5,
                outer_radius=0.5,
                outer_bias_radius=0.5,
                start_outer_norm=0.58,
                start_feature_rms=4.0,
                input_rms=float(np.sqrt(n_inputs + 1)),
            )
            slope = generalization.loss_slope("huber", 1, 2.0)
            rademacher = 2.0 * generalization.loss_complexity(ball, 1.0, 1)
            row = {"kind": "terms", "d": n_inputs, "N": count}
            rows.append({**row, "wasserstein": slope * distance, "rademacher": rademacher})
    return rows


#: Both terms of observation 7, for d and N.
_EXPECTED = {
    (1, 10**3): (0.723, 0.435),
    (1, 10**6): (0.039, 0.014),
    (2, 10**3): (1.599, 0.498),
    (2, 10**6): (0.185, 0.016),
    (4, 10**3): (3.714, 0.596),
    (4, 10**6): (0.971, 0.019),
    (9, 10**3): (8.67, 0.778),
    (9, 10**6): (4.40, 0.025),
}


def findings(rows: Rows) -> Findings:
    """Return the tables, the figure and what they say."""
    runs = rows.where(kind="training")
    numbers = {n: (n, mean) for n in ("risk", "gap", *_BOUNDS)}
    vacuous = {f"{n}_vacuous": (f"{n}_vacuous", mean) for n in _BOUNDS}
    summary = runs.summary(["axis", "d", "N", "p"], **numbers, **vacuous)
    parts = rows.where(kind="terms").pick(["d", "N", *_BOUNDS])
    sentences = [_gap_in_words(summary), _bounds_in_words(runs)]
    figure, axes = plotting.panels(2)
    for ax, axis, label in zip(axes, ("N", "p"), ("samples N", "width p"), strict=True):
        shown = _long(runs.where(axis=axis), axis)
        charts.lines(ax, shown, axis, "value", "series")
        ticks = summary.where(axis=axis).values(axis)
        key = "" if axis == "N" else None
        charts.name_axes(ax, label, "gap and bounds (Huber)", log="xy", ticks=ticks, key=key)
    caption = (
        "Test risk minus training risk (its size), and both bounds, each true with probability "
        f"{1 - _DELTA:g}: means over seeds, and deviations as bands."
    )
    blocks: list[str | TableOf | Picture] = [
        *sentences,
        Picture("gap", figure, summary, caption, " ".join(sentences)),
        TableOf(
            "gap",
            summary,
            "At the end of training, means over seeds. Vacuous: part of the trainings where the "
            "bound tells nothing that a constant would not",
        ),
        TableOf("gap_terms", parts, "Terms of the bounds without the deviation (observation 7)"),
    ]
    return Findings(blocks, sentences, [_claim(parts)])


def _long(rows: Rows, axis: str) -> Rows:
    """Return the lines of the figure, one per dimension and number."""
    return Rows.of(
        {"series": f"{words}, d = {d}", axis: at, "value": abs(value)}
        for d in rows.values("d")
        for name, words in (
            ("gap", "gap"),
            *zip(_BOUNDS, ("Wasserstein", "Rademacher"), strict=True),
        )
        for at, value in zip(rows.where(d=d)[axis], rows.where(d=d)[name], strict=True)
    )


def _gap_in_words(summary: Rows) -> str:
    parts = []
    for axis in summary.values("axis"):
        for d in summary.values("d"):
            part = summary.where(axis=axis, d=d)
            order = np.argsort(part[axis])
            ends, gaps = part[axis][order][[0, -1]], part["gap"][order][[0, -1]]
            parts.append(
                f"from {gaps[0]:.3f} at {axis} = {ends[0]} to {gaps[1]:.3f} at {axis} = {ends[1]} "
                f"for d = {d}"
            )
    return f"The measured gap, test risk minus training risk, goes {'; '.join(parts)}."


def _bounds_in_words(runs: Rows) -> str:
    """Say whether the bounds held, which is smaller, and from which N on one tells something."""
    gaps, first, second = runs["gap"], runs["wasserstein"], runs["rademacher"]
    broken = int(np.sum(gaps > np.fmin(first, second)))
    smaller = float(np.mean(second < first))
    parts = []
    for name in _BOUNDS:
        empty = np.asarray(runs[f"{name}_vacuous"], dtype=bool)
        pairs = zip(runs["d"], runs["N"], empty, strict=True)
        told = sorted({(int(d), int(n)) for d, n, nothing in pairs if not nothing})
        least = {d: min(n for e, n in told if e == d) for d, _ in told}
        where = named([f"d = {d} from N = {n:,} on" for d, n in least.items()])
        words = f"for {where}" if least else "nowhere"
        parts.append(f"the {name.capitalize()} bound tells something {words}")
    return (
        f"The smaller of both bounds is broken in {broken} of {len(runs)} trainings; the "
        f"Rademacher bound is the smaller one in {smaller:.0%}; {' and '.join(parts)}."
    )


def _claim(parts: Rows) -> Claim:
    """Compare with observation 7."""
    worst, always = 0.0, True
    for (d, count), numbers in _EXPECTED.items():
        cell = parts.where(d=d, N=count)
        found = [float(cell[name][0]) for name in _BOUNDS]
        # The expected numbers have three digits or three decimals.
        off = [max(0.0, abs(a - b) - 0.0005) / b for a, b in zip(found, numbers, strict=True)]
        worst = max(worst, *off)
        always &= found[1] < found[0]
    return Claim(
        "Generalisation terms (observation 7)",
        "the Rademacher term is smaller than the Wasserstein term for d = 1, 2, 4, 9 and N = 1,000 "
        "and 1,000,000 (d = 1, N = 1,000: .723 and .435; d = 9, N = 1,000,000: 4.40 and .025).",
        f"the largest difference from these numbers is {worst:.2%}, and the Rademacher term is "
        f"{'always' if always else 'not always'} the smaller one.",
        worst < 0.002 and always,
    )
