"""Small against large stepsizes per activation, and near-homogeneity beside its table."""

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
    accuracy,
    cloud,
    curve,
    descend,
    mean_field,
    summary,
    tidy,
)
from lipgd.plotting._style import log_steps
from lipgd.theory import large_stepsize

__all__ = ["findings", "study", "training"]

_NAMES = tuple(
    name for base in ("gelu", "silu", "softplus") for name in (base, f"leaky({base}, 0.5)")
)
_SMALL, _LARGE = 10.0, 1000.0
_WIDTH = 20
_DRAWS = 40


def study(request: Request) -> Study:
    """Return trainings with every activation, and measurements for widths and dimensions."""
    steps = request.pick(10_000, 1_000)
    widths = request.pick((4, 20, 100, 500), (4, 100))
    dimensions = request.pick((2, 10, 50), (2, 50))
    jobs: list[Any] = [
        partial(training, name, stepsize, steps) for name in _NAMES for stepsize in (_SMALL, _LARGE)
    ]
    jobs += [partial(gaps, name, m, d) for name in _NAMES for m in widths for d in dimensions]
    return Study("activations", "Activations and near-homogeneity", jobs, findings)


def training(name: str, stepsize: float, steps: int) -> Sequence[dict[str, Any]]:
    """Return rows along one training, with the largest defect of homogeneity along it."""
    data = cloud(60, 10, 0.1, 0, n_test=2000)
    net = mean_field(name, _WIDTH, 10, 0)
    run = descend(net, data, stepsize, steps, ("log_risk", "homogeneity_error"))
    facts = summary(run, data)
    head = {
        "what": "training",
        "activation": name,
        "stepsize": tidy(stepsize),
        "kappa": large_stepsize.constants(net, data.X).homogeneity_gap,
        "measured": float(run.history["homogeneity_error"].max()),
        "accuracy": accuracy(run.network, data.X_test, data.y_test),
        "observed": facts["observed"],
        "certified": facts["certified"],
        "margin": facts["margin"],
        "last": facts["log_risk"],
        "reasons": facts["reasons"],
    }
    return [{**head, **row} for row in curve(run)]


def gaps(name: str, width: int, n_inputs: int) -> Sequence[dict[str, Any]]:
    """Return the largest ``|f - <grad f, w>|`` over random weights, and over chosen ones.

    The chosen weights bring every unit to where ``phi(z) - z phi'(z)`` is extreme.
    """
    rng = np.random.default_rng([width, n_inputs])
    X = rng.standard_normal((20, n_inputs)) / math.sqrt(n_inputs)
    net = mean_field(name, width, n_inputs, 0)
    random = max(
        _defect(net.replace(weights=[size * w, net.weights[1]]), X)
        for size in 10.0 ** rng.uniform(-1, 2, _DRAWS)
        for w in [rng.standard_normal((width, n_inputs))]
    )
    places = np.linspace(-40.0, 40.0, 80_001)
    rest = net.activation(places) - places * net.activation.slope(places)
    low, high = places[rest.argmin()], places[rest.argmax()]
    x = X[:1]
    chosen = 0.0
    for up, down in ((high, low), (low, high)):
        z = np.where(net.weights[1][0] > 0, up, down)
        aimed = net.replace(weights=[np.outer(z, x[0]) / float(x[0] @ x[0]), net.weights[1]])
        chosen = max(chosen, _defect(aimed, x))
    return [
        {
            "what": "gap",
            "activation": name,
            "width": width,
            "n_inputs": n_inputs,
            "random": random,
            "chosen": chosen,
            "kappa": large_stepsize.homogeneity_gap(net),
            "table": large_stepsize.activation_constants([name])[0].homogeneity_gap,
        }
    ]


def _defect(net: lipgd.Network, X: Any) -> float:
    found = margins.margins(net, X, np.ones(len(X)), frozen=("W2",), n_threads=1)
    return float(np.abs(found.values - found.slopes).max())


def findings(rows: Rows) -> Findings:
    """Return the tables, the figure and what they say."""
    ends = rows.where(what="training").last(["activation", "stepsize"])
    measured = rows.where(what="gap")
    columns = ["activation", "stepsize", "observed", "certified", "margin", "last", "accuracy"]
    trained = TableOf(
        "activations",
        ends.pick([*columns, "measured", "kappa", "reasons"]),
        "Small against large stepsizes: steps at which phases begin, log risk at the end, test "
        "accuracy, the largest one-sided defect of homogeneity along the training, kappa, and "
        "which statements do not apply",
        {"last": "log risk", "measured": "largest defect"},
    )
    gap = TableOf(
        "near_homogeneity",
        measured.pick(["activation", "width", "n_inputs", "random", "chosen", "kappa", "table"]),
        "Largest |f - <grad f, w>| over random and over chosen weights, beside kappa for balanced "
        "signs and the constant of the activation; neither depends on width or dimension",
        {"table": "of the activation", "n_inputs": "inputs"},
    )
    answer = _answer(ends)
    return Findings([answer, trained, _picture(rows), gap], [answer], [_claim(measured)])


def _picture(rows: Rows) -> Picture:
    part = rows.where(what="training")
    shown = Rows.of(
        {
            "activation": activation,
            "stepsize": stepsize,
            "step": int(step),
            "risk": math.exp(log_risk),
        }
        for activation, stepsize, step, log_risk in zip(
            part["activation"], part["stepsize"], part["step"], part["log_risk"], strict=True
        )
    )
    figure, axes = plotting.panels(3, 2)
    order = [f"leaky({name}, 0.5)" for name in ("gelu", "silu", "softplus")]
    for ax, name in zip(axes, ["gelu", "silu", "softplus", *order], strict=True):
        charts.lines(ax, shown.where(activation=name), "step", "risk", "stepsize")
        charts.name_axes(ax, "step", "risk (nats)", title=name, log="y")
        log_steps(ax, 1.0)
        ax.legend(title="stepsize", frameon=False, fontsize=8)
    return Picture(
        "activations",
        figure,
        shown,
        "Separable Gaussian data of 10 inputs: the risk with a small and a large stepsize.",
        "Six panels, one per activation; the large stepsize ends lower in each where it says so.",
    )


def _answer(ends: Rows) -> str:
    gains, better = [], 0
    for name in ends.values("activation"):
        part = ends.where(activation=name)
        small, large = (part.where(stepsize=value) for value in (_SMALL, _LARGE))
        gain = math.exp(float(small["last"][0] - large["last"][0]))
        better += gain > 1.0
        gains.append(
            f"{name} {gain:.3g} (test accuracy {small['accuracy'][0]:.3f} and "
            f"{large['accuracy'][0]:.3f})"
        )
    return (
        f"Does a large stepsize help with every activation? In {better} of {len(gains)}: the risk "
        f"with stepsize {_SMALL:g} over that with {_LARGE:g} is {'; '.join(gains)}."
    )


def _claim(measured: Rows) -> Claim:
    ratio = measured["chosen"] / measured["kappa"]
    random = measured["random"] / measured["kappa"]
    return Claim(
        "Table of near-homogeneity (section 1.1)",
        "kappa bounds |f - <grad f, w>| for all weights, widths and dimensions, and is attained.",
        f"chosen weights reach {ratio.min():.4f} to {ratio.max():.4f} of kappa, random ones "
        f"{random.min():.2f} to {random.max():.2f}.",
        bool(ratio.max() <= 1.0 + 1e-9 and ratio.min() > 0.99 and random.max() <= 1.0 + 1e-9),
    )
