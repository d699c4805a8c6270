"""Coefficients of the dynamics as they were recorded: layer by layer, with moving averages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._check import choice, integer
from ..history import History
from ..run import Run
from ._lines import history_of, label_of, missing, parts, thinned
from ._style import axes_or_new, legend, line_style, next_series, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What can be drawn, and its words; those of the noise have a diagonal and an off-diagonal part.
_QUANTITIES = {
    "mu": "drift mu",
    "kappa": "noise-curvature kappa",
    "lambda2": "noise lambda^2",
    "psi": "finite step psi",
    "log_norm": "log norm",
}
_OF_NOISE = ("kappa", "lambda2")
#: Moving averages span this share of the rows by default.
_SHARE = 0.05


def coefficient(
    history_or_run: History | Run,
    quantity: str,
    part: str = "network",
    *,
    window: int | None = None,
    ax: Axes | None = None,
    **line: Any,
) -> Axes:
    """Draw a recorded coefficient with its moving average; of noise also its two parts.

    Rows are pale, averages are strong. The diagonal part comes from the variances of the entries of
    gradients, the off-diagonal part from their covariances, which may lower the sum.

    Parameters
    ----------
    history_or_run : History or Run
        What recorded ``lipschitz_dynamics``.
    quantity : {"mu", "kappa", "lambda2", "psi", "log_norm"}
        The coefficient, per unit of time.
    part : str
        ``"network"``, or a layer: ``"W1"``, ...
    window : int, optional
        Rows of a moving average, of fewer at the ends; by default a twentieth of all.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the averages; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If it was not recorded.

    References
    ----------
    dynamics.md, sections 2 and 5.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> run = lipgd.train(net, X, X[:, 0], rate=0.1, steps=30, batch_size=20,
    ...                   record=["lipschitz_dynamics"])
    >>> figure, axes = plotting.panels(1)
    >>> ax = plotting.coefficient(run, "kappa", "W1", ax=axes[0])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['total', 'diagonal part', 'off-diagonal part']
    """
    history = history_of(history_or_run)
    choice("quantity", quantity, _QUANTITIES)
    column = _column(history, quantity, part)
    step, total = _measured(history, column)
    width = max(1, round(_SHARE * len(total))) if window is None else window
    integer("window", width, at_least=1)
    table = {"total": total}
    if quantity in _OF_NOISE:
        diagonal = _measured(history, _column(history, f"{quantity}_diagonal", part))[1]
        if np.isfinite(diagonal).any():
            table |= {"diagonal part": diagonal, "off-diagonal part": total - diagonal}
    ax = axes_or_new(ax)
    series = next_series(ax)
    for role, (name, values) in enumerate(table.items()):
        words = label_of(line, name) if len(table) > 1 else line.get("label", name)
        _smooth(ax, step, values, width, series + role, {**line, "label": words})
    if min(values.min() for values in table.values()) < 0.0 and quantity != "log_norm":
        ax.axhline(0.0, color="#333333", linewidth=0.6)
    ax.set_xlim(left=0)
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    ax.set_xlabel("step")
    ax.set_ylabel(f"{_QUANTITIES[quantity]}, {part}")
    if len(ax.get_legend_handles_labels()[1]) > 1:
        legend(ax)
    return ax


def layer_dynamics(history_or_run: History | Run, *, window: int | None = None) -> Figure:
    """Draw drift, noise-curvature and noise of the network and of every layer, a panel each.

    Parameters
    ----------
    history_or_run : History or Run
        What recorded ``lipschitz_dynamics``.
    window : int, optional
        Rows of the moving averages, see :func:`coefficient`.

    Returns
    -------
    matplotlib.figure.Figure
        One row of panels per coefficient, one column for the network and one per layer. To give to
        :func:`save`; it is not one of pyplot's.

    Raises
    ------
    ValueError
        If it was not recorded.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> run = lipgd.train(net, X, X[:, 0], rate=0.1, steps=30, batch_size=20,
    ...                   record=["lipschitz_dynamics"])
    >>> len(plotting.layer_dynamics(run).axes)
    9
    """
    history = history_of(history_or_run)
    _column(history, "mu", "network")
    layers = [name.partition(":")[2] for name in parts(history, "dynamics_mu")]
    names = [layer or "network" for layer in layers]
    quantities = ("mu", *_OF_NOISE)
    figure, axes = panels(len(names), len(quantities))
    places = iter(axes)
    for quantity in quantities:
        for name in names:
            ax = coefficient(history, quantity, name, window=window, ax=next(places))
            ax.set_title(name if quantity == quantities[0] else "", fontsize=10)
            ax.set_ylabel(_QUANTITIES[quantity] if name == names[0] else "")
            ax.set_xlabel("step" if quantity == quantities[-1] else "")
            drawn = ax.get_legend()
            if drawn is not None and name != names[0]:
                drawn.remove()
    return figure


def _column(history: History, quantity: str, part: str) -> str:
    name = f"dynamics_{quantity}" + ("" if part == "network" else f":{part}")
    if name in history:
        return name
    if "dynamics_mu" not in history:
        raise missing(history, ["lipschitz_dynamics"])
    known = [column.partition(":")[2] or "network" for column in parts(history, "dynamics_mu")]
    raise ValueError(f"part is {part!r}, expected one of {', '.join(known)}")


def _measured(history: History, column: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the steps and values of the rows where coefficients were measured."""
    rows = np.isfinite(history["dynamics_log_norm"])
    return history.step[rows], history[column][rows]


def _smooth(
    ax: Axes,
    step: npt.NDArray[Any],
    values: npt.NDArray[Any],
    window: int,
    series: int,
    line: dict[str, Any],
) -> None:
    """Draw rows pale and their moving average over them."""
    shown = thinned(len(step))
    style = line_style(series, series, len(shown))
    pale = {"color": line.get("color", style["color"]), "alpha": 0.4, "linewidth": 0.7}
    if window > 1:
        ax.plot(step[shown], values[shown], **pale, label="_nolegend_", zorder=1.5)
    ax.plot(step[shown], moving_average(values, window)[shown], **{**style, **line})


def moving_average(values: npt.NDArray[Any], window: int) -> npt.NDArray[Any]:
    """Return means over the rows around each, the same number to both sides: fewer at the ends."""
    count = len(values)
    place = np.arange(count)
    # Even windows are made odd, and what one side lacks the other gives up.
    reach = np.minimum(np.minimum(window // 2, place), count - 1 - place)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means: npt.NDArray[Any] = (sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1)
    return means
