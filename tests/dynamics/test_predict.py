"""Predictions along trainings: section 14 of dynamics.md on small problems of other kinds."""

from __future__ import annotations

import numpy as np
import pytest

import lipgd
from lipgd.dynamics import LogNormal, Recording, predict
from lipgd.dynamics._noise_in_time import NoiseInTime

SIZES = [64, 32, 16, 10]


@pytest.fixture(scope="module")
def digits():
    data = lipgd.data.load("digits")
    X, y = data.X[:600], data.y[:600]
    return (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-8), y


def trained(digits, steps=150, seed=0, record_every=1, activation="silu", **settings):
    net = lipgd.Network.create(SIZES, activation=activation, init="torch", seed=seed)
    settings = {"rate": 0.1, "batch_size": 32, "shuffle_seed": seed, **settings}
    return lipgd.train(
        net, *digits, loss="cross_entropy", steps=steps, record=["lipschitz_dynamics"],
        record_every=record_every, **settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"activation": "relu"},
        {"sampling": "replacement", "weight_decay": 1e-2},
        {"momentum": 0.9, "rate": 0.02},
        {"momentum": 0.9, "nesterov": True, "rate": 0.02},
        {"sampling": "reshuffled", "batch_size": 50},
        {"frozen": ("W2",)},
    ],
)
def test_replay_and_pathwise_follow_the_observed_trajectory(digits, rule):
    found = predict(trained(digits, seed=1, **rule))
    late = found.step >= 30
    assert found.error("pathwise").max() < 2e-3
    assert found.error("replay")[late].mean() < 2e-3
    assert abs(found.z[-1]) < 4 or rule.get("sampling") == "reshuffled"
    # Without the finite-step term it is visibly worse, over the whole of the steps.
    without = np.abs(found.replay - found.finite_step - found.observed)[late].mean()
    assert without > 1.5 * np.abs(found.replay - found.observed)[late].mean()


def test_parts_add_up_and_layers_make_the_network(digits):
    found = predict(trained(digits, steps=60, record_every=7))
    parts = found.drift + found.noise_curvature + found.ito + found.finite_step + found.epoch
    np.testing.assert_allclose(found.predicted - found.observed[0], parts, rtol=1e-12, atol=1e-14)
    assert [layer.name for layer in found.layers] == ["W1", "W2", "W3"]
    for name in ("observed", "predicted", "replay", "pathwise", "drift", "noise_curvature", "ito"):
        total = sum(getattr(layer, name) for layer in found.layers)
        np.testing.assert_allclose(total, getattr(found, name), rtol=1e-10, atol=1e-12)
    assert found.time[-1] == pytest.approx(6.0)
    assert np.isnan(found.z[0])
    assert "observed" in str(found)
    law = found.law()
    assert law.median == pytest.approx(np.exp(found.predicted[-1]), rel=1e-12)
    paired = predict(trained(digits, steps=60, record_every=7), pair_term=True)
    np.testing.assert_allclose(paired.predicted - found.predicted, found.pair, atol=1e-12)


def test_parts_are_sums_of_the_recorded_coefficients(digits):
    run = trained(digits, steps=20)
    found = predict(run)
    names = [("drift", "mu", 1.0), ("noise_curvature", "kappa", 1.0), ("ito", "lambda2", -0.5)]
    names += [("finite_step", "psi", 1.0), ("variance", "lambda2", 1.0)]
    for layer in found.layers:
        for part, column, factor in names:
            values = factor * 0.1 * run.history[f"dynamics_{column}:{layer.name}"][:-1]
            sums = np.concatenate([[0.0], np.cumsum(values)])
            np.testing.assert_allclose(getattr(layer, part), sums, rtol=1e-10, atol=1e-15)


def test_sparse_rows_are_interpolated(digits):
    every = predict(trained(digits, seed=2, steps=120))
    sparse = predict(trained(digits, seed=2, steps=120, record_every=10))
    moved = np.abs(every.observed - every.observed[0]).max()
    assert np.abs(sparse.predicted - every.predicted[::10]).max() < 0.015 * moved
    assert np.abs(sparse.replay - every.replay[::10]).max() < 1e-3 * moved
    np.testing.assert_allclose(sparse.variance[1:], every.variance[10::10], rtol=0.1)
    adaptive = predict(trained(digits, seed=2, steps=120, dynamics=Recording(movement=0.02)))
    assert 10 < adaptive.rows < 120
    np.testing.assert_allclose(
        adaptive.predicted, every.predicted[adaptive.step], atol=4e-3 * moved
    )


