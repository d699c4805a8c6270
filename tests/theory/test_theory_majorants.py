from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from theory_cases import (
    ROUNDING,
    Case,
    random_case,
    random_radii,
    root_mean,
    scalar_case,
    shrunk,
    within,
)

from lipgd.theory import rate_constraints as rc

TINY = 1e-12


def norms(case: Case) -> dict[str, float]:
    return {name: float(np.linalg.norm(array)) for name, array in case.gradient.items()}


@pytest.mark.parametrize("seed", range(200))
def test_gradients_keep_to_their_majorants(seed: int) -> None:
    """(4), its joint form, and the same for more layers."""
    case = random_case(seed)
    bounds, exact = rc.gradient_majorants(case.quantities), norms(case)
    assert list(bounds) == list(exact)
    for name, bound in bounds.items():
        assert exact[name] <= bound * ROUNDING + TINY
    for layer, bound in enumerate(rc.joint_majorants(case.quantities), 1):
        together = math.hypot(exact[f"W{layer}"], exact.get(f"b{layer}", 0.0))
        assert together <= bound * ROUNDING + TINY


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_2_percent_smaller_majorants_fail_for_a_chain(depth: int) -> None:
    case = scalar_case([2.0, 3.0, 0.5, 4.0][:depth], 1.5, -7.0, biases=[0.5] * depth)
    exact = norms(case)
    for name, bound in rc.gradient_majorants(shrunk(case.quantities)).items():
        assert bound < exact[name]
    for layer, bound in enumerate(rc.joint_majorants(shrunk(case.quantities)), 1):
        assert bound < math.hypot(exact[f"W{layer}"], exact[f"b{layer}"])


def test_the_majorant_divides_by_n_and_not_by_one_more() -> None:
    """Negative control: N + 1 for N in (4)."""
    case = scalar_case([2.0, 3.0], 1.5, -7.0)
    n = len(case.X)
    assert rc.gradient_majorants(case.quantities)["W1"] * n / (n + 1) < norms(case)["W1"]


def test_both_entries_of_the_minimum_for_the_outer_weights_count() -> None:
    """||H|| ||Q||_F is less for aligned loss gradients, ||H||_F ||Q|| for equal features."""
    first = second = False
    for seed in range(100):
        found = random_case(seed, depth=2).quantities
        whole = found.feature_norms[1] * found.loss_gradient
        turned = found.feature_frobenius[1] * found.loss_gradient_spectral
        bound = rc.gradient_majorants(found)["W2"]
        assert bound == pytest.approx(min(whole, turned), rel=1e-9)
        first, second = first or whole < 0.9 * turned, second or turned < 0.9 * whole
    assert first
    assert second


@pytest.mark.parametrize("seed", range(250))
@pytest.mark.parametrize("norm", ["frobenius", "spectral"])
def test_what_is_within_radii_keeps_to_the_reach(seed: int, norm: str) -> None:
    """(5), (6), their spectral version, and the same for more layers."""
    rng = np.random.default_rng(seed)
    case = random_case(seed, largest=8)
    radii = random_radii(rng, case)
    found = case.quantities
    reach = rc.reach(found, radii, norm=norm)
    if norm == "frobenius":
        loose = rc.reach(found, radii, joint=False)
        assert reach.output_shift <= loose.output_shift * ROUNDING
    below = rc.reach(found, radii, norm=norm, descent=True)
    for moved in within(case, radii, rng, norm):
        for layer in range(found.depth):
            shift = root_mean(moved.features[layer] - case.features[layer], case.weights)
            assert shift <= reach.feature_shifts[layer] * ROUNDING + TINY
            rows = np.sqrt(case.weights)[:, None] * moved.features[layer]
            size = np.linalg.norm(rows, 2) / math.sqrt(len(rows))
            assert size <= reach.feature_norms[layer] * ROUNDING + TINY
            weight = np.linalg.norm(moved.net.weights[layer], 2)
            assert weight <= reach.weight_norms[layer] * ROUNDING
        shift = root_mean(moved.inner_outputs - case.inner_outputs, case.weights)
        assert shift <= reach.output_shift * ROUNDING + TINY
        assert moved.quantities.loss_gradient <= reach.loss_gradient * ROUNDING + TINY
        for name, size in norms(moved).items():
            assert size <= reach.majorants[name] * ROUNDING + TINY
            if moved.risk <= case.risk:
                assert size <= below.majorants[name] * ROUNDING + TINY


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_reach_is_attained_by_a_chain(depth: int) -> None:
    rng = np.random.default_rng(depth)
    case = scalar_case([2.0, 3.0, 0.5, 1.0][:depth], 1.5, -7.0, biases=[0.5] * depth)
    radii = dict(zip(case.quantities.names, rng.uniform(0.1, 1, 2 * depth), strict=True))
    reach, smaller = (rc.reach(q, radii) for q in (case.quantities, shrunk(case.quantities)))
    moved = list(within(case, radii, rng))[2]  # up the gradient
    q, shift = moved.quantities.loss_gradient, moved.inner_outputs - case.inner_outputs
    assert 0.98 * reach.loss_gradient < q <= reach.loss_gradient * ROUNDING
    assert 0.98 * reach.output_shift < abs(shift[0, 0]) <= reach.output_shift * ROUNDING
    for name, size in norms(moved).items():
        assert 0.98 * reach.majorants[name] < size <= reach.majorants[name] * ROUNDING
    assert smaller.loss_gradient < reach.loss_gradient


