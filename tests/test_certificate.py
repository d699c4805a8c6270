"""The engine of certificates against brute force, extremes of scale and what it must refuse."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import lipgd
from lipgd.lipschitz._certificate import Certificate, certify

Matrix = npt.NDArray[np.float64]


def bound(
    weights: list[Matrix], low: float = 0.0, high: float = 1.0, **options: Any
) -> Certificate:
    widths = [len(matrix) for matrix in weights[:-1]]
    return certify(
        weights, [np.full(n, low) for n in widths], [np.full(n, high) for n in widths], **options
    )


def draw(rng: np.random.Generator, *sizes: int) -> list[Matrix]:
    return [rng.normal(size=(b, a)) / np.sqrt(a) for a, b in itertools.pairwise(sizes)]


def formal(weights: list[Matrix], low: float, high: float) -> float:
    """Return the formal constant by going through all ends of the slope intervals."""
    widths = [len(matrix) for matrix in weights[:-1]]
    largest = 0.0
    for slopes in itertools.product([low, high], repeat=sum(widths)):
        product, at = weights[0], 0
        for width, matrix in zip(widths, weights[1:], strict=True):
            product = matrix @ (np.array(slopes[at : at + width])[:, None] * product)
            at += width
        largest = max(largest, float(np.linalg.norm(product, 2)))
    return largest


def product_of_norms(weights: list[Matrix]) -> float:
    return math.prod(float(np.linalg.norm(matrix, 2)) for matrix in weights)


SLOPES = [(0.0, 1.0), (-0.1, 1.1), (-1.0, 1.0), (0.3, 1.0), (0.5, 0.5)]


@pytest.mark.parametrize("kind", ["plain", "rank one", "dead", "duplicate", "uneven"])
def test_bounds_hold_and_close_the_gap_against_brute_force(level: str, kind: str) -> None:
    rng = np.random.default_rng(5)
    for trial in range(12):
        depth = 1 + trial % 3
        sizes = [int(n) for n in rng.integers(1, 6, 2)]
        hidden = [int(n) for n in rng.integers(1, 5 if depth < 3 else 4, depth)]
        weights = draw(rng, sizes[0], *hidden, sizes[1])
        if kind == "rank one":
            weights = [np.outer(matrix[:, 0], matrix[0]) for matrix in weights]
        elif kind == "dead":
            weights[0][0] = 0.0
        elif kind == "duplicate":
            weights[0][-1] = weights[0][0]
        elif kind == "uneven":
            weights[0] *= 10.0 ** rng.integers(-8, 9, (len(weights[0]), 1))
        low, high = SLOPES[trial % len(SLOPES)]
        exact = formal(weights, low, high)
        found = bound(weights, low, high)
        assert found.reason is None
        assert found.value >= exact * (1 - 1e-13)
        assert found.gap <= 1e-4
        assert found.primal <= found.value
        # Theorem 3 with many outputs; deeper networks have no constant.
        assert depth > 1 or found.value <= math.pi / 2 * exact * (1 + 1e-4)


def test_bounds_of_larger_networks_close_the_gap(level: str) -> None:
    rng = np.random.default_rng(0)
    for sizes in (
        [10, 200, 1],
        [30, 150, 10],
        [200, 20, 30],
        [8, 40, 40, 5],
        [5] + [20] * 10 + [3],
    ):
        weights = draw(rng, *sizes)
        for low, high in SLOPES[:3]:
            found = bound(weights, low, high)
            assert found.gap <= 1e-4, (sizes, low, high)
            largest = max(abs(low), abs(high)) ** (len(sizes) - 2)
            assert found.value <= product_of_norms(weights) * largest


@pytest.mark.parametrize("kind", ["plain", "uneven", "rank one", "spikes"])
@pytest.mark.parametrize("sizes", [(3, 20, 1), (12, 40, 1), (2, 15, 2), (10, 50, 3)])
def test_wide_layers_have_the_bound_of_the_narrow_ones_that_they_are_split_from(
    level: str, kind: str, sizes: tuple[int, int, int]
) -> None:
    # A neuron (w, b) may be cut into copies (w, b / n): the optimum of LipSDP-Neuron stays.
    rng = np.random.default_rng(8)
    inner, outer = draw(rng, *sizes)
    if kind == "uneven":
        inner = inner * np.exp(rng.normal(size=inner.shape))
        outer = outer * np.exp(rng.normal(size=(1, sizes[1])))
    elif kind == "rank one":
        inner = np.outer(inner[:, 0], inner[0])
    elif kind == "spikes":
        inner[:2] *= 30.0
        outer[:, 2] *= 30.0
    copies = math.ceil(40 * (sizes[0] + sizes[2]) / sizes[1])
    for low, high in SLOPES:
        narrow = bound([inner, outer], low, high, tolerance=1e-5)
        weights = [np.repeat(inner, copies, axis=0), np.repeat(outer, copies, axis=1) / copies]
        wide = bound(weights, low, high)
        assert wide.reason is None
        assert wide.gap <= 1e-4
        assert wide.value >= narrow.primal * (1 - 1e-12)
        assert wide.primal <= narrow.value * (1 + 1e-12)
        again = bound(weights, low, high, start=wide)
        assert again.gap <= 1e-4
        assert again.value == pytest.approx(wide.value, rel=2e-4)


@pytest.mark.parametrize("outputs", [1, 4])
def test_wide_layers_need_few_evaluations(level: str, outputs: int) -> None:
    weights = draw(np.random.default_rng(0), 25, 3000, outputs)
    found = bound(weights, -0.1, 1.1)
    assert found.gap <= 1e-4
    assert found.sweeps <= 80  # power iteration took 150 to 300
    guessed = bound(weights, -0.1, 1.1, projections=3)
    assert guessed.gap <= 1e-4
    assert [ends.shape for _, ends in guessed.neurons] == [(3, 3000)]


def largest_eigenvalue(weights: list[Matrix], low: float, high: float, found: Certificate) -> float:
    """Return that of K(theta) of section 3, for theta as the multipliers say."""
    (inner, outer), (t,), (exponents,) = weights, found.multipliers, found.exponents
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    theta = np.ldexp(t, exponents) * half * found.value
    linear = middle * outer @ inner
    k = np.block(
        [
            [inner.T @ ((half * theta)[:, None] * inner), linear.T],
            [linear, (outer * (half / theta)) @ outer.T],
        ]
    )
    return float(np.linalg.eigvalsh(k)[-1])


@pytest.mark.parametrize("rigorous", [True, False])
@pytest.mark.parametrize("sizes", [(150, 400, 5), (60, 90, 80), (100, 900, 1)])
def test_bounds_are_above_clustered_eigenvalues(
    level: str, sizes: tuple[int, int, int], rigorous: bool
) -> None:
    # At the optimum many eigenvalues of K agree to 1e-5: a few Lanczos steps are below the largest.
    for seed in range(3):
        weights = draw(np.random.default_rng(seed), *sizes)
        for low, high in SLOPES[:2]:
            found = bound(weights, low, high, rigorous=rigorous)
            largest = largest_eigenvalue(weights, low, high, found)
            assert largest * (1 - 1e-13) <= found.value <= largest * (1 + 1e-4)
            assert found.primal <= largest
            assert found.gap <= 1e-4
            assert found.sweeps <= 150


def test_a_saddle_of_too_few_columns_is_left(level: str) -> None:
    # The optimum of 22 inputs and outputs and 4,000 neurons has more than eight dimensions.
    weights = draw(np.random.default_rng(1), 18, 4000, 4)
    found = bound(weights, -0.1, 1.1)
    assert found.gap <= 1e-4
    assert found.state[0] > 8


@pytest.mark.parametrize("fixed", [(True, False), (False, True), (True, True)])
def test_layers_of_known_slopes_are_matrices(fixed: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(9)
    weights = draw(rng, 5, 9, 8, 3)
    lo, hi = [np.zeros(9), np.zeros(8)], [np.ones(9), np.ones(8)]
    for layer, is_fixed in enumerate(fixed):
        if is_fixed:
            lo[layer] = hi[layer] = rng.integers(0, 2, len(lo[layer])) * 0.75
    found = certify(weights, lo, hi, projections=2)
    if all(fixed):
        exact = np.linalg.norm(weights[2] * lo[1] @ (weights[1] * lo[0]) @ weights[0], 2)
        assert exact * (1 - 1e-15) <= found.value <= exact * (1 + 1e-8)
        assert not found.neurons
    else:
        short = (
            [weights[1] * lo[0] @ weights[0], weights[2]]
            if fixed[0]
            else [weights[0], weights[2] * lo[1] @ weights[1]]
        )
        free = fixed.index(False)
        shorter = certify(short, [lo[free]], [hi[free]])
        assert found.value == pytest.approx(shorter.value, rel=1e-12)
        assert found.value > shorter.value  # by what the product may have lost
        assert [ends.shape for _, ends in found.neurons] == [(2, 9), (2, 8)]
    for is_fixed, t in zip(fixed, found.multipliers, strict=True):
        assert np.isinf(t).all() == is_fixed


def test_what_the_sums_of_k_lose_is_in_the_bound(level: str) -> None:
    # Exactly 9/16, but in float64 sums with 2**53 may lose what is left of it.
    for outer in itertools.permutations([2.0**53, 1.0, 2.0**-3, -(2.0**53)]):
        found = bound([np.ones((4, 1)), np.array([outer])], 0.5, 0.5)
        assert found.reason is not None or found.value >= 0.5 * 1.125


def test_the_bound_does_not_move_with_the_scale_of_neurons() -> None:
    rng = np.random.default_rng(1)
    for sizes in ([6, 30, 3], [6, 20, 15, 2]):
        weights = draw(rng, *sizes)
        value = bound(weights, tolerance=1e-7).value
        scales = 10.0 ** rng.uniform(-4, 4, sizes[1])
        moved = [scales[:, None] * weights[0], weights[1] / scales, *weights[2:]]
        assert bound(moved, tolerance=1e-7).value == pytest.approx(value, rel=2e-7)


@pytest.mark.parametrize("exponents", [(-300, 300), (-300, 0), (300, 0), (150, 150), (-1000, 900)])
def test_any_scale_of_the_weights_is_exact(level: str, exponents: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    for sizes in ([4, 8, 3], [4, 8, 7, 3]):
        weights = draw(rng, *sizes)
        value = bound(weights).value
        first, last = exponents
        scaled = [weights[0] * 2.0**first, *weights[1:-1], weights[-1] * 2.0**last]
        found = bound(scaled)
        assert found.value == pytest.approx(value * 2.0 ** (first + last), rel=1e-12)


def test_small_weights_have_a_bound_without_a_warning() -> None:
    weights = [np.full((3, 2), 1e-200), np.ones((1, 3))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = lipgd.lipschitz.upper(lipgd.Network(weights, activation="tanh"))
    assert found.value == pytest.approx(math.sqrt(18.0) * 1e-200, rel=1e-3)


def test_what_overflows_or_is_not_finite_has_a_reason_and_no_value(level: str) -> None:
    weights = draw(np.random.default_rng(0), 3, 5, 2)
    huge = [weights[0] * 2.0**800, weights[1] * 2.0**800]
    found = bound(huge)
    assert math.isnan(found.value)
    assert not found.rigorous
    assert found.reason == "the bound exceeds the largest float64"
    for layer, entry in ((0, math.nan), (1, math.inf)):
        broken = [matrix.copy() for matrix in weights]
        broken[layer][0, 0] = entry
        found = bound(broken)
        assert math.isnan(found.value)
        assert found.reason == f"weights[{layer}] has an entry that is not finite"
    tiny = [weights[0] * 2.0**-600, weights[1] * 2.0**-600]
    assert 0 < bound(tiny).value <= 5e-324


def test_networks_that_are_constant_have_the_bound_zero(level: str) -> None:
    weights = [np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[3.0, 0.0]])]
    found = bound(weights)
    assert found.value == 0.0
    assert found.reason is None
    assert [t.tolist() for t in found.multipliers] == [[0.0, 0.0]]


def test_a_linear_network_has_the_spectral_norm() -> None:
    matrix = np.array([[3.0, 0.0], [4.0, 5.0]])
    found = bound([matrix])
    assert math.sqrt(45) <= found.value <= math.sqrt(45) * (1 + 1e-8)


def test_identity_and_orthogonal_weights_are_exact(level: str) -> None:
    rng = np.random.default_rng(3)
    q = [np.linalg.qr(rng.normal(size=(12, 12)))[0] for _ in range(3)]
    assert bound([np.eye(12)] * 3).value == pytest.approx(1.0, rel=1e-4)
    assert bound(q, -1.0, 1.0).value == pytest.approx(1.0, rel=1e-4)


def test_a_start_from_the_last_certificate_saves_sweeps() -> None:
    rng = np.random.default_rng(4)
    weights = draw(rng, 10, 200, 5)
    first = bound(weights)
    moved = [matrix + 1e-4 * rng.normal(size=matrix.shape) for matrix in weights]
    warm, cold = bound(moved, start=first), bound(moved)
    assert warm.gap <= 1e-4
    assert 2 * warm.sweeps <= cold.sweeps


def test_no_sweeps_give_the_closed_form_below_the_product() -> None:
    rng = np.random.default_rng(6)
    for sizes in ([10, 50, 3], [10, 30, 30, 20, 3]):
        weights = draw(rng, *sizes)
        for low, high in SLOPES[:4]:
            largest = max(abs(low), abs(high)) ** (len(sizes) - 2)
            found = bound(weights, low, high, max_sweeps=0)
            # Section 4 replaces |m| by 1e-3 h where it is smaller.
            slack = 1e-6 if low + high > 0 else 1e-3 * len(sizes)
            assert found.value <= product_of_norms(weights) * largest * (1 + slack)
