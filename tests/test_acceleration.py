"""At the limit the movement of the last step goes on, and nothing else changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from reference import Problem, random_problem
from test_lipschitz_target import networks, product_bound, train

import lipgd


def at_the_limit(seed: int, dtype: type = np.float64) -> tuple[Problem, float]:
    problem = random_problem(seed, "tanh", "mse", dtype, 30, (3, 20, 2))
    problem = Problem(problem.net, problem.X, 5 * problem.y, "mse")
    return problem, 1.05 * product_bound(problem.net)


@pytest.mark.parametrize("seed", range(3))
def test_biases_move_by_the_heavy_ball_at_the_limit(level, seed, monkeypatch):
    """Biases are not cut: their steps show the part of the last one that goes on."""
    problem, limit = at_the_limit(seed)
    rate = np.where(np.arange(60) < 40, 0.05, 0.02)
    target = lipgd.LipschitzTarget(limit)
    settings = {"rate": rate, "steps": 60, "constraint": target}
    _, *nets = networks(problem, monkeypatch, **settings)
    nets = nets[:61]
    _, X, y, loss, _ = problem.data
    count, carried = 0, []
    for step, (net, after) in enumerate(pairwise(nets)):
        gradient = lipgd.risk_and_gradient(net, X, y, loss=loss)[1]
        share = 0.0
        movement = net._flat - nets[step - 1]._flat
        if count:
            count = count + 1 if gradient._flat @ movement <= 0 else 1
            share = (count - 1) / (count + 2) * (0.4 if step == 40 else 1.0)
        carried.append(share)
        full = net._flat - rate[step] * gradient._flat + share * movement
        cut = product_bound(net._with_flat(full)) > limit * (1 - 1e-5)
        count = max(count, 1) if cut else 0
        for name, begin, end, _ in net._layout.groups:
            if name.startswith("b"):
                np.testing.assert_allclose(after._flat[begin:end], full[begin:end], atol=1e-12)
    assert carried[0] == 0.0 and max(carried) > 0.5
    assert 0.0 in carried[5:] or min(carried[20:]) > 0.5


def test_steps_below_the_limit_are_those_without():
    problem, _ = at_the_limit(0)
    settings = {"rate": 0.05, "steps": 30}
    free = train(problem, **settings).network
    target = lipgd.LipschitzTarget(1.001 * max(product_bound(problem.net), product_bound(free)))
    assert train(problem, constraint=target, **settings).network._flat.tobytes() == (
        free._flat.tobytes()
    )


@pytest.mark.parametrize(
    "options", [{"momentum": 0.9}, {"update": "adam"}, {"update": "sign"}, {"batch_size": 7}]
)
def test_other_steps_are_left_as_they_are(options):
    problem, limit = at_the_limit(1)
    runs = [
        train(
            problem,
            rate=0.01,
            steps=20,
            constraint=lipgd.LipschitzTarget(limit, accelerate=accelerate),
            **options,
        )
        for accelerate in (True, False)
    ]
    assert runs[0].network._flat.tobytes() == runs[1].network._flat.tobytes()


@pytest.mark.parametrize("certificate", ["product", "balanced"])
def test_as_far_as_many_more_plain_steps(certificate):
    data = lipgd.data.load("diabetes")
    X, y = ((a - a.mean(0)) / a.std(0) for a in (data.X, data.y))
    net = lipgd.Network.create([10, 20, 1], activation="relu", seed=0)

    def risk(steps: int, accelerate: bool) -> float:
        target = lipgd.LipschitzTarget(
            1.0, certificate=certificate, rescale_initial=True, accelerate=accelerate
        )
        run = lipgd.train(net, X, y, rate=0.05, steps=steps, constraint=target)
        return lipgd.risk(run.network, X, y)

    assert risk(400, True) < risk(1200, False) < risk(400, False)


def test_no_movement_goes_on_at_the_rate_zero():
    problem, limit = at_the_limit(2)
    rate = np.where(np.arange(40) < 30, 0.05, 0.0)
    target = lipgd.LipschitzTarget(limit)
    short, long = (train(problem, rate=rate, steps=n, constraint=target).network for n in (30, 40))
    for (name, old), (_, new) in zip(short.named(), long.named(), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, err_msg=name)


def test_resumed_runs_carry_the_same_movement(tmp_path, dtype):
    problem, limit = at_the_limit(3, dtype)
    settings = {"rate": 0.05, "constraint": lipgd.LipschitzTarget(limit)}
    whole = train(problem, steps=40, **settings)
    path = tmp_path / "half.npz"
    train(problem, steps=23, checkpoint=path, **settings)
    resumed = train(problem, steps=40, resume=path, **settings)
    assert resumed.network._flat.tobytes() == whole.network._flat.tobytes()


def test_theorem_3_ends_where_movements_may_go_on():
    """The rates alone bound the norms up to the limit; beyond it, the limit does."""
    for seed in range(4):
        problem, _ = at_the_limit(seed)
        limit = 3.0 * product_bound(problem.net)
        for rate in (1e-4, 0.05):
            run = train(
                problem,
                rate=rate,
                steps=50,
                record=["lipschitz_upper"],
                constraint=lipgd.LipschitzTarget(limit),
            )
            found = lipgd.report.guarantees(run, problem.X, problem.y)
            bound = found["lipschitz_theorem3"]
            assert (found["lipschitz_upper"] <= bound).all() and (bound <= limit).all()
            assert (bound[1] < limit) == (rate == 1e-4) or bound[-1] == limit
