"""Upper and lower bounds of networks: against each other, brute force and exact arithmetic."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

import lipgd
from lipgd.lipschitz import Estimate, lower, upper
from lipgd.lipschitz._zonotope import longest_sum

Matrix = npt.NDArray[np.float64]


def network(sizes: list[int], activation: str, seed: int, scale: float = 1.0) -> lipgd.Network:
    rng = np.random.default_rng(seed)
    net = lipgd.Network.create(sizes, activation=activation, seed=seed, output_scale=scale)
    return net.replace(biases=[0.3 * rng.normal(size=n) for n in sizes[1:]])


def jacobian_norms(net: lipgd.Network, X: Matrix) -> Matrix:
    norms: Matrix = np.linalg.norm(net.jacobian(X).astype(np.float64), 2, axis=(1, 2))
    return norms


def formal(net: lipgd.Network) -> float:
    low, high = net.activation.slope_range
    weights = [np.asarray(matrix, np.float64) for matrix in net.weights]
    widths = [len(matrix) for matrix in weights[:-1]]
    largest = 0.0
    for slopes in itertools.product([low, high], repeat=sum(widths)):
        product, at = weights[0], 0
        for width, matrix in zip(widths, weights[1:], strict=True):
            product = matrix @ (np.array(slopes[at : at + width])[:, None] * product)
            at += width
        largest = max(largest, float(np.linalg.norm(product, 2)))
    return abs(net.output_scale) * largest


@pytest.mark.parametrize("activation", ["relu", "silu", "tanh", "gelu", "leaky_relu(0.2)"])
def test_the_ladder_is_in_order_and_holds(level: str, activation: str) -> None:
    rng = np.random.default_rng(0)
    for sizes in ([4, 40, 3], [6, 15, 12, 2], [3, 2]):
        net = network(sizes, activation, 1, scale=-2.5)
        X = 3 * rng.normal(size=(200, sizes[0]))
        found = {name: upper(net, name) for name in ("product", "closed_form", "sdp")}
        below = lower(net, X)
        assert jacobian_norms(net, X).max() * (1 - 1e-8) <= below.value
        assert below.value <= found["sdp"].value
        assert found["sdp"].value <= found["closed_form"].value * (1 + 1e-4)
        assert found["closed_form"].value <= found["product"].value
        assert all(estimate.rigorous for estimate in found.values())
        assert below.witness is not None
        assert jacobian_norms(net, below.witness[0][None])[0] >= below.value


def test_branch_and_bound_finds_the_formal_constant(level: str) -> None:
    for seed, sizes in enumerate(([3, 10, 2], [2, 5, 5, 3], [4, 4, 3, 3, 2], [1, 9, 1])):
        for activation in ("relu", "silu", "tanh"):
            net = network(sizes, activation, seed, scale=0.5)
            exact = formal(net)
            found = upper(net, "branch_and_bound", tolerance=1e-6)
            assert found.bracket is not None
            assert found.bracket[0] <= exact * (1 + 1e-13)
            assert exact * (1 - 1e-13) <= found.value <= exact * (1 + 1.1e-6)


def test_branch_and_bound_out_of_time_still_encloses() -> None:
    net = network([10, 300, 4], "relu", 0)
    found = upper(net, "branch_and_bound", seconds=0.05)
    assert found.bracket is not None
    assert 0 < found.bracket[0] < found.value <= upper(net).value * (1 + 1e-3)
    assert found.seconds < 5


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_longest_sums_against_all_signs(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    for trial in range(20):
        count = int(rng.integers(1, 9))
        columns = rng.normal(size=(dimension, count))
        if trial % 4 == 1:
            columns = np.round(columns)
        elif trial % 4 == 2:
            columns = np.repeat(columns, 2, axis=1)[:, :9]
        elif trial % 4 == 3:
            columns[-1] = 0.0
        signs = np.array(list(itertools.product([-1.0, 1.0], repeat=columns.shape[1])))
        exact = float(np.linalg.norm(signs @ columns.T, axis=1).max())
        columns = columns[:, columns.any(axis=0)]
        found = longest_sum(columns)
        assert found is not None
        assert exact * (1 - 1e-14) <= found <= exact * (1 + 1e-10) + 1e-300


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 1), (3, 1), (4, 1), (1, 3)])
def test_exact_formal_values(inputs: int, outputs: int) -> None:
    for activation in ("tanh", "silu"):
        net = network([inputs, 9, outputs], activation, 2, scale=-3.0)
        found = upper(net, "exact")
        assert found.method == "exact formal"
        assert formal(net) * (1 - 1e-13) <= found.value <= formal(net) * (1 + 1e-10)


def test_relu_networks_of_one_input_are_exact() -> None:
    for seed in range(10):
        net = network([1, 12, 2], "relu", seed)
        if seed % 2:  # equal and opposite break points
            weights = [np.round(4 * net.weights[0]) / 2, net.weights[1]]
            net = net.replace(weights=weights, biases=[np.round(net.biases[0] * 3), None])
        slope, bias = net.weights[0][:, 0], net.biases[0]
        places = sorted(
            {-Fraction(b) / Fraction(w) for w, b in zip(slope, bias, strict=True) if w != 0}
        )
        middles = [(a + b) / 2 for a, b in itertools.pairwise(places)]
        inside = [places[0] - 1, *middles, places[-1] + 1]
        active = [
            [Fraction(w) * x + Fraction(b) > 0 for w, b in zip(slope, bias, strict=True)]
            for x in inside
        ]
        exact = max(float(np.linalg.norm(net.weights[1] @ (np.array(on) * slope))) for on in active)
        found = upper(net, "exact")
        assert found.method == "exact"
        assert exact * (1 - 1e-14) <= found.value <= exact * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["general", "central", "parallel", "grid", "equal"])
def test_relu_networks_of_two_inputs_are_exact(kind: str) -> None:
    rng = np.random.default_rng(3)
    for seed in range(4):
        net = network([2, 8, 2], "relu", seed)
        inner, bias = net.weights[0].copy(), net.biases[0].copy()
        if kind == "central":
            bias[:] = 0.0
        elif kind == "parallel":
            inner[::2] = inner[0] * np.array([1.0, -2.0, 0.5, -1.0])[:, None]
        elif kind == "grid":
            inner, bias = np.round(2 * inner), np.round(2 * bias)
        elif kind == "equal":
            inner[4:], bias[4:] = -inner[:4], -bias[:4]
        net = net.replace(weights=[inner, net.weights[1]], biases=[bias, None])
        found = upper(net, "exact")
        sampled = 0.0
        for spread in (0.3, 1.0, 3.0, 30.0):
            X = spread * rng.normal(size=(6000, 2))
            sampled = max(sampled, float(jacobian_norms(net, X).max()))
        assert found.method == "exact"
        assert sampled * (1 - 1e-13) <= found.value
        # Thin cells escape sampling, but for few neurons they are rare.
        assert found.value <= sampled * (1.0 + (0.2 if kind == "general" else 0.05))


def test_what_cannot_be_certified_has_a_reason() -> None:
    net = network([3, 4, 2], "relu", 0)
    huge = net.replace(weights=[matrix * 2.0**700 for matrix in net.weights])
    for method in ("product", "sdp", "closed_form", "exact", "branch_and_bound"):
        found = upper(huge, method)
        assert math.isnan(found.value), method
        assert not found.rigorous
        assert found.reason == "the bound exceeds the largest float64"
        assert "not certified" in str(found)


def test_scale_zero_is_constant() -> None:
    net = network([3, 4, 2], "relu", 0, scale=0.0)
    assert upper(net).value == 0.0
    assert lower(net).value == 0.0


def test_bounds_on_a_domain_are_between_a_jacobian_and_the_global_ones() -> None:
    net = network([4, 30, 2], "tanh", 3)
    center = np.full(4, 0.2)
    whole = upper(net).value
    for radius in (1e-6, 0.1, 1e3):
        ball = lipgd.lipschitz.Ball(center, radius)
        local, below = upper(net, domain=ball), lower(net, domain=ball)
        assert local.scope == below.scope == "local"
        assert below.witness is not None
        assert np.linalg.norm(below.witness[0] - center) <= radius * (1 + 1e-9)
        assert below.value <= local.value <= whole * (1 + 1e-4)
        if radius < 1e-5:
            assert local.value <= jacobian_norms(net, center[None])[0] * (1 + 1e-3)


def test_float32_weights_are_taken_as_they_are() -> None:
    net = lipgd.Network.create([5, 30, 2], activation="tanh", seed=1, dtype=np.float32)
    double = lipgd.Network([w.astype(np.float64) for w in net.weights], None, "tanh")
    assert upper(net).value == upper(double).value
    assert lower(net).value <= upper(net).value


def test_arguments_are_checked() -> None:
    net = network([3, 4, 4, 2], "relu", 0)
    with pytest.raises(ValueError, match="method is 'best', expected one of auto, sdp"):
        upper(net, "best")
    with pytest.raises(ValueError, match="the network has 3 weight matrices, expected two"):
        upper(net, "balanced")
    with pytest.raises(ValueError, match="tolerance is 0, expected"):
        upper(net, tolerance=0)
    with pytest.raises(TypeError, match="source is 3, expected a Network, a Run"):
        upper(3)
    with pytest.raises(ValueError, match="X has 2 columns, but the network takes 3 inputs"):
        lower(net, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="X is None, but method is 'points'"):
        lower(net, method="points")


def test_an_estimate_reads_as_a_number_and_a_sentence() -> None:
    found = upper(network([3, 4, 2], "relu", 0))
    assert isinstance(found, Estimate)
    assert float(found) == found.value
    assert "upper global sdp" in str(found)
    assert "proved in floating point" in str(found)
