from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from theory_cases import random_case, scalar_case

from lipgd.theory import rate_constraints as rc
from lipgd.theory.rate_constraints import Quantities


def two_layers(seed: int, lipschitz_loss: bool = True) -> Quantities:
    rng = np.random.default_rng(seed)
    loss = str(rng.choice(["huber(1.0)", "logistic"])) if lipschitz_loss else "mse"
    return random_case(seed, depth=2, loss=loss, largest=6).quantities


def unlimited(found: Quantities) -> Quantities:
    """The same with q = omega and without a bound of the features, as (8) and (9) have it."""
    activation = replace(found.activation, supremum=math.inf)
    return replace(found, activation=activation, loss_gradient=1e9 * found.loss_lipschitz + 1e9)


def test_observed_budgets() -> None:
    budgets = rc.observed_budgets({"W1": [1.0, 3.0, 2.0], "b1": []}, 0.5, 4)
    assert budgets["W1"] == pytest.approx(6.0)
    assert budgets["b1"] == 0.0
    assert rc.cap(budgets["W1"], 4, 1.0, 3.0) >= 0.5
    assert rc.cap(0.98 * budgets["W1"], 4, 1.0, 3.0) < 0.5


@pytest.mark.parametrize("seed", range(60))
def test_tracked_budgets_do_not_bind_and_are_the_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = random_case(seed).quantities
    rate, hold = float(10.0 ** rng.uniform(-4, -1)), int(rng.integers(1, 12))
    budgets = rc.tracked_budgets(found, rate, hold)
    if not all(map(math.isfinite, budgets.values())):
        return
    caps = rc.tracked_caps(found, budgets, 1.0, rate, hold).caps
    assert all((cap >= rate).all() for cap in caps.values())
    for name in found.names:
        if budgets[name] == 0.0:
            continue
        less = rc.tracked_caps(found, {**budgets, name: 0.98 * budgets[name]}, 1.0, rate, hold)
        assert (less.caps[name] < rate).any()


@pytest.mark.parametrize("seed", range(80))
def test_the_closed_form_is_the_recursion(seed: int) -> None:
    """(8) equals the tracked budgets where q is omega, and is no less elsewhere."""
    rng = np.random.default_rng(seed)
    found, hold = two_layers(seed), int(rng.integers(1, 40))
    rate = float(10.0 ** rng.uniform(-5, -2))
    budgets = rc.tracked_budgets_closed_form(found, rate, hold)
    exact = rc.tracked_budgets(unlimited(found), rate, hold, joint=False)
    least = rc.tracked_budgets(found, rate, hold)
    for name, budget in budgets.items():
        assert budget == pytest.approx(exact[name], rel=1e-9)
        assert budget >= exact[name] * (1 - 1e-12)
        assert budget >= least[name] * (1 - 1e-12)


def test_the_closed_form_in_the_descent_regime() -> None:
    found = two_layers(3, lipschitz_loss=False)
    budgets = rc.tracked_budgets_closed_form(found, 1e-3, 9, descent=True)
    least = rc.tracked_budgets(found, 1e-3, 9, descent=True)
    assert all(budgets[name] >= least[name] * (1 - 1e-12) for name in found.names)
    with pytest.raises(ValueError, match=r"quantities is of a loss that is not Lipschitz"):
        rc.tracked_budgets_closed_form(found, 1e-3, 9)
    with pytest.raises(ValueError, match=r"quantities is of unknown risk"):
        rc.linear_budgets(rc.norm_only(found), 1e-3, 9, descent=True)
    with pytest.raises(ValueError, match=r"quantities is of 3 layers, expected 2"):
        deep = random_case(0, depth=3, loss="huber(1.0)").quantities
        rc.linear_feasibility(deep, 1e-3, 9)


def test_the_closed_form_at_extreme_rates() -> None:
    found = unlimited(two_layers(5))
    for rate in (1e-14, 1e-9, 1e-7, 10.0):
        budgets = rc.tracked_budgets_closed_form(found, rate, 6)
        exact = rc.tracked_budgets(found, rate, 6, joint=False)
        assert budgets == pytest.approx(exact, rel=1e-10)
        assert all(budgets[name] >= exact[name] * (1 - 1e-13) for name in exact)
    assert rc.tracked_budgets_closed_form(found, 10.0, 10_000)["W1"] == math.inf


