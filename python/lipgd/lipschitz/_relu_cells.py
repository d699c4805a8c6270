"""The exact Lipschitz constant of two-layer ReLU networks of one or two inputs."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from lipgd.lipschitz._question import Question, above, gamma
from lipgd.types import DoubleArray

__all__ = ["largest_slope_on_line", "largest_slope_on_plane"]

_U = 2.0**-53


def largest_slope_on_line(asked: Question) -> float:
    """Return the largest norm of the derivative of a ReLU network of one input, rounded up.

    References
    ----------
    certificates.md, section 7
    """
    slope, outer, bias = asked.weights[0][:, 0], asked.weights[1].T, asked.biases[0]
    active = slope != 0
    slope, outer, bias = slope[active], outer[active], bias[active]
    if not len(slope):
        return 0.0
    with np.errstate(over="ignore"):
        places = -bias / slope
    order, ends = _in_order(
        places, 2.0 * _U * np.abs(places), lambda i: _quotient(-bias[i], slope[i])
    )
    steps = outer * np.abs(slope)[:, None]
    start = -steps[slope < 0].sum(axis=0)
    sums = start + np.cumsum(steps[order], axis=0)
    candidates = np.vstack([start, sums[ends]])
    largest = float(np.sqrt((candidates**2).sum(axis=1)).max())
    total = float(np.sqrt((steps**2).sum(axis=1)).sum())
    return above(largest * (1.0 + 1e-14 * (outer.shape[1] + 4)) + gamma(len(slope) + 16) * total)


def largest_slope_on_plane(asked: Question) -> float:
    """Return the largest Jacobian norm of a ReLU network of two inputs, rounded up.

    Every cell of the arrangement of lines ``w_i x + bias_i = 0`` touches one of them. Along each
    line the others are crossed in an order that is exact, and both sides are looked at.

    References
    ----------
    certificates.md, section 7
    """
    inner, outer, bias = asked.weights[0], asked.weights[1].T, asked.biases[0]
    active = inner.any(axis=1)
    inner, outer, bias = inner[active], outer[active], bias[active]
    count = len(inner)
    if count == 0:
        return 0.0
    terms = outer[:, :, None] * inner[:, None, :]
    sizes = np.sqrt((outer**2).sum(axis=1) * (inner**2).sum(axis=1))
    largest = 0.0
    seen = np.zeros(count, bool)
    for line in range(count):
        if not seen[line]:
            same, value = _along(line, inner, bias, terms)
            seen |= same
            largest = max(largest, value)
    error = gamma(count + 32) * float(sizes.sum())
    return above(largest * (1.0 + 1e-12) + error)


def _along(
    line: int, inner: DoubleArray, bias: DoubleArray, terms: DoubleArray
) -> tuple[np.ndarray, float]:
    """Return which lines coincide with this one, and the largest norm beside it."""
    w, c = inner[line], bias[line]
    turn = np.array([-w[1], w[0]])
    rates = inner @ turn
    # w_j (x0 + s turn) + c_j with x0 = -c w / |w|^2: s = -(c_j - c w_j.w / |w|^2) / rate.
    square = float(w @ w)
    offsets = bias - c * (inner @ w) / square
    parallel = _exact_zeros(rates, [(inner[j], w) for j in range(len(inner))])
    same = np.zeros(len(inner), bool)
    base = np.zeros(terms.shape[1:])
    flips = np.zeros(terms.shape[1:])
    for j in np.flatnonzero(parallel):
        sign = _offset_sign(inner[j], bias[j], w, c)
        if sign == 0:
            same[j] = True
            ahead = float(inner[j] @ w) > 0
            flips += terms[j] if ahead else -terms[j]
            base += 0.0 if ahead else terms[j]
        elif sign > 0:
            base += terms[j]
    crossing = np.flatnonzero(~parallel)
    start = base + terms[crossing[rates[crossing] < 0]].sum(axis=0)
    values = [start[None]]
    if len(crossing):
        places = -offsets[crossing] / rates[crossing]
        lengths = np.sqrt((inner[crossing] ** 2).sum(axis=1))
        doubt = np.abs(bias[crossing]) + abs(c) * lengths / np.sqrt(square)
        doubt = 16.0 * _U * (doubt + np.abs(places) * lengths * np.sqrt(square))
        order, ends = _in_order(
            places,
            doubt / np.abs(rates[crossing]),
            lambda i: _crossing(inner[crossing[i]], bias[crossing[i]], w, c),
        )
        order = crossing[order]
        steps = terms[order] * np.sign(rates[order])[:, None, None]
        values.append((start + np.cumsum(steps, axis=0))[ends])
    jacobians = np.concatenate(values)
    return same, max(_largest_norm(jacobians), _largest_norm(jacobians + flips))


def _largest_norm(jacobians: DoubleArray) -> float:
    """Return the largest spectral norm of matrices of two columns."""
    first = (jacobians[:, :, 0] ** 2).sum(axis=1)
    last = (jacobians[:, :, 1] ** 2).sum(axis=1)
    mixed = (jacobians[:, :, 0] * jacobians[:, :, 1]).sum(axis=1)
    top = 0.5 * (first + last + np.hypot(first - last, 2.0 * mixed))
    return float(np.sqrt(top.max()))


def _exact_zeros(rates: DoubleArray, pairs: list[tuple[DoubleArray, DoubleArray]]) -> np.ndarray:
    """Return which cross products of two rows are zero, exactly, and set the signs of the rest."""
    zero = np.zeros(len(rates), bool)
    for j, (v, w) in enumerate(pairs):
        size = abs(v[0] * w[1]) + abs(v[1] * w[0])
        if abs(rates[j]) <= 1e-14 * size:
            exact = Fraction(v[1]) * Fraction(w[0]) - Fraction(v[0]) * Fraction(w[1])
            zero[j] = exact == 0
            rates[j] = float(exact)
    return zero


def _offset_sign(v: DoubleArray, b: float, w: DoubleArray, c: float) -> int:
    """Return the sign of ``v x + b`` on the line ``w x + c = 0`` that is parallel to it."""
    axis = int(abs(w[1]) > abs(w[0]))
    offset = Fraction(b) - Fraction(c) * Fraction(v[axis]) / Fraction(w[axis])
    return (offset > 0) - (offset < 0)


def _quotient(top: float, bottom: float) -> Fraction:
    return Fraction(float(top)) / Fraction(float(bottom))


def _crossing(v: DoubleArray, b: float, w: DoubleArray, c: float) -> Fraction:
    """Return where the line ``w x + c = 0`` meets another one."""
    v0, v1, w0, w1 = (Fraction(float(x)) for x in (*v, *w))
    offset = Fraction(float(b)) - Fraction(float(c)) * (v0 * w0 + v1 * w1) / (w0 * w0 + w1 * w1)
    return -offset / (v1 * w0 - v0 * w1)


def _in_order(
    places: DoubleArray, errors: DoubleArray, exact: Callable[[int], Fraction]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact order of parameters, and the last positions of groups of equal ones.

    Where the errors leave a doubt, parameters are compared as fractions.
    """
    order = np.argsort(places, kind="stable")
    highest = np.maximum.accumulate((places + errors)[order])
    lowest = np.minimum.accumulate((places - errors)[order][::-1])[::-1]
    cuts = np.flatnonzero(lowest[1:] > highest[:-1]) + 1
    ends = []
    for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        if end - begin > 1:
            keys = {int(i): exact(int(i)) for i in order[begin:end]}
            order[begin:end] = sorted(order[begin:end], key=lambda i: keys[int(i)])
            ends += [
                at
                for at in range(begin, end - 1)
                if keys[int(order[at])] != keys[int(order[at + 1])]
            ]
        ends.append(end - 1)
    return order, np.array(ends)
