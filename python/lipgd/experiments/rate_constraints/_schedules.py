"""Constant against decaying rates: smoothness, risk, and how far the weights move."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting, schedules
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, mean
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._trainings import (
    compare,
    cube,
    named,
    network,
    on_average,
    percent,
    starts,
)

__all__ = ["findings", "kinds", "same_regularity", "study", "training"]

_RATE, _HOLD, _WIDTH, _SAMPLES = 0.01, 50, 100, 150
_NEAR = 0.1  #: Relative differences of means up to this count as "the same".


def kinds(rate: float = _RATE, hold: int = _HOLD) -> dict[str, schedules.Schedule]:
    """Return the schedules that are compared: constant, exponential and polynomial decays."""
    held = partial(schedules.hold_then_decay, rate, hold)
    return {
        "constant": schedules.constant(rate),
        "exponential .002": held(schedules.exponential(1.0, 0.002)),
        "exponential .02": held(schedules.exponential(1.0, 0.02)),
        "polynomial": held(schedules.polynomial(1.0, 2.0, 50.0)),
    }


def study(request: Request) -> Study:
    """Return the trainings of two starts and two activations with every schedule."""
    steps = request.pick(1000, 300)
    jobs = [
        partial(training, init, activation, seed, steps)
        for init in ("torch", "he")
        for activation in ("relu", "silu")
        for seed in request.repeats(10, 3)
    ]
    return Study("schedules", "Constant and decaying rates", jobs, findings)


def training(init: str, activation: str, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return a row per schedule: what it ends with, and how far it went."""
    data = cube(_SAMPLES, seed)
    net = network(data, _WIDTH, activation=activation, init=init, seed=seed)
    rows = compare(net, data, kinds(), steps)
    for row in rows:
        rate = kinds()[row["schedule"]]
        run = lipgd.train(
            net,
            data.X,
            data.y,
            loss="huber",
            rate=rate,
            steps=steps,
            record=("risk", "gradient_norm", "displacement:W1", "displacement:W2"),
            n_threads=1,
        )
        history, rates = run.history, rate.rates(run.steps)
        energy = float(np.sum(rates * history["gradient_norm"][: run.steps] ** 2))
        row |= {
            "displacement_W": float(history["displacement:W1"][-1]),
            "displacement_B": float(history["displacement:W2"][-1]),
            "energy_radius": float(np.sqrt(np.sum(rates) * energy)),
            "energy_ratio": energy / float(history["risk"][0] - history["risk"][-1]),
        }
    return [{"init": init, "activation": activation, "seed": seed, **row} for row in rows]


_NUMBERS = ("local", "product", "risk", "test_risk", "same_risk", "displacement_W")
_MORE = ("displacement_B", "energy_radius", "energy_ratio")


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    rows = starts(rows)
    summary = rows.summary(
        ["start", "schedule"], **{name: (name, mean) for name in (*_NUMBERS, *_MORE)}
    )
    table = TableOf(
        "schedules",
        summary,
        "Means over seeds after training with each schedule (Huber loss). Local: largest Jacobian "
        "norm on 2000 points of the cube; product: certified upper value; same risk: local "
        "constant that the constant rate had at this training risk; energy ratio: the sum of rate "
        "times squared gradient norm over the fall of the risk",
    )
    answer = same_regularity(summary, "start")
    return Findings([answer, table, _picture(rows, answer)], [answer], [_claim(summary)])


def _picture(rows: Rows, answer: str) -> Picture:
    """Return every training as a point, schedules beside each other."""
    names, places = rows.values("schedule"), rows.values("start")
    shift = {name: 0.18 * (i - (len(names) - 1) / 2) for i, name in enumerate(names)}
    points = Rows.of(
        {
            "start": start,
            "schedule": name,
            "place": places.index(start) + shift[name],
            "local": local,
            "test_risk": risk,
        }
        for start, name, local, risk in zip(
            *(rows[column] for column in ("start", "schedule", "local", "test_risk")), strict=True
        )
    )
    figure, axes = plotting.panels(2)
    labels = ("local Lipschitz constant", "test risk (Huber)")
    for ax, column, label in zip(axes, ("local", "test_risk"), labels, strict=True):
        charts.dots(ax, points, "place", column, "schedule")
        charts.name_axes(ax, "", label, key="" if column == "local" else None)
        ax.set_xticks(range(len(places)), [place.replace(", ", "\n") for place in places])
    caption = "Every training: constant and decaying rates from the same starts, a point per seed."
    return Picture("schedules", figure, points, caption, answer)


