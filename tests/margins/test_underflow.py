"""Steps and records where the logistic risk is beyond the range of numbers."""

import numpy as np
import pytest

import lipgd
from lipgd.margins import margins

RECORD = (
    "risk",
    "log_risk",
    "gradient_norm",
    "margin",
    "normalized_margin",
    "smoothed_margin",
    "homogeneity_error",
    "margin_direction",
    "margin_scaling",
    "parameter_norm",
    "sharpness",
    "sharpness_residual",
)
X = np.array([[1.0, 0.5], [2.0, -0.25], [-1.5, 0.5]])
y = np.array([1, 1, -1])


def linear(dtype=np.float64):
    return lipgd.Network([np.zeros((1, 2), dtype)])


def test_a_jump_beyond_the_range_says_so(level, dtype):
    run = lipgd.train(linear(dtype), X, y, loss="logistic", rate=4000.0, steps=5, record=RECORD)
    assert run.status == "finished"
    log_risk = run.history["log_risk"]
    assert log_risk[0] == pytest.approx(np.log(np.log(2)), rel=1e-14)
    assert log_risk[1] < -1000 and (log_risk[1:] == log_risk[1]).all()
    assert f"no parameter: it is below their rounding, at a risk of exp({log_risk[1]:.6g})" in (
        run.message
    )
    for name in RECORD:
        values = run.history[name]
        # Nothing is known of the step from a margin that is not positive, and of the last.
        missing = [0, 5] if name in ("margin_direction", "margin_scaling") else []
        assert np.isnan(values).nonzero()[0].tolist() == missing, name
        # The smoothed margin of the network of zeros is negative, and its norm is zero.
        assert np.isfinite(values[1:5]).all(), name
    assert run.history["risk"][1] == 0.0 and run.history["sharpness"][1] == 0.0
    assert (run.history["margin_direction"][1:5] == 0.0).all()
    # The first step is that of the gradient at zero.
    slope = 0.5 * (y[:, None] * X).mean(axis=0)
    expected = 4000.0 * slope
    np.testing.assert_allclose(run.network.weights[0][0], expected, rtol=np.finfo(dtype).eps * 4)


def test_a_moving_run_does_not_say_so():
    run = lipgd.train(linear(), X, y, loss="logistic", rate=1.0, steps=5)
    assert run.message == "took all 5 steps"
    still = lipgd.train(linear(), X, y, loss="logistic", rate=0.0, steps=5)
    assert still.message == "took all 5 steps"
    none = lipgd.train(linear(), X, y, loss="logistic", rate=1.0, steps=0)
    assert none.message == "took all 0 steps"


def test_a_gradient_of_zeros_is_not_called_rounding():
    flat = lipgd.Network([np.zeros((3, 2)), np.zeros((1, 3))], None, "relu")
    run = lipgd.train(flat, X, y, loss="logistic", rate=1.0, steps=3, record=RECORD[:9])
    assert run.message.endswith("the last step moved no parameter: the gradient is zero")
    assert run.history["log_risk"][-1] == pytest.approx(np.log(np.log(2)), rel=1e-14)
    assert run.history["normalized_margin"][-1] == 0.0


def test_gradient_norms_keep_their_digits_to_the_end_of_the_range(level):
    # Margins 2 t and 3 t: the risk is exp(-2 t) / 2, and its square underflows early.
    points, labels = np.array([[2.0], [3.0]]), np.ones(2)
    for t in (10.0, 100.0, 180.0, 250.0, 340.0, 350.0):
        net = lipgd.Network([[[t]]])
        record = ["gradient_norm", "log_risk"]
        run = lipgd.train(net, points, labels, loss="logistic", rate=0.0, steps=1, record=record)
        expected = np.exp(-2 * t) + 1.5 * np.exp(-3 * t)
        assert run.history["gradient_norm"][0] == pytest.approx(expected, rel=1e-8)


