"""Theorems 1 and 2, Lemma 2, Proposition 1, and examples in which their constants are sharp."""

from __future__ import annotations

import math
from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from stepsize_cases import Model, fitted, random_model

import lipgd
from lipgd.theory import large_stepsize as ls


def rises(before: float, after: float) -> bool:
    return after > before + 1e-12 * (1 + abs(before))


def test_lemma_2_and_theorem_1_for_single_steps():
    rng = np.random.default_rng(0)
    applied = 0
    for _ in range(2500):
        model = random_model(rng)
        if rng.integers(2):
            model = fitted(model, 0.3, 20)
        sharpness = ls.sharpness_bound(model.constants, model.mean_slope)
        length = float(np.linalg.norm(model.gradient))
        assert length <= model.constants.gradient_bound * model.mean_slope * (1 + 1e-10)
        eta = 2.0 / sharpness * rng.choice([0.01, 0.5, 0.999, 1.5])
        after = model.step(eta)
        d = 0.5 * eta * sharpness
        bound = ls.step_bound(model.risk, length, eta, d)
        assert (bound == math.inf) == (d > 1)
        assert after.risk <= bound * (1 + 1e-11)
        applied += d <= 1
        # Any displacement with enough descent, of any length.
        turned = rng.normal(0, 1, len(model.w)) * rng.choice([0.0, 0.3, 1.0]) * length
        move = turned / math.sqrt(len(model.w)) - model.gradient
        move *= rng.choice([1e-3, 1.0, 30.0]) / (sharpness + 1e-300)
        moved = float(np.linalg.norm(move))
        if moved:
            multiplier = -float(model.gradient @ move) / moved**2
            if multiplier >= 0:
                bound = ls.displacement_bound(model.risk, sharpness, multiplier, moved)
                assert model.at(model.w + move).risk <= bound * (1 + 1e-11)
    assert applied > 1500


def test_the_hessian_of_the_risk_is_within_the_sharpness_bound():
    rng = np.random.default_rng(1)
    for _ in range(1500):
        model = replace(random_model(rng), frozen=("W2", "b2"))
        model = Model(model.net.replace(biases=None), model.X, model.y)
        p, J, n = model.slopes, model.jacobian, len(model.X)
        H = (J.T * (p * (1 - p))) @ J / n
        H -= sum(p[i] * model.y[i] * model.hessian(i) for i in range(n)) / n
        bound = ls.sharpness_bound(model.constants, model.mean_slope)
        assert np.abs(np.linalg.eigvalsh(H)).max() <= bound * (1 + 1e-10)
        total = model.constants.gradient_bound**2 + model.constants.curvature_bound
        assert bound <= total * model.risk * (1 + 1e-10)


@pytest.mark.parametrize("theorem", ["stability", "spectral_stability"])
def test_a_certificate_is_kept_for_ever(theorem):
    rng = np.random.default_rng(2)
    measure = getattr(ls, theorem)
    certified = 0
    for _ in range(200):
        start = fitted(random_model(rng), 0.2, 30)
        largest = (
            ls.monotone_stepsize(start.constants, start.log_risk)
            if theorem == "stability"
            else ls.spectral_stepsize(start.constants, start.log_risk)
        )
        eta = largest * rng.choice([0.3, 1.0, 3.0]) if math.isfinite(largest) else 1.0
        before, holds = None, False
        for model in start.path(eta, 25):
            now = measure(model.constants, eta, model.log_risk)
            if holds:
                assert not rises(before, model.log_risk)
                assert now <= 1.0 + 1e-12
            holds = holds or now <= 1.0
            certified += holds
            before = model.log_risk
    assert certified > 1500


def test_largest_stepsizes_are_certified_and_no_larger_ones():
    rng = np.random.default_rng(3)
    for _ in range(500):
        model = random_model(rng)
        log_l = float(rng.choice([model.log_risk, math.inf, -5.0, -300.0]))
        found = model.constants
        for largest, measure in (
            (ls.monotone_stepsize(found, log_l), ls.stability),
            (ls.spectral_stepsize(found, log_l), ls.spectral_stability),
        ):
            assert measure(found, largest, log_l) <= 1.0
            assert measure(found, largest * (1 + 1e-9), log_l) > 1.0
        eta = ls.monotone_stepsize(found) * rng.choice([0.5, 1.1, 3.0, 1e4])
        risk = ls.stable_risk(found, eta)
        if math.isfinite(risk):
            assert ls.stability(found, eta, math.log(risk)) <= 1.0
            assert ls.stability(found, eta, math.log(risk * (1 + 1e-6))) > 1.0
            assert risk / ls.paper_risk(found, eta) >= 1.99 or risk > 0.1
            sufficient = 2.0 / (eta * (found.gradient_bound**2 + found.curvature_bound))
            assert risk >= sufficient * (1 - 1e-9)
        else:
            assert ls.stability(found, eta, math.inf) <= 1.0 + 1e-12
        assert ls.stability(found, eta, math.log(ls.paper_risk(found, eta))) <= 0.5 + 1e-9


