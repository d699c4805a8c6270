"""Activations in Python: constants that are bounds, names, and evaluation of any array."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

import lipgd
from lipgd import activations

INF = math.inf


@pytest.fixture(autouse=True)
def fifty_digits() -> Any:
    with mp.workdps(50):
        yield


def close_above(bound: float, truth: mpf) -> bool:
    """Whether the bound is at least the truth, and the next double or two below it is not."""
    return mpf(bound) >= truth > mpf(bound) - 2 * mpf(math.ulp(bound))


def logistic(z: mpf) -> mpf:
    return 1 / (1 + mp.exp(-z))


def gelu_tanh(z: mpf) -> mpf:
    return z * logistic(2 * mp.sqrt(2 / mp.pi) * (z + mpf("0.044715") * z**3))


FUNCTIONS: dict[str, Callable[[mpf], mpf]] = {
    "tanh": mp.tanh,
    "sigmoid": logistic,
    "silu": lambda z: z * logistic(z),
    "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
    "gelu_tanh": gelu_tanh,
    "softplus": lambda z: mp.log1p(mp.exp(z)),
    "sin": mp.sin,
}
#: Where slopes and phi - z phi' are extremal, and where second derivatives are.
STEEPEST = {"sigmoid": 0.0, "silu": 2.399, "gelu": 1.414, "gelu_tanh": 1.4185}
MOST_BENT = {"tanh": 0.658, "sigmoid": 1.317}


def refine(f: Callable[[mpf], mpf], start: float, order: int) -> mpf:
    """Return the zero near `start` of the derivative of this order."""
    if start == 0.0:
        return mpf(0)
    return mp.findroot(lambda z: mp.diff(f, z, order), mpf(start))


@pytest.mark.parametrize("name", STEEPEST)
def test_slopes_are_bounded_tightly(name: str) -> None:
    f, a = FUNCTIONS[name], activations.get(name)
    place = refine(f, STEEPEST[name], 2)
    steepest = mp.diff(f, place)
    assert close_above(a.lipschitz, steepest)
    assert close_above(a.slope_range[1], steepest)
    if name != "sigmoid":
        lowest = mp.diff(f, -place)
        assert close_above(-a.slope_range[0], -lowest)
        defect = f(place) - place * steepest
        assert close_above(-a.homogeneity_range[0], -defect)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "softplus"])
def test_curvatures_are_bounded_tightly(name: str) -> None:
    f = FUNCTIONS[name]
    place = refine(f, MOST_BENT.get(name, 0.0), 3)
    truth = abs(mp.diff(f, place, 2))
    # The numerical derivative has about 25 digits: enough around a double, not for an exact one.
    assert close_above(activations.get(name).curvature, truth * (1 - mpf("1e-20")))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_constants_bound_the_function_everywhere(name: str) -> None:
    f, a = FUNCTIONS[name], activations.get(name)
    slack = mpf("1e-20")
    for i in range(-90, 91):
        z = mpf(i) / 9 + mpf("0.013")
        slope = mp.diff(f, z)
        assert a.slope_range[0] - slack <= slope <= a.slope_range[1] + slack
        assert abs(slope) <= a.lipschitz + slack
        assert abs(mp.diff(f, z, 2)) <= a.curvature + slack
        assert a.homogeneity_range[0] <= f(z) - z * slope <= a.homogeneity_range[1] + slack
        assert abs(f(z)) <= a.supremum
    assert mpf(a.at_zero) >= f(mpf(0)) > mpf(a.at_zero) - mpf("2e-16")


def test_exact_constants() -> None:
    table = {
        "identity": (1.0, (1.0, 1.0), 0.0, INF, 0.0, (0.0, 0.0), True),
        "relu": (1.0, (0.0, 1.0), INF, INF, 0.0, (0.0, 0.0), False),
        "leaky_relu(0.25)": (1.0, (0.25, 1.0), INF, INF, 0.0, (0.0, 0.0), False),
        "leaky_relu(1.0)": (1.0, (1.0, 1.0), 0.0, INF, 0.0, (0.0, 0.0), True),
        "relu6": (1.0, (0.0, 1.0), INF, 6.0, 0.0, (0.0, 6.0), False),
        "elu(1.0)": (1.0, (0.0, 1.0), 1.0, INF, 0.0, (-1.0, 0.0), True),
        "elu(2.0)": (2.0, (0.0, 2.0), INF, INF, 0.0, (-2.0, 0.0), False),
        "elu(0.5)": (1.0, (0.0, 1.0), INF, INF, 0.0, (-0.5, 0.0), False),
        "tanh": (1.0, (0.0, 1.0), None, 1.0, 0.0, (-1.0, 1.0), True),
        "sigmoid": (0.25, (0.0, 0.25), None, 1.0, 0.5, (0.0, 1.0), True),
        "softplus": (1.0, (0.0, 1.0), 0.25, INF, None, None, True),
        "sin": (1.0, (-1.0, 1.0), 1.0, 1.0, 0.0, (-INF, INF), True),
    }
    for name, expected in table.items():
        a = activations.get(name)
        found = (
            a.lipschitz,
            a.slope_range,
            a.curvature,
            a.supremum,
            a.at_zero,
            a.homogeneity_range,
            a.smooth,
        )
        for value, wanted in zip(found, expected, strict=True):
            assert wanted is None or value == wanted, name
    assert close_above(activations.get("softplus").homogeneity_range[1], mp.log(2))


@pytest.mark.parametrize("c", [0.1, 0.5, 1 / 3])
@pytest.mark.parametrize("base", ["silu", "gelu", "gelu_tanh", "softplus", "tanh", "elu(1.0)"])
def test_leaky_constants_are_bounds_of_the_mean(base: str, c: float) -> None:
    inner, a = activations.get(base), activations.leaky(base, c)
    share, rest = mpf(c), 1 - mpf(c)
    low, high = (share + rest * mpf(s) for s in inner.slope_range)
    assert close_above(a.slope_range[1], high)
    assert close_above(-a.slope_range[0], -low)
    assert a.lipschitz == max(a.slope_range[1], -a.slope_range[0])
    assert close_above(a.curvature, rest * mpf(inner.curvature))
    assert a.homogeneity_range[0] <= rest * mpf(inner.homogeneity_range[0])
    assert a.homogeneity_range[1] >= rest * mpf(inner.homogeneity_range[1])
    assert a.at_zero >= rest * mpf(inner.at_zero)
    assert a.supremum == INF
    assert a.smooth
    assert (a.mix, a.kind, a.parameter) == (c, inner.kind, inner.parameter)


def test_leaky_of_nothing_and_of_everything() -> None:
    assert activations.leaky("tanh", 0.0) == activations.get("tanh")
    assert activations.leaky("tanh", 1) == activations.get("identity")
    assert activations.leaky("sin", 0.5).homogeneity_range == (-INF, INF)


@pytest.mark.parametrize(
    "name",
    [
        *activations.names(),
        "elu(0.3)",
        "leaky_relu(1e-05)",
        "leaky(softplus, 0.5)",
        "leaky(elu(1.0), 0.25)",
    ],
)
def test_names_survive_a_round_trip(name: str) -> None:
    a = activations.get(name)
    assert activations.get(a.name) == a
    assert activations.get(str(a)) is not None
    assert activations.get(a) is a
    assert eval(repr(a), {"activations": activations}) == a
    assert pickle.loads(pickle.dumps(a)) == a
    assert len({a, activations.get(a.name)}) == 1


def test_parameters_by_name() -> None:
    assert activations.get("leaky_relu", slope=0.2).name == "leaky_relu(0.2)"
    assert activations.get("leaky_relu").parameter == 0.01
    assert activations.get("elu", alpha=2).name == "elu(2.0)"
    assert activations.get("elu") != activations.get("elu", alpha=0.5)
    assert activations.get("leaky(silu,0.5)") == activations.leaky("silu", 0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: activations.get("swish"), ValueError, "activation is 'swish', expected one of id"),
        (lambda: activations.get("tanh(1.0)"), ValueError, r"activation is 'tanh\(1.0\)'"),
        (lambda: activations.get("elu(1.0"), ValueError, "activation is"),
        (lambda: activations.get("elu(1..0)"), ValueError, "activation is"),
        (lambda: activations.get(3), TypeError, "activation is 3, expected one of"),
        (lambda: activations.get("elu", alpha=0), ValueError, "alpha is 0, expected .* above 0"),
        (lambda: activations.get("elu(nan)"), ValueError, "activation is"),
        (lambda: activations.get("leaky_relu(-0.1)"), ValueError, "slope is -0.1, expected"),
        (lambda: activations.get("leaky_relu", slope=1.5), ValueError, "slope is 1.5, expected"),
        (lambda: activations.get("leaky_relu", slope="a"), TypeError, "slope is 'a', expected"),
        (
            lambda: activations.get("relu", slope=0.1),
            TypeError,
            "slope is not a parameter of relu, expected none",
        ),
        (
            lambda: activations.get("elu", slope=0.1),
            TypeError,
            "slope is not a parameter of elu, expected alpha",
        ),
        (
            lambda: activations.get("elu(2.0)", alpha=1.0),
            TypeError,
            r"alpha is not a parameter of elu\(2.0\), expected none",
        ),
        (
            lambda: activations.get(activations.get("elu"), alpha=1.0),
            TypeError,
            "alpha is not a parameter of",
        ),
        (
            lambda: activations.leaky("relu", 0.5),
            ValueError,
            "base is relu, expected a smooth activation",
        ),
        (
            lambda: activations.get("leaky(leaky(tanh, 0.5), 0.5)"),
            ValueError,
            "expected an activation that is not leaky already",
        ),
        (lambda: activations.leaky("tanh", 1.5), ValueError, "c is 1.5, expected"),
        (lambda: activations.leaky("tanh", -0.5), ValueError, "c is -0.5, expected"),
        (lambda: activations.get("tanh")([1j]), TypeError, "z has dtype complex128, expected real"),
        (lambda: activations.get("tanh")(["a"]), TypeError, "z has dtype .*, expected real"),
    ],
)
def test_messages(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_arrays_keep_shape_and_precision() -> None:
    silu = lipgd.activations.get("silu")
    z = np.arange(24.0).reshape(2, 3, 4)
    assert silu(z).shape == (2, 3, 4)
    np.testing.assert_array_equal(silu(z.T), silu(z).T)
    np.testing.assert_array_equal(silu(z[:, ::2]), silu(z)[:, ::2])
    assert silu(z.astype(np.float32)).dtype == np.float32
    assert silu.slope(z.astype(np.float32)).dtype == np.float32
    assert silu([1, 2]).dtype == np.float64
    assert silu(np.float16(1)).dtype == np.float64
    assert silu(1.0).shape == ()
    assert silu([]).shape == (0,)
    assert silu(z.astype(">f8")).tolist() == silu(z).tolist()


def test_derivatives_are_those_of_the_values() -> None:
    z = np.linspace(-4, 4, 41)
    h = 1e-5
    for name in activations.names():
        a = activations.get(name)
        away = np.abs(z) > 2 * h
        slope = (a(z + h) - a(z - h)) / (2 * h)
        bend = (a.slope(z + h) - a.slope(z - h)) / (2 * h)
        np.testing.assert_allclose(slope[away], a.slope(z)[away], atol=1e-9)
        np.testing.assert_allclose(bend[away], a.second_derivative(z)[away], atol=1e-9)
