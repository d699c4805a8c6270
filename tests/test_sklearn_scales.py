"""Units of the training of estimators: raw data are fitted like scaled ones, and nothing shows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import lipgd
from lipgd.sklearn import LipschitzClassifier, LipschitzRegressor
from lipgd.sklearn._fit import Data
from lipgd.sklearn._scales import Scales, largest_r2, scales_of


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(return_X_y=True)


def test_raw_targets_are_fitted_as_well_as_scaled_ones(diabetes):
    X, y = diabetes
    model = LipschitzRegressor(lipschitz=None, max_iter=400, tol=0, random_state=0)
    scaled = clone(model).fit(StandardScaler().fit_transform(X), (y - y.mean()) / y.std())
    wanted = scaled.history_["risk"][-1]
    for inputs, targets in ((X, y), (1e4 * X + 1e5, 1e-6 * y), (X, 1e6 * y + 1e9)):
        raw = clone(model).fit(inputs, targets)
        assert 1.0 - raw.score(inputs, targets) < 1.15 * wanted
    raw = clone(model).set_params(activation="relu").fit(X, y)
    assert raw.score(X, y) > 0.6


@pytest.mark.parametrize("unit", [1.0, 1e5])
def test_a_huber_loss_that_is_steep_everywhere_is_fitted(diabetes, unit):
    X, y = diabetes
    model = LipschitzRegressor(
        lipschitz=None, loss="huber", max_iter=100, tol=0, random_state=0
    ).fit(X, unit * y)
    best_constant = np.abs(y - np.median(y)).mean()
    assert np.abs(model.predict(X) / unit - y).mean() < 0.65 * best_constant


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_powers_of_two_in_the_data_change_no_bit(diabetes, dtype, loss):
    X, y = (part.astype(dtype) for part in diabetes)
    few = {"max_iter": 60, "tol": 0, "random_state": 1, "early_stopping": True}
    names = {"mse": ("mse", "mse"), "huber": ("huber(0.5)", "huber(512.0)")}[loss]
    one = LipschitzRegressor((20, 5), 200.0, loss=names[0], **few).fit(X, y)
    other = LipschitzRegressor((20, 5), 200.0 * 8 * 1024, loss=names[1], **few)
    other.fit(X / 8, y * 1024)
    np.testing.assert_array_equal(other.predict(X / 8), one.predict(X) * 1024)
    np.testing.assert_array_equal(other.history_["risk"], one.history_["risk"] * 1024**2)
    assert other.lipschitz_upper_ == one.lipschitz_upper_ * 8 * 1024
    assert other.network_.dtype == dtype


def test_powers_of_two_in_the_inputs_of_a_classifier_change_no_bit(diabetes):
    X, y = diabetes[0], diabetes[1] // 120
    few = {"max_iter": 60, "tol": 0, "random_state": 1}
    one = LipschitzClassifier((20,), 40.0, **few).fit(X, y)
    other = LipschitzClassifier((20,), 5.0, **few).fit(8 * X, y)
    np.testing.assert_array_equal(other.decision_function(8 * X), one.decision_function(X))
    np.testing.assert_array_equal(other.certified_radius(8 * X), 8 * one.certified_radius(X))


@pytest.mark.parametrize("certificate", ["product", "balanced", "sdp"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_limits_hold_in_the_units_of_the_data(diabetes, certificate, dtype):
    X, y = diabetes
    for inputs, outputs in ((1e-7, 1e5), (300.0, 1e-4), (0.7, 3.0)):
        limit = 150.0 * outputs / inputs
        model = LipschitzRegressor(
            (10,), limit, certificate=certificate, max_iter=40, tol=0, random_state=0
        )
        model.fit((X * inputs + inputs).astype(dtype), (y * outputs).astype(dtype))
        assert 0.3 * limit < model.lipschitz_upper_ <= limit
        assert model.lipschitz_lower_ <= model.lipschitz_upper_
        assert model.lipschitz_upper_ == float(model.certificate_)


@pytest.mark.parametrize("hidden", [(30,), ()])
@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize("certificate", ["balanced", "sdp"])
def test_bounds_are_as_close_as_those_of_the_training(diabetes, certificate, activation, hidden):
    if certificate == "balanced" and not hidden:
        return
    X = StandardScaler().fit_transform(diabetes[0])
    y = (diabetes[1] - diabetes[1].mean()) / diabetes[1].std()
    for limit in (0.3, 1.0):
        model = LipschitzRegressor(
            hidden, limit, certificate=certificate, activation=activation, max_iter=300, tol=0
        )
        model.set_params(random_state=0).fit(X, y)
        assert model.lipschitz_lower_ <= model.lipschitz_upper_ <= limit


def test_histories_and_what_is_printed_are_in_the_units_of_the_data(diabetes, capsys):
    X, y = diabetes
    few = {"max_iter": 50, "tol": 0, "random_state": 0, "verbose": True}
    model = LipschitzRegressor((10,), None, loss="huber(9.0)", **few).fit(X, y)
    risk = lipgd.risk(model.network_, X, y, "huber(9.0)")
    assert model.history_["risk"][-1] == pytest.approx(risk, rel=1e-9)
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"step 50 of 50, risk {risk:.6g}")


def test_weight_decay_is_that_of_the_network_in_the_units_of_the_data(diabetes):
    X, y = diabetes
    alpha = 2.0 / len(X)
    line = LipschitzRegressor((), None, alpha=alpha, max_iter=4000, tol=0).fit(X, y)
    ridge = Ridge(alpha * len(X) / 2).fit(X, y)
    np.testing.assert_allclose(line.network_.weights[0][0], ridge.coef_, rtol=1e-6, atol=1e-4)

    rng = np.random.default_rng(0)
    X = 0.01 * rng.normal(size=(50, 2)) + 3
    y = 1000 * X[:, 0] + rng.normal(size=50)
    net = LipschitzRegressor(
        (3,), None, activation="tanh", alpha=0.02, max_iter=4000, tol=0, random_state=0
    )
    net = net.fit(X, y).network_
    _, gradient = lipgd.risk_and_gradient(net, X, y)
    for slope, matrix in zip(gradient.weights, net.weights, strict=True):
        assert np.linalg.norm(matrix) > 0.1
        assert np.linalg.norm(slope + 0.02 * matrix) < 1e-2 * np.linalg.norm(0.02 * matrix)


def test_batches_one_after_the_other_are_in_the_units_of_the_first(diabetes):
    X, y = diabetes
    model = LipschitzRegressor((30,), None, batch_size=50, random_state=0, n_threads=1)
    for row in (0, 1):  # one sample says nothing about units
        model.partial_fit(X[[row]], y[[row]])
        assert np.isfinite(model.predict(X)).all()
    for step in range(60):
        rows = slice(0, 221) if step % 2 else slice(221, 442)
        model.partial_fit(X[rows], y[rows])
    assert model.score(X, y) > 0.3
    before = model.predict(X)
    model.partial_fit(X[:2], y[:2] + 1e-9)
    assert np.abs(model.predict(X) - before).max() < y.std()


def test_a_warm_start_takes_the_network_to_other_units(diabetes):
    X, y = diabetes
    model = LipschitzRegressor((10,), None, max_iter=30, tol=0, random_state=0, warm_start=True)
    net = model.fit(X, y).network_
    model.fit(50 * X + 7, y / 3000)
    wanted = lipgd.risk(net, 50 * X + 7, y / 3000)
    assert model.history_["risk"][0] == pytest.approx(wanted, rel=1e-9)


def test_networks_come_back_from_other_units():
    rng = np.random.default_rng(0)
    X, y = 100 * rng.normal(size=(40, 3)) + 5, 1e-3 * rng.normal(size=(40, 2))
    for sizes in ([3, 2], [3, 4, 2], [3, 4, 5, 2]):
        net = lipgd.Network.create(sizes, activation="tanh", output_scale=0.3, init="torch")
        scales = scales_of(Data(X, y), True, True)
        assert (scales.inputs, scales.outputs) == (128.0, 2.0**-10)
        inner, outer = scales.data(Data(X, y)), scales.outward(scales.inward(net))
        np.testing.assert_allclose(
            scales.inward(net)(inner.X) * scales.outputs, net(X), rtol=1e-9, atol=1e-12
        )
        for one, other in zip(outer.weights, net.weights, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(outer.biases[0], net.biases[0], rtol=0, atol=1e-13)
    bare = lipgd.Network.create([3, 4, 2], biases=False)
    scales = scales_of(Data(X, y), True, False)
    assert scales.center is None and scales.outward(scales.inward(bare)) == bare


def test_a_rate_of_the_user_is_about_the_data_as_they_are(diabetes):
    X, y = diabetes
    net = lipgd.Network.create([10, 8, 1], activation="silu", biases=False, seed=3)
    options = {"learning_rate": 1e-4, "momentum": 0.0, "max_iter": 20, "tol": 0}
    model = LipschitzRegressor((8,), None, init=net, **options).fit(X, y)
    run = lipgd.train(net, X, y, rate=1e-4, steps=20)
    assert model.network_ == run.network
    data = Data(X, y)
    assert Scales().data(data).X is X and Scales().data(data).y is y


@pytest.mark.parametrize("value", [0.0, 1e300, 1e-300])
def test_data_without_a_spread_and_huge_numbers(value):
    X = np.full((6, 2), value)
    y = np.arange(6.0)
    model = LipschitzRegressor((3,), None, max_iter=5, tol=0, random_state=0)
    for spread in (0.0, value / 2):
        X[:, 0] += spread * np.linspace(-1, 1, 6)
        found = scales_of(Data(X, y), True, True)
        assert found.found == (spread > 0.0) and 0.0 < found.inputs < np.inf
        if value < 1e300:
            assert np.isfinite(model.fit(X, y).predict(X)).all()


def test_a_limit_that_leaves_nothing_to_fit_is_said(diabetes):
    X, y = diabetes
    model = LipschitzRegressor((10,), max_iter=20, tol=0, random_state=0)
    with pytest.warns(UserWarning, match=r"lipschitz is 5, and .* above 0.019 on these samples"):
        model.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(model).set_params(lipschitz=2000.0).fit(X, y)
        clone(model).set_params(lipschitz=None).fit(X, y)


def test_no_function_beats_the_largest_r2():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 1))
    for weight in (None, rng.uniform(0.1, 1, 30)):
        # A line reaches it.
        data = Data(x, 3.0 * x[:, 0] + 1, weight)
        line = 3.0 * np.average(x[:, 0], weights=weight) + 1
        values = line + 0.5 * (x[:, 0] - np.average(x[:, 0], weights=weight))
        mean = np.average(data.y, weights=weight)
        missed = np.average((data.y - values) ** 2, weights=weight)
        reached = 1 - missed / np.average((data.y - mean) ** 2, weights=weight)
        assert largest_r2(data, 0.5) == pytest.approx(reached, rel=1e-12)
    assert largest_r2(Data(x, 3.0 * x[:, 0]), 3.1) == 1.0
    for seed in range(20):  # and no network whose constant is certified exceeds it
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(25, 3)), rng.normal(size=25)
        net = lipgd.Network.create([3, 8, 1], activation="tanh", seed=seed, init="torch")
        limit = float(lipgd.lipschitz.upper(net))
        r2 = 1 - np.mean((net(X)[:, 0] - y) ** 2) / y.var()
        assert r2 <= largest_r2(Data(X, y), limit)
