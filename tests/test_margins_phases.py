"""Phases of trainings, and the reasons for which there are none."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

import lipgd
from lipgd import margins
from lipgd.margins import REASONS, phases
from lipgd.theory import large_stepsize as ls


def signs(m: int) -> np.ndarray:
    return np.resize([1.0, -1.0], (1, m))


def network(activation="leaky(softplus, 0.5)", m=8, d=2, scale=None, seed=0, biases=None):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0, 0.3, (m, d)), signs(m)]
    return lipgd.Network(weights, biases, activation, 1.0 / m if scale is None else scale)


def separable(n=20, d=2, seed=0, gap=0.5):
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 1, (n, d))
    y = np.where(X[:, 0] >= 0, 1.0, -1.0)
    X[:, 0] += gap * y
    return X, y


def train(net, X, y, rate=20.0, steps=400, frozen=("W2",), record=("risk",), **more):
    return lipgd.train(
        net, X, y, loss="logistic", rate=rate, steps=steps, frozen=frozen, record=record, **more
    )


@pytest.fixture(scope="module")
def fast():
    # Two samples that nearly oppose each other make large steps overshoot.
    X, y = np.array([[0.1, 1.0], [0.1, -0.5], [0.1, -0.4]]), np.ones(3)
    return train(network(), X, y, rate=400.0, steps=3000), X, y


def test_phases_come_in_their_order(fast):
    run, X, y = fast
    found = phases(run, X, y)
    assert 0 < found.observed <= found.stable <= found.certified <= found.paper
    assert found.stable <= found.margin <= run.steps
    assert found.stable == min(found.certified, found.spectral)
    risk = run.history["risk"]
    eta = found.stepsize
    assert eta == 400.0
    assert found.constants == ls.constants(run.initial, X)
    threshold = ls.paper_risk(found.constants, eta)
    assert found.paper == int(np.argmax(risk <= threshold))
    assert (np.diff(np.log(risk))[found.stable :] <= 1e-12).all()
    assert risk[found.observed] > risk[found.observed - 1]
    assert "proved never to rise again from (Theorem 1) step" in str(found)


def test_bounds_hold_on_every_row(fast):
    run, X, y = fast
    found = phases(run, X, y)
    risk, steps = run.history["risk"], run.history.step
    average = np.cumsum(risk)[:-1] / steps[1:]
    assert (average <= found.risk_bounds["average_risk_theorem5"][1:]).all()
    assert np.isnan(found.risk_bounds["average_risk_theorem5"][0])
    slope = found.risk_bounds["average_slope_theorem6"][1:]
    assert (average / (2 * math.log(2)) <= slope + 1).all() and (np.diff(slope) < 0).all()
    for name, first in [("risk_theorem6", found.stable), ("risk_theorem4", found.margin)]:
        bound = found.risk_bounds[name]
        assert np.isnan(bound[:first]).all() and np.isfinite(bound[first:]).all()
        assert (risk[first:] <= bound[first:] * (1 + 1e-10)).all()
    assert found.risk_bounds["risk_theorem6"][-1] < 30 * risk[-1]
    assert found.stable < math.ceil(found.transition_time)
    assert np.isnan(found.risk_bounds["risk_before_theorem6"]).all()
    assert found.reasons["risk_theorem7"] == ("stepsize of another length",)


@pytest.mark.parametrize("seed", range(3))
def test_a_jumping_slope_leaves_the_bounds_of_averages(seed):
    """Theorem 5 and (5.4) do without beta."""
    X, y = separable(seed=seed)
    run = train(network("leaky_relu", seed=seed), X, y, rate=[0.1, 10.0, 1000.0][seed])
    found = phases(run, X, y)
    average = np.cumsum(run.history["risk"])[:-1] / run.history.step[1:]
    assert (average <= found.risk_bounds["average_risk_theorem5"][1:]).all()
    assert set(found.risk_bounds) == {"average_risk_theorem5", "average_slope_theorem6"}
    for name in ("transition_time", "risk_before_theorem6", "risk_theorem6", "risk_theorem7"):
        assert found.reasons[name] == ("not smooth",)


@pytest.mark.parametrize("rate", [1e200, 1e307, 1.7e308])
def test_huge_stepsizes_have_phases_without_overflow(rate):
    X, y = separable()
    found = phases(train(network(), X, y, rate=rate, steps=20, record=("log_risk",)), X, y)
    assert "average risk" not in str(found)
    assert not np.isnan(found.risk_bounds["average_slope_theorem6"][1:]).any()
    assert (found.risk_bounds["average_slope_theorem6"][1:] > 0.0).all()


def test_what_is_known_before_the_training_holds():
    X, y = np.array([[1.0, 0.1], [-1.0, 0.1]]), np.array([1.0, -1.0])
    net = network("leaky(softplus, 0.8)", m=4)
    fast, _ = margins.suggest_stepsize(net, X, y, steps=2001)
    run = train(net, X, y, rate=fast, steps=2000, record_every=10)
    found = phases(run, X, y)
    assert "risk_theorem7" not in found.reasons
    bound = found.risk_bounds["risk_theorem7"]
    assert np.isnan(bound[:-1]).all()
    assert run.history["risk"][-1] <= bound[-1] < 1e-2
    before = found.risk_bounds["risk_before_theorem6"]
    rows = ~np.isnan(before)
    assert (run.history.step[rows] >= math.ceil(found.transition_time)).all() and rows.any()
    assert (run.history["risk"][rows] <= before[rows]).all()


def test_values_are_steps_and_not_rows(fast):
    run, X, y = fast
    every = phases(run, X, y)
    some = phases(train(run.initial, X, y, rate=400.0, steps=3000, record_every=7), X, y)
    for name in ("certified", "spectral", "margin", "paper"):
        exact, coarse = getattr(every, name), getattr(some, name)
        assert exact <= coarse < exact + 7 and coarse % 7 == 0
    assert some.observed <= some.stable


@pytest.mark.parametrize("seed", range(12))
def test_certified_runs_are_monotone(seed):
    rng = np.random.default_rng(seed)
    m, d, n = int(rng.integers(2, 20)), int(rng.integers(1, 6)), int(rng.integers(2, 30))
    X, y = rng.normal(0, 1, (n, d)), rng.choice([-1.0, 1.0], n)
    biases = [rng.normal(0, 1, m), np.zeros(1)] if seed % 2 else None
    name = ["gelu", "silu", "softplus", "tanh"][seed % 4]
    net = lipgd.Network([rng.normal(0, 1, (m, d)), rng.normal(0, 1, (1, m))], biases, name, 2 / m)
    found = ls.constants(net, X)
    eta = ls.monotone_stepsize(found) * float(rng.choice([0.9, 3.0, 30.0]))
    run = train(net, X, y, rate=eta, steps=1500)
    seen = phases(run, X, y)
    logs = np.log(run.history["risk"])
    if eta < ls.monotone_stepsize(found):
        assert seen.certified == 0
    for start in (seen.certified, seen.spectral):
        if start is not None:
            assert (np.diff(logs[start:]) <= 1e-12).all() and seen.observed <= start
    if seen.margin is not None:
        bound = seen.risk_bounds["risk_theorem4"]
        assert (run.history["risk"][seen.margin :] <= bound[seen.margin :] * (1 + 1e-9)).all()


#: What keeps the certificates of a training away.
STEPS = {
    "unequal rates": {"rate": {"W1": 1.0, "b1": 2.0}, "frozen": ("W2", "b2")},
    "varying rates": {"rate": lipgd.schedules.exponential(1.0, 0.1)},
    "no stepsize": {"steps": 0},
    "momentum": {"momentum": 0.5},
    "mini-batches": {"batch_size": 4},
    "sample weights": {"sample_weight": np.arange(1.0, 21.0)},
    "weight decay": {"weight_decay": 0.1},
    "clipped gradients": {"clip_norm": 0.5},
    "penalties": {"proximal": {"W1": ("l1", 0.01)}},
    "constraint": {"constraint": lipgd.LipschitzTarget(100.0)},
    "update rule": {"update": "adam"},
}


@pytest.mark.parametrize("code", STEPS)
def test_other_steps_are_not_certified(code):
    X, y = separable()
    net = network(biases=[np.zeros(8), np.zeros(1)])
    run = train(net, X, y, **{"rate": 0.1, "steps": 20, **STEPS[code]})
    found = phases(run, X, y)
    names = ("certified", "spectral", "margin", "paper", "transition_time")
    assert all(getattr(found, name) is None for name in names)
    assert all(codes == (code,) for codes in found.reasons.values())
    assert set(names) < set(found.reasons) and found.risk_bounds == {}
    assert REASONS[code] in str(found)


def test_a_rate_of_zero_and_equal_sample_weights():
    X, y = separable()
    run = train(network(), X, y, rate=0.0, steps=3)
    assert phases(run, X, y).reasons["certified"] == ("no stepsize",)
    run = train(network(), X, y, rate=0.1, steps=3, sample_weight=np.full(20, 7.0))
    assert phases(run, X, y).certified == 0


@pytest.mark.parametrize(
    ("code", "net", "frozen", "loss"),
    [
        ("loss", network(), ("W2",), "mse"),
        ("several layers trained", network(), (), "logistic"),
        ("first layer frozen", network(), ("W1",), "logistic"),
        ("several outputs", lipgd.Network.create([2, 4, 2]), ("W2",), "logistic"),
    ],
)
def test_other_predictors_are_not_certified(code, net, frozen, loss):
    X, y = separable()
    targets = y if net.n_outputs == 1 else np.column_stack([y, y])
    run = lipgd.train(net, X, targets, loss=loss, rate=0.01, steps=5, frozen=frozen)
    found = phases(run, X, targets)
    assert found.certified is None and found.reasons["certified"] == (code,)
    assert found.observed == 0


def test_reasons_of_activations():
    X, y = separable()
    sine = phases(train(network("sin"), X, y, rate=0.1, steps=50), X, y)
    assert sine.certified == 0
    assert sine.reasons["margin"] == ("not near-homogeneous",)
    assert sine.reasons["transition_time"] == ("not near-homogeneous", "alpha <= 0")
    kink = phases(train(network("relu"), X, y, rate=0.1, steps=50), X, y)
    assert kink.reasons["certified"] == kink.reasons["spectral"] == ("not smooth",)
    assert kink.reasons["transition_time"] == ("not smooth", "alpha <= 0")
    slope = phases(train(network("leaky_relu(0.5)"), X, y, rate=0.1, steps=50), X, y)
    assert slope.reasons["transition_time"] == ("not smooth",)
    bounded = phases(train(network("tanh"), X, y, rate=5.0, steps=4000), X, y)
    assert bounded.stable is not None
    assert bounded.reasons["margin"] == ("kappa too large for the margin",)
    assert bounded.reasons["risk_theorem4"] == ("kappa too large for the margin",)
    flat = phases(train(network("gelu"), X, y, rate=1.0, steps=50), X, y)
    assert flat.reasons["transition_time"] == flat.reasons["risk_theorem7"] == ("alpha <= 0",)


def test_reasons_of_data():
    data = lipgd.data.xor()
    X, y = data.X, np.where(data.y > 0, 1.0, -1.0)
    found = phases(train(network(), X, y, rate=0.1, steps=10), X, y)
    assert found.reasons["transition_time"] == ("not separable",)
    assert found.reasons["margin"] == ("kappa too large for the margin",)
    # The same sample with both labels: the risk stays above log 2.
    X, y = np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([1.0, -1.0])
    found = phases(train(network(m=2), X, y, rate=1e4, steps=200), X, y)
    assert found.certified is None and found.spectral is None
    assert found.reasons["certified"] == found.reasons["risk_theorem4"]
    assert found.reasons["certified"] == ("not reached in the record",)
    assert found.reasons["risk_theorem6"] == ("not separable",)
    X, y = np.array([[0.2, 1.0], [0.2, -0.5]]), np.ones(2)
    found = phases(train(network(), X, y, rate=100.0, steps=3), X, y)
    assert found.certified is None
    assert found.reasons["risk_theorem6"] == ("not reached in the record",)
    assert found.transition_time > 10


def test_theorem_7_wants_enough_steps():
    X, y = separable()
    fast = margins.suggest_stepsize(network(), X, y, steps=10)
    assert fast.reason == "too few steps" and fast.risk_bound is None
    run = train(network(), X, y, rate=fast.fast, steps=10)
    assert phases(run, X, y).reasons["risk_theorem7"] == ("too few steps",)


def test_a_missing_library_is_a_reason(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest, **more)

    X, y = separable()
    run = train(network(), X, y, steps=10)
    monkeypatch.setattr(builtins, "__import__", without)
    assert phases(run, X, y).reasons["transition_time"] == ("separability unknown",)


def test_every_reason_is_provoked():
    here = set(STEPS) | {"loss", "several layers trained", "first layer frozen"}
    here |= {"several outputs", "not smooth", "not near-homogeneous", "alpha <= 0"}
    here |= {"kappa too large for the margin", "not separable", "separability unknown"}
    here |= {"not reached in the record", "stepsize of another length", "too few steps"}
    assert here == set(REASONS)


def test_float32_and_biases():
    X, y = separable()
    rng = np.random.default_rng(0)
    net = lipgd.Network(
        [rng.normal(0, 0.3, (8, 2)).astype(np.float32), signs(8).astype(np.float32)],
        [np.zeros(8, np.float32), np.zeros(1, np.float32)],
        "leaky(silu, 0.5)",
        1 / 8,
    )
    run = train(net, X.astype(np.float32), y, rate=50.0, steps=1000)
    found = phases(run, X.astype(np.float32), y)
    assert found.observed <= found.stable
    assert found.constants.bias_gradient_bound == pytest.approx(1 / 8)
    shifted = np.column_stack([np.full(6, 5.0), np.linspace(-1, 1, 6)])
    labels = np.where(shifted[:, 1] > 0, 1.0, -1.0)
    shifted[:, 0] += np.linspace(0, 1, 6)
    reasons = phases(train(net, shifted.astype(np.float32), labels, steps=5), shifted, labels)
    assert "transition_time" not in reasons.reasons


def test_underflow_is_a_low_risk():
    net = lipgd.Network([[[900.0]], [[1.0]]], None, "identity")
    X, y = np.array([[1.0]]), np.array([1.0])
    found = phases(train(net, X, y, rate=1e3, steps=5), X, y)
    assert (found.observed, found.certified, found.margin) == (0, 0, 0)


def test_wrong_arguments_are_refused(fast):
    run, X, y = fast
    with pytest.raises(TypeError, match=r"run is 3, expected what lipgd\.train returned"):
        phases(3, X, y)
    with pytest.raises(ValueError, match="X has 2 samples, but the run was trained on 3"):
        phases(run, X[:2], y[:2])
    with pytest.raises(ValueError, match="expected the data that it was trained on"):
        phases(run, 2 * X, y)
    bare = train(network(), X, y, steps=3, record=("gradient_norm",))
    with pytest.raises(ValueError, match="run has recorded gradient_norm, expected 'log_risk' or"):
        phases(bare, X, y)
    with pytest.raises(ValueError, match="steps is 0, expected an integer at least 1"):
        margins.suggest_stepsize(network(), X, y, steps=0)
    with pytest.raises(ValueError, match="more than one layer of weights is trained"):
        margins.suggest_stepsize(network(), X, y, steps=9, frozen=())
    with pytest.raises(ValueError, match="y has the label 0"):
        margins.suggest_stepsize(network(), X, 0 * y, steps=9)


def test_suggestions_keep_their_promises():
    X, y = separable(6, gap=1.0)
    net = network("leaky(softplus, 0.9)", m=4)
    pair = margins.suggest_stepsize(net, X, y, steps=20_000)
    fast, monotone = pair
    assert (fast, monotone) == (pair.fast, pair.monotone) and pair.reason is None
    found = ls.constants(net, X)
    log_risk = math.log(lipgd.risk(net, X, y, "logistic"))
    assert monotone >= ls.monotone_stepsize(found, log_risk)
    run = train(net, X, y, rate=fast, steps=20_000, record_every=20_000)
    assert run.history["risk"][-1] <= pair.risk_bound
    run = train(net, X, y, rate=monotone, steps=300)
    assert (np.diff(run.history["risk"]) <= 0).all()
    assert phases(run, X, y).stable == 0
    run = train(net, X, y, rate=monotone * 1.001, steps=0)
    assert margins.suggest_stepsize(network("relu"), X, y, steps=9)[:] == (None, 0.0)
    assert margins.suggest_stepsize(network("gelu"), X, y, steps=9).reason == "alpha <= 0"
    both = np.vstack([X[:1], X[:1]]), np.array([1.0, -1.0])
    assert margins.suggest_stepsize(net, *both, steps=9).reason == "not separable"


def test_results_are_read_only_data(fast):
    found = phases(*fast)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.observed = 3
