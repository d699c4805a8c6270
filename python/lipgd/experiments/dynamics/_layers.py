"""One training in full: prediction, parts, and the coefficients of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.dynamics import Prediction, Recording
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.dynamics._problem import digits, network, percent, train

__all__ = ["findings", "study", "training"]

#: Shares of random labels.
_SHARES = (0.0, 0.2)
#: What is kept of a prediction, and of the record of the network and of every layer.
_FIELDS = (
    *("step", "time", "observed", "predicted", "standard_error", "z", "replay", "pathwise"),
    *("drift", "noise_curvature", "ito", "finite_step", "pair", "epoch", "first_order", "variance"),
)
_QUANTITIES = ("log_norm", "mu", "kappa", "lambda2", "kappa_diagonal", "lambda2_diagonal")


def study(request: Request) -> Study:
    """Return a training with right labels, and one with wrong ones among them."""
    steps, every = request.pick((1000, 4), (160, 4))
    jobs = [partial(training, share, steps, every) for share in _SHARES]
    return Study("layers", "One training, layer by layer", jobs, findings)


def training(share: float, steps: int, every: int) -> Sequence[dict[str, Any]]:
    """Return the rows of one training."""
    net = network("relu", 0)
    run = train(
        net,
        digits(share),
        steps=steps,
        batch_size=64,
        record_every=every,
        dynamics=Recording(),
        shuffle_seed=0,
    )
    found = lipgd.dynamics.predict(run)
    parts = ("", *(f":W{layer + 1}" for layer in range(net.depth)))
    columns = [f"dynamics_{quantity}{part}" for part in parts for quantity in _QUANTITIES]
    return [
        {
            "random_labels": share,
            **{name: getattr(found, name)[i].item() for name in _FIELDS},
            **{name: float(run.history[name][i]) for name in columns},
        }
        for i in range(found.rows)
    ]


def findings(rows: Rows) -> Findings:
    """Return the table, the figures and what they say."""
    table = _shares(rows)
    shown = TableOf(
        "layers",
        table,
        "MLP 64-64-32-10 (ReLU), rate 0.1, batches of 64: the change of the log norm of each "
        "layer, and the shares of covariances between weights in its noise, summed over the "
        "training (negative: they take away)",
        {"lambda2": "covariances in lambda^2", "kappa": "covariances in kappa"},
    )
    claim = _everywhere(table)
    answer = f"Which layers do covariances rule? {claim.seen}"
    return Findings([answer, shown, *_pictures(rows)], [answer], [claim])


def _shares(rows: Rows) -> Rows:
    layers = [n.partition(":")[2] for n in rows.columns if n.startswith("dynamics_mu:")]
    found = []
    for share in rows.values("random_labels"):
        part = rows.where(random_labels=share)
        for layer in layers:
            norm = part[f"dynamics_log_norm:{layer}"]
            row = {"random_labels": share, "layer": layer, "change": float(norm[-1] - norm[0])}
            for quantity in ("lambda2", "kappa"):
                whole = float(part[f"dynamics_{quantity}:{layer}"].sum())
                own = float(part[f"dynamics_{quantity}_diagonal:{layer}"].sum())
                row[quantity] = 1.0 - own / whole if whole else float("nan")
            found.append(row)
    return Rows.of(found)


def _everywhere(table: Rows) -> Claim:
    least = np.minimum(table["lambda2"], table["kappa"])
    at = int(np.argmin(least))
    most = int((least > 0.5).sum())
    return Claim(
        "Covariances dominate in every layer",
        "covariances between weights make more than half of lambda^2 and of kappa in each layer.",
        f"They do in {most} of {len(table)} cases; least in {table['layer'][at]} with "
        f"{percent(table['random_labels'][at])} random labels, {percent(float(least[at]))}.",
        most == len(table),
    )


def _prediction(rows: Rows) -> Prediction:
    columns: dict[str, Any] = {name: np.asarray(rows[name], float) for name in _FIELDS}
    return Prediction("network", **{**columns, "step": columns["step"].astype(np.int64)})


def _pictures(rows: Rows) -> list[Picture]:
    shares = rows.values("random_labels")
    figure, axes = plotting.panels(2, len(shares))
    layers = []
    for place, share in enumerate(shares):
        part = rows.where(random_labels=share)
        left, right = axes[2 * place : 2 * place + 2]
        plotting.predicted_trajectory(_prediction(part), ax=left)
        plotting.contributions(_prediction(part), ax=right)
        for ax in (left, right):
            ax.set_title(f"{percent(share)} random labels", fontsize=10)
        columns = [name for name in part.columns if name.startswith("dynamics_")]
        history = lipgd.History(
            part["step"].astype(np.int64),
            {name: part[name] for name in columns},
            {"loss": "cross_entropy"},
        )
        layers.append(
            Picture(
                f"layers_{100 * share:.0f}",
                plotting.layer_dynamics(history),
                part.pick(["step", *columns]),
                f"Coefficients of the network and of its layers with {percent(share)} random "
                "labels: rows pale, moving averages strong; of the noise the parts from variances "
                "(diagonal) and from covariances (off-diagonal) too.",
                "A grid of panels: drift, kappa and lambda^2 of the network and of each layer.",
            )
        )
    trajectories = Picture(
        "layers",
        figure,
        rows.pick(["random_labels", *_FIELDS]),
        "Left: predicted (two standard errors are shaded) and observed; inset: what is left of the "
        "prediction and of the replay predictor. Right: the parts of the prediction, summed over "
        "the steps; inset: those without the drift.",
        "Predictions follow what is observed; the drift fills nearly all of the stacked parts.",
    )
    return [trajectories, *layers]