def test_an_enormous_rate_takes_the_true_step_from_an_underflown_risk(level):
    # risk exp(-1000) / 1, gradient exp(-1000), rate exp(690): the step is exp(-310).
    net = lipgd.Network([np.array([[0.0]])], [np.array([1000.0])])
    rate = float(np.exp(690.0))
    run = lipgd.train(net, [[1.0]], [1], loss="logistic", rate=rate, steps=1, frozen=["b1"])
    assert run.network.weights[0].item() == pytest.approx(np.exp(-310.0), rel=1e-10)


def test_the_sign_of_a_gradient_outlives_its_size(level, dtype):
    net = lipgd.Network([np.array([[1000.0, 500.0]], dtype)])
    run = lipgd.train(net, X, y, loss="logistic", rate=0.5, update="sign", steps=1)
    gradient = margins(net, X, y).log_risk_gradient.weights[0]
    expected = net.weights[0] - 0.5 * np.sign(gradient)
    assert (run.network.weights[0] == expected).all() and (run.network != net)


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.9},
        {"update": "adam"},
        {"weight_decay": 0.1},
        {"clip_norm": 1.0},
        {"update": "conjugate_gradient"},
        {"batch_size": 2},
        {"proximal": {"W1": ("l1", 0.1)}},
    ],
)
def test_other_steps_stay_numbers(settings, dtype):
    rate = np.full(6, 0.1)
    rate[1] = 1e5
    run = lipgd.train(
        linear(dtype), X, y, loss="logistic", rate=rate, steps=6, record=RECORD, **settings
    )
    assert run.status == "finished"
    assert np.isfinite(run.history["log_risk"]).all()
    assert np.isfinite(run.network.weights[0]).all()


def test_the_direction_of_a_tiny_risk_in_float32_is_that_of_float64(level):
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(20, 3))
    labels = np.where(wide @ [1.0, -2.0, 0.5] > 0, 1, -1)
    wide += 0.5 * labels[:, None] * [1.0, -2.0, 0.5]
    net = lipgd.Network([300.0 * np.array([[1.0, -2.0, 0.5]])])
    narrow = lipgd.Network([net.weights[0].astype(np.float32)])
    one = margins(net, wide, labels).log_risk_gradient
    other = margins(narrow, wide, labels).log_risk_gradient
    assert lipgd.risk(narrow, wide, labels, "logistic") == 0.0
    np.testing.assert_allclose(other.weights[0], one.weights[0], rtol=1e-3)


@pytest.mark.parametrize("activation", ["leaky(softplus, 0.5)", "gelu", "silu", "relu"])
def test_a_certified_run_never_rises_again(level, activation):
    """Theorem 1: the risk falls from the first step with eta L <= 2 / (rho^2 + beta) on."""
    rng = np.random.default_rng(len(activation))
    dataset = lipgd.data.xor(60, noise=0.2, lift=0.6)
    width = 16
    net = lipgd.Network.create(
        [3, width, 1], activation, "mean_field_balanced", int(rng.integers(99)), None or np.float64
    )
    constants = lipgd.activations.get(activation)
    radius = np.sqrt((dataset.X**2).sum(axis=1).max())
    rho, beta = constants.lipschitz * radius / width**0.5, constants.curvature * radius**2 / width
    if not np.isfinite(beta):
        return
    for rate in (1.0, 50.0, 300.0, 1e4):
        run = lipgd.train(
            net,
            dataset.X,
            dataset.y,
            loss="logistic",
            rate=rate,
            steps=3000,
            record=["log_risk"],
            frozen=["W2", "b1", "b2"],
        )
        log_risk = run.history["log_risk"]
        certified = np.flatnonzero(log_risk <= np.log(2 / (rate * (rho**2 + beta))))
        if len(certified):
            rises = np.diff(log_risk[certified[0] :])
            assert rises.max(initial=0.0) <= 1e-12
