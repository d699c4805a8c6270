"""Linear separability and hard margins, against linear and quadratic programs."""

import sys

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

import lipgd
from lipgd.margins import separability


def widest_by_program(rows):
    """The hard margin by sequential quadratic programming, from the best corner of a program."""
    n, d = rows.shape
    table = np.column_stack([-rows, np.ones(n)])
    bounds = [(-1, 1)] * d + [(None, None)]
    found = linprog(np.r_[np.zeros(d), -1.0], A_ub=table, b_ub=np.zeros(n), bounds=bounds)
    if found.x[-1] <= 1e-9:
        return 0.0
    start = found.x[:-1] / found.x[-1]
    shortest = minimize(
        lambda w: w @ w,
        start,
        jac=lambda w: 2 * w,
        constraints={"type": "ineq", "fun": lambda w: rows @ w - 1, "jac": lambda w: rows},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return 1 / np.linalg.norm(shortest.x)


@pytest.mark.parametrize("seed", range(30))
def test_margins_are_those_of_the_programs(seed):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 60)), int(rng.integers(1, 6))
    X = rng.normal(size=(n, d)) * np.exp(rng.normal(scale=2))
    truth = rng.normal(size=d)
    y = np.where(X @ truth > 0, 1, -1) if rng.random() < 0.7 else rng.choice([-1, 1], n)
    bias = bool(rng.integers(2))
    rows = y[:, None] * (np.column_stack([X, np.ones(n)]) if bias else X)
    found = separability(X, y, bias=bias)
    expected = widest_by_program(rows)
    size = np.linalg.norm(rows, axis=1).max()
    assert found.separable == bool(found) == (expected > 0)
    if not found.separable:
        assert found.margin == 0.0 and found.direction is None and found.upper <= 1e-9 * size
        return
    assert found.margin == pytest.approx(expected, rel=1e-6)
    assert np.linalg.norm(found.direction) == pytest.approx(1.0, abs=1e-14)
    assert found.margin <= (rows @ found.direction).min() <= found.upper
    assert found.upper <= found.margin * (1 + 1e-9) + 1e-13 * size


@pytest.mark.parametrize("margin", [1e-6, 1e-3, 0.5, 3.0])
def test_known_margins(margin):
    # Antipodal points around a slab of known width, and many far behind.
    rng = np.random.default_rng(0)
    dataset = lipgd.data.xor(40, lift=margin)
    found = separability(dataset.X, dataset.y)
    assert found.margin == pytest.approx(margin, rel=1e-9)
    assert abs(found.direction[2]) == pytest.approx(1.0, abs=1e-12)
    many = rng.normal(size=(3000, 20))
    labels = np.where(many[:, 0] > 0, 1, -1)
    many[:, 0] = labels * (margin + rng.exponential(size=3000))
    wide = separability(many, labels)
    assert wide.margin >= margin * (1 - 1e-12)
    assert wide.upper <= wide.margin * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e200, 1e300])
def test_very_small_and_very_large_data_are_separated_too(size):
    found = separability(size * np.array([[3.0, 4.0], [-3.0, -4.0]]), [1, -1])
    assert found.separable and found.margin == pytest.approx(5 * size, rel=1e-12)


def test_data_that_touch_the_origin_are_not_separable():
    dataset = lipgd.data.xor()
    assert not separability(dataset.X, dataset.y)
    assert not separability(dataset.X, dataset.y, bias=True)
    assert not separability([[0.0, 0.0], [1.0, 1.0]], [1, 1])
    assert separability([[0.0, 0.0], [1.0, 1.0]], [1, 1], bias=True)
    assert not separability([[1.0, 2.0], [1.0, 2.0], [-3.0, 1.0]], [1, -1, 1])
    # Opposite rows leave a margin of exactly zero.
    assert not separability([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [1, 1, 1])


def test_a_direction_exists_where_the_margin_is_tiny():
    found = separability([[1.0, 1e-9], [-1.0, 1e-9]], [1, 1])
    assert found.separable and found.margin == pytest.approx(1e-9, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0, 2.0], [1, 1]), ValueError, "X has shape \\(2,\\)"),
        (([[1.0], [2.0]], [1, 2]), ValueError, "y has the label 2"),
        (([[1.0], [np.inf]], [1, 1]), ValueError, "X has inf in row 1"),
        (([[1.0], [2.0]], [1]), ValueError, "y has 1 sample, but X has 2"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        separability(*arguments)
    with pytest.raises(TypeError, match="bias is 1, expected True or False"):
        separability([[1.0]], [1], bias=1)


def test_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'pip install "lipgd\[scipy\]"'):
        separability([[1.0]], [1])
