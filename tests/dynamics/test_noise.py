"""Roots of the noise covariance, paths of the equation, and how noise is propagated."""

from __future__ import annotations

import numpy as np
import pytest

import lipgd
from lipgd.dynamics import Triplets, ensemble, noise_root, simulate
from lipgd.dynamics._descent_problem import DescentProblem
from lipgd.dynamics._epochs import spread_slopes
from lipgd.dynamics._noise_in_time import NoiseInTime
from lipgd.dynamics._propagation import NoiseFreePath, propagated_variance


def problem(seed=0, n=40, sizes=(4, 6, 3), loss="cross_entropy"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, sizes[0]))
    y = rng.integers(0, sizes[-1], n) if loss == "cross_entropy" else X[:, : sizes[-1]] ** 2
    net = lipgd.Network.create(list(sizes), activation="silu", init="torch", seed=seed)
    return net, X, y, loss


def sample_gradients(net, X, y, loss):
    return np.stack(
        [lipgd.risk_and_gradient(net, X[i : i + 1], y[i : i + 1], loss)[1]._flat
         for i in range(len(X))]
    )  # fmt: skip


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("sampling", ["independent", "replacement"])
def test_the_root_is_that_of_materialized_gradients(level, loss, sampling):
    net, X, y, loss = problem(loss=loss)
    whole = noise_root(net, X, y, batch_size=8, loss=loss, sampling=sampling)
    gradients = sample_gradients(net, X, y, loss)
    factor = (1 - (8 if sampling == "independent" else 1) / 40) / 8
    covariance = factor * np.cov(gradients.T)
    size = np.abs(covariance).max()
    np.testing.assert_allclose(whole.factors.T @ whole.factors, covariance, atol=1e-12 * size)
    assert whole.trace == pytest.approx(np.trace(covariance), rel=1e-12)
    values = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    part = noise_root(net, X, y, batch_size=8, loss=loss, sampling=sampling, rank=5)
    np.testing.assert_allclose(part.values, values[:5], rtol=1e-10)
    assert part.trace_error == pytest.approx(values[5:].sum(), rel=1e-9)
    missing = np.trace(covariance - part.factors.T @ part.factors)
    assert missing == pytest.approx(part.trace_error, rel=1e-9)


