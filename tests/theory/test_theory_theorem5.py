from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from theory_cases import (
    ROUNDING,
    SMOOTH,
    Case,
    jacobian_norm,
    random_case,
    scalar_case,
    with_groups,
)

import lipgd
from lipgd.theory import convergence as cv
from lipgd.theory import rate_constraints as rc

STEPS = 25
TINY = 1e-11


def smooth_case(seed: int, depth: int = 2, **options: object) -> Case:
    rng = np.random.default_rng(seed)
    activation = str(rng.choice(SMOOTH))
    return random_case(seed, depth=depth, activation=activation, largest=6, **options)  # type: ignore[arg-type]


def step(case: Case, rates: dict[str, float], pull: float = 0.0) -> Case:
    """One step on the risk with the penalty ``pull / 2 ||Theta||^2``."""
    parts = {
        name: array - rates[name] * (case.gradient[name] + pull * array)
        for name, array in case.net.named()
    }
    return case.at(with_groups(case.net, parts))


def sizes(case: Case) -> np.ndarray:
    return np.array([np.linalg.norm(array) for array in case.gradient.values()])


def distance(case: Case, start: Case) -> float:
    pairs = zip(case.net.named(), start.net.named(), strict=True)
    return math.sqrt(sum(float(np.sum((a - b) ** 2)) for (_, a), (_, b) in pairs))


@pytest.mark.parametrize("seed", range(60))
def test_descent_gradients_and_energy(seed: int) -> None:
    """(a), (b), (d) and (12), for unequal rates up to eta / S inside a ball."""
    rng = np.random.default_rng(seed)
    start = now = smooth_case(seed)
    radius, eta = float(10.0 ** rng.uniform(-1, 1)), float(rng.uniform(0.1, 1.95))
    bound = cv.ball_smoothness(start.quantities, radius)
    names, least, most, smallest = start.quantities.names, 0.0, 0.0, math.inf
    path = np.zeros(len(names))
    for _ in range(STEPS):
        rates = eta / bound * rng.choice([1.0, rng.random()], len(names))
        after = step(now, dict(zip(names, rates, strict=True)))
        if distance(after, start) > radius:
            break
        norms = sizes(now)
        drop = cv.descent_decrease(rates, norms, eta)
        assert after.risk <= now.risk - drop + 1e-12 * now.risk
        least, most, path = least + rates.min(), most + rates.max(), path + rates * norms
        smallest = min(smallest, float(np.linalg.norm(norms)))
        now = after
        fallen = max(start.risk - now.risk, 0.0) + 1e-13 * start.risk
        assert smallest <= cv.gradient_bound(fallen, least, eta) * ROUNDING + TINY
        energy = cv.energy_radius(most, fallen, eta)
        assert np.linalg.norm(path) <= energy * ROUNDING + TINY
        lipschitz = cv.energy_lipschitz_bound(start.quantities, energy)
        assert rc.lipschitz_product(now.net) <= lipschitz * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_descent_with_a_rate_for_each_block(seed: int) -> None:
    """(a) with the right side of (11)."""
    rng = np.random.default_rng(seed)
    now = start = smooth_case(100 + seed)
    eta, theta = float(rng.uniform(0.1, 1.9)), float(10.0 ** rng.uniform(-1, 1))
    found = cv.region_smoothness(start.quantities, 1.0, 1.0, sublevel=True)
    if min(found.blocks(theta)) == 0.0:
        return
    hidden, outer = (eta / value for value in found.blocks(theta))
    rates = {name: hidden if name[1:] == "1" else outer for name in start.quantities.names}
    for _ in range(STEPS):
        after = step(now, rates)
        if distance(after, start) > 1.0:
            break
        drop = cv.descent_decrease(list(rates.values()), sizes(now), eta)
        assert after.risk <= now.risk - drop + 1e-12 * now.risk
        now = after


