"""Constant against decaying rates: smoothness, risk, and how far the weights move."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting, schedules
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._trainings import (
    cube,
    network,
    on_average,
    share,
    state,
)

__all__ = ["findings", "kinds", "study", "training"]

_RATE, _HOLD, _WIDTH, _SAMPLES = 0.01, 50, 100, 150
_NEAR = 0.15  #: Relative differences below count as "the same regularity".


def kinds(rate: float, hold: int) -> dict[str, schedules.Schedule]:
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
        partial(training, init, activation, name, seed, steps)
        for init in ("torch", "he")
        for activation in ("relu", "silu")
        for name in kinds(_RATE, _HOLD)
        for seed in request.repeats(5, 2)
    ]
    return Study("schedules", "Constant and decaying rates", jobs, findings)


def training(
    init: str, activation: str, schedule: str, seed: int, steps: int
) -> Sequence[dict[str, Any]]:
    """Return the row of one training: what it ends with, and how far it went."""
    data = cube(_SAMPLES, seed)
    net = network(data, _WIDTH, activation=activation, init=init, seed=seed)
    rate = kinds(_RATE, _HOLD)[schedule]
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
    fallen = float(history["risk"][0] - history["risk"][-1])
    return [
        {
            "init": init,
            "activation": activation,
            "schedule": schedule,
            "seed": seed,
            "status": run.status,
            **state(run.network, data),
            "displacement_W": float(history["displacement:W1"][-1]),
            "displacement_B": float(history["displacement:W2"][-1]),
            "energy_radius": float(np.sqrt(np.sum(rates) * energy)),
            "energy_ratio": energy / fallen,
        }
    ]


_NUMBERS = ("local", "product", "risk", "test_risk", "displacement_W", "displacement_B")


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    summary = rows.summary(
        ["init", "activation", "schedule"],
        **{name: (name, np.mean) for name in (*_NUMBERS, "energy_radius", "energy_ratio")},
    )
    table = TableOf(
        "schedules",
        summary,
        "Means over seeds after training with each schedule (Huber loss). Local: largest Jacobian "
        "norm on 2000 points of the cube; product: certified upper value; energy ratio: the sum of "
        "rate times squared gradient norm over the fall of the risk",
    )
    figure, axes = plotting.panels(2)
    starts = _with_start(rows)
    for ax, quantity, words in zip(
        axes, ("local", "test_risk"), ("local Lipschitz constant", "test risk (Huber)"), strict=True
    ):
        charts.dots(ax, starts, "place", quantity, "schedule")
        ax.set_xticks(range(len(starts.values("start"))), starts.values("start"))
        charts.name_axes(ax, "start and activation", words)
    picture = Picture(
        "schedules",
        figure,
        starts,
        "Every training: constant and decaying rates from the same starts.",
        _answer(summary),
    )
    return Findings([_answer(summary), table, picture], [_answer(summary)], [_claim(summary)])


def _with_start(rows: Rows) -> Rows:
    """Return the points of the figure, with the places of the starts on the axis."""
    starts = [
        f"{init}\n{activation}"
        for init, activation in zip(rows["init"], rows["activation"], strict=True)
    ]
    places = {name: place for place, name in enumerate(dict.fromkeys(starts))}
    names = rows.values("schedule")
    return Rows.of(
        {
            "start": start,
            "schedule": schedule,
            "place": places[start] + 0.16 * (names.index(schedule) - (len(names) - 1) / 2),
            "local": float(local),
            "test_risk": float(risk),
        }
        for start, schedule, local, risk in zip(
            starts, rows["schedule"], rows["local"], rows["test_risk"], strict=True
        )
    )


def _ratios(summary: Rows, schedule: str, column: str) -> Any:
    """Return a column of a schedule over that of the constant rate, per start."""
    return summary.where(schedule=schedule)[column] / summary.where(schedule="constant")[column]


def _answer(summary: Rows) -> str:
    """Say whether a constant rate gives the same regularity."""
    decays = [name for name in summary.values("schedule") if name != "constant"]
    local = {name: float(np.mean(_ratios(summary, name, "local"))) for name in decays}
    risk = {name: float(np.mean(_ratios(summary, name, "test_risk"))) for name in decays}
    same = [name for name in decays if abs(local[name] - 1) <= _NEAR]
    smoother = [name for name in decays if local[name] < 1 - _NEAR]
    rougher = [name for name in decays if local[name] > 1 + _NEAR]
    parts = []
    if same:
        parts.append(f"the same local Lipschitz constant, within {_NEAR:.0%}, as {_list(same)}")
    if smoother:
        worse = [name for name in smoother if risk[name] > 1]
        cost = f", which test worse with {_list(worse)}" if worse else ", which cost no test risk"
        parts.append(f"a larger one than {_list(smoother)}{cost}")
    if rougher:
        parts.append(f"a smaller one than {_list(rougher)}")
    numbers = "; ".join(
        f"{name}: local constant {share(local[name], 1)} with a constant rate, test risk "
        f"{share(risk[name], 1)} with it"
        for name in decays
    )
    verdict = "Yes" if len(same) == len(decays) else "Partly" if same else "No"
    return (
        f"Does a constant rate give the same regularity as a decaying one? {verdict}: it gives "
        f"{' and '.join(parts)} ({numbers})."
    )


def _list(names: Sequence[str]) -> str:
    return " and ".join(f"the {name} decay" for name in names)


def _claim(summary: Rows) -> Claim:
    """Compare with observation 3."""
    slow, fast = "exponential .002", "exponential .02"
    ratio = {(s, c): _ratios(summary, s, c) for s in (slow, fast) for c in ("local", "test_risk")}
    constant = summary.where(schedule="constant")
    inside = constant["displacement_B"] < constant["energy_radius"]
    cheap = bool((ratio[slow, "test_risk"] < 1.06).all() and (ratio[slow, "local"] > 0.85).all())
    trades = bool((ratio[fast, "test_risk"] > 1).all() and (ratio[fast, "local"] < 1).all())
    tight = bool((np.abs(constant["energy_ratio"] - 1) < 0.05).all())
    return Claim(
        "Constant against hybrid (observation 3)",
        "a slow decay costs almost nothing and gains little, a fast one mainly trains less; the "
        "weights move far less than the energy bound allows, and the energy sum is 1.00 to 1.02 "
        "times the fall of the risk.",
        f"local constant of the slow decay over that of the constant rate "
        f"{on_average(ratio[slow, 'local'])}, test risk {on_average(ratio[slow, 'test_risk'])}; of "
        f"the fast decay {on_average(ratio[fast, 'local'])} and "
        f"{on_average(ratio[fast, 'test_risk'])}; displacement of B "
        f"{on_average(constant['displacement_B'])} against an energy radius of "
        f"{on_average(constant['energy_radius'])}; energy ratio from "
        f"{constant['energy_ratio'].min():.3f} to {constant['energy_ratio'].max():.3f}.",
        cheap and trades and tight and bool(inside.all()),
    )
