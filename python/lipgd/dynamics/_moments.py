"""Sums over samples that all coefficients are functions of: section 6 of dynamics.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lipgd import _core
from lipgd._arguments import Targets
from lipgd._check import shown
from lipgd.dynamics._triplets import Triplets
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray, FloatArray

__all__ = ["LayerMoments", "Moments"]


class LayerMoments:
    """The moments of one layer, with names (section 6.2). The columns of a sample are alpha, beta.

    Means are those of alpha (r,), beta (r,), the part outside the singular vectors and the product
    of the second projections; sums are centred.
    """

    def __init__(self, top: Triplets, diagonal: bool) -> None:
        rows, columns, rank = len(top.left), len(top.right), len(top.values)
        self.top = top
        self._nulls = 0 if rows == columns else max(rows, columns)
        self._flat = np.zeros(6 + 5 * rank + self._nulls)
        self._squares = np.zeros((2, rows, columns)) if diagonal else None

    @property
    def count(self) -> int:
        """The number of samples."""
        return int(self._flat[0])

    def means(self) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
        """Return the means of alpha, beta, the outside part, and of p_2 q_2."""
        rank, nulls = len(self.top.values), self._nulls
        values = self._flat[1:]
        a, b = values[:rank], values[rank : 2 * rank]
        return a, b, values[2 * rank : 2 * rank + nulls], float(values[2 * rank + nulls])

    def sums(self) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
        """Return the centred sums of alpha^2, beta^2, alpha beta and of the outside part."""
        rank = len(self.top.values)
        aa, bb, ab = self._centred[: 3 * rank].reshape(3, rank)
        return aa, bb, ab, float(self._centred[3 * rank])

    def pair_sums(self) -> DoubleArray:
        """Return the centred sums of products of d and y (section 10): (2, 2)."""
        dd, yy, dy = self._centred[-3:]
        return np.array([[dd, dy], [dy, yy]])

    def variances(self) -> DoubleArray:
        """Return the variance over samples of every entry of the gradient (6.4)."""
        if self._squares is None:
            raise ValueError("the moments were made without the diagonal part")
        total, squares = self._squares
        return (squares - total * total / self.count) / (self.count - 1)

    @property
    def _centred(self) -> DoubleArray:
        return self._flat[2 + 2 * len(self.top.values) + self._nulls :]

    def _call(self) -> tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray | None]:
        return self.top.left, self.top.right, self._flat, self._squares


class Moments:
    """Sums over samples from layer inputs and back-propagated signals, row block by row block.

    Nothing grows with the number of samples, and no gradient of a sample is formed.

    Parameters
    ----------
    weights : sequence of array_like, each (n_outputs, n_inputs) of its layer
        The matrices at which gradients are taken. A convolution is no such layer.
    diagonal : bool
        Whether the diagonal part of the noise is measured, too.

    Examples
    --------
    >>> import numpy as np
    >>> from lipgd.dynamics import Moments
    >>> moments = Moments([[[2.0, 0.0], [0.0, 1.0]]])
    >>> moments.add([np.eye(2)], [np.array([[1.0, 0.0], [3.0, 0.0]])])
    >>> moments.count
    2
    """

    def __init__(self, weights: Sequence[ArrayLike], *, diagonal: bool = True) -> None:
        self.layers = tuple(
            LayerMoments(Triplets.of(matrix, f"weights[{i}]"), diagonal)
            for i, matrix in enumerate(weights)
        )
        if not self.layers:
            raise ValueError("weights is empty, expected at least one matrix")
        self._cross = np.zeros(len(self.layers) * (1 + len(self.layers)))

    @property
    def count(self) -> int:
        """The number of samples so far."""
        return self.layers[0].count

    def add(self, features: Sequence[FloatArray], signals: Sequence[FloatArray]) -> None:
        """Add a block of rows.

        Parameters
        ----------
        features : sequence of ndarray, each (n_rows, n_inputs) of its layer
            What the layers take in.
        signals : sequence of ndarray, each (n_rows, n_outputs) of its layer
            Derivatives of every sample's own loss (not of their mean) by what the layer puts out;
            float64, or float32 throughout.

        Raises
        ------
        TypeError, ValueError
            If shapes or dtypes do not fit, or a value is not finite.
        """
        for name, arrays in (("features", features), ("signals", signals)):
            if len(arrays) != len(self.layers):
                raise ValueError(
                    f"{name} has {len(arrays)} arrays, expected one per layer ({len(self.layers)})"
                )
        first = np.asarray(features[0])
        if first.dtype not in (np.float32, np.float64):
            raise TypeError(f"features[0] is {first.dtype}, expected float32 or float64")
        if first.ndim != 2 or len(first) == 0:
            raise ValueError(f"features[0] has shape {first.shape}, expected at least one row")
        blocks: tuple[list[FloatArray], list[FloatArray]] = ([], [])
        for i, layer in enumerate(self.layers):
            widths = len(layer.top.right), len(layer.top.left)
            for k, (name, arrays) in enumerate((("features", features), ("signals", signals))):
                shape = len(first), widths[k]
                blocks[k].append(_checked(f"{name}[{i}]", arrays[i], shape, first.dtype))
        _core.add_layer_rows(blocks[0], blocks[1], blocks[0][0], self._parts(), self._cross)

    def add_network(self, net: Network, x: FloatArray, targets: Targets, loss: Loss) -> None:
        """Add checked samples of the network that the weights are from."""
        _core.add_network_rows(
            net._call, net._flat, x, targets, loss._code, self._parts(), self._cross
        )

    def slope_covariance(self) -> DoubleArray:
        """Return the covariance over samples of <J_l, g_i> between layers: (layers, layers)."""
        layers = len(self.layers)
        return self._cross[layers:].reshape(layers, layers) / (self.count - 1)

    def _parts(self) -> list[tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray | None]]:
        return [layer._call() for layer in self.layers]


def _checked(name: str, value: Any, shape: tuple[int, int], dtype: np.dtype[Any]) -> FloatArray:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} is {shown(value)}, expected an array")
    if value.dtype != dtype:
        raise TypeError(f"{name} is {value.dtype}, expected {dtype} as features[0]")
    if value.shape != shape:
        raise ValueError(f"{name} has shape {value.shape}, expected {shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} has a value that is not finite, expected finite numbers")
    return np.ascontiguousarray(value)
