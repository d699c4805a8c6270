"""Schedules against mpmath and exact sums, then their promises, then messages."""

from __future__ import annotations

import copy
import doctest
import importlib
import json
import math
import pickle
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from lipgd import schedules as s


def sine(step):
    return 1.0 + math.sin(step)


RATES = np.random.default_rng(0).uniform(0.0, 1.0, 3000)

NUMERIC = {
    "constant": s.constant(0.1),
    "zero": s.constant(0),
    "exponential": s.exponential(0.3, 0.01),
    "fast": s.exponential(0.7, 40.0),
    "flat": s.exponential(0.7, 0.0),
    "polynomial": s.polynomial(0.4, 1.7, 12.5),
    "slow": s.polynomial(0.4, 0.5, 3.0),
    "cosine": s.cosine(0.2, 777),
    "hold": s.hold_then_decay(0.25, 100, s.exponential(1.0, 0.005)),
    "hold_number": s.hold_then_decay(0.25, 7, 0.5),
    "warmup": s.warmup(s.polynomial(0.4, 2.0, 50.0), 33),
    "no_warmup": s.warmup(s.cosine(0.4, 9), 0),
    "join": s.join([0.1, s.cosine(0.5, 100), s.exponential(0.1, 0.1)], [50, 120]),
    "minimum": s.minimum(s.exponential(1.0, 0.01), s.polynomial(0.5, 1.5, 10.0)),
    "scale": s.scale(s.exponential(1.0, 0.02), 0.37),
    "array": s.from_array(RATES),
}
FUNCTIONS = {
    "callable": s.resolve(sine),
    "rate_function": s.from_rate_function(lambda t: -np.expm1(-0.01 * t) / 0.01, limit=100.0),
    "scalar_rate_function": s.from_rate_function(lambda t: -math.expm1(-t), limit=1.0),
}
ALL = NUMERIC | FUNCTIONS


def expected_rate(name, k):
    """The formula of the docstrings in 50 digits."""
    m = mpmath.mpf
    formulas = {
        "constant": lambda: m(0.1),
        "exponential": lambda: m(0.3) * mpmath.exp(-m(0.01) * k),
        "fast": lambda: m(0.7) * mpmath.exp(-m(40) * k),
        "polynomial": lambda: m(0.4) * (1 + k / m(12.5)) ** -m(1.7),
        "cosine": lambda: m(0.2) * (1 + mpmath.cos(mpmath.pi * min(k, 777) / 777)) / 2,
        "hold": lambda: m(0.25) * mpmath.exp(-m(0.005) * max(k - 100, 0)),
        "scale": lambda: m(0.37) * mpmath.exp(-m(0.02) * k),
        "rate_function": lambda: mpmath.exp(-m(0.01) * k) * -mpmath.expm1(-m(0.01)) / m(0.01),
    }
    return formulas[name]()


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("constant", 0),
        ("exponential", 1e-14),
        ("fast", 1e-13),
        ("polynomial", 1e-15),
        ("cosine", 1e-16),
        ("hold", 1e-14),
        ("scale", 1e-14),
        ("rate_function", 2e-14),
    ],
)
def test_rates_follow_the_formula(name, tolerance):
    with mpmath.workdps(50):
        for step in (0, 1, 2, 15, 99, 100, 101, 500, 776, 777, 778):
            want = expected_rate(name, step)
            assert abs(mpmath.mpf(ALL[name](step)) - want) <= tolerance * max(want, 1)


def test_the_rise_is_straight_and_ends_at_the_first_rate():
    schedule = s.warmup(s.exponential(0.8, 0.1), 4)
    np.testing.assert_allclose(schedule.rates(6)[:5], 0.8 * np.arange(1, 6) / 5, rtol=1e-15)
    assert schedule(5) == s.exponential(0.8, 0.1)(1)


def test_joined_schedules_count_from_their_boundary():
    schedule = s.join([s.exponential(1.0, 1.0), s.exponential(0.5, 2.0)], [3])
    first, second = s.exponential(1.0, 1.0).rates(3), s.exponential(0.5, 2.0).rates(3)
    assert np.array_equal(schedule.rates(6), np.concatenate([first, second]))


@pytest.mark.parametrize("name", ALL)
def test_rates_are_exactly_the_values_step_by_step(name):
    rates = ALL[name].rates(1500)
    assert rates.dtype == np.float64
    assert rates.shape == (1500,)
    assert rates.flags.writeable
    assert np.array_equal(rates, [ALL[name](step) for step in range(1500)])
    assert np.array_equal(ALL[name].rates(37), rates[:37])
    assert all(isinstance(ALL[name](np.int32(step)), float) for step in (0, 3))


