from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from theory_cases import slope_vertices

import lipgd
from lipgd.theory import initialization as ini
from lipgd.theory import rate_constraints as rc

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

#: A bound as a function of rows, columns and delta, and a law that it holds for.
LINES: dict[str, tuple[Callable[[int, int, float], float], Draw]] = {
    "normal": (
        lambda p, d, delta: ini.gaussian_matrix_norm(p, d, 0.5, delta),
        lambda rng, shape: rng.normal(0.0, 0.5, shape),
    ),
    "truncated": (
        lambda p, d, delta: ini.gaussian_matrix_norm(p, d, 0.5, delta),
        lambda rng, shape: 0.5 * _truncated(rng, shape),
    ),
    "uniform": (
        lambda p, d, delta: ini.uniform_matrix_norm(p, d, 0.5, delta),
        lambda rng, shape: rng.uniform(-0.5, 0.5, shape),
    ),
    "signs": (
        lambda p, d, delta: ini.bounded_matrix_norm(p, d, 0.5, delta),
        lambda rng, shape: rng.choice([-0.5, 0.5], shape),
    ),
    "skew": (
        lambda p, d, delta: ini.bounded_matrix_norm(p, d, 0.9, delta),
        lambda rng, shape: rng.choice([0.9, -0.1], shape, p=[0.1, 0.9]),
    ),
    "sub-Gaussian signs": (
        lambda p, d, delta: ini.sub_gaussian_matrix_norm(p, d, 0.5, delta),
        lambda rng, shape: rng.choice([-0.5, 0.5], shape),
    ),
    "sub-Gaussian uniform": (
        lambda p, d, delta: ini.sub_gaussian_matrix_norm(p, d, 0.5 / math.sqrt(3), delta),
        lambda rng, shape: rng.uniform(-0.5, 0.5, shape),
    ),
    "sub-Gaussian normal": (
        lambda p, d, delta: ini.sub_gaussian_matrix_norm(p, d, 0.5, delta),
        lambda rng, shape: rng.normal(0.0, 0.5, shape),
    ),
}


