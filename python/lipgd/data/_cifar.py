"""CIFAR-10 and CIFAR-100 from a local folder or file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._check import choice
from ._batches import read_batch
from ._dataset import Dataset
from ._idx import pixel_type
from ._source import digest, read_all, reading

__all__ = ["read_cifar"]

_PIXELS = 3072
_COLOURS = ("red", "green", "blue")
#: The largest value of each label byte that precedes an image; the last is the label.
_LABELS = {10: (9,), 100: (19, 99)}
#: The files of each split; the binary ones end in .bin, the others are pickled.
_FILES = {
    (10, "train"): r"data_batch_\d+",
    (10, "test"): r"test_batch",
    (100, "train"): r"train",
    (100, "test"): r"test",
}

Bytes = npt.NDArray[np.uint8]


def read_cifar(
    path: str | os.PathLike[str],
    classes: Literal[10, 100] = 10,
    *,
    split: Literal["train", "test"] = "train",
    dtype: npt.DTypeLike = np.float64,
) -> Dataset:
    """Return images and labels of CIFAR-10 or CIFAR-100.

    Parameters
    ----------
    path : str or path
        A folder with the files of the binary version (``data_batch_1.bin``, ..., or ``train.bin``)
        or, without these, of the Python version (``data_batch_1``, ..., or ``train``); or one file.
    classes : {10, 100}
        Which of the two data sets it is; of CIFAR-100 the fine labels are returned.
    split : {"train", "test"}
        Which files of a folder to read: all of the split that are there.
    dtype : {float64, float32}
        The type of the inputs.

    Returns
    -------
    Dataset
        Inputs are the bytes 0 to 255: 1024 of red, 1024 of green, 1024 of blue, each row by row.

    Raises
    ------
    FileNotFoundError
        If the folder has no such file.
    ValueError
        If a file is truncated, has a label out of range, or is a pickle of anything but a batch.
        Pickles are read without calling anything that they name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lipgd import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "data_batch_1.bin").write_bytes(bytes([3]) + bytes(3072))
    ...     dataset = data.read_cifar(folder)
    >>> dataset.X.shape, dataset.y.tolist()
    ((1, 3072), [3])
    """
    if classes not in _LABELS:
        raise ValueError(f"classes is {classes!r}, expected 10 or 100")
    choice("split", split, ("train", "test"))
    kind = pixel_type(dtype)
    paths = _paths(Path(path), classes, split)
    batches = [_read(file, classes) for file in paths]
    X = np.empty((sum(len(images) for images, _ in batches), _PIXELS), kind)
    np.concatenate([images for images, _ in batches], out=X)
    return Dataset(
        X,
        np.concatenate([labels for _, labels in batches]).astype(np.int64),
        f"cifar{classes} {split}" if Path(path).is_dir() else Path(path).name,
        "classification",
        tuple(f"{colour}_{i}_{j}" for colour in _COLOURS for i in range(32) for j in range(32)),
        os.fspath(path),
        tuple(str(label) for label in range(classes)),
        {name: value for file in paths for name, value in digest(file).items()},
    )


def _paths(path: Path, classes: int, split: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [entry for entry in path.iterdir() if entry.is_file()]
    for ending in (r"\.bin", ""):
        name = re.compile(_FILES[classes, split] + ending)
        found = [file for file in files if name.fullmatch(file.name)]
        if found:
            return sorted(found, key=lambda file: (len(file.name), file.name))
    raise FileNotFoundError(
        f"path is {os.fspath(path)!r}, which has no {split} files of CIFAR-{classes}"
    )


def _read(path: Path, classes: int) -> tuple[Bytes, Bytes]:
    with reading(path, f"CIFAR-{classes}") as file:
        content = read_all(file)
        # A pickle starts with 128, which is not the label of any class.
        if content[:1] == b"\x80":
            images, labels = read_batch(content, b"labels" if classes == 10 else b"fine_labels")
        else:
            images, labels = _records(content, classes)
        _check_label(labels, classes - 1)
    return images, labels


def _records(content: bytes, classes: int) -> tuple[Bytes, Bytes]:
    largest = _LABELS[classes]
    length = len(largest) + _PIXELS
    if not content or len(content) % length:
        raise ValueError(f"it has {len(content)} bytes, expected a multiple of {length}")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    for position, most in enumerate(largest):
        _check_label(records[:, position], most)
    return records[:, len(largest) :], records[:, len(largest) - 1]


def _check_label(labels: npt.NDArray[Any], most: int) -> None:
    if labels.max() > most:
        record = int(np.argmax(labels > most))
        raise ValueError(f"record {record} has the label {labels[record]}, expected 0 to {most}")
