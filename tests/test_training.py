"""Gradient descent against PyTorch and against a plain loop, and every column of the history."""

from __future__ import annotations

import dataclasses
import functools
import pickle

import numpy as np
import pytest
import torch
from reference import (
    Problem,
    batch_rows,
    flat,
    numpy_descent,
    numpy_risk_and_gradient,
    random_problem,
    relative_error,
    sharpness,
    torch_jacobian,
    torch_parameters,
    torch_risk,
)

import lipgd
from lipgd import schedules
from lipgd._batches import SAMPLINGS, Batches
from lipgd._columns import DYNAMICS, column_names
from lipgd._margin_rule import MARGIN_RECORDS

STEPS = 1000
# Seed, activation, loss, layers, and what torch.optim.SGD is given. With these seeds errors of
# rounding are not amplified: with some others the sharpness grows until the descent is chaotic, and
# no two programs agree after a thousand steps.
PROBLEMS = {
    "silu": (1, "silu", "mse", (3, 30, 1), {}),
    "relu": (2, "relu", "mse", (3, 30, 2), {}),
    "deep": (2, "tanh", "logistic", (4, 12, 10, 8, 1), {}),
    "classes": (2, "gelu", "cross_entropy(0.1)", (4, 20, 3), {}),
    "linear": (2, "identity", "huber(1.0)", (5, 2), {}),
    "momentum": (2, "softplus", "huber(0.3)", (3, 25, 2), {"momentum": 0.8}),
    "nesterov": (2, "gelu_tanh", "logistic", (3, 25, 1), {"momentum": 0.7, "nesterov": True}),
    "weight decay": (2, "sigmoid", "cross_entropy(0.0)", (3, 25, 4), {"weight_decay": 0.01}),
    "all": (3, "sin", "mse", (2, 20, 9), {"momentum": 0.5, "nesterov": True, "weight_decay": 0.01}),
}


@functools.cache
def torch_run(name: str) -> tuple[Problem, float, np.ndarray]:
    """The problem, its rate, and the parameters after all steps in PyTorch."""
    seed, activation, loss, sizes, options = PROBLEMS[name]
    problem = random_problem(seed, activation, loss, np.float64, 40, sizes)
    rate = 0.5 / sharpness(problem) * (1 - options.get("momentum", 0.0))
    parameters = torch_parameters(problem.net)
    optimizer = torch.optim.SGD(parameters, lr=rate, **options)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch_risk(problem, parameters).backward()
        optimizer.step()
    return problem, rate, np.concatenate([p.detach().numpy().ravel() for p in parameters])


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_thousand_steps_are_those_of_torch(level, name):
    problem, rate, expected = torch_run(name)
    net, X, y, loss, weights = problem.data
    run = lipgd.train(
        net, X, y, loss=loss, rate=rate, steps=STEPS, sample_weight=weights, **PROBLEMS[name][-1]
    )
    assert (run.status, run.steps) == ("finished", STEPS)
    assert run.initial is net
    assert relative_error(flat(run.network), expected) <= 1e-9
    assert relative_error(flat(run.network), flat(net)) > 0.01
    assert run.history["risk"][-1] < run.history["risk"][0]


@pytest.mark.parametrize("name", ["silu", "classes", "nesterov"])
def test_single_precision_follows_double_precision(level, name):
    problem, rate, expected = torch_run(name)
    net, X, y, loss, weights = problem.data
    single = net.replace(
        weights=[w.astype(np.float32) for w in net.weights],
        biases=[None if b is None else b.astype(np.float32) for b in net.biases],
    )
    run = lipgd.train(
        single, X, y, loss=loss, rate=rate, steps=STEPS, sample_weight=weights, **PROBLEMS[name][-1]
    )
    assert run.network.dtype == np.float32
    assert relative_error(flat(run.network), expected) < 1e-4


def problem_for_numpy(n_outputs: int = 2) -> Problem:
    problem = random_problem(4, "tanh", "mse", np.float64, 37, (3, 12, 7, n_outputs))
    weights = np.random.default_rng(8).exponential(size=37)
    net = problem.net.replace(biases=[np.linspace(-1, 1, 12), None, np.zeros(n_outputs)])
    return Problem(net, problem.X, problem.y, "mse", weights)


