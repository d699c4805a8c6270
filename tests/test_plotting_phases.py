"""Figures of the phases of trainings with large stepsizes."""

from __future__ import annotations

import dataclasses

import matplotlib as mpl
import numpy as np
import pytest

import lipgd
from lipgd import margins, plotting

mpl.use("agg")


def train(eta: float, **more) -> lipgd.Run:
    rng = np.random.default_rng(0)
    net = lipgd.Network(
        [rng.normal(0, 0.3, (8, 2)), np.resize([1.0, -1.0], (1, 8))],
        None,
        "leaky(softplus, 0.5)",
        1 / 8,
    )
    return lipgd.train(net, X, y, loss="logistic", rate=eta, steps=300, frozen=["W2"], **more)


X, y = np.array([[0.1, 1.0], [0.1, -0.5], [0.1, -0.4]]), np.ones(3)


@pytest.fixture(scope="module")
def run() -> lipgd.Run:
    return train(400.0)


@pytest.fixture
def ax():
    return plotting.panels(1)[1][0]


def with_columns(run: lipgd.Run, **columns) -> lipgd.Run:
    history = lipgd.History(
        run.history.step, {**{n: run.history[n] for n in run.history}, **columns}
    )
    return dataclasses.replace(run, history=history)


def test_phases_are_shaded_and_certified_times_marked(run, ax):
    found = margins.phases(run, X, y)
    assert plotting.phase_risk(run, found, ax=ax) is ax
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words[:4] == ["risk", "oscillating", "monotone so far", "certified"]
    assert f"risk certified (Thm 1): {found.certified}" in words
    assert f"threshold of the paper: {found.paper}" in words
    assert len(words) == 8 and ax.get_yscale() == "log" and ax.get_xscale() == "symlog"
    edges = [patch.get_x() + patch.get_width() for patch in ax.patches]
    assert edges == [found.observed, found.stable, 300]
    assert ax.get_lines()[0].get_ydata() == pytest.approx(run.history["risk"])


def test_a_run_that_is_never_certified_has_no_green(ax):
    run = train(400.0, momentum=0.5)
    found = margins.phases(run, X, y)
    plotting.phase_risk(run, found, ax=ax)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "certified" not in words and "monotone so far" in words
    assert len(ax.get_lines()) == 1


def test_risks_that_underflow_are_drawn_as_logarithms(run, ax):
    logs = np.linspace(0.0, -1500.0, 301)
    plotting.phase_risk(with_columns(run, log_risk=logs), ax=ax)
    assert ax.get_yscale() == "linear" and ax.get_ylabel() == "decimal logarithm of the risk"
    assert ax.get_lines()[0].get_ydata()[-1] == pytest.approx(-1500 / np.log(10))


def test_scaled_risks_that_all_underflow_need_no_logarithmic_axis(run, ax):
    logs = np.append(0.0, np.linspace(-800.0, -1500.0, 300))
    plotting.scaled_risk(with_columns(run, log_risk=logs), ax=ax)
    assert ax.get_yscale() == "linear" and np.isnan(ax.get_lines()[0].get_ydata()).all()


def test_scaled_risk_sums_the_rates(run, ax):
    plotting.scaled_risk(run, margins.phases(run, X, y), ax=ax)
    drawn = ax.get_lines()[0].get_ydata()
    assert drawn == pytest.approx((400.0 * run.history.step * run.history["risk"])[1:])
    assert ax.get_lines()[1].get_linestyle() == ":"
    varying = train(lipgd.schedules.exponential(1.0, 0.5))
    other = plotting.scaled_risk(varying, ax=plotting.panels(1)[1][0]).get_lines()[0]
    total = np.cumsum(np.exp(-0.5 * np.arange(300)))
    assert other.get_ydata() == pytest.approx(total * varying.history["risk"][1:])


def test_margins_and_sharpness(run, ax):
    full = with_columns(
        run,
        normalized_margin=np.linspace(-50, 1, 301),
        modified_margin=np.linspace(-60, 0.9, 301),
        sharpness=np.linspace(1, 0.001, 301),
    )
    plotting.margins(full, ax=ax)
    assert len(ax.get_lines()) == 2
    assert ax.get_ylim() == pytest.approx((-0.5, 1.1))
    ax = plotting.sharpness(full, ax=plotting.panels(1)[1][0], label="large")
    assert ax.get_lines()[1].get_ydata() == pytest.approx(2 / 400.0)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["large", "large, 2 / stepsize"]
    assert len(plotting.phases(full).axes) == 4
    assert len(plotting.phases({"a": full, "b": run}).axes) == 3


def test_long_records_are_dense_where_the_axis_is(ax):
    run = train(1.0)
    steps = np.arange(100_000)
    history = lipgd.History(steps, {"risk": 1.0 / (1.0 + steps)})
    plotting.phase_risk(dataclasses.replace(run, history=history), ax=ax)
    drawn = ax.get_lines()[0].get_xdata()
    assert len(drawn) <= 1500 and drawn[:50].tolist() == list(range(50)) and drawn[-1] == 99_999


def test_messages(run):
    with pytest.raises(ValueError, match="runs is empty, expected at least one training"):
        plotting.phases({})
    with pytest.raises(ValueError, match=r"found has 'b', expected names among \['a'\]"):
        plotting.phases({"a": run}, {"b": margins.phases(run, X, y)})
    with pytest.raises(ValueError, match="has recorded gradient_norm, expected log_risk or risk"):
        plotting.phases(train(1.0, record=["gradient_norm"]))
    with pytest.raises(ValueError, match="expected normalized_margin or"):
        plotting.margins(run)
    with pytest.raises(ValueError, match="expected sharpness"):
        plotting.sharpness(run)
