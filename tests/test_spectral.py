"""Spectral norms: the oracle decides in exact integer arithmetic whether a bracket holds."""

from __future__ import annotations

import math
from fractions import Fraction
from types import ModuleType
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest

from lipgd import _core
from lipgd.lipschitz import Bracket, spectral_norm

Array = npt.NDArray[np.floating[Any]]


def exponent_of(x: float) -> int:
    """Return how often the number must be doubled to become an integer."""
    return max(0, Fraction(x).denominator.bit_length() - 1)


def integers(A: Array, shift: int) -> list[list[int]]:
    return [[int(Fraction(float(x)) * 2**shift) for x in row] for row in A]


def is_above(A: Array, x: float) -> bool:
    """Return whether x exceeds the norm: whether x^2 I - A A^T is positive definite, exactly."""
    A = A if A.shape[0] <= A.shape[1] else A.T
    shift = max(exponent_of(x), *(exponent_of(float(a)) for a in A.ravel()))
    rows = integers(A, shift)
    square = int(Fraction(x) * 2**shift) ** 2
    m = [[-sum(a * b for a, b in zip(r, s, strict=True)) for s in rows] for r in rows]
    for i in range(len(m)):
        m[i][i] += square
    # Bareiss elimination: the pivots are the leading minors.
    last = 1
    for k in range(len(m)):
        if m[k][k] <= 0:
            return False
        for i in range(k + 1, len(m)):
            for j in range(k + 1, len(m)):
                m[i][j] = (m[i][j] * m[k][k] - m[i][k] * m[k][j]) // last
        last = m[k][k]
    return True


def holds(A: Array, lower: float, upper: float) -> bool:
    """Return whether lower <= norm < upper."""
    return (lower == 0.0 or not is_above(A, lower)) and (math.isinf(upper) or is_above(A, upper))


def measure(
    core: ModuleType, A: Array, tolerance: float = 1e-6, iterations: int = 500
) -> tuple[float, float]:
    lower, upper, _, certified = core.spectral_norm(np.ascontiguousarray(A), tolerance, iterations)
    assert certified
    return lower, upper


def attainable(k: int) -> float:
    return 2e-16 * k**2 + 3e-14 * k


def with_values(values: npt.NDArray[np.float64], seed: int = 0) -> npt.NDArray[np.float64]:
    """Return a square matrix with about these singular values."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    right, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    return (left * values) @ right


def adversaries(k: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return matrices whose norms are easy to get wrong."""
    rng = np.random.default_rng(k)
    i = np.arange(k, dtype=np.float64)
    single = np.zeros((k, k))
    single[k // 2, k - 1] = -7.0
    return {
        "identity": np.eye(k),
        "orthogonal": with_values(np.ones(k)),
        "two equal": with_values(np.where(i < 2, 1.0, 0.5)),
        "cluster 1e-3": with_values(1.0 - 1e-3 * i),
        "cluster 1e-5": with_values(1.0 - 1e-5 * i),
        "cluster 1e-6": with_values(1.0 - 1e-6 * i),
        "sorted diagonal": np.diag(1.0 - 1e-5 * i),
        "dense top": with_values(1.0 - 0.5 * (i / k) ** 2),
        "hidden top": with_values(np.where(i < 1, 1.0, 1.0 - 3e-6)),
        "rank one": np.outer(rng.normal(size=k), rng.normal(size=k)),
        "one entry": single,
        "equal rows": np.tile(rng.normal(size=k), (k, 1)),
        "graded rows": rng.normal(size=(k, k)) * 10.0 ** -np.linspace(0, 250, k)[:, None],
        "decay": with_values(10.0 ** -np.minimum(i, 300)),
        "Hilbert": 1.0 / (1.0 + i + i[:, None]),
        "signs": rng.choice([-1.0, 1.0], size=(k, k)),
        "triangle": np.triu(np.ones((k, k))),
    }


def test_the_oracle_agrees_with_mpmath() -> None:
    A = np.random.default_rng(3).normal(size=(4, 6))
    with mpmath.workdps(60):
        m = mpmath.matrix(A.tolist())
        norm = mpmath.sqrt(max(mpmath.eigsy(m * m.T, eigvals_only=True)))
        # The two doubles around the norm.
        below = float(norm) if mpmath.mpf(float(norm)) <= norm else math.nextafter(float(norm), 0)
    assert not is_above(A, below)
    assert is_above(A, math.nextafter(below, math.inf))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 0.0])
