"""Bounds of the norms of all initial parameters from the law that they are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from lipgd._check import flag, integer, number
from lipgd.initialization import _FANNED, _MEAN_FIELD, _SCALED, _parse, _uniform
from lipgd.theory._numbers import raised
from lipgd.theory.initialization._norms import (
    bounded_matrix_norm,
    gaussian_matrix_norm,
    sub_gaussian_matrix_norm,
    uniform_matrix_norm,
    uniform_vector_norm,
)

__all__ = ["Law"]

#: Rows, columns, scale and delta to a norm.
Line: TypeAlias = Callable[[int, int, float, float], float]


@dataclass(frozen=True)
class Law:
    """The law that initial weights are drawn from, and how surely bounds are to hold.

    Attributes
    ----------
    init : str
        A name of :func:`lipgd.initialization.weights_and_biases`, such as ``"he_normal"`` or
        ``"uniform(0.1)"``.
    delta : float
        The probability that any of the bounds fails, above 0 and below 1.

    References
    ----------
    rate-constraints.md, section 5.

    Examples
    --------
    >>> from lipgd.theory import initialization
    >>> weights, biases = initialization.Law("he_normal", 0.01).norms([10, 100, 1])
    >>> [round(norm, 3) for norm in weights], biases
    ([7.342, 1.876], (0.0, 0.0))
    """

    init: str
    delta: float = 0.05

    def __post_init__(self) -> None:
        _parse(self.init)
        number("delta", self.delta, above=0.0, below=1.0)

    def norms(
        self, sizes: Sequence[int], biases: bool = True
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Bound the norms of all weight matrices and biases at once.

        Every random matrix and bias fails with the same share of delta. The least of the lines
        that apply to the law and of the sure bound is taken.

        Parameters
        ----------
        sizes : sequence of int
            Inputs, hidden widths, outputs.
        biases : bool
            Whether the layers have biases.

        Returns
        -------
        weight_norms : tuple of float
            Bounds of spectral norms, one per layer.
        bias_norms : tuple of float
            Bounds of Euclidean norms, one per layer.

        Examples
        --------
        >>> from lipgd.theory import initialization
        >>> round(initialization.Law("rademacher(0.5)", 0.01).norms([2, 1])[0][0], 6)
        0.707107
        """
        flag("biases", biases)
        widths = [integer(f"sizes[{i}]", size, at_least=1) for i, size in enumerate(sizes)]
        if len(widths) < 2:
            raise ValueError(f"sizes is {list(sizes)}, expected at least inputs and outputs")
        name, scale = _parse(self.init)
        depth = len(widths) - 1
        random_biases = biases and name == "torch"
        share = self.delta / (depth * (1 + random_biases))
        weights, vectors = [], []
        for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
            kind, size = _entry_law(name, scale, fan_in, fan_out, layer == depth - 1)
            weights.append(_matrix_norm(kind, fan_out, fan_in, size, share))
            vector = 0.0
            if random_biases:
                vector = uniform_vector_norm(fan_out, 1.0 / math.sqrt(fan_in), share)
            vectors.append(vector)
        return tuple(weights), tuple(vectors)


def _entry_law(name: str, scale: float, fan_in: int, fan_out: int, last: bool) -> tuple[str, float]:
    """Return the kind of the entries of a layer, and their scale."""
    if name in _SCALED:
        return name, scale
    if name in _MEAN_FIELD:
        if last:
            return "rademacher" if name == "mean_field" else "fixed", 1.0
        name = "lecun_normal"
    law, fan_scale = _FANNED[name]
    return "uniform" if law is _uniform else "normal", fan_scale(fan_in, fan_out)


def _matrix_norm(kind: str, rows: int, columns: int, scale: float, delta: float) -> float:
    """Return the least of the lines that apply."""
    if kind == "fixed":  # of rank one, so the sure bound is the norm
        return raised(scale * math.sqrt(rows * columns), 4.0)
    lines, proxy, sure = _LINES[kind]
    bounds = [line(rows, columns, scale, delta) for line in lines]
    bounds.append(sub_gaussian_matrix_norm(rows, columns, scale * proxy, delta))
    if sure:
        bounds.append(raised(scale * math.sqrt(rows * columns), 4.0))
    return min(bounds)


#: The lines of the table, the sub-Gaussian proxy for scale 1, and whether entries are bounded.
_LINES: dict[str, tuple[tuple[Line, ...], float, bool]] = {
    "normal": ((gaussian_matrix_norm,), 1.0, False),
    "uniform": ((uniform_matrix_norm, bounded_matrix_norm), math.sqrt(1.0 / 3.0), True),
    "rademacher": ((bounded_matrix_norm,), 1.0, True),
}
