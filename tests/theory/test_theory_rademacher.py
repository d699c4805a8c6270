from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import lipgd
from lipgd.theory import generalization as gn


def kappa(n: int) -> float:
    return min(2 + math.sqrt(2 * math.log(n)), 1 + math.sqrt(2 * math.log(2 * n)))


def searched_factor(width: int, neurons: bool) -> float:
    """Psi and Psi' by a search over the number of grid points and the grid's ratio."""
    root = math.sqrt(width)
    best = root * kappa(width if neurons else 1)
    ratios = np.geomspace(1.0001, width + 2, 3000)
    for points in range(2, 600):
        factor = kappa(width * points if neurons else points)
        least = root * ratios ** (1 - points)
        best = min(best, float(np.hypot(ratios, least).min()) * factor)
    return best


@pytest.mark.parametrize("width", [1, 10, 1000])
@pytest.mark.parametrize("neurons", [False, True])
def test_width_factors_are_least(width: int, neurons: bool) -> None:
    found = gn.width_factor(width, neurons=neurons)
    assert found == pytest.approx(searched_factor(width, neurons), rel=1e-4)
    for ratio, share in itertools.product((1.01, 1.3, 2.0, 5.0), (0.01, 0.1, 0.5, 1.0)):
        least = share * math.sqrt(width)
        points = 1 + math.ceil(math.log(1 / share) / math.log(ratio))
        factor = kappa(width * points if neurons else points)
        assert found <= math.hypot(ratio, least) * factor * (1 + 1e-12)


def test_width_factors_keep_to_the_table() -> None:
    """The table of section 8 was made with a coarser search: its values are not below these."""
    widths = [1, 10, 10**2, 10**3, 10**4, 10**6]
    table = {False: [2, 4.32, 4.46, 4.53, 4.60, 4.69], True: [2, 5.08, 5.74, 6.30, 6.80, 7.67]}
    for neurons, values in table.items():
        for width, value in zip(widths, values, strict=True):
            found = gn.width_factor(width, neurons=neurons)
            assert value - 0.08 < found <= value + 0.005
    assert gn.width_factor(9, second_moment=True) > gn.width_factor(9)
    assert gn.width_factor(1, second_moment=True) == pytest.approx(math.sqrt(5))


def largest_neuron(
    rng: np.random.Generator, signs: np.ndarray, rows: np.ndarray, radius: float, activation: str
) -> float:
    """A lower value of sup |1/N sum eps_n (sigma - sigma(0))(a . x_n)| over norms up to radius."""
    act = lipgd.activations.get(activation)
    start = signs @ rows
    directions = np.concatenate([rng.normal(size=(30, rows.shape[1])), rows, [start, -start]])
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    directions = directions / np.maximum(lengths, 1e-300)
    shares = np.concatenate([radius * share * directions for share in (1.0, 0.5, 0.1)])
    at_zero = act(np.zeros(1))[0]
    return float(np.abs((act(shares @ rows.T) - at_zero) @ signs).max()) / len(rows)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "silu", "sin", "identity"])
@pytest.mark.parametrize("seed", range(12))
def test_theorem_r_a(activation: str, seed: int) -> None:
    """All sign patterns, suprema searched from below: one neuron, or p equal ones."""
    rng = np.random.default_rng(seed)
    n, d, p = int(rng.integers(1, 7)), int(rng.integers(1, 4)), int(rng.integers(1, 9))
    rows = np.column_stack([rng.normal(size=(n, d)) * rng.choice([0.3, 3.0]), np.ones(n)])
    hidden, outer, bias = (10.0 ** rng.uniform(-1, 1, 3)).tolist()
    act = lipgd.activations.get(activation)
    at_zero = float(act(np.zeros(1))[0])
    total = 0.0
    for pattern in itertools.product((-1.0, 1.0), repeat=n):
        signs, mean = np.array(pattern), abs(sum(pattern)) / n
        constant = mean * (abs(at_zero) * math.sqrt(p) * outer + bias)
        one = largest_neuron(rng, signs, rows, hidden, activation)
        many = math.sqrt(p) * largest_neuron(rng, signs, rows, hidden / math.sqrt(p), activation)
        # The constants and the bent part may have opposite signs.
        total += max(outer * max(one, many), constant) / 2**n
    bound = gn.norm_class_complexity(
        n,
        p,
        lipschitz=act.lipschitz,
        hidden_norm=hidden,
        outer_norm=outer,
        outer_bias=bias,
        input_rms=float(np.linalg.norm(rows)) / math.sqrt(n),
        at_zero=at_zero,
    )
    assert total <= bound


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "identity"])
@pytest.mark.parametrize("seed", range(12))
def test_theorem_r_b(activation: str, seed: int) -> None:
    """Networks in a ball, found by ascent; all sign patterns."""
    rng = np.random.default_rng(seed)
    n, d, p = int(rng.integers(1, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 7))
    rows = np.column_stack([rng.normal(size=(n, d)), np.ones(n)])
    A, B = rng.normal(size=(p, d + 1)), rng.normal(size=p)
    radii = 10.0 ** rng.uniform(-1, 0.5, 3)
    act = lipgd.activations.get(activation)
    features = act(rows @ A.T)
    total = 0.0
    for pattern in itertools.product((-1.0, 1.0), repeat=n):
        signs, best = np.array(pattern), 0.0
        for sign in (1.0, -1.0):
            move = np.zeros_like(A)
            for _ in range(6):
                moved = act(rows @ (A + move).T)
                outer = B + _unit(signs @ moved) * radii[1] * sign
                slopes = act.slope(rows @ (A + move).T) * outer
                move = _unit((signs[:, None] * slopes).T @ rows) * radii[0] * sign
            moved = act(rows @ (A + move).T)
            outer = B + _unit(signs @ moved) * radii[1]
            value = signs @ (moved @ outer - features @ B) / n
            best = max(best, value + radii[2] * abs(signs.mean()))
        total += best / 2**n
    bound = gn.ball_complexity(
        n,
        p,
        lipschitz=act.lipschitz,
        hidden_radius=radii[0],
        outer_radius=radii[1],
        outer_bias_radius=radii[2],
        start_outer_norm=float(np.linalg.norm(B)),
        start_feature_rms=float(np.linalg.norm(features)) / math.sqrt(n),
        input_rms=float(np.linalg.norm(rows)) / math.sqrt(n),
    )
    assert total <= bound