def test_brackets_of_many_small_matrices_hold(
    core: ModuleType, dtype: type[np.floating[Any]], tolerance: float
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = rng.integers(1, 6, size=2)
        A = rng.normal(size=shape) * 10.0 ** rng.integers(-8, 8, size=shape)
        if rng.random() < 0.3:
            A = np.round(A)
        A = A.astype(dtype)
        lower, upper = measure(core, A, tolerance)
        assert (not A.any() and lower == upper == 0.0) or holds(A, lower, upper), A


@pytest.mark.parametrize("k", [2, 5, 9])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-10, 0.0])
def test_brackets_of_adversaries_hold_and_are_tight(
    core: ModuleType, k: int, tolerance: float
) -> None:
    for name, A in adversaries(k).items():
        lower, upper = measure(core, A, tolerance)
        assert holds(A, lower, upper), name
        assert upper <= lower * (1.0 + max(tolerance, attainable(k))), name


@pytest.mark.parametrize("scale", [5e-324, 1e-320, 1e-308, 1e-300, 1e-160, 1e-150, 1e150, 1e300])
def test_brackets_hold_at_every_scale(core: ModuleType, scale: float) -> None:
    rng = np.random.default_rng(1)
    for shape in [(1, 1), (1, 7), (4, 1), (3, 4), (9, 3)]:
        A = np.round(rng.normal(size=shape) * 1000.0 + 1.0) * scale
        lower, upper = measure(core, A)
        assert holds(A, lower, upper), A
        assert upper <= lower * (1.0 + 1e-6) + 3.0 * 5e-324


def test_brackets_hold_when_scaling_loses_the_small_entries(core: ModuleType) -> None:
    A = np.array([[1e308, 1e-320, 0.0], [5e-324, -1e-310, 1.0], [1e154, 2.0, 1e-308]])
    assert holds(A, *measure(core, A, 0.0))
    assert holds(A[:1], *measure(core, A[:1], 0.0))
    assert holds(A[1:], *measure(core, A[1:], 0.0))


def test_float32_at_its_own_extremes(core: ModuleType) -> None:
    for scale in (1e-45, 1e-38, 3e38):
        A = (np.random.default_rng(2).uniform(-1.0, 1.0, size=(3, 5)) * scale).astype(np.float32)
        A[0, 0] = scale
        assert holds(A, *measure(core, A))


@pytest.mark.parametrize("shape", [(1, 100_000), (2, 200_000), (9, 40_000), (20_000, 17)])
def test_rounding_errors_that_all_go_one_way_are_counted(
    core: ModuleType, shape: tuple[int, int]
) -> None:
    for x in np.random.default_rng(10).uniform(1.0, 2.0, size=20):
        lower, upper = measure(core, np.full(shape, x), 0.0)
        square = shape[0] * shape[1] * Fraction(x) ** 2
        assert Fraction(lower) ** 2 <= square < Fraction(upper) ** 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 12), (3, 3), (8, 8)])
def test_a_bracket_that_is_slightly_tighter_fails(core: ModuleType, shape: tuple[int, int]) -> None:
    A = np.eye(*shape) * 1.7
    lower, upper = measure(core, A, 0.0)
    assert holds(A, lower, upper)
    assert not holds(A, lower, upper * (1.0 - 3e-13))
    assert not holds(A, lower * (1.0 + 3e-13), upper)


def test_the_norm_of_a_matrix_is_its_own_transposes(core: ModuleType) -> None:
    A = np.random.default_rng(4).normal(size=(7, 31))
    one, other = measure(core, A), measure(core, A.T)
    assert max(one[0], other[0]) < min(one[1], other[1])


def test_a_zero_matrix_has_norm_zero(core: ModuleType, dtype: type[np.floating[Any]]) -> None:
    for shape in [(1, 1), (1, 9), (3, 20)]:
        assert measure(core, np.zeros(shape, dtype)) == (0.0, 0.0)


