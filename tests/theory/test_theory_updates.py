from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from theory_cases import (
    ROUNDING,
    Case,
    random_case,
    random_radii,
    scalar_case,
    with_groups,
    within,
)

import lipgd
from lipgd.theory import rate_constraints as rc

STEPS = 15
TINY = 1e-12
UpdateRule = rc.UpdateRule


@dataclass
class Optimiser:
    """A plain version of the rules; ``form`` is nesterov or polyak, or heavy ball."""

    rule: UpdateRule
    form: str = ""
    state: dict[str, np.ndarray] = field(default_factory=dict)
    second: dict[str, np.ndarray] = field(default_factory=dict)

    def update(self, name: str, gradient: np.ndarray, theta: np.ndarray, step: int) -> np.ndarray:
        rule, decay = self.rule, self.rule.weight_decay.get(name, 0.0)
        if rule.clip_norm is not None:
            size = float(np.linalg.norm(gradient))
            gradient = gradient * min(1.0, rule.clip_norm / max(size, 1e-300))
        gradient = gradient + decay * theta
        if rule.method == "sign":
            return np.sign(gradient)
        if rule.method == "adam":
            beta1, beta2 = rule.decay_rates
            first = beta1 * self.state.get(name, 0.0) + (1 - beta1) * gradient
            second = beta2 * self.second.get(name, 0.0) + (1 - beta2) * gradient**2
            self.state[name], self.second[name] = first, second
            root = np.sqrt(second / (1 - beta2 ** (step + 1)))
            return first / (1 - beta1 ** (step + 1)) / np.maximum(root, 1e-300)
        if not rule.momentum:
            return gradient
        velocity = rule.momentum * self.state.get(name, 0.0) + gradient
        self.state[name] = velocity
        return gradient + rule.momentum * velocity if self.form == "nesterov" else velocity


def batch_of(rng: np.random.Generator, case: Case, rule: UpdateRule) -> np.ndarray:
    n = len(case.X)
    if rule.batch_size is None:
        return np.arange(n)
    return rng.choice(n, rule.batch_size, replace=rule.replacement)


