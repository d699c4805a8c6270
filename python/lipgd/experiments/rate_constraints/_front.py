"""What the hold, the decay and the budgets do: fronts of Lipschitz constant and risk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import lipgd
from lipgd import plotting, schedules
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, mean
from lipgd.experiments._study import Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._trainings import (
    cube,
    curves,
    named,
    network,
    row_of,
)

__all__ = ["efficient", "findings", "study", "training"]

_SAMPLES, _RATE, _CAPPED_RATE = 150, 0.01, 0.05
_SHAPE = schedules.hold_then_decay(1.0, 50, schedules.exponential(1.0, 0.02))
#: The front is that of points whose constant and risk are not both this much larger than others'.
_FAMILIES = {
    "schedule": "hold and decay of the rate",
    "caps": "budgets of W and B",
}


def study(request: Request) -> Study:
    """Return the trainings of both families."""
    steps = request.pick(1000, 300)
    holds = request.pick((10, 50, 200, 500), (10, 200))
    decays = request.pick((0.001, 0.005, 0.02, 0.1), (0.002, 0.02))
    radii = request.pick((0.05, 0.1, 0.2, 0.4, 0.8), (0.1, 0.4))
    seeds = request.repeats(5, 2)
    jobs = [
        partial(training, family, first, second, seed, steps)
        for family, axes in (("schedule", (holds, decays)), ("caps", (radii, radii)))
        for first in axes[0]
        for second in axes[1]
        for seed in seeds
    ]
    return Study("front", "Hold, decay and budgets: smoothness against risk", jobs, findings)


def training(
    family: str, first: float, second: float, seed: int, steps: int
) -> Sequence[dict[str, Any]]:
    """Return the row of one training.

    The settings are hold and decay of a schedule, or how far W and B may go with caps: the budgets
    C are such that C / N times the limit of the rate function is this distance.
    """
    data = cube(_SAMPLES, seed)
    net = network(data, seed=seed)
    labels: dict[str, Any] = {"family": family, "seed": seed}
    if family == "schedule":
        decay = schedules.exponential(1.0, second)
        run = curves(net, data, schedules.hold_then_decay(_RATE, int(first), decay), steps)
        labels |= {"hold": int(first), "decay": second}
    else:
        budgets = {
            name: _SAMPLES * radius / _SHAPE.limit
            for name, radius in (("W1", first), ("W2", second))
        }
        caps = lipgd.RateCaps(budgets, _SHAPE, mode="carry_over")
        run = curves(net, data, _CAPPED_RATE, steps, constraint=caps)
        labels |= {"C_W": budgets["W1"], "C_B": budgets["W2"]}
    return [{**labels, "status": run.status, **row_of(run.history)}]


_SETTINGS = ("hold", "decay", "C_W", "C_B")


def findings(rows: Rows) -> Findings:
    """Return the tables, the figure and what they say."""
    numbers = {name: (name, mean) for name in ("local", "product", "risk", "test_risk")}
    points = rows.summary(["family", *_SETTINGS], **numbers)
    on_front = efficient(points["local"], points["risk"])
    points = Rows(
        (*points.columns, "on_front"),
        tuple(
            (*cell, "yes" if good else "no")
            for cell, good in zip(points.cells, on_front, strict=True)
        ),
    )
    effects = _effects(points)
    sentences = [_effects_in_words(effects), _front_in_words(points)]
    figure, axes = plotting.panels(2)
    for ax, column in zip(axes, ("local", "product"), strict=True):
        charts.dots(ax, _worded(points), column, "risk", "family")
        charts.name_axes(
            ax,
            f"final {column} Lipschitz constant",
            "final training risk (Huber)",
            log="y",
            key="" if column == "local" else None,
        )
    front = points.where(on_front="yes")
    order = np.argsort(front["local"])
    axes[0].plot(front["local"][order], front["risk"][order], color="#999999", zorder=0)
    caption = (
        "Means over seeds of every setting. The line joins those that no other betters in both."
    )
    return Findings(
        [
            *sentences,
            TableOf(
                "front_effects",
                effects,
                "Means over everything else, from the least setting to the largest",
            ),
            Picture("front", figure, points, caption, " ".join(sentences)),
            TableOf("front", points, "Every setting, means over seeds"),
        ],
        sentences[:1],
    )


def _worded(points: Rows) -> Rows:
    words = ((_FAMILIES[cell[0]], *cell[1:]) for cell in points.cells)
    return Rows(points.columns, tuple(words))


def efficient(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which points have no other that is at most as large in both and smaller in one."""
    pairs = np.column_stack([first, second])
    better = [
        np.any(np.all(pairs <= pair, axis=1) & np.any(pairs < pair, axis=1)) for pair in pairs
    ]
    return ~np.array(better, dtype=np.bool_)


def _effects(points: Rows) -> Rows:
    """Return what each setting does on average over the others."""
    found = []
    for setting in _SETTINGS:
        part = points.summary(
            [setting], **{name: (name, mean) for name in ("local", "risk", "test_risk")}
        )
        kept = [cell for cell in part.cells if cell[0] is not None]
        if len(kept) > 1:
            least, most = min(kept), max(kept)
            found.append(
                {
                    "setting": setting,
                    "from": least[0],
                    "to": most[0],
                    "local_from": least[1],
                    "local_to": most[1],
                    "risk_from": least[2],
                    "risk_to": most[2],
                    "test_risk_from": least[3],
                    "test_risk_to": most[3],
                }
            )
    return Rows.of(found)


_WORDS = {
    "hold": "a longer hold",
    "decay": "a faster decay",
    "C_W": "a larger C_W",
    "C_B": "a larger C_B",
}


def _effects_in_words(effects: Rows) -> str:
    parts = []
    for place, setting in enumerate(effects["setting"]):
        ends = {
            n: (effects[f"{n}_from"][place], effects[f"{n}_to"][place])
            for n in ("local", "test_risk")
        }
        changes = [
            f"{'raises' if to > start else 'lowers'} the {words} from {start:.3g} to {to:.3g}"
            for words, (start, to) in zip(
                ("local constant", "test risk"), ends.values(), strict=True
            )
        ]
        span = f"({effects['from'][place]:.3g} to {effects['to'][place]:.3g})"
        parts.append(f"{_WORDS[str(setting)]} {span} {named(changes)}")
    return f"On average over the other settings, {'; '.join(parts)}."


def _front_in_words(points: Rows) -> str:
    front = points.where(on_front="yes")
    counts = [
        f"{len(front.where(family=family))} of {len(points.where(family=family))} settings of the "
        f"{words}"
        for family, words in _FAMILIES.items()
        if len(points.where(family=family))
    ]
    return (
        f"On the front of final local constant and training risk are {named(counts)}: no other "
        "setting is at most as large in both."
    )