def test_inputs_of_zero_are_legal() -> None:
    found = scalar_case([2.0, 3.0], 0.0, loss="huber(1.0)", activation="sigmoid").quantities
    budgets = rc.tracked_budgets_closed_form(found, 0.1, 4)
    least = rc.tracked_budgets(unlimited(found), 0.1, 4, joint=False)
    assert budgets == pytest.approx(least, rel=1e-9)
    assert rc.linear_feasibility(found, 0.1, 100) < 1.0


def linear_radii(found: Quantities, budgets: dict[str, float], hold: int) -> dict[str, float]:
    return {name: budget / found.n_samples * (hold - 1) for name, budget in budgets.items()}


@pytest.mark.parametrize("seed", range(80))
def test_linear_budgets_do_not_bind_and_are_the_least(seed: int) -> None:
    """(9): x = rate M(x n) at the solution."""
    rng = np.random.default_rng(seed)
    found, hold = unlimited(two_layers(seed)), int(rng.integers(1, 40))
    if min(found.weight_norms) == 0.0:
        return
    unit = rc.linear_feasibility(found, 1.0, hold)
    rate = float(rng.uniform(0.01, 0.999)) / unit if unit else 0.1
    budgets = rc.linear_budgets(found, rate, hold)
    caps = rc.linear_caps(found, budgets, 1.0, hold, joint=False).caps
    assert all((cap >= rate).all() for cap in caps.values())
    majorants = rc.reach(found, linear_radii(found, budgets, hold), joint=False).majorants
    for name, budget in budgets.items():
        exact = found.n_samples * rate * float(majorants[name])
        assert budget == pytest.approx(exact, rel=1e-8)
        assert budget >= exact * (1 - 1e-12)
    if hold > 1:
        fewer = {name: 0.98 * budget for name, budget in budgets.items()}
        less = rc.linear_caps(found, fewer, 1.0, hold, joint=False).caps
        assert any((cap < rate).any() for cap in less.values())


@pytest.mark.parametrize("seed", range(30))
def test_from_kappa_1_on_no_budgets_unbind_the_linear_caps(seed: int) -> None:
    """Negative control: "some C un-binds the linear caps"."""
    rng = np.random.default_rng(seed)
    found, hold = unlimited(two_layers(seed)), int(rng.integers(2, 30))
    found = replace(found, weight_norms=tuple(max(w, 0.1) for w in found.weight_norms))
    rate = float(rng.uniform(1.0, 3.0)) / rc.linear_feasibility(found, 1.0, hold)
    assert rc.linear_feasibility(found, rate, hold) >= 1.0
    for _ in range(50):
        budgets = {name: float(10.0 ** rng.uniform(-3, 12)) for name in found.names}
        caps = rc.linear_caps(found, budgets, 1.0, hold, joint=False).caps
        assert any((cap < rate).any() for cap in caps.values())
    with pytest.raises(
        ValueError, match=r"rate is .* \(kappa = .*\), expected below .*: no budgets"
    ):
        rc.linear_budgets(found, rate, hold)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("split", ["proportional", "equal_cap"])
def test_budgets_meet_the_target_from_below(seed: int, split: str) -> None:
    """6.2, for any depth: the bound of Theorem 3 is the target."""
    rng = np.random.default_rng(seed)
    found = random_case(seed).quantities
    if 0.0 in found.weight_norms:
        return
    total = float(10.0 ** rng.uniform(-1, 3))
    now = rc.theorem3(found, {}, 0.0)
    limit = float(now * (1.0 + 10.0 ** rng.uniform(-6, 2)))
    majorants = {f"W{i}": float(rng.uniform(0.1, 9)) for i in range(1, found.depth + 1)}
    budgets = rc.target_budgets(found, limit, total, split=split, majorants=majorants)
    bound = rc.theorem3(found, budgets, total)
    assert bound <= limit
    assert bound == pytest.approx(limit, rel=1e-10)
    more = {name: 1.02 * budget for name, budget in budgets.items()}
    assert rc.theorem3(found, more, total) > limit
    radii = rc.budget_radii(found, budgets, total)
    sizes = majorants.values() if split == "equal_cap" else found.weight_norms
    shares = [radii[f"W{i}"] / size for i, size in enumerate(sizes, 1)]
    assert max(shares) == pytest.approx(min(shares), rel=1e-9)


