"""The phases of trainings with large stepsizes: risk, margins and sharpness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..history import History
from ..margins import Phases
from ..run import Run
from ._lines import finish, label_of, logarithmic_steps, missing, present
from ._style import axes_or_new, line_style, next_series, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Recorded steps where the risk may still rise, where it did not any more, where it cannot.
_SHADES = (("oscillating", "#E69F00"), ("monotone so far", "#999999"), ("certified", "#009E73"))
#: Marks of certified times: the attribute, words, and the dashes.
_MARKS: dict[str, tuple[str, Any]] = {
    "certified": ("risk certified (Thm 1)", "-"),
    "spectral": ("by the spectrum (Thm 2)", (0, (5, 2))),
    "margin": ("margin certified (Thm 3)", (0, (1, 1.5))),
    "paper": ("threshold of the paper", (0, (5, 1.5, 1, 1.5))),
}
_MARGINS = {
    "normalized_margin": "normalized",
    "smoothed_margin": "smoothed",
    "modified_margin": "modified",
}
#: Below this logarithm of the risk its own axis would end.
_SMALLEST = -680.0
_MOST_POINTS = 1500


def phase_risk(
    run: Run, found: Phases | None = None, *, ax: Axes | None = None, **line: Any
) -> Axes:
    """Draw the risk on logarithmic axes, its phases shaded and its certified times marked.

    Parameters
    ----------
    run : Run
        It recorded ``log_risk`` or ``risk``.
    found : Phases, optional
        What :func:`lipgd.margins.phases` says of the run; without it nothing is shaded.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the line; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes
        Where the risk underflows, the axis has its decimal logarithm.

    Raises
    ------
    ValueError
        If the risk was not recorded.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> X, y = np.array([[1.0, 0.2], [-0.4, 1.0]]), np.array([1.0, -1.0])
    >>> net = lipgd.Network([np.zeros((2, 2)), [[1.0, -1.0]]], activation="leaky(silu, 0.5)")
    >>> run = lipgd.train(net, X, y, loss="logistic", rate=9.0, steps=200, frozen=["W2"])
    >>> figure, axes = plotting.panels(1)
    >>> ax = plotting.phase_risk(run, lipgd.margins.phases(run, X, y), ax=axes[0])
    >>> ax.get_yscale()
    'log'
    """
    logs = _log_risk(run)
    ax = axes_or_new(ax)
    tiny = bool(np.nanmin(logs, initial=0.0) < _SMALLEST)
    values = logs / math.log(10.0) if tiny else np.exp(logs)
    _line(ax, run.history.step, values, {"label": "risk", **line})
    logarithmic_steps(ax, run.history)
    if found is not None:
        _shade(ax, run, found)
        _mark(ax, found)
    label = "decimal logarithm of the risk" if tiny else "risk"
    return _finish(ax, run.history, label, log=not tiny)


def scaled_risk(
    run: Run, found: Phases | None = None, *, ax: Axes | None = None, **line: Any
) -> Axes:
    """Draw ``eta * t * risk``, which stays between two numbers once the risk falls like 1 / t.

    Parameters
    ----------
    run : Run
        It recorded ``log_risk`` or ``risk``. If its rate varies, ``eta * t`` is the sum of rates.
    found : Phases, optional
        With it the lower limit ``1 / rho^2`` of Theorem 4 is drawn too.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the line; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> net = lipgd.Network([[[0.0]]])
    >>> X, y = np.ones((1, 1)), np.ones(1)
    >>> run = lipgd.train(net, X, y, loss="logistic", rate=1.0, steps=200)
    >>> figure, axes = plotting.panels(1)
    >>> plotting.scaled_risk(run, ax=axes[0]).get_ylabel()
    'stepsize x step x risk'
    """
    logs, steps = _log_risk(run), run.history.step
    total = np.concatenate([[0.0], np.cumsum(_rates(run))])[steps]
    ax = axes_or_new(ax)
    with np.errstate(divide="ignore", under="ignore"):
        values = np.exp(np.log(total) + logs)
    _line(ax, steps, np.where(values > 0.0, values, np.nan), {"label": "training", **line})
    logarithmic_steps(ax, run.history)
    if found is not None and found.constants is not None and found.certified is not None:
        floor = 1.0 / found.constants.gradient_bound**2
        words = label_of(line, "lower limit of Theorem 4")
        drawn = ax.get_lines()[-1]
        look: dict[str, Any] = {
            "color": drawn.get_color(),
            "marker": drawn.get_marker(),
            "markevery": [],
        }
        ax.axhline(floor, linestyle=":", label=words, **look)
    # Where all of it underflows there is nothing that a logarithmic axis could show.
    some = any(np.isfinite(np.asarray(drawn.get_ydata())).any() for drawn in ax.get_lines())
    return _finish(ax, run.history, "stepsize x step x risk", log=some)


def margins(history_or_run: History | Run, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the normalized, the smoothed and the modified margin that were recorded.

    Parameters
    ----------
    history_or_run : History or Run
        It recorded any of ``normalized_margin``, ``smoothed_margin``, ``modified_margin``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes
        Margins far below the last ones, as at the start, leave the frame.

    Raises
    ------
    ValueError
        If none was recorded.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> columns = {"normalized_margin": [-1.0, 0.2], "smoothed_margin": [-2.0, 0.1]}
    >>> figure, axes = plotting.panels(1)
    >>> len(plotting.margins(lipgd.History([0, 5], columns), ax=axes[0]).get_lines())
    2
    """
    history = history_or_run.history if isinstance(history_or_run, Run) else history_or_run
    names = present(history, _MARGINS)
    ax = axes_or_new(ax)
    series = next_series(ax)
    for role, name in enumerate(_MARGINS):
        if name in names:
            look = {**line, "label": label_of(line, _MARGINS[name])}
            _line(ax, history.step, history[name], look, (series, role))
    logarithmic_steps(ax, history)
    drawn = np.concatenate([np.asarray(one.get_ydata()) for one in ax.get_lines()])
    best = float(np.nanmax(drawn, initial=0.0))
    if best > 0.0:
        ax.set_ylim(max(float(np.nanmin(drawn)), -0.5 * best), 1.1 * best)
    return _finish(ax, history, "margin / norm^degree", log=False)


