"""A second look at a certificate: exact rational arithmetic, and no code of the first look.

Nothing here uses NumPy, the compiled core or an eigenvalue. Numbers are ``Fraction``; a matrix is
positive semidefinite if an exact factorization says so. It is slow, and short enough to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt
from typing import TypeAlias

__all__ = ["is_bound", "is_positive_semidefinite"]

Vector: TypeAlias = list[Fraction]
Rows: TypeAlias = list[Vector]
#: Factors of the variables that are not zero.
Row: TypeAlias = dict[int, Fraction]
#: Binary digits behind the point of the approximate factor, after scaling to a diagonal near one.
_DIGITS = 256
#: The exact factorization without the approximate one takes numbers that grow.
_LARGEST = 60


def is_bound(
    weights: Sequence[Sequence[Sequence[Fraction]]],
    low: Sequence[Sequence[Fraction]],
    high: Sequence[Sequence[Fraction]],
    multipliers: Sequence[Sequence[Fraction | None]],
    value: Fraction,
) -> bool:
    """Return whether ``value`` is proved to bound ``|W_{H+1} S_H ... S_1 W_1|`` for all slopes.

    With ``z_l = W_l x_{l-1}`` and ``x_l = m_l z_l + e_l``, where ``|e_i| <= h_i |z_i|``, the bound
    holds if ``|x|^2 - |y|^2 / value^2 - sum_i t_i (h_i^2 z_i^2 - e_i^2)`` is never
    negative (certificates.md, theorem 4 and section 9; with one hidden layer it is theorem 1 with
    ``theta = value h t``).

    Parameters
    ----------
    weights : matrices (n_outputs, n_inputs) from the inputs to the outputs
    low, high : ends of the slope intervals by hidden layer
    multipliers : ``t_i`` at least 0, or None for a neuron whose slope is known (h = 0)
    value : at least 0
    """
    if any(t is not None and t < 0 for layer in multipliers for t in layer) or value < 0:
        return False
    forms = _Forms(len(weights[0][0]))
    rows = forms.inputs()
    for layer, (a, b, t) in enumerate(zip(low, high, multipliers, strict=True)):
        following = forms.layer(weights[layer], rows, a, b, t)
        if following is None:
            return False
        rows = following
    outputs = [_combine(row, rows) for row in weights[-1]]
    if value == 0:
        return all(not any(row.values()) for row in outputs)
    return is_positive_semidefinite(forms.matrix(outputs, value))


class _Forms:
    """Linear forms in the inputs and in the deviations e of the neurons, and the terms so far."""

    def __init__(self, n_inputs: int) -> None:
        self._n_inputs = n_inputs
        self._count = n_inputs
        #: Weights and forms whose squares are added, or subtracted for negative weights.
        one = Fraction(1)
        self._terms: list[tuple[Fraction, Row]] = [(one, {i: one}) for i in range(n_inputs)]

    def inputs(self) -> list[Row]:
        """Return the forms of the inputs."""
        return [{i: Fraction(1)} for i in range(self._n_inputs)]

    def layer(
        self,
        matrix: Sequence[Sequence[Fraction]],
        rows: list[Row],
        low: Sequence[Fraction],
        high: Sequence[Fraction],
        multipliers: Sequence[Fraction | None],
    ) -> list[Row] | None:
        """Return the forms of the neurons behind a matrix, None if a multiplier is missing."""
        result: list[Row] = []
        for weights, a, b, t in zip(matrix, low, high, multipliers, strict=True):
            z = _combine(weights, rows)
            middle, half = (a + b) / 2, (b - a) / 2
            if half < 0:
                return None
            neuron = {place: middle * factor for place, factor in z.items() if middle}
            if half and z:
                if t is None:
                    return None
                self._terms.append((-t * half * half, z))
                self._terms.append((t, {self._count: Fraction(1)}))
                neuron[self._count] = Fraction(1)
                self._count += 1
            result.append(neuron)
        return result

    def matrix(self, outputs: list[Row], value: Fraction) -> Rows:
        """Return the symmetric matrix of the whole form."""
        full = [[Fraction(0)] * self._count for _ in range(self._count)]
        for weight, row in (*self._terms, *((-1 / value**2, row) for row in outputs)):
            for i, p in row.items():
                for j, q in row.items():
                    if j <= i:
                        full[i][j] += weight * p * q
        for i in range(self._count):
            for j in range(i):
                full[j][i] = full[i][j]
        return full


def _combine(weights: Sequence[Fraction], rows: list[Row]) -> Row:
    total: Row = {}
    for weight, row in zip(weights, rows, strict=True):
        if weight:
            for place, factor in row.items():
                total[place] = total.get(place, Fraction(0)) + weight * factor
    return {place: factor for place, factor in total.items() if factor}


def is_positive_semidefinite(matrix: Rows) -> bool:
    """Return whether a symmetric matrix is proved to have no negative eigenvalue.

    Rows of zeros are left out. An approximate factor L is proof enough if what ``L L^T`` leaves of
    the matrix is, exactly, diagonally dominant; else small matrices are factored exactly.
    """
    kept = [i for i, row in enumerate(matrix) if any(row)]
    if any(matrix[i][i] <= 0 for i in kept):
        return False
    # A congruence by powers of two brings the diagonal near one.
    shift = {i: _half_exponent(matrix[i][i]) for i in kept}
    scaled = [[matrix[i][j] / _power(shift[i] + shift[j]) for j in kept] for i in kept]
    if _dominated(scaled):
        return True
    return len(scaled) <= _LARGEST and _exact_pivots(scaled)


def _half_exponent(x: Fraction) -> int:
    return (x.numerator.bit_length() - x.denominator.bit_length()) // 2


def _power(exponent: int) -> Fraction:
    return Fraction(2**exponent) if exponent >= 0 else Fraction(1, 2**-exponent)


def _dominated(matrix: Rows) -> bool:
    """Return whether an approximate factor leaves a diagonally dominant rest."""
    one = 1 << _DIGITS
    n = len(matrix)
    fixed = [
        [(x.numerator * one * one) // x.denominator for x in row[: i + 1]]
        for i, row in enumerate(matrix)
    ]
    # What the rest needs beside rounding is taken off the diagonal beforehand.
    spare = (n + 1) << (_DIGITS + 8)
    factor: list[list[int]] = []
    for i in range(n):
        row: list[int] = []
        for j in range(i):
            other = factor[j]
            rest = fixed[i][j] - sum(map(int.__mul__, row, other))
            row.append(rest // other[j])
        square = fixed[i][i] - spare - sum(x * x for x in row)
        if square <= 0:
            return False
        row.append(isqrt(square))
        factor.append(row)
    return _rest_is_dominant(matrix, factor, one)


def _rest_is_dominant(matrix: Rows, factor: list[list[int]], one: int) -> bool:
    n = len(matrix)
    off = [Fraction(0)] * n
    diagonal = [Fraction(0)] * n
    for i in range(n):
        for j in range(i + 1):
            product = Fraction(sum(map(int.__mul__, factor[j], factor[i])), one * one)
            rest = matrix[i][j] - product
            if i == j:
                diagonal[i] = rest
            else:
                off[i] += abs(rest)
                off[j] += abs(rest)
    return all(d >= o for d, o in zip(diagonal, off, strict=True))


def _exact_pivots(matrix: Rows) -> bool:
    """Return whether all pivots of the exact ``L D L^T`` are at least 0, zero only with its row."""
    rest = [row[:] for row in matrix]
    for k in range(len(rest)):
        pivot = rest[k][k]
        if pivot < 0 or (pivot == 0 and any(rest[k][k:])):
            return False
        if pivot == 0:
            continue
        for i in range(k + 1, len(rest)):
            factor = rest[i][k] / pivot
            if factor:
                for j in range(k + 1, len(rest)):
                    rest[i][j] -= factor * rest[k][j]
    return True
