"""The Lipschitz constant that was named holds at every step, whatever the rates are."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from reference import Problem, random_problem

import lipgd
from lipgd import _descent
from lipgd.theory import rate_constraints

ACTIVATIONS = ("relu", "silu", "tanh", "gelu")
LOSSES = ("mse", "logistic", "cross_entropy")
LAYERS = ((3, 20, 2), (2, 9, 14, 2), (4, 8, 6, 10, 3))
WAYS = [
    ("retract", "product", "chord"),
    ("retract", "balanced", "chord"),
    ("rates", "product", "conservative"),
    ("rates", "product", "chord"),
    ("rates", "product", "monotone_chord"),
]
UPDATES: tuple[dict[str, Any], ...] = (
    {},
    {"momentum": 0.9},
    {"update": "adam"},
    {"update": "sign"},
    {"momentum": 0.5, "nesterov": True, "batch_size": 7},
    {"weight_decay": 0.1, "proximal": {"W1": ("nuclear", 0.01), "W2": ("frobenius", 0.01)}},
    {"update": "conjugate_gradient"},
)


def norm(matrix: np.ndarray) -> float:
    return float(np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)[0])


def product_bound(net: lipgd.Network) -> float:
    norms = [norm(w) for w in net.weights]
    slopes = net.activation.lipschitz ** (net.depth - 1)
    return float(abs(net.output_scale) * np.prod(norms) * slopes)


def balanced_bound(net: lipgd.Network) -> float:
    """The right side of (2) in section 2, from dense singular values."""
    lower, upper = net.activation.slope_range
    middle, half = abs(lower + upper) / 2, (upper - lower) / 2
    W, V = (np.asarray(w, np.float64) for w in net.weights)
    inner, outer = np.linalg.norm(W, axis=1), np.linalg.norm(V, axis=0)
    live = (inner > 0) & (outer > 0)
    scale = np.sqrt(outer[live] / inner[live])
    scaled = norm(V[:, live] / scale) * norm(W[live] * scale[:, None]) if live.any() else 0.0
    spread = min(norm(V) * norm(W), scaled, norm(np.abs(V) @ np.abs(W)))
    return abs(net.output_scale) * (middle * norm(V @ W) + half * spread)


def networks(problem: Problem, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[Any]:
    """The run, and the networks before the first step and after every one."""
    monkeypatch.setattr(_descent, "_STRETCH", 0.0)
    net, X, y, loss, weights = problem.data
    seen: list[lipgd.Network] = []
    run = lipgd.train(
        net,
        X,
        y,
        loss=loss,
        sample_weight=weights,
        callback=lambda snapshot: seen.append(snapshot.network),
        **settings,
    )
    return [run, run.initial, *seen, run.network]


def gain(run: lipgd.Run) -> float:
    return float(run.history["risk"][0] - run.history["risk"][-1])


def train(problem: Problem, **settings: Any) -> lipgd.Run:
    net, X, y, loss, weights = problem.data
    return lipgd.train(net, X, y, loss=loss, sample_weight=weights, **settings)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_certificate_never_exceeds_the_limit(level, activation, loss, dtype, monkeypatch):
    rng = np.random.default_rng([len(activation), len(loss), np.dtype(dtype).itemsize])
    for number, sizes in enumerate(LAYERS):
        problem = random_problem(number, activation, loss, dtype, 30, sizes)
        if loss == "mse":
            problem = Problem(problem.net, problem.X, 10 * problem.y, loss)
        for method, certificate, controller in WAYS:
            if certificate == "balanced" and len(sizes) > 3:
                continue
            limit = float(np.exp(rng.uniform(-1, 2)))
            target = lipgd.LipschitzTarget(
                limit, method, certificate, controller, rescale_initial=True
            )
            options = UPDATES[rng.integers(len(UPDATES))]
            rate = 10.0 ** rng.uniform(-3, 3)
            settings = {"rate": rate, "steps": 25, "record": ["lipschitz_upper"], **options}
            run, *nets = networks(problem, monkeypatch, constraint=target, **settings)
            bound = product_bound if certificate == "product" else balanced_bound
            case = f"{sizes} {target} rate {rate} {options}"
            assert max(map(bound, nets)) <= limit, case
            if certificate == "balanced":
                bounds = [rate_constraints.slope_box_bound(net) for net in nets]
                assert max(bounds) <= limit, case
            else:
                assert (run.history["lipschitz_upper"] <= limit).all(), case
            assert run.status == "diverged" or len(nets) == run.steps + 2, case


@pytest.mark.parametrize(("method", "certificate", "controller"), WAYS)
def test_the_limit_is_used(method, certificate, controller):
    problem = random_problem(0, "relu", "mse", np.float64, 30, (3, 20, 2))
    problem = Problem(problem.net, problem.X, 10 * problem.y, "mse")
    target = lipgd.LipschitzTarget(4.0, method, certificate, controller, rescale_initial=True)
    run = train(problem, rate=0.02, steps=500, constraint=target)
    bound = product_bound if certificate == "product" else balanced_bound
    assert product_bound(train(problem, rate=0.02, steps=500).network) > 4.8
    assert 0.95 * 4.0 <= bound(run.network) <= 4.0
    assert run.history["risk"][-1] < 0.95 * run.history["risk"][0]


def test_the_balanced_certificate_leaves_more_room():
    problem = random_problem(0, "relu", "mse", np.float64, 30, (3, 20, 2))
    problem = Problem(problem.net, problem.X, 10 * problem.y, "mse")
    ends = {
        certificate: train(
            problem,
            rate=0.02,
            steps=500,
            constraint=lipgd.LipschitzTarget(4.0, certificate=certificate, rescale_initial=True),
        )
        for certificate in ("product", "balanced")
    }
    assert gain(ends["balanced"]) > 1.05 * gain(ends["product"]) > 0
    assert product_bound(ends["balanced"].network) > 4.1


def test_a_step_below_the_limit_is_the_whole_step():
    problem = random_problem(1, "silu", "mse", np.float64, 30, (3, 20, 2))
    free = train(problem, rate=0.01, steps=50, record=["risk", "rate:W1"])
    for method, certificate, controller in WAYS:
        target = lipgd.LipschitzTarget(1e6, method, certificate, controller)
        run = train(problem, rate=0.01, steps=50, record=["risk", "rate:W1"], constraint=target)
        assert run.network._flat.tobytes() == free.network._flat.tobytes()
        assert run.history["rate:W1"][:-1].tolist() == [0.01] * 50


def test_rates_stand_still_and_say_so_but_retract_goes_on():
    problem = random_problem(0, "relu", "mse", np.float64, 30, (3, 20, 2))
    problem = Problem(problem.net, problem.X, 10 * problem.y, "mse")
    ends = {}
    for method in ("rates", "retract"):
        target = lipgd.LipschitzTarget(3.0, method, rescale_initial=True)
        ends[method] = train(
            problem, rate=0.02, steps=400, constraint=target, record=["risk", "rate:W1", "rate:b1"]
        )
    rates = ends["rates"]
    found = re.fullmatch(
        r"took all 400 steps; the weights have stood still at the Lipschitz limit since step (\d+):"
        r" that point is in general not stationary, and method='retract' would go on improving",
        rates.message,
    )
    assert found is not None
    since = int(found[1])
    assert 0 < since <= 390
    assert (rates.history["rate:W1"][since:-1] < 1e-6 * 0.02).all()
    assert rates.history["rate:W1"][since - 1] >= 1e-6 * 0.02
    assert (rates.history["rate:b1"][:-1] == 0.02).all()
    assert ends["retract"].message == "took all 400 steps"
    assert gain(ends["retract"]) > 1.1 * gain(rates) > 0


def test_better_controllers_stop_later():
    """The first step from the same point: conservative, chord, monotone chord, the whole."""
    shares = []
    for seed in range(20):
        problem = random_problem(seed, "tanh", "mse", np.float64, 30, (3, 8, 2))
        bound = product_bound(problem.net)
        rates = []
        for _, _, controller in WAYS[2:]:
            target = lipgd.LipschitzTarget(1.05 * bound, "rates", controller=controller)
            run = train(problem, rate=3.0, steps=1, constraint=target, record=["rate:W1"])
            rates.append(run.history["rate:W1"][0])
        # Rounding is backed off from by steps of 1e-7.
        assert rates[0] <= rates[1] * (1 + 1e-5) and rates[1] <= rates[2] * (1 + 1e-5)
        assert rates[0] > 0
        shares.append(rates)
    conservative, chord, monotone = np.mean(shares, axis=0)
    assert conservative < 0.98 * chord and chord < 0.98 * monotone


def test_the_initial_network_is_refused_or_rescaled():
    problem = random_problem(1, "silu", "mse", np.float64, 30, (3, 20, 2))
    bound = product_bound(problem.net)
    with pytest.raises(ValueError, match="certified Lipschitz constant of") as caught:
        train(problem, constraint=lipgd.LipschitzTarget(bound / 3))
    named = re.search(r"constant of (\S+), expected a limit of at least that", str(caught.value))
    assert named is not None
    assert float(named[1]) == pytest.approx(bound, rel=1e-5)
    target = lipgd.LipschitzTarget(bound / 3, rescale_initial=True, theta=0.5)
    run = train(problem, constraint=target, steps=0)
    assert product_bound(run.initial) == pytest.approx(bound / 6, rel=1e-5)
    factors = [
        new / old
        for (_, new), (_, old) in zip(run.initial.named(), problem.net.named(), strict=True)
    ]
    for (name, _), factor in zip(problem.net.named(), factors, strict=True):
        np.testing.assert_allclose(factor, 6**-0.5 if name.startswith("W") else 1.0, rtol=1e-5)
    assert train(problem, constraint=lipgd.LipschitzTarget(2 * bound), steps=0).initial is (
        problem.net
    )


def test_the_number_of_a_refusal_is_a_limit_that_is_possible():
    """It was rounded to nearest, so every other one was refused again."""
    for seed in range(12):
        problem = random_problem(seed, "silu", "mse", np.float64, 30, (3, 20, 2))
        with pytest.raises(ValueError, match="certified Lipschitz constant of") as caught:
            train(problem, constraint=lipgd.LipschitzTarget(1e-3))
        named = re.search(r"constant of (\S+), expected", str(caught.value))
        assert named is not None
        train(problem, steps=1, constraint=lipgd.LipschitzTarget(float(named[1])))


@pytest.mark.parametrize("certificate", ["product", "balanced"])
def test_a_theta_near_one_does_not_round_above_the_limit(certificate, dtype):
    """In float32 the rescaled weights were rounded to above it."""
    for seed in range(20):
        problem = random_problem(seed, "gelu", "mse", dtype, 30, (3, 20, 2))
        limit = 0.37 * product_bound(problem.net)
        target = lipgd.LipschitzTarget(
            limit, certificate=certificate, rescale_initial=True, theta=1 - 1e-12
        )
        run = train(problem, rate=0.1, steps=0, constraint=target)
        bound = product_bound if certificate == "product" else balanced_bound
        assert 0.999 * limit <= bound(run.initial) <= limit


def test_weights_without_a_finite_certificate_are_refused():
    """They were rescaled to zero."""
    weights = [np.full((4, 3), 1e200), np.full((1, 4), 1e200)]
    net = lipgd.Network(weights, activation="tanh")
    target = lipgd.LipschitzTarget(1.0, rescale_initial=True)
    with pytest.raises(ValueError, match=r"^net has weights whose certified"):
        lipgd.train(net, np.ones((5, 3)), np.ones((5, 1)), constraint=target)


def test_a_network_that_begins_at_the_limit():
    problem = random_problem(1, "relu", "mse", np.float64, 30, (3, 20, 2))
    limit = train(problem, steps=0, record=["lipschitz_upper"]).history["lipschitz_upper"][0]
    for method, certificate, controller in WAYS:
        target = lipgd.LipschitzTarget(limit, method, certificate, controller)
        run = train(problem, rate=0.1, steps=30, constraint=target, record=["lipschitz_upper"])
        assert run.status == "finished"
        assert certificate == "balanced" or (run.history["lipschitz_upper"] <= limit).all()


@pytest.mark.parametrize("frozen", [("W1",), ("W2", "b1"), ("W1", "W2")])
@pytest.mark.parametrize(("method", "certificate", "controller"), WAYS)
def test_frozen_weights_stay(method, certificate, controller, frozen, monkeypatch):
    problem = random_problem(1, "gelu", "mse", np.float64, 30, (3, 20, 2))
    problem = Problem(problem.net.replace(biases=[np.ones(20), np.ones(2)]), *problem.data[1:])
    bound = product_bound(problem.net)
    rescale = set(frozen) != {"W1", "W2"}
    if rescale:
        limit = bound / 2
    else:  # the limit is the certificate itself, which no step may take for an excess
        limit = train(problem, steps=0, record=["lipschitz_upper"]).history["lipschitz_upper"][0]
    target = lipgd.LipschitzTarget(limit, method, certificate, controller, rescale_initial=rescale)
    run, *nets = networks(
        problem, monkeypatch, rate=1.0, steps=20, constraint=target, frozen=frozen
    )
    measure = product_bound if certificate == "product" else balanced_bound
    assert max(map(measure, nets)) <= limit
    assert (run.status, run.steps) == ("finished", 20)
    old = dict(problem.net.named())
    for name, array in run.network.named():
        assert np.array_equal(array, old[name]) == (name in frozen)


def test_frozen_weights_above_the_limit_are_refused():
    problem = random_problem(1, "gelu", "mse", np.float64, 30, (3, 20, 2))
    problem = Problem(problem.net.replace(biases=[np.ones(20), np.ones(2)]), *problem.data[1:])
    target = lipgd.LipschitzTarget(product_bound(problem.net) / 2, rescale_initial=True)
    with pytest.raises(ValueError, match="but the frozen weights have a certified"):
        train(problem, constraint=target, frozen=("W1", "W2"))


def test_thresholds_of_entries_raise_norms_but_not_above_the_limit(monkeypatch):
    """Section 11: soft thresholds can raise a spectral norm, so the method rates refuses them."""
    rng = np.random.default_rng(0)
    # Many small negative entries hide the mean of few large ones, until the threshold takes them.
    weights = np.where(rng.random((60, 60)) < 0.2, 1.0, -0.25)
    net = lipgd.Network([weights, np.ones((1, 60))], activation="tanh")
    X = rng.normal(size=(20, 60))
    problem = Problem(net, X, net(X), "mse")  # without any gradient
    proximal = {"W1": ("l1", 0.25)}
    limit = 1.001 * product_bound(net)
    settings = {"rate": 1.0, "steps": 1, "proximal": proximal}
    assert product_bound(train(problem, **settings).network) > 1.1 * limit
    with pytest.raises(ValueError, match=r"proximal\['W1'\] is 'l1', which can raise the norm"):
        train(problem, constraint=lipgd.LipschitzTarget(limit, "rates"), **settings)
    _, *nets = networks(problem, monkeypatch, constraint=lipgd.LipschitzTarget(limit), **settings)
    assert max(map(product_bound, nets)) <= limit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0.0}, "limit is 0"),
        ({"limit": float("nan")}, "limit is nan"),
        ({"limit": 1.0, "method": "clip"}, "method is 'clip', expected"),
        (
            {"limit": 1.0, "certificate": "sdp", "method": "rates"},
            "certificate is 'sdp', but method is 'rates'",
        ),
        ({"limit": 1.0, "certificate": "norm"}, "certificate is 'norm', expected"),
        ({"limit": 1.0, "controller": "bold"}, "controller is 'bold', expected"),
        ({"limit": 1.0, "theta": 1.0}, "theta is 1"),
        (
            {"limit": 1.0, "certificate": "balanced", "method": "rates"},
            "certificate is 'balanced', but method is 'rates'",
        ),
    ],
)
def test_bad_targets(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        lipgd.LipschitzTarget(**arguments)


def test_targets_that_do_not_fit_the_network():
    problem = random_problem(1, "silu", "mse", np.float64, 30, (2, 9, 14, 2))
    target = lipgd.LipschitzTarget(100.0, certificate="balanced")
    with pytest.raises(ValueError, match="certificate is 'balanced', but the network has 3"):
        train(problem, constraint=target)
    with pytest.raises(TypeError, match=r"^constraint is 5\.0, expected a LipschitzTarget"):
        train(problem, constraint=5.0)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_a_bit(threads):
    problem = random_problem(3, "silu", "mse", np.float64, 400, (5, 300, 40, 1))
    for method, controller in itertools.product(("retract", "rates"), ("chord",)):
        target = lipgd.LipschitzTarget(1.0, method, controller=controller, rescale_initial=True)
        settings = {"rate": 0.5, "steps": 8, "constraint": target, "record": ["lipschitz_upper"]}
        one = train(problem, n_threads=1, **settings)
        many = train(problem, n_threads=threads, **settings)
        assert many.network._flat.tobytes() == one.network._flat.tobytes()
        assert many.history == one.history
