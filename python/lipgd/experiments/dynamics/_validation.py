"""Predictions beside what is observed, without and with regularizers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.dynamics import _modules
from lipgd.experiments.dynamics._problem import (
    PARTS,
    along,
    digits,
    draw,
    facts,
    network,
    percent,
    train,
)

__all__ = ["findings", "study", "training"]

PLAIN = "none"
#: Regularizers of the core: the share of random labels, and settings of ``train``.
_REGULARIZERS: dict[str, tuple[float, dict[str, Any]]] = {
    PLAIN: (0.0, {}),
    "weight decay 0.001": (0.0, {"weight_decay": 1e-3}),
    "weight decay 0.01": (0.0, {"weight_decay": 1e-2}),
    "label smoothing 0.1": (0.0, {"loss": "cross_entropy(0.1)"}),
    "label noise 20 %": (0.2, {}),
    "momentum 0.9": (0.0, {"momentum": 0.9, "rate": 0.01}),
}
#: Changes that differ by less, as a share, may differ by the batches alone.
_SAME = 0.02
#: What section 14 of dynamics.md asks of the root mean square of z-scores.
_CALIBRATED = (0.75, 1.3)


def study(request: Request) -> Study:
    """Return a training per regularizer, activation and seed."""
    steps, every = request.pick(600, 80), request.pick(2, 4)
    # PyTorch takes longer.
    seldom = request.pick(10, 20)
    seeds = request.repeats(3, 1)
    jobs: list[Any] = [
        partial(training, regularizer, activation, seed, steps, every)
        for regularizer in _REGULARIZERS
        for activation in request.pick(("silu", "relu"), ("silu",))
        for seed in seeds
    ]
    if _modules.usable():
        jobs += [
            partial(_modules.regularized, name, seed, steps, seldom)
            for name in _modules.REGULARIZERS
            for seed in request.repeats(2, 1)
        ]
    return Study(
        "validation", "Predicted and observed, with and without regularizers", jobs, findings
    )


def training(
    regularizer: str, activation: str, seed: int, steps: int, every: int
) -> Sequence[dict[str, Any]]:
    """Return rows along one training of the core.

    Each has batches of its own: with the same ones the z-scores of regularizers go together.
    """
    wrong, settings = _REGULARIZERS[regularizer]
    run = train(
        network(activation, seed),
        digits(wrong),
        steps=steps,
        record_every=every,
        shuffle_seed=_batches_of(regularizer, activation, seed),
        **settings,
    )
    found = lipgd.dynamics.predict(run)
    head = {"regularizer": regularizer, "activation": activation, "seed": seed, **facts(found)}
    return [{**head, **row} for row in along(found)]


def _batches_of(regularizer: str, activation: str, seed: int) -> int:
    place = 2 * list(_REGULARIZERS).index(regularizer) + (activation == "relu")
    return 2 * len(_REGULARIZERS) * seed + place


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    ends = rows.last(["regularizer", "activation", "seed"])
    columns = {name: (name, np.mean) for name in ("change", "predicted", *PARTS, "replay_error")}
    shown = ends.summary(
        ["regularizer", "activation"],
        **columns,
        z=("z", lambda z: math.sqrt(np.mean(z**2))),
        runs=("seed", len),
    )
    table = TableOf(
        "validation",
        shown,
        "Change of Z, the sum of the layers' log norms, over the training, its prediction and the "
        "parts of it (means over the runs); mean error of the replay predictor, relative to the "
        "change; root mean square of the z-scores at the end",
        {
            **PARTS,
            "replay_error": "error of the replay",
            "z": "rms z-score",
            "noise_curvature": "noise-curvature",
        },
    )
    answers = [_calibration(ends), _lowered(ends)]
    if not _modules.usable():
        answers.append("Mixup and dropout need PyTorch, which is not installed: left out.")
    claims = [_drift(ends), _calibrated(ends), _without_noise(ends)]
    return Findings([*answers, table, _picture(rows)], answers, claims)


def _rms(values: Any) -> float:
    return math.sqrt(float(np.mean(np.square(values))))


def _calibration(ends: Rows) -> str:
    z = ends["z"]
    return (
        f"Are predictions as good as they say? Over {len(z)} trainings the root mean square of the "
        f"z-scores at the end is {_rms(z):.2f} (1 is exact, sampling error "
        f"{1.0 / math.sqrt(2 * len(z)):.2f}); {int((np.abs(z) > 3.0).sum())} are beyond 3."
    )


def _lowered(ends: Rows) -> str:
    """Say which regularizers lower the bound."""
    change = {
        name: float(np.mean(ends.where(regularizer=name, activation="silu")["change"]))
        for name in ends.values("regularizer")
        if len(ends.where(regularizer=name, activation="silu"))
    }
    plain = change.pop(PLAIN)
    # Other batches alone move the change by a percent or so.
    close = {name for name, value in change.items() if abs(value - plain) <= _SAME * abs(plain)}
    words = {name: f"{name} ({value:.2f})" for name, value in change.items()}
    lower = [words[n] for n, value in change.items() if value < plain and n not in close]
    higher = [words[n] for n, value in change.items() if value > plain and n not in close]
    equal = [words[n] for n in change if n in close]
    return (
        f"Which regularizers lower the growth of the bound? Without one Z grows by {plain:.2f} "
        f"with silu. Less with {', '.join(lower) or 'none'}; more with "
        f"{', '.join(higher) or 'none'}; within {percent(_SAME)} with "
        f"{', '.join(equal) or 'none'}."
    )


def _drift(ends: Rows) -> Claim:
    part = ends["drift"] / ends["change"]
    low, high = float(part.min()), float(part.max())
    least = ends["regularizer"][int(part.argmin())]
    return Claim(
        "The drift is primary",
        "the projection of the gradient on the norm's Jacobian makes nearly all of the change.",
        f"its share of the change is {percent(low)} (with {least}) to "
        f"{percent(high)} over {len(part)} trainings, in the mean "
        f"{percent(float(part.mean()))}.",
        bool(low > 0.5 and high < 1.5),
    )


def _calibrated(ends: Rows) -> Claim:
    z = ends["z"]
    error = 3.0 / math.sqrt(2 * len(z))
    low, high = min(_CALIBRATED[0], 1.0 - error), max(_CALIBRATED[1], 1.0 + error)
    return Claim(
        "Predictions are off by what they say (section 14)",
        f"the root mean square of the z-scores is in [{_CALIBRATED[0]}, {_CALIBRATED[1]}], but for "
        "what so few trainings leave to chance.",
        f"{_rms(z):.2f} over {len(z)} trainings; [{low:.2f}, {high:.2f}] counts as agreement.",
        bool(low <= _rms(z) <= high),
    )


def _without_noise(ends: Rows) -> Claim:
    worst = ends["replay_error"]
    at = int(np.argmax(worst))
    return Claim(
        "Second order explains what first-order noise leaves (section 13)",
        "with the realised first order of each step, the mean error is below 1 % of the change.",
        f"at most {percent(float(worst[at]))}, with {ends['regularizer'][at]}.",
        bool(worst[at] < 0.01),
    )


def _picture(rows: Rows) -> Picture:
    names = rows.values("regularizer")
    figure, axes = plotting.panels(min(len(names), 4), -(-len(names) // 4))
    for ax in axes[len(names) :]:
        ax.remove()
    kept = ["regularizer", "activation", "step", "Z", "Z_predicted", "Z_error"]
    shown = rows.where(seed=rows["seed"][0]).pick(kept)
    for ax, name in zip(axes, names, strict=False):
        for place, activation in enumerate(shown.where(regularizer=name).values("activation")):
            part = shown.where(regularizer=name, activation=activation)
            draw(ax, part, place, activation)
        charts.name_axes(ax, "step", "Z (sum of log norms)", title=name)
    return Picture(
        "validation",
        figure,
        shown,
        "Observed (solid) and predicted (dashed) sum of the log norms; bands are two standard "
        "errors of the prediction. First seed.",
        "Panels of Z against the step: predictions follow the observed curves within their bands.",
    )
