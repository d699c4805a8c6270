"""Losses: values at every margin against mpmath, constants as bounds, names and messages."""

from __future__ import annotations

import dataclasses
import math
import pickle
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from reference import LOSSES

import lipgd
from lipgd.losses import Loss

mpf = mpmath.mpf


@pytest.fixture(autouse=True)
def many_digits():
    with mpmath.workdps(340):  # 1 + 1e-308 needs them
        yield


def exact(loss: Loss, f: np.ndarray, y: np.ndarray) -> tuple[mpmath.mpf, list[mpmath.mpf]]:
    """The loss of one sample and its derivative by the outputs."""
    f = [mpf(float(value)) for value in f]
    n = len(f)
    if loss.kind == "cross_entropy":
        smoothing, exponentials = mpf(loss.parameter), [mpmath.exp(v - max(f)) for v in f]
        share = [(1 - smoothing) * (j == y) + smoothing / n for j in range(n)]
        log_sum = max(f) + mpmath.log(mpmath.fsum(exponentials))
        value = mpmath.fsum(t * (log_sum - v) for t, v in zip(share, f, strict=True))
        total = mpmath.fsum(exponentials)
        return value, [e / total - t for e, t in zip(exponentials, share, strict=True)]
    y = [mpf(float(goal)) for goal in y]
    r = [v - goal for v, goal in zip(f, y, strict=True)]
    if loss.kind == "mse":
        terms, slopes = [v**2 for v in r], [2 * v for v in r]
    elif loss.kind == "huber":
        d = mpf(loss.parameter)
        terms = [v**2 / 2 if abs(v) <= d else d * (abs(v) - d / 2) for v in r]
        slopes = [max(-d, min(d, v)) for v in r]
    else:
        pairs = list(zip(f, y, strict=True))
        terms = [mpmath.log1p(mpmath.exp(-s * v)) for v, s in pairs]
        slopes = [-s / (1 + mpmath.exp(s * v)) for v, s in pairs]
    return mpmath.fsum(terms) / n, [slope / n for slope in slopes]


def evaluate(loss: str, f: np.ndarray, y: object) -> tuple[float, np.ndarray]:
    """The same from the core: the outputs are the biases of a network whose input is zero."""
    net = lipgd.Network([np.zeros((len(f), 1), f.dtype)], [f])
    X, y = np.zeros((1, 1), f.dtype), np.asarray(y)[None]
    value, gradient = lipgd.risk_and_gradient(net, X, y, loss)
    assert lipgd.risk(net, X, y, loss) == value
    return value, gradient.biases[0]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("n_outputs", [2, 3, 10])
def test_values_and_derivatives_have_all_digits(level, dtype, loss, size, n_outputs):
    rng = np.random.default_rng(0)
    kind, eps = lipgd.losses.get(loss), float(np.finfo(dtype).eps)
    for _ in range(5):
        f = rng.normal(scale=size, size=n_outputs).astype(dtype)
        y = rng.normal(size=n_outputs).astype(dtype)
        if kind.kind == "logistic":
            y = np.sign(y)
        if kind.takes_labels:
            y = rng.integers(0, n_outputs)
        value, slopes = evaluate(loss, f, y)
        true_value, true_slopes = exact(kind, f, y)
        # The difference to the target is rounded once.
        scale = 1 + float(max(abs(f).max(), 3.0)) if kind.residual else 0.0
        assert abs(value - true_value) <= 8 * eps * (true_value + eps * scale * size)
        for slope, true in zip(slopes, true_slopes, strict=True):
            assert abs(float(slope) - true) <= 8 * eps * (abs(true) + (scale + 1) / n_outputs)


MARGINS = {
    np.float64: [-1e300, -1e5, -700.0, -30.0, -1e-10, 0.0, 1e-10, 5.0, 36.0, 40.0, 690.0, 707.0],
    np.float32: [-1e30, -1e5, -80.0, -9.0, -1e-6, 0.0, 1e-6, 5.0, 15.0, 18.0, 60.0, 86.0],
}


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_logistic_keeps_its_digits_at_extreme_margins(level, dtype, sign):
    eps = float(np.finfo(dtype).eps)
    for margin in MARGINS[dtype]:
        f, y = np.array([sign * margin], dtype), np.array([sign])
        value, (slope,) = evaluate("logistic", f, y)
        true_value, (true_slope,) = exact(lipgd.losses.get("logistic"), f, y)
        assert abs(value - true_value) <= 6 * eps * true_value
        assert abs(float(slope) - true_slope) <= 6 * eps * abs(true_slope)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_keeps_its_digits_at_extreme_margins(level, dtype, smoothing):
    loss, eps = f"cross_entropy({smoothing})", float(np.finfo(dtype).eps)
    tiny = float(np.finfo(dtype).tiny)  # what is smaller is zero
    for margin in MARGINS[dtype]:
        for y, f in ((0, [margin, 0.0]), (2, [0.5, -0.25, margin]), (1, [margin, margin, 0.0])):
            outputs = np.array(f, dtype)
            value, slopes = evaluate(loss, outputs, y)
            true_value, true_slopes = exact(lipgd.losses.get(loss), outputs, y)
            assert abs(value - true_value) <= 8 * eps * true_value + tiny
            for slope, true in zip(slopes, true_slopes, strict=True):
                bound = abs(true) if smoothing == 0 and abs(true) < 0.5 else 1
                assert abs(float(slope) - true) <= 8 * eps * bound + tiny


