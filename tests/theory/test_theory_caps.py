from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from theory_cases import (
    ROUNDING,
    Case,
    jacobian_norm,
    random_case,
    scalar_case,
    slope_vertices,
    with_groups,
)

import lipgd
from lipgd.theory import rate_constraints as rc

STEPS = 12
MODES = ("observed", "plug_in", "carry_over", "displacement", "tracked", "linear")


def shape_of(rng: np.random.Generator) -> rc.RateFunction:
    hold = float(rng.integers(0, 6))
    return rc.rate_function("exponential", hold=hold, decay_rate=float(rng.uniform(0.05, 2.0)))


def budgets_of(rng: np.random.Generator, case: Case) -> dict[str, float]:
    size = len(case.X) * 10.0 ** rng.uniform(-2, 1)
    return {name: float(size * rng.uniform(0.1, 1)) for name in case.quantities.names}


def descend(
    case: Case,
    mode: str,
    budgets: dict[str, float],
    G: rc.RateFunction,
    base: dict[str, float],
    factor: float = 1.0,
) -> list[Case]:
    """Cap every step, in plain Python; a factor above 1 breaks the caps."""
    found, n = case.quantities, len(case.X)
    increments, totals = G.increments(STEPS), np.cumsum(G.increments(STEPS))
    known = None
    if mode == "linear":
        known = rc.linear_caps(found, budgets, G.schedule(), STEPS)
    if mode == "tracked":
        known = rc.tracked_caps(found, budgets, G.schedule(), base, STEPS)
    states, path = [case], dict.fromkeys(budgets, 0.0)
    for step in range(STEPS):
        now = states[-1]
        plug_in = rc.gradient_majorants(now.quantities) if mode == "plug_in" else {}
        parts = {}
        for name, array in now.net.named():
            gradient = now.gradient[name]
            size, budget = float(np.linalg.norm(gradient)), budgets[name]
            start = dict(case.net.named())[name]
            if known is not None:
                limit = known.caps[name][step]
            elif mode == "carry_over":
                limit = rc.carry_over_cap(budget, n, totals[step], path[name], size)
            elif mode == "displacement":
                moved = float(np.linalg.norm(array - start))
                limit = rc.displacement_cap(budget, n, totals[step], moved, size)
            else:
                limit = rc.cap(budget, n, increments[step], plug_in.get(name, size))
            rate = min(base[name], factor * limit)
            path[name] += rate * size
            parts[name] = array - rate * gradient
        states.append(case.at(with_groups(case.net, parts)))
    return states


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(60))
def test_theorem_3(mode: str, seed: int) -> None:
    """Displacements, the Lipschitz bound and (3+), at every step of all modes."""
    rng = np.random.default_rng([seed, MODES.index(mode)])
    case = random_case(1000 + seed, largest=6)
    budgets, G = budgets_of(rng, case), shape_of(rng)
    base = {name: float(10.0 ** rng.uniform(-3, 6)) for name in budgets}
    found, start = case.quantities, dict(case.net.named())
    box = slope_vertices(case.net) if case.net.depth == 2 else None
    for step, state in enumerate(descend(case, mode, budgets, G, base)):
        radii = rc.budget_radii(found, budgets, G(step))
        for name, array in state.net.named():
            assert np.linalg.norm(array - start[name]) <= radii[name] * ROUNDING + 1e-12
        bound = rc.theorem3(found, budgets, G(step))
        assert rc.lipschitz_product(state.net) <= bound * (1 + 1e-9)
        assert bound <= rc.theorem3(found, budgets, G.limit)
        if box is not None:
            sharp = rc.theorem3(found, budgets, G(step), start=box)
            assert sharp <= bound
            assert slope_vertices(state.net) <= sharp * ROUNDING + 1e-12
        assert jacobian_norm(state.net, state.X) <= bound * ROUNDING + 1e-12


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [2, 3])
def test_theorem_3_is_attained(mode: str, depth: int) -> None:
    """A chain pulled outward: 2 % more than the caps breaks the bound, which is tight."""
    case = scalar_case([2.0, 3.0, 1.5][:depth], 1.0, 1e6)
    budgets = {f"W{i}": float(i) for i in range(1, depth + 1)}
    G = rc.rate_function("exponential", hold=3, decay_rate=0.5)
    # Tracked and linear majorants are attained as long as radii grow as they say: one step.
    steps = STEPS if mode not in ("tracked", "linear") else 1
    base = dict.fromkeys(budgets, math.inf if mode not in ("tracked", "linear") else 1e9)
    bound = rc.theorem3(case.quantities, budgets, G(steps))
    last = descend(case, mode, budgets, G, base)[steps]
    assert 0.98 * bound < jacobian_norm(last.net, case.X) <= bound * ROUNDING
    if mode not in ("carry_over", "displacement"):  # these would take back an excess
        broken = descend(case, mode, budgets, G, base, factor=1.1)[steps]
        assert jacobian_norm(broken.net, case.X) > bound