@pytest.mark.parametrize("name", ALL)
def test_totals_are_sums_of_the_own_rates(name):
    steps = 700
    exact = [Fraction(0)]
    for rate in ALL[name].rates(steps):
        exact.append(exact[-1] + Fraction(float(rate)))
    total = ALL[name].total(steps)
    assert total.shape == (steps + 1,)
    assert total[0] == 0
    assert (np.diff(total) >= 0).all()
    for value, want in zip(total, exact, strict=True):
        assert abs(Fraction(float(value)) - want) <= Fraction(float(np.spacing(value)))
    assert np.array_equal(ALL[name].total(0), [0.0])


def test_totals_do_not_lose_small_rates():
    # A plain running sum stays at 1.
    total = s.join([1.0, 1e-16], [1]).total(1_000_001)
    assert total[-1] == pytest.approx(1 + 1e-10, rel=1e-15)


@pytest.mark.parametrize("name", ALL)
def test_no_total_exceeds_the_limit(name):
    total = ALL[name].total(3000)[-1]
    assert total <= ALL[name].limit


@pytest.mark.parametrize(
    ("schedule", "exact"),
    [
        (s.exponential(0.3, 0.01), lambda m: m(0.3) / -mpmath.expm1(-m(0.01))),
        (s.exponential(3.0, 1e-9), lambda m: m(3) / -mpmath.expm1(-m(1e-9))),
        (s.exponential(3.0, 50.0), lambda m: m(3) / -mpmath.expm1(-m(50))),
        (s.polynomial(1.0, 2.0, 1.0), lambda m: mpmath.zeta(2)),
        (s.polynomial(0.4, 1.1, 12.5), lambda m: m(0.4) * hurwitz(m(1.1), m(12.5))),
        (s.polynomial(0.4, 9.0, 1e6), lambda m: m(0.4) * hurwitz(m(9.0), m(1e6))),
        (s.polynomial(2.0, 600.0, 0.01), lambda m: m(2) * hurwitz(m(600), m(0.01))),
        (s.cosine(0.2, 777), lambda m: m(0.2) * 389),
        (s.cosine(0.2, 1), lambda m: m(0.2)),
        (s.cosine(0.2, 2), lambda m: m(0.2) * 1.5),
        (
            s.hold_then_decay(0.25, 100, s.exponential(1.0, 0.005)),
            lambda m: m(0.25) * (100 - 1 / mpmath.expm1(-m(0.005))),
        ),
        (s.warmup(s.exponential(0.3, 0.01), 5), lambda m: m(0.3) * (2.5 + 100.50083333194)),
        (s.join([0.1, s.cosine(0.5, 10)], [5]), lambda m: 5 * m(0.1) + m(0.5) * 5.5),
        (s.join([s.from_array([0.1, 0.2]), 0.0], [2]), lambda m: m(0.1) + m(0.2)),
        (s.scale(s.cosine(1.0, 10), 0.3), lambda m: m(0.3) * 5.5),
        (s.from_array([0.1] * 10), lambda m: 10 * m(0.1)),
        (s.from_rate_function(np.tanh, limit=1.0), lambda m: m(1)),
    ],
)
def test_limits_are_upper_bounds_and_close(schedule, exact):
    with mpmath.workdps(40):
        want = exact(mpmath.mpf)
        assert mpmath.mpf(schedule.limit) >= want
        assert mpmath.mpf(schedule.limit) <= want * (1 + mpmath.mpf(2) ** -20)


def hurwitz(power, scale):
    return scale**power * mpmath.zeta(power, scale)


@pytest.mark.parametrize(
    "schedule",
    [
        s.constant(0.1),
        s.exponential(0.1, 0.0),
        s.exponential(0.1, 1e-320),
        s.polynomial(0.1, 1.0, 3.0),
        s.resolve(sine),
        s.from_rate_function(np.log1p),
        s.hold_then_decay(0.1, 3, 0.5),
        s.warmup(0.1, 3),
        s.join([s.cosine(0.1, 3), 0.1], [3]),
        s.minimum(0.1, 0.2),
        s.scale(0.1, 0.5),
    ],
)
def test_divergent_sums_have_no_finite_limit(schedule):
    assert schedule.limit == math.inf


def test_rates_of_zero_have_limit_zero():
    for schedule in (
        s.constant(0.0),
        s.exponential(0.0, 0.0),
        s.polynomial(0.0, 0.5, 1.0),
        s.hold_then_decay(0.0, 5, 1.0),
        s.scale(0.1, 0.0),
    ):
        assert schedule.limit == 0.0
        assert not schedule.rates(10).any()


def test_minimum_has_the_smaller_limit():
    assert s.minimum(0.1, s.cosine(1.0, 10)).limit == s.cosine(1.0, 10).limit


def test_exponential_limit_exceeds_the_integral():
    # Hold + 1 / rate would be too small by about a half.
    schedule = s.hold_then_decay(1.0, 10, s.exponential(1.0, 0.01))
    assert schedule.total(20_000)[-1] > 10 + 1 / 0.01 + 0.4


