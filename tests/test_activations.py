"""Activations: accuracy against mpmath, special values, constants, names."""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from lipgd import activations

Dtype = type[np.floating[Any]]
Jet = tuple[np.ndarray, np.ndarray, np.ndarray]

KINKED = ("relu", "leaky_relu(0.01)", "leaky_relu(0.0)", "relu6", "elu(0.5)")
SMOOTH = tuple(a.name for a in map(activations.get, activations.names()) if a.smooth)
ALL = SMOOTH + KINKED
INF = math.inf
NAN = math.nan


@pytest.fixture(autouse=True, scope="module")
def fifty_digits() -> Any:
    with mp.workdps(50):
        yield


def gate(z: mpf, e: mpf, e1: mpf, e2: mpf) -> tuple[mpf, mpf, mpf]:
    """Return z s(e) and its derivatives for the logistic s and e = e(z)."""
    big, small = 1 / (1 + mp.exp(-abs(e))), 1 / (1 + mp.exp(abs(e)))
    s, product = (big if e > 0 else small), big * small
    bend = 2 * e1 + z * e2 - z * e1**2 * mp.tanh(e / 2)
    return z * s, s + z * product * e1, product * bend


def exact(name: str, z: mpf, dtype: Dtype) -> tuple[mpf, mpf, mpf]:
    """Return the value, the slope and the second derivative, at 50 digits."""
    one, zero = mpf(1), mpf(0)
    base, _, rest = name.partition("(")
    parameter = mpf(float(dtype(rest.rstrip(")")))) if rest else zero
    if base == "identity":
        return z, one, zero
    if base in ("relu", "leaky_relu"):
        return (z, one, zero) if z > 0 else (parameter * z, parameter, zero)
    if base == "relu6":
        return min(max(z, zero), mpf(6)), one if 0 < z < 6 else zero, zero
    if base == "elu":
        power = parameter * mp.exp(z)
        return (
            (z, one, zero) if z > 0 else (parameter * mp.expm1(z), power, power if z < 0 else zero)
        )
    if base == "tanh":
        slope = 1 / mp.cosh(z) ** 2
        return mp.tanh(z), slope, -2 * mp.tanh(z) * slope
    if base == "sigmoid":
        s, t = 1 / (1 + mp.exp(-z)), 1 / (1 + mp.exp(z))
        return s, s * t, -s * t * mp.tanh(z / 2)
    if base == "silu":
        return gate(z, z, one, zero)
    if base == "gelu":
        density = mp.exp(-(z**2) / 2) / mp.sqrt(2 * mp.pi)
        below = mp.erfc(-z / mp.sqrt(2)) / 2
        return z * below, below + z * density, density * (2 - z**2)
    if base == "gelu_tanh":
        a = 2 * mp.sqrt(2 / mp.pi)
        b = a * mpf("0.044715")
        return gate(z, a * z + b * z**3, a + 3 * b * z**2, 6 * b * z)
    if base == "softplus":
        s, t = 1 / (1 + mp.exp(-z)), 1 / (1 + mp.exp(z))
        return (z if z > 0 else 0) + mp.log1p(mp.exp(-abs(z))), s, s * t
    assert base == "sin"
    return mp.sin(z), mp.cos(z), -mp.sin(z)


@cache
def points(name: str, dtype: Dtype) -> np.ndarray:
    """Return arguments around zero, the extrema, saturation and underflow, and random ones."""
    rng = np.random.default_rng(1)
    info = np.finfo(dtype)
    least = math.log(info.tiny)
    tails = {
        "gelu": -math.sqrt(-2 * least),
        "gelu_tanh": -21.6 if dtype == np.float64 else -10.7,
        "silu": least - math.log(-least),
        "tanh": -20.0,
    }
    tail = tails.get(name, least)
    parts = [
        rng.normal(size=60),
        rng.uniform(-6, 6, 60),
        rng.choice([-1, 1], 60) * np.exp2(rng.uniform(-info.maxexp, 4, 60)),
        rng.uniform(tail, tail / 2, 60),
        rng.uniform(1.03 * tail, 0.97 * tail, 40),
        -rng.uniform(tail, 0, 20),
        np.array([1.4185, 2**0.5, 2.399357, 1.5434, 1.317, 0.5493, 0.6585, 6.0, 1e30, -1e30]),
    ]
    if name == "sin":
        quarters = rng.integers(-667_000, 667_000, 200) * (math.pi / 2)
        parts = [*parts[:3], rng.uniform(-(2**20), 2**20, 60), quarters]
    return np.concatenate(parts).astype(dtype)


