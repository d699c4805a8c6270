"""One training in one pair of Axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..history import History
from ..run import Run
from ._lines import (
    axis_of,
    family,
    finish,
    history_of,
    logarithmic_steps,
    missing,
    parts,
    present,
    roles,
    several,
    thinned,
)
from ._style import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def risk(history_or_run: History | Run, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the training risk, and the validation risk if there is one, on logarithmic axes.

    Parameters
    ----------
    history_or_run : History or Run
        What recorded ``risk``, ``validation_risk`` or both.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines, such as ``color``; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If neither was recorded.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> history = lipgd.History([0, 5], {"risk": [1.0, 0.5], "validation_risk": [1.1, 0.7]})
    >>> figure, axes = plotting.panels(1)
    >>> len(plotting.risk(history, ax=axes[0]).get_lines())
    2
    """
    history = history_of(history_or_run)
    ax = roles(ax, history, {"risk": "training", "validation_risk": "validation"}, line)
    logarithmic_steps(ax, history)
    return finish(ax, history, "risk", log=True)


def lipschitz(history_or_run: History | Run, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the bracket of the Lipschitz constant, shaded from the lower to the least upper value.

    Parameters
    ----------
    history_or_run : History or Run
        What recorded ``lipschitz_lower``, ``lipschitz_upper`` or ``lipschitz_upper_sdp``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If none was recorded.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> columns = {"lipschitz_lower": [1.0, 1.5], "lipschitz_upper": [2.0, 2.2]}
    >>> figure, axes = plotting.panels(1)
    >>> ax = plotting.lipschitz(lipgd.History([0, 5], columns), ax=axes[0])
    >>> ax.get_ylabel()
    'Lipschitz constant (output / input)'
    """
    history = history_of(history_or_run)
    words = {
        "lipschitz_upper": "certified upper",
        "lipschitz_lower": "lower",
        "lipschitz_upper_sdp": "certified upper (LipSDP)",
    }
    ax = roles(ax, history, words, line)
    uppers = [history[name] for name in words if "upper" in name and name in history]
    if uppers and "lipschitz_lower" in history:
        lower, upper = history["lipschitz_lower"], np.fmin.reduce(uppers)
        colour = ax.get_lines()[-1].get_color()
        ax.fill_between(history.step, lower, upper, color=colour, alpha=0.12, linewidth=0)
    ax.set_ylim(bottom=0)
    return finish(ax, history, "Lipschitz constant (output / input)", log=False)


def rates(history_or_run: History | Run, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the learning rates: one line if all parameters have the same.

    Parameters
    ----------
    history_or_run : History or Run
        A run knows its rates; a history those that it recorded as ``rate:W1``, ...
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If a history has no rates.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> history = lipgd.History([0, 1], {"rate:W1": [0.1, 0.05], "rate:b1": [0.1, 0.05]})
    >>> figure, axes = plotting.panels(1)
    >>> len(plotting.rates(history, ax=axes[0]).get_lines())
    1
    """
    history = history_of(history_or_run)
    if isinstance(history_or_run, Run):
        # Thinned before anything else: there may be billions of steps.
        steps = thinned(history_or_run.settings.steps)
        settings = history_or_run.settings.rates
        table: dict[str, npt.NDArray[Any]] = {name: settings[name][steps] for name in settings}
    else:
        names = parts(history, "rate")
        if not names:
            raise missing(history, ["rate"])
        table = {name.partition(":")[2]: history[name] for name in names}
        steps = history.step
    first = next(iter(table.values()))
    if all(np.array_equal(first, other, equal_nan=True) for other in table.values()):
        table = {"all parameters": first}
    ax = axes_or_new(ax)
    several(ax, steps, table, line)
    ax.set_ylim(bottom=0)
    return finish(ax, history, *axis_of("rate"))


def gradient_norms(history_or_run: History | Run, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the norms of the gradient that were recorded, on a logarithmic axis.

    Parameters
    ----------
    history_or_run : History or Run
        What recorded ``gradient_norm`` or ``gradient_norm:W1``, ...
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> figure, axes = plotting.panels(1)
    >>> history = lipgd.History([0, 5], {"gradient_norm": [1.0, 0.1]})
    >>> plotting.gradient_norms(history, ax=axes[0]).get_yscale()
    'log'
    """
    return family(history_or_run, ("gradient_norm",), ax, line)


def spectral_norms(history_or_run: History | Run, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the spectral norms of the weight matrices that were recorded.

    Parameters
    ----------
    history_or_run : History or Run
        What recorded ``spectral_norm:W1`` (a certified upper value), ...
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> figure, axes = plotting.panels(1)
    >>> columns = {"spectral_norm:W1": [1.0, 1.2], "spectral_norm:W2": [0.8, 0.9]}
    >>> len(plotting.spectral_norms(lipgd.History([0, 5], columns), ax=axes[0]).get_lines())
    2
    """
    return family(history_or_run, ("spectral_norm",), ax, line)


def norms(history_or_run: History | Run, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw how far the parameters went: displacements, path lengths, norms.

    Parameters
    ----------
    history_or_run : History or Run
        What recorded any of ``displacement``, ``path_length`` and ``parameter_norm``, with or
        without the name of a parameter.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> figure, axes = plotting.panels(1)
    >>> columns = {"displacement:W1": [0.0, 0.2], "path_length:W1": [0.0, 0.3]}
    >>> len(plotting.norms(lipgd.History([0, 5], columns), ax=axes[0]).get_lines())
    2
    """
    return family(history_or_run, ("displacement", "path_length", "parameter_norm"), ax, line)


def column(
    history_or_run: History | Run, name: str, *, ax: Axes | None = None, **line: Any
) -> Axes:
    """Draw any recorded column.

    Parameters
    ----------
    history_or_run : History or Run
        What recorded it.
    name : str
        The column.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the line.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If it was not recorded.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> figure, axes = plotting.panels(1)
    >>> history = lipgd.History([0, 5], {"displacement:W1": [0.0, 0.1]})
    >>> plotting.column(history, "displacement:W1", ax=axes[0]).get_ylabel()
    'distance from start (Euclidean): W1'
    """
    history = history_of(history_or_run)
    present(history, (name,))
    ax = axes_or_new(ax)
    several(ax, history.step, {name: history[name]}, line)
    return finish(ax, history, *axis_of(name))
