"""A convolutional network in PyTorch, followed in the same way."""

from __future__ import annotations

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
from lipgd.experiments.dynamics import _modules
from lipgd.experiments.dynamics._problem import PARTS, digits, draw, percent

__all__ = ["check", "findings", "study", "training"]

_REGULARIZERS = ("none", "label smoothing 0.1")
_CIFAR_SAMPLES = 2000
_CIFAR_FILES = {10: "data_batch_1.bin", 100: "train.bin"}
#: Folders inside the one given where archives unpack to.
_INSIDE = ("", "cifar-10-batches-bin", "cifar-100-binary")


def places(folder: Path | None) -> dict[int, Path]:
    """Return the folders of CIFAR-10 and CIFAR-100 that are there, by their numbers of classes."""
    if folder is None:
        return {}
    found: dict[int, Path] = {}
    for classes, name in _CIFAR_FILES.items():
        for inside in _INSIDE:
            if (folder / inside / name).is_file():
                found.setdefault(classes, folder / inside)
    return found


def check(folder: Path | None) -> None:
    """Raise if a folder is given that has neither data set, or PyTorch is missing for it."""
    if folder is None:
        return
    if not places(folder):
        raise ValueError(
            f"data is {str(folder)!r}, which has no data_batch_1.bin of CIFAR-10 and no train.bin "
            "of CIFAR-100, expected a folder with either"
        )
    if not _modules.usable():
        raise ImportError("data needs PyTorch: pip install 'lipgd[torch]'")


def study(request: Request) -> Study:
    """Return a training per data set and regularizer, none without PyTorch."""
    steps, every = request.pick(200, 20), 10
    jobs = []
    if _modules.usable():
        jobs += [partial(training, "digits", None, 10, r, steps, every) for r in _REGULARIZERS]
        jobs += [
            partial(training, f"CIFAR-{classes}", place, classes, r, steps, every)
            for classes, place in places(request.data).items()
            for r in _REGULARIZERS
        ]
    return Study("convnet", "A convolutional network", jobs, findings)


def training(
    name: str, folder: Path | None, classes: int, regularizer: str, steps: int, every: int
) -> Sequence[dict[str, Any]]:
    """Return rows along one training."""
    import torch

    X, y = _images(folder, classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _network(X.shape[1:], classes)
    smoothing = 0.1 if regularizer != "none" else 0.0
    loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    rows = _modules.follow(model, X, y, _modules.Followed(loss, steps, every, 0, {}))
    head = {"data": name, "images": len(X), "regularizer": regularizer, **_modules.end_of(rows)}
    return [{**head, **row} for row in rows]


def _images(folder: Path | None, classes: int) -> tuple[Any, Any]:
    if folder is None:
        data = digits()
        return data.X.reshape(-1, 1, 8, 8), data.y
    found = lipgd.data.read_cifar(folder, 10 if classes == 10 else 100, dtype=np.float32)
    X = np.asarray(found.X[:_CIFAR_SAMPLES]).reshape(-1, 3, 32, 32)
    y = np.asarray(found.y[:_CIFAR_SAMPLES], np.int64)
    mean, scale = X.mean(axis=(0, 2, 3), keepdims=True), X.std(axis=(0, 2, 3), keepdims=True)
    return (X - mean) / np.maximum(scale, 1e-6), y


def _network(shape: Sequence[int], classes: int) -> Any:
    """Return four convolutions, two of them with stride 2, and a linear layer, in float64."""
    from torch import nn

    channels, size = int(shape[0]), int(shape[1])
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(8, 12, 3, padding=1, stride=2),
        nn.SiLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(12, 16, 3, padding=1, stride=2),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(16 * (size // 4) ** 2, classes),
    ).double()


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    if not len(rows):
        return Findings(["This part needs PyTorch, which is not installed: left out."])
    ends = rows.last(["data", "regularizer"])
    first = ("data", "images", "regularizer", "change", "predicted", "standard_error", "z")
    table = TableOf(
        "convnet",
        ends.pick([*first, *PARTS, "replay_error"]),
        "Change of Z, the sum of the log norms of the reshaped kernels and of the last matrix, and "
        "its prediction, for five layers",
        {**PARTS, "replay_error": "error of the replay", "noise_curvature": "noise-curvature"},
    )
    count = dict(zip(ends["data"], ends["images"], strict=True))
    images = ", ".join(f"{number} of {name}" for name, number in count.items())
    note = (
        "Norms are those of kernels reshaped to matrices; their product is no bound of the "
        "Lipschitz constant of the network. "
        f"Images: {images}; more images and steps are a matter of time."
    )
    claim = _followed(ends)
    answer = f"Are convolutional networks predicted as well? {claim.seen}"
    return Findings([answer, note, table, _picture(rows)], [answer], [claim])


def _followed(ends: Rows) -> Claim:
    z, replay = np.abs(ends["z"]), ends["replay_error"]
    return Claim(
        "The prediction holds for convolutional networks",
        "Z is within three standard errors of its prediction, and within 2 % with the realised "
        "first order.",
        f"Over {len(z)} trainings of five layers the largest z-score is {float(z.max()):.2f}, and "
        f"the error with the realised first order at most {percent(float(replay.max()))}.",
        bool((z < 3.0).all() and (replay < 0.02).all()),
    )


def _picture(rows: Rows) -> Picture:
    names = rows.values("data")
    figure, axes = plotting.panels(len(names) + (len(names) == 1))
    for ax in axes[len(names) :]:
        ax.remove()
    for ax, name in zip(axes, names, strict=False):
        for place, regularizer in enumerate(rows.where(data=name).values("regularizer")):
            part = rows.where(data=name, regularizer=regularizer)
            draw(ax, part, place, regularizer)
        charts.name_axes(ax, "step", "Z (sum of log norms)", title=name)
    return Picture(
        "convnet",
        figure,
        rows.pick(["data", "regularizer", "step", "Z", "Z_predicted", "Z_error", "Z_replay"]),
        "Observed (solid) and predicted (dashed) sum of the log norms of a network with "
        "four convolutions; bands are two standard errors of the prediction.",
        "The prediction follows the observed curve within its band.",
    )
