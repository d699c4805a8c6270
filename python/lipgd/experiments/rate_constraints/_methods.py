"""Other methods: mini-batches, momentum, Adam, signs and conjugate gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting, schedules
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, mean
from lipgd.experiments._study import Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._conjugate import Conjugate, conjugate_gradients
from lipgd.experiments.rate_constraints._trainings import (
    CURVES,
    Data,
    at_risk,
    cube,
    curves,
    named,
    network,
    row_of,
)

__all__ = ["findings", "study", "training"]

_SAMPLES, _HOLD, _DECAY = 150, 0.1, 5.0
_NEAR = 0.1
#: The rate and the other arguments of each method.
_METHODS: dict[str, tuple[float, dict[str, Any]]] = {
    "gradient descent": (0.05, {}),
    "mini-batches": (0.05, {"batch_size": 16}),
    "heavy ball": (0.01, {"momentum": 0.9}),
    "Adam": (0.001, {"update": "adam"}),
    "sign descent": (0.0003, {"update": "sign"}),
}
_CONJUGATE = "conjugate gradients"
_NAMES = (*_METHODS, _CONJUGATE)
#: Rows of the curve of conjugate gradients.
_ROWS = 30


def study(request: Request) -> Study:
    """Return the trainings of every method, all of a seed in one job."""
    steps = request.pick(1500, 250)
    jobs = [
        partial(training, activation, seed, steps)
        for activation in ("relu", "silu")
        for seed in request.repeats(10, 2)
    ]
    return Study("methods", "Other methods", jobs, findings)


def training(activation: str, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return a row per method and schedule, from the same start.

    ``same_risk`` is the local constant of the method with a constant rate at the training risk that
    it ends with at a decaying one; ``level_local`` is the local constant of a training at the least
    risk that all methods reach with a constant rate, and ``gradients`` how many it took to there.
    """
    data = cube(_SAMPLES, seed)
    net = network(data, activation=activation, seed=seed)
    hold = round(_HOLD * steps)
    shapes = {
        "constant": schedules.constant(1.0),
        "decaying": schedules.hold_then_decay(
            1.0, hold, schedules.exponential(1.0, _DECAY / steps)
        ),
    }
    histories: dict[tuple[str, str], lipgd.History] = {}
    facts: dict[tuple[str, str], dict[str, Any]] = {}
    for shape, schedule in shapes.items():
        for method, (rate, options) in _METHODS.items():
            run = curves(net, data, schedules.scale(schedule, rate), steps, **options)
            histories[method, shape] = run.history
            facts[method, shape] = {"status": run.status}
        found = conjugate_gradients(net, data, "huber", steps, _factor(shape, hold))
        histories[_CONJUGATE, shape] = _history(found, data)
        restarts = found.restarts / max(found.iterations, 1)
        facts[_CONJUGATE, shape] = {"status": "finished", "restarts": restarts}
        facts[_CONJUGATE, shape]["searches"] = found.iterations
    return _rows(histories, facts, {"activation": activation, "seed": seed})


