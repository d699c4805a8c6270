"""Data that no network of the kind fits: overlapping classes and wrong labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.large_stepsize._images import mnist
from lipgd.experiments.large_stepsize._problems import (
    Data,
    accuracy,
    cloud,
    curve,
    descend,
    digits,
    mean_field,
    summary,
    tidy,
)
from lipgd.plotting._style import log_steps
from lipgd.theory import large_stepsize

__all__ = ["findings", "study", "training"]

_NOISE = 0.1
_STEPSIZES = (10.0, 1000.0, 100_000.0)
_ACTIVATION = "leaky(gelu, 0.5)"
_WIDTH = 50
_MNIST_SAMPLES = 2000


def study(request: Request) -> Study:
    """Return a training per data set and stepsize."""
    steps = request.pick(4000, 600)
    names = ["overlapping", "both labels", "digits, 10 % noise"]
    place = mnist(request.data)
    if place is not None:
        names.append("MNIST, 10 % noise")
    jobs = [
        partial(training, name, place, stepsize, steps if name[:5] != "MNIST" else steps // 8)
        for name in names
        for stepsize in _STEPSIZES
    ]
    return Study("labels", "Non-separable data and label noise", jobs, findings)


def training(
    name: str, folder: Path | None, stepsize: float, steps: int
) -> Sequence[dict[str, Any]]:
    """Return rows along one training."""
    data = _data(name, folder)
    net = mean_field(_ACTIVATION, _WIDTH, data.X.shape[1], 0)
    run = descend(net, data, stepsize, steps)
    facts = summary(run, data)
    found = large_stepsize.constants(net, data.X)
    needed = large_stepsize.stable_risk(found, stepsize)
    logs = run.history["log_risk"]
    late = logs[len(logs) * 3 // 4 :]
    head = {
        "data": name,
        "stepsize": tidy(stepsize),
        "accuracy": accuracy(run.network, data.X_test, data.y_test),
        "last": math.exp(float(logs[-1])),
        "needed": needed if math.isfinite(needed) else None,
        "wander": float(late.max() - late.min()),
        "observed": facts["observed"],
        "certified": facts["certified"],
        "spectral": facts["spectral"],
        "reasons": facts["reasons"],
    }
    return [{**head, **row} for row in curve(run)]


def _data(name: str, folder: Path | None) -> Data:
    if name == "both labels":
        return _both_labels()
    if name == "overlapping":
        return cloud(200, 10, -0.5, 1, n_test=2000)
    data = digits(0) if name.startswith("digits") else _mnist(folder)
    rng = np.random.default_rng(0)
    wrong = rng.permutation(len(data.y))[: round(_NOISE * len(data.y))]
    y = data.y.copy()
    y[wrong] *= -1.0
    return Data(data.X, y, data.X_test, data.y_test)


def _both_labels() -> Data:
    """Return Gaussian data in which every tenth sample comes with both labels."""
    data = cloud(100, 10, 0.1, 2, n_test=2000)
    X = np.vstack([data.X, data.X[:10]])
    return Data(X, np.concatenate([data.y, -data.y[:10]]), data.X_test, data.y_test)


def _mnist(folder: Path | None) -> Data:
    assert folder is not None
    X, y = _threes_and_eights(lipgd.data.read_mnist(folder))
    try:
        X_test, y_test = _threes_and_eights(lipgd.data.read_mnist(folder, "test"))
    except FileNotFoundError:  # images that are not trained on stand in, if there are any
        rest = slice(_MNIST_SAMPLES, None) if len(X) > _MNIST_SAMPLES else slice(None)
        X_test, y_test = X[rest], y[rest]
    X, y = X[:_MNIST_SAMPLES], y[:_MNIST_SAMPLES]
    mean, scale = X.mean(axis=0), max(float(X.std()), 1e-6) * math.sqrt(X.shape[1])
    return Data((X - mean) / scale, y, (X_test - mean) / scale, y_test)


def _threes_and_eights(found: lipgd.data.Dataset) -> tuple[Any, Any]:
    kept = np.flatnonzero((found.y == 3) | (found.y == 8))
    return found.X[kept], np.where(found.y[kept] == 8, 1.0, -1.0)


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    ends = rows.last(["data", "stepsize"])
    columns = ["data", "stepsize", "observed", "certified", "spectral", "last", "needed", "wander"]
    table = TableOf(
        "labels",
        ends.pick([*columns, "accuracy", "reasons"]),
        "Steps at which phases begin (empty: not certified), risk at the end, the risk that "
        "Theorem 1 would need (empty: any), the range of the log risk over the last quarter, and "
        "test accuracy on right labels",
        {"last": "risk", "wander": "range of log risk"},
    )
    answer = _answer(ends)
    return Findings([answer, table, _picture(rows)], [answer], [_claim(ends)])


def _answer(ends: Rows) -> str:
    none = np.isnan(ends["certified"].astype(float)) & np.isnan(ends["spectral"].astype(float))
    parts = []
    for name in ends.values("data"):
        part = ends.where(data=name)
        best = int(np.argmin(part["last"]))
        accurate = ", ".join(f"{value:.3f}" for value in part["accuracy"])
        parts.append(
            f"{name}: lowest risk {part['last'][best]:.3g} with stepsize "
            f"{part['stepsize'][best]:g}, test accuracies {accurate}"
        )
    return (
        f"What if the data cannot be fitted? {int(none.sum())} of {len(ends)} trainings are not "
        f"certified at any step ({'; '.join(parts)}, for stepsizes "
        f"{', '.join(f'{value:g}' for value in _STEPSIZES)})."
    )


def _claim(ends: Rows) -> Claim:
    part = ends.where(data="both labels")
    floor = 20 / 110 * math.log(2.0)
    needed = part["needed"].astype(float)
    impossible = np.isfinite(needed) & (needed < floor)
    certified = part["certified"].astype(float)
    return Claim(
        "Not certified where it cannot be (section 6)",
        "where samples with both labels keep the risk above what (3.1) needs, the answer is not "
        "certified, although the risk may well be monotone.",
        f"no risk is below {floor:.3f}; {int(impossible.sum())} of {len(part)} stepsizes need "
        f"less, and {int(np.isnan(certified[impossible]).sum())} of these are not certified by "
        "Theorem 1.",
        bool(np.isnan(certified[impossible]).all() and impossible.any()),
    )


def _picture(rows: Rows) -> Picture:
    names = rows.values("data")
    figure, axes = plotting.panels(min(len(names), 3), -(-len(names) // 3))
    for ax in axes[len(names) :]:
        ax.remove()
    shown = Rows.of(
        {
            "data": name,
            "stepsize": stepsize,
            "step": int(step),
            "risk": math.exp(log_risk),
        }
        for name, stepsize, step, log_risk in zip(
            rows["data"], rows["stepsize"], rows["step"], rows["log_risk"], strict=True
        )
    )
    for ax, name in zip(axes, names, strict=False):
        charts.lines(ax, shown.where(data=name), "step", "risk", "stepsize")
        charts.name_axes(ax, "step", "risk (nats)", title=name, log="y")
        log_steps(ax, 1.0)
        ax.legend(title="stepsize", frameon=False, fontsize=8)
    return Picture(
        "labels",
        figure,
        shown,
        "Data that cannot be fitted, or only with wrong labels learnt: the risk per stepsize.",
        "Panels of the risk against the step; large stepsizes keep oscillating where it cannot "
        "fall.",
    )
