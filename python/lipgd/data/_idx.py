"""The IDX format, in which MNIST and its relatives are published."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._check import choice
from ._dataset import Dataset
from ._source import MAX_BYTES, digest, read_exactly, reading

__all__ = ["read_idx", "read_mnist"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 16


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Return the array in an IDX file.

    Parameters
    ----------
    path : str or path
        The file, compressed by gzip or not.

    Returns
    -------
    ndarray
        With the shape and the type that the file declares, in the byte order of this machine.

    Raises
    ------
    ValueError
        If the file is not an IDX file, is truncated, goes on after its data, or declares more than
        4 GiB. No memory is taken beyond what the file has.

    Examples
    --------
    >>> import os, tempfile
    >>> from lipgd import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels.idx")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     data.read_idx(path).tolist()
    [7, 2, 1]
    """
    with reading(path, "IDX") as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not start[3]:
            raise ValueError(f"it starts with {start.hex(' ')}, expected 00 00, a type and a size")
        if start[3] > _MOST_DIMENSIONS:
            raise ValueError(f"it declares {start[3]} dimensions, expected at most 16")
        sizes = file.read(4 * start[3])
        if len(sizes) < 4 * start[3]:
            raise ValueError("it ends within its header")
        shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
        dtype = np.dtype(_TYPES[start[2]])
        count = math.prod(shape) * dtype.itemsize
        if math.prod(max(size, 1) for size in shape) * dtype.itemsize > MAX_BYTES:
            raise ValueError(f"it declares the shape {shape}, expected at most {MAX_BYTES} bytes")
        array = np.frombuffer(read_exactly(file, count), dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_mnist(
    folder: str | os.PathLike[str],
    split: Literal["train", "test"] = "train",
    *,
    dtype: npt.DTypeLike = np.float64,
) -> Dataset:
    """Return images and labels of MNIST, or of a data set with the same file names.

    Parameters
    ----------
    folder : str or path
        Has the files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, and the same with
        ``t10k`` for the test set; compressed by gzip (``.gz``) or not.
    split : {"train", "test"}
        Which of the two sets to read.
    dtype : {float64, float32}
        The type of the inputs.

    Returns
    -------
    Dataset
        Inputs are the pixels, 0 to 255, row by row; labels are 0 to 9.

    Raises
    ------
    FileNotFoundError
        If the folder does not have the files.
    ValueError
        If a file is damaged, or images and labels do not belong together.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lipgd import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 255, 7])
    ...     _ = Path(folder, "train-images-idx3-ubyte").write_bytes(image)
    ...     label = bytes([0, 0, 8, 1, 0, 0, 0, 1, 5])
    ...     _ = Path(folder, "train-labels-idx1-ubyte").write_bytes(label)
    ...     dataset = data.read_mnist(folder)
    >>> dataset.X.tolist(), dataset.y.tolist()
    ([[255.0, 7.0]], [5])
    """
    prefix = {"train": "train", "test": "t10k"}[choice("split", split, ("train", "test"))]
    kind = pixel_type(dtype)
    images_path = _find(Path(folder), f"{prefix}-images", "idx3-ubyte")
    labels_path = _find(Path(folder), f"{prefix}-labels", "idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.dtype != np.uint8 or not images.size:
        raise ValueError(
            f"{images_path} has {images.dtype} data of shape {images.shape}, "
            "expected bytes of shape (images, rows, columns)"
        )
    if labels.shape != images.shape[:1] or labels.dtype != np.uint8:
        raise ValueError(
            f"{labels_path} has {labels.dtype} data of shape {labels.shape}, "
            f"expected one byte for each of {len(images)} images"
        )
    if labels.max() > 9:
        raise ValueError(f"{labels_path} has the label {labels.max()}, expected 0 to 9")
    rows, columns = images.shape[1:]
    return Dataset(
        images.reshape(len(images), -1).astype(kind),
        labels.astype(np.int64),
        f"{Path(os.path.abspath(folder)).name} {split}",
        "classification",
        tuple(f"pixel_{i}_{j}" for i in range(rows) for j in range(columns)),
        os.fspath(folder),
        tuple(str(label) for label in range(10)),
        digest(images_path) | digest(labels_path),
    )


def pixel_type(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the type of inputs that were bytes: float64 or float32."""
    kind = np.dtype(dtype)
    if kind not in (np.float64, np.float32):
        raise ValueError(f"dtype is {kind}, expected float64 or float32")
    return kind


def _find(folder: Path, stem: str, ending: str) -> Path:
    for name in (f"{stem}-{ending}", f"{stem}.{ending}"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise FileNotFoundError(
        f"folder is {os.fspath(folder)!r}, which has no {stem}-{ending} and no {stem}-{ending}.gz"
    )
