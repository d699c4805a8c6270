"""The retraction goes to the nearest matrices at the limit, and so wastes little of it."""

from __future__ import annotations

import numpy as np
import pytest
from reference import Problem, random_problem
from scipy.optimize import brentq, minimize
from test_lipschitz_target import norm, product_bound

import lipgd


def one_step(problem: Problem, rate: float, **settings) -> lipgd.Network:
    net, X, y, loss, _ = problem.data
    return lipgd.train(net, X, y, loss=loss, rate=rate, steps=1, **settings).network


def spectrum(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)


def product_of_norms(*weights: np.ndarray) -> float:
    return float(np.prod([norm(w) for w in weights]))


def cut(matrix: np.ndarray, cap: float) -> np.ndarray:
    u, s, v = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    return (u * np.minimum(s, cap)) @ v


def least_cost(weights: list[np.ndarray], product: float) -> float:
    """Half the squared distance to the nearest matrices with that product of norms."""
    spectra = [spectrum(w) for w in weights]
    tops = np.array([s[0] for s in spectra])

    def cost(logs: np.ndarray) -> float:
        logs = np.append(logs, np.log(product) - logs.sum())
        return sum(
            0.5 * np.sum(np.maximum(s - c, 0) ** 2)
            for s, c in zip(spectra, np.exp(logs), strict=True)
        )

    start = np.log(tops) + np.log(product / tops.prod()) / len(tops)
    options = {"xatol": 1e-10, "fatol": 1e-16, "maxiter": 20000, "maxfev": 20000}
    return min(
        minimize(cost, start[:-1] + shift, method="Nelder-Mead", options=options).fun
        for shift in (0.0, 0.02, -0.02)
    )


@pytest.mark.parametrize("sizes", [(3, 20, 2), (6, 9, 14, 2), (4, 8, 6, 10, 3), (5, 30, 1)])
def test_a_step_over_the_limit_ends_at_the_nearest_matrices(level, sizes):
    rng = np.random.default_rng(len(sizes))
    for seed in range(4):
        problem = random_problem(seed, "tanh", "mse", np.float64, 30, sizes)
        problem = Problem(problem.net, problem.X, 20 * problem.y, "mse")
        rate = float(rng.uniform(0.01, 0.05))
        full = one_step(problem, rate)
        begin, end = product_bound(problem.net), product_bound(full)
        if end <= begin:
            continue
        limit = begin + rng.uniform(0.0, 0.7) * (end - begin)
        net = one_step(problem, rate, constraint=lipgd.LipschitzTarget(limit))
        distance = 0.5 * sum(
            np.sum((a - b) ** 2) for a, b in zip(net.weights, full.weights, strict=True)
        )
        np.testing.assert_allclose(product_bound(net), limit, rtol=1e-4)
        expected = least_cost(list(full.weights), product_of_norms(*net.weights))
        assert distance <= expected * 1.001, (sizes, seed)
        for new, old in zip(net.weights, full.weights, strict=True):
            np.testing.assert_allclose(new, cut(old, norm(new)), atol=1e-6 * norm(old))
        for new, old in zip(net.biases, full.biases, strict=True):
            assert np.array_equal(new, old)


def test_frozen_weights_leave_the_cut_to_the_others():
    problem = random_problem(0, "relu", "mse", np.float64, 30, (4, 8, 6, 2))
    problem = Problem(problem.net, problem.X, 20 * problem.y, "mse")
    full = one_step(problem, 0.05, frozen=("W2",))
    limit = 1.0001 * product_bound(problem.net)
    assert product_bound(full) > limit
    target = lipgd.LipschitzTarget(limit)
    net = one_step(problem, 0.05, frozen=("W2",), constraint=target)
    assert np.array_equal(net.weights[1], problem.net.weights[1])
    moved = [full.weights[0], full.weights[2]]
    distance = 0.5 * sum(np.sum((a - b) ** 2) for a, b in zip(moved, net.weights[::2], strict=True))
    assert distance <= 1.001 * least_cost(moved, product_of_norms(*net.weights[::2]))