def ratios(summary: Rows, schedule: str, column: str) -> Any:
    """Return a column of a schedule over that of the constant rate, per setting."""
    return summary.where(schedule=schedule)[column] / summary.where(schedule="constant")[column]


def same_regularity(summary: Rows, _: str) -> str:
    """Say whether a constant rate gives the same regularity, at the end and at equal risk."""
    decays = [name for name in summary.values("schedule") if name != "constant"]
    local = {name: float(np.mean(ratios(summary, name, "local"))) for name in decays}
    risk = {name: float(np.mean(ratios(summary, name, "test_risk"))) for name in decays}
    equal = {name: _equal_risk(summary, name) for name in decays}
    alike = [name for name in decays if abs(local[name] - 1) <= _NEAR]
    fair = [name for name in decays if abs(equal[name] - 1) <= _NEAR]
    verdict = "Yes" if len(alike) == len(decays) else "Not quite" if alike else "No"
    if len(alike) < len(decays):
        if len(fair) == len(decays):
            verdict += ", but the difference is that of training less"
        elif any(equal[name] < 1 - _NEAR for name in decays):
            verdict += ", and a decay is smoother even at the same training risk"
        else:
            verdict += ", and at the same training risk the constant rate is the smoother one"
    parts = [
        f"{name}: local constant {percent(local[name])} and test risk {percent(risk[name])} that "
        f"of the constant rate, local constant {percent(equal[name])} the constant rate's at the "
        "same training risk"
        for name in decays
    ]
    question = "Does a constant rate give the same regularity as a decaying one?"
    return f"{question} {verdict} ({'; '.join(parts)})."


def _equal_risk(summary: Rows, schedule: str) -> float:
    part = summary.where(schedule=schedule)
    return float(np.nanmean(part["local"] / part["same_risk"]))


def _claim(summary: Rows) -> Claim:
    """Compare with observation 3."""
    slow, fast = "exponential .002", "exponential .02"
    ratio = {(s, c): ratios(summary, s, c) for s in (slow, fast) for c in ("local", "test_risk")}
    constant = summary.where(schedule="constant")
    conditions = {
        "the slow decay costs at most 6 % of test risk": (ratio[slow, "test_risk"] < 1.06).all(),
        "it gains at most 15 % of the local constant": (ratio[slow, "local"] > 0.85).all(),
        "the fast decay tests worse and ends smoother": np.mean(ratio[fast, "test_risk"]) > 1
        and np.mean(ratio[fast, "local"]) < 1,
        "weights stay inside the energy radius": (
            np.hypot(constant["displacement_W"], constant["displacement_B"])
            < constant["energy_radius"]
        ).all(),
        "the energy sum is within 5 % of the fall of the risk": (
            np.abs(constant["energy_ratio"] - 1) < 0.05
        ).all(),
    }
    broken = [name for name, holds in conditions.items() if not holds]
    return Claim(
        "Constant against hybrid (observation 3)",
        "a slow decay costs almost nothing and gains little, a fast one mainly trains less; the "
        "weights move far less than the energy bound allows, and the energy sum is 1.00 to 1.02 "
        "times the fall of the risk.",
        f"local constant of the slow decay over that of the constant rate "
        f"{on_average(ratio[slow, 'local'])}, test risk {on_average(ratio[slow, 'test_risk'])}; of "
        f"the fast decay {on_average(ratio[fast, 'local'])} and "
        f"{on_average(ratio[fast, 'test_risk'])}; displacement of W and B "
        f"{on_average(constant['displacement_W'])} and {on_average(constant['displacement_B'])} "
        f"against an energy radius of {on_average(constant['energy_radius'])}; energy ratio from "
        f"{constant['energy_ratio'].min():.3f} to {constant['energy_ratio'].max():.3f}. "
        f"Not seen: {named(broken)}.",
        not broken,
    )