def test_the_start_of_3_plus_is_attained() -> None:
    case = scalar_case([2.0, 3.0], 1.0, 1e6)
    budgets, G = {"W1": 1.0, "W2": 2.0}, rc.rate_function("linear", scale=20.0)
    base = dict.fromkeys(budgets, math.inf)
    last = descend(case, "observed", budgets, G, base)[-1]
    bound = rc.theorem3(case.quantities, budgets, G(STEPS), start=6.0)
    assert 0.98 * bound < jacobian_norm(last.net, case.X) <= bound * ROUNDING


@pytest.mark.parametrize("seed", range(60))
def test_modes_are_ordered(seed: int) -> None:
    """observed <= plug-in <= tracked <= linear as majorants, on one and the same run."""
    rng = np.random.default_rng(seed)
    case = random_case(2000 + seed, largest=6)
    budgets, G = budgets_of(rng, case), shape_of(rng)
    base = {name: float(10.0 ** rng.uniform(-3, 2)) for name in budgets}
    states = descend(case, "tracked", budgets, G, base)
    tracked = rc.tracked_caps(case.quantities, budgets, G.schedule(), base, STEPS)
    linear = rc.linear_caps(case.quantities, budgets, G.schedule(), STEPS)
    for step, state in enumerate(states[:-1]):
        plug_in = rc.gradient_majorants(state.quantities)
        for name in budgets:
            observed = float(np.linalg.norm(state.gradient[name]))
            assert observed <= plug_in[name] * ROUNDING + 1e-12
            assert plug_in[name] <= tracked.majorants[name][step] * ROUNDING + 1e-12
            assert tracked.majorants[name][step] <= linear.majorants[name][step] * ROUNDING
            assert tracked.radii[name][step] <= linear.radii[name][step] * ROUNDING
            assert linear.caps[name][step] <= tracked.caps[name][step] * ROUNDING


@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
@pytest.mark.parametrize("depth", [2, 3])
def test_training_with_known_caps_keeps_to_theorem_3(
    activation: str, depth: int, dtype: type[np.floating[Any]]
) -> None:
    """The compiled loop with linear and tracked caps as its rates, in both precisions."""
    rng = np.random.default_rng(depth)
    sizes = [3, *[16] * (depth - 1), 1]
    net = lipgd.Network.create(sizes, activation=activation, init="torch", dtype=dtype)
    X = rng.uniform(-1, 1, (40, 3)).astype(dtype)
    y = (3.0 * np.sin(2.0 * X[:, 0])).astype(dtype)
    found, steps = rc.measure(net, X, y, "huber"), 60
    G = rc.rate_function("exponential", hold=10, decay_rate=0.05)
    limit = 2.0 * float(rc.theorem3(found, {}, 0.0))
    budgets = rc.target_budgets(found, limit, G.limit)
    budgets.update({name: 20.0 for name in found.names if name[0] == "b"})
    linear = rc.linear_caps(found, budgets, G.schedule(), steps)
    tracked = rc.tracked_caps(found, budgets, G.schedule(), 100.0, steps)
    slack = 1e-3 if dtype == np.float32 else 1e-12  # section 4, remark (iv)
    for caps in (linear, tracked):
        rates = {name: (1 - slack) * np.minimum(cap, 100.0) for name, cap in caps.caps.items()}
        record = ["lipschitz_upper", *(f"displacement:{name}" for name in found.names)]
        run = lipgd.train(net, X, y, loss="huber", rate=rates, steps=steps, record=record)
        totals = G(run.history.step.astype(float))
        bounds = rc.theorem3(found, budgets, totals)
        assert (run.history["lipschitz_upper"] <= bounds * (1 + 2e-6)).all()
        assert bounds[-1] <= limit
        for name in found.names:
            moved = run.history[f"displacement:{name}"]
            assert (moved <= caps.radii[name][run.history.step] * (1 + 1e-12)).all()
            assert (caps.radii[name] <= budgets[name] / 40 * G.limit * (1 + 1e-12)).all()