def test_large_layers_are_cut_and_not_squeezed():
    """A layer above the size that is decomposed: the singular values below the cap stay."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 300)))[0] for n in (320, 300))
    values = np.concatenate([[3.0, 2.9, 2.8], np.linspace(1.0, 0.5, 297)])
    weights = [(left * values) @ right.T, np.ones((1, 320)) / np.sqrt(320)]
    for order in (weights, [w.T for w in weights[::-1]]):
        net = lipgd.Network(order, activation="identity")
        X = rng.normal(size=(10, net.n_inputs))
        problem = Problem(net, X, 3 * net(X), "mse")
        full = one_step(problem, 2.0)
        begin, end = product_bound(net), product_bound(full)
        assert end > 1.001 * begin
        limit = 0.5 * (begin + end)
        cut_net = one_step(problem, 2.0, constraint=lipgd.LipschitzTarget(limit))
        distance = 0.5 * sum(
            np.sum((a - b) ** 2) for a, b in zip(cut_net.weights, full.weights, strict=True)
        )
        assert 0.9999 * limit <= product_bound(cut_net) <= limit
        assert distance <= 1.01 * least_cost(list(full.weights), product_of_norms(*cut_net.weights))
        for new, old in zip(cut_net.weights, full.weights, strict=True):
            if min(new.shape) > 1:
                np.testing.assert_allclose(spectrum(new)[3:], spectrum(old)[3:], rtol=1e-5)


def test_a_large_step_still_meets_the_limit():
    for seed in range(5):
        problem = random_problem(seed, "relu", "mse", np.float64, 30, (3, 20, 6, 2))
        limit = 1.01 * product_bound(problem.net)
        for rate in (1.0, 1e3, 1e9, 1e30):
            net = one_step(problem, rate, constraint=lipgd.LipschitzTarget(limit))
            assert product_bound(net) <= limit
            assert np.isfinite(net._flat).all()


def clipped(problem: Problem, limit: float, rate: float, steps: int) -> float:
    """The risk after descent that scales each layer down to its proportional share."""
    net, X, y, loss, _ = problem.data
    norms = [norm(w) for w in net.weights]
    growth = brentq(lambda t: t**net.depth * np.prod(norms) - limit, 0, 1e3)
    for _ in range(steps):
        gradient = lipgd.risk_and_gradient(net, X, y, loss=loss, n_threads=1)[1]
        weights = [w - rate * g for w, g in zip(net.weights, gradient.weights, strict=True)]
        weights = [w * min(1.0, growth * n / norm(w)) for w, n in zip(weights, norms, strict=True)]
        biases = [b - rate * g for b, g in zip(net.biases, gradient.biases, strict=True)]
        net = lipgd.Network(weights, biases, activation=net.activation)
    return lipgd.risk(net, X, y, loss=loss)


def test_the_limit_is_not_wasted_next_to_clipped_layers():
    digits = lipgd.data.load("digits_3_vs_8")
    X, y = digits.X[::3] / 16, digits.y[::3]
    net = lipgd.Network.create([64, 20, 1], activation="relu", init="lecun_normal", seed=0)
    free = lipgd.train(net, X, y, loss="logistic", rate=0.5, steps=150)
    limit = product_bound(net) * 1.1
    assert product_bound(free.network) > 1.2 * limit
    run = lipgd.train(
        net, X, y, loss="logistic", rate=0.5, steps=150, constraint=lipgd.LipschitzTarget(limit)
    )
    assert 0.95 * limit <= product_bound(run.network) <= limit
    risk = lipgd.risk(run.network, X, y, loss="logistic")
    peer = clipped(Problem(net, X, np.asarray(y, float)[:, None], "logistic"), limit, 0.5, 1500)
    assert risk <= 1.05 * peer