@cache
def exact_jet(name: str, dtype: Dtype) -> tuple[list[mpf], ...]:
    return tuple(
        zip(*(exact(name, mpf(float(z)), dtype) for z in points(name, dtype)), strict=True)
    )


def jet(core: ModuleType, name: str, z: np.ndarray) -> Jet:
    a = activations.get(name)
    return core.activate(a.kind, a.parameter, a.mix, z)


def ulps(computed: np.ndarray, truth: list[mpf]) -> np.ndarray:
    """Return errors in units of the last place; of the least normal number where that is above."""
    info = np.finfo(computed.dtype)
    tiny = mpf(float(info.tiny))

    def unit(t: mpf) -> mpf:
        return mpf(2) ** (mp.floor(mp.log(abs(t), 2))) * info.eps if abs(t) >= tiny else tiny

    return np.array(
        [float(abs(mpf(float(c)) - t) / unit(t)) for c, t in zip(computed, truth, strict=True)]
    )


def epsilons(computed: np.ndarray, truth: list[mpf], supremum: float) -> np.ndarray:
    size = supremum * float(np.finfo(computed.dtype).eps)
    return np.array(
        [float(abs(mpf(float(c)) - t)) / size for c, t in zip(computed, truth, strict=True)]
    )


@pytest.mark.parametrize("name", ALL)
def test_values_are_within_4_ulp(core: ModuleType, dtype: Dtype, name: str) -> None:
    z = points(name, dtype)
    value = jet(core, name, z)[0]
    error = ulps(value, exact_jet(name, dtype)[0])
    assert error.max() <= 4, f"at {z[error.argmax()]!r}"


@pytest.mark.parametrize("name", ALL)
def test_derivatives_are_within_4_epsilons(core: ModuleType, dtype: Dtype, name: str) -> None:
    a = activations.get(name)
    z = points(name, dtype)
    _, slope, curvature = jet(core, name, z)
    _, true_slope, true_curvature = exact_jet(name, dtype)
    error = epsilons(slope, true_slope, a.lipschitz)
    assert error.max() <= 4, f"slope at {z[error.argmax()]!r}"
    bound = a.curvature if 0 < a.curvature < INF else 1.0
    error = epsilons(curvature, true_curvature, bound)
    assert error.max() <= 4, f"second derivative at {z[error.argmax()]!r}"


@pytest.mark.parametrize("name", SMOOTH)
def test_flushed_subnormals_change_nothing_above_them(dtype: Dtype, name: str) -> None:
    z = points(name, dtype)
    assert torch.set_flush_denormal(True)
    try:
        value, slope, curvature = activations.get(name)._jet(z)
    finally:
        torch.set_flush_denormal(False)
    truth = exact_jet(name, dtype)
    assert ulps(value, truth[0]).max() <= 4
    assert epsilons(slope, truth[1], 1.0).max() <= 5
    assert np.isfinite(curvature).all()


@pytest.mark.parametrize("c", [0.25, 0.9])
@pytest.mark.parametrize("base", SMOOTH)
def test_leaky_is_the_mean_of_the_identity_and_the_base(
    core: ModuleType, dtype: Dtype, base: str, c: float
) -> None:
    z = points(base, dtype)[np.abs(points(base, dtype)) < 50]
    inner = jet(core, base, z)
    value, slope, curvature = jet(core, activations.leaky(base, c).name, z)
    s = dtype(c)
    eps = np.finfo(dtype).eps
    np.testing.assert_array_less(
        abs(value - (s * z + (1 - s) * inner[0])), 4 * eps * (abs(z) + abs(inner[0])) + eps
    )
    np.testing.assert_allclose(slope, s + (1 - s) * inner[1], rtol=0, atol=4 * eps)
    np.testing.assert_allclose(curvature, (1 - s) * inner[2], rtol=0, atol=4 * eps)


def test_leaky_keeps_minus_infinity(core: ModuleType, dtype: Dtype) -> None:
    value, slope, curvature = jet(core, "leaky(softplus, 0.5)", np.array([-INF, INF], dtype))
    assert value.tolist() == [-INF, INF]
    assert slope.tolist() == [0.5, 1.0]
    assert curvature.tolist() == [0.0, 0.0]


