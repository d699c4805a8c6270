"""Data as the compiled core takes it: checked once, copied only where it must be."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lipgd import _core
from lipgd.losses import Loss
from lipgd.types import ArrayLike, DoubleArray, FloatArray

__all__ = [
    "Targets",
    "finite_inputs_of",
    "inputs_of",
    "raw_weights",
    "real_array",
    "targets_of",
    "weights_of",
]

#: Values (n_samples, n_outputs), labels (n_samples,) and weights (n_samples,), or None.
Targets: TypeAlias = tuple[FloatArray | None, npt.NDArray[np.int64] | None, FloatArray | None]
#: Rows that are converted at once where a search needs it.
_SLICE = 65536


def inputs_of(name: str, X: ArrayLike, n_inputs: int, *, allow_empty: bool = False) -> FloatArray:
    """Return ``X`` as a float32 or float64 array (n_samples, n_inputs) with any strides."""
    array = real_array(name, X)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}, expected (n_samples, {n_inputs})")
    if array.shape[1] != n_inputs:
        columns = array.shape[1]
        raise ValueError(
            f"{name} has {columns} column{'s' * (columns != 1)}, "
            f"but the network takes {n_inputs} input{'s' * (n_inputs != 1)}"
        )
    if array.shape[0] == 0 and not allow_empty:
        raise ValueError(f"{name} is empty, expected at least one sample")
    if array.dtype not in (np.float32, np.float64):
        with np.errstate(over="ignore"):  # of longdouble; infinity is looked for later
            array = array.astype(np.float64)
    usable = array.flags.aligned and all(stride % array.itemsize == 0 for stride in array.strides)
    return array if usable else array.copy()


def finite_inputs_of(name: str, X: ArrayLike, n_inputs: int, dtype: np.dtype[Any]) -> FloatArray:
    """Return the same, after a search in blocks for what is not finite in the dtype."""
    array = inputs_of(name, X, n_inputs)
    place = _core.find_nonfinite(array)
    if place is None and dtype.itemsize < array.itemsize:
        place = _find_overflow(array, dtype)
    if place is not None:
        row, column = place
        raise ValueError(
            f"{name} has {array[row, column]} in row {row}, column {column}, "
            f"expected finite {dtype} numbers"
        )
    return array


def targets_of(
    name: str,
    y: ArrayLike,
    loss: Loss,
    n_samples: int,
    n_outputs: int,
    dtype: np.dtype[Any],
    inputs_name: str = "X",
) -> tuple[FloatArray | None, npt.NDArray[np.int64] | None]:
    """Return the values or the labels that the loss compares with."""
    array = real_array(name, y, "integer labels" if loss.takes_labels else "real numbers")
    if array.ndim > 0 and array.shape[0] != n_samples:
        count = len(array)
        raise ValueError(
            f"{name} has {count} sample{'s' * (count != 1)}, but {inputs_name} has {n_samples}"
        )
    if loss.takes_labels:
        return None, _labels(name, array, n_outputs)
    if array.shape == (n_samples,) and n_outputs == 1:
        array = array[:, None]
    if array.shape != (n_samples, n_outputs):
        shapes = f"({n_samples}, {n_outputs})" + (f" or ({n_samples},)" if n_outputs == 1 else "")
        raise ValueError(f"{name} has shape {array.shape}, expected {shapes}")
    with np.errstate(over="ignore"):  # infinity is looked for next
        values = np.ascontiguousarray(array, dtype)
    place = _core.find_nonfinite(values)
    if place is not None:
        raise ValueError(
            f"{name} has {array[place]} for sample {place[0]}, expected finite {dtype} numbers"
        )
    if loss.kind == "logistic":
        _check_signs(name, array)
    return values, None


def weights_of(
    sample_weight: ArrayLike | None, n_samples: int, dtype: np.dtype[Any]
) -> FloatArray | None:
    """Return the sample weights, scaled to mean one."""
    if sample_weight is None:
        return None
    weights = raw_weights(sample_weight, n_samples)
    largest = weights.max()
    if largest == 0:
        raise ValueError("sample_weight is zero for every sample, expected a positive weight")
    weights /= largest  # so that the sum cannot overflow
    return np.ascontiguousarray(weights / weights.mean(), dtype)


def raw_weights(sample_weight: ArrayLike, n_samples: int) -> DoubleArray:
    """Return a copy of the sample weights, all of which may be zero."""
    array = real_array("sample_weight", sample_weight)
    if array.shape != (n_samples,):
        raise ValueError(f"sample_weight has shape {array.shape}, expected ({n_samples},)")
    weights = array.astype(np.float64)
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"sample_weight has {weights[place]} for sample {place}, "
            "expected a finite number at least 0"
        )
    return weights


def real_array(name: str, value: ArrayLike, expected: str = "real numbers") -> npt.NDArray[Any]:
    """Return ``value`` as an array of numbers or truth values in the machine's byte order."""
    if value is None:
        raise TypeError(f"{name} is None, expected an array of {expected}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, expected values without a mask")
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} is a sparse matrix, expected a dense array")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no regular array, expected {expected}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}, expected {expected}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _find_overflow(array: FloatArray, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Return the place of the first number that the smaller dtype cannot hold."""
    for begin in range(0, len(array), _SLICE):
        with np.errstate(over="ignore"):
            narrow = array[begin : begin + _SLICE].astype(dtype)
        place = _core.find_nonfinite(narrow)
        if place is not None:
            return begin + int(place[0]), int(place[1])
    return None


def _labels(name: str, array: npt.NDArray[Any], n_outputs: int) -> npt.NDArray[np.int64]:
    if n_outputs < 2:
        raise ValueError(
            "loss is cross_entropy, but the network has 1 output, expected one output per class"
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}, expected integer labels")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected one label per sample")
    bad = (array < 0) | (array >= n_outputs)
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"{name} has the label {array[place]} for sample {place}, expected 0 to {n_outputs - 1}"
        )
    return np.ascontiguousarray(array, np.int64)


def _check_signs(name: str, array: npt.NDArray[Any]) -> None:
    if array.dtype.kind == "b":
        raise TypeError(f"{name} has dtype bool, expected labels -1 or +1")
    bad = (array != 1) & (array != -1)
    if bad.any():
        sample, output = np.argwhere(bad)[0]
        raise ValueError(
            f"{name} has the label {array[sample, output]} for sample {sample}, expected -1 or +1"
        )
