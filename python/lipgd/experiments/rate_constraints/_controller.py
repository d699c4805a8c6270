"""At a Lipschitz target: rates that stall, and rescaling that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, mean
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._trainings import cube, named, network

__all__ = ["findings", "study", "training"]

_SAMPLES, _RATE, _FACTOR = 150, 0.05, 1.3
#: W and B stand still when the steps left move them by less than this part of what they moved.
_STILL = 1e-3
_EARLY = 100


def study(request: Request) -> Study:
    """Return the trainings of both methods at a target near the start."""
    steps = request.pick(2000, 300)
    jobs = [
        partial(training, activation, method, seed, steps)
        for activation in ("relu", "silu")
        for method in ("rates", "retract")
        for seed in request.repeats(5, 1)
    ]
    return Study("controller", "At a Lipschitz target", jobs, findings)


def training(activation: str, method: str, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return rows over the steps."""
    data = cube(_SAMPLES, seed)
    net = network(data, activation=activation, seed=seed)
    start = lipgd.train(net, data.X, data.y, steps=0, record=("lipschitz_upper",)).history
    limit = _FACTOR * float(start["lipschitz_upper"][0])
    run = lipgd.train(
        net,
        data.X,
        data.y,
        loss="huber",
        rate=_RATE,
        steps=steps,
        constraint=lipgd.LipschitzTarget(limit, method=method, accelerate=False),
        record=(
            *("risk", "lipschitz_upper", "path_length:W1", "path_length:W2"),
            *("gradient_norm:W1", "gradient_norm:W2"),
        ),
        record_every=10,
        n_threads=1,
    )
    history = run.history
    moved = np.hypot(history["path_length:W1"], history["path_length:W2"])
    left = (moved[-1] - moved) / moved[-1]
    stall = int(history.step[np.flatnonzero(left <= _STILL)[0]])
    force = np.hypot(history["gradient_norm:W1"], history["gradient_norm:W2"])
    return [
        {
            "activation": activation,
            "method": method,
            "seed": seed,
            "step": int(step),
            "risk": float(history["risk"][row]),
            "used": float(history["lipschitz_upper"][row]) / limit,
            "gradient_W_B": float(force[row]),
            "still_from": stall,
        }
        for row, step in enumerate(history.step)
        if row % 5 == 0 or row == len(history) - 1
    ]


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    ends = rows.last(["activation", "method", "seed"])
    numbers = {n: (n, mean) for n in ("risk", "gradient_W_B", "still_from")}
    summary = ends.summary(["activation", "method"], **numbers, used=("used", np.max))
    early = rows.where(step=50).summary(["activation", "method"], risk_at_50=("risk", mean))
    merged = Rows(
        (*summary.columns, "risk_at_50"),
        tuple((*a, b[-1]) for a, b in zip(summary.cells, early.cells, strict=True)),
    )
    sentence = _sentence(merged, rows)
    figure, axes = plotting.panels(2)
    for ax, activation in zip(axes, rows.values("activation"), strict=False):
        charts.lines(ax, rows.where(activation=activation), "step", "risk", "method")
        charts.name_axes(ax, "step", "training risk (Huber)", title=activation, log="y")
    numbers_of = rows.summary(["activation", "method", "step"], risk=("risk", mean))
    caption = f"Risk at a target of {_FACTOR:g} times the first product, mean and deviation."
    table = TableOf(
        "controller",
        merged,
        "Means over seeds at the last step. Still from: the step after which W and B hardly move; "
        "used: largest part of the target that the certified constant reaches",
        {"gradient_W_B": "gradient of W, B", "risk_at_50": "risk at step 50"},
    )
    picture = Picture("controller", figure, numbers_of, caption, sentence)
    return Findings([sentence, picture, table], [], [_claim(merged)])


def _sentence(merged: Rows, rows: Rows) -> str:
    steps = max(rows.values("step"))
    parts = []
    for activation in merged.values("activation"):
        part = {m: merged.where(activation=activation, method=m) for m in ("rates", "retract")}
        rates, retract = part["rates"], part["retract"]
        parts.append(
            f"{activation}: through the rates W and B stand still from step "
            f"{rates['still_from'][0]:.0f} of {steps}, with a gradient of "
            f"{rates['gradient_W_B'][0]:.2g} left, and the risk ends at {rates['risk'][0]:.3g}; "
            f"rescaling ends at {retract['risk'][0]:.3g}"
        )
    better = bool(
        (merged.where(method="retract")["risk"] < merged.where(method="rates")["risk"]).all()
    )
    lead = "Rescaling goes on" if better else "Rescaling does not always end lower"
    return f"{lead} at the same certified constant. {'; '.join(parts)}."


def _claim(merged: Rows) -> Claim:
    """Compare with observation 5."""
    rates, retract = (merged.where(method=m) for m in ("rates", "retract"))
    conditions = {
        f"W and B stand still within {_EARLY} steps": bool((rates["still_from"] <= _EARLY).all()),
        "at a point that is not stationary": bool((rates["gradient_W_B"] > 0.01).all()),
        "rescaling ends lower": bool((retract["risk"] < rates["risk"]).all()),
        "nobody exceeds the target": bool((merged["used"] <= 1).all()),
    }
    broken = [name for name, holds in conditions.items() if not holds]
    return Claim(
        "Controller (observation 5)",
        "through the rates W and B stop within 50 steps with gradients of .056 and .067 left, and "
        "the risk moves through the biases alone (relu .1229 at step 50 to .1166, silu .1367 to "
        ".1342); rescaling goes on to .0760 and .1191.",
        f"{'; '.join(_numbers(merged, kind) for kind in merged.values('activation'))}. Not seen: "
        f"{named(broken)}.",
        not broken,
    )


def _numbers(merged: Rows, activation: str) -> str:
    rates, retract = (merged.where(activation=activation, method=m) for m in ("rates", "retract"))
    return (
        f"{activation}: still from step {rates['still_from'][0]:.0f}, gradient "
        f"{rates['gradient_W_B'][0]:.3f}, risk {rates['risk_at_50'][0]:.4f} at step 50 and "
        f"{rates['risk'][0]:.4f} at the end, with rescaling {retract['risk'][0]:.4f}"
    )
