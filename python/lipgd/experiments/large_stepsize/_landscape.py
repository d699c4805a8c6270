"""Gradient, sharpness and slices of the risk before, at and after the transition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import margins, plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.large_stepsize._problems import (
    Data,
    descend,
    mean_field,
    positions,
    xor,
)
from lipgd.plotting._style import log_steps

__all__ = ["findings", "study", "training"]

_ACTIVATION, _WIDTH, _STEPSIZE = "leaky(softplus, 0.5)", 20, 1000.0
_RECORD = ("log_risk", "gradient_norm", "sharpness")
_POINTS = 41
#: Slices go this many steps of descent to both sides.
_REACH = 2.5


def study(request: Request) -> Study:
    """Return one training and slices at three of its networks."""
    jobs = [partial(training, request.pick(400, 100))]
    return Study("landscape", "Before, at and after the transition", jobs, findings)


def training(steps: int) -> Sequence[dict[str, Any]]:
    """Return rows of the history, and of slices at three networks."""
    data = xor()
    net = mean_field(_ACTIVATION, _WIDTH, 2, seed=0)
    run = descend(net, data, _STEPSIZE, steps, _RECORD)
    found = margins.phases(run, data.X, data.y)
    history = run.history
    rows: list[dict[str, Any]] = [
        {
            "what": "history",
            "step": int(history.step[i]),
            "risk": math.exp(history["log_risk"][i]),
            "gradient_norm": float(history["gradient_norm"][i]),
            "half_sharpness": _STEPSIZE * float(history["sharpness"][i]) / 2.0,
            "transition": found.observed,
        }
        for i in positions(len(history), 200)
    ]
    times = {
        "before": max(found.observed // 2, 1),
        "at": max(found.observed, 1),
        "after": min(2 * found.observed + 10, steps - 1),
    }
    for words, step in times.items():
        here = descend(net, data, _STEPSIZE, step, ()).network
        rows += _slices(here, data, words, step)
    return rows


def _slices(net: lipgd.Network, data: Data, words: str, step: int) -> list[dict[str, Any]]:
    """Return the risk along the gradient and along the top vector of the Hessian.

    The unit of the distance is the length of the step that descent takes.
    """
    _, gradient = lipgd.risk_and_gradient(net, data.X, data.y, "logistic")
    slope = np.asarray(dict(gradient.named())["W1"], np.float64)
    top = margins.sharpness(net, data.X, data.y, "logistic", frozen=("W2",))
    vector = np.asarray(dict(top.direction.named())["W1"], np.float64)
    length = float(np.linalg.norm(slope))
    taken = _STEPSIZE * length
    if float((vector * slope).sum()) > 0.0:
        vector = -vector
    rows = []
    for name, unit in (("gradient", -slope / max(length, 1e-300)), ("Hessian", vector)):
        for t in np.linspace(-1.0, _REACH, _POINTS):
            moved = net.replace(weights=[net.weights[0] + t * taken * unit, net.weights[1]])
            rows.append(
                {
                    "what": f"slice {words}",
                    "step": step,
                    "along": name,
                    "distance": float(t),
                    "risk": lipgd.risk(moved, data.X, data.y, "logistic", n_threads=1),
                }
            )
    return rows


def findings(rows: Rows) -> Findings:
    """Return the figures and what they say."""
    history = rows.where(what="history")
    transition = int(history["transition"][0])
    before = history["step"] < transition
    sharp, gradient = history["half_sharpness"], history["gradient_norm"]
    above = float(np.mean(sharp[before] > 1.0)) if before.any() else math.nan
    after = history["step"] > transition
    answer = (
        f"What marks the transition? Until the last rise of the risk, at step {transition}, eta x "
        f"sharpness / 2 is above 1 at {above:.0%} of the steps shown; afterwards it is at most "
        f"{sharp[after].max():.2f} and falls to {sharp[-1]:.2g}, the gradient norm from "
        f"{gradient[before].max():.2g} to {gradient[-1]:.2g}."
    )
    claim = Claim(
        "Edge of stability (section 6)",
        "eta x sharpness / 2 exceeds 1 while the risk oscillates, and is at most 1 once the risk "
        "is certified.",
        f"largest before {sharp[before].max():.2f}, last {sharp[-1]:.3f}.",
        bool(sharp[before].max() > 1.0 and sharp[-1] < 1.0),
    )
    table = TableOf(
        "landscape",
        history.pick(["step", "risk", "gradient_norm", "half_sharpness"]),
        "Along the training",
        {"gradient_norm": "gradient norm", "half_sharpness": "eta x sharpness / 2"},
    )
    short = Rows(table.rows.columns, table.rows.cells[:: max(len(table.rows.cells) // 16, 1)])
    shown = TableOf(table.name, short, table.caption, table.headings)
    return Findings([answer, _along(history, transition), _sliced(rows), shown], [answer], [claim])


def _along(history: Rows, transition: int) -> Picture:
    figure, axes = plotting.panels(3)
    for ax, name, words in (
        (axes[0], "risk", "risk (nats)"),
        (axes[1], "gradient_norm", "gradient norm"),
        (axes[2], "half_sharpness", "stepsize x sharpness / 2"),
    ):
        charts.lines(ax, history, "step", name, "what")
        charts.name_axes(ax, "step", words, log="y")
        log_steps(ax, 1.0)
        ax.axvline(transition, color="#333333", linestyle=":", linewidth=1.0)
        if name == "half_sharpness":
            ax.axhline(1.0, color="#333333", linestyle="--", linewidth=1.0)
    return Picture(
        "landscape",
        figure,
        history.pick(["step", "risk", "gradient_norm", "half_sharpness"]),
        "XOR, leaky softplus, stepsize 1000. Dotted: the last rise of the risk; dashed: the edge "
        "of stability.",
        "Risk, gradient norm and scaled sharpness against the step; all fall at the transition.",
    )


def _sliced(rows: Rows) -> Picture:
    figure, axes = plotting.panels(3)
    cells = []
    for ax, words in zip(axes, ("before", "at", "after"), strict=True):
        part = rows.where(what=f"slice {words}")
        charts.lines(ax, part, "distance", "risk", "along", markevery=8)
        step = int(part["step"][0])
        charts.name_axes(
            ax, "distance (steps of descent)", "risk (nats)", title=f"{words}: step {step}", log="y"
        )
        ax.axvline(1.0, color="#333333", linestyle=":", linewidth=1.0)
        cells += list(part.pick(["step", "along", "distance", "risk"]).cells)
    return Picture(
        "landscape_slices",
        figure,
        Rows(("step", "along", "distance", "risk"), tuple(cells)),
        "The risk along the negative gradient and along the top vector of the Hessian, turned "
        "downhill; descent goes to 1 along the gradient (dotted).",
        "Three panels of the risk along two directions; before the transition a step overshoots.",
    )