def test_descent_bounds_are_attained_by_a_quadratic() -> None:
    """One layer: one step with eta = 1 reaches the minimum."""
    case = scalar_case([2.0], 1.5, -4.0)
    bound = cv.smoothness(case.quantities).value
    for eta in (0.5, 1.0, 1.5):
        after = step(case, {"W1": eta / bound})
        drop = cv.descent_decrease([eta / bound], sizes(case), eta)
        assert 0.98 * (case.risk - after.risk) < drop <= case.risk - after.risk
        norm, rate = float(sizes(case)[0]), eta / bound
        fallen = case.risk - after.risk
        for least, exact in (
            (cv.gradient_bound(fallen, rate, eta), norm),
            (cv.hybrid_gradient_bound(bound, fallen, 1, eta), norm),
            (cv.energy_radius(rate, fallen, eta), rate * norm),
        ):
            assert 0.98 * least < exact <= least * ROUNDING


def test_the_product_bounds_of_12_are_attained() -> None:
    equal = scalar_case([2.0, 2.0]).quantities
    bound = cv.energy_lipschitz_bound(equal, 1.0)
    assert bound == pytest.approx((2 + math.sqrt(0.5)) ** 2)
    ratio = math.hypot(2.0, 3.0)
    for radius in (1e-6, 1e-3):
        found = scalar_case([2.0, 3.0]).quantities
        exact = (2.0 + radius * 3.0 / ratio) * (3.0 + radius * 2.0 / ratio)
        growth = cv.energy_lipschitz_bound(found, radius) - 6.0
        assert 0.98 * growth < exact - 6.0 <= growth * (1 + 1e-6)
    deep = scalar_case([2.0, 2.0, 2.0], output_scale=-0.5).quantities
    exact = 0.5 * (2 + 1 / math.sqrt(3)) ** 3
    assert 0.98 * cv.energy_lipschitz_bound(deep, 1.0) < exact
    np.testing.assert_allclose(cv.energy_lipschitz_bound(deep, [0.0, 1.0]), [4.0, exact])


@pytest.mark.parametrize("seed", range(60))
def test_12_bounds_networks_at_a_joint_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = smooth_case(seed, int(rng.integers(1, 5)))
    radius = float(10.0 ** rng.uniform(-2, 1))
    bound = cv.energy_lipschitz_bound(case.quantities, radius)
    for _ in range(4):
        moves = [rng.normal(size=weight.shape) for weight in case.net.weights]
        if rng.random() < 0.5:
            moves = [weight * rng.random() for weight in case.net.weights]
        size = math.sqrt(sum(float(np.sum(move**2)) for move in moves))
        pairs = zip(case.net.weights, moves, strict=True)
        net = case.net.replace(weights=[w + radius / max(size, 1e-300) * m for w, m in pairs])
        assert rc.lipschitz_product(net) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_the_hybrid_plan(seed: int) -> None:
    """(c): the caps of all modes leave the rate alone, iterates stay in the region."""
    start = now = smooth_case(300 + seed)
    found, eta = start.quantities, 1.0
    G = rc.rate_function("exponential", hold=STEPS, decay_rate=0.1)
    plan = cv.hybrid_plan(found, G.limit, eta)
    radii = rc.budget_radii(found, plan.budgets, G.limit)
    assert all(radius <= plan.radius for radius in radii.values())
    assert plan.smoothness == cv.ball_smoothness(found, math.sqrt(2) * plan.radius * (1 + 2**-44))
    caps = rc.linear_caps(found, plan.budgets, G.schedule(), STEPS, descent=True).caps
    assert all((cap >= plan.rate * (1 - 1e-12)).all() for cap in caps.values())
    smallest = math.inf
    for count in range(1, STEPS + 1):
        smallest = min(smallest, float(np.linalg.norm(sizes(now))))
        now = step(now, dict.fromkeys(found.names, plan.rate))
        fallen = max(start.risk - now.risk, 0.0) + 1e-13 * start.risk
        bound = cv.hybrid_gradient_bound(plan.smoothness, fallen, count, eta)
        assert smallest <= bound * ROUNDING + TINY
        for name, array in now.net.named():
            moved = np.linalg.norm(array - dict(start.net.named())[name])
            assert moved <= radii[name] * ROUNDING + TINY


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seed", range(20))
def test_the_energy_schedule(depth: int, seed: int) -> None:
    """(e), for deep networks too."""
    start = now = smooth_case(400 + seed, depth)
    found = start.quantities
    smooth = partial(cv.ball_smoothness, found)
    if depth > 2:
        samples = rc.measure_samples(start.net, start.X, start.y, start.loss, start.sample_weight)

        def smooth(radius: float) -> float:
            return cv.deep_smoothness(found, samples, [radius] * depth)

    plan = cv.energy_schedule(smooth, found.risk, STEPS)
    assert plan.smoothness == smooth(plan.radius)
    level = 0.5 * STEPS * found.risk / 0.75
    assert plan.radius**2 * plan.smoothness == pytest.approx(level, rel=1e-9)
    assert plan.gradient == pytest.approx(found.risk / 0.75 / plan.radius, rel=1e-9)
    smallest = math.inf
    for _ in range(STEPS):
        smallest = min(smallest, float(np.linalg.norm(sizes(now))))
        now = step(now, dict.fromkeys(found.names, plan.rate))
        assert distance(now, start) <= plan.radius * ROUNDING
        bound = cv.energy_lipschitz_bound(found, plan.radius)
        assert rc.lipschitz_product(now.net) <= bound * (1 + 1e-9)
        assert jacobian_norm(now.net, now.X) <= bound * ROUNDING
    assert smallest <= plan.gradient * ROUNDING + TINY


