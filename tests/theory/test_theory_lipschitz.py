from __future__ import annotations

import math

import numpy as np
import pytest
from theory_cases import (
    ROUNDING,
    Case,
    jacobian_norm,
    random_case,
    random_radii,
    scalar_case,
    slope_vertices,
    within,
)

import lipgd
from lipgd.theory import rate_constraints as rc

FORMS = ("plain", "balanced", "absolute")


def points(case: Case, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([case.X, rng.normal(size=(20, case.net.n_inputs))])


@pytest.mark.parametrize("seed", range(150))
def test_bounds_are_above_jacobians_and_vertices(seed: int) -> None:
    """(2) in all forms; K at the vertices of the slope box."""
    case = random_case(seed, depth=2, largest=8)
    rng = np.random.default_rng(seed)
    vertices = slope_vertices(case.net)
    assert jacobian_norm(case.net, points(case, rng)) <= vertices * ROUNDING
    bounds = [rc.slope_box_bound(case.net, form) for form in FORMS]
    assert vertices <= min(bounds) * ROUNDING
    assert rc.slope_box_bound(case.net) == min(bounds)
    assert bounds[0] <= rc.lipschitz_product(case.net) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(100))
def test_the_product_bound_holds_at_any_depth(seed: int) -> None:
    case = random_case(seed)
    rng = np.random.default_rng(seed)
    bound = rc.lipschitz_product(case.net)
    assert jacobian_norm(case.net, points(case, rng)) <= bound * ROUNDING
    zero = rc.product_bound(case.quantities, dict.fromkeys(case.quantities.names, 0.0))
    assert zero == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize("seed", range(60))
def test_the_identity_is_exact(seed: int) -> None:
    net = random_case(seed, depth=2, activation="identity").net
    exact = abs(net.output_scale) * np.linalg.norm(net.weights[1] @ net.weights[0], 2)
    assert exact <= rc.slope_box_bound(net) <= exact * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("activation", ["relu", "identity", "leaky_relu(0.2)", "softplus"])
def test_2_percent_less_fails_for_aligned_layers(activation: str) -> None:
    rng = np.random.default_rng(0)
    inner, x = np.abs(rng.normal(size=6)), rng.normal(size=4)
    net = lipgd.Network([np.outer(inner, x), inner[None]], None, activation, -2.0)
    exact = jacobian_norm(net, 1e3 * x[None])
    for form in FORMS:
        bound = rc.slope_box_bound(net, form)
        assert 0.98 * bound < exact <= bound * ROUNDING
    assert 0.98 * rc.lipschitz_product(net) < exact


def test_each_form_can_be_the_least() -> None:
    relu = {}
    for seed in range(200):
        net = random_case(seed, depth=2, activation="relu").net
        bounds = {form: rc.slope_box_bound(net, form) for form in FORMS}
        relu[min(bounds, key=bounds.__getitem__)] = True
    assert {"balanced", "absolute"} <= set(relu)
    rng = np.random.default_rng(1)
    wide = lipgd.Network([rng.normal(size=(300, 9)), rng.normal(size=(9, 300))])
    assert rc.slope_box_bound(wide, "plain") < rc.slope_box_bound(wide, "absolute")


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
def test_silu_and_gelu_are_not_1_lipschitz(activation: str) -> None:
    """Negative control: L_sigma = 1."""
    net = lipgd.Network([[[2.0]], [[3.0]]], None, activation)
    slopes = np.linspace(0, 3, 1000)[:, None]
    assert 0.95 * jacobian_norm(net, slopes) > 6.0
    assert jacobian_norm(net, slopes) <= rc.lipschitz_product(net)
    assert 0.98 * rc.lipschitz_product(net) < jacobian_norm(net, slopes)


@pytest.mark.parametrize("seed", range(100))
def test_within_radii_the_slope_box_constant_grows_as_bounded(seed: int) -> None:
    """(3), (3+) and the product bound."""
    rng = np.random.default_rng(seed)
    case = random_case(seed, depth=2, largest=6)
    radii, start = random_radii(rng, case), slope_vertices(case.net)
    for norm in ("frobenius", "spectral"):
        for moved in within(case, radii, rng, norm):
            constant = slope_vertices(moved.net)
            bound = rc.drift_bound(case.quantities, radii, start)
            assert constant <= bound * ROUNDING + 1e-12
            product = rc.product_bound(case.quantities, radii)
            assert rc.lipschitz_product(moved.net) <= product * (1 + 1e-9)


def test_2_percent_less_drift_fails() -> None:
    found = scalar_case([2.0, 3.0], output_scale=-0.5).quantities
    bound = rc.drift_bound(found, {"W1": 1.0, "W2": 0.5}, 3.0)
    exact = 0.5 * 3.0 * 3.5
    assert 0.98 * bound < exact <= bound
    assert rc.product_bound(found, {"W1": 1.0, "W2": 0.5}) == pytest.approx(exact, rel=1e-9)


def test_radii_may_be_arrays_and_missing_ones_are_infinite() -> None:
    found = scalar_case([2.0, 3.0], biases=[0.0, 0.0]).quantities
    radii = {"W1": [0.0, 1.0], "W2": 1.0}
    np.testing.assert_allclose(rc.product_bound(found, radii), [8.0, 12.0])
    np.testing.assert_allclose(rc.drift_bound(found, radii, 1.0), [3.0, 7.0])
    assert rc.product_bound(found, {"W1": 1.0}) == math.inf


def test_neurons_without_weights_do_not_disturb_the_balance() -> None:
    net = lipgd.Network([[[0.0], [1.0], [2.0]], [[5.0, 0.0, 1.0]]])
    assert rc.slope_box_bound(net, "balanced") == pytest.approx(2.0)
    dead = lipgd.Network([[[0.0], [1.0]], [[5.0, 0.0]]])
    assert rc.slope_box_bound(dead) < 1e-12


def test_one_layer_and_wrong_arguments() -> None:
    assert rc.slope_box_bound(lipgd.Network([[[3.0, 4.0]]], output_scale=2.0)) == pytest.approx(10)
    deep = lipgd.Network.create([2, 3, 3, 1])
    with pytest.raises(ValueError, match=r"net has 3 layers, expected at most 2"):
        rc.slope_box_bound(deep)
    with pytest.raises(ValueError, match=r"form is 'best of', expected one of best, plain"):
        rc.slope_box_bound(deep, "best of")
    with pytest.raises(TypeError, match=r"net is None, expected a Network"):
        rc.lipschitz_product(None)  # type: ignore[arg-type]
    found = rc.measure(deep, np.ones((1, 2)), np.ones(1))
    with pytest.raises(ValueError, match=r"quantities is of 3 layers, expected 2"):
        rc.drift_bound(found, {}, 1.0)
    with pytest.raises(ValueError, match=r"radii has 'W9', expected names among W1, b1"):
        rc.product_bound(found, {"W9": 1.0})