@pytest.mark.parametrize("seed", range(60))
def test_budgets_from_the_sharper_start(seed: int) -> None:
    """6.2 with (3+): feasible down to K_0, below the product bound."""
    rng = np.random.default_rng(seed)
    case = random_case(seed, depth=2, activation="relu", largest=8)
    found, start = case.quantities, rc.slope_box_bound(case.net)
    if start < 1e-9:
        return
    limit = float(start * (1.0 + 10.0 ** rng.uniform(-3, 1)))
    budgets = rc.target_budgets(found, limit, 10.0, start=start)
    bound = rc.drift_bound(found, rc.budget_radii(found, budgets, 10.0), start)
    assert bound <= limit * (1 + 1e-12)
    assert bound == pytest.approx(limit, rel=1e-9)
    assert rc.theorem3(found, budgets, 10.0, start=start) <= limit * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_the_splits_are_optimal(seed: int) -> None:
    """The proportional split maximises rho_W rho_B, the equal-cap split min rho_k / m_k."""
    rng = np.random.default_rng(seed)
    w, b = rng.uniform(0.1, 5, 2)
    product = float(w * b * rng.uniform(1.1, 9))
    m_w, m_b = rng.uniform(0.1, 5, 2)
    first = rc.proportional_split([w, b], product)
    second = rc.equal_cap_split([w, b], [m_w, m_b], product)
    grid = np.linspace(0.0, product / b - w, 2001)
    other = product / (w + grid) - b
    assert (grid * other).max() <= first.prod() * (1 + 1e-9)
    assert np.minimum(grid / m_w, other / m_b).max() <= min(second / [m_w, m_b]) * (1 + 1e-9)
    for radii in (first, second):
        assert (w + radii[0]) * (b + radii[1]) <= product
        assert (w + radii[0]) * (b + radii[1]) == pytest.approx(product, rel=1e-11)
    root = math.sqrt((w * m_b - b * m_w) ** 2 + 4 * m_w * m_b * product)
    t = 2 * (product - w * b) / ((w * m_b + b * m_w) + root)
    assert second[0] == pytest.approx(t * m_w, rel=1e-9)


@pytest.mark.parametrize("theta", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(20))
def test_rescaling_makes_a_target_feasible(theta: float, seed: int) -> None:
    case = random_case(seed)
    found = case.quantities
    if 0.0 in found.weight_norms:
        return
    limit = 0.1 * float(rc.theorem3(found, {}, 0.0))
    with pytest.raises(ValueError, match=r"limit is .*, but the initial network has .*"):
        rc.target_budgets(found, limit, 1.0)
    factor = rc.rescaling(found, limit, theta)
    net = case.net.replace(weights=[factor * weight for weight in case.net.weights])
    assert rc.lipschitz_product(net) == pytest.approx(theta * limit, rel=1e-8)
    budgets = rc.target_budgets(case.at(net).quantities, limit, 1.0)
    grown = [1 + budgets[f"W{i}"] / len(case.X) / n for i, n in _norms(net)]
    assert grown == pytest.approx([theta ** (-1 / case.net.depth)] * len(grown), rel=1e-6)


@pytest.mark.parametrize("seed", range(25))
def test_the_largest_uncapped_rate(seed: int) -> None:
    """6.4: at the rate the bound is the target, and tracked caps do not bind."""
    found = random_case(seed, largest=5).quantities
    majorants = rc.gradient_majorants(found)
    if 0.0 in found.weight_norms or max(m for n, m in majorants.items() if n[0] == "W") < 1e-100:
        return
    hold, total = 5, 9.0
    limit = 3.0 * float(rc.theorem3(found, {}, 0.0))
    rate, budgets = rc.largest_uncapped_rate(found, limit, hold, total)
    assert rc.theorem3(found, budgets, total) <= limit
    assert rc.theorem3(found, budgets, total) == pytest.approx(limit, rel=1e-6)
    caps = rc.tracked_caps(found, budgets, 1.0, rate, hold).caps
    assert all((cap >= rate).all() for cap in caps.values())
    over = rc.tracked_budgets(found, 1.02 * rate, hold)
    assert rc.theorem3(found, over, total) > limit


