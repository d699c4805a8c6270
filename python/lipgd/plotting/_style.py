"""How figures look: the one place for colours, lines, axes and files."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._check import integer
from .._files import atomic_writer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours by Okabe and Ito, without the yellow that is lost on white: https://jfly.uni-koeln.de/color
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: One per colour, so that a series is known by its markers where there are no colours.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
#: Lines with at most this many points have a marker on each.
_FEW_POINTS = 12
_PANEL = (4.4, 3.3)
_INK, _GRID = "#333333", "#dddddd"
#: Settings of files: text stays text in SVG, and the same figure gives the same bytes.
_FILES: dict[str, Any] = {"svg.fonttype": "none", "svg.hashsalt": "lipgd"}
_DPI = 150


def library(module: str) -> Any:
    """Return a module of matplotlib, which only those who draw need."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError('plotting needs matplotlib: pip install "lipgd[plot]"') from error


def panels(columns: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure with empty Axes side by side.

    The figure is not one of pyplot's: no window opens, and it need not be closed.

    Parameters
    ----------
    columns, rows : int
        How many Axes beside and below each other, at least 1.

    Returns
    -------
    figure : matplotlib.figure.Figure
        To give to :func:`save`.
    axes : list of matplotlib.axes.Axes, length ``rows * columns``
        Row by row.

    Examples
    --------
    >>> from lipgd import plotting
    >>> figure, axes = plotting.panels(3)
    >>> len(axes)
    3
    """
    integer("columns", columns, at_least=1)
    integer("rows", rows, at_least=1)
    size = (_PANEL[0] * columns, _PANEL[1] * rows)
    figure: Figure = library("matplotlib.figure").Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        _dress(ax)
    return figure, axes


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the Axes given, or those of a new figure of pyplot's."""
    if ax is not None:
        return ax
    new: Axes = library("matplotlib.pyplot").subplots(figsize=_PANEL, layout="constrained")[1]
    _dress(new)
    return new


def next_series(ax: Axes) -> int:
    """Return how many series there are: the number of the next one."""
    return len({(line.get_color(), line.get_marker()) for line in ax.get_lines()})


def line_style(series: int, role: int, points: int) -> dict[str, Any]:
    """Return the look of a line: the colour and marker say which series, the dashes which role."""
    place = series % len(_COLOURS)
    return {
        "color": _COLOURS[place],
        "linestyle": DASHES[role % len(DASHES)],
        "linewidth": 1.6,
        "marker": _MARKERS[place],
        "markersize": 4.5,
        "markerfacecolor": "white",
        # Shifted, so that the markers of lines that coincide stand beside each other.
        "markevery": 1 if points <= _FEW_POINTS else (0.02 + 0.025 * place, 0.14),
    }


def log_steps(ax: Axes, linear_until: float) -> None:
    """Make the axis of steps logarithmic from a step on; before it there is room for step 0."""
    ticker = library("matplotlib.ticker")
    ax.set_xscale("symlog", linthresh=linear_until, linscale=0.3)
    ax.set_xlim(left=0)
    powers = [10.0**k for k in range(19) if 10.0**k >= linear_until]
    ax.xaxis.set_major_locator(ticker.FixedLocator([0.0, *powers]))
    ax.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))


def log_values(ax: Axes) -> None:
    """Make the axis of values logarithmic, with plain numbers."""
    ticker = library("matplotlib.ticker")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(ticker.FuncFormatter(lambda value, _: _minor(ax, value)))


def _minor(ax: Axes, value: float) -> str:
    """Return the text between powers of ten: the fewer of them there are, the more text."""
    low, high = sorted(ax.get_ylim())
    text = f"{value:g}"
    few = high <= 6 * low or (high <= 100 * low and text.strip("0.")[:1] in ("2", "5"))
    return text if few else ""


def legend(ax: Axes, handles: list[Any] | None = None) -> None:
    """Add a legend of the labelled lines, or of those given."""
    ax.legend(handles=handles, frameon=False, fontsize=8)


def role_handle(role: int, label: str) -> Any:
    """Return an entry of a legend that shows a line style alone."""
    line: Any = library("matplotlib.lines").Line2D
    return line([], [], color=_INK, linestyle=DASHES[role], linewidth=1.6, label=label)


def save(figure: Figure, path_without_suffix: str | os.PathLike[str]) -> list[Path]:
    """Write a figure as PNG and as SVG.

    The same figure gives the same bytes: no date, no random names. Text in the SVG stays text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure, such as that of :func:`panels` or ``ax.figure``.
    path_without_suffix : path-like
        ``"folder/risk"`` gives ``folder/risk.png`` and ``folder/risk.svg``; the folder exists.

    Returns
    -------
    list of pathlib.Path
        The files, PNG first. Each is replaced as a whole or not at all.

    Examples
    --------
    >>> import os, tempfile
    >>> from lipgd import plotting
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = plotting.save(plotting.panels(1)[0], os.path.join(folder, "empty"))
    >>> [path.name for path in paths]
    ['empty.png', 'empty.svg']
    """
    base = Path(path_without_suffix)
    paths = [base.with_name(base.name + suffix) for suffix in (".png", ".svg")]
    for path in paths:
        write(figure, path)
    return paths


def write(figure: Figure, path: Path) -> None:
    """Write a figure to one file, whose suffix is a format that matplotlib knows."""
    kind = path.suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ValueError(f"path is {str(path)!r}, expected a name that ends in {_listed(known)}")
    dateless = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with library("matplotlib").rc_context(_FILES), atomic_writer(path) as file:
        figure.savefig(file, format=kind, dpi=_DPI, facecolor="white", metadata=dateless.get(kind))


def _listed(kinds: dict[str, str]) -> str:
    return ", ".join(f".{kind}" for kind in sorted(kinds))


def _dress(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        ax.spines[side].set_color(_INK)
    ax.tick_params(colors=_INK, labelsize=9, which="both")
    ax.xaxis.label.set(color=_INK, fontsize=9)
    ax.yaxis.label.set(color=_INK, fontsize=9)
    ax.grid(color=_GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.margins(x=0.02)
    ax.xaxis.set_major_locator(library("matplotlib.ticker").MaxNLocator(5, integer=True))
