"""Bad arguments: each is refused before any work, with a message that names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest

import lipgd
from lipgd.dynamics import Recording

rng = np.random.default_rng(0)
X, y, labels = rng.normal(size=(6, 3)), np.ones(6), np.zeros(6, int)
net = lipgd.Network.create([3, 4, 1])
classes = lipgd.Network.create([3, 4, 2])
single = lipgd.Network.create([3, 4, 1], dtype=np.float32)


class Sparse:
    """What sparse matrices have in common."""

    def toarray(self):
        return X


def changed(array: np.ndarray, value: object, place: object = 4) -> np.ndarray:
    copy = array.copy()
    copy[place] = value
    return copy


def check(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    text = str(caught.value)
    assert text.startswith(message), text
    assert "\n" not in text
    assert len(text) < 500  # a line for each hundred: all records that there are


INPUTS = [
    (None, TypeError, "X is None, expected an array of real numbers"),
    (3.0, ValueError, "X has shape (), expected (n_samples, 3)"),
    (X[0], ValueError, "X has shape (3,), expected (n_samples, 3)"),
    (X[:, :, None], ValueError, "X has shape (6, 3, 1), expected (n_samples, 3)"),
    (X[:, :1], ValueError, "X has 1 column, but the network takes 3 inputs"),
    (X[:, [0, 1, 2, 0]], ValueError, "X has 4 columns, but the network takes 3 inputs"),
    (X.astype(object), TypeError, "X has dtype object, expected real numbers"),
    (X.astype(complex), TypeError, "X has dtype complex128, expected real numbers"),
    (X.astype(str), TypeError, "X has dtype <U32, expected real numbers"),
    (X.astype("M8[s]"), TypeError, "X has dtype datetime64[s], expected real numbers"),
    ("abc", TypeError, "X has dtype <U3, expected real numbers"),
    ({1, 2}, TypeError, "X has dtype object, expected real numbers"),
    ([[1, 2, 3], [1, 2]], ValueError, "X is no regular array, expected real numbers"),
    ([[2**70, 1, 1]], TypeError, "X has dtype object, expected real numbers"),
    (np.ma.masked_array(X), TypeError, "X is a masked array, expected values without a mask"),
    (Sparse(), TypeError, "X is a sparse matrix, expected a dense array"),
]
NOT_FINITE = [
    (X[:0], ValueError, "X is empty, expected at least one sample"),
    (changed(X, np.nan, (2, 1)), ValueError, "X has nan in row 2, column 1, expected finite float"),
    (changed(X, -np.inf, (5, 0)), ValueError, "X has -inf in row 5, column 0, expected finite"),
    (changed(X.astype("f4"), np.nan, (0, 2)), ValueError, "X has nan in row 0, column 2, expected"),
    (changed(X.astype("g"), "1e4000", (1, 1)), ValueError, "X has inf in row 1, column 1, expecte"),
    (np.asfortranarray(changed(X, np.nan, (3, 2))), ValueError, "X has nan in row 3, column 2"),
    (np.full((9000, 3), np.inf)[::-1], ValueError, "X has inf in row 0, column 0, expected fini"),
]


@pytest.mark.parametrize(("value", "error", "message"), INPUTS, ids=lambda v: str(v)[:40])
def test_inputs(value, error, message):
    for call in (
        lambda: net(value),
        lambda: net.jacobian(value),
        lambda: lipgd.risk(net, value, y),
        lambda: lipgd.risk_and_gradient(net, value, y),
        lambda: lipgd.hessian_vector_product(net, value, y, net),
        lambda: lipgd.train(net, value, y),
    ):
        check(call, error, message)


@pytest.mark.parametrize(("value", "error", "message"), NOT_FINITE, ids=lambda v: str(v)[:40])
def test_inputs_of_data_are_finite(value, error, message):
    for call in (lambda: lipgd.risk(net, value, y), lambda: lipgd.train(net, value, y)):
        check(call, error, message)


def test_inputs_fit_the_precision_of_the_network():
    for place in ((5, 1), (0, 0)):
        large = changed(X, 1e39, place)
        message = f"X has 1e+39 in row {place[0]}, column {place[1]}, expected finite float32 numb"
        check(lambda large=large: lipgd.risk(single, large, y), ValueError, message)
        assert lipgd.risk(net, large, y) > 0
    large = np.zeros((70_000, 3))
    large[69_999, 2] = -1e300
    message = "X has -1e+300 in row 69999, column 2, expected finite float32 numbers"
    check(lambda: lipgd.risk(single, large, np.ones(70_000)), ValueError, message)


SHAPE = "expected (6, 1) or (6,)"
TARGETS = [
    ("mse", None, TypeError, "y is None, expected an array of real numbers"),
    ("mse", 1.0, ValueError, f"y has shape (), {SHAPE}"),
    ("mse", y[:5], ValueError, "y has 5 samples, but X has 6"),
    ("mse", [], ValueError, "y has 0 samples, but X has 6"),
    ("mse", y[None], ValueError, "y has 1 sample, but X has 6"),
    ("mse", np.ones((6, 2)), ValueError, f"y has shape (6, 2), {SHAPE}"),
    ("mse", y[:, None, None], ValueError, f"y has shape (6, 1, 1), {SHAPE}"),
    ("mse", changed(y, np.nan), ValueError, "y has nan for sample 4, expected finite float64 num"),
    ("mse", changed(y, np.inf), ValueError, "y has inf for sample 4, expected finite float64 num"),
    ("mse", y.astype(object), TypeError, "y has dtype object, expected real numbers"),
    ("mse", y.astype(complex), TypeError, "y has dtype complex128, expected real numbers"),
    ("mse", y.astype(str), TypeError, "y has dtype <U32, expected real numbers"),
    ("mse", [[1.0], [1.0, 2.0]], ValueError, "y is no regular array, expected real numbers"),
    ("mse", np.ma.masked_array(y), TypeError, "y is a masked array, expected values without a m"),
    ("mse", Sparse(), TypeError, "y is a sparse matrix, expected a dense array"),
    ("logistic", changed(y, 0), ValueError, "y has the label 0.0 for sample 4, expected -1 or +1"),
    ("logistic", labels, ValueError, "y has the label 0 for sample 0, expected -1 or +1"),
    ("logistic", y > 0, TypeError, "y has dtype bool, expected labels -1 or +1"),
    ("logistic", changed(y, np.nan), ValueError, "y has nan for sample 4, expected finite float"),
    ("cross_entropy", labels, ValueError, "loss is cross_entropy, but the network has 1 output, "),
]
LABELS = [
    (y, TypeError, "y has dtype float64, expected integer labels"),
    (labels > 0, TypeError, "y has dtype bool, expected integer labels"),
    (labels.astype(str), TypeError, "y has dtype <U21, expected integer labels"),
    (None, TypeError, "y is None, expected an array of integer labels"),
    (changed(labels, -1), ValueError, "y has the label -1 for sample 4, expected 0 to 1"),
    (changed(labels, 2), ValueError, "y has the label 2 for sample 4, expected 0 to 1"),
    (np.full(6, 2**64 - 1, np.uint64), ValueError, "y has the label 18446744073709551615 for sam"),
    (np.eye(2, dtype=int)[labels], ValueError, "y has shape (6, 2), expected one label per sampl"),
    (labels[:4], ValueError, "y has 4 samples, but X has 6"),
]


@pytest.mark.parametrize(("loss", "value", "error", "message"), TARGETS, ids=lambda v: str(v)[:30])
def test_targets(loss, value, error, message):
    for function in (lipgd.risk, lipgd.train):
        check(lambda function=function: function(net, X, value, loss=loss), error, message)


@pytest.mark.parametrize(("value", "error", "message"), LABELS, ids=lambda v: str(v)[:30])
def test_labels(value, error, message):
    check(lambda: lipgd.risk(classes, X, value, "cross_entropy"), error, message)
    check(lambda: lipgd.train(classes, X, value, loss="cross_entropy"), error, message)


def test_targets_fit_the_precision_and_the_outputs_of_the_network():
    message = "y has -1e+39 for sample 4, expected finite float32 numbers"
    check(lambda: lipgd.risk(single, X, changed(y, -1e39)), ValueError, message)
    check(lambda: lipgd.risk(classes, X, y), ValueError, "y has shape (6,), expected (6, 2)")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (changed(y, -1), ValueError, "has -1.0 for sample 4, expected a finite number at least 0"),
        (changed(y, np.nan), ValueError, "has nan for sample 4, expected a finite number at least"),
        (changed(y, np.inf), ValueError, "has inf for sample 4, expected a finite number at least"),
        (0 * y, ValueError, "is zero for every sample, expected a positive weight"),
        (y[:5], ValueError, "has shape (5,), expected (6,)"),
        (y[:, None], ValueError, "has shape (6, 1), expected (6,)"),
        (1.0, ValueError, "has shape (), expected (6,)"),
        (y.astype(str), TypeError, "has dtype <U32, expected real numbers"),
        (np.ma.masked_array(y), TypeError, "is a masked array, expected values without a mask"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_sample_weights(value, error, message):
    for function in (lipgd.risk, lipgd.risk_and_gradient, lipgd.train):
        check(
            lambda function=function: function(net, X, y, sample_weight=value),
            error,
            f"sample_weight {message}",
        )


PART = "expected some of W1, b1, W2, b2"
RECORD = "expected some of risk, gradient_norm, gradient_norm:*, rate:*, spectral_norm:W*, "
RATE = "expected a number, a Schedule, a callable of the step or an array of rates"
ALL = {"b1": 0.1, "W2": 0.1, "b2": 0.1}
#: The argument, a bad value, what the message says after its name, and other arguments.
TRAIN = [
    ("loss", "l2", ValueError, " is 'l2', expected one of mse, huber, logistic, cross_entropy", {}),
    ("loss", None, TypeError, " is None, expected one of mse, huber, logistic", {}),
    ("rate", -0.1, ValueError, " is -0.1, expected a finite number at least 0", {}),
    ("rate", np.nan, ValueError, " is nan, expected a finite number at least 0", {}),
    ("rate", np.inf, ValueError, " is inf, expected a finite number at least 0", {}),
    ("rate", "0.1", TypeError, f" is '0.1', {RATE}", {}),
    ("rate", None, TypeError, f" is None, {RATE}", {}),
    ("rate", True, TypeError, f" is True, {RATE}", {}),
    ("rate", 1j, TypeError, f" is 1j, {RATE}", {}),
    ("rate", [0.1] * 9, ValueError, " has 9 entries, but steps is 10", {}),
    ("rate", np.ones((10, 2)), ValueError, " has shape (10, 2), expected one rate per step", {}),
    ("rate", [0.1] * 9 + [-1.0], ValueError, " is -1.0 at step 9, expected a finite number", {}),
    ("rate", lambda step: 5.0 - step, ValueError, " is -1.0 at step 6, expected a finite num", {}),
    ("rate", lambda step: np.nan, ValueError, " is nan at step 0, expected a finite number", {}),
    ("rate", lambda step: "x", TypeError, " is 'x' at step 0, expected a number", {}),
    ("rate", {}, ValueError, " has no entry for 'W1', expected W1, b1, W2, b2", {}),
    ("rate", ALL, ValueError, " has no entry for 'W1', expected W1, b1, W2, b2", {}),
    ("rate", {"W3": 1.0}, ValueError, " has the name 'W3', expected W1, b1, W2, b2", {}),
    ("rate", ALL, ValueError, " has the name 'b1', expected W1, W2, b2", {"frozen": "b1"}),
    ("rate", {"W1": -1} | ALL, ValueError, "['W1'] is -1, expected a finite number at least 0", {}),
    ("rate", {"W1": [1.0]} | ALL, ValueError, "['W1'] has 1 entries, but steps is 10", {}),
    ("steps", -1, ValueError, " is -1, expected an integer at least 0", {}),
    ("steps", 1e3, TypeError, " is 1000.0, expected an integer at least 0", {}),
    ("steps", None, TypeError, " is None, expected an integer at least 0", {}),
    (
        "steps",
        2**70,
        ValueError,
        " is 1180591620717411303424, expected at most 9007199254740992",
        {},
    ),
    ("momentum", -0.1, ValueError, " is -0.1, expected a finite number at least 0 and below 1", {}),
    ("momentum", 1, ValueError, " is 1, expected a finite number at least 0 and below 1", {}),
    ("momentum", np.nan, ValueError, " is nan, expected a finite number at least 0 and", {}),
    ("momentum", "0.9", TypeError, " is '0.9', expected a finite number at least 0 and", {}),
    ("nesterov", 1, TypeError, " is 1, expected True or False", {"momentum": 0.5}),
    ("nesterov", True, ValueError, " is True, but momentum is 0, expected a momentum above 0", {}),
    ("constraint", 5, TypeError, " is 5, expected a LipschitzTarget or RateCaps", {}),
    ("update", "lion", ValueError, " is 'lion', expected one of gradient, sign, adam", {}),
    ("clip_norm", 0, ValueError, " is 0, expected a finite number above 0", {}),
    ("proximal", 3, TypeError, " is 3, expected a mapping from names to penalties", {}),
    ("weight_decay", -1, ValueError, " is -1, expected a finite number at least 0", {}),
    ("weight_decay", None, TypeError, " is None, expected a finite number at least 0", {}),
    ("weight_decay", {"W9": 1}, ValueError, f" has 'W9', {PART}", {}),
    ("weight_decay", {"W1": -1}, ValueError, "['W1'] is -1, expected a finite number at", {}),
    ("weight_decay", {"b1": 1}, ValueError, " has 'b1', expected some of W1", {"frozen": "b1"}),
    ("batch_size", 0, ValueError, " is 0, expected an integer at least 1", {}),
    ("batch_size", 7, ValueError, " is 7, but there are 6 samples", {}),
    ("batch_size", 2.0, TypeError, " is 2.0, expected an integer at least 1", {}),
    (
        "sampling",
        "all",
        ValueError,
        " is 'all', expected one of independent, replacement, resh",
        {},
    ),
    ("sampling", None, TypeError, " is None, expected one of independent, replacement, resh", {}),
    ("shuffle_seed", -1, ValueError, " is -1, expected an integer at least 0", {}),
    ("shuffle_seed", None, TypeError, " is None, expected an integer at least 0", {}),
    ("frozen", "W3", ValueError, f" has 'W3', {PART}", {}),
    ("frozen", ["W1", "b9"], ValueError, f" has 'b9', {PART}", {}),
    ("frozen", None, TypeError, " is None, expected names such as ('W1',)", {}),
    ("frozen", [1], TypeError, " has 1, expected names such as 'W1'", {}),
    (
        "frozen",
        ("W1", "b1", "W2", "b2"),
        ValueError,
        " names every parameter, expected one that",
        {},
    ),
    ("validation", X, TypeError, " is no pair, expected (X, y)", {}),
    ("validation", (X, y, y), TypeError, " is no pair, expected (X, y)", {}),
    ("validation", (X[:, :2], y), ValueError, "[0] has 2 columns, but the network takes 3", {}),
    ("validation", (X, y[:3]), ValueError, "[1] has 3 samples, but validation[0] has 6", {}),
    ("validation", (X, changed(y, np.nan)), ValueError, "[1] has nan for sample 4, expected", {}),
    ("validation", (X, y), ValueError, "[1] has the label 0.0", {"loss": "logistic"}),
    ("points", X[:, :2], ValueError, " has 2 columns, but the network takes 3 inputs", {}),
    ("points", X[:0], ValueError, " is empty, expected at least one sample", {}),
    ("points", changed(X, np.nan), ValueError, " has nan in row 4, column 0, expected finite", {}),
    ("record", "loss", ValueError, f" has 'loss', {RECORD}", {}),
    ("record", ("risk", "rate"), ValueError, f" has 'rate', {RECORD}", {}),
    ("record", "rate:W9", ValueError, f" has 'rate:W9', {RECORD}", {}),
    ("record", "spectral_norm:b1", ValueError, f" has 'spectral_norm:b1', {RECORD}", {}),
    ("record", "risk:W1", ValueError, f" has 'risk:W1', {RECORD}", {}),
    ("record", "gradient_norm:", ValueError, f" has 'gradient_norm:', {RECORD}", {}),
    ("record", None, TypeError, " is None, expected names such as ('risk',)", {}),
    ("record", [3], TypeError, " has 3, expected names such as 'risk'", {}),
    ("record", "validation_risk", ValueError, " has validation_risk, but validation is mis", {}),
    ("record_every", 0, ValueError, " is 0, expected an integer at least 1", {}),
    ("record_every", 1.5, TypeError, " is 1.5, expected an integer at least 1", {}),
    ("record_every", 1, ValueError, " is 1, which makes 10000000000001 rows", {"steps": 10**13}),
    ("dynamics", 3, TypeError, " is 3, expected a lipgd.dynamics.Recording", {}),
    ("dynamics", Recording(), ValueError, " is given, but record has no lipschitz_dynamics", {}),
    ("tolerance", -1, ValueError, " is -1, expected a finite number at least 0", {}),
    ("tolerance", np.nan, ValueError, " is nan, expected a finite number at least 0", {}),
    ("callback", 3, TypeError, " is 3, expected a function of a Snapshot", {}),
    ("callback_every", 0, ValueError, " is 0, expected an integer at least 1", {}),
    ("callback_every", 5, ValueError, " is 5, but callback is missing", {"callback": None}),
    ("progress", "yes", TypeError, " is 'yes', expected True or False", {}),
    ("checkpoint", 3, TypeError, " is 3, expected a path", {}),
    ("checkpoint_every", 5, ValueError, " is 5, but checkpoint is missing", {}),
    (
        "checkpoint_every",
        0,
        ValueError,
        " is 0, expected an integer at least 1",
        {"checkpoint": "c"},
    ),
    ("resume", 3, TypeError, " is 3, expected a path", {}),
    ("n_threads", 0, ValueError, " is 0, expected an integer at least 1", {}),
    ("n_threads", 2.0, TypeError, " is 2.0, expected an integer at least 1", {}),
    ("n_threads", True, TypeError, " is True, expected an integer at least 1", {}),
]


@pytest.mark.parametrize(
    ("name", "value", "error", "message", "others"), TRAIN, ids=lambda v: str(v)[:30]
)
def test_arguments_of_a_training(name, value, error, message, others):
    def progress(snapshot):
        raise AssertionError("the training began")

    targets = np.where(np.arange(6) == 4, -1.0, 1.0) if others.get("loss") == "logistic" else y
    arguments = {"steps": 10, "callback": progress} | others | {name: value}
    if name == "validation" and others:
        arguments["validation"] = (X, 0 * y)
    check(lambda: lipgd.train(net, X, targets, **arguments), error, name + message)


def test_every_argument_of_a_training_is_tried():
    names = set(inspect.signature(lipgd.train).parameters)
    assert {case[0] for case in TRAIN} | {"net", "X", "y", "sample_weight"} == names


@pytest.mark.parametrize("value", [None, 3, "net", X, lipgd.Gradient(net.weights)], ids=str)
def test_networks_and_directions_are_networks_and_directions(value):
    shown = value if not isinstance(value, np.ndarray) else "an object of type ndarray"
    shown = repr(shown) if not isinstance(value, np.ndarray) else shown
    for function in (lipgd.risk, lipgd.risk_and_gradient, lipgd.train):
        message = f"net is {shown}, expected a Network"
        check(lambda function=function: function(value, X, y), TypeError, message)
    check(lambda: lipgd.hessian_vector_product(value, X, y, net), TypeError, message)
    if isinstance(value, lipgd.Gradient):
        message = "direction has the parameters W1 (4, 3), W2 (1, 4), but the network has W1 (4, 3)"
        check(lambda: lipgd.hessian_vector_product(net, X, y, value), ValueError, message)
    else:
        message = f"direction is {shown}, expected a Gradient or a Network"
        check(lambda: lipgd.hessian_vector_product(net, X, y, value), TypeError, message)


def test_parameters_that_are_trained_or_multiplied_are_finite():
    nan = net.replace(weights=[w * np.nan for w in net.weights])
    message = "net has a parameter that is not finite, expected finite numbers"
    check(lambda: lipgd.train(nan, X, y), ValueError, message)
    message = "direction has a value that is not finite, expected finite numbers"
    check(lambda: lipgd.hessian_vector_product(net, X, y, nan), ValueError, message)
