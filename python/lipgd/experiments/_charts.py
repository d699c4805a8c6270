"""Figures of tables: lines with their spread, points, and boxes, a series per value of a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lipgd.experiments._rows import Rows
from lipgd.plotting._style import legend, library, line_style, log_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["boxes", "dots", "lines", "name_axes", "point_style"]


def lines(ax: Axes, rows: Rows, x: str, y: str, by: str, **look: Any) -> Rows:
    """Draw the mean of a column over another, a line per value of ``by``, and its deviation.

    Returns what is drawn: the columns ``by``, ``x``, ``mean`` and ``deviation``.
    """
    drawn = rows.summary([by, x], mean=(y, np.mean), deviation=(y, np.std))
    for place, name in enumerate(drawn.values(by)):
        part = drawn.where(**{by: name})
        style = {**line_style(place, place, len(part)), **look}
        ax.plot(part[x], part["mean"], label=str(name), **style)
        low, high = part["mean"] - part["deviation"], part["mean"] + part["deviation"]
        if part["deviation"].any():
            ax.fill_between(part[x], low, high, color=style["color"], alpha=0.12, linewidth=0)
    return drawn


def dots(ax: Axes, rows: Rows, x: str, y: str, by: str) -> None:
    """Draw points of two columns, a colour and a marker per value of ``by``."""
    for place, name in enumerate(rows.values(by)):
        part = rows.where(**{by: name})
        ax.plot(part[x], part[y], label=str(name), **point_style(place))


def point_style(series: int) -> dict[str, Any]:
    """Return the look of points without a line."""
    return {**line_style(series, series, 1), "linestyle": "none"}


def boxes(ax: Axes, rows: Rows, y: str, by: str) -> None:
    """Draw a box with quartiles, whiskers and outliers of a column per value of ``by``."""
    names = rows.values(by)
    groups = [rows.where(**{by: name})[y] for name in names]
    drawn = ax.boxplot(groups, widths=0.5, patch_artist=True, flierprops={"markersize": 3})
    for place, box in enumerate(drawn["boxes"]):
        box.set(facecolor="white", edgecolor=line_style(place, 0, 1)["color"], linewidth=1.4)
    for line in drawn["medians"]:
        line.set(color="#333333", linewidth=1.6)
    ax.set_xticks(range(1, len(names) + 1), [str(name).replace(", ", "\n") for name in names])


def name_axes(
    ax: Axes,
    x: str,
    y: str,
    *,
    title: str = "",
    log: str = "",
    ticks: Sequence[float] = (),
    key: str | None = "",
) -> None:
    """Set labels, a title and logarithmic axes (``"x"``, ``"y"`` or ``"xy"``).

    There is a legend with the title ``key`` if there are several lines, or none if it is None.
    """
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=10)
    if "x" in log:
        ax.set_xscale("log")
    if ticks:
        ticker = library("matplotlib.ticker")
        ax.xaxis.set_major_locator(ticker.FixedLocator(list(ticks)))
        ax.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_locator(ticker.NullLocator())
    if "y" in log:
        log_values(ax)
    if key is not None and len(ax.get_legend_handles_labels()[1]) > 1:
        legend(ax)
        drawn: Any = ax.get_legend()
        drawn.set_title(key, {"size": 8})