def test_samples_of_the_root_have_its_covariance():
    net, X, y, loss = problem(1)
    frozen = ("b1", "W2")
    root = noise_root(net, X, y, batch_size=8, loss=loss, frozen=frozen)
    rng = np.random.default_rng(0)
    draws = np.stack([root.sample(rng)._flat for _ in range(20000)])
    names = np.concatenate([[name] * array.size for name, array in net.named()])
    assert (draws[:, np.isin(names, frozen)] == 0).all()
    exact = root.factors.T @ root.factors
    error = np.linalg.norm(np.cov(draws.T) - exact) / np.linalg.norm(exact)
    assert error < 0.05


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.7, False), (0.7, True)])
def test_propagation_is_the_derivative_of_the_path(momentum, nesterov):
    """Disturb one gradient of the noise-free path along each sample, and look at the end."""
    net, X, y, loss = problem(2, n=12)
    end, rate, decay = 5, 0.3, 0.02
    case = DescentProblem.checked(net, X, y, loss, (), 1)
    noise = NoiseInTime(12, 3, "independent", momentum, nesterov)
    decays = np.full(net.n_parameters, decay)
    path = NoiseFreePath(case, np.full(end, rate), noise, decays, [0, end])

    def last(step, direction, size):
        theta, v = net._flat.copy(), np.zeros(net.n_parameters)
        for k in range(end):
            g = case.risk_gradient(theta) + decay * theta + (size * direction if k == step else 0.0)
            v = momentum * v + g
            theta = theta - rate * (g + momentum * v if nesterov else v)
        return case.log_norms(theta).sum()

    variance, h = 0.0, 1e-4
    for step, theta in enumerate(path.parameters(0, end)):
        gradients = sample_gradients(net._with_flat(theta.copy()), X, y, loss)
        away = gradients - gradients.mean(axis=0)
        slopes = np.array([(last(step, a, h) - last(step, a, -h)) / (2 * h) for a in away])
        variance += (1 - 3 / 12) / 3 * (slopes**2).sum() / 11
    assert propagated_variance(path, [end])[0] == pytest.approx(variance, rel=1e-5)
    assert path.log_norms[-1] == pytest.approx(last(-1, 0.0, 0.0), rel=1e-12)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"sampling": "replacement", "momentum": 0.6, "weight_decay": 0.01},
        {"sampling": "reshuffled", "batch_size": 15},
        {"sampling": "reshuffled", "batch_size": 14, "momentum": 0.5, "rate": 0.05},
    ],
)
def test_an_ensemble_has_the_propagated_variance_and_the_predicted_mean(rule):
    net, X, y, loss = problem(3, n=90, sizes=(6, 10, 3))
    settings = {"loss": loss, "rate": 0.1, "batch_size": 9, "steps": 32, **rule}
    # No target is the end of an epoch, where the leading order cancels.
    found = ensemble(net, X, y, runs=80, record_every=1, targets=[8, 16, 32], **settings)
    ratios = [row["propagated"] for row in found.table()]
    assert np.abs(np.log(ratios)).max() < 4 * np.sqrt(2 / 79)
    last = found.table()[-1]
    # Beyond sampling, what the formulas leave out: of the next order in the rate.
    allowed = 4 * last["unexplained_error"] + 0.01 * np.abs(found.mean - found.mean[0]).max()
    assert abs(last["unexplained"]) < allowed
    if rule.get("sampling") == "reshuffled":
        assert abs(last["unexplained"] + last["epoch"]) > allowed
    else:
        assert last["epoch"] == 0
    one = lipgd.train(net, X, y, **settings, shuffle_seed=5, record=())
    logs = sum(np.log(np.linalg.norm(w, 2)) for w in one.network.weights)
    assert found.observed[5, -1] == pytest.approx(logs, rel=1e-12)
    free = lipgd.train(net, X, y, **{**settings, "batch_size": None}, record=())
    logs = sum(np.log(np.linalg.norm(w, 2)) for w in free.network.weights)
    assert found.noise_free[-1] == pytest.approx(logs, rel=1e-9)
    assert "propagated" in str(found)


def test_the_table_of_an_ensemble_has_the_errors_of_its_means():
    net, X, y, loss = problem(8, n=40)
    found = ensemble(net, X, y, loss=loss, runs=4, steps=6, batch_size=8, record_every=3)
    row = found.table()[-1]
    end = found.observed[:, -1]
    left = end - [p.predicted[-1] for p in found.predictions]
    assert row["variance"] == pytest.approx(end.var(ddof=1), rel=1e-12)
    assert row["mean_error"] == pytest.approx(end.std(ddof=1) / 2, rel=1e-12)
    assert row["unexplained_error"] == pytest.approx(left.std(ddof=1) / 2, rel=1e-9)
    assert row["variance_error"] == pytest.approx(np.sqrt(2 / 3), rel=1e-12)
    inside = np.mean([p.variance[-1] for p in found.predictions])
    assert row["innovation"] == pytest.approx(inside / end.var(ddof=1), rel=1e-12)


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_slopes_of_the_spread_are_those_of_materialized_gradients(activation):
    net, X, y, loss = problem(6, n=400, sizes=(5, 8, 6, 3))
    net = lipgd.Network(net.weights, net.biases, activation=activation)
    trained = [True, False, True, True, False, True]
    case = DescentProblem.checked(net, X, y, loss, ("b1", "W3"), 1)
    tops = [Triplets.of(w) for w in net.weights]
    found = spread_slopes(net, case.x, case.targets, case.loss, tops, trained)

    def spread(theta):
        gradients = sample_gradients(net._with_flat(theta.copy()), X, y, loss)
        return 0.5 * gradients[:, case.trained].var(axis=0, ddof=1).sum()

    for layer in range(3):
        alone = case.norm_gradient(net._flat)
        for name, begin, end, _ in net._layout.groups:
            if name != f"W{layer + 1}":
                alone[begin:end] = 0
        # Of the same length where kinks make the difference depend on it.
        h = 1e-4 if activation == "silu" else 1e-2 * tops[layer].norm ** 2
        expected = (spread(net._flat + h * alone) - spread(net._flat - h * alone)) / (2 * h)
        near = 1e-5 if activation == "silu" else 1e-8
        assert found[layer] == pytest.approx(expected, rel=near, abs=1e-12)
    assert found[2] == 0