LIMITS = {
    # value, slope and second derivative at -inf and +inf
    "identity": ((-INF, 1, 0), (INF, 1, 0)),
    "relu": ((0, 0, 0), (INF, 1, 0)),
    "leaky_relu(0.01)": ((-INF, 0.01, 0), (INF, 1, 0)),
    "leaky_relu(0.0)": ((0, 0, 0), (INF, 1, 0)),
    "relu6": ((0, 0, 0), (6, 0, 0)),
    "elu(0.5)": ((-0.5, 0, 0), (INF, 1, 0)),
    "elu(1.0)": ((-1, 0, 0), (INF, 1, 0)),
    "tanh": ((-1, 0, 0), (1, 0, 0)),
    "sigmoid": ((0, 0, 0), (1, 0, 0)),
    "silu": ((0, 0, 0), (INF, 1, 0)),
    "gelu": ((0, 0, 0), (INF, 1, 0)),
    "gelu_tanh": ((0, 0, 0), (INF, 1, 0)),
    "softplus": ((0, 0, 0), (INF, 1, 0)),
}


@pytest.mark.parametrize("name", LIMITS)
def test_infinite_arguments_give_the_limits(core: ModuleType, dtype: Dtype, name: str) -> None:
    largest = np.finfo(dtype).max
    rows = np.stack(jet(core, name, np.array([-INF, INF, -largest, largest], dtype)), axis=1)
    expected = np.array(LIMITS[name], dtype)
    np.testing.assert_array_equal(rows[:2], expected)
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(rows[2:][~infinite], expected[~infinite])
    assert np.isfinite(rows[2:]).all()


@pytest.mark.parametrize("name", ALL)
def test_nan_propagates(core: ModuleType, dtype: Dtype, name: str) -> None:
    value, slope, curvature = jet(core, name, np.array([NAN, 1.0], dtype))
    assert math.isnan(value[0])
    assert not math.isnan(value[1])
    # Piecewise constant slopes stay finite, as in PyTorch.
    finite = name in ("identity", "relu", "leaky_relu(0.01)", "leaky_relu(0.0)", "relu6")
    assert math.isnan(slope[0]) != finite
    assert math.isnan(curvature[0]) != finite


@pytest.mark.parametrize("z", [1.5e6, -3e7, 2e9, 1e22, -1e30, math.pi * 1e6])
def test_sin_is_right_for_huge_arguments(core: ModuleType, dtype: Dtype, z: float) -> None:
    computed = jet(core, "sin", np.array([z, 1.0], dtype))
    truth = zip(*(exact("sin", mpf(float(dtype(x))), dtype) for x in (z, 1.0)), strict=True)
    for mine, exactly in zip(computed, truth, strict=True):
        assert ulps(mine, list(exactly)).max() <= 4


def test_sin_of_infinity_is_not_a_number(core: ModuleType, dtype: Dtype) -> None:
    assert np.isnan(np.array(jet(core, "sin", np.array([INF, -INF], dtype)))).all()


@pytest.mark.parametrize(
    "name", ["identity", "elu(1.0)", "tanh", "silu", "gelu", "gelu_tanh", "sin"]
)
def test_zero_keeps_its_sign(core: ModuleType, dtype: Dtype, name: str) -> None:
    value = jet(core, name, np.array([0.0, -0.0], dtype))[0]
    assert np.signbit(value).tolist() == [False, True]
    assert value.tolist() == [0, 0]


def test_kinks_have_the_slopes_of_pytorch(core: ModuleType, dtype: Dtype) -> None:
    f = torch.nn.functional
    theirs = {
        "relu": f.relu,
        "relu6": f.relu6,
        "leaky_relu(0.01)": f.leaky_relu,
        "elu(0.5)": lambda z: f.elu(z, 0.5),
        "elu(1.0)": f.elu,
    }
    for name, function in theirs.items():
        z = torch.tensor([0.0, -0.0, 6.0, -6.0], requires_grad=True)
        function(z).sum().backward()
        value, slope, curvature = jet(core, name, z.detach().numpy().astype(dtype))
        np.testing.assert_allclose(value, function(z).detach().numpy(), rtol=1e-6)
        np.testing.assert_allclose(slope, z.grad.numpy(), rtol=1e-6)
        assert curvature[:3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", [*ALL, "leaky(silu, 0.3)"])
def test_bits_depend_on_the_argument_alone(core: ModuleType, dtype: Dtype, name: str) -> None:
    z = np.random.default_rng(2).normal(scale=3, size=150).astype(dtype)
    whole = jet(core, name, z)
    for start, stop in ((0, 0), (0, 1), (3, 10), (1, 65), (5, 150), (40, 107)):
        part = jet(core, name, z[start:stop].copy())
        for a, b in zip(part, whole, strict=True):
            np.testing.assert_array_equal(a, b[start:stop])
