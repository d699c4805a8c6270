"""Every activation, with a constant and with a decaying rate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, mean
from lipgd.experiments._study import Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._schedules import kinds
from lipgd.experiments.rate_constraints._trainings import compare, cube, named, network

__all__ = ["findings", "study", "training"]

_SAMPLES, _RATE = 150, 0.02
_CHOSEN = ("constant", "exponential .02")
_NEAR = 0.1


def study(request: Request) -> Study:
    """Return the trainings of every activation that the library has."""
    steps = request.pick(1000, 200)
    jobs = [
        partial(training, name, seed, steps)
        for name in lipgd.activations.names()
        for seed in request.repeats(5, 1)
    ]
    return Study("activations", "Activations, bounded ones too", jobs, findings)


def training(activation: str, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return a row per schedule."""
    data = cube(_SAMPLES, seed)
    net = network(data, activation=activation, seed=seed)
    rates = {name: kinds(_RATE)[name] for name in _CHOSEN}
    bounded = "bounded" if np.isfinite(net.activation.supremum) else "unbounded"
    labels = {"activation": activation, "values": bounded, "seed": seed}
    return [{**labels, **row} for row in compare(net, data, rates, steps)]


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    numbers = {
        n: (n, mean) for n in ("local_start", "local", "product", "risk", "test_risk", "same_risk")
    }
    summary = rows.summary(["activation", "values", "schedule"], **numbers)
    sentence = _sentence(summary)
    figure, axes = plotting.panels(2)
    for ax, column, label in zip(
        axes, ("local", "test_risk"), ("local Lipschitz constant", "test risk (Huber)"), strict=True
    ):
        names = summary.values("activation")
        for name in _CHOSEN:
            part = summary.where(schedule=name)
            place = _CHOSEN.index(name)
            style = charts.point_style(place)
            ax.plot(part[column], [names.index(a) for a in part["activation"]], label=name, **style)
        charts.name_axes(ax, label, "", key="" if column == "local" else None)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
    caption = "After training, means over seeds."
    table = TableOf("activations", summary, "Means over seeds (torch start, Huber loss)")
    return Findings([sentence, Picture("activations", figure, summary, caption, sentence), table])


def _sentence(summary: Rows) -> str:
    constant, decaying = (summary.where(schedule=name) for name in _CHOSEN)
    equal = decaying["local"] / decaying["same_risk"]
    names = np.array(decaying["activation"], dtype=object)
    apart = names[~(np.abs(equal - 1) <= _NEAR)]
    moved = constant["local"] / constant["local_start"]
    text = (
        f"With a constant rate the local Lipschitz constant ends at {moved.min():.2f} "
        f"({names[moved.argmin()]}) to {moved.max():.2f} ({names[moved.argmax()]}) times that of "
        f"the start. At the same training risk the decaying rate is within {_NEAR:.0%} of the "
        f"constant one for {len(names) - len(apart)} of {len(names)} activations"
    )
    text += f" (not for {named(list(apart))})." if len(apart) else "."
    groups = {kind: constant.where(values=kind) for kind in ("bounded", "unbounded")}
    if all(len(part) for part in groups.values()):
        means = {kind: float(np.mean(part["local"])) for kind, part in groups.items()}
        text += (
            f" Bounded activations have a local constant of {means['bounded']:.3g} on average, "
            f"unbounded ones of {means['unbounded']:.3g}."
        )
    return text
