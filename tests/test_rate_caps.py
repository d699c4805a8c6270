"""Budgets of parameters: no step takes more than the caps of its mode leave."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from reference import Problem, random_problem

import lipgd
from lipgd import _descent, schedules
from lipgd._batches import SAMPLINGS
from lipgd.theory import initialization, rate_constraints

MODES = ("observed", "carry_over", "displacement", "plug_in", "tracked", "linear")
A_PRIORI = ("tracked", "linear")
SHAPES = (
    schedules.exponential(1.0, 0.05),
    schedules.hold_then_decay(1.0, 5, schedules.polynomial(1.0, 2.0, 10.0)),
    rate_constraints.rate_function("exponential", hold=5, decay_rate=0.1),
    1.0,
)
STEPS, SAMPLES = 30, 40


def problem_of(
    seed: int = 0,
    activation: str = "silu",
    loss: str = "huber(1.0)",
    dtype: type = np.float64,
    sizes: tuple[int, ...] = (3, 20, 2),
) -> Problem:
    problem = random_problem(seed, activation, loss, dtype, SAMPLES, sizes)
    biases = [np.linspace(-0.5, 0.5, n).astype(dtype) for n in sizes[1:]]
    return Problem(problem.net.replace(biases=biases), *problem.data[1:])


def train(problem: Problem, **settings: Any) -> lipgd.Run:
    net, X, y, loss, weights = problem.data
    defaults = {"rate": 1.0, "steps": STEPS}
    return lipgd.train(net, X, y, loss=loss, sample_weight=weights, **(defaults | settings))


def budgets_of(problem: Problem, value: float = 2.0) -> dict[str, float]:
    return {name: value * (1 + i) for i, (name, _) in enumerate(problem.net.named())}


def columns(problem: Problem, *quantities: str) -> list[str]:
    return [f"{q}:{name}" for q in quantities for name, _ in problem.net.named()]


def increments(shape: Any, steps: int = STEPS) -> np.ndarray:
    """The increments, for a rate function from G itself."""
    if hasattr(shape, "schedule"):
        return np.diff([shape(float(t)) for t in range(steps + 1)])
    return schedules.resolve(shape).rates(steps)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("loss", ["mse", "huber(1.0)", "cross_entropy"])
def test_no_parameter_leaves_its_budget(level, mode, activation, loss, dtype):
    for seed, shape in enumerate(SHAPES):
        sizes = ((3, 20, 2), (2, 9, 7, 3))[seed % 2]
        problem = problem_of(seed, activation, loss, dtype, sizes)
        budgets = budgets_of(problem, float(10.0 ** (seed - 2)))
        caps = lipgd.RateCaps(budgets, shape, mode)
        record = columns(problem, "displacement", "rate", "gradient_norm")
        run = train(problem, rate=100.0, constraint=caps, record=record)
        assert (run.status, run.steps) == ("finished", STEPS)
        growth = np.concatenate([[0.0], np.cumsum(increments(shape))])
        for name, budget in budgets.items():
            reach = budget / SAMPLES * growth
            moved = run.history[f"displacement:{name}"]
            assert (moved <= reach * (1 + 1e-9)).all()
            if mode in ("observed", "plug_in", *A_PRIORI):
                lengths = run.history[f"rate:{name}"] * run.history[f"gradient_norm:{name}"]
                room = budget / SAMPLES * increments(shape)
                assert (lengths[:-1] <= room * (1 + 1e-5)).all()
        assert max(run.history[f"displacement:{name}"][-1] for name in budgets) > 0


@pytest.mark.parametrize("mode", MODES)
def test_theorem_3_holds(mode):
    for seed in range(6):
        problem = problem_of(seed, ("relu", "silu", "gelu")[seed % 3], "mse")
        budgets = budgets_of(problem, 1.0)
        run = train(
            problem,
            rate=100.0,
            constraint=lipgd.RateCaps(budgets, SHAPES[0], mode),
            record=["lipschitz_lower"],
        )
        growth = np.concatenate([[0.0], np.cumsum(increments(SHAPES[0]))])
        net = problem.net
        norms = [np.linalg.norm(w, 2) for w in net.weights]
        bound = (
            abs(net.output_scale)
            * net.activation.lipschitz
            * np.prod(
                [n + budgets[f"W{i + 1}"] / SAMPLES * growth for i, n in enumerate(norms)], axis=0
            )
        )
        assert (run.history["lipschitz_lower"] <= bound).all()
        assert run.history["lipschitz_lower"][0] != run.history["lipschitz_lower"][-1]


def applied(problem: Problem, mode: str, **settings: Any) -> np.ndarray:
    """The rates, (parameters, steps)."""
    caps = lipgd.RateCaps(budgets_of(problem), SHAPES[0], mode)
    run = train(problem, constraint=caps, record=columns(problem, "rate"), **settings)
    return np.stack([run.history[name][:-1] for name in run.history])


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu"])
@pytest.mark.parametrize("loss", ["mse", "huber(1.0)", "logistic"])
def test_the_more_a_mode_knows_the_larger_its_rates(activation, loss):
    for sizes in ((3, 20, 2), (2, 9, 7, 3)):
        problem = problem_of(3, activation, loss, sizes=sizes)
        rates = {mode: applied(problem, mode, rate=1e3) for mode in MODES}
        for more, less in (("observed", "plug_in"), ("plug_in", "tracked"), ("tracked", "linear")):
            assert (rates[more][:, 0] >= rates[less][:, 0] * (1 - 1e-9)).all(), (more, less)
        assert (rates["tracked"] >= rates["linear"] * (1 - 1e-9)).all()
        assert rates["observed"][:, 0].min() > 1.2 * rates["linear"][:, 0].min()
        assert np.array_equal(rates["carry_over"][:, 0], rates["observed"][:, 0])
        # A law knows less than the weights drawn from it.
        assert (rates["linear"] > 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_small_rates_are_not_touched(mode):
    problem = problem_of()
    rates = applied(problem, mode, rate=1e-7)
    assert (rates == 1e-7).all()
    caps = lipgd.RateCaps(budgets_of(problem), SHAPES[0], mode)
    capped = train(problem, rate=1e-7, constraint=caps).network
    assert capped._flat.tobytes() == train(problem, rate=1e-7).network._flat.tobytes()


@pytest.mark.parametrize("slack", [0.0, 1e-3, 0.5])
def test_caps_that_bind_are_exact(slack, monkeypatch):
    """Every rate from the networks and gradients of a run that binds after some small steps."""
    monkeypatch.setattr(_descent, "_STRETCH", 0.0)
    problem, shape = problem_of(1, "tanh", "mse"), SHAPES[0]
    budgets, growth = budgets_of(problem), np.cumsum(increments(shape))
    base = np.where(np.arange(STEPS) < 10, 1e-4, 50.0)
    for mode in MODES[:3]:
        nets: list[lipgd.Network] = [problem.net]
        net, X, y, loss, weights = problem.data
        run = lipgd.train(
            net,
            X,
            y,
            loss=loss,
            sample_weight=weights,
            rate=base,
            steps=STEPS,
            constraint=lipgd.RateCaps(budgets, shape, mode, slack=slack),
            record=columns(problem, "rate"),
            callback=lambda s, nets=nets: nets.append(s.network) and None,
        )
        spent = dict.fromkeys(budgets, 0.0)
        used = 0
        for step in range(STEPS):
            gradient = lipgd.risk_and_gradient(nets[step], X, y, loss, weights)[1]
            start, now = dict(net.named()), dict(nets[step].named())
            for name, slope in gradient.named():
                scale = budgets[name] / SAMPLES * (1 - slack)
                room = {
                    "observed": scale * increments(shape)[step],
                    "carry_over": scale * growth[step] - spent[name],
                    "displacement": scale * growth[step] - np.linalg.norm(now[name] - start[name]),
                }[mode]
                size = np.linalg.norm(slope)
                rate = run.history[f"rate:{name}"][step]
                expected = min(base[step], max(0.0, room) / size)
                assert rate == pytest.approx(expected, rel=1e-7, abs=1e-9)
                spent[name] += rate * size
                used += rate > scale * increments(shape)[step] / size * 1.01
        # What the small steps left over is used.
        assert (used > 0) == (mode != "observed")


def test_left_over_budget_helps():
    problem = problem_of(2, "silu", "mse")
    base = np.where(np.arange(STEPS) < 15, 1e-4, 50.0)
    at = {mode: applied(problem, mode, rate=base)[:, 15] for mode in MODES[:3]}
    assert (at["carry_over"] > 5 * at["observed"]).all()
    assert (at["displacement"] >= at["carry_over"]).all()


@pytest.mark.parametrize("mode", MODES[:3])
def test_spectral_budgets(mode, monkeypatch):
    monkeypatch.setattr(_descent, "_STRETCH", 0.0)
    problem = problem_of(0, "tanh", "mse", sizes=(6, 15, 4))
    budgets, seen = {"W1": 3.0, "W2": 2.0}, []
    caps = lipgd.RateCaps(budgets, SHAPES[0], mode, norm="spectral", slack=0.0)
    settings = {"rate": 50.0, "record": ["rate:W1", "rate:W2"]}
    run = train(problem, constraint=caps, callback=lambda s: seen.append(s.network), **settings)
    growth = np.cumsum(increments(SHAPES[0]))
    for step, net in enumerate(seen):
        for i in range(2):
            moved = np.linalg.norm(net.weights[i] - problem.net.weights[i], 2)
            assert moved <= budgets[f"W{i + 1}"] / SAMPLES * growth[step] * (1 + 1e-9)
    gradient = lipgd.risk_and_gradient(*problem.data[:3], problem.loss, problem.sample_weight)[1]
    for i in range(2):
        exact = budgets[f"W{i + 1}"] / SAMPLES / np.linalg.norm(gradient.weights[i], 2)
        exact *= growth[0]
        assert run.history[f"rate:W{i + 1}"][0] == pytest.approx(exact, rel=3e-6)
    frobenius = lipgd.RateCaps(budgets, SHAPES[0], mode)
    other = train(problem, constraint=frobenius, **settings)
    assert run.history["rate:W1"][0] > 1.02 * other.history["rate:W1"][0]


@pytest.mark.parametrize("mode", MODES[:4])
def test_parameters_without_a_budget_are_not_capped(mode):
    problem = problem_of()
    caps = lipgd.RateCaps({"W1": 0.1}, SHAPES[0], mode)
    run = train(problem, rate=0.5, constraint=caps, record=columns(problem, "rate"))
    assert (run.history["rate:W1"][:-1] < 0.5).all()
    for name in ("b1", "W2", "b2"):
        assert (run.history[f"rate:{name}"][:-1] == 0.5).all()


@pytest.mark.parametrize("mode", MODES[:3])
@pytest.mark.parametrize("update", ["sign", "adam", "conjugate_gradient", "l1"])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_budgets_hold_for_every_rule(mode, update, batch_size):
    problem = problem_of(4, "gelu", "cross_entropy")
    budgets = budgets_of(problem)
    options: dict[str, Any] = {"update": update}
    if update == "l1":
        options = {"momentum": 0.9, "proximal": {"W1": ("l1", 0.1), "b1": ("l1", 0.5)}}
    caps = lipgd.RateCaps(budgets, SHAPES[1], mode)
    record = columns(problem, "displacement", "path_length")
    run = train(
        problem, rate=10.0, constraint=caps, record=record, batch_size=batch_size, **options
    )
    growth = np.concatenate([[0.0], np.cumsum(increments(SHAPES[1]))])
    for name, budget in budgets.items():
        column = "displacement" if mode == "displacement" else "path_length"
        moved = run.history[f"{column}:{name}"]
        assert (moved <= budget / SAMPLES * growth * (1 + 1e-9)).all()
        assert moved[-1] > 0.05 * budget / SAMPLES * growth[-1]


@pytest.mark.parametrize("mode", A_PRIORI)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.5}, {"update": "sign"}, {"update": "adam"}, {"clip_norm": 0.01}]
)
def test_rates_known_before_training_hold_for_every_rule(mode, sampling, options):
    problem = problem_of(5, "tanh", "huber(1.0)")
    problem = Problem(*problem.data[:4])
    budgets = budgets_of(problem, 0.5)
    record = columns(problem, "path_length", "rate")
    # The last batch of an epoch has one sample.
    settings = {"batch_size": 13, "sampling": sampling, "record": record, "rate": 100.0, **options}
    runs = [
        train(
            problem, constraint=lipgd.RateCaps(budgets, SHAPES[0], mode), shuffle_seed=s, **settings
        )
        for s in range(3)
    ]
    growth = np.concatenate([[0.0], np.cumsum(increments(SHAPES[0]))])
    for run in runs:
        for name, budget in budgets.items():
            assert (run.history[f"path_length:{name}"] <= budget / SAMPLES * growth * 1.0001).all()
            rates = run.history[f"rate:{name}"][:-1]
            assert np.array_equal(rates, runs[0].history[f"rate:{name}"][:-1])


def test_the_last_small_batch_of_an_epoch_counts():
    problem = problem_of(5, "tanh", "mse")
    problem = Problem(*problem.data[:4])
    caps = lipgd.RateCaps(budgets_of(problem), SHAPES[0], "linear")
    settings = {"batch_size": 13, "constraint": caps, "record": ["rate:W1"], "rate": 100.0}
    whole = train(problem, sampling="independent", **settings)
    reshuffled = train(problem, sampling="reshuffled", **settings)
    assert reshuffled.history["rate:W1"][0] < whole.history["rate:W1"][0]


@pytest.mark.parametrize("mode", A_PRIORI)
def test_caps_before_the_weights_are_drawn(mode):
    """With a law, the rates are the same for every draw and no larger than with the weights."""
    law = initialization.Law("he_normal", 0.05)
    rng = np.random.default_rng(0)
    X, rates, given = rng.normal(size=(SAMPLES, 3)), [], []
    y = rng.normal(size=(SAMPLES, 1))
    budgets = {"W1": 3.0, "b1": 2.0, "W2": 3.0, "b2": 2.0}
    for seed in range(4):
        net = lipgd.Network.create([3, 30, 1], activation="tanh", init="he_normal", seed=seed)
        settings = {"loss": "huber", "rate": 100.0, "steps": STEPS, "record": ["rate:W1"]}
        for initial, into in ((law, rates), ("given", given)):
            caps = lipgd.RateCaps(budgets, SHAPES[0], mode, initial=initial)
            run = lipgd.train(net, X, y, constraint=caps, **settings)
            into.append(run.history["rate:W1"][:-1])
    for own, known in zip(rates, given, strict=True):
        assert np.array_equal(own, rates[0])
        assert (own <= known).all()
    assert not np.array_equal(given[0], given[1])


@pytest.mark.parametrize("mode", MODES[:3])
def test_a_direction_of_infinite_length_spends_nothing(mode):
    net = lipgd.Network([[[1.0]], [[1.0]]], activation="identity")
    run = lipgd.train(
        net,
        np.array([[1.0]]),
        [0.0],
        loss="huber",
        rate={"W1": 1e160, "W2": 1.0},
        steps=5,
        constraint=lipgd.RateCaps({"W2": 0.5}, 1.0, mode),
        record=["displacement:W2"],
    )
    assert (run.history["displacement:W2"] <= 0.5 * run.history.step).all()
    assert run.steps == 5


def test_a_direction_of_zero_length_is_no_division_by_zero():
    """Displaced beyond the budget by a penalty, and then without a gradient."""
    net = lipgd.Network([[[1.0], [-1.0]], [[1.0, 1.0]]], activation="relu")
    X = np.array([[1.0], [2.0]])
    caps = lipgd.RateCaps({"W1": 1e-3}, mode="displacement")
    settings = {"proximal": {"W1": ("frobenius", 0.5)}, "record": ["rate:W1", "risk"]}
    run = lipgd.train(net, X, net(X), rate=1.0, steps=20, constraint=caps, **settings)
    assert (run.status, np.isfinite(run.history["rate:W1"][:-1]).all()) == ("finished", True)
    frozen = lipgd.Network([[[-1.0]], [[1.0]]], activation="relu")  # dead from the start
    run = lipgd.train(
        frozen,
        X,
        np.ones(2),
        rate=1.0,
        steps=5,
        constraint=caps,
        proximal={"W1": ("frobenius", 0.5)},
    )
    assert run.status == "finished"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"budgets": 3.0}, TypeError, "budgets is 3.0, expected a mapping"),
        ({"budgets": {"W1": 0.0}}, ValueError, "budgets['W1'] is 0"),
        ({"budgets": {}, "mode": "guess"}, ValueError, "mode is 'guess', expected"),
        ({"budgets": {}, "norm": "max"}, ValueError, "norm is 'max', expected"),
        ({"budgets": {}, "slack": 1.0}, ValueError, "slack is 1"),
        ({"budgets": {}, "initial": "drawn"}, TypeError, "initial is 'drawn', expected"),
        (
            {"budgets": {}, "initial": initialization.Law("he_normal")},
            ValueError,
            "initial is a law, but mode is 'observed'",
        ),
        (
            {"budgets": {}, "norm": "spectral", "mode": "linear"},
            ValueError,
            "norm is 'spectral', but mode is 'linear'",
        ),
    ],
)
def test_bad_caps(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        lipgd.RateCaps(**arguments)


@pytest.mark.parametrize(
    ("caps", "settings", "message"),
    [
        ({"budgets": {"W9": 1.0}}, {}, "budgets has the name 'W9', expected some of W1"),
        ({"budgets": {"W1": 1.0}}, {"frozen": "W1"}, "budgets has the name 'W1', expected some of"),
        (
            {"budgets": {"W1": 1.0}, "mode": "plug_in"},
            {"momentum": 0.5},
            "mode is 'plug_in', which",
        ),
        (
            {"budgets": {"W1": 1.0}, "mode": "plug_in"},
            {"batch_size": 5},
            "mode is 'plug_in', which",
        ),
        (
            {"budgets": {"W1": 1.0}, "mode": "linear"},
            {"update": "conjugate_gradient"},
            "update is 'conjugate_gradient', whose directions have no bound before training",
        ),
    ],
)
def test_caps_that_do_not_fit(caps, settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        train(problem_of(), constraint=lipgd.RateCaps(**caps), **settings)