def test_z_scores_of_many_runs_are_standard(digits):
    how = {"steps": 60, "seed": 3, "dynamics": Recording(diagonal=False)}
    z = [predict(trained(digits, **how, shuffle_seed=seed)).z[-1] for seed in range(30)]
    assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.35  # 30 runs: within 2.5 standard errors


def test_probes_widen_the_standard_error(digits):
    whole = predict(trained(digits, steps=40))
    probed = predict(trained(digits, steps=40, dynamics=Recording(probe_size=64)))
    assert probed.variance[0] == 0.0 and probed.variance[1] > 0.0
    factor = 1 + 32 / 64 * (1 - 64 / 600) / (1 - 32 / 600)
    # Up to the sampling error of what probes of 64 say of lambda^2.
    assert probed.variance[-1] / whole.variance[-1] == pytest.approx(factor, rel=0.2)
    # A probe at every tenth step stands for ten steps at once.
    rare = predict(trained(digits, steps=40, record_every=10, dynamics=Recording(probe_size=64)))
    excess = (rare.variance[-1] - whole.variance[-1]) / whole.variance[-1]
    assert 5 * (factor - 1) < excess < 20 * (factor - 1)


def test_a_run_without_the_record_is_repeated(digits):
    net = lipgd.Network.create(SIZES, activation="tanh", init="torch", seed=4)
    settings = {"loss": "cross_entropy", "rate": 0.1, "steps": 30, "batch_size": 32}
    plain = lipgd.train(net, *digits, **settings, momentum=0.5, weight_decay={"W1": 0.01})
    found = predict(plain, *digits)
    assert found.step.tolist() == [0, 10, 20, 30]
    logs = [np.log(np.linalg.norm(w, 2)) for w in plain.network.weights]
    assert found.observed[-1] == pytest.approx(sum(logs), rel=1e-12)
    with pytest.raises(ValueError, match="X or y is missing"):
        predict(plain)
    with pytest.raises(ValueError, match="expected the data of the run"):
        predict(plain, digits[0] + 1, digits[1])
    with pytest.raises(ValueError, match="X has 10 samples, but the run had 600"):
        predict(plain, digits[0][:10], digits[1][:10])
    with pytest.raises(TypeError, match="run is 3"):
        predict(3)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("n", "batch"), [(12, 3), (11, 3)])
def test_the_factors_of_reshuffled_epochs(nesterov, n, batch):
    """By drawing permutations: the mean of -<J_k, e_k> and the variance of sums of noise."""
    rng, beta = np.random.default_rng(0), 0.6
    noise = NoiseInTime(n, batch, "reshuffled", beta, nesterov)
    population = rng.normal(size=n)
    population -= population.mean()
    c = population.var(ddof=1)
    steps, gain = noise.steps_per_epoch, 1 + beta if nesterov else 1.0
    draws = 40000
    orders = np.stack([rng.permutation(population) for _ in range(draws)])
    cuts = [orders[:, k * batch : (k + 1) * batch].mean(axis=1) for k in range(steps)]
    # theta moves by minus what is subtracted; J = theta for the Hessian one; rate one.
    theta, velocity = np.zeros(draws), np.zeros(draws)
    growth = []
    for e in cuts:
        velocity = beta * velocity + e
        growth.append((-theta * gain * e + 0.5 * gain**2 * e**2).mean())
        theta = theta - (e + beta * velocity if nesterov else velocity)
    plain = 0.5 * gain**2 * c / batch * noise.factor
    found = plain * noise.curvature_factors(steps)
    np.testing.assert_allclose(found, growth, atol=0.06 * plain)
    variances = np.full(steps, c / batch * noise.factor)
    alone = variances * noise.own_factors(steps)
    np.testing.assert_allclose(alone, np.var(cuts, axis=1), atol=0.02 * c / batch)
    sums = np.cumsum(cuts, axis=0).var(axis=1)
    np.testing.assert_allclose(noise.accumulated(variances), sums, atol=0.02 * c / batch)


def test_the_law_of_the_product():
    law = LogNormal(0.3, 0.04)
    draws = np.exp(0.3 + 0.2 * np.random.default_rng(0).standard_normal(400000))
    assert law.mean == pytest.approx(draws.mean(), rel=2e-3)
    assert law.variance == pytest.approx(draws.var(), rel=1e-2)
    assert law.quantile(0.9) == pytest.approx(np.quantile(draws, 0.9), rel=3e-3)
    with pytest.raises(ValueError, match=r"probability is 1\.0"):
        law.quantile(1.0)
    with pytest.raises(ValueError, match="log_variance is -1"):
        LogNormal(0.0, -1.0)
