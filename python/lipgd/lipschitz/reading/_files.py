"""Files of arrays: ``.npz`` of anybody, ``.mat`` with a cell of weights, ``.pt`` of a state."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd._check import shown
from lipgd.lipschitz._model import Model

from ._builder import Builder

__all__ = ["is_network_file", "load_state", "read_arrays", "read_mat", "read_npz_arrays"]

Array = npt.NDArray[Any]
_MOST_BYTES = 2**34
_DAMAGE = (ValueError, EOFError, KeyError, OSError, zipfile.BadZipFile, zlib.error)


def is_network_file(path: str) -> bool:
    """Return whether an ``.npz`` file says that lipgd wrote it.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return "format_version.npy" in archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{os.path.basename(path)} is not a readable .npz file: {error}"
        ) from error


def read_arrays(
    weights: Sequence[Any], biases: Sequence[Any] | None, activation: Any, source: str
) -> Model:
    """Return the model of matrices (n_outputs, n_inputs), or transposed if only that fits."""
    builder = Builder(source)
    matrices = [np.asarray(matrix) for matrix in weights]
    if not matrices:
        raise builder.error("has no matrices, expected at least one")
    for place, matrix in enumerate(matrices):
        if matrix.ndim != 2:
            raise builder.error(f"has weights[{place}] of shape {matrix.shape}, expected a matrix")
    if not _chained(matrices) and _chained([matrix.T for matrix in matrices]):
        matrices = [matrix.T for matrix in matrices]
    vectors = [None] * len(matrices) if biases is None else list(biases)
    if len(vectors) != len(matrices):
        raise builder.error(f"has {len(vectors)} biases for {len(matrices)} matrices")
    for place, (matrix, bias) in enumerate(zip(matrices, vectors, strict=True)):
        if place:
            builder.hidden(activation, place - 1, len(matrices) - 1)
        vector = None if bias is None else np.asarray(bias).reshape(-1)
        builder.linear(f"weights[{place}]", matrix, vector)
    return builder.build()


def read_npz_arrays(path: str, activation: Any) -> Model:
    """Read the matrices of a plain ``.npz`` file in the order of their names."""
    name = os.path.basename(path)
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(info.file_size for info in archive.infolist())
            if declared > _MOST_BYTES:
                raise ValueError(f"it declares {declared} bytes, expected at most {_MOST_BYTES}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise ValueError(f"{name} is not a readable .npz file: {error}") from error
    numbers = {key: array for key, array in arrays.items() if array.dtype.kind in "fiub"}
    matrices = sorted((k for k, a in numbers.items() if _is_matrix(k, a)), key=_natural)
    vectors = sorted((k for k in numbers if k not in matrices), key=_natural)
    if vectors and len(vectors) != len(matrices):
        raise ValueError(
            f"{name} has the matrices {shown(matrices)} and the vectors {shown(vectors)}, "
            "expected as many biases as matrices, or none"
        )
    _refuse_gap(name, matrices)
    biases = [numbers[key] for key in vectors] or None
    return read_arrays([numbers[key] for key in matrices], biases, activation, name)


def read_mat(path: str, activation: Any) -> Model:
    """Read the cells ``weights`` and, if there are some, ``biases``."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError('.mat files need scipy: pip install "lipgd[scipy]"') from error
    name = os.path.basename(path)
    try:
        content = loadmat(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # of the parser, which raises what it likes
        raise ValueError(f"{name} is not a readable .mat file: {error}") from error
    if "weights" not in content:
        entries = ", ".join(key for key in content if not key.startswith("__"))
        raise ValueError(f"{name} has {entries or 'nothing'}, expected the cell weights")
    biases = _cells(content["biases"]) if "biases" in content else None
    return read_arrays(_cells(content["weights"]), biases, activation, name)


def load_state(path: str) -> Mapping[str, Any]:
    """Read a state dictionary that torch.save wrote; nothing in the file is executed."""
    try:
        import torch
    except ImportError as error:
        raise ImportError('.pt files need PyTorch: pip install "lipgd[torch]"') from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the unpickler, which raises what it likes
        why = (str(error).strip().splitlines() or ["it is empty"])[0]
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            why = "it has objects that run code, expected what torch.save(net.state_dict()) writes"
        raise ValueError(f"{path} is not a readable state_dict: {why}") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds a {type(state).__name__}, expected a state_dict")
    return state


def _cells(value: Array) -> list[Array]:
    return list(value.reshape(-1)) if value.dtype == object else [value]


def _is_matrix(name: str, array: Array) -> bool:
    """Return whether an array is no bias, which may be stored as a row: its name tells."""
    flat = 1 in array.shape and re.match(r"(b|bias|biases|.*bias)\W?_?\d*$", name.lower())
    return array.ndim == 2 and not flat


def _refuse_gap(source: str, names: Sequence[str]) -> None:
    """Raise if matrices that are numbered, such as W1 and W3, leave one out."""
    parts = [re.fullmatch(r"(\D*)(\d+)", name) for name in names]
    if len({part.group(1) for part in parts if part}) != 1 or not all(parts):
        return
    numbers = [int(part.group(2)) for part in parts if part]
    for number, following in pairwise(numbers):
        if following != number + 1:
            raise ValueError(
                f"{source} has the matrices {shown(list(names))}, but none with the number "
                f"{number + 1}, expected one after the other"
            )


def _natural(name: str) -> list[tuple[bool, int, str]]:
    return [
        (part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def _chained(matrices: Sequence[Array]) -> bool:
    return all(first.shape[0] == second.shape[1] for first, second in pairwise(matrices))
