"""The picture of the README: ``python docs/picture.py``; it runs what it shows in about a minute.

Left, microseconds per step of the last published bench (``bench/results/training_silu.json``);
middle, trainings with and without a Lipschitz limit; right, an audit of a network of scikit-learn.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

import lipgd

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent / "bench" / "results" / "training_silu.json"
ENGINES = {
    "lipgd": "lipgd",
    "JAX scan": "JAX (scan)",
    "compiled step": "PyTorch, compiled",
    "eager": "PyTorch",
}
COLOURS = ("#0072b2", "#d55e00", "#999999", "#009e73")


def speed(axes: Any) -> None:
    """Draw the time of a step by engine for three sizes, relative to lipgd."""
    rows = [
        row for row in json.loads(BENCH.read_text())["rows"] if row["problem"]["dtype"] == "float64"
    ]
    chosen = [rows[0], rows[2], rows[3], rows[-1]]
    engines = [name for name in ENGINES if all(name in row["engines"] for row in chosen)]
    for place, row in enumerate(chosen):
        times = {name: median(row["engines"][name]["times"]) for name in engines}
        for shift, name in enumerate(engines):
            height = times[name] / times["lipgd"]
            where = place + 0.8 * (shift + 0.5) / len(engines) - 0.4
            axes.text(where, height, f"{height:.2g}", ha="center", va="bottom", fontsize="x-small")
            axes.bar(
                where,
                height,
                0.7 / len(engines),
                color=COLOURS[0] if name == "lipgd" else plt.cm.Greys(0.3 + 0.15 * shift),
                label=ENGINES[name] if place == 0 else None,
            )
    labels = [
        f"{p['samples']} x {p['inputs']}\nwidth {p['width']}"
        for p in (row["problem"] for row in chosen)
    ]
    axes.set(xticks=range(len(chosen)), xticklabels=labels)
    axes.tick_params(axis="x", labelsize="small")
    axes.set(ylabel="time of a step, lipgd = 1", title="Train fast, with the same bits")
    axes.set_xlabel("samples x inputs, width of the hidden layer; float64")
    axes.legend(fontsize="x-small")


def limit(axes: Any) -> None:
    """Draw certified constants of trainings with and without a limit."""
    data = lipgd.data.load("diabetes")
    X = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
    y = (data.y - data.y.mean()) / data.y.std()
    net = lipgd.Network.create([10, 100, 1], activation="silu", seed=0)
    for bound, colour in ((None, COLOURS[2]), (2.0, COLOURS[1]), (1.0, COLOURS[0])):
        target = None
        if bound is not None:
            target = lipgd.LipschitzTarget(bound, certificate="sdp", rescale_initial=True)
            axes.axhline(bound, color=colour, lw=0.8, ls="--")
        run = lipgd.train(
            net,
            X,
            y,
            rate=0.02,
            momentum=0.9,
            steps=1500,
            constraint=target,
            record=["lipschitz_upper_sdp"],
            record_every=10,
        )
        words = "no limit" if bound is None else f"limit {bound:g}"
        axes.plot(run.history.step, run.history["lipschitz_upper_sdp"], color=colour, label=words)
    axes.set(xlabel="step", ylabel="certified Lipschitz constant", ylim=(0, 6))
    axes.set(title="Name a Lipschitz constant and get it")
    axes.legend(fontsize="x-small")


def audit(axes: Any) -> None:
    """Draw the ladder of bounds of a network that scikit-learn trained."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    X, y = load_digits(return_X_y=True)
    model = MLPClassifier((64, 32), solver="lbfgs", max_iter=60, tol=1.0, random_state=0)
    found = lipgd.lipschitz.audit(model.fit(X / 16, y), X / 16)
    bars = {
        "product of norms": found["product"].value,
        "closed form": found["closed_form"].value,
        "certificate": found["sdp"].value,
        "attained at a point": found.lower.value,
    }
    for place, value in enumerate(bars.values()):
        lower = place == len(bars) - 1
        axes.barh(-place, value, color=COLOURS[3] if lower else COLOURS[0], height=0.6)
        axes.text(value, -place, f" {value:.3g}", va="center", fontsize="small")
    axes.set(yticks=[-place for place in range(len(bars))], yticklabels=list(bars))
    axes.set(xlabel="Lipschitz constant, MLPClassifier on digits", title="Audit anybody's network")
    axes.margins(x=0.18)


def main() -> None:
    """Draw the three panels."""
    mpl.use("agg")
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style):
        figure, panels = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
        for draw, axes in zip((speed, limit, audit), panels, strict=True):
            draw(axes)
        figure.savefig(HERE / "_static" / "three-things.png", dpi=120)


if __name__ == "__main__":
    main()
