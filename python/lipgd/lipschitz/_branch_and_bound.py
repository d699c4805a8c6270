"""The largest norm over all slopes by branch and bound, as a bracket at any time."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from dataclasses import dataclass

import numpy as np

from lipgd.lipschitz._certificate import Certificate, certify
from lipgd.types import DoubleArray

__all__ = ["FormalBracket", "branch_and_bound", "norm_below"]

_ROUNDINGS = 3
_ROOT_ROUNDINGS = 30
_NODE_TOLERANCE = 1e-3
_NODE_SWEEPS = 75


@dataclass(frozen=True, eq=False)
class FormalBracket:
    """Two numbers that enclose the formal constant, and slopes that attain the first."""

    lower: float
    upper: float
    slopes: list[DoubleArray]
    nodes: int
    reason: str | None


def branch_and_bound(
    weights: list[DoubleArray],
    lo: list[DoubleArray],
    hi: list[DoubleArray],
    *,
    tolerance: float,
    seconds: float,
    rigorous: bool = True,
) -> FormalBracket:
    """Fix slopes at ends of their intervals until the bracket is as narrow as the tolerance.

    A node is a set of fixed slopes; its certificate bounds all that is in it, whether the time is
    over or not (certificates.md, section 8).
    """
    search = _Search(weights, rigorous)
    end = time.perf_counter() + seconds
    root = search.node(lo, hi, None, _ROOT_ROUNDINGS, tolerance, None)
    if math.isnan(root.value):
        return FormalBracket(0.0, math.nan, [], 1, root.reason)
    order = itertools.count()
    heap = [(-root.value, next(order), lo, hi, root)]
    decided = 0.0  # the largest bound of a node in which nothing is left to decide
    while heap:
        bound, _, low, high, found = heap[0]
        upper = max(-bound, decided)
        if upper <= search.lower * (1.0 + tolerance) or time.perf_counter() > end:
            break
        heapq.heappop(heap)
        place = _costliest(low, high, found)
        if place is None:
            decided = max(decided, -bound)
            continue
        layer, neuron = place
        for fixed in (low[layer][neuron], high[layer][neuron]):
            child_low, child_high = _fix(low, place, fixed), _fix(high, place, fixed)
            child = search.node(child_low, child_high, found, _ROUNDINGS, _NODE_TOLERANCE, end)
            # What bounds the parent bounds the child.
            value = -bound if math.isnan(child.value) else min(child.value, -bound)
            if value > search.lower * (1.0 + 0.5 * tolerance):
                heapq.heappush(heap, (-value, next(order), child_low, child_high, child))
            else:
                decided = max(decided, value)
    upper = max(decided, -heap[0][0] if heap else 0.0, search.lower)
    return FormalBracket(search.lower, upper, search.slopes, search.nodes, None)


class _Search:
    """What all nodes share: the best slopes so far."""

    def __init__(self, weights: list[DoubleArray], rigorous: bool) -> None:
        self.weights = weights
        self.rigorous = rigorous
        self.lower = 0.0
        self.slopes: list[DoubleArray] = []
        self.nodes = 0

    def node(
        self,
        lo: list[DoubleArray],
        hi: list[DoubleArray],
        parent: Certificate | None,
        roundings: int,
        tolerance: float,
        end: float | None,
    ) -> Certificate:
        """Return the certificate of a node, and try the slopes that it suggests."""
        self.nodes += 1
        found = certify(
            self.weights,
            lo,
            hi,
            tolerance=tolerance,
            max_sweeps=3000 if parent is None else _NODE_SWEEPS,
            start=parent,
            rigorous=self.rigorous,
            seconds=None if end is None else max(0.0, end - time.perf_counter()) + 0.05,
            projections=roundings,
        )
        if math.isnan(found.value):
            return found
        if found.neurons:
            for ends in zip(*(rows for _, rows in found.neurons), strict=True):
                slopes = [
                    np.where(end > 0, high, low)
                    for end, low, high in zip(ends, lo, hi, strict=True)
                ]
                self.climb(slopes, lo, hi)
        elif not self.slopes:
            self.climb(hi, lo, hi)
        return found

    def climb(
        self, slopes: list[DoubleArray], lo: list[DoubleArray], hi: list[DoubleArray]
    ) -> None:
        """Turn all slopes to what is best for the top singular pair, until nothing grows."""
        best = 0.0
        for _ in range(30):
            value, inputs, outputs = _forward_and_backward(self.weights, slopes)
            if not value > best * (1.0 + 1e-12):
                break
            best = value
            if value > self.lower * (1.0 + 1e-13):
                proved = norm_below(self.weights, slopes)
                if proved > self.lower:
                    self.lower, self.slopes = proved, slopes
            slopes = [
                np.where(z * g > 0, high, low)
                for z, g, low, high in zip(inputs, outputs, lo, hi, strict=True)
            ]


def _forward_and_backward(
    weights: list[DoubleArray], slopes: list[DoubleArray]
) -> tuple[float, list[DoubleArray], list[DoubleArray]]:
    """Return the norm, and what its singular pair makes of the inputs and outputs of neurons."""
    product = weights[0]
    for matrix, slope in zip(weights[1:], slopes, strict=True):
        product = matrix @ (slope[:, None] * product)
    left, values, right = np.linalg.svd(product, full_matrices=False)
    x, inputs = right[0], []
    for matrix, slope in zip(weights[:-1], slopes, strict=True):
        inputs.append(matrix @ x)
        x = slope * inputs[-1]
    y, outputs = left[:, 0], []
    for matrix, slope in zip(reversed(weights[1:]), reversed(slopes), strict=True):
        outputs.append(matrix.T @ y)
        y = slope * outputs[-1]
    return float(values[0]), inputs, outputs[::-1]


def norm_below(weights: list[DoubleArray], slopes: list[DoubleArray]) -> float:
    """Return a number that the norm at these slopes is not below, with all rounding counted."""
    unit = 2.0**-53
    product, error = weights[0], 0.0
    for matrix, slope in zip(weights[1:], slopes, strict=True):
        scaled = slope[:, None] * product
        steepest = float(np.abs(slope).max())
        outer, inner = float(np.linalg.norm(matrix)), float(np.linalg.norm(product))
        error = outer * steepest * (error + (len(slope) + 8) * unit * inner) * (1.0 + 1e-9)
        product = matrix @ scaled
    if not math.isfinite(error) or not np.isfinite(product).all():
        return 0.0
    if not float(np.abs(product).max()) > 1e-140:  # squares may underflow
        return 0.0
    # Any vector gives a lower value; its own errors are relative to the size of the product.
    _, _, right = np.linalg.svd(product, full_matrices=False)
    size = float(np.linalg.norm(product))
    attained = float(np.linalg.norm(product @ right[0]) / np.linalg.norm(right[0]))
    return max(0.0, attained - (sum(product.shape) + 16) * 2.0 * unit * size - error)


def _costliest(
    lo: list[DoubleArray], hi: list[DoubleArray], found: Certificate
) -> tuple[int, int] | None:
    """Return the free neuron whose contraction is the farthest from a slope."""
    best, place = -1.0, None
    losses = [loss for loss, _ in found.neurons]
    if not losses:
        losses = [high - low for low, high in zip(lo, hi, strict=True)]
    for layer, (low, high, loss) in enumerate(zip(lo, hi, losses, strict=True)):
        free = np.where(high > low, loss, -1.0)
        neuron = int(free.argmax())
        if free[neuron] > best:
            best, place = float(free[neuron]), (layer, neuron)
    return place


def _fix(bounds: list[DoubleArray], place: tuple[int, int], value: float) -> list[DoubleArray]:
    layer, neuron = place
    changed = bounds[layer].copy()
    changed[neuron] = value
    return [*bounds[:layer], changed, *bounds[layer + 1 :]]