def test_carry_over_and_displacement_spend_what_is_left() -> None:
    """A small base rate leaves budget that the plain caps would lose."""
    case = scalar_case([2.0, 3.0], 1.0, 1e3)
    budgets, G = {"W1": 1.0, "W2": 1.0}, rc.rate_function("linear", scale=8.0)
    base = {"W1": 1e-4, "W2": math.inf}
    ends = {
        mode: descend(case, mode, budgets, G, base)[-1].risk
        for mode in ("observed", "carry_over", "displacement")
    }
    assert ends["displacement"] <= ends["carry_over"] <= ends["observed"]


def test_caps_by_hand() -> None:
    assert rc.cap(6.0, 3, 0.5, 4.0) == 0.25
    assert rc.cap(6.0, 3, 0.5, 0.0) == math.inf
    assert rc.cap(0.0, 3, 0.5, 4.0) == 0.0
    assert rc.cap(math.inf, 3, 0.0, 4.0) == 0.0
    assert rc.cap(6.0, 3, 0.5, math.inf) == 0.0
    np.testing.assert_array_equal(rc.cap(6.0, 3, [0.5, 1.0], [1.0, 0.0]), [1.0, math.inf])
    assert rc.carry_over_cap(6.0, 3, 2.0, 5.0, 1.0) == 0.0
    assert rc.carry_over_cap(6.0, 3, 2.0, 1.0, 6.0) == 0.5
    assert rc.displacement_cap(6.0, 3, 2.0, 1.0, 0.0) == math.inf


def test_groups_without_a_budget() -> None:
    case = scalar_case([2.0, 3.0], activation="tanh", loss="huber(1.0)", biases=[0.5, 0.5])
    caps = rc.linear_caps(case.quantities, {"W1": 1.0, "W2": 1.0}, 1.0, 4)
    assert np.isinf(caps.caps["b1"]).all()
    assert (caps.caps["W1"] > 0).all()
    free = scalar_case([2.0, 3.0], biases=[0.5, 0.5])
    with pytest.raises(
        ValueError, match=r"budgets has no b1, b2, without which the gradient of W1"
    ):
        rc.linear_caps(free.quantities, {"W1": 1.0, "W2": 1.0}, 1.0, 4)
    frozen = {"W1": 1.0, "b1": 0.0, "W2": 1.0, "b2": 0.0}
    linear = rc.linear_caps(free.quantities, frozen, 1.0, 4)
    assert (linear.caps["b1"] == 0).all()
    assert (linear.radii["b1"] == 0).all()
    tracked = rc.tracked_caps(free.quantities, {"W1": 1.0}, 1.0, 0.01, 4)
    assert np.isinf(tracked.caps["W2"]).all()
    assert (np.diff(tracked.radii["b2"]) > 0).all()


def test_rates_and_shapes_of_all_kinds_are_taken() -> None:
    found = scalar_case([2.0, 3.0]).quantities
    budgets = {"W1": 1.0, "W2": 1.0}
    first = rc.tracked_caps(found, budgets, [1.0, 0.5], {"W1": 0.1, "W2": [0.1, 0.1]}, 2)
    second = rc.tracked_caps(found, budgets, lambda step: 1.0 / (step + 1), 0.1, 2)
    np.testing.assert_array_equal(first.caps["W1"], second.caps["W1"])
    with pytest.raises(ValueError, match=r"rates has no 'W2', expected a rate for each group"):
        rc.tracked_caps(found, budgets, 1.0, {"W1": 0.1}, 2)
    with pytest.raises(ValueError, match=r"budgets has 'b1', expected names among W1, W2"):
        rc.linear_caps(found, {"b1": 1.0}, 1.0, 2)
    with pytest.raises(ValueError, match=r"budget has -1.0, expected numbers at least 0"):
        rc.cap(-1.0, 3, 0.5, 4.0)


def test_descent_caps_are_not_smaller() -> None:
    found = scalar_case([2.0, 3.0], 1.0, 50.0).quantities
    budgets = {"W1": 1.0, "W2": 1.0}
    plain = rc.linear_caps(found, budgets, 1.0, 5).caps["W1"]
    below = rc.linear_caps(found, budgets, 1.0, 5, descent=True).caps["W1"]
    assert (below >= plain).all()
    assert below[-1] > 1.01 * plain[-1]


def test_theorem_3_takes_arrays_and_leaves_uncapped_weights_unbounded() -> None:
    found = scalar_case([2.0, 3.0, 4.0]).quantities
    budgets = {"W1": 1.0, "W2": 1.0, "W3": 1.0}
    np.testing.assert_allclose(rc.theorem3(found, budgets, [0.0, 1.0]), [24.0, 60.0])
    assert rc.theorem3(found, {"W1": 1.0}, 1.0) == math.inf
    with pytest.raises(ValueError, match=r"quantities is of 3 layers, expected 2"):
        rc.theorem3(found, budgets, 1.0, start=1.0)
