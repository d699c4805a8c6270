"""Coefficients against gradients of every sample, all batches and dense algebra."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lipgd
from lipgd.dynamics import Moments, Triplets, coefficients, coefficients_of


def gradients(net, X, y, loss):
    """Return the gradients of all samples, one array (n, m, n_inputs) per layer."""
    each = [
        lipgd.risk_and_gradient(net, X[i : i + 1], y[i : i + 1], loss)[1] for i in range(len(X))
    ]
    return [np.stack([g.weights[layer] for g in each]) for layer in range(net.depth)]


def hessian_matrix(top):
    shape = top.jacobian.shape
    basis = np.eye(top.jacobian.size).reshape(-1, *shape)
    rows = [top.project(unit) for unit in basis]
    a, b, outside = (np.stack([row[k] for row in rows]) for k in range(3))
    rest = top.values[1:]
    w, c = top.norm / (top.norm**2 - rest**2), rest / (top.norm**2 - rest**2)
    a, b = a[:, 1:], b[:, 1:]
    mixed = (a * c) @ b.T
    return (a * w) @ a.T + (b * w) @ b.T + mixed + mixed.T + outside @ outside.T / top.norm


def problem(seed=0, n=60, sizes=(5, 9, 7, 3), loss="cross_entropy", activation="silu"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, sizes[0]))
    y = (
        rng.integers(0, sizes[-1], n)
        if loss == "cross_entropy"
        else rng.normal(size=(n, sizes[-1]))
    )
    net = lipgd.Network.create(list(sizes), activation=activation, seed=seed, output_scale=1.3)
    return net, X, y, loss


def oracle(net, grads, factor, rate, gain=1.0, shift=None):
    """Return mu, kappa, psi, the covariance, and diagonal parts, by dense algebra."""
    tops = [Triplets.of(w) for w in net.weights]
    n = len(grads[0])
    flat = np.concatenate([g.reshape(n, -1) for g in grads], axis=1)
    noise = factor * np.cov(flat.T, ddof=1)
    ends = np.cumsum([0, *(g[0].size for g in grads)])
    jacobian = np.zeros((len(grads), flat.shape[1]))
    mu, kappa, psi, diagonal = [], [], [], []
    for layer, top in enumerate(tops):
        part = slice(ends[layer], ends[layer + 1])
        mean = gain * grads[layer].mean(axis=0) + (0 if shift is None else shift[layer])
        hessian = hessian_matrix(top)
        block = noise[part, part]
        jacobian[layer, part] = top.jacobian.ravel() / top.norm
        mu.append(-(top.jacobian * mean).sum() / top.norm)
        kappa.append(rate * np.trace(hessian @ block) / (2 * top.norm))
        curved = mean.ravel() @ hessian @ mean.ravel()
        psi.append(rate / 2 * (curved / top.norm - mu[-1] ** 2))
        variances = np.diag(block)
        diagonal.append(
            (
                rate * np.diag(hessian) @ variances / (2 * top.norm),
                rate * jacobian[layer, part] ** 2 @ variances,
            )
        )
    return mu, kappa, psi, rate * jacobian @ noise @ jacobian.T, np.array(diagonal).T


SIZES = [(5, 9, 7, 3), (3, 3), (2, 140, 2)]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("sizes", "loss"),
    [(sizes, loss) for sizes in SIZES for loss in ("mse", "cross_entropy")] + [((12, 4, 1), "mse")],
)
def test_coefficients_are_those_of_materialized_gradients(level, sizes, loss):
    net, X, y, loss = problem(sizes=sizes, loss=loss, n=150)  # more than one block of rows
    found = coefficients(net, X, y, batch_size=8, rate=0.2, loss=loss)
    factor = (1 - 8 / 150) / 8
    mu, kappa, psi, covariance, diagonal = oracle(net, gradients(net, X, y, loss), factor, 0.2)
    close(found.mu, mu)
    close(found.kappa, kappa)
    close(found.psi, psi)
    close(found.covariance, covariance)
    close(found.kappa_diagonal, diagonal[0])
    close(found.lambda2_diagonal, diagonal[1])
    assert found.network.lambda2 == pytest.approx(covariance.sum(), rel=1e-12)
    assert found.network.lambda2_independent == pytest.approx(np.trace(covariance), rel=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_and_decay(nesterov):
    net, X, y, loss = problem(1)
    rng = np.random.default_rng(2)
    velocity = lipgd.Gradient(
        [rng.normal(size=w.shape) for w in net.weights],
        [rng.normal(size=b.shape) for b in net.biases],
    )
    beta, decay = 0.8, 0.05
    gain, kept = (1 + beta, beta**2) if nesterov else (1.0, beta)
    shift = [
        gain * decay * w + kept * v for w, v in zip(net.weights, velocity.weights, strict=True)
    ]
    found = coefficients(
        net, X, y, batch_size=6, rate=0.1, loss=loss, sampling="replacement",
        weight_decay=decay, momentum=beta, nesterov=nesterov, velocity=velocity,
    )  # fmt: skip
    factor = gain**2 * (1 - 1 / len(X)) / 6
    grads = gradients(net, X, y, loss)
    mu, kappa, psi, covariance, _ = oracle(net, grads, factor, 0.1, gain, shift)
    close(found.mu, mu)
    close(found.kappa, kappa)
    close(found.psi, psi)
    close(found.covariance, covariance)


@pytest.mark.parametrize("sampling", ["independent", "replacement"])
def test_the_covariance_is_that_of_all_batches(sampling):
    net, X, y, loss = problem(3, n=7)
    slopes = sum(
        (Triplets.of(w).jacobian * g).sum(axis=(1, 2)) / Triplets.of(w).norm
        for w, g in zip(net.weights, gradients(net, X, y, loss), strict=True)
    )
    batches = (
        itertools.combinations(range(7), 3)
        if sampling == "independent"
        else itertools.product(range(7), repeat=3)
    )
    variance = np.var([slopes[list(batch)].mean() for batch in batches])
    found = coefficients(net, X, y, batch_size=3, rate=0.5, loss=loss, sampling=sampling)
    assert found.network.lambda2 == pytest.approx(0.5 * variance, rel=1e-12)


def test_probes_are_unbiased():
    net, X, y, loss = problem(4, n=7)
    settings = {"batch_size": 3, "rate": 0.5, "loss": loss}
    whole = coefficients(net, X, y, **settings)
    probes = [
        coefficients(net, X, y, probe=list(rows), **settings)
        for rows in itertools.combinations(range(7), 4)
    ]
    for name in ("mu", "kappa", "psi", "covariance", "curvature"):
        close(np.mean([getattr(p, name) for p in probes], axis=0), getattr(whole, name))
    squares = [p.degeneracy**2 for p in probes]
    close(np.mean(squares, axis=0), whole.degeneracy**2)
    # Where steps are small against the gap the pair term is the second order, of probes too.
    small = coefficients(net, X, y, probe=[0, 2, 5], **{**settings, "rate": 1e-5})
    np.testing.assert_allclose(small.curvature_pair, small.curvature, rtol=1e-4)


def test_decay_is_a_velocity_along_the_weights():
    net, X, y, loss = problem(11)
    settings = {"batch_size": 6, "rate": 2.0, "loss": loss, "momentum": 0.5}
    along = lipgd.Gradient([0.1 * w for w in net.weights], [np.zeros_like(b) for b in net.biases])
    found = coefficients(net, X, y, weight_decay=0.05, **settings)
    expected = coefficients(net, X, y, velocity=along, **settings)
    for name in ("mu", "kappa", "psi", "degeneracy", "pair_share", "curvature", "curvature_pair"):
        close(getattr(found, name), getattr(expected, name))
    assert np.abs(found.curvature_pair / found.curvature - 1).max() > 0.05


def test_totals_add_up_to_the_expected_change():
    found = coefficients(*problem(12)[:3], batch_size=6, rate=0.5, loss="cross_entropy")
    layers = found.mu + found.kappa - 0.5 * found.lambda2 + found.psi
    assert found.network.drift == pytest.approx(layers.sum(), rel=1e-13)
    assert found.network.drift != pytest.approx(layers.sum() - found.network.psi, rel=1e-4)
    assert found.network.lambda2 != pytest.approx(found.network.lambda2_independent, rel=1e-2)
    both = found.network.kappa_diagonal + found.network.kappa_off_diagonal
    assert both == pytest.approx(found.kappa.sum(), rel=1e-13)
    across = found.network.lambda2_off_diagonal + found.lambda2_diagonal.sum()
    assert across == pytest.approx(found.covariance.sum(), rel=1e-13)


def test_reshuffled_epochs_take_back_their_noise():
    net, X, y, loss = problem(5)
    steps = [
        coefficients(
            net, X, y, batch_size=10, rate=0.1, loss=loss, sampling="reshuffled", step_in_epoch=k
        )
        for k in range(6)
    ]
    first = steps[0]
    assert first.network.lambda2 > 0
    close(first.kappa, coefficients(net, X, y, batch_size=10, rate=0.1, loss=loss).kappa)
    assert abs(sum(s.network.lambda2 for s in steps)) < 1e-12 * first.network.lambda2
    assert np.abs(sum(s.kappa for s in steps)).max() < 1e-12 * first.kappa.max()


def test_the_pair_term_where_the_gap_is_small():
    rng = np.random.default_rng(6)
    left, _ = np.linalg.qr(rng.normal(size=(24, 20)))
    right, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    values = np.concatenate([[1.0, 0.99], np.linspace(0.9, 0.1, 18)])
    weights = (left * values) @ right.T
    features, signals = rng.normal(size=(400, 20)), rng.normal(size=(400, 24))
    moments = Moments([weights])
    moments.add([features], [signals])
    batches = rng.integers(0, 400, size=(4000, 16))
    rate = 0.01
    settings = {"batch_size": 16, "sampling": "replacement"}
    found = coefficients_of(moments, rate=rate, **settings)
    rate *= 0.7 / found.degeneracy[0]
    found = coefficients_of(moments, rate=rate, **settings)
    assert found.degeneracy[0] == pytest.approx(0.7, rel=1e-9)
    top = Triplets.of(weights)
    grown = []
    for batch in batches:
        step = rate * signals[batch].T @ features[batch] / 16
        grown.append(np.linalg.norm(weights - step, 2) - 1 + (top.jacobian * step).sum())
    observed, error = np.mean(grown), np.std(grown) / np.sqrt(len(grown))
    assert rate * found.curvature_pair[0] == pytest.approx(observed, rel=0.03, abs=3 * error)
    assert found.curvature_pair[0] != pytest.approx(found.curvature[0], rel=0.01)


def test_the_pair_term_is_finite_without_a_gap():
    moments = Moments([np.eye(3)])
    rng = np.random.default_rng(7)
    moments.add([rng.normal(size=(50, 3))], [rng.normal(size=(50, 3))])
    found = coefficients_of(moments, batch_size=5, rate=0.1)
    assert found.gap[0] < 1e-12
    far = Moments([np.diag([1.0, 0.2, 0.1])])
    far.add([rng.normal(size=(50, 3))], [rng.normal(size=(50, 3))])
    small = coefficients_of(far, batch_size=5, rate=1e-3)
    assert small.curvature_pair[0] == pytest.approx(small.curvature[0], rel=1e-4)
    for step in (0, 9):  # the last takes back noise: its variance is negative
        settings = {"sampling": "reshuffled", "step_in_epoch": step}
        small = coefficients_of(far, batch_size=5, rate=1e-3, **settings)
        assert small.curvature_pair[0] == pytest.approx(small.curvature[0], rel=1e-4)


def test_float32_factors_and_blocks_of_rows():
    net, X, y, loss = problem(8, n=300)
    whole = coefficients(net, X, y, batch_size=8, rate=0.2, loss=loss)
    small = net.replace(weights=[w.astype(np.float32) for w in net.weights],
                        biases=[b.astype(np.float32) for b in net.biases])  # fmt: skip
    single = coefficients(small, X.astype(np.float32), y, batch_size=8, rate=0.2, loss=loss)
    np.testing.assert_allclose(single.kappa, whole.kappa, rtol=1e-5)
    np.testing.assert_allclose(single.covariance, whole.covariance, rtol=1e-5, atol=1e-9)
    rng = np.random.default_rng(9)
    weights, a, d = rng.normal(size=(6, 4)), rng.normal(size=(90, 4)), rng.normal(size=(90, 6))
    at_once, in_blocks = Moments([weights]), Moments([weights])
    at_once.add([a], [d])
    for rows in np.split(np.arange(90), [1, 20, 64]):
        in_blocks.add([a[rows]], [d[rows]])
    one, other = (coefficients_of(m, batch_size=4, rate=0.1) for m in (at_once, in_blocks))
    for name in ("mu", "kappa", "psi", "covariance", "kappa_diagonal", "curvature_pair"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)


def test_frozen_layers_do_not_move():
    net, X, y, loss = problem(10)
    found = coefficients(net, X, y, batch_size=8, rate=0.2, loss=loss, frozen=("W2",))
    whole = coefficients(net, X, y, batch_size=8, rate=0.2, loss=loss)
    assert found.mu[1] == found.kappa[1] == found.lambda2[1] == 0
    assert found.network.mu == pytest.approx(whole.mu[0] + whole.mu[2], rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 61}, "batch_size is 61, expected at most the 60 samples"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"sampling": "reshuffled"}, "step_in_epoch is None"),
        ({"step_in_epoch": 1}, "step_in_epoch is 1, expected None"),
        ({"probe": [1, 1]}, "probe has a position twice"),
        ({"probe": [1, 60]}, "probe has 2 positions"),
        ({"frozen": ("W9",)}, "frozen has 'W9'"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"population_size": 10}, "population_size is 10"),
    ],
)
def test_bad_arguments_are_named(change, message):
    net, X, y, loss = problem()
    with pytest.raises((TypeError, ValueError), match=message):
        coefficients(net, X, y, **{"batch_size": 8, "rate": 0.1, "loss": loss, **change})