def tight_pair(asymmetry: float) -> Model:
    """Two unit inputs that nearly oppose each other, with slopes G (1 +- c) and tiny G."""
    theta, q = 1e-4, 40.0
    X = np.array([[math.sin(theta), math.cos(theta)], [math.sin(theta), -math.cos(theta)]])
    # The margins differ by log((1 + c) / (1 - c)).
    shift = -math.atanh(asymmetry) / math.cos(theta)
    net = lipgd.Network([[[q / math.sin(theta), shift]], [[1.0]]], activation="identity")
    return Model(net, X, np.ones(2))


@pytest.mark.parametrize(("level", "rose"), [(0.99, False), (1.01, True)])
def test_the_constant_2_cannot_be_enlarged(level, rose):
    outcomes = []
    for c in (0.3, 0.1, 0.03):
        model = tight_pair(c)
        eta = level * ls.monotone_stepsize(model.constants, model.log_risk)
        assert ls.stability(model.constants, eta, model.log_risk) == pytest.approx(level)
        growth = model.step(eta).log_risk - model.log_risk
        h = eta * model.constants.gradient_bound**2 * model.mean_slope
        assert math.exp(growth) == pytest.approx(ls.tight_growth(c, h), abs=1e-6)
        outcomes.append(growth > 0)
    assert any(outcomes) == rose


@pytest.mark.parametrize(("level", "rose"), [(0.99, False), (1.01, True)])
def test_the_part_of_the_curvature_is_sharp(level, rose):
    # sin with short waves of height beta / k^2: nothing but curvature is left.
    k, delta = 3000.0, 1e-6
    net = lipgd.Network([[[(math.pi / 2 + delta) / k]], [[1.0]]], None, "sin", 1.0 / k**2)
    model = Model(net, np.array([[k]]), np.ones(1))
    eta = level * ls.monotone_stepsize(model.constants, model.log_risk)
    before, after = (at.w[0] * k - math.pi / 2 for at in (model, model.step(eta)))
    assert (abs(after) > abs(before)) == rose


@pytest.mark.parametrize(("level", "rose"), [(0.99, False), (1.01, True)])
def test_one_quarter_is_sharp(level, rose):
    net = lipgd.Network([[[1e-6]], [[1.0]]], activation="identity")
    model = Model(net, np.array([[2.0], [2.0]]), np.array([1.0, -1.0]))
    eta = level * ls.monotone_stepsize(model.constants)
    after = model.step(eta)
    assert (abs(after.w[0]) > abs(model.w[0])) == rose
    assert ls.stable_risk(model.constants, eta) == (
        math.inf if not rose else pytest.approx(0.2855, abs=0.01)
    )


@pytest.mark.parametrize(("level", "rose"), [(0.99, False), (1.01, True)])
def test_theorem_2_is_sharp_for_orthogonal_inputs(level, rose):
    # Both parts: b) at zero, where slopes are a half, and a) where they are tiny.
    net = lipgd.Network([[[1e-6, 0.0]], [[1.0]]], activation="identity")
    X = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    model = Model(net, X, np.array([1.0, -1.0, 1.0, -1.0]))
    eta = level * ls.spectral_stepsize(model.constants)
    assert eta == pytest.approx(level * 2 * ls.monotone_stepsize(model.constants))
    assert (abs(model.step(eta).w[0]) > 1e-6) == rose


def test_proposition_1_and_its_sharp_case():
    rng = np.random.default_rng(4)
    for _ in range(2000):
        model = random_model(rng)
        eta = 10.0 ** rng.uniform(-2, 2)
        after = model.step(eta).log_risk
        length = float(np.linalg.norm(model.gradient))
        floor = ls.log_step_floor(model.log_risk, model.constants, eta, length)
        assert after >= floor - 1e-11 * (1 + abs(after))
        slope = model.constants.gradient_bound * model.mean_slope
        assert floor >= ls.log_step_floor(model.log_risk, model.constants, eta, slope) - 1e-9
    net = lipgd.Network([[[30.0]], [[1.0]]], activation="identity")
    model = Model(net, np.ones((1, 1)), np.ones(1))
    eta = 0.5 / model.mean_slope
    fall = model.step(eta).log_risk - model.log_risk
    floor = ls.log_step_floor(0.0, model.constants, eta, abs(model.gradient[0]))
    assert floor == pytest.approx(fall, rel=1e-6)


