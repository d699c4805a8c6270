"""Bad arguments of networks: each is refused with a message that names it."""

from __future__ import annotations

import numpy as np
import pytest
from test_arguments import X, check, net, y

import lipgd

MATRIX = np.eye(2)
NETWORK = [
    ({"weights": None}, TypeError, "weights is None, expected a sequence of matrices"),
    ({"weights": 3}, TypeError, "weights is 3, expected a sequence of matrices"),
    ({"weights": "ab"}, TypeError, "weights is 'ab', expected a sequence of matrices"),
    ({"weights": []}, ValueError, "weights is empty, expected at least one matrix"),
    ({"weights": [[1.0]]}, ValueError, "weights[0] has shape (1,), expected (n_outputs, n_inputs)"),
    ({"weights": [MATRIX[:0]]}, ValueError, "weights[0] has shape (0, 2), expected (n_outputs,"),
    ({"weights": [[[1, 2], [3]]]}, ValueError, "weights[0] is no regular array, expected real"),
    ({"weights": [[[1j]]]}, TypeError, "weights[0] has dtype complex128, expected real numbers"),
    ({"weights": [[["a"]]]}, TypeError, "weights[0] has dtype <U1, expected real numbers"),
    ({"weights": [None]}, TypeError, "weights[0] is None, expected an array of real numbers"),
    ({"weights": [np.ma.ones((2, 2))]}, TypeError, "weights[0] is a masked array, expected"),
    ({"weights": [X, X]}, ValueError, "weights[1] has 3 columns, but weights[0] has 6 rows"),
    ({"biases": []}, ValueError, "biases has 0 entries, but there are 1 layers"),
    ({"biases": True}, TypeError, "biases is True, expected a sequence of vectors"),
    ({"biases": [y]}, ValueError, "biases[0] has shape (6,), but weights[0] has 2 rows"),
    ({"biases": [["a", "b"]]}, TypeError, "biases[0] has dtype <U1, expected real numbers"),
    ({"activation": "swish"}, ValueError, "activation is 'swish', expected one of identity, relu"),
    ({"activation": None}, TypeError, "activation is None, expected one of identity, relu"),
    ({"output_scale": np.nan}, ValueError, "output_scale is nan, expected a finite number"),
    ({"output_scale": "1"}, TypeError, "output_scale is '1', expected a finite number"),
]
INIT = "expected one of normal, uniform, rademacher, he_normal"
CREATE = [
    ({"sizes": 3}, ValueError, "sizes is 3, expected inputs, hidden widths and outputs"),
    ({"sizes": [3]}, ValueError, "sizes is [3], expected inputs, hidden widths and outputs"),
    ({"sizes": "31"}, ValueError, "sizes is '31', expected inputs, hidden widths and outputs"),
    ({"sizes": [3, 0, 1]}, ValueError, "sizes[1] is 0, expected an integer at least 1"),
    ({"sizes": [3, 1.5]}, TypeError, "sizes[1] is 1.5, expected an integer at least 1"),
    ({"init": "he"}, ValueError, f"init is 'he', {INIT}"),
    ({"init": "he_normal(2)"}, ValueError, f"init is 'he_normal(2)', {INIT}"),
    ({"init": None}, TypeError, "init is None, expected a name such as 'he_normal' or 'normal(0."),
    ({"init": "normal"}, ValueError, "init is 'normal', expected its scale too, such as 'normal("),
    ({"init": "normal(x)"}, ValueError, "init is 'normal(x)', expected a number as in 'normal(0.1"),
    ({"init": "normal(-1)"}, ValueError, "the scale of init 'normal(-1)' is -1.0, expected a fin"),
    ({"seed": -1}, ValueError, "seed is -1, expected an integer at least 0"),
    ({"seed": None}, TypeError, "seed is None, expected an integer at least 0"),
    ({"seed": np.random.RandomState(0)}, TypeError, "seed is a RandomState, expected an integer o"),
    ({"dtype": "float16"}, ValueError, "dtype is 'float16', expected float64 or float32"),
    ({"dtype": "foo"}, TypeError, "dtype is 'foo', expected float64 or float32"),
    ({"dtype": None}, ValueError, "dtype is None, expected float64 or float32"),
    ({"biases": None}, TypeError, "biases is None, expected True or False"),
    ({"output_scale": np.inf}, ValueError, "output_scale is inf, expected a finite number"),
    ({"activation": "foo"}, ValueError, "activation is 'foo', expected one of identity, relu"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), NETWORK, ids=lambda v: str(v)[:40])
def test_arguments_of_networks(arguments, error, message):
    arguments = {"weights": [MATRIX]} | arguments
    check(lambda: lipgd.Network(**arguments), error, message)
    check(lambda: lipgd.Network([MATRIX]).replace(**arguments), error, message)
    if not {"activation", "output_scale"} & set(arguments):
        check(lambda: lipgd.Gradient(**arguments), error, message)


@pytest.mark.parametrize(("arguments", "error", "message"), CREATE, ids=lambda v: str(v)[:40])
def test_arguments_of_creation(arguments, error, message):
    arguments = {"sizes": [2, 1]} | arguments
    check(lambda: lipgd.Network.create(**arguments), error, message)


def test_paths_are_paths():
    for value in (3, None, True):
        check(lambda value=value: net.save(value), TypeError, f"path is {value}, expected a path")
        check(lambda value=value: net.load(value), TypeError, f"path is {value}, expected a path")
