"""The certificate against Newton's method, which shares nothing with it but the statement."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from newton import lipsdp_neuron

from lipgd.lipschitz._certificate import certify


@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-0.1, 1.1), (0.3, 1.0), (-1.0, 1.0), "mixed"])
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1), (3, 8, 2), (2, 90, 1), (2, 70, 2), (6, 3, 4), (3, 6, 5, 2), (2, 4, 4, 4, 1)],
)
def test_the_optimum_is_that_of_newton(
    level: str, sizes: tuple[int, ...], slopes: tuple[float, float] | str
) -> None:
    rng = np.random.default_rng(sum(sizes))
    weights = [rng.normal(size=(b, a)) / np.sqrt(a) for a, b in itertools.pairwise(sizes)]
    widths = sizes[1:-1]
    if isinstance(slopes, str):
        low = [rng.uniform(-0.5, 0.3, n) for n in widths]
        high = [rng.uniform(0.4, 1.2, n) for n in widths]
    else:
        low = [np.full(n, slopes[0]) for n in widths]
        high = [np.full(n, slopes[1]) for n in widths]
    optimum = lipsdp_neuron(weights, low, high)
    found = certify(weights, low, high, tolerance=1e-6)
    assert found.gap <= 1e-6
    assert optimum * (1 - 2e-9) <= found.value <= optimum * (1 + 1.1e-6)
    assert found.primal <= optimum * (1 + 1e-12)
