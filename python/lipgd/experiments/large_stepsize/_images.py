"""Deep networks on two classes of images: digits, and CIFAR-10 where its files are."""

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
from lipgd.experiments.large_stepsize._problems import (
    Data,
    accuracy,
    descend,
    digits,
    positions,
    tidy,
)
from lipgd.plotting._style import log_steps

__all__ = ["check", "cifar", "findings", "folder_of", "mnist", "study", "training"]

_RECORD = (
    "log_risk",
    "normalized_margin",
    "smoothed_margin",
    "homogeneity_error",
    "gradient_norm",
)
#: Stepsizes of digits: the large one oscillates at first.
_DIGITS = (0.01, 0.5)
#: Those of arXiv 2406.08654 for CIFAR-10.
_CIFAR = (0.005, 0.2)
_CIFAR_SAMPLES = 6000
#: Folders inside the one given where archives unpack to.
_INSIDE = ("", "cifar-10-batches-bin", "cifar-10", "cifar10", "mnist", "MNIST", "MNIST/raw")


def folder_of(folder: Path | None, names: Sequence[str]) -> Path | None:
    """Return where a file of one of the names is: in the folder, or where archives unpack to."""
    if folder is None:
        return None
    for inside in _INSIDE:
        for name in names:
            if (folder / inside / name).is_file():
                return folder / inside
    return None


def cifar(folder: Path | None) -> Path | None:
    """Return the folder of the binary files of CIFAR-10, None if they are not there."""
    return folder_of(folder, [f"data_batch_{i}.bin" for i in range(1, 6)])


def mnist(folder: Path | None) -> Path | None:
    """Return the folder of the IDX files of MNIST, None if they are not there."""
    stems = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")
    return folder_of(folder, [name + end for name in stems for end in ("", ".gz")])


def check(folder: Path | None) -> None:
    """Raise if a folder is given that has neither of the data sets."""
    if folder is not None and cifar(folder) is None and mnist(folder) is None:
        raise ValueError(
            f"data is {str(folder)!r}, which has no data_batch_1.bin of CIFAR-10 and no "
            "train-images-idx3-ubyte of MNIST, expected a folder with either"
        )


