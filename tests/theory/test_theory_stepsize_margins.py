"""Lemma 3, Propositions 2 and 3, Theorems 3 and 4, Corollary 1, and section 4.1."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stepsize_cases import LEAKY, Model, fitted, random_model

import lipgd
from lipgd.theory import large_stepsize as ls

GROWING = ("gelu", "gelu_tanh", "silu", "softplus", "identity", *LEAKY)


def above_the_gap(rng: np.random.Generator) -> Model | None:
    """A fitted model whose smoothed margin is above kappa, at any risk down to underflow."""
    model = fitted(random_model(rng, GROWING), 0.01, 80)
    n, gap = len(model.X), model.constants.homogeneity_gap
    # Scaling the weights up reaches tiny risks.
    model = model.at(model.w * 10.0 ** rng.uniform(0, 2))
    low, _ = ls.margin_bracket(model.log_risk, n)
    return model if low > gap and model.norm > 0 else None


def models(seed: int, count: int) -> list[Model]:
    rng = np.random.default_rng(seed)
    found = (above_the_gap(rng) for _ in range(count))
    return [model for model in found if model is not None]


@pytest.fixture(scope="module")
def fits() -> list[Model]:
    found = models(0, 900)
    assert len(found) > 300
    return found


def relative(model: Model) -> np.ndarray:
    """The gradient divided by the risk, without underflow."""
    logs = np.log(model.slopes) - model.log_risk
    return -(np.exp(logs) * model.y) @ model.jacobian / len(model.X)


def modified(model: Model) -> float:
    found = model.constants
    gap, n = found.homogeneity_gap, found.n_samples
    return float(ls.modified_margin(model.log_risk, n, model.norm, gap))


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_lemma_3_and_proposition_2(fits):
    for model in fits:
        if model.slopes.min() == 0.0:
            continue
        n, gap = len(model.X), model.constants.homogeneity_gap
        g = relative(model)
        aligned, length = -float(g @ model.w), float(np.linalg.norm(g))
        bound = ls.alignment_bound(model.log_risk, n, gap)
        room = 1e-9 * (1 + abs(aligned))
        assert aligned >= bound - room
        assert length >= ls.gradient_norm_floor(model.log_risk, n, model.norm, gap) - 1e-9
        flow = ls.margin_flow(model.log_risk, n, model.norm, gap, length, max(aligned, 0.0))
        assert flow >= -1e-9 * (1 + length**2 / bound)


def test_lemma_3_is_an_equality_for_one_sample_and_a_homogeneous_network():
    model = Model(
        lipgd.Network([[[3.0, 1.0]], [[2.0]]], activation="identity"), np.ones((1, 2)), np.ones(1)
    )
    g = relative(model)
    bound = ls.alignment_bound(model.log_risk, 1, 0.0)
    assert -float(g @ model.w) == pytest.approx(bound, rel=1e-12)
    radial = model.at(np.array([2.0, 2.0]))  # aligned with its sample
    floor = ls.gradient_norm_floor(radial.log_risk, 1, radial.norm, 0.0)
    assert np.linalg.norm(relative(radial)) == pytest.approx(floor, rel=1e-12)


def test_proposition_3(fits):
    for model in fits:
        n, gap = len(model.X), model.constants.homogeneity_gap
        normalized = model.margins.min() / model.norm
        smoothed = ls.smoothed_margin(model.log_risk, n, model.norm)
        assert modified(model) <= smoothed * (1 + 1e-12) <= normalized * (1 + 1e-11)
        for bound in ls.sandwich(model.log_risk, n, gap):
            assert normalized <= bound * modified(model) * (1 + 1e-9)


def test_proposition_3_is_sharp_for_equal_margins():
    for n, gap, q in [(1, 0.5, 30.0), (10, 0.3, 20.0), (1000, 0.0, 400.0)]:
        log_l = ls.log_risk(np.full(n, q))
        exact = q / ls.modified_margin(log_l, n, 1.0, gap)
        assert ls.sandwich(log_l, n, gap)[:2] == pytest.approx((exact, exact), rel=1e-6)


def test_theorem_3_on_thousands_of_steps(fits):
    rng = np.random.default_rng(1)
    steps = 0
    for start in fits:
        here = start
        for _ in range(8):
            n = len(here.X)
            sharpness = ls.sharpness_bound(here.constants, here.mean_slope)
            if not sharpness or here.log_risk < -600:
                break
            d = float(rng.choice([0.05, 0.7, 1.0]))
            eta = 2.0 * d / sharpness
            after = here.step(eta).same_constants(here)
            turn = float(np.linalg.norm(after.w / after.norm - here.w / here.norm))
            assert after.norm >= here.norm * (1 - 1e-13)
            assert after.log_risk <= here.log_risk + 1e-11 * (1 + abs(here.log_risk))
            gain = math.exp(ls.margin_gain(here.log_risk, n, here.norm, d, eta, turn))
            room = 1e-11 * (1 + abs(here.log_risk)) / here.norm
            assert modified(after) >= modified(here) + gain * (1 - 1e-6) - room
            here, steps = after, steps + 1
    assert steps > 1500


def test_the_gain_of_theorem_3_is_sharp():
    net = lipgd.Network([[[3.0, 0.5]], [[1.0]]], activation="identity")
    model = Model(net, np.array([[1.0, 1.0]]), np.ones(1))
    eta = 1e-4 / model.mean_slope
    after = model.step(eta).same_constants(model)
    turn = float(np.linalg.norm(after.w / after.norm - model.w / model.norm))
    d = 0.5 * eta * ls.sharpness_bound(model.constants, model.mean_slope)
    gain = math.exp(ls.margin_gain(model.log_risk, 1, model.norm, d, eta, turn))
    assert 0.99 <= gain / (modified(after) - modified(model)) <= 1.0


def test_certified_margins_never_fall_and_theorem_4_holds():
    rng = np.random.default_rng(2)
    certified = 0
    for _ in range(150):
        start = fitted(random_model(rng, GROWING), 0.05, 60)
        found, n = start.constants, len(start.X)
        if start.log_risk > ls.margin_threshold(found.homogeneity_gap, n):
            continue
        if not found.gradient_bound:
            continue
        eta = ls.monotone_stepsize(found, start.log_risk) * float(rng.uniform(0.1, 1.0))
        d = ls.stability(found, eta, start.log_risk)
        path = list(start.path(eta, 40))
        gammas = np.array([modified(model) for model in path])
        norms = np.array([model.norm for model in path])
        logs = np.array([model.log_risk for model in path])
        room = 1e-11 * (1 + np.abs(logs).max()) / norms.min()
        assert (np.diff(gammas) >= -room).all()
        assert (np.diff(norms) >= -1e-12 * norms[1:]).all()
        bound = ls.stable_log_risk_bound(logs[0], n, d, eta, max(gammas[0], 0), np.arange(41))
        assert (logs <= bound + 1e-10 * (1 + np.abs(logs))).all()
        for model in path[::10]:  # Corollary 1
            share = 1.0 / ls.sandwich(model.log_risk, n, found.homogeneity_gap)[1]
            later = path[-1].margins.min() / path[-1].norm
            assert later >= share * model.margins.min() / model.norm - room
        certified += 40
    assert certified > 1500


def test_theorem_4_is_sharp_for_one_sample():
    # Aligned weights, tiny D: the risk falls exactly like the bound with omega near 1.
    net = lipgd.Network([[[12.0]], [[1.0]]], activation="identity")
    model = Model(net, np.ones((1, 1)), np.ones(1))
    eta = 1e-3 / model.risk
    path = list(model.path(eta, 1000))
    d = ls.stability(model.constants, eta, model.log_risk)
    bound = ls.stable_log_risk_bound(model.log_risk, 1, d, eta, modified(model), 1000)
    assert 0.0 <= bound - path[-1].log_risk < 0.005
    low, high = ls.rate_limits(model.constants.gradient_bound, modified(model))
    late = eta * 1e6 * math.exp(ls.stable_log_risk_bound(model.log_risk, 1, d, eta, 1.0, 1e6))
    assert low == pytest.approx(1.0) and high == pytest.approx(1.0)
    assert low * 0.99 <= late <= high * 1.01


def test_the_decomposition_of_a_step_is_exact_and_homogeneous_networks_scale():
    rng = np.random.default_rng(3)
    for depth in (2, 3):
        net = lipgd.Network.create([2, 12, *[12] * (depth - 2), 1], activation="relu", biases=False)
        X = rng.normal(0, 1, (6, 2))
        y = np.sign(net(X)[:, 0])

        def level(scale: float, net=net, X=X, y=y, depth=depth) -> float:
            grown = net.replace(weights=[scale * w for w in net.weights])
            u = -ls.log_risk(y * grown(X)[:, 0]) - math.log(6)
            return float(ls.iota(u))

        start = 3.0 / min(y * net(X)[:, 0]) ** (1 / depth)
        values = level(start), level(1.01 * start), level(1.1 * start)
        direction, scaling = ls.margin_step(*values, 1.1 / 1.01, depth)
        assert scaling >= -1e-12
        whole = math.log(values[2] / values[0]) - depth * math.log(1.1 / 1.01)
        assert direction + scaling == pytest.approx(whole, rel=1e-12)
    assert np.isnan(ls.margin_step(-1.0, 1.0, 1.0, 1.0)[0])


def test_the_loss_of_margin_by_inhomogeneity():
    lost = ls.margin_loss([0.1, 0.2, 0.1], [1.0, math.e, math.e**3], 4)
    assert lost == pytest.approx([0.0, 0.8, 2.4])
    net = lipgd.Network([[[4.0]], [[1.0]]], activation="softplus")
    model = Model(net, np.ones((1, 1)), np.ones(1))
    logs, norms, gaps = [], [], []
    for here in model.path(0.05, 400):
        u = -here.log_risk
        logs.append(math.log(ls.iota(u) / here.norm))
        norms.append(here.norm)
        defect = max(float((here.margins - here.y * (here.jacobian @ here.w)).max()), 0.0)
        gaps.append(defect / ls.iota(u))
    assert logs[-1] >= logs[0] - ls.margin_loss(gaps, norms, 1)[-1] - 1e-9
    assert logs[-1] < logs[0]
