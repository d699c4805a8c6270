"""A path of networks over the risk or the log norms on a plane of parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._check import choice, shown
from ..dynamics import Landscape
from ._style import axes_or_new, library, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WORDS = {"risk": "risk", "log_norm": "log of the product of norms"}
_LEVELS = 14
#: Risks that span more than this factor have logarithmic levels.
_WIDE = 30.0


def landscape(
    found: Landscape, quantity: str = "risk", *, ax: Axes | None = None, **line: Any
) -> Axes:
    """Draw the levels of the risk or of the log norms over a plane, and the path of networks on it.

    The path is projected onto the plane; its end is filled, its start is not.

    Parameters
    ----------
    found : Landscape
        What :func:`lipgd.dynamics.landscape` returned.
    quantity : {"risk", "log_norm"}
        What is drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the path's line.

    Returns
    -------
    matplotlib.axes.Axes
        More paths can be drawn at ``found.project(networks)``.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> found = lipgd.dynamics.landscape(net, X, X[:, 0], loss="mse", points=7, path=[net])
    >>> figure, axes = plotting.panels(2)
    >>> ax = plotting.landscape(found, "log_norm", ax=axes[0])
    >>> ax.get_title()
    'log of the product of norms'
    """
    if not isinstance(found, Landscape):
        raise TypeError(
            f"found is {shown(found)}, expected a Landscape of lipgd.dynamics.landscape"
        )
    choice("quantity", quantity, _WORDS)
    ax = axes_or_new(ax)
    values = getattr(found, quantity)
    levels = _levels(values)
    ax.grid(visible=False)
    filled = ax.contourf(found.first, found.second, values, levels, cmap="cividis")
    ax.contour(found.first, found.second, values, levels, colors="white", linewidths=0.4)
    ticker = library("matplotlib.ticker")
    # Logarithmic levels have numbers of their own; others the digits that tell them apart.
    plain = ticker.ScalarFormatter(useOffset=False)
    logarithmic = not np.allclose(np.diff(levels), levels[1] - levels[0])
    bar = ax.figure.colorbar(filled, ax=ax, format="%.3g" if logarithmic else plain)
    if not logarithmic:
        bar.ax.yaxis.set_major_locator(ticker.MaxNLocator(6))
    bar.ax.tick_params(labelsize=7)
    if len(found.path):
        _draw_path(ax, found, line)
    ax.set_title(_WORDS[quantity], fontsize=10)
    ax.set_xlabel("first direction")
    ax.set_ylabel("second direction")
    ax.set_aspect("equal")
    ax.margins(0.0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(5))
    return ax


def _levels(values: Any) -> Any:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not low < high:
        return np.array([low, math.nextafter(low, math.inf)]) if low else np.array([0.0, 1e-300])
    if low > 0 and high > _WIDE * low:
        return np.geomspace(low, high, _LEVELS + 1)
    return np.linspace(low, high, _LEVELS + 1)


def _draw_path(ax: Axes, found: Landscape, line: dict[str, Any]) -> None:
    first, second = found.path.T
    style = {**line_style(1, 0, len(found.path)), "markersize": 3, "linewidth": 1.2}
    length = 100 * math.sqrt(found.in_plane)
    share = "" if math.isnan(length) else f" ({length:.2g} % of its length)"
    ax.plot(first, second, **{**style, "label": f"path, projected{share}", **line})
    colour = ax.get_lines()[-1].get_color()
    for place, inside in ((0, "white"), (-1, colour)):
        ax.plot(
            first[place], second[place], "o", markersize=7, markeredgecolor=colour,
            markerfacecolor=inside, label="_nolegend_",
        )  # fmt: skip
    box = ax.legend(fontsize=7, loc="best")
    box.get_frame().set(facecolor="white", alpha=0.8, linewidth=0)