def test_the_shift_of_the_loss_gradient_is_attained() -> None:
    """Targets that are met at first: all of the loss gradient comes from the shift."""
    case = scalar_case([2.0, 3.0], 1.5, 9.0 - 1e-3)
    reach = rc.reach(case.quantities, {"W1": 0.5, "W2": 0.5})
    moved = case.at(case.net.replace(weights=[[[2.5]], [[3.5]]])).quantities.loss_gradient
    assert 0.98 * reach.loss_gradient < moved <= reach.loss_gradient


def test_the_joint_form_is_attained() -> None:
    """For opposite inputs, weights and bias cannot both move all features."""
    case = scalar_case([1.0])
    case = Case(case.net.replace(biases=[[0.0]]), np.array([[1.0], [-1.0]]), np.zeros(2), "mse")
    radii = {"W1": 1.0, "b1": 1.0}
    moved = case.at(case.net.replace(weights=[[[2.0]]], biases=[[1.0]]))
    shift = root_mean(moved.inner_outputs - case.inner_outputs, np.ones(2))
    assert shift > 0.98 * rc.reach(case.quantities, radii).output_shift
    assert shift < 0.8 * rc.reach(case.quantities, radii, joint=False).output_shift


def test_frobenius_features_with_spectral_radii_would_fail() -> None:
    """Mixing spectral caps with (5) is wrong."""
    X = np.eye(4)
    net_case = Case(_linear(np.zeros((4, 4))), X, np.zeros((4, 4)), "mse")
    moved = net_case.at(_linear(np.eye(4)))  # a spectral distance of 1
    shift = root_mean(moved.inner_outputs, np.ones(4))
    assert shift > rc.reach(net_case.quantities, {"W1": 1.0}).output_shift * 1.5
    spectral = rc.reach(net_case.quantities, {"W1": 1.0}, norm="spectral").output_shift
    assert 0.98 * spectral < shift <= spectral


@pytest.mark.parametrize("seed", range(40))
def test_the_reach_is_monotone_and_takes_arrays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(seed)
    radii = random_radii(rng, case)
    grid = np.linspace(0.0, 2.0, 9)
    whole = rc.reach(case.quantities, {name: grid * r for name, r in radii.items()})
    for name, bounds in whole.majorants.items():
        array = np.broadcast_to(bounds, grid.shape)
        assert (np.diff(array) >= -1e-12 * array[1:]).all()
        one = rc.reach(case.quantities, {n: 2.0 * r for n, r in radii.items()})
        assert array[-1] == pytest.approx(one.majorants[name], rel=1e-12)
    start = rc.reach(case.quantities, dict.fromkeys(radii, 0.0))
    assert start.loss_gradient == pytest.approx(case.quantities.loss_gradient)


def test_infinite_radii_leave_what_is_bounded_anyway() -> None:
    """Bounded activation and loss: the hidden bias need not be capped."""
    case = scalar_case([2.0, 3.0], activation="tanh", loss="huber(1.0)", biases=[0.0, 0.0])
    radii = {"W1": 1.0, "b1": math.inf, "W2": 1.0, "b2": math.inf}
    reach = rc.reach(case.quantities, radii)
    assert reach.loss_gradient == pytest.approx(1.0)
    assert all(math.isfinite(bound) for bound in reach.majorants.values())
    still = {"W1": 0.0, "b1": math.inf, "W2": 0.0, "b2": 0.0}
    dead = replace(case.quantities, weight_norms=(2.0, 0.0))
    assert rc.reach(dead, still).output_shift == 0.0


def test_bad_arguments_are_named() -> None:
    found = scalar_case([2.0, 3.0], biases=[0.0, 0.0]).quantities
    with pytest.raises(ValueError, match=r"radii has no 'b1', expected a value for each of"):
        rc.reach(found, {"W1": 1.0})
    with pytest.raises(ValueError, match=r"radii\['b1'\] has -1.0, expected numbers at least 0"):
        rc.reach(found, {"W1": 1.0, "b1": -1.0, "W2": 0.0, "b2": 0.0})
    with pytest.raises(ValueError, match=r"norm is 'nuclear', expected one of frobenius, spectral"):
        rc.reach(found, {}, norm="nuclear")
    with pytest.raises(TypeError, match=r"radii is 1.0, expected a mapping"):
        rc.reach(found, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected numbers at least 0"):
        rc.reach(found, {"W1": "1", "b1": 1.0, "W2": 0.0, "b2": 0.0})


def _linear(weights: np.ndarray):  # type: ignore[no-untyped-def]
    import lipgd

    return lipgd.Network([weights])