def test_the_drift_of_the_equation_is_that_of_gradient_descent():
    """Without noise: of order one along the gradient, of order two with the correction (3.4)."""
    net, X, y, loss = problem(4)
    settings = {"loss": loss, "rate": 0.4, "steps": 20}
    run = lipgd.train(net, X, y, record=(), weight_decay=0.05, **settings)
    logs = [np.log(np.linalg.norm(w, 2)) for w in run.network.weights]

    def error(**how):
        found = simulate(
            net, X, y, batch_size=len(X), weight_decay=0.05, **settings, **how
        )  # fmt: skip
        return np.abs(found.layers[0, -1] - logs).max()

    assert error(substeps=1) < 1e-12
    for substeps in (2, 20):
        plain, modified = error(substeps=substeps, drift="plain"), error(substeps=substeps)
        assert modified < 0.15 * plain


@pytest.mark.parametrize("rank", [None, 12])
def test_the_equation_spreads_like_gradient_descent(rank):
    net, X, y, loss = problem(5, n=60)
    settings = {"batch_size": 6, "rate": 0.2, "steps": 20, "loss": loss}
    runs = ensemble(net, X, y, runs=150, record_every=20, propagate=False, **settings)
    found = simulate(net, X, y, paths=150, record_every=20, rank=rank, refresh=10, **settings)
    error = np.sqrt((runs.variance[-1] + found.variance[-1]) / 150)
    assert found.mean[-1] == pytest.approx(runs.mean[-1], abs=4 * error)
    ratio = found.variance[-1] / runs.variance[-1]
    assert abs(np.log(ratio)) < 4 * np.sqrt(4 / 149) + (0.1 if rank else 0)
    again = simulate(
        net, X, y, paths=2, record_every=20, rank=rank, refresh=10, n_threads=1, **settings
    )
    np.testing.assert_array_equal(again.layers, found.layers[:2])


@pytest.mark.parametrize(
    ("call", "change", "message"),
    [
        (noise_root, {"rank": 40}, "rank is 40, expected an integer at least 1 and at most 39"),
        (noise_root, {"batch_size": 41}, "batch_size is 41"),
        (noise_root, {"sampling": "reshuffled"}, "sampling is 'reshuffled'"),
        (simulate, {"rate": 0.0}, "rate is 0.0"),
        (simulate, {"drift": "none"}, "drift is 'none'"),
        (simulate, {"frozen": ("W9",)}, "frozen has 'W9'"),
        (ensemble, {"runs": 1}, "runs is 1"),
        (ensemble, {"targets": [7]}, "targets has 7, expected steps of rows"),
        (ensemble, {"rate": {"W1": 0.1}}, "rate is a mapping"),
    ],
)
def test_bad_arguments_are_named(call, change, message):
    net, X, y, loss = problem()
    settings = {"batch_size": 8, "loss": loss}
    if call is not noise_root:
        settings |= {"rate": 0.1, "steps": 20}
    if call is ensemble:
        settings |= {"runs": 2}
    with pytest.raises((TypeError, ValueError), match=message):
        call(net, X, y, **{**settings, **change})