def check_run(problem: Problem, steps: int, expected: list[np.ndarray], **settings) -> None:
    net, X, y, loss, weights = problem.data
    run = lipgd.train(net, X, y, loss=loss, sample_weight=weights, steps=steps, **settings)
    for (name, array), other in zip(run.network.named(), expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"momentum": 0.6},
        {"momentum": 0.6, "nesterov": True},
        {"momentum": 0.3, "weight_decay": {"W1": 0.05, "b3": 0.2}},
    ],
    ids=str,
)
@pytest.mark.parametrize("batch_size", [1, 5, 37])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_batches_are_those_of_a_plain_loop(sampling, batch_size, update):
    problem = problem_for_numpy()
    steps = 50
    rates = {name: np.full(steps, 0.03) for name, _ in problem.net.named()}
    batches = batch_rows(Batches(37, batch_size, sampling, 5), steps)
    expected = numpy_descent(problem, rates, batches=batches, **update)[-1]
    check_run(
        problem,
        steps,
        expected,
        rate=0.03,
        batch_size=batch_size,
        sampling=sampling,
        shuffle_seed=5,
        **update,
    )


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize(
    "frozen", [(), ("W1",), ("b1", "W2"), ("W2", "W3"), ("W1", "b1", "W2", "b3"), ("W3", "b3")]
)
def test_frozen_parameters_stay_and_the_others_do_not_notice(frozen, batch_size):
    problem, steps = problem_for_numpy(), 20
    trained = [name for name, _ in problem.net.named() if name not in frozen]
    rates = {name: np.full(steps, 0.05) for name in trained}
    batches = None if batch_size is None else batch_rows(Batches(37, 4, "independent", 0), steps)
    decay = dict.fromkeys(trained, 0.1)
    states = numpy_descent(problem, rates, batches=batches, momentum=0.5, weight_decay=decay)
    check_run(
        problem,
        steps,
        states[-1],
        rate=0.05,
        frozen=frozen,
        batch_size=batch_size,
        momentum=0.5,
        weight_decay=0.1,
    )
    net = lipgd.train(*problem.data[:3], steps=steps, frozen=frozen, batch_size=batch_size).network
    for (name, array), (_, before) in zip(net.named(), problem.net.named(), strict=True):
        assert np.array_equal(array, before) == (name in frozen)


@pytest.mark.parametrize("sizes", [(5, 30, 1), (19, 30, 1), (150, 100, 1)])
@pytest.mark.parametrize("frozen", [("W1",), ("b1", "W2"), ("b2",), ("W1", "b1", "W2"), ("W2",)])
def test_a_frozen_part_of_one_hidden_layer_changes_no_bit_of_the_others(level, sizes, frozen):
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(300, sizes[0])), rng.normal(size=300)
    begin = lipgd.Network.create(list(sizes), activation="softplus", seed=4)
    free = lipgd.train(begin, X, y, rate=0.1, steps=1).network
    net = lipgd.train(begin, X, y, rate=0.1, steps=1, frozen=frozen).network
    start, moved = dict(begin.named()), dict(free.named())
    for name, array in net.named():
        assert np.array_equal(array, (start if name in frozen else moved)[name]), name


def test_rates_are_schedules_of_each_parameter():
    problem, steps = problem_for_numpy(), 40
    given = {
        "W1": 0.02,
        "b1": schedules.exponential(0.05, 0.1),
        "W2": lambda step: 0.1 / (1 + step),
        "W3": np.linspace(0.1, 0.0, steps),
        "b3": 0,
    }
    rates = {
        "W1": np.full(steps, 0.02),
        "b1": 0.05 * np.exp(-0.1 * np.arange(steps)),
        "W2": 0.1 / (1 + np.arange(steps)),
        "W3": np.linspace(0.1, 0.0, steps),
        "b3": np.zeros(steps),
    }
    check_run(problem, steps, numpy_descent(problem, rates)[-1], rate=given)
    run = lipgd.train(*problem.data[:3], rate=given, steps=steps, record=list(map(rate_of, given)))
    for name, rate in rates.items():
        np.testing.assert_allclose(run.settings.rates[name], rate, rtol=1e-15)
        np.testing.assert_array_equal(
            run.history[f"rate:{name}"], [*run.settings.rates[name], np.nan]
        )
        assert not run.settings.rates[name].flags.writeable


