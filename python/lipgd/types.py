"""Array types that the public signatures use."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["ArrayLike", "DoubleArray", "FloatArray", "IndexArray", "Scalar"]

ArrayLike: TypeAlias = npt.ArrayLike
#: An array of float64 or float32.
FloatArray: TypeAlias = npt.NDArray[np.floating]
DoubleArray: TypeAlias = npt.NDArray[np.float64]
#: An array of int64 positions.
IndexArray: TypeAlias = npt.NDArray[np.int64]
#: The precision of a network and its data.
Scalar = TypeVar("Scalar", np.float32, np.float64)
