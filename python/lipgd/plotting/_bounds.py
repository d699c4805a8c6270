"""What is proved of a training, drawn beside what was measured in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..history import History
from ._lines import finish, history_of, label_of, missing, several
from ._style import axes_or_new, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Bounds beyond this multiple of what was measured leave the frame.
_BEYOND = 100.0
#: A linear axis shows bounds up to this multiple.
_LINEAR = 8.0
#: Gaps below this part of the largest leave the frame.
_LEAST_GAP = 0.02

_LIPSCHITZ = {
    "lipschitz_lower": "measured, lower",
    "lipschitz_upper": "measured, certified upper",
    "lipschitz_theorem3": "Theorem 3",
    "lipschitz_drift": "Theorem 3, (3+)",
    "lipschitz_before": "Theorem 3, before the draw",
    "lipschitz_target": "target",
}
_GRADIENT = {
    "gradient_norm_min": "measured, smallest so far",
    "gradient_norm_bound": "Theorem 5",
}
_GAP = {
    "gap": "measured, absolute value",
    "gap_wasserstein": "Corollary 4, Wasserstein",
    "gap_rademacher": "Theorem R, Rademacher",
}


def lipschitz_bounds(guarantees: Any, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the bounds of Theorem 3 above the bracket of the Lipschitz constant.

    Parameters
    ----------
    guarantees : Guarantees or History
        What :func:`lipgd.report.guarantees` returned, or its history. Bounds that are far above
        what was measured leave the frame.
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
        If none of the columns has a number.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> columns = {"lipschitz_upper": [2.0, 2.5], "lipschitz_theorem3": [2.0, 4.0]}
    >>> figure, axes = plotting.panels(1)
    >>> len(plotting.lipschitz_bounds(lipgd.History([0, 5], columns), ax=axes[0]).get_lines())
    2
    """
    history = history_of(guarantees)
    ax = _draw(ax, history, _LIPSCHITZ, line)
    if all(name in _known(history, _LIPSCHITZ) for name in ("lipschitz_lower", "lipschitz_upper")):
        rows = ~np.isnan(history["lipschitz_lower"] + history["lipschitz_upper"])
        lower, upper = history["lipschitz_lower"][rows], history["lipschitz_upper"][rows]
        colour = ax.get_lines()[0].get_color()
        ax.fill_between(history.step[rows], lower, upper, color=colour, alpha=0.12, linewidth=0)
    return _finish(ax, history, "Lipschitz constant (output / input)", "lipschitz_upper")


def gradient_bounds(guarantees: Any, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the bound of Theorem 5 above the smallest gradient norm so far.

    Parameters
    ----------
    guarantees : Guarantees or History
        What :func:`lipgd.report.guarantees` returned, or its history.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> columns = {"gradient_norm_min": [2.0, 0.1], "gradient_norm_bound": [float("inf"), 0.4]}
    >>> figure, axes = plotting.panels(1)
    >>> plotting.gradient_bounds(lipgd.History([0, 5], columns), ax=axes[0]).get_yscale()
    'log'
    """
    history = history_of(guarantees)
    ax = _draw(ax, history, _GRADIENT, line)
    return finish(ax, history, "gradient norm (risk / parameter)", log=True)


def gap_bounds(guarantees: Any, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the generalization bounds above the size of the measured gap.

    Parameters
    ----------
    guarantees : Guarantees or History
        What :func:`lipgd.report.guarantees` returned, or its history.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> columns = {"gap": [-0.1, 0.2], "gap_wasserstein": [1.0, 1.5]}
    >>> figure, axes = plotting.panels(1)
    >>> plotting.gap_bounds(lipgd.History([0, 5], columns), ax=axes[0]).get_ylabel()
    'test risk - training risk'
    """
    history = history_of(guarantees)
    ax = _draw(ax, history, _GAP, line)
    ax = finish(ax, history, "test risk - training risk", log=True)
    if "gap" in _known(history, _GAP):
        # Where the sign changes, the logarithm would fill the panel.
        largest = float(np.nanmax(np.abs(history["gap"])))
        ax.set_ylim(bottom=max(ax.get_ylim()[0], _LEAST_GAP * largest))
    return ax


def guarantees(found: Any) -> Figure:
    """Draw all bounds of a training beside its measurements, a panel for each kind.

    Parameters
    ----------
    found : Guarantees or History
        What :func:`lipgd.report.guarantees` returned, or its history.

    Returns
    -------
    matplotlib.figure.Figure
        To give to :func:`save`; it is not one of pyplot's.

    Raises
    ------
    ValueError
        If there is nothing that a panel could show.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting, report
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> net = lipgd.Network.create([1, 16, 1], activation="tanh")
    >>> run = lipgd.train(net, X, np.sin(3 * X), loss="huber", rate=0.01, steps=50)
    >>> len(plotting.guarantees(report.guarantees(run, X, np.sin(3 * X))).axes)
    3
    """
    history = history_of(found)
    kinds = (
        (lipschitz_bounds, _LIPSCHITZ),
        (gradient_bounds, _GRADIENT),
        (gap_bounds, _GAP),
    )
    drawn = [draw for draw, words in kinds if _known(history, words)]
    if not drawn:
        raise missing(history, [name for _, words in kinds for name in words])
    figure, axes = panels(len(drawn))
    for draw, ax in zip(drawn, axes, strict=True):
        draw(history, ax=ax)
    return figure


def _known(history: History, words: Mapping[str, str]) -> dict[str, str]:
    """Return the columns that have a finite number."""
    return {
        name: text
        for name, text in words.items()
        if name in history and np.isfinite(history[name]).any()
    }


def _draw(
    ax: Axes | None, history: History, words: Mapping[str, str], line: dict[str, Any]
) -> Axes:
    known = _known(history, words)
    if not known:
        raise missing(history, words)
    ax = axes_or_new(ax)
    for name, text in known.items():
        values = np.abs(history[name]) if name == "gap" else history[name]
        style = {**line, "label": label_of(line, text)}
        if np.isfinite(values).sum() <= 2 < len(values):
            style["linestyle"] = "none"  # nothing is known between the ends
        several(ax, history.step, {name: values}, style)
    return ax


def _finish(ax: Axes, history: History, label: str, measured: str) -> Axes:
    """Choose the scale that shows the measured values and the bounds above them."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.get_lines()])
    below = np.asarray(history[measured]) if measured in history.columns else drawn
    top = float(below[np.isfinite(below)].max(initial=0.0))
    log = bool(drawn.max() > _LINEAR * top) and bool((drawn > 0).all())
    ax = finish(ax, history, label, log)
    if not log:
        ax.set_ylim(bottom=0)
    elif drawn.max() > _BEYOND * top:
        # The margins of so long an axis would be decades.
        ax.set_ylim(float(drawn.min()) / 2.0, _BEYOND * top)
    return ax
