"""Local bounds by splitting a domain (certificates.md, sections 8 and 10)."""

from __future__ import annotations

import heapq
import math
import time
from itertools import count

import numpy as np

from lipgd.types import DoubleArray

from ._certificate import Certificate, certify
from ._question import Question
from .domains import Ball, Box

__all__ = ["split_bound"]

_SWEEPS = 60


def split_bound(
    asked: Question, *, tolerance: float, seconds: float, rigorous: bool
) -> tuple[float, float]:
    """Return a bound of the matrices asked about on a bounded domain, and what is attained nearly.

    Boxes wait in the order of their bounds; the worst one is cut in two, along the input that
    matters most for the neurons whose slopes are not known. The constant on a convex domain is the
    largest norm of a Jacobian, so that the largest bound of all boxes is one of the domain.
    """
    if asked.model is None or asked.region is None:
        raise ValueError("domain is None, but method is 'split', expected a bounded Ball or Box")
    box = asked.region.box()
    if not (np.isfinite(box.lower).all() and np.isfinite(box.upper).all()):
        raise ValueError("domain is unbounded, but method is 'split', expected a bounded one")
    return _Tree(asked, tolerance, rigorous).run(box, time.perf_counter() + seconds)


class _Tree:
    def __init__(self, asked: Question, tolerance: float, rigorous: bool) -> None:
        assert asked.model is not None
        self._asked, self._model = asked, asked.model
        self._tolerance, self._rigorous = tolerance, rigorous
        self._order = count()
        self._attained = 0.0
        self._sizes = np.abs(asked.model.weights[0])

    def run(self, box: Box, end: float) -> tuple[float, float]:
        """Split until the bound is attained nearly, or the time is over."""
        slopes = (self._asked.lo, self._asked.hi)
        whole = self._certificate(slopes, None)
        bound = whole.value if math.isfinite(whole.value) else math.inf
        leaves = [(-bound, next(self._order), box, slopes, whole)]
        closed = 0.0
        while leaves and time.perf_counter() < end:
            worst, _, box, slopes, parent = leaves[0]
            if -worst <= max(self._attained * (1.0 + self._tolerance), closed):
                break
            entry = self._entry(box, slopes)
            if entry is None:  # the box is a point, as far as float64 can tell
                closed = max(closed, -worst)
                heapq.heappop(leaves)
                continue
            heapq.heappop(leaves)
            for half in box.halves(entry):
                if self._meets(half):
                    heapq.heappush(leaves, self._leaf(half, slopes, parent, -worst))
        return max(closed, -leaves[0][0] if leaves else 0.0), self._attained

    def _leaf(
        self,
        box: Box,
        outer: tuple[list[DoubleArray], list[DoubleArray]],
        parent: Certificate,
        bound: float,
    ) -> tuple[float, int, Box, tuple[list[DoubleArray], list[DoubleArray]], Certificate]:
        low, high = box.slopes(self._model)
        slopes = (
            [np.maximum(a, b) for a, b in zip(low, outer[0], strict=True)],
            [np.minimum(a, b) for a, b in zip(high, outer[1], strict=True)],
        )
        # Both enclose the slopes: where rounding lets them miss each other, one of them will do.
        for a, b, wide in zip(*slopes, outer[1], strict=True):
            b[:] = np.where(a > b, np.maximum(a, wide), b)
        found = self._certificate(slopes, parent)
        own = found.value if math.isfinite(found.value) else bound
        self._look(box.center)
        return -min(own, bound), next(self._order), box, slopes, found

    def _certificate(
        self, slopes: tuple[list[DoubleArray], list[DoubleArray]], start: Certificate | None
    ) -> Certificate:
        return certify(
            self._asked.weights,
            *slopes,
            tolerance=max(self._tolerance, 1e-3),
            max_sweeps=_SWEEPS,
            start=start,
            rigorous=self._rigorous,
        )

    def _look(self, center: DoubleArray) -> None:
        """Note the norm of the Jacobian at a point of the domain."""
        assert self._asked.region is not None
        point = self._asked.region.project(center[None])
        with np.errstate(all="ignore"):
            jacobian = self._model.jacobian(point)[0]
            if self._asked.input_scales is not None:
                # The worst inputs in the largest-entry norm are signs; these are good ones.
                signs = np.where(np.linalg.svd(jacobian)[2][0] < 0, -1.0, 1.0)
                size = float(np.linalg.norm(jacobian @ signs))
            else:
                size = float(np.linalg.norm(jacobian, 2))
        if math.isfinite(size):
            self._attained = max(self._attained, size)

    def _entry(self, box: Box, slopes: tuple[list[DoubleArray], list[DoubleArray]]) -> int | None:
        """Return the input to cut: wide, and of weight for neurons whose slopes are not known."""
        widths = box.upper - box.lower
        unknown = slopes[1][0] - slopes[0][0] if slopes[0] else np.zeros(len(self._sizes))
        scores = widths * (unknown @ self._sizes + 1e-6 * self._sizes.sum(axis=0) + 1e-300)
        center = box.center
        scores[(center <= box.lower) | (center >= box.upper)] = 0.0
        entry = int(scores.argmax())
        return entry if scores[entry] > 0 else None

    def _meets(self, box: Box) -> bool:
        """Return whether a box may have a point of the domain."""
        region = self._asked.region
        if not isinstance(region, Ball) or region.norm != 2:
            return True
        nearest = np.clip(region.center, box.lower, box.upper) - region.center
        return float(np.linalg.norm(nearest)) <= region.radius * (1.0 + 1e-9) + 1e-300