def test_risks_of_1e_minus_300_are_not_lost():
    f, y = np.full(1, 691.0), np.ones(1)
    value = evaluate("logistic", f, y)[0]
    assert 0 < value < 1e-300
    assert evaluate("cross_entropy", np.array([691.0, 0.0]), 0)[0] == pytest.approx(value, 1e-15)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_outputs", [*range(1, 20), 100, 1000, 4096, 99991])
def test_constants_are_tight_bounds(loss, n_outputs):
    kind = lipgd.losses.get(loss)
    lipschitz, smoothness = {
        "mse": (mpmath.inf, mpf(2) / n_outputs),
        "huber": (mpf(kind.parameter) / mpmath.sqrt(n_outputs), mpf(1) / n_outputs),
        "logistic": (1 / mpmath.sqrt(n_outputs), mpf(1) / (4 * n_outputs)),
        "cross_entropy": (mpmath.sqrt(2), mpf(1) / 2),
    }[kind.kind]
    for value, true in (
        (kind.lipschitz(n_outputs), lipschitz),
        (kind.smoothness(n_outputs), smoothness),
    ):
        assert value >= true
        assert value <= true * (1 + 5 * mpf(2) ** -53)
    if n_outputs == 1 or (n_outputs in (2, 4, 8, 16, 4096) and kind.kind != "cross_entropy"):
        assert Fraction(kind.smoothness(n_outputs)) == Fraction(float(smoothness))


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "mse"])
def test_gradients_come_up_to_the_lipschitz_constant(loss):
    kind = lipgd.losses.get(loss)
    f = np.array([1e4, -1e4, -1e4])
    y = 1 if kind.takes_labels else np.array([-1.0, 1.0, 1.0])
    size = np.linalg.norm(evaluate(loss, f, y)[1])
    bound = kind.lipschitz(3)
    # The supremum of cross entropy is that of two classes, without smoothing.
    assert (0.85 if kind.parameter == 0.1 else 1 - 1e-12) * bound <= size <= bound


def test_names_and_parameters():
    get = lipgd.losses.get
    assert lipgd.losses.names() == ("mse", "huber", "logistic", "cross_entropy")
    for loss in (*LOSSES, *lipgd.losses.names()):
        kind = get(loss)
        assert get(kind.name) == kind
        assert get(kind) is kind
        assert hash(get(kind.name)) == hash(kind)
        assert pickle.loads(pickle.dumps(kind)) == kind
    assert get("huber") == get("huber", delta=1) == get("huber(1)") == Loss("huber", 1.0)
    assert get("huber", delta=np.float32(0.5)).name == "huber(0.5)"
    assert get("huber(1e-05)").parameter == 1e-5
    assert get("cross_entropy", label_smoothing=0.25).name == "cross_entropy(0.25)"
    assert get("mse").name == "mse"
    assert get("huber") != get("huber", delta=2.0)
    assert [get(name).residual for name in lipgd.losses.names()] == [True, True, False, False]
    assert [get(name).takes_labels for name in lipgd.losses.names()] == [False, False, False, True]
    with pytest.raises(dataclasses.FrozenInstanceError):
        get("mse").parameter = 1.0


@pytest.mark.parametrize(
    ("arguments", "parameters", "error", "message"),
    [
        (("mae",), {}, ValueError, "loss is 'mae', expected one of mse, huber, logistic, cross_e"),
        (("MSE",), {}, ValueError, "loss is 'MSE', expected one of"),
        ((None,), {}, TypeError, "loss is None, expected one of"),
        ((3,), {}, TypeError, "loss is 3, expected one of"),
        (("huber(0.0)",), {}, ValueError, "delta is 0.0, expected a finite number above 0"),
        (("huber(nan)",), {}, ValueError, "delta is nan, expected a finite number above 0"),
        (("huber",), {"delta": -1}, ValueError, "delta is -1, expected a finite number above 0"),
        (("huber",), {"delta": math.inf}, ValueError, "delta is inf, expected a finite number"),
        (("huber",), {"delta": "1"}, TypeError, "delta is '1', expected a finite number above 0"),
        (("huber",), {"delta": True}, TypeError, "delta is True, expected a finite number above 0"),
        (("huber",), {"beta": 1}, TypeError, "beta is not a parameter of the loss huber, expected"),
        (
            ("mse",),
            {"delta": 1},
            TypeError,
            "delta is not a parameter of the loss mse, expected no",
        ),
        (
            ("cross_entropy",),
            {"label_smoothing": 1.0},
            ValueError,
            "label_smoothing is 1.0, expected a finite number at least 0 and below 1",
        ),
        ((Loss("mse"),), {"delta": 1}, TypeError, "delta is given beside a Loss, expected a name"),
    ],
    ids=str,
)
def test_messages(arguments, parameters, error, message):
    with pytest.raises(error) as caught:
        lipgd.losses.get(*arguments, **parameters)
    assert message in str(caught.value)


def test_losses_made_by_hand_are_checked_too():
    with pytest.raises(ValueError, match="loss is 'mea'"):
        Loss("mea")
    with pytest.raises(ValueError, match=r"delta is -1\.0, expected"):
        Loss("huber", -1.0)
    with pytest.raises(ValueError, match=r"parameter is 2\.0, expected"):
        Loss("mse", 2.0)
    for constant in (Loss("mse").smoothness, Loss("logistic").lipschitz):
        for bad in (0, -1):
            with pytest.raises(ValueError, match=f"n_outputs is {bad}, expected an integer at"):
                constant(bad)
        with pytest.raises(TypeError, match=r"n_outputs is 1\.5, expected an integer"):
            constant(1.5)
