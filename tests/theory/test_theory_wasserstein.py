from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from theory_cases import ROUNDING

import lipgd
from lipgd.theory import generalization as gn


def exact_distance(first: np.ndarray, second: np.ndarray) -> float:
    """W_1 of two samples, by an assignment of equally many copies."""
    size = math.lcm(len(first), len(second))
    rows = np.repeat(first, size // len(first), axis=0)
    columns = np.repeat(second, size // len(second), axis=0)
    costs = np.linalg.norm(rows[:, None] - columns[None], axis=2)
    return float(costs[linear_sum_assignment(costs)].mean())


def plain_bound(sides: list[float], n: int) -> float:
    """(10) as it is written."""
    widths, depth = list(sides), math.floor(math.log2(4 * n))
    diagonals = [math.hypot(*widths)]
    for _ in range(depth):
        longest = widths.index(max(widths))
        widths[longest] /= 2
        diagonals.append(math.hypot(*widths))
    terms = [(diagonals[j - 1] - diagonals[j]) * math.sqrt(2**j - 1) for j in range(1, depth + 1)]
    return diagonals[-1] + sum(terms) / (2 * math.sqrt(n))


@pytest.mark.parametrize("seed", range(60))
def test_10_as_written(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = (10.0 ** rng.uniform(-2, 2, int(rng.integers(2, 9)))).tolist()
    n = int(10.0 ** rng.uniform(0, 7))
    bound = gn.mean_wasserstein(sides, n)
    assert bound == pytest.approx(plain_bound(sides, n), rel=1e-9)
    assert bound <= math.hypot(*sides) * 1.6


@pytest.mark.parametrize("n", [1, 7, 100, 10**4, 10**6])
def test_cubes_keep_to_their_rates(n: int) -> None:
    r = 3.0
    assert gn.mean_wasserstein([r, r], n) <= (
        r * math.sqrt(2) * (1.5 + 0.25 * math.log2(n)) / math.sqrt(n) * ROUNDING
    )
    for k in (3, 4, 6, 10):
        rate = r * math.sqrt(k) * (4 * n) ** (-1 / k) * (2 + 1 / (1 - 2 ** (1 - k / 2)))
        assert gn.mean_wasserstein([r] * k, n) <= rate * ROUNDING
    assert gn.mean_wasserstein([r] * 3, n) <= 5.91 * r * n ** (-1 / 3)


def test_two_atoms_attain_the_bound_in_one_dimension() -> None:
    """And refute r / (3 sqrt(N)), a negative control."""
    for n in (1, 2, 3, 10, 40):
        chances = [math.comb(n, k) / 2**n for k in range(n + 1)]
        exact = 2.0 * sum(p * abs(k / n - 0.5) for k, p in enumerate(chances))
        bound = gn.mean_wasserstein([2.0], n)
        assert exact <= bound
        assert exact > 2.0 / (3 * math.sqrt(n))
        if n == 1:
            assert exact > 0.98 * bound


@pytest.mark.parametrize("seed", range(25))
def test_the_mean_distance_keeps_to_the_bound(seed: int) -> None:
    """Laws on few atoms, such as the corners of the box; exact distances."""
    rng = np.random.default_rng(seed)
    k, atoms, n = int(rng.integers(1, 5)), int(rng.integers(2, 7)), int(rng.integers(1, 13))
    sides = rng.uniform(0.1, 3.0, k)
    kind = rng.choice(["corners", "uniform"])
    points = rng.random((atoms, k)) if kind == "uniform" else rng.integers(0, 2, (atoms, k))
    points = points * sides
    draws = [exact_distance(points, points[rng.integers(0, atoms, n)]) for _ in range(40)]
    error = np.std(draws) / math.sqrt(len(draws))
    assert np.mean(draws) - 3 * error <= gn.mean_wasserstein(sides, n)


@pytest.mark.parametrize("seed", range(120))
def test_tree_distances_are_above_the_exact_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 5))
    sides = 10.0 ** rng.uniform(-1, 1, k)
    lower = rng.normal(size=k)
    first, second = (
        lower + sides * rng.choice([rng.random((n, k)), rng.integers(0, 2, (n, k))])
        for n in rng.integers(1, 7, 2)
    )
    exact = exact_distance(first, second)
    for depth in (0, 1, 3, 8):
        bound = gn.tree_distance(first, second, lower, lower + sides * (1 + 1e-15), depth)
        assert exact <= bound * ROUNDING + 1e-12


def test_the_tree_distance_of_opposite_corners_is_attained() -> None:
    """Half of it, a negative control, is refuted too."""
    ends = [[0.0, 0.0, 0.0]], [[1.0, 2.0, 3.0]]
    exact = exact_distance(*map(np.array, ends))
    for depth in (1, 4, 12):
        bound = gn.tree_distance(*ends, [0.0] * 3, [1.0, 2.0, 3.0], depth)
        assert 0.98 * bound < exact <= bound
        assert bound / 2 < exact


@pytest.mark.parametrize("loss", ["huber(1.0)", "huber(0.3)", "mse", "logistic"])
@pytest.mark.parametrize("seed", range(40))
def test_losses_of_lipschitz_networks_are_lipschitz(loss: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    d, D = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    net = lipgd.Network.create([d, 6, D], activation="tanh", init="normal(1.0)", seed=seed)
    lipschitz = lipgd.theory.rate_constraints.lipschitz_product(net)
    X, y = rng.normal(size=(2, d)), rng.uniform(-1, 1, (2, D)) * (1 if loss == "logistic" else 5)
    if rng.random() < 0.5:
        X[1], y[1] = X[0] + 1e-4 * rng.normal(size=d), y[0] + 1e-4 * rng.normal(size=D)
        y = np.clip(y, -1, 1) if loss == "logistic" else y
    outputs, chi = net(X), float(10.0 ** rng.uniform(-1, 1))
    values = _losses(loss, outputs, y)
    slope = gn.loss_slope(
        loss,
        D,
        lipschitz,
        residual_bound=float(np.linalg.norm(outputs - y, axis=1).max()),
        output_bound=float(np.abs(outputs).max()),
        target_scale=chi,
    )
    metric = math.hypot(np.linalg.norm(X[0] - X[1]), chi * np.linalg.norm(y[0] - y[1]))
    assert abs(values[0] - values[1]) <= slope * metric * (1 + 1e-6) + 1e-14


def _losses(loss: str, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    residuals = outputs - y
    if loss == "mse":
        return np.square(residuals).mean(axis=1)
    if loss == "logistic":
        return np.logaddexp(0, -y * outputs).mean(axis=1)
    delta = lipgd.losses.get(loss).parameter
    inside = np.abs(residuals) <= delta
    return np.where(inside, residuals**2 / 2, delta * (np.abs(residuals) - delta / 2)).mean(axis=1)


@pytest.mark.parametrize("chi", [1.0, 0.3])
def test_the_slope_of_the_loss_is_attained(chi: float) -> None:
    """And Lip in place of sqrt(Lip^2 + 1), a negative control, is refuted."""
    lipschitz = 0.8
    direction = np.array([lipschitz, -1 / chi**2])  # in the metric of chi
    length = math.hypot(direction[0], chi * direction[1])
    x, y = 1e-3 * direction / length
    for loss, start in (("huber(1.0)", 50.0), ("mse", 3.0)):
        before = _losses(loss, np.array([[start]]), np.zeros((1, 1)))[0]
        after = _losses(loss, np.array([[start + lipschitz * x]]), np.array([[y]]))[0]
        slope = gn.loss_slope(loss, 1, lipschitz, residual_bound=start + 0.01, target_scale=chi)
        assert 0.98 * slope < (after - before) / 1e-3 <= slope * (1 + 1e-6)
        weight = 1.0 if loss.startswith("huber") else 2 * start
        assert lipschitz * weight < (after - before) / 1e-3
    slope = gn.loss_slope("logistic", 1, lipschitz, output_bound=40.0, target_scale=chi)
    small = 1e-6 / math.hypot(lipschitz, 40.0 / chi)
    f, y = -40.0 - lipschitz * lipschitz * small, 1.0 + 40.0 / chi**2 * small
    grown = _losses("logistic", np.array([[f]]), np.array([[y]]))[0]
    assert 0.98 * slope < (grown - np.logaddexp(0, 40.0)) / 1e-6 <= slope * (1 + 1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_corollary_4(seed: int) -> None:
    """The gap exceeds its bound in no more than a share delta of all samples."""
    rng = np.random.default_rng(seed)
    n, delta, slope = int(rng.integers(5, 200)), 0.2, float(rng.uniform(0.1, 3))
    points = rng.integers(0, 2, (4, 2)) * [2.0, 3.0]  # x and y on the corners of a box
    values = _losses("huber(1.0)", slope * points[:, :1], points[:, 1:])
    bound = gn.wasserstein_gap("huber", slope, [2.0], [3.0], n, delta)
    gaps = [abs(values.mean() - values[rng.integers(0, 4, n)].mean()) for _ in range(100)]
    assert np.mean(np.array(gaps) > bound) <= delta


def test_corollary_4_is_the_sum_of_its_parts() -> None:
    bound = gn.wasserstein_gap("huber(0.5)", 2.0, [2.0, 1.0], [3.0], 500, 0.05)
    sides = [2.0, 1.0, 3.0]
    parts = plain_bound(sides, 500) + math.hypot(*sides) * math.sqrt(math.log(20) / 1000)
    assert bound == pytest.approx(0.5 * math.sqrt(5) * parts, rel=1e-9)
    scales = (0.2, 0.5, 1.0)
    best = gn.wasserstein_gap("huber(0.5)", 2.0, [2.0, 1.0], [3.0], 500, 0.05, target_scales=scales)
    each = [
        gn.wasserstein_gap("huber(0.5)", 2.0, [2.0, 1.0], [3.0], 500, 0.05 / 3, target_scales=(s,))
        for s in scales
    ]
    assert best == min(each)
    far = [
        gn.wasserstein_gap("huber", 2.0, [1.0], [90.0], 500, 0.05, target_scales=s)
        for s in ((1.0,), (0.1, 1.0))
    ]
    assert far[1] < 0.7 * far[0]


def test_sampling_deviation_keeps_its_probability() -> None:
    """The mean of N coins, by the binomial law."""
    for n, delta in ((20, 0.1), (50, 0.01)):
        most = gn.sampling_deviation(1.0, n, delta)
        chance = sum(math.comb(n, k) for k in range(n + 1) if k / n - 0.5 > most) / 2**n
        assert chance <= delta


def test_examples_of_the_page() -> None:
    """Section 14, observation 7: huber(1), Lip = 2, x in [-1, 1]^d, y in [-1.5, 1.5]."""
    table = {1: (0.723, 0.039), 2: (1.599, 0.185), 4: (3.714, 0.971), 9: (8.67, 4.40)}
    for (d, row), (n, column) in itertools.product(table.items(), ((10**3, 0), (10**6, 1))):
        value = gn.loss_slope("huber", 1, 2.0) * gn.mean_wasserstein([2.0] * d + [3.0], n)
        assert value == pytest.approx(row[column], abs=6e-4 if value < 8 and d < 9 else 6e-3)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"sides has -1.0, expected numbers at least 0"):
        gn.mean_wasserstein([1.0, -1.0], 10)
    with pytest.raises(ValueError, match=r"sides is .*, expected finite lengths"):
        gn.mean_wasserstein([1.0, math.inf], 10)
    with pytest.raises(ValueError, match=r"residual_bound is missing, but the loss mse takes it"):
        gn.loss_slope("mse", 1, 1.0)
    with pytest.raises(ValueError, match=r"output_bound is missing, but the loss logistic takes"):
        gn.loss_slope("logistic", 1, 1.0)
    with pytest.raises(ValueError, match=r"loss is cross_entropy\(0.0\), expected one whose"):
        gn.loss_slope("cross_entropy", 2, 1.0)
    with pytest.raises(ValueError, match=r"first has a point outside the box"):
        gn.tree_distance([[2.0]], [[0.5]], [0.0], [1.0], 3)
    with pytest.raises(ValueError, match=r"second has shape \(1, 2\), expected \(n_points, 1\)"):
        gn.tree_distance([[0.5]], [[0.5, 0.5]], [0.0], [1.0], 3)
    with pytest.raises(ValueError, match=r"target_scales is empty"):
        gn.wasserstein_gap("huber", 1.0, [1.0], [1.0], 5, 0.1, target_scales=())
    with pytest.raises(ValueError, match=r"delta is 1.0, expected .* below 1"):
        gn.wasserstein_gap("huber", 1.0, [1.0], [1.0], 5, 1.0)