def test_rate_function_telescopes():
    class Arctan:
        limit = 10 * math.pi / 2

        def __call__(self, t):
            return 10 * np.arctan(t / 10)

    schedule = s.from_rate_function(Arctan())
    assert schedule.limit == pytest.approx(5 * math.pi, rel=1e-14)
    times = np.arange(101.0)
    np.testing.assert_allclose(schedule.total(100), 10 * np.arctan(times / 10), rtol=1e-14)
    assert np.array_equal(schedule.rates(100), np.diff(10 * np.arctan(times / 10)))


def test_the_rounding_of_a_rate_function_never_adds_up():
    # Without the threshold the jitter of the last place adds 1e-10 here.
    schedule = s.from_rate_function(
        lambda t: np.where(t > 0, 1.0 - (t % 2) * 2.0**-53, 0.0), limit=1.0
    )
    assert schedule.total(1_000_000)[-1] <= schedule.limit


def test_rates_too_small_for_the_kernels_are_zero():
    schedule = s.exponential(1.0, 100.0)
    assert schedule(7) > 0
    assert schedule(8) == 0.0
    assert s.polynomial(1.0, 400.0, 1e-3)(10**6) == 0.0
    assert math.copysign(1.0, s.constant(-0.0)(0)) == 1.0


@pytest.mark.parametrize("name", NUMERIC)
def test_schedules_survive_json_pickle_and_copies(name):
    schedule = NUMERIC[name]
    again = s.from_dict(json.loads(json.dumps(schedule.to_dict())))
    for other in (again, pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert other == schedule
        assert hash(other) == hash(schedule)
        assert np.array_equal(other.rates(200), schedule.rates(200))


def test_schedules_differ_if_an_argument_does():
    everything = list(ALL.values())
    assert len(set(everything)) == len(everything)
    assert s.from_array([0.1]) != s.from_array([0.2])
    assert s.from_array([0.1]) != [0.1]
    assert s.resolve(sine) == s.resolve(sine, "other name")


def test_schedules_are_frozen():
    with pytest.raises(AttributeError):
        s.constant(0.1).rate = 0.2
    source = np.array([0.1, 0.2])
    schedule = s.from_array(source)
    source[0] = 9.0
    assert schedule(0) == 0.1
    with pytest.raises(ValueError, match="read-only"):
        schedule.a[0] = 1.0


def test_repr_is_the_call_that_made_it():
    schedule = s.warmup(s.hold_then_decay(0.1, 5, s.exponential(1.0, 0.01)), 3)
    assert eval(repr(schedule), vars(s)) == schedule
    assert repr(s.from_array([0.1, 0.2])) == "from_array(<2 rates>)"
    assert "sine" in repr(s.resolve(sine))
    assert repr(s.from_rate_function(np.tanh, limit=1)) == (
        "from_rate_function(<ufunc 'tanh'>, limit=1.0)"
    )


def test_resolve_takes_what_users_have():
    schedule = s.cosine(0.1, 5)
    assert s.resolve(schedule) is schedule
    for number in (1, 0.5, np.float32(0.5), np.int64(3), np.array(0.25)):
        assert s.resolve(number) == s.constant(float(number))
    for rates in ([1, 2], (0.5, 0.25), np.array([1.0, 2.0], dtype=np.float32)):
        assert s.resolve(rates) == s.from_array(np.array(rates, dtype=np.float64))
    steps = []
    s.resolve(lambda step: steps.append(step) or np.float32(0.5)).rates(2)
    assert steps == [0, 1]
    assert all(type(step) is int for step in steps)


def test_an_array_ends_with_a_message():
    schedule = s.from_array([0.1, 0.2, 0.3])
    assert np.array_equal(schedule.rates(3), [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="step is 3, but the schedule is an array of 3 rates"):
        schedule.rates(4)
    with pytest.raises(ValueError, match="step is 7, but the schedule is an array of 3 rates"):
        schedule(7)
    assert s.join([schedule, 0.0], [3])(1000) == 0.0


MESSAGES = [
    (lambda: s.constant(-0.1), ValueError, "rate is -0.1, expected a finite number at least 0"),
    (lambda: s.constant(math.nan), ValueError, "rate is nan"),
    (lambda: s.constant("0.1"), TypeError, "rate is '0.1'"),
    (lambda: s.constant(True), TypeError, "rate is True"),
    (lambda: s.exponential(0.1, -1), ValueError, "decay_rate is -1"),
    (lambda: s.polynomial(0.1, -1, 1), ValueError, "power is -1"),
    (lambda: s.polynomial(0.1, 1, 0), ValueError, "scale is 0"),
    (lambda: s.cosine(0.1, 0), ValueError, "steps is 0, expected an integer at least 1"),
    (lambda: s.cosine(0.1, 2.0), TypeError, "steps is 2.0"),
    (lambda: s.hold_then_decay(0.1, -1, 1.0), ValueError, "hold is -1"),
    (lambda: s.hold_then_decay(0.1, 1, "fast"), TypeError, "decay is 'fast', expected a number"),
    (lambda: s.warmup(0.1, -1), ValueError, "steps is -1"),
    (lambda: s.warmup(-0.1, 1), ValueError, "schedule is -0.1"),
    (lambda: s.scale(0.1, -2), ValueError, "factor is -2"),
    (lambda: s.minimum(0.1, None), TypeError, "b is None"),
    (lambda: s.join([0.1], [3]), ValueError, "schedules has 1 parts, but 1 boundaries expect 2"),
    (lambda: s.join([0.1, 0.2, 0.3], [3, 3]), ValueError, r"boundaries is \[3, 3\], expected incr"),
    (lambda: s.join([0.1, 0.2], [0]), ValueError, r"boundaries\[0\] is 0"),
    (lambda: s.join([0.1, -0.2], [1]), ValueError, r"schedules\[1\] is -0.2"),
    (lambda: s.from_array([[0.1]]), ValueError, r"a has shape \(1, 1\), expected one rate"),
    (lambda: s.from_array([0.1, -1.0]), ValueError, "a is -1.0 at step 1"),
    (lambda: s.from_array([0.1, math.inf]), ValueError, "a is inf at step 1"),
    (lambda: s.from_array([[0.1], [1, 2]]), ValueError, "expected a number, a Schedule"),
    (lambda: s.from_array([1j]), TypeError, "a is"),
    (lambda: s.resolve([0.1, math.nan], "W1"), ValueError, "W1 is nan at step 1"),
    (lambda: s.resolve(-1, "rate"), ValueError, "rate is -1"),
    (lambda: s.resolve(True, "rate"), TypeError, "rate is True"),
    (lambda: s.resolve({"W1": 1}, "rate"), TypeError, "rate is {'W1': 1}"),
    (lambda: s.resolve(lambda k: 1.0 - k, "W1").rates(9), ValueError, "W1 is -1.0 at step 2"),
    (lambda: s.resolve(lambda k: math.nan, "W1")(4), ValueError, "W1 is nan at step 4"),
    (lambda: s.scale(1e308, 1e10)(2), ValueError, "rate is inf at step 2"),
    (lambda: s.from_rate_function(0.5), TypeError, "G is 0.5, expected a callable"),
    (lambda: s.from_rate_function(np.exp), ValueError, r"G\(0\) is 1.0, expected 0"),
    (lambda: s.from_rate_function(np.tanh, limit=-1), ValueError, "limit is -1"),
    (lambda: s.from_rate_function(np.tanh, limit=math.nan), ValueError, "limit is nan"),
    (
        lambda: s.from_rate_function(np.tanh, limit=0.9).rates(5),
        ValueError,
        r"limit is 0.9, but G\(2\) is 0.964",
    ),
    (
        lambda: s.from_rate_function(np.sin).rates(5),
        ValueError,
        r"G\(step \+ 1\) - G\(step\) is -0.7\d+ at step 2",
    ),
    (lambda: s.constant(0.1)(-1), ValueError, "step is -1"),
    (lambda: s.constant(0.1)(1.5), TypeError, "step is 1.5"),
    (lambda: s.constant(0.1).rates(-1), ValueError, "steps is -1"),
    (lambda: s.constant(0.1).total(None), TypeError, "steps is None"),
    (lambda: s.resolve(sine).to_dict(), TypeError, "expected one that was built from numbers"),
    (lambda: s.scale(FUNCTIONS["rate_function"], 2).to_dict(), TypeError, "built from numbers"),
    (lambda: s.from_dict([]), TypeError, r"data is \[\], expected a mapping"),
    (lambda: s.from_dict({"kind": "resolve"}), ValueError, "kind is 'resolve', expected one of"),
    (lambda: s.from_dict({"kind": []}), ValueError, r"kind is \[\]"),
    (lambda: s.from_dict({"kind": "constant"}), ValueError, r"arguments \[\] of constant"),
    (lambda: s.from_dict({"kind": "constant", "rate": -1}), ValueError, "rate is -1"),
    (
        lambda: s.from_dict({"kind": "constant", "rate": 1, "x": 2}),
        ValueError,
        r"data has the arguments \['rate', 'x'\] of constant, expected \['rate'\]",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MESSAGES)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_error_inside_a_users_function_is_not_hidden():
    def broken(t):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        s.from_rate_function(broken)
    with pytest.raises(KeyError, match="mine"):
        s.resolve(broken).rates(3)


@pytest.mark.parametrize("module", ["_base", "_make", "_sources", "_serial"])
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(f"lipgd.schedules.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
