"""Moments of gradients that are no outer product of two vectors: section 7 of dynamics.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipgd.dynamics._moments import LayerMoments, Moments
from lipgd.dynamics._triplets import NormDerivatives
from lipgd.types import DoubleArray

__all__ = ["ModelMoments", "RowMoments", "Rows"]


@dataclass(frozen=True)
class Rows:
    """What the second order needs of the gradients g_i of some samples.

    Attributes
    ----------
    alpha, beta : ndarray, shape (n, r)
        u_k^T g_i v_1 and u_1^T g_i v_k.
    outside : ndarray, shape (n, q)
        What of g_i v_1 or g_i^T u_1 the singular vectors do not span.
    second : ndarray, shape (n,)
        u_2^T g_i v_2.
    dual : ndarray, shape (n, q), optional
        What the outside part is multiplied with instead of itself.
    """

    alpha: DoubleArray
    beta: DoubleArray
    outside: DoubleArray
    second: DoubleArray
    dual: DoubleArray | None = None

    @property
    def slopes(self) -> DoubleArray:
        """The first order, <J, g_i>: shape (n,)."""
        return self.alpha[:, 0]

    @staticmethod
    def mean(draws: Sequence[Rows]) -> Rows:
        """Return the rows of the mean gradients over several draws of the same samples."""
        count = len(draws)
        duals = [rows.dual for rows in draws if rows.dual is not None]
        return Rows(
            np.add.reduce([rows.alpha for rows in draws]) / count,
            np.add.reduce([rows.beta for rows in draws]) / count,
            np.add.reduce([rows.outside for rows in draws]) / count,
            np.add.reduce([rows.second for rows in draws]) / count,
            np.add.reduce(duals) / count if duals else None,
        )


class RowMoments(LayerMoments):
    """The moments of one layer from rows: means, and sums centred before they are squared."""

    top: NormDerivatives  # type: ignore[assignment]  # the base has the singular vectors as well

    def __init__(self, top: NormDerivatives, *, diagonal: bool) -> None:
        self.top = top
        self._number = 0
        self._squares = np.zeros((2, *top.shape)) if diagonal else None
        self._means: tuple[DoubleArray, ...] = ()
        self._sums: tuple[DoubleArray, ...] = ()

    @property
    def count(self) -> int:
        """The number of samples."""
        return self._number

    @property
    def has_diagonal(self) -> bool:
        """Whether the diagonal part is measured."""
        return self._squares is not None

    def add(self, rows: Rows) -> None:
        """Add samples, merged as in section 6.6."""
        number, pair = len(rows.alpha), self.top.pair
        dual = rows.outside if rows.dual is None else rows.dual
        coupling = 0.5 * (rows.alpha + rows.beta)[:, 1:pair]
        difference = rows.slopes - rows.second
        parts = (rows.alpha, rows.beta, rows.outside, dual, coupling, difference[:, None])
        means = tuple(part.mean(axis=0) for part in parts)
        sums = _products(tuple(p - m for p, m in zip(parts, means, strict=True)))
        if not self._number:
            self._number, self._means, self._sums = number, means, sums
            return
        away = tuple(m - old for m, old in zip(means, self._means, strict=True))
        total = self._number + number
        between = _products(tuple(part[None] for part in away))
        weight = self._number * number / total
        self._sums = tuple(
            old + new + weight * gap
            for old, new, gap in zip(self._sums, sums, between, strict=True)
        )
        self._means = tuple(
            old + part * (number / total) for old, part in zip(self._means, away, strict=True)
        )
        self._number = total

    def add_gradients(self, gradients: DoubleArray) -> None:
        """Add to the diagonal part, of gradients (n, m, n_inputs)."""
        if self._squares is not None:
            self._squares[0] += gradients.sum(axis=0)
            self._squares[1] += np.einsum("kij,kij->ij", gradients, gradients)

    def means(self) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
        """Return the means of alpha, beta, the outside part, and of u_2^T g v_2."""
        alpha, beta, outside, dual, _, difference = self._means
        if dual is not outside and not np.array_equal(dual, outside):
            outside = np.array([np.sqrt(max(0.0, float(outside @ dual)))])
        return alpha, beta, outside, float(alpha[0] - difference[0])

    def sums(self) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
        """Return the centred sums of alpha^2, beta^2, alpha beta and of the outside part."""
        aa, bb, ab, outside = self._sums[:4]
        return aa, bb, ab, float(outside)

    def pair_sums(self) -> DoubleArray:
        """Return the centred sums of products of d and y (section 10): (2, 2)."""
        dd, yy, dy = (float(value) for value in self._sums[4:])
        return np.array([[dd, dy], [dy, yy]])


def _products(parts: tuple[DoubleArray, ...]) -> tuple[DoubleArray, ...]:
    """Return the sums over rows of the products that the terms are made of."""
    a, b, outside, dual, y, d = parts
    products = ((a, a), (b, b), (a, b))
    first = y[:, 0] if y.shape[1] else np.zeros(len(a))
    return (
        *(np.einsum("ik,ik->k", left, right) for left, right in products),
        np.einsum("ik,ik->", outside, dual),
        np.einsum("ik,ik->", d, d),
        np.einsum("ik,ik->", y, y),
        np.asarray(d[:, 0] @ first),
    )


class ModelMoments(Moments):
    """The moments of layers that are filled one by one, and of the slopes of all together."""

    def __init__(self, layers: Sequence[LayerMoments]) -> None:
        self.layers = tuple(layers)
        self._mean = np.zeros(len(layers))
        self._products = np.zeros((len(layers), len(layers)))
        self._number = 0

    def add_slopes(self, slopes: DoubleArray) -> None:
        """Add <J_l, g_i>, shape (n, layers), of samples that the layers have got."""
        number = len(slopes)
        mean = slopes.mean(axis=0)
        centred = slopes - mean
        away, total = mean - self._mean, self._number + number
        self._products += centred.T @ centred
        self._products += self._number * number / total * np.outer(away, away)
        self._mean += away * (number / total)
        self._number = total

    def slope_covariance(self) -> DoubleArray:
        """Return the covariance over samples of <J_l, g_i> between layers: (layers, layers)."""
        return self._products / (self.count - 1)