def test_the_energy_schedule_falls_with_the_fourth_root() -> None:
    found = smooth_case(3, loss="mse").quantities
    smooth = partial(cv.ball_smoothness, found)
    bounds = [cv.energy_schedule(smooth, found.risk, steps).gradient for steps in (10**9, 10**11)]
    assert math.log(bounds[1] / bounds[0]) / math.log(100) == pytest.approx(-0.25, abs=0.01)


@pytest.mark.parametrize("seed", range(60))
def test_weight_decay(seed: int) -> None:
    """(f): norms, Lipschitz constants and gradients of all iterates."""
    rng = np.random.default_rng(seed)
    start = now = smooth_case(500 + seed)
    decay = float(10.0 ** rng.uniform(-2, 1))
    bounds = cv.decay_guarantee(start.quantities, decay)
    origin = start.at(with_groups(start.net, {n: 0.0 * a for n, a in start.net.named()}))

    def penalised(case: Case) -> tuple[float, float]:
        slopes = [case.gradient[name] + decay * array for name, array in case.net.named()]
        gradient = math.sqrt(sum(float(np.sum(slope**2)) for slope in slopes))
        return case.risk + decay / 2 * distance(case, origin) ** 2, gradient

    assert bounds.risk == pytest.approx(penalised(start)[0], rel=1e-9)
    smallest, last = math.inf, math.inf
    for count in range(1, STEPS + 1):
        value, gradient = penalised(now)
        assert value <= last * ROUNDING
        smallest, last = min(smallest, gradient), value
        assert smallest <= bounds.gradient(count) * ROUNDING + TINY
        assert distance(now, origin) <= bounds.radius * ROUNDING
        assert rc.lipschitz_product(now.net) <= bounds.lipschitz * (1 + 1e-9) + TINY
        now = step(now, dict.fromkeys(start.quantities.names, bounds.rate), decay)