def rate_of(name: str) -> str:
    return f"rate:{name}"


@pytest.mark.parametrize("rate", [0.04, schedules.cosine(0.04, 30), lambda step: 0.04 / (1 + step)])
def test_one_rate_is_for_all_parameters(rate):
    problem, steps = problem_for_numpy(), 30
    values = schedules.resolve(rate).rates(steps)
    rates = {name: values for name, _ in problem.net.named()}
    check_run(problem, steps, numpy_descent(problem, rates)[-1], rate=rate)


def expected_columns(
    problem: Problem,
    states: list[list[np.ndarray]],
    rates: dict[str, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    points: np.ndarray,
    step: int,
) -> dict[str, float]:
    """Every quantity of one row but the brackets of spectral norms."""
    names = [name for name, _ in problem.net.named()]
    state, start = states[step], states[0]
    risk, gradient = numpy_risk_and_gradient(problem, state)
    aside = Problem(problem.net, *validation, "mse")
    weights = [array for name, array in zip(names, state, strict=True) if name[0] == "W"]
    by_name = dict(zip(names, state, strict=True))
    biases = [by_name.get(f"b{layer + 1}") for layer in range(problem.net.depth)]
    net = problem.net.replace(weights=weights, biases=biases)
    norms = [np.linalg.norm(w, 2) for w in weights]
    columns = {
        "risk": risk,
        "validation_risk": numpy_risk_and_gradient(aside, state)[0],
        "lipschitz_lower": max(np.linalg.norm(j, 2) for j in torch_jacobian(net, points)),
        "lipschitz_upper": abs(net.output_scale) * np.prod(norms),
    }

    def add(name: str, parts: list[np.ndarray]) -> None:
        squares = [float((part**2).sum()) for part in parts]
        columns[name] = np.sqrt(sum(squares))
        columns.update({f"{name}:{n}": np.sqrt(v) for n, v in zip(names, squares, strict=True)})

    add("gradient_norm", gradient)
    add("parameter_norm", state)
    add("displacement", [a - b for a, b in zip(state, start, strict=True)])
    for i, name in enumerate(names):
        taken = [np.linalg.norm(states[s + 1][i] - states[s][i]) for s in range(step)]
        columns[f"path_length:{name}"] = float(np.sum(taken))
        last = step + 1 == len(states)
        columns[f"rate:{name}"] = np.nan if last else rates[name][step]
    for layer, norm in enumerate(norms):
        columns[f"spectral_norm:W{layer + 1}"] = columns[f"spectral_norm_lower:W{layer + 1}"] = norm
    return columns


@pytest.mark.parametrize(("batch_size", "sampling"), [(None, "independent"), (5, "reshuffled")])
@pytest.mark.parametrize("record_every", [1, 7])
def test_every_column_is_what_its_name_says(level, record_every, batch_size, sampling):
    problem, steps = problem_for_numpy(), 24
    rng = np.random.default_rng(1)
    validation = rng.normal(size=(11, 3)), rng.normal(size=(11, 2))
    points = rng.normal(size=(9, 3))
    # Margins, sharpness, the tight certificate and the dynamics have tests of their own.
    own = (*MARGIN_RECORDS, DYNAMICS, "sharpness", "sharpness_residual", "lipschitz_upper_sdp")
    every = (n for n in column_names(problem.net._layout) if not n.startswith("dynamics_"))
    names = tuple(name for name in every if name not in own)
    rates = {name: np.linspace(0.05, 0.01, steps) for name, _ in problem.net.named()}
    net, X, y, loss, weights = problem.data
    run = lipgd.train(
        net,
        X,
        y,
        loss=loss,
        sample_weight=weights,
        rate=np.linspace(0.05, 0.01, steps),
        steps=steps,
        batch_size=batch_size,
        sampling=sampling,
        validation=validation,
        points=points,
        record=names,
        record_every=record_every,
    )
    batches = None if batch_size is None else batch_rows(Batches(37, 5, sampling, 0), steps)
    states = numpy_descent(problem, rates, batches=batches)
    assert run.history.columns == names
    assert run.history.step.tolist() == sorted({*range(0, steps, record_every), steps})
    for row, step in enumerate(run.history.step):
        expected = expected_columns(problem, states, rates, validation, points, step)
        assert sorted(expected) == sorted(names)
        for name in names:
            value, exact = run.history[name][row], expected[name]
            if name.startswith("spectral_norm:") or name == "lipschitz_upper":
                assert exact * (1 - 1e-13) <= value <= exact * (1 + 3e-6), name
            elif name.startswith("spectral_norm_lower"):
                assert exact * (1 - 2e-6) <= value <= exact * (1 + 1e-13), name
            else:
                near = pytest.approx(exact, rel=1e-10, abs=1e-13, nan_ok=True)
                assert value == near, name
    for layer in range(1, 4):
        low, high = (run.history[f"{n}:W{layer}"] for n in ("spectral_norm_lower", "spectral_norm"))
        assert (low <= high).all()
    assert (run.history["lipschitz_lower"] <= run.history["lipschitz_upper"]).all()


@pytest.mark.parametrize("steps", [0, 1, 2, 9, 10, 11])
@pytest.mark.parametrize("record_every", [1, 2, 5, 100])
@pytest.mark.parametrize("batch_size", [None, 6])
def test_rows_are_every_kth_state_and_the_last(steps, record_every, batch_size):
    problem = problem_for_numpy(1)
    record = ("risk", "rate:W1", "displacement")
    run = lipgd.train(
        *problem.data[:3],
        steps=steps,
        record=record,
        record_every=record_every,
        batch_size=batch_size,
    )
    assert run.history.step.tolist() == sorted({*range(0, steps, record_every), steps})
    assert run.history.columns == record
    assert np.isfinite(run.history["risk"]).all()
    rates = run.history["rate:W1"]
    assert np.isnan(rates[-1])
    assert (rates[:-1] == 0.01).all()
    assert run.history["risk"][-1] == pytest.approx(lipgd.risk(run.network, *problem.data[1:3]))


def test_without_a_record_there_is_no_row():
    problem = problem_for_numpy(1)
    run = lipgd.train(*problem.data[:3], steps=30, record=())
    assert (len(run.history), run.history.columns) == (0, ())
    with_risk = lipgd.train(*problem.data[:3], steps=30)
    assert run.network == with_risk.network
    assert run.settings.record == ()


def test_a_run_knows_its_settings():
    problem = problem_for_numpy(1)
    run = lipgd.train(
        *problem.data[:3], steps=7, weight_decay=0.5, frozen="b1", batch_size=3, momentum=0.25
    )
    settings = run.settings
    assert (settings.steps, settings.batch_size, settings.momentum) == (7, 3, 0.25)
    assert settings.frozen == ("b1",)
    assert settings.weight_decay == dict.fromkeys(("W1", "W2", "W3", "b3"), 0.5)
    assert list(settings.rates) == ["W1", "W2", "W3", "b3"]
    assert settings.loss == lipgd.losses.get("mse")
    assert run.seconds > 0
    meta = run.history.meta
    assert (meta["n_samples"], meta["batch_size"], meta["dtype"]) == (37, 3, "float64")
    assert repr(run).startswith("Run(finished after 7 steps, ")


def test_runs_are_objects_of_their_own():
    problem = problem_for_numpy(1)
    runs = [lipgd.train(*problem.data[:3], steps=3) for _ in range(2)]
    assert runs[0] != runs[1]
    assert runs[0].settings != runs[1].settings
    assert len({runs[0], runs[1], runs[0]}) == 2
    again = pickle.loads(pickle.dumps(runs[0]))
    assert again.network == runs[0].network == runs[1].network
    assert again.history == runs[0].history == runs[1].history
    with pytest.raises(dataclasses.FrozenInstanceError):
        runs[0].status = "converged"