def _truncated(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Normal numbers, drawn again outside [-1, 1]."""
    drawn = rng.normal(size=shape)
    while (outside := np.abs(drawn) > 1).any():
        drawn[outside] = rng.normal(size=int(outside.sum()))
    return drawn


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (20, 3), (12, 12)])
@pytest.mark.parametrize("delta", [0.5, 0.05])
def test_matrices_exceed_their_bound_rarely(
    name: str, shape: tuple[int, int], delta: float
) -> None:
    bound, draw = LINES[name]
    rng = np.random.default_rng(sum(map(ord, name)))
    most = bound(*shape, delta)
    share = np.mean([np.linalg.norm(draw(rng, shape), 2) > most for _ in range(300)])
    assert share <= delta + 3 * math.sqrt(delta * (1 - delta) / 300)


@pytest.mark.parametrize("size", [1, 5, 60])
@pytest.mark.parametrize("delta", [0.5, 0.05])
def test_vectors_exceed_their_bound_rarely(size: int, delta: float) -> None:
    rng = np.random.default_rng(size)
    room = 3 * math.sqrt(delta * (1 - delta) / 400)
    normal = np.linalg.norm(rng.normal(0, 0.5, (400, size)), axis=1)
    assert np.mean(normal > ini.gaussian_vector_norm(size, 0.5, delta)) <= delta + room
    flat = np.linalg.norm(rng.uniform(-0.5, 0.5, (400, size)), axis=1)
    assert np.mean(flat > ini.uniform_vector_norm(size, 0.5, delta)) <= delta + room


def test_2_percent_less_fails_for_large_normal_matrices_and_vectors() -> None:
    rng, delta = np.random.default_rng(0), 0.9
    bound = ini.gaussian_matrix_norm(700, 700, 1.0, delta)
    norms = [lipgd.spectral_norm(rng.normal(size=(700, 700))).lower for _ in range(4)]
    assert 0.98 * bound < min(norms)
    assert max(norms) <= bound
    vectors = np.linalg.norm(rng.normal(size=(100, 10_000)), axis=1)
    assert np.mean(vectors > 0.98 * ini.gaussian_vector_norm(10_000, 1.0, 0.5)) > 0.6
    flat = np.linalg.norm(rng.uniform(-1, 1, (100, 10_000)), axis=1)
    assert np.mean(flat > 0.98 * ini.uniform_vector_norm(10_000, 1.0, 0.5)) > 0.6
    assert ini.uniform_vector_norm(3, 2.0, 0.01) == pytest.approx(2 * math.sqrt(3))


def test_the_sub_gaussian_line_keeps_to_the_page() -> None:
    for shape, ratio, simple in (
        ((100, 100), 1.47, 2.98),
        ((100, 10), 1.24, 3.36),
        ((10**5, 10), 1.01, 4.15),
    ):
        side = math.sqrt(shape[0]) + math.sqrt(shape[1])
        bound = ini.sub_gaussian_matrix_norm(*shape, 1.0, 0.05)
        assert bound / side == pytest.approx(ratio, abs=0.006)
        other = 2 * math.sqrt(2 * (sum(shape) * math.log(9) + math.log(20)))
        assert other / side == pytest.approx(simple, abs=0.006)
        assert bound <= other


@pytest.mark.parametrize("init", [*lipgd.initialization.names()])
@pytest.mark.parametrize("sizes", [[4, 30, 2], [3, 9, 9, 1], [5, 1]])
def test_laws_bound_the_networks_that_are_drawn(init: str, sizes: list[int]) -> None:
    name = f"{init}(0.3)" if init in ("normal", "uniform", "rademacher") else init
    delta = 0.2
    weights, biases = ini.Law(name, delta).norms(sizes)
    failures = 0
    for seed in range(100):
        net = lipgd.Network.create(sizes, init=name, seed=seed)
        sizes_drawn = [np.linalg.norm(weight, 2) for weight in net.weights]
        offsets = [np.linalg.norm(bias) for bias in net.biases]
        failures += any(
            drawn > bound * (1 + 1e-12)
            for drawn, bound in zip((*sizes_drawn, *offsets), (*weights, *biases), strict=True)
        )
    assert failures <= 100 * (delta + 0.12)
    if name != "torch":
        assert biases == (0.0,) * len(biases)


def test_caps_before_drawing_hold_for_the_networks_that_are_drawn() -> None:
    """Norm-only quantities with the norms of a law, and training with their caps."""
    rng = np.random.default_rng(0)
    X, y, steps = rng.uniform(-1, 1, (30, 3)), rng.normal(size=30), 40
    sizes, G = [3, 20, 1], rc.rate_function("arctan", hold=5, scale=5.0)
    any_net = lipgd.Network.create(sizes, activation="silu")
    weights, biases = ini.Law("torch", 1e-6).norms(sizes)
    before = rc.norm_only(rc.measure(any_net, X, y, "huber"), weights, biases)
    limit = 2.0 * float(rc.theorem3(before, {}, 0.0))
    budgets = rc.target_budgets(before, limit, G.limit)
    caps = rc.linear_caps(before, {**budgets, "b1": 3.0, "b2": 3.0}, G.schedule(), steps)
    rates = {name: np.minimum(cap, 10.0) for name, cap in caps.caps.items()}
    for seed in range(20):
        net = lipgd.Network.create(sizes, activation="silu", init="torch", seed=seed)
        run = lipgd.train(net, X, y, loss="huber", rate=rates, steps=steps)
        assert rc.lipschitz_product(run.network) <= limit
        after = rc.gradient_majorants(rc.measure(run.network, X, y, "huber"))
        assert all(after[name] <= caps.majorants[name][-1] for name in after)


def test_the_least_line_is_taken() -> None:
    delta = 0.01
    single = ini.Law("uniform(2.0)", delta).norms([1, 1])[0]
    assert single[0] == pytest.approx(2.0)
    wide = ini.Law("uniform(2.0)", delta).norms([400, 400])[0][0]
    assert wide == ini.uniform_matrix_norm(400, 400, 2.0, delta)
    thin = ini.Law("uniform(2.0)", delta).norms([1, 10**6])[0][0]
    assert thin < ini.uniform_matrix_norm(10**6, 1, 2.0, delta)
    both = ini.Law("he_normal", delta).norms([10, 100, 1])[0]
    assert both[0] == ini.gaussian_matrix_norm(100, 10, math.sqrt(0.2), delta / 2)
    torch = ini.Law("torch", delta).norms([4, 100, 1])[1]
    assert torch[0] == ini.uniform_vector_norm(100, 0.5, delta / 4)
    assert ini.Law("torch", delta).norms([4, 100, 1], biases=False)[1] == (0.0, 0.0)


@pytest.mark.parametrize("activation", ["relu", "silu", "sin", "identity"])
def test_the_start_of_3_plus(activation: str) -> None:
    """(7), by the vertices of the slope box."""
    rng, delta = np.random.default_rng(1), 0.3
    act = lipgd.activations.get(activation)
    for p, d in ((1, 1), (6, 2), (3, 5)):
        outer = rng.normal(size=p)
        bound = ini.slope_box_start(0.5, act.lipschitz, act.slope_range, outer, d, delta)
        drawn = [
            slope_vertices(lipgd.Network([rng.normal(0, 0.5, (p, d)), outer[None]], None, act))
            for _ in range(60)
        ]
        assert np.mean(np.array(drawn) > bound) <= delta + 0.1


def test_the_start_is_about_pi_times_below_the_product() -> None:
    outer = np.random.default_rng(0).normal(size=4000)
    start = ini.slope_box_start(1.0, 1.0, (0.0, 1.0), outer, 2, 0.05)
    product = ini.gaussian_matrix_norm(4000, 2, 1.0, 0.05) * float(np.linalg.norm(outer))
    assert 2.7 < product / start < 3.3


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"delta is 1.0, expected .* below 1"):
        ini.Law("he_normal", 1.0)
    with pytest.raises(ValueError, match=r"init is 'magic', expected one of"):
        ini.Law("magic")
    with pytest.raises(ValueError, match=r"sizes is \[3\], expected at least inputs and outputs"):
        ini.Law("he_normal").norms([3])
    with pytest.raises(ValueError, match=r"rows is 0, expected an integer at least 1"):
        ini.gaussian_matrix_norm(0, 3, 1.0, 0.1)
    with pytest.raises(ValueError, match=r"bound is -1.0, expected .* at least 0"):
        ini.uniform_matrix_norm(2, 3, -1.0, 0.1)
    with pytest.raises(ValueError, match=r"outer has shape \(1, 2\), expected one weight per"):
        ini.slope_box_start(1.0, 1.0, (0.0, 1.0), [[1.0, 2.0]], 3, 0.1)
    with pytest.raises(ValueError, match=r"delta is 0, expected .* above 0"):
        ini.gaussian_vector_norm(3, 1.0, 0)
