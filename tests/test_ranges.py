"""What activations, their slopes and hidden values can be on intervals, balls and boxes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

import lipgd
from lipgd.lipschitz import Ball, Box, Model, read
from lipgd.lipschitz._ellipsoid import Ellipsoids
from lipgd.lipschitz._local import Regions, slopes_on
from lipgd.lipschitz._ranges import slope_range, value_range

KINDS = [
    *lipgd.activations.names(),
    "leaky_relu(0.3)",
    "elu(1.7)",
    "elu(0.4)",
    "leaky(tanh, 0.25)",
    "leaky(silu, 0.3)",
    "leaky(gelu, 0.5)",
    "leaky(sin, 0.125)",
]


def intervals(count: int = 400) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    middle = rng.normal(size=count) * rng.choice([0.5, 3.0, 10.0], count)
    half = np.abs(rng.normal(size=count)) * rng.choice([0.0, 1e-3, 0.5, 4.0], count)
    low, high = middle - half, middle + half
    low[:4], high[:4] = [0.0, -1.0, 0.0, 6.0], [1.0, 0.0, 0.0, 7.0]
    return low, high


@pytest.mark.parametrize("name", KINDS)
def test_ranges_enclose_and_are_tight(name: str) -> None:
    activation = lipgd.activations.get(name)
    low, high = intervals()
    share = np.linspace(0, 1, 2001)[:, None]
    points = np.clip(low + share * (high - low), low, high)
    for found, sampled in (
        (slope_range(activation, low, high), activation.slope(points)),
        (value_range(activation, low, high), activation(points)),
    ):
        assert (found[0] <= sampled.min(axis=0)).all()
        assert (found[1] >= sampled.max(axis=0)).all()
        kinks = name.startswith(("relu", "leaky_relu", "elu"))
        smooth = ~kinks | ((low > 0) & (high < 6)) | (high < 0)
        far = 1e-4 * (1 + high - low) ** 2 + (0.0 if "leaky(" not in name else 0.2 * (high - low))
        # A mixture with a function that falls is enclosed by the sum of the two ranges.
        assert (found[0] >= sampled.min(axis=0) - far)[smooth].all()
        assert (found[1] <= sampled.max(axis=0) + far)[smooth].all()


@pytest.mark.parametrize("name", KINDS)
def test_the_whole_line_has_the_global_range(name: str) -> None:
    activation = lipgd.activations.get(name)
    for end in (1e9, math.inf):
        low, high = slope_range(activation, np.array([-end]), np.array([end]))
        assert (low[0], high[0]) == activation.slope_range


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "silu", "gelu", "softplus", "elu(1.7)"])
def test_ranges_enclose_exact_slopes_at_points(name: str) -> None:
    mpmath.mp.dps = 50
    exact = {
        "tanh": lambda z: 1 - mpmath.tanh(z) ** 2,
        "sigmoid": lambda z: 1 / (2 + mpmath.exp(z) + mpmath.exp(-z)),
        "silu": lambda z: (1 + mpmath.exp(-z) + z * mpmath.exp(-z)) / (1 + mpmath.exp(-z)) ** 2,
        "gelu": lambda z: mpmath.ncdf(z) + z * mpmath.npdf(z),
        "softplus": lambda z: 1 / (1 + mpmath.exp(-z)),
        "elu(1.7)": lambda z: mpmath.mpf(1.7) * mpmath.exp(z) if z < 0 else mpmath.mpf(1),
    }[name]
    z = np.random.default_rng(1).normal(size=300) * 5
    low, high = slope_range(lipgd.activations.get(name), z, z)
    for place, a, b in zip(z, low, high, strict=True):
        true = exact(mpmath.mpf(place))
        assert mpmath.mpf(a) <= true <= mpmath.mpf(b)
        assert b - a < 3e-14


def draw(name: str, sizes: list[int], seed: int = 0, scale: float = 1.0) -> Model:
    net = lipgd.Network.create(sizes, activation=name, init="torch", seed=seed)
    return read(net.replace(weights=[scale * matrix for matrix in net.weights]))


def slopes_at(model: Model, X: Any) -> list[Any]:
    found, x = [], X
    for matrix, bias, activation in zip(
        model.weights[:-1], model.biases[:-1], model.activations, strict=True
    ):
        z = x @ matrix.T + bias
        found.append(activation.slope(z))
        x = activation(z)
    return found


@pytest.mark.parametrize("name", ["relu", "tanh", "silu", "gelu_tanh", "sin", "elu(1.5)", "relu6"])
@pytest.mark.parametrize("depth", [1, 3])
def test_slopes_on_a_region_enclose_sampled_ones(name: str, depth: int) -> None:
    rng = np.random.default_rng(depth)
    model = draw(name, [4, *[12] * depth, 2], scale=2.0)
    x = rng.normal(size=4)
    for domain in (
        Ball(x, 0.3),
        Ball(x, 0.2, norm=math.inf),
        Box(x - rng.uniform(0, 0.4, 4), x + rng.uniform(0, 0.4, 4)),
    ):
        low, high = domain.slopes(model)
        points = domain.sample(3000, rng)
        assert domain.contains(domain.project(points)).mean() > 0.4
        for a, b, slopes in zip(low, high, slopes_at(model, points), strict=True):
            assert (a <= slopes.min(axis=0) + 1e-12).all()
            assert (b >= slopes.max(axis=0) - 1e-12).all()


@pytest.mark.parametrize("norm", [2, math.inf])
def test_regions_of_a_stack_are_those_alone(norm: float) -> None:
    rng = np.random.default_rng(4)
    model = draw("silu", [4, 12, 12, 12, 2], scale=2.0)
    centers, radii = rng.normal(size=(6, 4)), rng.uniform(0, 1, 6)
    radii[2], radii[4] = 0.0, 1e200  # nothing is proved of one, which leaves the others alone
    together = slopes_on(model, Regions.balls(centers, radii, norm))
    for i in range(6):
        alone = Ball(centers[i], radii[i], norm).slopes(model)
        for rows, row in zip(together, alone, strict=True):
            for stack, single in zip(rows, row, strict=True):
                assert np.abs(stack[i] - single).max() <= 1e-12


@pytest.mark.parametrize("name", ["tanh", "silu", "relu"])
def test_regions_shrink_to_the_slopes_at_the_point(name: str) -> None:
    model = draw(name, [4, 10, 10, 2])
    x = np.random.default_rng(0).normal(size=4)
    for domain in (Ball(x, 0.0), Box(x, x)):
        for a, b, slope in zip(*domain.slopes(model), slopes_at(model, x[None]), strict=True):
            assert np.abs(a - slope).max() < 1e-12 and np.abs(b - slope).max() < 1e-12


def test_regions_grow_to_the_global_ranges() -> None:
    model = draw("silu", [4, 10, 10, 2])
    for domain in (Ball(np.zeros(4), math.inf), Box([-math.inf] * 4, [math.inf] * 4)):
        for found, whole in zip(domain.slopes(model), model.slopes(), strict=True):
            for a, b in zip(found, whole, strict=True):
                assert (a == b).all()


def test_rounding_of_the_forward_pass_is_counted() -> None:
    # Exact cancellation: the first neuron is at 1 for all x in the region, computed as 0.
    model = read([[[2.0**60, 1.0, -(2.0**60)]], [[1.0]]], activation="relu")
    low, high = Ball([1.0, -1.0, 1.0], 0.0).slopes(model)
    assert low[0][0] == 0.0 and high[0][0] == 1.0


def test_ellipsoids_hold_differences() -> None:
    rng = np.random.default_rng(2)
    model = draw("tanh", [6, 15, 15, 15, 3], scale=2.0)
    x = rng.normal(size=6)
    ball = Ball(x, 0.5)
    low, high = ball.slopes(model)
    ellipsoids = Ellipsoids(np.full((1, 6), 0.5))
    a, b = x[None], ball.sample(4000, rng)
    for layer, matrix in enumerate(model.weights[:-1]):
        y = ellipsoids.through(matrix, 0.0)
        a, b = a @ matrix.T + model.biases[layer], b @ matrix.T + model.biases[layer]
        difference = b - a
        inside = (difference * np.linalg.solve(y[0], difference.T).T).sum(axis=1)
        assert inside.max() <= 1.0
        ellipsoids.activate(y, low[layer][None], high[layer][None])
        a, b = np.tanh(a), np.tanh(b)
        difference = b - a
        inside = (difference * np.linalg.solve(ellipsoids.shapes[0], difference.T).T).sum(axis=1)
        assert 0.05 < inside.max() <= 1.0


def test_an_ellipsoid_is_no_larger_than_the_product_of_norms() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(8, 8))
    for low, high in ((0.0, 1.0), (-0.1, 1.1), (-1.0, 1.0)):
        ellipsoids = Ellipsoids(np.ones((1, 8)))
        y = ellipsoids.through(matrix, 0.0)
        ellipsoids.activate(y, np.full((1, 8), low), np.full((1, 8), high))
        most = np.linalg.norm(matrix, 2) ** 2 * max(-low, high) ** 2
        largest = np.linalg.eigvalsh(ellipsoids.shapes[0])[-1]
        # The closed form for slopes in [-1, 1] takes |m| as h / 1000, which costs as much.
        assert largest <= most * (1 + 1e-6 if low > -1 else 1.01)


class TestDomains:
    def test_messages(self) -> None:
        with pytest.raises(ValueError, match="norm is 1, expected 2 or inf: no other has a proof"):
            Ball([0.0], 1.0, norm=1)
        with pytest.raises(ValueError, match=r"radius is -1\.0, expected"):
            Ball([0.0], -1.0)
        with pytest.raises(ValueError, match="center has an entry that is not finite"):
            Ball([math.nan], 1.0)
        with pytest.raises(ValueError, match=r"lower has 2 in entry 1, above 1"):
            Box([0.0, 2.0], [1.0, 1.0])
        with pytest.raises(ValueError, match="upper has 1 entries, but lower has 2"):
            Box([0.0, 2.0], [1.0])
        with pytest.raises(ValueError, match=r"center has shape \(1, 1\)"):
            Ball([[0.0]], 1.0)

    def test_boxes(self) -> None:
        box = Ball([0.1, 0.2], 0.3, norm=math.inf).box()
        for low, center, high in zip(box.lower, (0.1, 0.2), box.upper, strict=True):
            assert Fraction(low) <= Fraction(center) - Fraction(0.3)
            assert Fraction(high) >= Fraction(center) + Fraction(0.3)
        left, right = box.halves(0)
        assert left.upper[0] == right.lower[0] == box.center[0]
        center, half = box.center, box.half_widths
        assert (center + half >= box.upper).all() and (center - half <= box.lower).all()
        assert str(box) == "box of 2 inputs" and str(Ball([0.0], 0.5)) == "l2 ball of radius 0.5"

    def test_nearest_points(self) -> None:
        points = np.random.default_rng(0).normal(size=(50, 3)) * 3
        for domain in (
            Ball(np.ones(3), 0.5),
            Ball(np.ones(3), 0.5, math.inf),
            Box([0] * 3, [1] * 3),
        ):
            inside = domain.project(points)
            assert np.linalg.norm(inside - domain.center, axis=1).max() < 0.9
            assert np.allclose(domain.project(inside), inside, atol=1e-15)


def test_jacobians_of_models_are_those_of_torch() -> None:
    model = draw("gelu", [4, 6, 5, 3])
    layers: list[torch.nn.Module] = []
    for matrix, bias in zip(model.weights, model.biases, strict=True):
        layer = torch.nn.Linear(*matrix.T.shape).double()
        layer.weight.data, layer.bias.data = torch.tensor(matrix), torch.tensor(bias)
        layers += [layer, torch.nn.GELU()]
    net = torch.nn.Sequential(*layers[:-1])
    x = torch.tensor(np.random.default_rng(0).normal(size=(3, 4)))
    for row, jacobian in zip(x, model.jacobian(x.numpy()), strict=True):
        expected = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], row)
        assert np.allclose(jacobian, expected.numpy(), atol=1e-14)
