"""What a proved bound adds for rounding, and what an optimum of many dimensions needs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lipgd.lipschitz._certificate import Certificate, certify

Matrix = npt.NDArray[np.float64]
U = 2.0**-53


def bound(inner: Matrix, outer: Matrix, low: float, high: float, **options: Any) -> Certificate:
    n = len(inner)
    return certify([inner, outer], [np.full(n, low)], [np.full(n, high)], **options)


def gamma(n: int) -> float:
    return n * U / (1.0 - n * U)


def k_of(inner: Matrix, outer: Matrix, low: float, high: float, theta: Matrix) -> Matrix:
    """Section 3: K for slopes in [low, high]."""
    m, h = 0.5 * (low + high), 0.5 * (high - low)
    linear = m * outer @ inner
    return np.block(
        [
            [inner.T @ (h * theta[:, None] * inner), linear.T],
            [linear, outer @ (h / theta[:, None] * outer.T)],
        ]
    )


@pytest.mark.parametrize("sizes", [(40, 90, 40), (9, 70, 4), (30, 300, 1)])
def test_a_proof_adds_its_step_the_pivots_and_the_errors_of_k(
    level: str, sizes: tuple[int, int, int]
) -> None:
    d, p, outputs = sizes
    rng = np.random.default_rng(p)
    inner, outer = rng.normal(size=(p, d)), rng.normal(size=(outputs, p))
    for low, high in ((0.0, 1.0), (-0.1, 1.1)):
        # The closed form, so that both are about the same theta.
        proved = bound(inner, outer, low, high, max_sweeps=0)
        estimate = bound(inner, outer, low, high, max_sweeps=0, rigorous=False)
        h, size = 0.5 * (high - low), d + outputs
        theta = np.ldexp(proved.multipliers[0], proved.exponents[0]) * proved.value * h
        k = k_of(inner, outer, low, high, theta)
        largest = float(np.linalg.eigvalsh(k)[-1])
        assert estimate.value == pytest.approx(largest, rel=1e-13)
        lengths = np.linalg.norm(inner, axis=1) * np.linalg.norm(outer, axis=0)
        sums = float(np.trace(k)) + 0.5 * (low + high) * float(lengths.sum())
        step = 1e-13 * size  # the first one tried above the eigenvalue
        pivots = (gamma(size + 2) + 2 * U) * (size - float(np.trace(k)) / largest)  # lemma 7
        errors = gamma(p + 6) * sums / largest  # section 9, the sums that make K
        added = proved.value / estimate.value - 1.0
        assert added >= step + pivots + errors - 8 * U
        assert added <= 3.0 * (step + pivots + errors)


def tight_frame(dimension: int, count: int) -> Matrix:
    """Unit vectors with sum v v^T = count / dimension times the identity."""
    v = np.random.default_rng(dimension).normal(size=(count, dimension))
    for _ in range(200):
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(v.T @ v)
        v = v @ (vectors / np.sqrt(values)) @ vectors.T
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("dimension", [12, 20])
def test_columns_are_doubled_where_the_optimum_has_many_dimensions(
    level: str, dimension: int
) -> None:
    # For slopes in [-1, 1] the optimum is |sum v_i u_i^T| = count / sqrt(dimension) at u = v, by
    # section 3.1 with equal multipliers, and nowhere else up to rotations: as many dimensions.
    count = dimension * (dimension + 1) // 2 + 20
    inner = tight_frame(dimension, count)
    for tolerance in (1e-4, 1e-6):
        found = bound(inner, np.ones((1, count)), -1.0, 1.0, tolerance=tolerance)
        assert found.value == pytest.approx(count / math.sqrt(dimension), rel=2 * tolerance)
        assert found.gap <= tolerance
        assert found.state[0] >= dimension


def test_wide_layers_have_an_honest_primal_value(level: str) -> None:
    # The ascent on Gram matrices begins at the optimum, the identity.
    exact = 700 / math.sqrt(16)
    found = bound(tight_frame(16, 700), np.ones((1, 700)), -1.0, 1.0, tolerance=1e-6)
    assert exact * (1 - 2e-6) <= found.primal <= exact * (1 + 1e-12)
    assert exact * (1 - 1e-12) <= found.value <= exact * (1 + 2e-6)
    assert found.sweeps <= 3


@pytest.mark.parametrize("reduced", ["inputs", "outputs"])
def test_a_smaller_matrix_in_place_of_many_inputs_or_outputs_is_larger(
    level: str, reduced: str
) -> None:
    # Rows of signs whose Gram matrix is 1024 times the identity, in any order of summation.
    signs = np.ones((1, 1))
    for _ in range(10):
        signs = np.block([[signs, signs], [signs, -signs]])
    rows, small = signs[:4], 32.0 * np.eye(4)
    other = np.random.default_rng(1).normal(size=(1, 4))
    if reduced == "inputs":
        wide, narrow = (bound(w, other, 0.5, 1.0, max_sweeps=0) for w in (rows, small))
    else:
        wide, narrow = (bound(other.T, w.T, 0.5, 1.0, max_sweeps=0) for w in (rows, small))
    # Section 9: half of what the Gram matrix and its factor may have lost, of a trace of four.
    lost = 0.5 * (gamma(rows.shape[1]) + gamma(5)) * 4.0
    assert lost - 8 * U <= wide.value / narrow.value - 1.0 <= 8.0 * lost
