"""Figures: what is drawn, how it can be told apart, and the files."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import lipgd
from lipgd import plotting

mpl.use("agg")

COLUMNS = {
    "risk": [1.0, 0.5, 0.25, 0.125],
    "validation_risk": [1.1, 0.7, 0.6, 0.55],
    "lipschitz_lower": [1.0, 1.5, 1.75, 1.8],
    "lipschitz_upper": [2.0, 2.5, 2.75, 2.9],
    "gradient_norm": [3.0, 1.0, 0.5, 0.1],
    "gradient_norm:W1": [2.0, 0.9, 0.4, 0.09],
    "rate:W1": [0.1, 0.1, 0.05, np.nan],
    "rate:b1": [0.1, 0.1, 0.05, np.nan],
    "spectral_norm:W1": [1.0, 1.1, 1.2, 1.3],
    "displacement:W1": [0.0, 0.1, 0.2, 0.3],
    "path_length:W1": [0.0, 0.2, 0.3, 0.5],
}
HISTORY = lipgd.History([0, 10, 20, 25], COLUMNS, {"loss": "huber(1.0)"})
SINGLE: list[Callable[..., Any]] = [
    plotting.risk,
    plotting.lipschitz,
    plotting.rates,
    plotting.gradient_norms,
    plotting.spectral_norms,
    plotting.norms,
]


@pytest.fixture(scope="module")
def run() -> lipgd.Run:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (20, 2))
    net = lipgd.Network.create([2, 8, 1], activation="tanh")
    rate = lipgd.schedules.exponential(0.1, 0.1)
    names = ["risk", "lipschitz_lower", "lipschitz_upper"]
    return lipgd.train(net, X, X.sum(axis=1), rate=rate, steps=30, record=names)


@pytest.fixture
def ax() -> Any:
    return plotting.panels(1)[1][0]


def columns_drawn(ax: Any) -> list[list[float]]:
    return [line.get_ydata().tolist() for line in ax.get_lines()]


def labels(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("draw", SINGLE)
def test_given_axes_are_used_and_returned(draw: Callable[..., Any], ax: Any) -> None:
    assert draw(HISTORY, ax=ax) is ax
    assert ax.get_xlabel() == "step"
    assert ax.get_ylabel()
    assert ax.get_lines()


@pytest.mark.parametrize("draw", SINGLE)
def test_without_axes_there_is_a_new_figure_and_no_window(
    draw: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("show was called"))
    one, two = draw(HISTORY), draw(HISTORY)
    assert one.figure is not two.figure
    assert set(plt.get_fignums()) >= {one.figure.number, two.figure.number}
    plt.close("all")


def test_global_settings_stay_as_they_are(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    for draw in SINGLE:
        draw(HISTORY, ax=plotting.panels(1)[1][0])
    plotting.save(plotting.overview(HISTORY), tmp_path / "figure")
    assert dict(mpl.rcParams) == before


def test_risk_has_both_columns_on_logarithmic_axes(ax: Any) -> None:
    plotting.risk(HISTORY, ax=ax)
    assert columns_drawn(ax) == [COLUMNS["risk"], COLUMNS["validation_risk"]]
    assert [line.get_xdata().tolist() for line in ax.get_lines()] == [[0, 10, 20, 25]] * 2
    assert (ax.get_xscale(), ax.get_yscale()) == ("symlog", "log")
    assert ax.get_ylabel() == "risk (mean Huber loss)"
    assert labels(ax) == ["training", "validation"]


def test_the_start_is_in_sight_on_the_axis_of_steps(ax: Any) -> None:
    plotting.risk(HISTORY, ax=ax)
    ax.figure.draw_without_rendering()
    assert ax.get_xlim()[0] == 0
    shown = [text.get_text() for text in ax.get_xticklabels()]
    assert shown[:3] == ["0", "10", "100"]
    assert [t.get_text() for t in ax.get_yticklabels() if "times" in t.get_text()] == []


@pytest.mark.parametrize("values", [[2.98, 3.2], [0.3, 0.9], [1e-9, 1.0], [0.02, 70.0]])
def test_logarithmic_axes_have_some_plain_numbers(values: list[float], ax: Any) -> None:
    plotting.risk(lipgd.History([0, 1], {"risk": values}), ax=ax)
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    every = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    shown = {t.label1.get_text() for t in every if low <= t.get_loc() <= high} - {""}
    assert 2 <= len(shown) <= 12
    assert all(float(text.replace("\N{MINUS SIGN}", "-")) > 0 for text in shown)


def test_the_bracket_is_shaded_between_its_sides(ax: Any) -> None:
    plotting.lipschitz(HISTORY, ax=ax)
    upper, lower = columns_drawn(ax)
    assert (lower, upper) == (COLUMNS["lipschitz_lower"], COLUMNS["lipschitz_upper"])
    (band,) = ax.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert {(0.0, 1.0), (0.0, 2.0), (25.0, 1.8), (25.0, 2.9)} <= corners
    assert ax.get_ylim()[0] == 0
    assert labels(ax) == ["certified upper", "lower"]


def test_the_tight_bound_narrows_the_bracket(ax: Any) -> None:
    tight = {"lipschitz_upper_sdp": [1.5, float("nan"), 2.0, 1.9]}
    plotting.lipschitz(lipgd.History(HISTORY.step, {**COLUMNS, **tight}), ax=ax)
    assert labels(ax) == ["certified upper", "lower", "certified upper (LipSDP)"]
    (band,) = ax.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert set(zip(HISTORY.step, [1.5, 2.5, 2.0, 1.9], strict=True)) <= corners


def test_one_side_of_the_bracket_is_drawn_alone(ax: Any) -> None:
    plotting.lipschitz(lipgd.History([0, 1], {"lipschitz_lower": [1.0, 2.0]}), ax=ax)
    assert columns_drawn(ax) == [[1.0, 2.0]]
    assert len(ax.collections) == 0


def test_equal_rates_are_one_line_and_the_last_row_has_none(ax: Any) -> None:
    plotting.rates(HISTORY, ax=ax)
    assert columns_drawn(ax) == [[0.1, 0.1, 0.05]]


def test_rates_of_a_run_are_those_of_its_settings(run: lipgd.Run, ax: Any) -> None:
    plotting.rates(run, ax=ax)
    assert columns_drawn(ax) == [run.settings.rates["W1"].tolist()]


def test_rates_of_billions_of_steps_take_no_memory(run: lipgd.Run, ax: Any) -> None:
    """An interrupted run with a large number of steps took minutes to draw."""
    endless = dict.fromkeys(run.settings.rates, np.broadcast_to(0.1, 10**12))
    settings = dataclasses.replace(run.settings, rates=endless, steps=10**12)
    plotting.rates(dataclasses.replace(run, settings=settings), ax=ax)
    assert ax.get_lines()[0].get_xdata()[-1] == 10**12 - 1


def test_different_rates_are_one_line_each(ax: Any) -> None:
    history = lipgd.History([0, 1], {"rate:W1": [0.1, 0.1], "rate:W2": [0.2, 0.2]})
    plotting.rates(history, ax=ax)
    assert labels(ax) == ["W1", "W2"]


def test_long_columns_are_thinned_and_keep_their_ends(ax: Any) -> None:
    values = np.arange(100_001.0)
    plotting.column(lipgd.History(np.arange(100_001), {"margin": values}), "margin", ax=ax)
    (drawn,) = columns_drawn(ax)
    assert len(drawn) == 2000
    assert (drawn[0], drawn[-1]) == (0.0, 100_000.0)


def test_families_have_a_line_for_each_column(ax: Any) -> None:
    plotting.gradient_norms(HISTORY, ax=ax)
    assert labels(ax) == ["all parameters", "W1"]
    other = plotting.norms(HISTORY, ax=plotting.panels(1)[1][0])
    assert labels(other) == ["displacement, W1", "path length, W1"]


def test_series_differ_in_colour_and_marker_and_roles_in_dashes(ax: Any) -> None:
    for _ in range(7):
        plotting.risk(HISTORY, ax=ax)
    lines = ax.get_lines()
    looks = [(line.get_color(), line.get_marker()) for line in lines]
    assert looks[::2] == looks[1::2]
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 7
    assert len({line.get_linestyle() for line in lines[:2]}) == 2


def test_colours_can_be_told_apart_by_colour_blind_readers() -> None:
    # Viénot, Brettel and Mollon 1999: what remains of a linear colour without the red cones.
    colours = np.array([mpl.colors.to_rgb(colour) for colour in plotting._style._COLOURS])
    linear = colours**2.2
    first = linear @ np.array([0.11238, 0.88762, 0.0])
    third = linear @ np.array([0.00401, -0.00401, 1.0])
    seen = np.clip(np.stack([first, first, third], axis=1), 0, 1) ** (1 / 2.2)
    apart = [np.abs(a - b).max() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(apart) > 0.08


def test_properties_of_lines_are_passed_on(ax: Any) -> None:
    plotting.risk(HISTORY, ax=ax, color="black", linewidth=3, label="slow")
    assert {(line.get_color(), line.get_linewidth()) for line in ax.get_lines()} == {("black", 3)}
    assert labels(ax) == ["slow, training", "slow, validation"]


def test_a_label_of_an_axis_is_not_overwritten(ax: Any) -> None:
    ax.set_ylabel("nats")
    assert plotting.risk(HISTORY, ax=ax).get_ylabel() == "nats"


def test_compare_draws_one_line_per_training(run: lipgd.Run, ax: Any) -> None:
    plotting.compare({"one": HISTORY, "two": run}, "risk", ax=ax)
    assert columns_drawn(ax) == [COLUMNS["risk"], run.history["risk"].tolist()]
    assert labels(ax) == ["one", "two"]
    assert len({line.get_linestyle() for line in ax.get_lines()}) == 2


def test_overview_has_a_panel_for_each_kind_of_quantity(run: lipgd.Run) -> None:
    assert len(plotting.overview(HISTORY).axes) == 6
    assert len(plotting.overview(run).axes) == 3
    assert len(plotting.overview(lipgd.History([0], {"risk": [1.0]})).axes) == 1


def test_side_by_side_has_one_legend_for_the_trainings(run: lipgd.Run) -> None:
    figure = plotting.side_by_side({"constant": HISTORY, "decaying": run})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["constant", "decaying"]
    risk, lipschitz, rates = figure.axes
    assert labels(risk) == ["training", "validation"]
    assert labels(lipschitz) == ["certified upper", "lower"]
    assert rates.get_legend() is None
    assert {line.get_linestyle() for line in rates.get_lines()} == {"-"}
    assert [line.get_color() for line in figure.legends[0].get_lines()] == [
        rates.get_lines()[i].get_color() for i in (0, 1)
    ]


def test_a_history_without_rows_can_be_drawn() -> None:
    names = ("risk", "lipschitz_lower", "lipschitz_upper", "gradient_norm")
    empty = lipgd.History([], {name: np.empty(0) for name in names})
    plotting.overview(empty).draw_without_rendering()
    plotting.side_by_side({"none": empty, "some": HISTORY}).draw_without_rendering()


def test_values_near_the_end_of_the_range_are_left_out() -> None:
    """A diverging training made matplotlib raise."""
    columns = {"risk": [1.0, 1e100, 1e300, np.inf], "lipschitz_upper": [1.0, 1e100, 1e308, np.nan]}
    figure = plotting.overview(lipgd.History([0, 1, 2, 3], columns))
    figure.draw_without_rendering()
    assert columns_drawn(figure.axes[0]) == [[1.0, 1e100]]


def test_saved_figures_are_the_same_bytes_with_text_as_text(tmp_path: Path) -> None:
    first = plotting.save(plotting.overview(HISTORY), tmp_path / "one.v1")
    second = plotting.save(plotting.overview(HISTORY), tmp_path / "two.v1")
    assert [path.name for path in first] == ["one.v1.png", "one.v1.svg"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    svg = first[1].read_text()
    assert "risk (mean Huber loss)</text>" in svg
    assert "<dc:date>" not in svg
    assert first[0].read_bytes().startswith(b"\x89PNG")
    assert b"Software" not in first[0].read_bytes()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: plotting.risk(lipgd.History([0], {"margin": [1.0]})),
            ValueError,
            "history_or_run has recorded margin, expected risk or validation_risk",
        ),
        (
            lambda: plotting.norms(lipgd.History([], {})),
            ValueError,
            "history_or_run has recorded nothing, "
            "expected displacement or path_length or parameter_norm",
        ),
        (
            lambda: plotting.rates(lipgd.History([0], {"risk": [1.0]})),
            ValueError,
            "history_or_run has recorded risk, expected rate",
        ),
        (
            lambda: plotting.column(HISTORY, "margin"),
            ValueError,
            r"history_or_run has recorded risk, .*, expected margin",
        ),
        (
            lambda: plotting.risk({"risk": [1.0]}),  # type: ignore[arg-type]
            TypeError,
            r"history_or_run is \{'risk': \[1.0\]\}, expected a History or a Run",
        ),
        (
            lambda: plotting.compare({}, "risk"),
            ValueError,
            "runs is empty, expected at least one training",
        ),
        (
            lambda: plotting.side_by_side({}),
            ValueError,
            r"runs is \[\], expected trainings that recorded the same",
        ),
        (
            lambda: plotting.overview(lipgd.History([0], {"margin": [1.0]})),
            ValueError,
            "history_or_run has recorded margin, expected risk or",
        ),
        (lambda: plotting.panels(0), ValueError, "columns is 0, expected an integer at least 1"),
    ],
)
def test_messages(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    import matplotlib.pyplot as plt

    open_before = plt.get_fignums()
    with pytest.raises(error, match=f"^{message}"):
        call()
    assert plt.get_fignums() == open_before


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "lipgd\[plot\]"'):
        plotting.risk(HISTORY)


def guaranteed(run: lipgd.Run) -> Any:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (20, 2))
    return lipgd.report.guarantees(run, X, X.sum(axis=1), test=(X[:9] / 2, X[:9].sum(axis=1) / 2))


def test_bounds_are_drawn_beside_what_was_measured(run: lipgd.Run) -> None:
    found = guaranteed(run)
    figure = plotting.guarantees(found)
    lipschitz, gradient, gap = figure.axes
    assert labels(lipschitz)[:3] == ["measured, lower", "measured, certified upper", "Theorem 3"]
    drawn = columns_drawn(lipschitz)[2]
    assert len(drawn) > 5
    assert drawn == found["lipschitz_theorem3"][: len(drawn)].tolist()
    assert gradient.get_yscale() == "log"
    assert "measured, absolute value" in labels(gap)
    # The test risk is known at both ends alone: points, not a line between them.
    assert gap.get_lines()[0].get_linestyle() == "None"
    alone = plotting.panels(1)[1][0]
    assert plotting.lipschitz_bounds(found.history, ax=alone) is alone
    figure.draw_without_rendering()


def test_bounds_that_explode_leave_the_frame(ax: Any) -> None:
    columns = {"lipschitz_upper": [1.0, 2.0, 2.5], "lipschitz_theorem3": [1.0, 90.0, 1e60]}
    plotting.lipschitz_bounds(lipgd.History([0, 1, 2], columns), ax=ax)
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[1] == 250.0


def test_bounds_need_a_number(ax: Any) -> None:
    nothing = lipgd.History([0, 1], {"gap": [np.nan, np.nan]})
    with pytest.raises(ValueError, match=r"^history_or_run has recorded gap, expected gap or gap_"):
        plotting.gap_bounds(nothing, ax=ax)
    with pytest.raises(ValueError, match=r"^history_or_run has recorded gap, expected lipschitz"):
        plotting.guarantees(nothing)
