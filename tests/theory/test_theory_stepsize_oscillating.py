"""Theorems 5 to 7 on separable data, against runs and against their formulas in many digits."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from stepsize_cases import Model, separable_model

import lipgd
from lipgd.theory import large_stepsize as ls


def margin_of(model: Model, v: np.ndarray) -> float:
    return float((model.y * (model.X @ v)).min() / np.linalg.norm(v))


def reference(model: Model, v: np.ndarray) -> np.ndarray:
    """The unit vector of section 5 in the order of w, with zeros for what it does not move."""
    parts = ls.comparator(model.net, v)
    table = dict(model.net.named())
    return np.concatenate([np.ravel(parts.get(n, np.zeros(table[n].shape))) for n in model.names])


def test_the_reference_direction_raises_every_margin():
    rng = np.random.default_rng(0)
    for _ in range(1500):
        model, v = separable_model(rng)
        rate = ls.separation_rate(model.constants, margin_of(model, v))
        direction = reference(model, v)
        assert np.linalg.norm(direction) == pytest.approx(1.0, rel=1e-12)
        assert (model.y * (model.jacobian @ direction)).min() >= rate * (1 - 1e-10)
        assert -float(model.gradient @ direction) >= rate * model.mean_slope * (1 - 1e-10)
    net = lipgd.Network([[[1.0, 2.0]] * 3, [[1.0, -1.0, 1.0]]], activation="identity")
    model = Model(net, np.array([[0.3, 0.4]]), np.ones(1))
    rate = ls.separation_rate(model.constants, 0.5)
    direction = reference(model, np.array([0.3, 0.4]))
    assert float((model.jacobian @ direction)[0]) == pytest.approx(rate, rel=1e-10)


def test_theorems_5_and_6_on_hundreds_of_runs():
    rng = np.random.default_rng(1)
    for _ in range(250):
        model, v = separable_model(rng)
        found, direction = model.constants, reference(model, v)
        rate = ls.separation_rate(found, margin_of(model, v))
        eta = 10.0 ** rng.uniform(-2, 3) / found.gradient_bound**2
        steps = np.arange(1, 41)
        path = list(model.path(eta, 40))
        risks = np.array([here.risk for here in path])
        slopes = np.array([here.mean_slope for here in path])
        average = np.cumsum(risks[:-1]) / steps
        aligned = float(model.w @ direction)
        best = ls.average_risk_bound(found, rate, eta, steps, model.norm, aligned)
        assert (average <= best * (1 + 1e-9)).all()
        for reach in (0.0, 1.0, 30.0):
            bound = ls.average_risk_bound(found, rate, eta, steps, model.norm, aligned, reach)
            assert (best <= bound * (1 + 1e-6)).all()
            # With the last square the bound is sharper.
            far = reach / rate + eta * found.gradient_bound**2 / (2 * rate)
            ends = np.array([np.linalg.norm(here.w - far * direction) for here in path[1:]])
            room = 1e-9 * (bound + ends**2 / (2 * eta * steps))
            assert (average <= bound - ends**2 / (2 * eta * steps) + room).all()
        mean = np.cumsum(slopes[:-1]) / steps
        bound = ls.average_slope_bound(found, rate, eta, steps, model.norm)
        assert (mean <= bound * (1 + 1e-9)).all()


def easy_model(rng: np.random.Generator, n: int = 3) -> tuple[Model, float, np.ndarray]:
    """Data of a large margin, on which the transition is near."""
    v = np.array([1.0, 0.0])
    y = rng.choice([-1.0, 1.0], n)
    X = np.column_stack([y * rng.uniform(0.8, 1.0, n), rng.uniform(-0.2, 0.2, n)])
    m = int(rng.integers(1, 5))
    name = str(rng.choice(["identity", "leaky(softplus, 0.7)", "leaky(gelu, 0.8)"]))
    net = lipgd.Network(
        [rng.normal(0, 0.5, (m, 2)), rng.choice([-1.0, 1.0], (1, m))], None, name, 1.0 / m
    )
    model = Model(net, X, y)
    return model, ls.separation_rate(model.constants, margin_of(model, v)), v


def test_the_transition_comes_in_time_and_the_risk_falls_as_promised():
    rng = np.random.default_rng(2)
    for _ in range(40):
        model, rate, _ = easy_model(rng)
        found, n = model.constants, len(model.X)
        eta = float(rng.choice([0.5, 5.0, 50.0])) / found.gradient_bound**2
        tau = ls.transition_time(found, rate, eta, model.norm)
        last = math.ceil(tau)
        path = list(model.path(eta, min(last + 60, 1500)))
        level = ls.transition_slope(found, eta)
        slopes = np.array([here.mean_slope for here in path])
        logs = np.array([here.log_risk for here in path])
        s = int(np.argmax(slopes <= level))
        assert slopes[s] <= level and s < last
        assert logs[s] <= math.log(2 * math.log(2) * slopes[s]) + 1e-9
        assert ls.stability(found, eta, logs[s]) <= 0.5 + 1e-9
        assert n * math.exp(logs[s]) <= math.log(2) * (1 + 1e-9)
        assert (np.diff(logs[s:]) <= 1e-12 * (1 + np.abs(logs[s + 1 :]))).all()
        d = ls.stability(found, eta, logs[s])
        share = (1 - d) * ls.omega(n * math.exp(logs[s])) ** 2
        assert share >= 1 / (8 * math.log(2) ** 2) - 1e-9
        later = np.arange(len(path) - s)
        bound = ls.stable_log_risk_bound(logs[s], n, d, eta, rate, later)
        assert (logs[s:] <= bound + 1e-9).all()
        before = ls.log_risk_after(found, rate, eta, model.norm, np.arange(len(path)))
        assert (logs <= before + 1e-9).all()
        assert np.isinf(before[: last - 1]).all()


def test_theorem_7_holds_where_its_conditions_do():
    rng = np.random.default_rng(3)
    checked = 0
    for _ in range(60):
        model, rate, _ = easy_model(rng, n=2)
        found = model.constants
        steps = int(rng.choice([400, 1200]))
        fault = ls.fast_stepsize_fault(found, rate, steps, model.norm)
        assert ls.fast_stepsize_fault(found, rate, steps + 1, model.norm) == "odd steps"
        if fault is not None:
            assert fault == "too few steps"
            continue
        eta = ls.fast_stepsize(found, rate, steps)
        assert ls.transition_time(found, rate, eta, model.norm) <= steps / 2 * (1 + 1e-9)
        *_, last = model.path(eta, steps)
        assert last.risk <= ls.fast_risk_bound(found, rate, steps)
        checked += 1
    assert checked > 8


def test_formulas_have_their_digits():
    rng = np.random.default_rng(4)
    for _ in range(300):
        model, rate, _ = easy_model(rng, int(rng.integers(1, 30)))
        c = model.constants
        rho2, beta, kappa = mp.mpf(c.gradient_bound) ** 2, c.curvature_bound, c.homogeneity_gap
        eta, norm = float(10.0 ** rng.uniform(-2, 4)), model.norm
        g2, t = mp.mpf(rate) ** 2, int(rng.integers(1, 10**6))
        logs = max(mp.log(2 * eta * g2 * t), 0)
        exact = (eta * rho2 + 1 + 2 * kappa + 2 * rate * norm + 2 * logs) / (eta * g2 * t)
        assert ls.average_slope_bound(c, rate, eta, t, norm) == pytest.approx(
            float(exact), rel=1e-12
        )
        h = max(2 * c.n_samples, 2 * mp.log(2) * eta * (rho2 + beta))
        inside = eta * rho2 + 2 * kappa + 2 * rate * norm + 2 * mp.log(8 * h)
        tau = 2 * h / (eta * g2) * inside
        assert ls.transition_time(c, rate, eta, norm) == pytest.approx(float(tau), rel=1e-12)
        fast = g2 * t / (16 * mp.log(2) * rho2 * (rho2 + beta))
        assert ls.fast_stepsize(c, rate, t) == pytest.approx(float(fast), rel=1e-12)
        bound = 256 * mp.log(2) ** 3 * rho2 * (rho2 + beta) / (g2**2 * t**2)
        assert ls.fast_risk_bound(c, rate, t) == pytest.approx(float(bound), rel=1e-12)
        start = max(c.n_samples / mp.log(2), eta * (rho2 + beta))
        later = start + eta * g2 * (t + 1) / (8 * mp.log(2) ** 2)
        steps = mp.ceil(tau) + t
        found = ls.log_risk_after(c, rate, eta, norm, float(steps))
        assert found == pytest.approx(float(-mp.log(later)), rel=1e-11)


def test_conditions_of_theorem_7_and_the_slow_example_have_their_digits():
    rng = np.random.default_rng(5)
    for _ in range(60):
        c = easy_model(rng, int(rng.integers(1, 300)))[0].constants
        rate, norm = 0.01 * c.gradient_bound, float(rng.uniform(0, 3))
        square, sum_ = mp.mpf(c.gradient_bound) ** 2, mp.mpf(c.gradient_bound) ** 2
        sum_ += c.curvature_bound

        def holds(half, c=c, rate=rate, norm=norm, square=square, sum_=sum_):
            eta = mp.mpf(rate) ** 2 * 2 * half / (16 * mp.log(2) * square * sum_)
            drift = 2 * c.homogeneity_gap + 2 * rate * norm
            enough = mp.log(2) * eta * sum_ >= c.n_samples
            return enough and eta * square >= drift + 2 * mp.log(16 * mp.log(2) * eta * sum_)

        low, high = 1, 10**12
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle, high)
        assert high > 10_000
        assert ls.fast_stepsize_fault(c, rate, 2 * high + 2, norm) is None
        assert ls.fast_stepsize_fault(c, rate, 2 * high - 4, norm) == "too few steps"
        gamma, bound, slope, at_zero = (float(x) for x in rng.uniform(0.01, 0.3, 4))
        exact = (
            32 * mp.log(2) * mp.mpf(bound) ** 2 / (slope * at_zero * (1 - 9 * mp.mpf(gamma) ** 2))
        )
        found = ls.monotone_example(gamma, bound, slope, at_zero)
        assert found == pytest.approx(float(exact), rel=1e-12)