def _factor(shape: str, hold: int) -> Any:
    """Return the schedule of conjugate gradients, in searches of a few gradients each."""
    if shape == "constant":
        return None
    searches = max(1, hold // 3)
    return schedules.hold_then_decay(1.0, searches, schedules.exponential(1.0, 0.5 / searches))


def _history(found: Conjugate, data: Data) -> lipgd.History:
    """Return the curve of conjugate gradients, over the gradients that it computed."""
    last = len(found.networks) - 1
    rows = np.unique(np.linspace(0, last, _ROWS).astype(int))
    states = [
        curves(found.networks[row], data, 0.0, 0, record=CURVES, record_every=1).history
        for row in rows
    ]
    columns = {name: [float(state[name][0]) for state in states] for name in CURVES}
    return lipgd.History([found.evaluations[row] for row in rows], columns)


def _rows(
    histories: Mapping[tuple[str, str], lipgd.History],
    facts: Mapping[tuple[str, str], dict[str, Any]],
    labels: dict[str, Any],
) -> list[dict[str, Any]]:
    reached = [float(h["risk"].min()) for (_, shape), h in histories.items() if shape == "constant"]
    level = max(reached)
    rows = []
    for (method, shape), history in histories.items():
        row = row_of(history)
        same = at_risk(histories[method, "constant"], row["risk"])
        at_level = {
            "level": level,
            "level_local": at_risk(history, level),
            "gradients": _first(history, level),
        }
        rows.append(
            {**labels, "method": method, "schedule": shape, **row, "same_risk": same, **at_level}
            | facts[method, shape]
        )
    return rows


def _first(history: lipgd.History, level: float) -> float:
    """Return the first recorded step at which the risk is down at a level."""
    below = np.flatnonzero(history["risk"] <= level)
    return float(history.step[below[0]]) if below.size else float("nan")


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    numbers = {
        name: (name, mean)
        for name in (
            "local",
            "product",
            "risk",
            "test_risk",
            "same_risk",
            "level_local",
            "gradients",
        )
    }
    summary = rows.summary(["method", "schedule"], **numbers, restarts=("restarts", mean))
    sentences = [_rates_in_words(summary), _methods_in_words(summary)]
    if (conjugate := _conjugate_in_words(rows)) is not None:
        sentences.append(conjugate)
    figure, axes = plotting.panels(2)
    for ax, y, label in zip(
        axes, ("risk", "test_risk"), ("training risk (Huber)", "test risk (Huber)"), strict=True
    ):
        for place, method in enumerate(summary.values("method")):
            part = summary.where(method=method)
            look = charts.point_style(place)
            ax.plot(part["local"], part[y], color="#bbbbbb", linewidth=0.8, zorder=0)
            full = {**look, "markerfacecolor": look["color"]}
            for shape, style in (("constant", full), ("decaying", look)):
                point = part.where(schedule=shape)
                label = method if shape == "constant" else "_unnamed"
                ax.plot(point["local"], point[y], label=label, **style)
        key = "" if y == "risk" else None
        charts.name_axes(ax, "local Lipschitz constant", label, log="y", key=key)
    caption = "After training, means over seeds: full marks for constant rates, empty for decaying."
    table = TableOf(
        "methods",
        summary,
        "Means over seeds. Same risk: local constant of the constant rate at this training risk; "
        "level local: at the least risk that all methods reach; gradients: how many it took",
    )
    picture = Picture("methods", figure, summary, caption, " ".join(sentences))
    return Findings([*sentences, picture, table], sentences)


def _rates_in_words(summary: Rows) -> str:
    """Say for which methods a constant rate gives the same regularity as a decaying one."""
    decaying = summary.where(schedule="decaying")
    constant = summary.where(schedule="constant")
    equal = decaying["local"] / decaying["same_risk"]
    ends = decaying["local"] / constant["local"]
    names = [str(name) for name in decaying["method"]]
    apart = [n for n, ratio in zip(names, equal, strict=True) if not abs(ratio - 1) <= _NEAR]
    verdict = (
        f"Yes: at the same training risk, within {_NEAR:.0%}, all of them"
        if not apart
        else f"Not for {named(apart)}"
    )
    numbers = "; ".join(
        f"{name} {at:.2f} at equal risk, {end:.2f} at the end"
        for name, at, end in zip(names, equal, ends, strict=True)
    )
    return (
        "Do mini-batches, heavy ball, Adam, sign descent and conjugate gradients behave alike: is "
        f"a constant rate as smooth as a decaying one? {verdict} (local constant of the "
        f"decaying rate over that of the constant one: {numbers})."
    )


def _methods_in_words(summary: Rows) -> str:
    """Compare the methods with gradient descent at equal risk."""
    constant = summary.where(schedule="constant")
    names = [str(name) for name in constant["method"]]
    ratio = constant["level_local"] / constant["level_local"][names.index("gradient descent")]
    groups: dict[str, list[str]] = {"rougher": [], "smoother": [], "alike": []}
    for name, value in zip(names, ratio, strict=True):
        if name != "gradient descent":
            kind = "rougher" if value > 1 + _NEAR else "smoother" if value < 1 - _NEAR else "alike"
            groups[kind].append(f"{name} ({value:.2f})")
    parts = "; ".join(f"{kind}: {named(found)}" for kind, found in groups.items())
    return (
        "With constant rates and at the least training risk that all methods reach, compared with "
        "gradient descent (local Lipschitz constant over that of gradient descent, alike within "
        f"{_NEAR:.0%}), {parts}."
    )


def _conjugate_in_words(rows: Rows) -> str | None:
    """Say whether conjugate gradients were more than gradient descent here."""
    part = rows.where(method=_CONJUGATE, schedule="constant")
    if not len(part):
        return None
    share, searches = float(np.mean(part["restarts"])), float(np.mean(part["searches"]))
    descent = rows.where(method="gradient descent", schedule="constant")
    faster = float(np.nanmean(descent["gradients"]) / np.nanmean(part["gradients"]))
    meaning = (
        "so it says little about conjugacy"
        if share > 0.5
        else "so the directions are conjugate ones on most steps"
    )
    return (
        f"Conjugate gradients (Polak and Ribiere, with a line search) restarted on {share:.0%} of "
        f"{searches:.0f} searches, {meaning}; to the least risk that all methods reach, gradient "
        f"descent took {faster:.1f} times as many gradients."
    )