def batch_gradient(case: Case, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The gradient over a batch with weights of mean one over all samples."""
    mean = case.weights[rows].mean()
    part = lipgd.risk_and_gradient(
        case.net, case.X[rows], case.y[rows], case.loss, case.weights[rows]
    )[1]
    return {name: mean * array for name, array in part.named()}


RULES: dict[str, Callable[[np.random.Generator, Case], UpdateRule]] = {
    "gradient": lambda rng, case: UpdateRule(),
    "heavy ball": lambda rng, case: UpdateRule(momentum=rng.uniform(0, 0.95)),
    "nesterov": lambda rng, case: UpdateRule(momentum=rng.uniform(0, 0.95)),
    "clip": lambda rng, case: UpdateRule(clip_norm=0.1, momentum=rng.choice([0.0, 0.9])),
    "sign": lambda rng, case: UpdateRule(method="sign"),
    "adam": lambda rng, case: UpdateRule(method="adam", decay_rates=(0.9, 0.95)),
    "batches": lambda rng, case: UpdateRule(batch_size=int(rng.integers(1, len(case.X) + 1))),
    "replacement": lambda rng, case: UpdateRule(batch_size=3, replacement=True, momentum=0.5),
    "decay": lambda rng, case: UpdateRule(weight_decay=_decays(rng, case)),
    "decay in batches": lambda rng, case: UpdateRule(
        weight_decay=_decays(rng, case), batch_size=int(rng.integers(1, len(case.X) + 1))
    ),
    "decay with momentum": lambda rng, case: UpdateRule(
        weight_decay=_decays(rng, case), momentum=0.8
    ),
    "adam with decay": lambda rng, case: UpdateRule(
        method="adam", weight_decay=_decays(rng, case), decay_rates=(0.5, 0.3)
    ),
    "nuclear": lambda rng, case: UpdateRule(shrinking_prox=True),
    "l1": lambda rng, case: UpdateRule(l1={"W1": 0.3}, momentum=rng.choice([0.0, 0.5])),
}


def _decays(rng: np.random.Generator, case: Case) -> dict[str, float]:
    return {name: float(rng.uniform(0.01, 0.5)) for name in case.quantities.names}


def descend(case: Case, rule: UpdateRule, form: str, caps: rc.CapSchedule, seed: int) -> list[Case]:
    """Steps with capped rates, at most 1 so that decay does not overshoot."""
    rng, optimiser, states = np.random.default_rng(seed), Optimiser(rule, form), [case]
    for step in range(STEPS):
        now, parts = states[-1], {}
        gradient = batch_gradient(now, batch_of(rng, now, rule))
        for name, array in now.net.named():
            rate = min(1.0, caps.caps[name][step])
            update = optimiser.update(name, gradient[name], array, step)
            plain = update - rule.weight_decay.get(name, 0.0) * array if rule.shrinks else update
            assert np.linalg.norm(plain) <= caps.majorants[name][step] * ROUNDING + TINY
            parts[name] = _proximal(array - rate * update, rule, name, rate)
        states.append(case.at(with_groups(case.net, parts)))
    return states


def _proximal(array: np.ndarray, rule: UpdateRule, name: str, rate: float) -> np.ndarray:
    if name in rule.l1:
        return np.sign(array) * np.maximum(np.abs(array) - rate * rule.l1[name], 0.0)
    if rule.shrinking_prox and array.ndim == 2:
        u, s, vt = np.linalg.svd(array, full_matrices=False)
        return (u * np.maximum(s - 0.2 * rate, 0.0)) @ vt
    return array


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("mode", ["linear", "tracked"])
@pytest.mark.parametrize("seed", range(12))
def test_theorem_3_before_training_for_every_rule(kind: str, mode: str, seed: int) -> None:
    """Section 11: updates keep to u_k, and norms to the bound, under a-priori caps."""
    rng = np.random.default_rng([seed, list(RULES).index(kind)])
    bounded = kind.startswith(("decay", "nuclear"))  # the norm-only q needs a bound of the loss
    loss = str(rng.choice(["mse", "huber(1.0)", "logistic"])) if bounded else None
    case = random_case(3000 + 50 * seed + list(RULES).index(kind), largest=5, loss=loss)
    rule, found = RULES[kind](rng, case), case.quantities
    size = len(case.X) * 10.0 ** rng.uniform(-2, 1)
    budgets = {name: float(size * rng.uniform(0.1, 1)) for name in found.names}
    G = rc.rate_function("exponential", hold=4, decay_rate=0.5)
    if mode == "linear":
        caps = rc.linear_caps(found, budgets, G.schedule(), STEPS, rule=rule)
    else:
        caps = rc.tracked_caps(found, budgets, G.schedule(), 1.0, STEPS, rule=rule)
    start = dict(case.net.named())
    form = "nesterov" if kind == "nesterov" else ""
    for step, state in enumerate(descend(case, rule, form, caps, seed)):
        bound = rc.theorem3(found, budgets, G(step))
        assert rc.lipschitz_product(state.net) <= bound * (1 + 1e-9)
        for name, array in state.net.named():
            radius = caps.radii[name][step]
            if not rule.shrinks:
                assert np.linalg.norm(array - start[name]) <= radius * ROUNDING + TINY
            else:
                first = np.linalg.norm(start[name], 2)
                assert np.linalg.norm(array, 2) <= (first + radius) * ROUNDING + TINY


@pytest.mark.parametrize("seed", range(20))
def test_the_polyak_form_keeps_to_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case, mu = random_case(5000 + seed, largest=5), float(rng.uniform(0, 0.9))
    budget = {name: float(len(case.X)) for name in case.quantities.names}
    increments = rc.rate_function("linear", scale=10.0).increments(STEPS)
    start, before, now = dict(case.net.named()), case, case
    for step in range(STEPS):
        parts = {}
        for name, array in now.net.named():
            gradient = now.gradient[name]
            bound = float(np.linalg.norm(gradient)) / (1 - mu)
            rate = min(1e6, rc.cap(budget[name], len(case.X), increments[step], bound))
            parts[name] = array - rate * gradient + mu * (array - dict(before.net.named())[name])
        before, now = now, case.at(with_groups(case.net, parts))
        for name, array in now.net.named():
            spent = np.linalg.norm(array - start[name])
            assert spent <= increments[: step + 1].sum() * ROUNDING + TINY


def test_momentum_without_its_factor_would_exceed_the_budget() -> None:
    """Negative control: no 1 - mu; the cap is attained with it in the long run."""
    mu, case = 0.5, scalar_case([1.0], 1.0, 1e6, loss="huber(1.0)")
    increments = np.ones(60)
    for factor, exceeds in ((1.0, True), (1 / (1 - mu), False)):
        theta = velocity = 0.0
        for increment in increments:
            velocity = mu * velocity + 1.0  # the gradient of a far target
            theta += rc.cap(1.0, 1, increment, factor) * velocity
        assert (theta > increments.sum()) == exceeds
        assert theta > 0.95 * increments.sum()
    rule = UpdateRule(momentum=mu)
    bound = rc.update_bounds(case.quantities, {"W1": 0.0}, rule)["W1"]
    assert 0.98 * bound < velocity * 1.0 <= bound


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("replacement", [False, True])
def test_batch_gradients_keep_to_their_majorants(seed: int, replacement: bool) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(seed, largest=8)
    radii, n = random_radii(rng, case), len(case.X)
    size = int(rng.integers(1, n + 1))
    bounds = rc.batch_majorants(case.quantities, radii, size, replacement=replacement)
    for moved in within(case, radii, rng):
        for _ in range(3):
            rows = rng.choice(n, size, replace=replacement)
            for name, array in batch_gradient(moved, rows).items():
                assert np.linalg.norm(array) <= bounds[name] * ROUNDING + TINY


def test_batch_majorants_are_attained_by_the_largest_sample() -> None:
    case = Case(
        lipgd.Network([[[2.0]], [[3.0]]], None, "identity"),
        np.array([[0.1], [4.0], [-1.0]]),
        np.array([0.0, -50.0, 1.0]),
        "mse",
    )
    bounds = rc.batch_majorants(case.quantities, {"W1": 0.0, "W2": 0.0}, 1)
    exact = batch_gradient(case, np.array([1]))
    for name, bound in bounds.items():
        assert 0.98 * bound < np.linalg.norm(exact[name]) <= bound


def test_batch_majorants_without_the_largest_weight_would_fail() -> None:
    """Maxima over samples that ignore the weights are no bounds for weighted batches."""
    X, y = np.array([[1.0], [1.0]]), np.array([-9.0, -9.0])
    case = Case(lipgd.Network([[[1.0]]]), X, y, "mse", np.array([3.0, 1.0]))
    exact = np.linalg.norm(batch_gradient(case, np.array([0]))["W1"])
    unweighted = Case(case.net, X, y, "mse")
    ignoring = rc.batch_majorants(unweighted.quantities, {"W1": 0.0}, 1)["W1"]
    bound = rc.batch_majorants(case.quantities, {"W1": 0.0}, 1)["W1"]
    assert ignoring < exact <= bound
    assert 0.98 * bound < exact


def test_decay_majorants_are_attained_without_decay() -> None:
    case = scalar_case([2.0, 3.0], 1.5, -5.0, biases=[0.5, 0.25])
    bounds = rc.decay_majorants(case.quantities, dict.fromkeys(case.quantities.names, 0.0))
    for name, bound in bounds.items():
        assert 0.98 * bound < np.linalg.norm(case.gradient[name]) <= bound * ROUNDING


def test_the_reach_would_fail_under_weight_decay() -> None:
    """Decay moves the weights without any data: only norms are bounded."""
    case = scalar_case([2.0], 1.0, -3.0, loss="huber(9.0)")
    decayed = case.at(case.net.replace(weights=[[[-0.0]]]))
    assert abs(decayed.inner_outputs - case.inner_outputs)[0, 0] > 1.0
    assert rc.reach(case.quantities, {"W1": 0.0}).output_shift == 0.0
    rule = UpdateRule(weight_decay={"W1": 0.1})
    met = scalar_case([2.0], 1.0, 2.0, loss="huber(9.0)")  # until the weight decays
    decayed = met.at(met.net.replace(weights=[[[-0.0]]]))
    size = float(np.linalg.norm(decayed.gradient["W1"]))
    assert rc.reach(met.quantities, {"W1": 0.0}).majorants["W1"] < size
    assert rc.update_bounds(met.quantities, {"W1": 0.0}, rule)["W1"] >= size
    assert rule.shrinks
    assert not UpdateRule(weight_decay={"W1": 0.1}, momentum=0.5).shrinks
    assert not UpdateRule(weight_decay={"W1": 0.0}).shrinks


def test_the_pull_of_decay_with_momentum_is_attained() -> None:
    """At a perfect fit velocities are sums of decay alone; tiny rates keep the weights."""
    net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    decay, momentum = {"W1": 0.3, "W2": 0.7}, 0.5
    quantities = rc.measure(net, np.array([[1.0]]), [6.0])
    rule = UpdateRule(momentum=momentum, weight_decay=decay)
    bounds = rc.update_bounds(quantities, {"W1": 0.0, "W2": 0.0}, rule)
    for name, value in (("W1", 3.0), ("W2", 2.0)):
        velocity = 0.0
        for _ in range(60):
            velocity = momentum * velocity + decay[name] * value
        assert velocity <= bounds[name] <= velocity * (1 + 1e-6)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.95), (0.5, 0.3), (0.0, 0.9), (0.3, 0.1)])
def test_the_factor_of_adam_is_attained(betas: tuple[float, float]) -> None:
    beta1, beta2 = betas
    rng = np.random.default_rng(0)
    for t in (1, 2, 5, 20, 60):
        factor = rc.adam_factor(beta1, beta2, t)
        ages = np.arange(t)[::-1]
        worst = np.array([(beta1 / beta2) ** age if beta1 else float(age == 0) for age in ages])
        for gradients in (worst, *rng.normal(size=(20, t)), *rng.standard_cauchy((20, t))):
            optimiser = Optimiser(UpdateRule(method="adam", decay_rates=betas))
            size = 0.0
            for step, gradient in enumerate(gradients):
                size = abs(float(optimiser.update("W1", np.array(gradient), np.array(0.0), step)))
            assert size <= factor * ROUNDING
            if gradients is worst:
                assert size > 0.98 * factor


def test_data_independent_bounds() -> None:
    found = random_case(3, depth=2, loss="mse").quantities
    radii = dict.fromkeys(found.names, math.inf)
    sign = rc.update_bounds(found, radii, UpdateRule(method="sign"))
    adam = rc.update_bounds(found, radii, UpdateRule(method="adam"), step=np.array([0, 9]))
    clip = rc.update_bounds(found, radii, UpdateRule(clip_norm=0.5))
    l1 = rc.update_bounds(found, radii, UpdateRule(clip_norm=0.5, l1={"W2": 2.0}))
    for name, count in found.group_sizes.items():
        root = math.sqrt(count)
        assert sign[name] == pytest.approx(root)
        np.testing.assert_allclose(adam[name], root * rc.adam_factor(0.9, 0.999, [1, 10]))
        assert clip[name] == pytest.approx(0.5)
        assert l1[name] == pytest.approx(0.5 + (2 * root if name == "W2" else 0.0))


@pytest.mark.parametrize("seed", range(30))
def test_soft_thresholding_moves_no_more_than_its_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta, gradient = rng.normal(size=(2, 6, 4))
    rate, strength = 10.0 ** rng.uniform(-3, 1), 10.0 ** rng.uniform(-2, 1)
    moved = _proximal(theta - rate * gradient, UpdateRule(l1={"W1": strength}), "W1", rate)
    most = rate * (np.linalg.norm(gradient) + strength * math.sqrt(24))
    assert np.linalg.norm(moved - theta) <= most * ROUNDING


def test_soft_thresholding_bound_is_attained() -> None:
    theta, gradient = np.full((3, 3), 5.0), np.ones((3, 3))
    moved = _proximal(theta - 0.1 * gradient, UpdateRule(l1={"W1": 2.0}), "W1", 0.1)
    assert np.linalg.norm(moved - theta) > 0.98 * 0.1 * (3.0 + 2.0 * 3.0)


def test_soft_thresholding_can_raise_the_spectral_norm() -> None:
    """Why l1 needs a term of its own: a circulant of a perfect difference set modulo 21."""
    row = np.where(np.isin(np.arange(21), [3, 6, 7, 12, 14]), -16.0, 5.0)
    theta = np.stack([np.roll(row, shift) for shift in range(21)])
    moved = _proximal(theta, UpdateRule(l1={"W1": 5.0}), "W1", 1.0)
    assert np.linalg.norm(theta, 2) == pytest.approx(42.0)
    assert np.linalg.norm(moved, 2) == pytest.approx(55.0)


def test_bad_arguments_are_named() -> None:
    found = scalar_case([2.0]).quantities
    with pytest.raises(ValueError, match=r"beta1 is 0.9, expected its square to be below beta2"):
        rc.adam_factor(0.9, 0.8, 1)
    with pytest.raises(ValueError, match=r"t has 0.0, expected numbers at least 1"):
        rc.adam_factor(0.9, 0.99, 0)
    with pytest.raises(ValueError, match=r"method is 'lion', expected one of gradient, sign, adam"):
        UpdateRule(method="lion")
    with pytest.raises(ValueError, match=r"momentum is 1.0, expected .* below 1"):
        UpdateRule(momentum=1.0)
    with pytest.raises(ValueError, match=r"batch_size is 2, expected an integer .* at most 1"):
        rc.batch_majorants(found, {"W1": 0.0}, 2)
    with pytest.raises(ValueError, match=r"clip_norm is 0.0, expected a finite number above 0"):
        UpdateRule(clip_norm=0.0)
    with pytest.raises(ValueError, match=r"l1 has 'b7', expected names among W1"):
        rc.update_bounds(found, {"W1": 0.0}, UpdateRule(l1={"b7": 1.0}))