def test_a_norm_beyond_the_largest_number(core: ModuleType) -> None:
    lower, upper, _, certified = core.spectral_norm(np.full((3, 3), 1e308), 1e-6, 500)
    assert lower == np.finfo(np.float64).max
    assert math.isinf(upper)
    assert not certified


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (4, 5), (40, 30)])
def test_what_is_not_finite_is_not_certified(
    core: ModuleType, dtype: type[np.floating[Any]], bad: float, shape: tuple[int, int]
) -> None:
    A = np.ones(shape, dtype)
    for position in {0, A.size // 2, A.size - 1}:
        B = A.copy()
        B.flat[position] = bad
        lower, upper, _, certified = core.spectral_norm(B, 1e-6, 500)
        assert (lower, upper, certified) == (0.0, math.inf, False)


@pytest.mark.parametrize(
    "shape", [(1, 5000), (10, 500), (500, 10), (17, 129), (64, 64), (33, 1000), (150, 200)]
)
@pytest.mark.parametrize("tolerance", [1e-6, 1e-9])
def test_larger_matrices_agree_with_numpy(
    core: ModuleType, dtype: type[np.floating[Any]], shape: tuple[int, int], tolerance: float
) -> None:
    A = np.random.default_rng(5).normal(size=shape).astype(dtype)
    lower, upper = measure(core, A, tolerance)
    norm = np.linalg.norm(A.astype(np.float64), 2)
    assert lower <= norm * (1.0 + 1e-13)
    assert upper >= norm * (1.0 - 1e-13)
    assert upper <= lower * (1.0 + tolerance)


@pytest.mark.parametrize("k", [50, 150])
def test_larger_adversaries_agree_with_numpy(core: ModuleType, k: int) -> None:
    for name, A in adversaries(k).items():
        norm = np.linalg.norm(A, 2)
        for tolerance in (1e-6, 1e-10):
            lower, upper = measure(core, A, tolerance)
            assert lower <= norm * (1.0 + 1e-13), name
            assert upper >= norm * (1.0 - 1e-13), name
            assert upper <= lower * (1.0 + tolerance), name


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_brackets_hold_after_few_iterations(core: ModuleType, iterations: int) -> None:
    for k in (3, 9):
        for name, A in adversaries(k).items():
            assert holds(A, *measure(core, A, 1e-6, iterations)), name


def test_the_bits_do_not_depend_on_the_address(
    core: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    rng = np.random.default_rng(6)
    for shape in [(1, 100), (10, 50), (21, 21)]:
        A = rng.normal(size=shape).astype(dtype)
        memory = np.empty(A.size + 16, dtype)
        results = set()
        for offset in range(16):
            view = memory[offset : offset + A.size].reshape(shape)
            view[...] = A
            results.add(core.spectral_norm(view, 1e-6, 500))
        assert len(results) == 1


def test_float32_is_taken_as_it_is(core: ModuleType) -> None:
    A = np.random.default_rng(7).normal(size=(12, 40)).astype(np.float32)
    assert measure(core, A) == measure(core, A.astype(np.float64))


def test_subnormals_count_even_where_they_are_flushed() -> None:
    import torch

    A = np.full((4, 4), 1e-310)
    expected = spectral_norm(A)
    assert torch.set_flush_denormal(True)
    try:
        flushed = spectral_norm(A)
    finally:
        torch.set_flush_denormal(False)
    assert flushed == expected
    assert expected.lower > 3.9e-310


def test_every_kind_of_array() -> None:
    A = np.random.default_rng(8).integers(-9, 9, size=(5, 7)).astype(np.float64)
    expected = spectral_norm(A)
    assert isinstance(expected, Bracket)
    padded = np.zeros((10, 21))
    padded[::2, ::3] = A
    for same in (
        A.tolist(),
        A.astype(np.float32),
        A.astype(np.float16),
        A.astype(np.int64),
        A.astype(np.int8),
        A.astype(">f8"),
        np.asfortranarray(A),
        padded[::2, ::3],
        np.flip(np.flip(A).copy()),
    ):
        assert spectral_norm(same) == expected
    assert expected.upper <= expected.lower * (1.0 + 1e-6)
    assert spectral_norm(A, tolerance=1e-12).upper <= expected.upper


def test_the_default_tolerance_is_that_of_the_core() -> None:
    A = np.random.default_rng(9).normal(size=(6, 6))
    assert spectral_norm(A) == spectral_norm(A, tolerance=_core.default_spectral_tolerance)
    assert _core.default_spectral_tolerance == 1e-6


@pytest.mark.parametrize(
    ("A", "error", "message"),
    [
        ([1.0, 2.0], ValueError, r"A has shape \(2,\), expected two dimensions"),
        (3.0, ValueError, r"A has shape \(\), expected two dimensions"),
        (np.ones((2, 1, 2)), ValueError, r"A has shape \(2, 1, 2\), expected two dimensions"),
        (np.ones((0, 3)), ValueError, r"A has shape \(0, 3\), expected at least one row"),
        ([[1.0, np.nan]], ValueError, r"A has a non-finite entry at \(0, 1\), expected finite"),
        ([[1.0], [-np.inf]], ValueError, r"A has a non-finite entry at \(1, 0\), expected finite"),
        ([[1.0, 2.0], [3.0]], ValueError, "A has rows of different lengths, expected a matrix"),
        ([[2**53 + 1]], ValueError, r"A has 9007199254740993 at \(0, 0\), expected integers"),
        ([[1j]], TypeError, "A has dtype complex128, expected float64, float32 or integers"),
        ([["a"]], TypeError, "A has dtype <U1, expected float64, float32 or integers"),
        ([[True]], TypeError, "A has dtype bool, expected float64, float32 or integers"),
        (np.ones((1, 1), np.longdouble), TypeError, "expected float64, float32 or integers"),
    ],
)
def test_bad_matrices_are_refused(A: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        spectral_norm(A)


@pytest.mark.parametrize("tolerance", [-1e-6, np.nan, np.inf, 2.0])
def test_bad_tolerances_are_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match=r"tolerance is .*, expected a finite number at least 0"):
        spectral_norm([[1.0]], tolerance=tolerance)
