"""What is proved and attained of a Lipschitz constant, rung by rung and width by width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..lipschitz import Audit
from ._style import axes_or_new, legend, library, line_style, log_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABEL = "Lipschitz constant (output / input)"
_WORDS = {
    "product": "product of norms",
    "closed_form": "closed form",
    "sdp": "certificate",
    "exact": "exact",
    "split": "parts of the domain",
    "branch_and_bound": "branch and bound",
    "lower": "attained, lower",
}
#: Values that span more than this are on a logarithmic axis.
_WIDE = 20.0


def lipschitz_ladder(found: Audit, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the upper bounds of an audit from cheap to tight above the lower value.

    Parameters
    ----------
    found : Audit
        What :func:`lipgd.lipschitz.audit` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the markers and their stems.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If nothing was proved.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> found = lipgd.lipschitz.audit(lipgd.Network.create([3, 20, 1]), effort="fast")
    >>> figure, axes = plotting.panels(1)
    >>> plotting.lipschitz_ladder(found, ax=axes[0]).get_xlabel()
    'Lipschitz constant (output / input)'
    """
    rungs = {name: rung.value for name, rung in found.rungs.items() if math.isfinite(rung.value)}
    if not rungs:
        raise ValueError(f"found is not certified ({found.upper.reason}), expected a bound to draw")
    ax = axes_or_new(ax)
    low = found.lower.value
    style = {**line_style(0, 0, 1), "linestyle": "-", **line}
    for place, value in enumerate(rungs.values()):
        ax.plot([low, value], [-place, -place], **{**style, "markevery": [1]})
        ax.annotate(
            f"{value:.4g}",
            (value, -place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    attained = line_style(1, 1, 2)
    ax.axvline(low, color=attained["color"], linestyle=attained["linestyle"], linewidth=1.6)
    offset: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points"}
    ax.annotate(f"attained {low:.4g}", (low, 0.55), va="center", fontsize=8, **offset)
    # What "exact" comes to may be a bracket that branch and bound left.
    methods = [found[name].method if name == "exact" else name for name in rungs]
    words = [_WORDS.get(method, method) for method in methods]
    ax.set_yticks([-place for place in range(len(rungs))], words)
    ax.set_ylim(0.4 - len(rungs), 0.8)
    largest = max(rungs.values())
    if low > 0 and largest > _WIDE * low:
        ax.set_xscale("log")
        ax.set_xlim(low / 1.5, largest * 2.5)
    else:
        ax.xaxis.set_major_locator(library("matplotlib.ticker").MaxNLocator(5))
        ax.set_xlim(0, 1.2 * largest)
    ax.set_xlabel(_LABEL)
    return ax


def lipschitz_by_width(audits: Mapping[int, Audit], *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw every rung of the audits of networks against their widths.

    Parameters
    ----------
    audits : mapping of int to Audit
        By the width of the hidden layers.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no audit.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> audits = {
    ...     width: lipgd.lipschitz.audit(lipgd.Network.create([3, width, 1]), effort="fast")
    ...     for width in (8, 16)
    ... }
    >>> figure, axes = plotting.panels(1)
    >>> len(plotting.lipschitz_by_width(audits, ax=axes[0]).get_lines())
    3
    """
    widths = sorted(audits)
    if not widths:
        raise ValueError("audits is empty, expected at least one")
    ax = axes_or_new(ax)
    names = list(dict.fromkeys(name for width in widths for name in audits[width]))
    for series, name in enumerate(names):
        points = [
            (width, audits[width][name].value)
            for width in widths
            if name in audits[width] and math.isfinite(audits[width][name].value)
        ]
        if points:
            style = {**line_style(series, series, len(points)), "label": _WORDS.get(name, name)}
            ax.plot(*zip(*points, strict=True), **{**style, **line})
    log_values(ax)
    ax.set_xscale("log")
    ticker = library("matplotlib.ticker")
    ax.xaxis.set_major_locator(ticker.FixedLocator(widths))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.0f}"))
    ax.set_xlabel("width (neurons)")
    ax.set_ylabel(_LABEL)
    legend(ax)
    return ax
