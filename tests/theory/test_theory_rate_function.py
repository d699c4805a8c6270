from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from lipgd import schedules
from lipgd.theory import rate_constraints as rc

#: Parameters with the derivative g after the hold, and where it jumps or bends.
KINDS: dict[str, tuple[dict[str, float], Callable[[mpmath.mpf], mpmath.mpf], list[float]]] = {
    "exponential": ({"decay_rate": 0.05}, lambda u: mpmath.exp(-mpmath.mpf(0.05) * u), []),
    "polynomial": (
        {"power": 2.5, "scale": 7.0},
        lambda u: (1 + u / 7) ** mpmath.mpf(-2.5),
        [],
    ),
    "linear": ({"scale": 30.0}, lambda u: max(1 - u / 30, mpmath.mpf(0)), [30.0]),
    "cosine": (
        {"scale": 30.0},
        lambda u: (1 + mpmath.cos(mpmath.pi * u / 30)) / 2 if u < 30 else mpmath.mpf(0),
        [30.0],
    ),
    "half_gaussian": ({"scale": 9.0}, lambda u: mpmath.exp(-(u**2) / 162), []),
    "arctan": ({"scale": 9.0}, lambda u: 1 / (1 + u**2 / 81), []),
    "sech_squared": ({"scale": 9.0}, lambda u: mpmath.sech(u / 9) ** 2, []),
    "staircase": (
        {"scale": 8.0, "factor": 0.5},
        lambda u: mpmath.mpf(0.5) ** (mpmath.floor(u / 8) + 1),
        [8.0 * k for k in range(1, 20)],
    ),
}
TIMES = [0.5, 3.0, 5.0, 5.5, 9.0, 13.0, 20.25, 34.0, 35.0, 50.0, 120.0]


def integral(name: str, end: float, start: float = 0.0) -> mpmath.mpf:
    _, slope, bends = KINDS[name]
    edges = [start, *(bend for bend in bends if start < bend < end), end]
    # A jump belongs to the interval on its right.
    nudge = mpmath.mpf(10) ** -25
    return mpmath.fsum(mpmath.quad(slope, [a, b - nudge]) for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("hold", [0.0, 5.0, 2.5])
def test_the_function_is_the_integral_of_its_slope(name: str, hold: float) -> None:
    G = rc.rate_function(name, hold=hold, **KINDS[name][0])
    with mpmath.workdps(30):
        for time in TIMES:
            exact = min(time, hold) + (integral(name, time - hold) if time > hold else 0)
            assert G(time) == pytest.approx(float(exact), rel=1e-14)
    np.testing.assert_array_equal(G(TIMES), [G(time) for time in TIMES])


@pytest.mark.parametrize("name", KINDS)
def test_the_limit_is_the_supremum_rounded_up(name: str) -> None:
    G = rc.rate_function(name, hold=5, **KINDS[name][0])
    far = G(1e12)
    assert far <= G.limit
    assert far == pytest.approx(G.limit, rel=1e-9)
    assert G(np.linspace(0, 1e4, 5001)).max() <= G.limit
    assert 0.98 * G.limit < far


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("hold", [0.0, 5.0, 2.5])
def test_increments_telescope(name: str, hold: float) -> None:
    G = rc.rate_function(name, hold=hold, **KINDS[name][0])
    increments = G.increments(400)
    assert (increments >= 0).all()
    assert (increments[: int(hold)] == 1.0).all()
    assert (increments <= 1.0).all()
    sums = np.concatenate([[0.0], np.cumsum(increments)])
    np.testing.assert_allclose(sums, G(np.arange(401.0)), rtol=1e-12)
    assert math.fsum(increments) <= G.limit
    schedule = schedules.from_rate_function(G)
    assert schedule.limit >= G.limit
    np.testing.assert_array_equal(schedule.rates(400), increments)
    np.testing.assert_array_equal(G.schedule().total(9), schedule.total(9))


@pytest.mark.parametrize("name", KINDS)
def test_long_runs_stay_below_the_limit(name: str) -> None:
    rng = np.random.default_rng(len(name))
    for _ in range(5):
        hold = float(rng.integers(0, 50))
        sizes = {key: value * 10 ** rng.uniform(-1, 1) for key, value in KINDS[name][0].items()}
        if "power" in sizes:
            sizes["power"] += 1.0
        if "factor" in sizes:
            sizes["factor"] = float(rng.uniform(0.05, 0.95))
        G = rc.rate_function(name, hold=hold, **sizes)
        assert math.fsum(G.increments(20_000)) <= G.limit


@pytest.mark.parametrize("name", [name for name in KINDS if name != "staircase"])
def test_the_slope_itself_would_exceed_the_limit(name: str) -> None:
    """Negative control: g(s) instead of G(s + 1) - G(s)."""
    _, slope, _ = KINDS[name]
    G = rc.rate_function(name, **KINDS[name][0])
    assert sum(float(slope(mpmath.mpf(s))) for s in range(3000)) > G.limit


def test_the_slope_of_the_exponential_exceeds_by_a_half_to_one() -> None:
    for decay_rate in (0.01, 0.3, 5.0):
        G = rc.rate_function("exponential", hold=3, decay_rate=decay_rate)
        excess = 3 + 1 / (1 - math.exp(-decay_rate)) - G.limit
        assert 0.5 < excess < 1.0


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"name is 'log', expected one of exponential"):
        rc.rate_function("log")
    with pytest.raises(TypeError, match=r"scale is missing, but the rate function linear takes it"):
        rc.rate_function("linear")
    with pytest.raises(TypeError, match=r"power is not a parameter of linear, expected scale"):
        rc.rate_function("linear", scale=1.0, power=2.0)
    with pytest.raises(ValueError, match=r"power is 1.0, expected a finite number above 1"):
        rc.rate_function("polynomial", scale=1.0, power=1.0)
    with pytest.raises(ValueError, match=r"factor is 1.0, expected .* above 0 and below 1"):
        rc.rate_function("staircase", scale=1.0, factor=1.0)
    with pytest.raises(ValueError, match=r"hold is -1, expected a finite number at least 0"):
        rc.rate_function("linear", hold=-1, scale=1.0)
    with pytest.raises(ValueError, match=r"t has -1.0, expected numbers at least 0"):
        rc.rate_function("linear", scale=1.0)(-1.0)