@pytest.mark.parametrize("seed", range(10))
def test_stochastic_descent_on_average(seed: int) -> None:
    """Section 11: the exact mean over all sequences of single samples."""
    rng = np.random.default_rng(seed)
    activation = str(rng.choice(SMOOTH))
    net = lipgd.Network.create([2, 3, 1], activation=activation, seed=seed)
    case = Case(net, rng.normal(size=(3, 2)), rng.normal(size=(3, 1)), "mse")
    found, names = case.quantities, case.quantities.names
    radii = dict.fromkeys(names, 0.5)
    deviations = rc.batch_majorants(found, radii, 1)
    largest = max(float(bound) for bound in deviations.values())
    bound = cv.region_smoothness(found, math.sqrt(0.5), math.sqrt(0.5)).value
    rate = min(1 / bound, 0.5 / (2 * largest))
    mean = 0.0
    for rows in itertools.product(range(3), repeat=2):
        now = case
        for row in rows:
            mean += rate * float(np.sum(sizes(now) ** 2)) / 9
            batch = Case(now.net, case.X[[row]], case.y[[row]], "mse")
            now = case.at(step(batch, dict.fromkeys(names, rate)).net)
    most = cv.stochastic_gradient_sum(
        found.risk, bound, np.full((2, len(names)), rate), list(deviations.values())
    )
    assert mean <= most


@pytest.mark.parametrize("seed", range(20))
def test_proximal_descent(seed: int) -> None:
    """Section 11: the gradient mapping of soft-thresholding steps."""
    rng = np.random.default_rng(seed)
    case = random_case(600 + seed, depth=1, loss="mse", activation="relu")
    strength = float(10.0 ** rng.uniform(-2, 1))
    bound = cv.smoothness(case.quantities).value
    now, smallest, first = case, math.inf, None
    if bound == 0.0:
        return
    for count in range(1, STEPS):
        penalty = strength * sum(float(np.abs(a).sum()) for _, a in now.net.named())
        first = first or now.risk + penalty
        parts, square = {}, 0.0
        for name, array in now.net.named():
            moved = array - now.gradient[name] / bound
            parts[name] = np.sign(moved) * np.maximum(np.abs(moved) - strength / bound, 0)
            square += bound**2 * float(np.sum((array - parts[name]) ** 2))
        smallest = min(smallest, math.sqrt(square))
        now = case.at(with_groups(case.net, parts))
        assert smallest <= cv.proximal_gradient_bound(first, count / bound) * ROUNDING


def test_bad_arguments_are_named() -> None:
    found = scalar_case([2.0, 3.0]).quantities
    with pytest.raises(ValueError, match=r"eta is 2, expected .* below 2"):
        cv.gradient_bound(1.0, 1.0, 2)
    with pytest.raises(ValueError, match=r"rates has -1.0, expected numbers at least 0"):
        cv.descent_decrease([-1.0], [1.0], 1.0)
    with pytest.raises(ValueError, match=r"decay is 0.0, expected .* above 0"):
        cv.decay_guarantee(found, 0.0)
    with pytest.raises(ValueError, match=r"steps is 0, expected an integer at least 1"):
        cv.energy_schedule(lambda r: 1.0, 1.0, 0)
    with pytest.raises(ValueError, match=r"quantities is of 1 layers, expected 2"):
        cv.decay_guarantee(scalar_case([2.0]).quantities, 1.0)
    assert cv.gradient_bound(1.0, 0.0, 1.0) == math.inf


def test_the_stochastic_sum_is_attained_on_a_parabola() -> None:
    """``R = S t^2 / 2`` at the rate 1 / S: one step to the noise, which the second step sees."""
    curvature, start, noise = 2.0, 3.0, 1.5
    rate = 1.0 / curvature
    risk = curvature * start**2 / 2.0
    # After the first step t is +-noise / S, each with probability 1/2.
    reached = rate * ((curvature * start) ** 2 + noise**2)
    most = cv.stochastic_gradient_sum(risk, curvature, [[rate], [rate]], [[noise], [0.0]])
    assert reached <= most <= reached * (1 + 1e-9)
    quiet = cv.stochastic_gradient_sum(risk, curvature, [[rate]], [0.0])
    assert rate * (curvature * start) ** 2 <= quiet * (1 + 1e-15)
