"""Several trainings in one pair of Axes, and all of one training in one figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..history import History
from ..run import Run
from . import _curves
from ._lines import (
    axis_of,
    finish,
    history_of,
    label_of,
    logarithmic_steps,
    missing,
    parts,
    present,
    several,
)
from ._style import axes_or_new, legend, panels, role_handle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What each panel of the overview needs, one of these quantities.
_PANELS: tuple[tuple[Callable[..., Axes], tuple[str, ...]], ...] = (
    (_curves.risk, ("risk", "validation_risk")),
    (_curves.lipschitz, ("lipschitz_upper", "lipschitz_lower", "lipschitz_upper_sdp")),
    (_curves.gradient_norms, ("gradient_norm",)),
    (_curves.spectral_norms, ("spectral_norm",)),
    (_curves.norms, ("displacement", "path_length", "parameter_norm")),
)
#: What solid and dashed lines mean in the panels of risk and Lipschitz constant.
_ROLES = {_curves.risk: ("training", "validation"), _curves.lipschitz: ("certified upper", "lower")}


def compare(
    runs: Mapping[str, History | Run], column: str, *, ax: Axes | None = None, **line: Any
) -> Axes:
    """Draw the same column of several trainings.

    Parameters
    ----------
    runs : mapping of str to History or Run
        The trainings by their names in the legend.
    column : str
        The recorded column.
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
        If there is no training, or one did not record the column.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> figure, axes = plotting.panels(1)
    >>> runs = {
    ...     "slow": lipgd.History([0, 9], {"risk": [1.0, 0.9]}),
    ...     "fast": lipgd.History([0, 9], {"risk": [1.0, 0.1]}),
    ... }
    >>> len(plotting.compare(runs, "risk", ax=axes[0]).get_lines())
    2
    """
    if not runs:
        raise ValueError("runs is empty, expected at least one training")
    histories = {name: history_of(run) for name, run in runs.items()}
    for history in histories.values():
        present(history, (column,))
    ax = axes_or_new(ax)
    for name, history in histories.items():
        several(ax, history.step, {name: history[column]}, {**line, "label": label_of(line, name)})
    longest = max(histories.values(), key=lambda history: int(history.step.max(initial=0)))
    if column in ("risk", "validation_risk"):
        logarithmic_steps(ax, longest)
    return finish(ax, longest, *axis_of(column))


def overview(history_or_run: History | Run) -> Figure:
    """Draw all that a training recorded, a panel for each kind of quantity.

    Parameters
    ----------
    history_or_run : History or Run
        The training.

    Returns
    -------
    matplotlib.figure.Figure
        To give to :func:`save`; it is not one of pyplot's.

    Raises
    ------
    ValueError
        If nothing was recorded that there is a panel for.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> columns = {"risk": [1.0, 0.5], "gradient_norm": [2.0, 1.0]}
    >>> len(plotting.overview(lipgd.History([0, 5], columns)).axes)
    2
    """
    drawn = _drawable(history_or_run)
    if not drawn:
        quantities = [name for _, names in _PANELS for name in names]
        raise missing(history_of(history_or_run), [*quantities, "rate"])
    figure, axes = _grid(len(drawn))
    for draw, ax in zip(drawn, axes, strict=True):
        draw(history_or_run, ax=ax)
    return figure


def side_by_side(runs: Mapping[str, History | Run]) -> Figure:
    """Draw risk, Lipschitz constant and rates of several trainings, a panel for each.

    Parameters
    ----------
    runs : mapping of str to History or Run
        The trainings by their names in the legend. What one of them did not record is left out.

    Returns
    -------
    matplotlib.figure.Figure
        To give to :func:`save`; it is not one of pyplot's.

    Raises
    ------
    ValueError
        If there is no training, or no quantity that all of them recorded.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd import plotting
    >>> runs = {
    ...     "slow": lipgd.History([0, 9], {"risk": [1.0, 0.9]}),
    ...     "fast": lipgd.History([0, 9], {"risk": [1.0, 0.1]}),
    ... }
    >>> len(plotting.side_by_side(runs).axes)
    1
    """
    every = [_drawable(run) for run in runs.values()]
    wanted = (_curves.risk, _curves.lipschitz, _curves.rates)
    drawn = [draw for draw in wanted if every and all(draw in some for some in every)]
    if not drawn:
        raise ValueError(f"runs is {list(runs)}, expected trainings that recorded the same")
    figure, axes = _grid(len(drawn))
    for draw, ax in zip(drawn, axes, strict=True):
        for name, run in runs.items():
            solid = {"linestyle": "-"} if draw is _curves.rates else {}
            draw(run, ax=ax, label=name, **solid)
        _share_legend(ax, _ROLES.get(draw, ()))
    starts = [
        next(line for line in axes[0].get_lines() if str(line.get_label()).startswith(name))
        for name in runs
    ]
    figure.legend(starts, list(runs), loc="outside upper center", ncols=len(runs), frameon=False)
    return figure


def _drawable(history_or_run: History | Run) -> list[Callable[..., Axes]]:
    history = history_of(history_or_run)
    drawn = [draw for draw, names in _PANELS if any(parts(history, name) for name in names)]
    if isinstance(history_or_run, Run) or parts(history, "rate"):
        drawn.append(_curves.rates)
    return drawn


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    columns = 2 if count == 4 else min(count, 3)
    figure, axes = panels(columns, -(-count // columns))
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def _share_legend(ax: Axes, roles: tuple[str, ...]) -> None:
    """Leave in the legend of one panel what the line styles mean, if anything."""
    drawn = {line.get_linestyle() for line in ax.get_lines()}
    old = ax.get_legend()
    if roles and len(drawn) > 1:
        legend(ax, [role_handle(role, words) for role, words in enumerate(roles)])
    elif old is not None:
        old.remove()