def sharpness(run: Run, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the sharpness with the line ``2 / eta``, above which a quadratic would diverge.

    Parameters
    ----------
    run : Run
        It recorded ``sharpness``, the largest eigenvalue of the Hessian of the risk.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the line; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If it was not recorded.

    Examples
    --------
    >>> import dataclasses
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> net = lipgd.Network([[[0.0]]])
    >>> run = lipgd.train(net, np.ones((1, 1)), np.ones(1), loss="logistic", rate=1.0, steps=2)
    >>> history = lipgd.History([0, 1, 2], {"sharpness": [0.25, 0.2, 0.1]})
    >>> figure, axes = plotting.panels(1)
    >>> ax = plotting.sharpness(dataclasses.replace(run, history=history), ax=axes[0])
    >>> len(ax.get_lines())
    2
    """
    history = run.history
    present(history, ("sharpness",))
    ax = axes_or_new(ax)
    series = next_series(ax)
    values = history["sharpness"]
    _line(ax, history.step, np.where(values > 0.0, values, np.nan), {"label": "sharpness", **line})
    rates = _rates(run)
    if len(rates):
        threshold = 2.0 / rates[np.minimum(history.step, len(rates) - 1)]
        look = {"label": label_of(line, "2 / stepsize"), "markevery": [], "linestyle": "--"}
        _line(ax, history.step, threshold, {**line, **look}, (series, 1))
    logarithmic_steps(ax, history)
    return _finish(ax, history, "largest eigenvalue of the Hessian", log=True)


def phases(
    runs: Run | Mapping[str, Run], found: Phases | Mapping[str, Phases] | None = None
) -> Figure:
    """Draw what papers draw: risk with its phases, ``eta t risk``, margins and sharpness.

    Parameters
    ----------
    runs : Run or mapping of str to Run
        One training, or several by their names in the legend. A panel for which one of them has
        recorded nothing is left out.
    found : Phases or mapping of str to Phases, optional
        What :func:`lipgd.margins.phases` says of them. The phases of several trainings get a panel
        each.

    Returns
    -------
    matplotlib.figure.Figure
        To give to :func:`save`; it is not one of pyplot's.

    Raises
    ------
    ValueError
        If there is no training, or one without its risk.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> X, y = np.array([[1.0, 0.2], [-0.4, 1.0]]), np.array([1.0, -1.0])
    >>> net = lipgd.Network([np.zeros((2, 2)), [[1.0, -1.0]]], activation="leaky(silu, 0.5)")
    >>> run = lipgd.train(net, X, y, loss="logistic", rate=9.0, steps=200, frozen=["W2"])
    >>> len(plotting.phases(run, lipgd.margins.phases(run, X, y)).axes)
    2
    """
    several = {"": runs} if isinstance(runs, Run) else dict(runs)
    if not several:
        raise ValueError("runs is empty, expected at least one training")
    told = {"": found} if isinstance(found, Phases) else dict(found or {})
    unknown = [name for name in told if name not in several]
    if unknown:
        raise ValueError(f"found has {unknown[0]!r}, expected names among {list(several)}")
    for run in several.values():
        _log_risk(run)
    shared = _shared_panels(several)
    figure, axes = _grid(len(several) + len(shared))
    for ax, (name, run) in zip(axes, several.items(), strict=False):
        phase_risk(run, told.get(name), ax=ax)
        ax.set_title(name, fontsize=10)
    for ax, draw in zip(axes[len(several) :], shared, strict=True):
        for name, run in several.items():
            draw(run, ax=ax, **({"label": name} if name else {}))
    return figure


def _finish(ax: Axes, history: History, label: str, log: bool) -> Axes:
    """Finish, with a legend that can be read over lines and shades."""
    finish(ax, history, label, log)
    if (box := ax.get_legend()) is not None:
        box.set_frame_on(True)
        box.get_frame().set(facecolor="white", alpha=0.8, linewidth=0)
    return ax


def _shared_panels(runs: Mapping[str, Run]) -> list[Any]:
    """Return the functions that draw what all of the trainings have recorded."""
    panels_of: list[Any] = [scaled_risk]
    histories = [run.history for run in runs.values()]
    if all(any(name in history for name in _MARGINS) for history in histories):
        panels_of.append(margins)
    if all("sharpness" in history for history in histories):
        panels_of.append(sharpness)
    return panels_of


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    columns = 2 if count == 4 else min(count, 3)
    figure, axes = panels(columns, -(-count // columns))
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def _log_risk(run: Run) -> npt.NDArray[Any]:
    history = run.history
    if "log_risk" in history:
        return history["log_risk"]
    if "risk" not in history:
        raise missing(history, ("log_risk", "risk"))
    with np.errstate(divide="ignore"):
        logs: npt.NDArray[Any] = np.log(history["risk"])
    return np.where(np.isneginf(logs), np.nan, logs)


def _rates(run: Run) -> npt.NDArray[Any]:
    return next(iter(run.settings.rates.values()))[: run.steps]


def _line(
    ax: Axes,
    step: npt.NDArray[Any],
    values: npt.NDArray[Any],
    look: dict[str, Any],
    style: tuple[int, int] | None = None,
) -> None:
    rows = np.flatnonzero(np.isfinite(values))
    rows = rows[_positions(len(rows))]
    series, role = style or (next_series(ax), 0)
    ax.plot(step[rows], values[rows], **{**line_style(series, role, len(rows)), **look})


def _positions(count: int) -> npt.NDArray[np.int64]:
    """Return positions that are dense where an axis of logarithms shows them apart."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    near = np.geomspace(1, count, _MOST_POINTS).astype(np.int64) - 1
    return np.unique(near)


def _shade(ax: Axes, run: Run, found: Phases) -> None:
    last = int(run.history.step[-1])
    stable = found.stable
    ends = [0, found.observed, last if stable is None else max(stable, found.observed), last]
    for (words, colour), begin, end in zip(_SHADES, ends[:-1], ends[1:], strict=True):
        if end > begin:
            ax.axvspan(begin, end, color=colour, alpha=0.16, linewidth=0, label=words)


def _mark(ax: Axes, found: Phases) -> None:
    for name, (words, dashes) in _MARKS.items():
        step = getattr(found, name)
        if step is not None:
            label = f"{words}: {step:,}"
            ax.axvline(step, color="#333333", linewidth=1.0, linestyle=dashes, label=label)
