"""XOR and lifted XOR with three activations and several stepsizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lipgd import margins, plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.large_stepsize._problems import (
    Data,
    curve,
    descend,
    mean_field,
    summary,
    tidy,
    word,
    xor,
)
from lipgd.plotting._style import log_steps

__all__ = ["findings", "study", "training"]

_ACTIVATIONS = ("leaky(softplus, 0.5)", "gelu", "silu")
_STEPSIZES = (10.0, 100.0, 1000.0, 4000.0)
_WIDTH = 20
#: Columns of the figure; the others of a training are the same on all of its rows.
_FACTS = ("observed", "certified", "spectral", "margin", "paper", "log_risk", "scaled", "decay")


def _data(name: str) -> Data:
    return xor(0.1 if name == "lifted XOR" else None)


def study(request: Request) -> Study:
    """Return trainings on both data sets with every activation and stepsize."""
    steps = request.pick(20_000, 2_000)
    jobs = [
        partial(training, data, activation, stepsize, steps)
        for data in ("XOR", "lifted XOR")
        for activation in _ACTIVATIONS
        for stepsize in _STEPSIZES
    ]
    return Study("xor", "XOR and lifted XOR", jobs, partial(findings, steps=steps))


def training(name: str, activation: str, stepsize: float, steps: int) -> Sequence[dict[str, Any]]:
    """Return rows along one training."""
    data = _data(name)
    net = mean_field(activation, _WIDTH, data.X.shape[1], seed=0)
    run = descend(net, data, stepsize, steps)
    facts = summary(run, data)
    head = {"data": name, "activation": word(activation), "stepsize": tidy(stepsize)}
    return [{**head, **row, "last": facts["log_risk"], **_without(facts)} for row in curve(run)]


def _without(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != "log_risk"}


def findings(rows: Rows, steps: int) -> Findings:
    """Return the table, the figures and what they say."""
    ends = rows.last(["data", "activation", "stepsize"])
    columns = ["data", "activation", "stepsize", "observed", "spectral", "certified", "margin"]
    table = TableOf(
        "xor",
        ends.pick([*columns, "paper", "transition_bound", "last", "scaled", "decay"]),
        "Steps at which phases begin: no rise of the risk was observed any more, risk certified by "
        "Theorem 2 and by Theorem 1, margin certified by Theorem 3, risk below the threshold of "
        "the paper; the bound of Theorem 6 (separable data, slope above 0); the logarithm of the "
        "last risk, stepsize x step x risk at the end, and the exponent of the risk in the step "
        "over the last nine tenths",
        {"last": "log risk", "scaled": "eta t L", "transition_bound": "bound (Thm 6)"},
    )
    answer = _answer(ends)
    return Findings(
        [answer, table, _curves(rows), _phases(steps)], [answer], [_order(ends), _rate(ends)]
    )


def _curves(rows: Rows) -> Picture:
    figure, axes = plotting.panels(3, 2)
    shown = Rows(
        (*rows.columns, "risk"),
        tuple((*row, float(np.exp(row[rows.columns.index("log_risk")]))) for row in rows.cells),
    )
    panels = [(d, a) for d in rows.values("data") for a in rows.values("activation")]
    for ax, (data, activation) in zip(axes, panels, strict=True):
        part = shown.where(data=data, activation=activation)
        charts.lines(ax, part, "step", "risk", "stepsize")
        charts.name_axes(ax, "step", "risk (nats)", title=f"{data}, {activation}", log="y")
        log_steps(ax, 1.0)
        ax.legend(title="stepsize", frameon=False, fontsize=8)
    return Picture(
        "xor",
        figure,
        shown.pick(["data", "activation", "stepsize", "step", "risk"]),
        "Risk of every training. The larger the stepsize, the lower the risk at the end, after a "
        "phase in which it oscillates.",
        "Six panels of risk against step, a line per stepsize.",
    )


def _phases(steps: int) -> Picture:
    """Draw what papers draw, of one small and one large stepsize."""
    data = _data("XOR")
    record = ("log_risk", "normalized_margin", "smoothed_margin", "modified_margin", "sharpness")
    net = mean_field(_ACTIVATIONS[0], _WIDTH, 2, seed=0)
    runs = {
        f"stepsize {stepsize:g}": descend(net, data, stepsize, min(steps, 2000), record)
        for stepsize in (100.0, 1000.0)
    }
    found = {name: margins.phases(run, data.X, data.y) for name, run in runs.items()}
    rows = [{"training": name, **row} for name, run in runs.items() for row in curve(run, record)]
    return Picture(
        "xor_phases",
        plotting.phases(runs, found),
        Rows.of(rows),
        "XOR with leaky softplus: the risk with its phases, stepsize x step x risk, margins, and "
        "the sharpness against 2 / stepsize.",
        "Risk with shaded phases of two trainings, and panels of scaled risk, margins, sharpness.",
    )


def _answer(ends: Rows) -> str:
    """Say which stepsize ended lowest."""
    wins, shown = 0, []
    for data in ends.values("data"):
        for activation in ends.values("activation"):
            part = ends.where(data=data, activation=activation)
            best = int(np.argmin(part["last"]))
            wins += best == len(part) - 1
            gain = part["last"][0] - part["last"].min()
            factor = f"10^{gain / math.log(10.0):.1f}"
            shown.append(f"{data} with {activation}: {part['stepsize'][best]:g}, {factor}")
    return (
        f"Does a larger stepsize end lower on XOR? The largest of {len(_STEPSIZES)} stepsizes ends "
        f"lowest in {wins} of {len(shown)} settings (best stepsize, and the risk of the smallest "
        f"over that of the best: {'; '.join(shown)})."
    )


def _order(ends: Rows) -> Claim:
    """Compare observed and certified times."""
    certified = np.fmin(ends["certified"].astype(float), ends["spectral"].astype(float))
    known = np.isfinite(certified)
    holds = bool((ends["observed"][known] <= certified[known]).all())
    earlier = bool((ends["certified"] <= ends["paper"]).all())
    late = float(np.median(ends["paper"] / np.maximum(ends["certified"], 1)))
    return Claim(
        "Certificates (Theorems 1 and 2)",
        "the risk never rises after a certificate, and ours comes before the threshold of the "
        "paper.",
        f"{int(known.sum())} of {len(ends)} trainings are certified, all after their last rise: "
        f"{'yes' if holds else 'no'}; the threshold of the paper is reached {late:.1f} times as "
        "late in the median.",
        holds and earlier and bool(known.all()),
    )


def _rate(ends: Rows) -> Claim:
    """Compare the decay with 1 / (eta t)."""
    decay = ends["decay"][ends["stepsize"] <= 100.0]
    return Claim(
        "Rate in the stable phase (Theorem 4)",
        "the risk falls like 1 / (eta t): eta t L stays between two numbers.",
        f"exponents of the step between {decay.min():.2f} and {decay.max():.2f} for stepsizes up "
        "to 100; with larger ones it takes the risk longer to come to that rate from below.",
        bool((np.abs(decay + 1.0) < 0.35).all()),
    )