def study(request: Request) -> Study:
    """Return a training per data set and stepsize."""
    steps, seeds = request.pick(3000, 300), request.repeats(3, 1)
    width = request.pick(64, 32)
    jobs: list[Any] = [
        partial(training, "digits 3 and 8", None, stepsize, steps, width, seed)
        for seed in seeds
        for stepsize in _DIGITS
    ]
    place = cifar(request.data)
    if place is not None:
        jobs += [
            partial(training, "airplane and automobile", place, stepsize, steps // 20, width, 0)
            for stepsize in _CIFAR
        ]
    return Study("images", "Four-layer networks on images", jobs, findings)


def training(
    name: str, folder: Path | None, stepsize: float, steps: int, width: int, seed: int
) -> Sequence[dict[str, Any]]:
    """Return rows along one training of a four-layer GELU network, all layers trained."""
    data = digits(seed) if folder is None else _airplanes(folder)
    net = _network(data, width, seed)
    run = descend(net, data, stepsize, steps, _RECORD, (), max(steps // 300, 1))
    history = run.history
    logs = history["log_risk"]
    rises = np.flatnonzero(np.diff(logs) > 1e-9)
    head = {
        "data": name,
        "stepsize": tidy(stepsize),
        "seed": seed,
        "status": run.status,
        "last_rise": int(history.step[rises[-1] + 1]) if len(rises) else 0,
        "accuracy": accuracy(run.network, data.X_test, data.y_test),
        "start": float(logs[0]),
        "last": float(logs[-1]),
        "final_margin": float(history["normalized_margin"][-1]),
        "final_error": float(history["homogeneity_error"][-1]),
    }
    return [
        {
            **head,
            "step": int(history.step[i]),
            "risk": math.exp(min(float(logs[i]), 700.0)),
            "margin": float(history["normalized_margin"][i]),
            "gradient_norm": float(history["gradient_norm"][i]),
        }
        for i in positions(len(history), 120)
    ]


def _network(data: Data, width: int, seed: int) -> lipgd.Network:
    sizes = [data.X.shape[1], width, width, width, 1]
    dtype = np.float32 if data.X.dtype == np.float32 else np.float64
    return lipgd.Network.create(
        sizes, activation="gelu", init="he_normal", seed=seed, dtype=dtype, biases=False
    )


def _airplanes(folder: Path) -> Data:
    """Return images of two classes, centred and scaled to length about 1, in float32."""
    X, y = _two_classes(lipgd.data.read_cifar(folder, dtype=np.float32))
    try:
        X_test, y_test = _two_classes(lipgd.data.read_cifar(folder, split="test", dtype=np.float32))
    except FileNotFoundError:  # images that are not trained on stand in, if there are any
        rest = slice(_CIFAR_SAMPLES, None) if len(X) > _CIFAR_SAMPLES else slice(None)
        X_test, y_test = X[rest], y[rest]
    X, y = X[:_CIFAR_SAMPLES], y[:_CIFAR_SAMPLES]
    mean, scale = X.mean(axis=0), max(float(X.std()), 1e-6) * math.sqrt(X.shape[1])
    return Data((X - mean) / scale, y, (X_test - mean) / scale, y_test)


def _two_classes(found: lipgd.data.Dataset) -> tuple[Any, Any]:
    """Return the images of the first two classes, with signs."""
    kept = np.flatnonzero(found.y < 2)
    return found.X[kept], np.where(found.y[kept] == 1, 1.0, -1.0)


_NUMBERS = ("accuracy", "last", "last_rise", "final_margin", "final_error")


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    ends = rows.last(["data", "stepsize", "seed"])
    means = ends.summary(
        ["data", "stepsize"], **{name: (name, lambda v: float(np.mean(v))) for name in _NUMBERS}
    )
    table = TableOf(
        "images",
        means,
        "Means over seeds at the end: test accuracy, log risk, the last recorded rise of the risk, "
        "smallest margin over norm^4, and the measured defect of homogeneity of degree 4",
        {"last": "log risk", "final_margin": "margin / norm^4", "final_error": "defect"},
    )
    answer = _answer(means)
    return Findings([answer, table, _picture(rows)], [answer], [_claim(means)])


def _answer(means: Rows) -> str:
    parts = []
    for name in means.values("data"):
        small, large = (means.where(data=name).cells[i] for i in (0, -1))
        rate, accurate, last = (means.columns.index(c) for c in ("stepsize", "accuracy", "last"))
        parts.append(
            f"{name}: stepsize {small[rate]:g} ends with test accuracy {small[accurate]:.3f} and "
            f"log risk {small[last]:.2f}, stepsize {large[rate]:g} with {large[accurate]:.3f} and "
            f"{large[last]:.2f}"
        )
    return f"What does a large stepsize do to a four-layer network? {'; '.join(parts)}."


def _claim(means: Rows) -> Claim:
    grown = []
    for name in means.values("data"):
        part = means.where(data=name)
        margin, last = part["final_margin"], part["last"]
        grown.append(bool(margin[-1] >= margin[0] and last[-1] < last[0]))
    return Claim(
        "Large stepsizes with deep networks (arXiv 2406.08654, section 5)",
        "the large stepsize ends with the lower risk and the larger margin over norm^4.",
        f"so in {sum(grown)} of {len(grown)} data sets; margins over norm^4 at the end: "
        f"{', '.join(f'{value:.2g}' for value in means['final_margin'])}.",
        all(grown),
    )


def _picture(rows: Rows) -> Picture:
    names = rows.values("data")
    figure, axes = plotting.panels(3, len(names))
    for place, name in enumerate(names):
        part = rows.where(data=name)
        for ax, quantity, words, log in zip(
            axes[3 * place :],
            ("risk", "margin", "gradient_norm"),
            ("risk (nats)", "smallest margin / norm^4", "gradient norm"),
            ("y", "", "y"),
            strict=False,
        ):
            charts.lines(ax, part, "step", quantity, "stepsize")
            charts.name_axes(ax, "step", words, title=name, log=log)
            log_steps(ax, 10.0)
            ax.legend(title="stepsize", frameon=False, fontsize=8)
            if not log:
                last = part.last(["stepsize", "seed"])["margin"].max()
                ax.set_ylim(-0.5 * abs(last), 1.2 * abs(last))
    return Picture(
        "images",
        figure,
        rows.pick(["data", "stepsize", "seed", "step", "risk", "margin", "gradient_norm"]),
        "Four-layer GELU networks without biases, all layers trained; means over seeds.",
        "Risk, margin over norm^4 and gradient norm against the step for two stepsizes.",
    )
