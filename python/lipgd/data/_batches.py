"""Pickled batches of CIFAR, read without running what a pickle can run.

The names that such a pickle holds are replaced by records of their arguments; every other name is
refused. The pure Python unpickler is used because it takes no memory that a pickle only announces.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["read_batch"]

Bytes = npt.NDArray[np.uint8]

_PIXELS = 3072


class _Part:
    """Stands for an array or a dtype: its arguments and its state, nothing else."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Name:
    """Stands for a function: calls a harmless one, and cannot be changed by a pickle."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Unpickler(pickle._Unpickler):
    """Knows the four names of a batch."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy.core.multiarray", "_reconstruct"): _Part,
            ("numpy._core.multiarray", "_reconstruct"): _Part,
            ("numpy", "ndarray"): _refuse,
            ("numpy", "dtype"): _Part,
            ("_codecs", "encode"): _encode,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, expected only NumPy arrays")
        return _Name(known[module, name])


def read_batch(content: bytes, key: bytes) -> tuple[Bytes, Bytes]:
    """Return the images, shape (n, 3072), and the labels under ``key`` of a pickled batch."""
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a hostile pickle can raise anything
        raise ValueError(f"it is not a pickled batch: {error}") from error
    if not isinstance(batch, dict):
        raise ValueError("it is not a pickled batch: it is no dictionary")
    entries = {_bytes(name): value for name, value in batch.items()}
    images = _images(entries.get(b"data"))
    labels = entries.get(key)
    if not isinstance(labels, list) or len(labels) != len(images):
        raise ValueError(f"it has no list of {len(images)} labels under {key.decode()!r}")
    if not all(isinstance(label, int) and 0 <= label <= 255 for label in labels):
        raise ValueError(f"it has something else than labels under {key.decode()!r}")
    return images, np.array(labels, dtype=np.uint8)


def _images(part: Any) -> Bytes:
    # The state of an array: version, shape, dtype, Fortran order, bytes.
    state = part.state if isinstance(part, _Part) else None
    if not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("it has no array under 'data'")
    _, shape, dtype, fortran, content = state
    kind = dtype.arguments[:1] if isinstance(dtype, _Part) else ()
    if kind not in ((b"u1",), ("u1",)) or not isinstance(content, bytes):
        raise ValueError("it has no bytes under 'data'")
    if not content or shape != (len(content) // _PIXELS, _PIXELS) or len(content) % _PIXELS:
        raise ValueError(f"it has {len(content)} bytes of shape {shape}, expected (n, {_PIXELS})")
    return np.frombuffer(content, np.uint8).reshape((-1, _PIXELS), order="F" if fortran else "C")


def _encode(text: Any, encoding: Any) -> bytes:
    # Python 3 writes bytes in this way in protocol 2.
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("it encodes text in another way than bytes are")
    return text.encode("latin1")


def _refuse(*arguments: Any) -> Any:
    raise pickle.UnpicklingError("it makes an array by itself")


def _bytes(name: Any) -> Any:
    return name.encode() if isinstance(name, str) else name
