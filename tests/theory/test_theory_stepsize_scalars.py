"""Losses, slopes and smoothed margins against arithmetic of many digits; Lemma 1."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from lipgd.theory import large_stepsize as ls


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(350):
        yield


def levels() -> np.ndarray:
    rng = np.random.default_rng(0)
    ends = np.array([1.0, 0.999999, 1e-2, 0.00999999, 0.010000001, 1e-12, 1e-16, 1e-300, 3.0, 40.0])
    return np.concatenate([ends, 10.0 ** rng.uniform(-300, 0, 300), rng.uniform(0.001, 2.0, 200)])


def test_iota_and_omega_have_thirteen_digits():
    for loss in levels():
        u = -np.log(loss)
        total = mp.exp(-mp.mpf(u))
        exact = -mp.log(mp.expm1(total))
        assert abs(ls.iota(u) - exact) <= 1e-13 * (1 + abs(exact) + total)
        exact = -mp.expm1(-mp.mpf(loss)) / mp.mpf(loss)
        assert abs(ls.omega(loss) - exact) <= 4e-16 * exact


def test_log_loss_and_slope_have_thirteen_digits():
    rng = np.random.default_rng(1)
    for q in [0.0, 20.0, 20.0000001, 745.2, 1e6, -30.0, *rng.uniform(-50, 900, 400)]:
        loss = mp.log1p(mp.exp(-mp.mpf(q)))
        exact = mp.log(loss)
        assert abs(ls.log_loss(q) - exact) <= 1e-13 * (1 + abs(exact))
        slope = 1 / (1 + mp.exp(mp.mpf(q)))
        assert abs(ls.loss_slope(q) - slope) <= 1e-15 * slope + mp.mpf("5e-324")


def test_log_risk_is_finite_where_the_risk_underflows():
    margins = np.array([2000.0, 2001.0, 3000.0])
    exact = mp.log(sum(mp.log1p(mp.exp(-mp.mpf(q))) for q in margins) / 3)
    assert abs(ls.log_risk(margins) - exact) <= 1e-13 * 2000
    assert ls.iota(-ls.log_risk([1e5])) == pytest.approx(1e5, rel=1e-15)


def test_psi_and_the_bound_of_the_mean_slope():
    for a in [0.0, 1e-9, 0.00999, 0.0101, 0.5, 3.0, 50.0]:
        exact = (mp.expm1(a) - a) / mp.mpf(a) ** 2 if a else mp.mpf("0.5")
        assert abs(ls.psi(a) - exact) <= 1e-12 * exact
    for log_l in [-700.0, -30.0, 0.0, 3.0]:
        exact = -mp.expm1(-mp.exp(log_l))
        assert abs(ls.mean_slope_bound(log_l) - exact) <= 2e-15 * exact


def test_lemma_1_on_random_margins():
    rng = np.random.default_rng(2)
    for _ in range(3000):
        n = int(rng.integers(1, 12))
        q = rng.normal(0, 1, n) * 10.0 ** rng.uniform(-1, 2) + rng.uniform(-2, 30)
        log_l = ls.log_risk(q)
        total = n * np.exp(log_l)
        room = 1e-12 * (1 + np.abs(q).max() + total)
        low, high = ls.margin_bracket(log_l, n)
        assert low - room <= q.min() <= high + room
        slopes = ls.loss_slope(q)
        assert slopes.sum() >= ls.slope_sum_bound(total) * (1 - 1e-12)
        gap = rng.uniform(0, 2)
        bound = ls.weighted_slope_bound(log_l, n, gap)
        assert np.isneginf(bound) == (low < gap)
        assert (slopes * (q - gap)).sum() >= bound - room * slopes.sum()


def test_lemma_1_is_an_equality_for_one_sample():
    for q in [0.5, 3.0, 40.0, 600.0]:
        log_l = ls.log_risk([q])
        assert ls.margin_bracket(log_l, 1) == pytest.approx((q, q), rel=1e-13)
        exact = float(ls.loss_slope(q)) * (q - 0.25)
        assert ls.weighted_slope_bound(log_l, 1, 0.25) == pytest.approx(exact, rel=1e-11)


def test_sandwich_of_section_2_and_the_threshold_of_margins():
    for u in np.linspace(-0.5, 700, 3000):
        total = np.exp(-u)
        assert u - total / 2 - total**2 / 24 <= ls.iota(u) + 1e-12 * (1 + abs(u))
        assert ls.iota(u) <= u - total / 2 + 1e-12 * (1 + abs(u))
    for gap in [0.0, 0.3, 5.0, 50.0, 800.0]:
        u = -ls.margin_threshold(gap, 7) - np.log(7)
        assert ls.iota(u) == pytest.approx(gap, rel=1e-12, abs=1e-12)
