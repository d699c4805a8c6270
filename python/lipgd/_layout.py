"""Parameters of a dense network as one flat array, and how it is divided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from lipgd._arguments import real_array
from lipgd._check import shown
from lipgd.types import ArrayLike, FloatArray

__all__ = ["Layout", "Parameters"]


@dataclass(frozen=True)
class Layout:
    """Where each weight matrix and bias lies in the flat array: W1, b1, W2, b2, ..."""

    sizes: tuple[int, ...]
    has_bias: tuple[bool, ...]

    @cached_property
    def groups(self) -> tuple[tuple[str, int, int, tuple[int, ...]], ...]:
        """Name, begin, end and shape of every group of parameters."""
        groups: list[tuple[str, int, int, tuple[int, ...]]] = []
        begin = 0
        for layer, biased in enumerate(self.has_bias):
            rows, columns = self.sizes[layer + 1], self.sizes[layer]
            groups.append((f"W{layer + 1}", begin, begin + rows * columns, (rows, columns)))
            begin += rows * columns
            if biased:
                groups.append((f"b{layer + 1}", begin, begin + rows, (rows,)))
                begin += rows
        return tuple(groups)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the groups."""
        return tuple(group[0] for group in self.groups)

    @cached_property
    def size(self) -> int:
        """The number of parameters."""
        return self.groups[-1][2]


class Parameters:
    """Weights and biases of all layers; immutable. The base of Network and Gradient."""

    __slots__ = ("_biases", "_flat", "_layout", "_weights")

    _layout: Layout
    _flat: FloatArray
    _weights: tuple[FloatArray, ...]
    _biases: tuple[FloatArray | None, ...]

    def __init__(
        self, weights: Sequence[ArrayLike], biases: Sequence[ArrayLike | None] | None = None
    ) -> None:
        matrices = _matrices(weights)
        vectors = _vectors(biases, matrices)
        present = [array for array in (*matrices, *vectors) if array is not None]
        single = all(array.dtype == np.float32 for array in present)
        layout = Layout(
            (matrices[0].shape[1], *(matrix.shape[0] for matrix in matrices)),
            tuple(vector is not None for vector in vectors),
        )
        pieces = []
        for matrix, vector in zip(matrices, vectors, strict=True):
            pieces.append(matrix.ravel())
            if vector is not None:
                pieces.append(vector)
        self._adopt(layout, np.concatenate(pieces, dtype=np.float32 if single else np.float64))

    def _adopt(self, layout: Layout, flat: FloatArray) -> None:
        flat.flags.writeable = False
        views = {name: flat[begin:end].reshape(shape) for name, begin, end, shape in layout.groups}
        depth = len(layout.has_bias)
        set_ = object.__setattr__
        set_(self, "_layout", layout)
        set_(self, "_flat", flat)
        set_(self, "_weights", tuple(views[f"W{layer + 1}"] for layer in range(depth)))
        set_(self, "_biases", tuple(views.get(f"b{layer + 1}") for layer in range(depth)))

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name} cannot be set: a {type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name} cannot be deleted: a {type(self).__name__} is immutable")

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        """The weight matrices, each (n_outputs, n_inputs) of its layer, read-only."""
        return self._weights

    @property
    def biases(self) -> tuple[FloatArray | None, ...]:
        """The biases, each (n_outputs,) of its layer and read-only, or None where there is none."""
        return self._biases

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden widths, outputs."""
        return self._layout.sizes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The precision: float64 or float32."""
        return self._flat.dtype

    @property
    def n_parameters(self) -> int:
        """The number of weights and biases."""
        return self._flat.size

    def named(self) -> Iterator[tuple[str, FloatArray]]:
        """Yield the names ``W1``, ``b1``, ``W2``, ... with their arrays."""
        for name, begin, end, shape in self._layout.groups:
            yield name, self._flat[begin:end].reshape(shape)

    def _same_parameters(self, other: Parameters) -> bool:
        return (
            self._layout == other._layout
            and self.dtype == other.dtype
            and np.array_equal(self._flat, other._flat, equal_nan=True)
        )


def _matrices(weights: Sequence[ArrayLike]) -> list[FloatArray]:
    if isinstance(weights, (str, bytes)) or not hasattr(weights, "__len__"):
        raise TypeError(f"weights is {shown(weights)}, expected a sequence of matrices")
    if len(weights) == 0:
        raise ValueError("weights is empty, expected at least one matrix")
    matrices = [_real(f"weights[{layer}]", value) for layer, value in enumerate(weights)]
    for layer, matrix in enumerate(matrices):
        if matrix.ndim != 2 or matrix.size == 0:
            raise ValueError(
                f"weights[{layer}] has shape {matrix.shape}, expected (n_outputs, n_inputs)"
            )
        if layer > 0 and matrix.shape[1] != matrices[layer - 1].shape[0]:
            raise ValueError(
                f"weights[{layer}] has {matrix.shape[1]} columns, but weights[{layer - 1}] has "
                f"{matrices[layer - 1].shape[0]} rows"
            )
    return matrices


def _vectors(
    biases: Sequence[ArrayLike | None] | None, matrices: list[FloatArray]
) -> list[FloatArray | None]:
    if biases is None:
        return [None] * len(matrices)
    if isinstance(biases, (str, bytes)) or not hasattr(biases, "__len__"):
        raise TypeError(f"biases is {shown(biases)}, expected a sequence of vectors")
    if len(biases) != len(matrices):
        raise ValueError(f"biases has {len(biases)} entries, but there are {len(matrices)} layers")
    vectors: list[FloatArray | None] = []
    for layer, value in enumerate(biases):
        if value is None:
            vectors.append(None)
            continue
        vector = _real(f"biases[{layer}]", value)
        if vector.shape != matrices[layer].shape[:1]:
            raise ValueError(
                f"biases[{layer}] has shape {vector.shape}, but weights[{layer}] has "
                f"{matrices[layer].shape[0]} rows"
            )
        vectors.append(vector)
    return vectors


def _real(name: str, value: ArrayLike) -> FloatArray:
    array = real_array(name, value)
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float64)
