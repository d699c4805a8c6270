"""Wrong labels: growth before and after memorisation, and what the noise is made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.dynamics import Recording
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.dynamics._problem import along, digits, network, percent, train

__all__ = ["findings", "study", "training"]

_SHARES = (0.0, 0.1, 0.3, 0.5, 1.0)
_EARLY = 100
#: Labels with a lower risk (nats) are memorised.
_FITTED = 0.5


def study(request: Request) -> Study:
    """Return a training per share of random labels and seed."""
    steps = request.pick(4000, 200)
    shares = request.pick(_SHARES, (0.0, 0.3, 1.0))
    jobs = [
        partial(training, share, seed, steps) for share in shares for seed in request.repeats(2, 1)
    ]
    return Study("noise", "Wrong labels", jobs, findings)


def training(share: float, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return rows along one training; shares of the noise are means since the row before."""
    run = train(
        network("silu", seed),
        digits(share),
        steps=steps,
        record_every=10,
        dynamics=Recording(movement=0.05),
        shuffle_seed=seed,
    )
    history = run.history
    measured = np.flatnonzero(np.isfinite(history["dynamics_kappa"]))
    found = lipgd.dynamics.predict(run)
    early = int(np.searchsorted(found.step, _EARLY))
    head = {
        "random_labels": share,
        "seed": seed,
        "early": float(found.observed[early] - found.observed[0]),
        "late": float(found.observed[-1] - found.observed[0]),
        "risk": float(history["risk"][-1]),
    }
    parts = {int(history.step[i]): _off_diagonal(history, int(i)) for i in measured}
    return [{**head, **row, **parts[row["step"]]} for row in along(found)]


def _off_diagonal(history: Any, row: int) -> dict[str, float]:
    return {
        f"{name}_off_diagonal": 1.0
        - float(history[f"dynamics_{name}_diagonal"][row] / history[f"dynamics_{name}"][row])
        for name in ("lambda2", "kappa")
    }


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    ends = rows.last(["random_labels", "seed"])
    table = TableOf(
        "noise",
        ends.summary(
            ["random_labels"],
            early=("early", np.mean),
            late=("late", np.mean),
            risk=("risk", np.mean),
            lambda2=("lambda2_off_diagonal", np.mean),
            kappa=("kappa_off_diagonal", np.mean),
        ),
        f"Change of Z after {_EARLY} steps and at the end, risk at the end, and the shares of "
        "covariances between weights in the noise at the end (negative: they take away), by the "
        "share of random labels; means over the seeds",
        {
            "early": f"change after {_EARLY} steps",
            "late": "change at the end",
            "lambda2": "share of covariances in lambda^2",
            "kappa": "share of covariances in kappa",
        },
    )
    claims = [_early(ends), _late(ends), _covariances(rows)]
    answers = [
        f"What do wrong labels do? {claims[0].seen} {claims[1].seen}",
        f"Do covariances dominate the noise? {claims[2].seen}",
    ]
    return Findings([*answers, table, _picture(rows)], answers, claims)


def _means(ends: Rows, name: str) -> Any:
    return ends.summary(["random_labels"], value=(name, np.mean))["value"]


def _early(ends: Rows) -> Claim:
    values = _means(ends, "early")
    return Claim(
        "Label noise slows the early growth",
        "the more labels are random, the less Z grows at first.",
        f"After {_EARLY} steps Z has grown by {', '.join(f'{v:.2f}' for v in values)} with "
        f"{', '.join(percent(v) for v in ends.values('random_labels'))} random labels.",
        bool(np.all(np.diff(values) < 0)),
    )


def _late(ends: Rows) -> Claim:
    values = _means(ends, "late")
    less = bool(values[-1] < values[0])
    # As long as the noisiest labels are not fitted nobody knows where they end.
    fitted = float(_means(ends, "risk")[-1]) < _FITTED
    return Claim(
        "Label noise regularises",
        "training on noisier labels ends with a smaller Lipschitz bound.",
        f"At the end it has grown by {', '.join(f'{v:.2f}' for v in values)}: the noisiest labels "
        f"end {'below' if less else 'above'} the clean ones"
        f"{', memorised.' if fitted else ', but they are not memorised yet.'}",
        less if fitted or not less else None,
    )


def _covariances(rows: Rows) -> Claim:
    clean = rows.where(random_labels=0.0)
    typical = {
        name: float(np.median(clean[f"{name}_off_diagonal"])) for name in ("lambda2", "kappa")
    }
    noisy = rows.where(random_labels=rows.values("random_labels")[1])
    least = float(noisy.last(["seed"])["kappa_off_diagonal"].mean())
    return Claim(
        "Covariances dominate the noise",
        "covariances between weights, not variances of single ones, make most of lambda^2 and "
        "kappa, at all times and for all labels.",
        f"On clean labels they are {percent(typical['lambda2'])} of lambda^2 and "
        f"{percent(typical['kappa'])} of kappa (medians along the training); with "
        f"{percent(rows.values('random_labels')[1])} random labels they end at {percent(least)} of "
        "kappa.",
        bool(min(typical.values()) > 0.5 and least > 0.5),
    )


def _picture(rows: Rows) -> Picture:
    figure, (left, right) = plotting.panels(2)
    shown = rows.where(seed=rows["seed"][0])
    charts.lines(left, shown, "step", "Z", "random_labels")
    charts.name_axes(left, "step", "Z (sum of log norms)", key="random labels")
    charts.lines(right, shown, "step", "kappa_off_diagonal", "random_labels")
    charts.name_axes(right, "step", "share of covariances in kappa", key=None)
    right.set_ylim(-0.5, 1.05)
    return Picture(
        "noise",
        figure,
        shown,
        "Left: Z along trainings with random labels. Right: the share of covariances between "
        "weights in the noise-curvature. First seed.",
        "Z of noisy labels starts slower and ends higher; covariances lose their share late.",
    )