@pytest.mark.parametrize("ceiling", [1e-3, 0.3, 1.0, 3.0])
def test_one_step_reaches_the_floor_of_proposition_1(ceiling):
    """Where p is nearly the loss, L(w_1) = L(w_0) e^-c, so that the constant is sharp."""
    net = lipgd.Network([[[30.0]], [[1.0]]], activation="identity")
    model = Model(net, np.ones((1, 1)), np.ones(1))
    eta = ceiling / model.risk
    floor = ls.log_risk_floor(model.log_risk, model.constants, eta, 1, ceiling)
    assert model.step(eta).log_risk == pytest.approx(floor, abs=1e-9)


def test_floors_have_their_digits():
    rng = np.random.default_rng(6)
    for _ in range(200):
        found, T = random_model(rng).constants, int(rng.integers(1, 10**6))
        eta, log_risk = float(10.0 ** rng.uniform(-3, 4)), float(rng.uniform(-40, 2))
        scale, start = mp.mpf(eta) * mp.mpf(found.gradient_bound) ** 2, mp.exp(-mp.mpf(log_risk))
        c = mp.mpf(float(rng.uniform(0.01, 5)))
        floor = ls.log_risk_floor(log_risk, found, eta, T, float(c))
        exact = -mp.log(start + scale * mp.expm1(c) / c * T)
        assert floor == pytest.approx(float(exact), rel=1e-12, abs=1e-12)
        first = max(start, scale * mp.exp(scale * -mp.expm1(-1 / start)))
        floor = ls.log_monotone_risk_floor(log_risk, found, eta, T)
        exact = -mp.log(first + (mp.e - 1) * scale * T)
        assert floor == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


def test_risks_that_underflow_do_not_make_every_stepsize_stable():
    net = lipgd.Network([[[1.0]], [[1.0]]], activation="softplus")
    found = ls.constants(net, [[1e12]])
    for log_risk in (-740.0, -800.0, -1e300, -math.inf):
        for largest in (ls.monotone_stepsize, ls.spectral_stepsize):
            assert math.isfinite(largest(found, log_risk))
        assert ls.stability(found, 1e308, log_risk) > 0.0
    constant = ls.constants(lipgd.Network([[[1.0]], [[0.0]]], activation="softplus"), [[1.0]])
    assert ls.monotone_stepsize(constant, -800.0) == math.inf == ls.spectral_stepsize(constant)


def test_risks_do_not_fall_faster_than_proposition_1():
    rng = np.random.default_rng(5)
    monotone = 0
    for _ in range(300):
        start = random_model(rng)
        square = start.constants.gradient_bound**2
        eta = 10.0 ** rng.uniform(-2, 1) / square
        logs = np.array([model.log_risk for model in start.path(eta, 20)])
        ceiling = float(eta * square * np.exp(logs[:-1].max()))
        steps = np.arange(21)
        floor = ls.log_risk_floor(logs[0], start.constants, eta, steps, ceiling)
        assert (logs >= floor - 1e-10 * (1 + np.abs(logs))).all()
        until = int(np.argmax(np.append(np.diff(logs) > 0, True)))
        floor = ls.log_monotone_risk_floor(logs[0], start.constants, eta, steps[: until + 1])
        assert (logs[: until + 1] >= floor - 1e-10 * (1 + np.abs(logs[: until + 1]))).all()
        monotone += until
    assert monotone > 2000


def test_monotone_runs_are_slow_on_the_example():
    gamma = 0.1
    X = np.array([[gamma, math.sqrt(1 - gamma**2)], [gamma, -0.5 * math.sqrt(1 - gamma**2)]])
    activation = lipgd.activations.get("leaky(softplus, 0.5)")
    alpha, slope = activation.slope_range[0], float(activation.slope(0.0))
    limit = ls.monotone_example(gamma, activation.lipschitz, alpha, slope)
    outer = np.resize([1.0, -1.0], (1, 6))
    for size in (0.02, 0.1, 0.5, 1.0, 1.001, 4.0):
        net = lipgd.Network([np.zeros((6, 2)), outer], None, activation, 1 / 6)
        model = Model(net, X, np.ones(2))
        eta = size * limit / (activation.lipschitz**2 / 6)
        assert size <= 1.0 or model.step(eta).log_risk > model.log_risk
