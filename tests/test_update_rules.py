"""Update rules, clipping and penalties against PyTorch and against plain loops."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from reference import (
    Problem,
    batch_rows,
    flat,
    numpy_risk_and_gradient,
    random_problem,
    relative_error,
    sharpness,
    torch_gradient,
    torch_parameters,
    torch_risk,
)
from test_reproducible import assert_same

import lipgd
from lipgd._batches import Batches

STEPS = 200
SIZES = (3, 12, 7, 2)


def problem_of(activation: str = "tanh", loss: str = "mse") -> Problem:
    return random_problem(4, activation, loss, np.float64, 37, SIZES)


def train(problem: Problem, **settings: Any) -> lipgd.Run:
    net, X, y, loss, weights = problem.data
    return lipgd.train(net, X, y, loss=loss, sample_weight=weights, **{"steps": STEPS, **settings})


def parameters_of(parameters: list[torch.Tensor]) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in parameters])


def torch_loop(
    problem: Problem,
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
    clip: float | None = None,
) -> np.ndarray:
    parameters = torch_parameters(problem.net)
    optimizer = make(parameters)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch_risk(problem, parameters).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
    return parameters_of(parameters)


def check(run: lipgd.Run, expected: np.ndarray) -> None:
    assert (run.status, run.steps) == ("finished", STEPS)
    assert relative_error(flat(run.network), expected) <= 1e-9
    assert relative_error(flat(run.network), flat(run.initial)) > 0.01


@pytest.mark.parametrize("options", [{}, {"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_clipping_is_that_of_torch(level, options, weight_decay):
    problem = problem_of("gelu", "cross_entropy")
    rate = 0.5 / sharpness(problem) * (1 - options.get("momentum", 0.0))
    clip = 0.5 * float(np.linalg.norm(torch_gradient(problem)[1]))
    expected = torch_loop(
        problem,
        lambda p: torch.optim.SGD(p, lr=rate, weight_decay=weight_decay, **options),
        clip,
    )
    settings = {"rate": rate, "weight_decay": weight_decay, **options}
    # PyTorch divides by the norm + 1e-6.
    run = train(problem, clip_norm=clip, **settings)
    assert relative_error(flat(run.network), expected) <= 1e-4
    assert relative_error(flat(train(problem, **settings).network), expected) > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_clipping_by_name_and_of_all_is_that_of_a_loop(level, momentum):
    problem = problem_of()
    names = [name for name, _ in problem.net.named()]
    for clip in ({"W1": 0.05, "b1": 0.01, "W3": 1e-9}, 0.1):
        arrays = [np.array(a) for _, a in problem.net.named()]
        velocity = [np.zeros_like(a) for a in arrays]
        for _ in range(STEPS):
            gradient = numpy_risk_and_gradient(problem, arrays)[1]
            whole = np.sqrt(sum(np.sum(g**2) for g in gradient))
            for i, name in enumerate(names):
                size = np.linalg.norm(gradient[i]) if isinstance(clip, dict) else whole
                limit = clip.get(name, np.inf) if isinstance(clip, dict) else clip
                velocity[i] = momentum * velocity[i] + gradient[i] * min(1.0, limit / size)
                arrays[i] = arrays[i] - 0.02 * velocity[i]
        given = {k: v for k, v in clip.items() if k in names} if isinstance(clip, dict) else clip
        run = train(problem, rate=0.02, momentum=momentum, clip_norm=given)
        check(run, np.concatenate([a.ravel() for a in arrays]))


def test_a_large_clip_norm_changes_no_bit():
    problem = problem_of()
    clipped = train(problem, clip_norm=1e6)
    assert clipped.network._flat.tobytes() == train(problem).network._flat.tobytes()


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
def test_adam_is_that_of_torch(level, activation, weight_decay):
    problem = problem_of(activation, "logistic")
    expected = torch_loop(
        problem, lambda p: torch.optim.Adam(p, lr=0.003, weight_decay=weight_decay)
    )
    check(train(problem, update="adam", rate=0.003, weight_decay=weight_decay), expected)


def test_adam_with_batches_and_frozen_parameters(level):
    problem = problem_of("silu", "cross_entropy")
    names = [name for name, _ in problem.net.named()]
    parameters = torch_parameters(problem.net)
    optimizer = torch.optim.Adam(
        [p for p, name in zip(parameters, names, strict=True) if name != "W2"], lr=0.002
    )
    for rows in batch_rows(Batches(37, 8, "reshuffled", 3), STEPS):
        optimizer.zero_grad()
        torch_risk(problem, parameters, rows).backward()
        optimizer.step()
    run = train(
        problem,
        update="adam",
        rate=0.002,
        frozen=("W2",),
        batch_size=8,
        sampling="reshuffled",
        shuffle_seed=3,
    )
    check(run, parameters_of(parameters))


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_sign_descent_is_that_of_a_loop(level, momentum):
    problem = problem_of("softplus")
    arrays = [np.array(a) for _, a in problem.net.named()]
    velocity = [np.zeros_like(a) for a in arrays]
    rates = 0.003 * 0.99 ** np.arange(STEPS)
    for rate in rates:
        gradient = numpy_risk_and_gradient(problem, arrays)[1]
        velocity = [momentum * v + g for v, g in zip(velocity, gradient, strict=True)]
        arrays = [a - rate * np.sign(v) for a, v in zip(arrays, velocity, strict=True)]
    run = train(problem, update="sign", rate=rates, momentum=momentum)
    check(run, np.concatenate([a.ravel() for a in arrays]))


def test_conjugate_gradients_are_those_of_a_loop(level):
    problem = problem_of()
    theta = [np.array(a) for _, a in problem.net.named()]
    shapes = [a.shape for a in theta]
    split = np.cumsum([a.size for a in theta])[:-1]
    flat_theta, last, direction, restarts = flat(problem.net), None, 0.0, 0
    for _ in range(STEPS):
        arrays = [p.reshape(s) for p, s in zip(np.split(flat_theta, split), shapes, strict=True)]
        gradient = np.concatenate([g.ravel() for g in numpy_risk_and_gradient(problem, arrays)[1]])
        factor = 0.0 if last is None else gradient @ (gradient - last) / (last @ last)
        restarts += factor < 0
        direction = gradient + max(0.0, factor) * direction
        flat_theta, last = flat_theta - 0.05 * direction, gradient
    run = train(problem, update="conjugate_gradient", rate=0.05)
    check(run, flat_theta)
    assert restarts > 0 or np.linalg.norm(direction - gradient) > 0
    assert relative_error(flat(train(problem, rate=0.05).network), flat_theta) > 1e-6


def shrink(kind: str, threshold: float, a: np.ndarray) -> np.ndarray:
    if kind == "l1":
        return np.sign(a) * np.maximum(0.0, np.abs(a) - threshold)
    if kind == "frobenius":
        size = np.linalg.norm(a)
        return a * max(0.0, 1 - threshold / size) if size else a
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    return (u * np.maximum(0.0, s - threshold)) @ vt


PENALTIES: list[dict[str, tuple[str, float]]] = [
    {"W1": ("l1", 0.05), "W3": ("l1", 0.01)},
    {"W1": ("nuclear", 0.1), "W2": ("nuclear", 0.02), "W3": ("nuclear", 0.1)},
    {"W1": ("frobenius", 0.1), "W3": ("frobenius", 0.05)},
    {"W1": ("l1", 1.0), "W2": ("nuclear", 1.0), "W3": ("frobenius", 0.0)},
]


@pytest.mark.parametrize("proximal", PENALTIES, ids=str)
@pytest.mark.parametrize("rate", [0.02, {"W1": 0.01, "W2": 0.03, "W3": 0.05}], ids=str)
def test_proximal_steps_are_those_of_a_loop(level, proximal, rate):
    problem = problem_of()
    problem = Problem(problem.net.replace(biases=[None] * 3), *problem.data[1:])
    names = [name for name, _ in problem.net.named()]
    arrays = [np.array(a) for _, a in problem.net.named()]
    for _ in range(STEPS):
        gradient = numpy_risk_and_gradient(problem, arrays)[1]
        for i, name in enumerate(names):
            own = rate[name] if isinstance(rate, dict) else rate
            arrays[i] = arrays[i] - own * gradient[i]
            if name in proximal:
                kind, strength = proximal[name]
                arrays[i] = shrink(kind, own * strength, arrays[i])
    run = train(problem, rate=rate, proximal=proximal)
    check(run, np.concatenate([a.ravel() for a in arrays]))


@pytest.mark.parametrize("shape", [(40, 3), (3, 40), (12, 12), (1, 9), (9, 1)], ids=str)
@pytest.mark.parametrize("kind", ["l1", "nuclear", "frobenius"])
def test_one_proximal_step_on_any_matrix(level, shape, kind, dtype):
    rng = np.random.default_rng([*shape, len(kind)])
    weights = rng.normal(size=shape).astype(dtype)
    weights[:, -1] = weights[:, 0]  # not of full rank
    net = lipgd.Network([weights], activation="identity")
    X = rng.normal(size=(5, shape[1]))
    epsilon = np.finfo(dtype).eps
    for strength in (0.0, 0.5, 2.0, 100.0):
        run = lipgd.train(net, X, net(X), rate=1.0, steps=1, proximal={"W1": (kind, strength)})
        expected = shrink(kind, strength, weights.astype(np.float64))
        error = np.abs(run.network.weights[0] - expected).max()
        # One step against the tiny gradient that rounding leaves comes first.
        assert error <= 300 * epsilon * np.linalg.norm(weights)


@functools.cache
def everything(update: str) -> dict[str, Any]:
    options: dict[str, Any] = {"update": update, "rate": np.linspace(0.02, 0.01, 60), "steps": 60}
    if update in ("gradient", "sign"):
        options["momentum"] = 0.6
    return options | {
        "clip_norm": 0.5,
        "weight_decay": 0.01,
        "proximal": {"W1": ("l1", 0.01), "W2": ("nuclear", 0.01)},
        "record": ["risk", "rate:W1", "lipschitz_upper", "path_length:W2"],
    }


@pytest.mark.parametrize(
    "constraint",
    [
        None,
        lipgd.LipschitzTarget(8.0, rescale_initial=True),
        lipgd.RateCaps({"W1": 5.0, "b1": 3.0}, np.full(60, 0.01), "carry_over", norm="spectral"),
        lipgd.RateCaps({"W1": 5.0, "W3": 3.0}, lambda step: 0.01, "displacement"),
    ],
    ids=lambda c: type(c).__name__,
)
@pytest.mark.parametrize("update", ["gradient", "sign", "adam", "conjugate_gradient"])
@pytest.mark.parametrize("batch_size", [None, 10])
def test_resumed_runs_and_threads_have_the_same_bits(update, batch_size, constraint, tmp_path):
    problem = random_problem(6, "tanh", "mse", np.float64, 60, (4, 20, 12, 2))
    settings = everything(update) | {"batch_size": batch_size, "constraint": constraint}
    expected = train(problem, **settings)
    path = tmp_path / "state.npz"
    for stop in (1, 23):
        train(problem, **(settings | {"steps": stop}), checkpoint=path)
        assert_same(train(problem, **settings, resume=path), expected)
    assert_same(train(problem, **settings, n_threads=1), expected)
    assert_same(train(problem, **settings, n_threads=3), expected)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"update": "sign"}, "update"),
        ({"clip_norm": 0.4}, "clip_norm"),
        ({"proximal": {"W1": ("l1", 0.02)}}, "proximal"),
        ({"constraint": lipgd.RateCaps({"W1": 5.0}, np.full(60, 0.01))}, "increments"),
        ({"constraint": lipgd.RateCaps({"W1": 6.0}, np.full(60, 0.02))}, "constraint"),
        ({"constraint": None}, "constraint"),
    ],
)
def test_other_rules_are_not_resumed(changed, name, tmp_path):
    problem = random_problem(6, "tanh", "mse", np.float64, 60, (4, 20, 12, 2))
    settings = {
        "constraint": lipgd.RateCaps({"W1": 5.0}, np.full(60, 0.02)),
        "momentum": 0.5,
        "steps": 20,
    }
    path = tmp_path / "state.npz"
    train(problem, **settings, checkpoint=path)
    with pytest.raises(ValueError, match=name):
        train(problem, **(settings | changed), resume=path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"update": "lion"}, ValueError, "update is 'lion', expected"),
        ({"update": "adam", "momentum": 0.5}, ValueError, "momentum is 0.5, but update is 'adam'"),
        (
            {"update": "conjugate_gradient", "momentum": 0.5},
            ValueError,
            "momentum is 0.5, but update is 'conjugate_gradient'",
        ),
        ({"clip_norm": 0.0}, ValueError, "clip_norm is 0"),
        ({"clip_norm": {"W9": 1.0}}, ValueError, "clip_norm has the name 'W9', expected"),
        ({"clip_norm": {"W1": -1.0}}, ValueError, r"clip_norm\['W1'\] is -1"),
        ({"proximal": ("l1", 0.1)}, TypeError, "proximal is"),
        ({"proximal": {"W9": ("l1", 0.1)}}, ValueError, "proximal has the name 'W9', expected"),
        ({"proximal": {"W1": "l1"}}, TypeError, r"proximal\['W1'\] is 'l1', expected a pair"),
        ({"proximal": {"W1": ("l2", 0.1)}}, ValueError, r"proximal\['W1'\]\[0\] is 'l2'"),
        ({"proximal": {"W1": ("l1", -0.1)}}, ValueError, r"proximal\['W1'\]\[1\] is -0.1"),
        ({"proximal": {"b1": ("nuclear", 0.1)}}, ValueError, r"proximal\['b1'\] is 'nuclear'"),
    ],
    ids=str,
)
def test_bad_rules(arguments, error, message):
    problem = random_problem(6, "tanh", "mse", np.float64, 60, (4, 20, 12, 2))
    net = problem.net.replace(biases=[np.zeros(20), np.zeros(12), np.zeros(2)])
    with pytest.raises(error, match=f"^{message}"):
        lipgd.train(net, problem.X, problem.y, **arguments)