def _unit(array: np.ndarray) -> np.ndarray:
    return array / max(np.linalg.norm(array), 1e-300)


def test_the_linear_parts_are_attained_by_one_sample() -> None:
    """With N = 1 a sign flips the whole class: the supremum is the same for both signs."""
    sizes = {"lipschitz": 1.0, "input_rms": 1.0}
    ball = gn.ball_complexity(
        1,
        5,
        **sizes,
        hidden_radius=0.0,
        outer_radius=2.0,
        outer_bias_radius=0.5,
        start_outer_norm=1.0,
        start_feature_rms=3.0,
    )
    assert 0.98 * ball < 2.0 * 3.0 + 0.5 <= ball
    norms = gn.norm_class_complexity(
        1, 4, **sizes, hidden_norm=0.0, outer_norm=2.0, outer_bias=0.5, at_zero=-0.5
    )
    assert 0.98 * norms < 0.5 * 2.0 * 2.0 + 0.5 <= norms


@pytest.mark.parametrize("seed", range(20))
def test_several_outputs(seed: int) -> None:
    """The losses of linear classes with several outputs, suprema searched from below."""
    rng = np.random.default_rng(seed)
    n, d, D = int(rng.integers(1, 6)), 2, int(rng.integers(2, 5))
    rows, hidden, outer = np.column_stack([rng.normal(size=(n, d)), np.ones(n)]), 1.5, 2.0
    y = rng.normal(size=(n, D))
    loss = lipgd.losses.get("huber", delta=0.7)
    candidates = []
    for _ in range(150):
        u, v = _unit(rng.normal(size=d + 1)), _unit(rng.normal(size=D))
        candidates.append(hidden * outer * np.outer(rows @ u, v))
    residuals = np.stack(candidates) - y
    clipped = np.clip(residuals, -0.7, 0.7)
    values = (clipped * (residuals - clipped / 2)).mean(axis=2)
    patterns = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
    exact = float((values @ patterns.T).max(axis=0).mean()) / n
    rad = gn.norm_class_complexity(
        n,
        1,
        lipschitz=1.0,
        hidden_norm=hidden,
        outer_norm=outer,
        outer_bias=0.0,
        input_rms=float(np.linalg.norm(rows)) / math.sqrt(n),
        n_outputs=D,
    )
    bound = gn.loss_complexity(rad, loss.lipschitz(D), D)
    assert exact <= bound
    assert bound == pytest.approx(math.sqrt(2) * 0.7 * rad)
    assert gn.loss_complexity(0.1, 0.7, 1) == pytest.approx(0.07)


def test_examples_of_the_page() -> None:
    """Section 14, observation 7, without the deviation term."""
    table = {1: (0.435, 0.014), 2: (0.498, 0.016), 4: (0.596, 0.019), 9: (0.778, 0.025)}
    for (d, row), (n, column) in itertools.product(table.items(), ((10**3, 0), (10**6, 1))):
        rad = gn.ball_complexity(
            n,
            100,
            lipschitz=1.0,
            hidden_radius=0.5,
            outer_radius=0.5,
            outer_bias_radius=0.5,
            start_outer_norm=0.58,
            start_feature_rms=4.0,
            input_rms=math.sqrt(d + 1),
        )
        assert gn.rademacher_gap(rad, 0.0, n, 0.5) == pytest.approx(row[column], abs=1.1e-3)


def test_the_gap_and_the_output_scale() -> None:
    assert gn.rademacher_gap(0.1, 2.0, 50, 0.05) == pytest.approx(
        0.2 + 2 * math.sqrt(math.log(20) / 100)
    )
    options = {"lipschitz": 1.0, "hidden_norm": 1.0, "outer_norm": 1.0, "outer_bias": 1.0}
    plain = gn.norm_class_complexity(9, 3, **options, input_rms=2.0)
    scaled = gn.norm_class_complexity(9, 3, **options, input_rms=2.0, output_scale=-0.5)
    assert scaled == pytest.approx(plain / 2)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"width is 0, expected an integer at least 1"):
        gn.width_factor(0)
    with pytest.raises(ValueError, match=r"hidden_norm is -1.0, expected .* at least 0"):
        gn.norm_class_complexity(
            9, 3, lipschitz=1.0, hidden_norm=-1.0, outer_norm=1.0, outer_bias=1.0, input_rms=1.0
        )
    with pytest.raises(ValueError, match=r"delta is 0.0, expected .* above 0"):
        gn.rademacher_gap(0.1, 2.0, 50, 0.0)
    with pytest.raises(ValueError, match=r"n_outputs is 0, expected an integer at least 1"):
        gn.loss_complexity(0.1, 1.0, 0)