@pytest.mark.parametrize("seed", range(60))
def test_controller_steps_are_safe(seed: int) -> None:
    """6.5: norms along the step stay within the product, and chord >= conservative."""
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(1, 5))
    layers = [rng.normal(size=(4, 4)) for _ in range(depth)]
    moves = [rng.normal(size=(4, 4)) for _ in range(depth)]
    norms = [float(np.linalg.norm(a, 2)) for a in layers]
    slopes = [float(np.linalg.norm(a, 2)) for a in moves]
    product = math.prod(norms) * float(1 + 10.0 ** rng.uniform(-3, 1))
    largest = float(10.0 ** rng.uniform(-2, 2))

    def at(rate: float) -> float:
        pairs = zip(layers, moves, strict=True)
        return math.prod(float(np.linalg.norm(a - rate * g, 2)) for a, g in pairs)

    conservative = rc.conservative_step(norms, slopes, product)
    exact = math.prod(n + conservative * m for n, m in zip(norms, slopes, strict=True))
    assert exact <= product
    assert exact == pytest.approx(product, rel=1e-9)
    end = [float(np.linalg.norm(a - largest * g, 2)) for a, g in zip(layers, moves, strict=True)]
    share = rc.chord_step(norms, end, product)
    assert 0.0 <= share <= 1.0
    assert share * largest >= min(conservative, largest) * (1 - 1e-9)
    for part in np.linspace(0, share, 9):
        assert at(part * largest) <= product * (1 + 1e-12)
    if share < 1.0:
        beyond = min(1.0, 1.02 * share)
        chord = [(1 - beyond) * u + beyond * v for u, v in zip(norms, end, strict=True)]
        assert math.prod(chord) > product


def test_a_chord_step_at_the_limit_may_shrink() -> None:
    assert rc.chord_step([2.0, 3.0], [1.0, 3.5], 6.0) == 1.0
    assert rc.chord_step([2.0, 3.0], [2.0, 3.0], 6.0) == 1.0
    assert rc.chord_step([2.0, 3.0], [3.0, 3.0], 6.0) == 0.0
    assert rc.chord_step([2.0, 3.0], [0.0, 9.0], 6.0) == 0.0  # it first rises


def test_bad_arguments_are_named() -> None:
    found = scalar_case([2.0, 3.0]).quantities
    with pytest.raises(ValueError, match=r"limit is 5.0, but the initial network has 6, expected"):
        rc.target_budgets(found, 5.0, 1.0)
    with pytest.raises(ValueError, match=r"majorants is missing, but the split equal_cap takes"):
        rc.target_budgets(found, 9.0, 1.0, split="equal_cap")
    with pytest.raises(ValueError, match=r"majorants has no 'W2', expected one for each of"):
        rc.target_budgets(found, 9.0, 1.0, split="equal_cap", majorants={"W1": 1.0})
    with pytest.raises(ValueError, match=r"product is 5.0, expected at least 6.0, that of norms"):
        rc.proportional_split([2.0, 3.0], 5.0)
    with pytest.raises(ValueError, match=r"norms is \[0.0\], expected numbers above 0"):
        rc.proportional_split([0.0], 5.0)
    with pytest.raises(ValueError, match=r"limit is 6.0, expected above the bound"):
        rc.largest_uncapped_rate(found, 6.0, 3, 9.0)
    with pytest.raises(ValueError, match=r"total is 2.0, expected a finite number at least 3"):
        rc.largest_uncapped_rate(found, 9.0, 3, 2.0)
    with pytest.raises(ValueError, match=r"theta is 0.0, expected .* above 0"):
        rc.rescaling(found, 9.0, 0.0)
    silent = scalar_case([2.0, 3.0], output_scale=0.0).quantities
    with pytest.raises(ValueError, match=r"output_scale 0, expected another scale"):
        rc.target_budgets(silent, 9.0, 1.0)
    with pytest.raises(ValueError, match=r"quantities is of a constant network"):
        rc.rescaling(silent, 9.0)
    with pytest.raises(ValueError, match=r"end has 1 norms, but start has 2"):
        rc.chord_step([2.0, 3.0], [1.0], 7.0)


def _norms(net):  # type: ignore[no-untyped-def]
    return enumerate((float(np.linalg.norm(weight, 2)) for weight in net.weights), 1)
