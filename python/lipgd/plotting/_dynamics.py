"""What moves the log norms of the layers: predicted, observed and split into parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._check import flag, integer, shown
from ..dynamics import Ensemble, Prediction
from ._lines import label_of, thinned
from ._style import axes_or_new, library, line_style, next_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Standard errors to either side of what is predicted.
_BAND = 2.0
#: Where insets are, in shares of the Axes: predictions rise to the left above, fall there below.
_INSETS = {"rising": (0.53, 0.13, 0.45, 0.36), "falling": (0.53, 0.6, 0.45, 0.36)}
#: The parts of a prediction: the attribute, words, colour and hatch.
_PARTS = (
    ("drift", "drift mu", "#56B4E9", ""),
    ("noise_curvature", "noise-curvature kappa", "#D55E00", "///"),
    ("finite_step", "finite step psi", "#009E73", "..."),
    ("ito", "Ito term", "#CC79A7", "\\\\\\"),
    ("epoch", "earlier batches", "#E69F00", "xxx"),
    ("pair", "pair term", "#999999", "++"),
)


def predicted_trajectory(
    found: Prediction, *, inset: bool = True, ax: Axes | None = None, **line: Any
) -> Axes:
    """Draw how a log norm was predicted to move and how it moved.

    Parameters
    ----------
    found : Prediction
        What :func:`lipgd.dynamics.predict` returned, of the network or one of its ``layers``. Two
        standard errors to either side of the prediction are shaded.
    inset : bool
        Draw what is left, observed minus predicted, into the same Axes: for the prediction with its
        two standard errors, and for the replay predictor, which has no first-order noise.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines; ``label`` names the training in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    References
    ----------
    dynamics.md, section 4.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> run = lipgd.train(net, X, X[:, 0], rate=0.1, steps=30, batch_size=20,
    ...                   record=["lipschitz_dynamics"])
    >>> found = lipgd.dynamics.predict(run)
    >>> figure, axes = plotting.panels(1)
    >>> ax = plotting.predicted_trajectory(found, ax=axes[0])
    >>> bool(np.array_equal(ax.get_lines()[0].get_ydata(), found.observed))
    True
    """
    _prediction("found", found)
    flag("inset", inset)
    ax = axes_or_new(ax)
    series = next_series(ax)
    rows = thinned(found.rows)
    step = found.step[rows]
    for role, name in enumerate(("observed", "predicted")):
        style = {**line_style(series + role, role, len(rows)), **line}
        ax.plot(step, getattr(found, name)[rows], **{**style, "label": label_of(line, name)})
    _shade(ax, step, found.predicted[rows], found.standard_error[rows])
    _steps(ax)
    ax.set_ylabel(_log_norm_of(found))
    _legend(ax, "best" if not inset else "upper left" if _rises(found) else "lower left")
    if inset:
        _draw_what_is_left(_inset(ax, _rises(found), "observed - predicted"), found, rows)
    return ax


def contributions(found: Prediction, *, inset: bool = True, ax: Axes | None = None) -> Axes:
    """Draw the parts of a prediction on top of each other, with their total and what was observed.

    What raises the log norm is stacked above zero, what lowers it below.

    Parameters
    ----------
    found : Prediction
        What :func:`lipgd.dynamics.predict` returned, of the network or one of its ``layers``.
    inset : bool
        Draw the parts without the drift once more, which is much larger for most trainings.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.

    Returns
    -------
    matplotlib.axes.Axes

    References
    ----------
    dynamics.md, sections 2, 3 and 4.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> run = lipgd.train(net, X, X[:, 0], rate=0.1, steps=30, batch_size=20,
    ...                   record=["lipschitz_dynamics"])
    >>> figure, axes = plotting.panels(1)
    >>> ax = plotting.contributions(lipgd.dynamics.predict(run), ax=axes[0])
    >>> [line.get_label() for line in ax.get_lines()][-2:]
    ['predicted', 'observed']
    """
    _prediction("found", found)
    flag("inset", inset)
    ax = axes_or_new(ax)
    rows = thinned(found.rows)
    step = found.step[rows]
    parts = _parts_of(found)
    _stack(ax, step, {name: values[rows] for name, values in parts.items()})
    for name, values, role in (
        ("predicted", found.predicted - found.predicted[0], 0),
        ("observed", found.observed - found.observed[0], 1),
    ):
        style = line_style(6, role, len(rows))
        ax.plot(step, values[rows], **{**style, "label": name, "marker": ""})
    _steps(ax)
    ax.set_ylabel(f"change of the {_log_norm_of(found)}")
    _legend(ax, "best" if not inset else "upper left" if _rises(found) else "lower left")
    if inset:
        small = _inset(ax, _rises(found), "without the drift")
        rest = {name: values[rows] for name, values in parts.items() if name != "drift"}
        _stack(small, step, rest)
        style = line_style(6, 0, len(rows))
        small.plot(step, sum(rest.values()), **{**style, "linewidth": 1.2, "marker": ""})
    return ax


def variance_by_batch_size(
    ensembles: Mapping[int, Ensemble],
    *,
    step: int | None = None,
    ax: Axes | None = None,
    **line: Any,
) -> Axes:
    """Draw the variance of the log norm between trainings against the size of their batches.

    Beside it stand what noise that is propagated along the noise-free path gives, and the
    innovation part alone, which is not the variance between runs.

    Parameters
    ----------
    ensembles : mapping of int to Ensemble
        What :func:`lipgd.dynamics.ensemble` returned, by batch size.
    step : int, optional
        One of the ``targets`` of them all; by default the last one that they share.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure of pyplot's.
    **line
        Properties of the lines; ``label`` names the trainings in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If there is no ensemble, or they do not share the step as a target.

    References
    ----------
    dynamics.md, section 4.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import plotting
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> ensembles = {
    ...     size: lipgd.dynamics.ensemble(net, X, X[:, 0], runs=4, steps=20, batch_size=size)
    ...     for size in (5, 20)
    ... }
    >>> figure, axes = plotting.panels(1)
    >>> ax = plotting.variance_by_batch_size(ensembles, ax=axes[0])
    >>> len(ax.get_lines()), ax.get_xscale()
    (3, 'log')
    """
    sizes = sorted(ensembles)
    at = _shared_target(ensembles, step)
    seen, told, inside, spread = [], [], [], []
    for size in sizes:
        one = ensembles[size]
        row = int(np.flatnonzero(one.step == at)[0])
        seen.append(float(one.variance[row]))
        told.append(float(one.propagated[int(np.flatnonzero(one.targets == at)[0])]))
        inside.append(float(one.innovation[row]))
        spread.append(seen[-1] * np.sqrt(2 / (one.runs - 1)))
    ax = axes_or_new(ax)
    series = next_series(ax)
    names = ("between runs", "propagated noise (4.1)", "innovation alone")
    for role, (name, values) in enumerate(zip(names, (seen, told, inside), strict=True)):
        style = {**line_style(series + role, role, len(sizes)), **line}
        ax.plot(sizes, values, **{**style, "label": label_of(line, name)})
    colour = ax.get_lines()[-3].get_color()
    # A bar that would reach zero has no lower end on a logarithmic axis.
    low = np.subtract(seen, np.minimum(spread, 0.9 * np.array(seen)))
    ax.vlines(sizes, low, np.add(seen, spread), colors=colour, linewidth=1.2)
    ticker = library("matplotlib.ticker")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(ticker.FixedLocator(sizes))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.0f}"))
    ax.set_xlabel("batch size")
    ax.set_ylabel(f"variance of the log norm at step {at}")
    _legend(ax, "best")
    return ax


def _prediction(name: str, found: Any) -> None:
    if not isinstance(found, Prediction):
        raise TypeError(
            f"{name} is {shown(found)}, expected a Prediction of lipgd.dynamics.predict"
        )


def _log_norm_of(found: Prediction) -> str:
    network = found.name == "network"
    return "log of the product of norms" if network else f"log norm of {found.name}"


def _rises(found: Prediction) -> bool:
    """Return whether the line ends above where it spends its time, so that below is room."""
    return bool(found.observed[-1] >= found.observed[0])


def _parts_of(found: Prediction) -> dict[str, npt.NDArray[Any]]:
    """Return the parts whose sum is the predicted change."""
    parts = {name: getattr(found, name) for name, *_ in _PARTS if name != "pair"}
    rest = found.predicted - found.predicted[0] - sum(parts.values())
    # The pair term is part of a prediction only if it was asked for.
    if np.abs(rest).max() > 0.5 * np.abs(found.pair).max() > 0:
        parts["pair"] = found.pair
    return parts


def _stack(ax: Axes, step: npt.NDArray[Any], parts: Mapping[str, npt.NDArray[Any]]) -> None:
    """Fill the parts that raise on each other above zero, those that lower below."""
    above, below = np.zeros(len(step)), np.zeros(len(step))
    for name, words, colour, hatch in _PARTS:
        values = parts.get(name)
        if values is None or not values.any():
            continue
        up, down = above + np.maximum(values, 0.0), below + np.minimum(values, 0.0)
        look: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "hatch": hatch}
        look |= {"linewidth": 0.0, "alpha": 0.75}
        # What raises at one time and lowers at another is in the legend once.
        label = words
        for low, high in ((above, up), (down, below)):
            if (high > low).any():
                ax.fill_between(step, low, high, **look, label=label)
                label = "_nolegend_"
        above, below = up, down
    ax.axhline(0.0, color="#333333", linewidth=0.6, label="_nolegend_")


def _draw_what_is_left(ax: Axes, found: Prediction, rows: npt.NDArray[np.int64]) -> None:
    step, left = found.step[rows], found.observed - found.predicted
    replayed = found.observed - found.replay
    _shade(ax, step, 0 * left[rows], found.standard_error[rows], series=1)
    for series, name, values in ((0, "prediction", left), (2, "replay", replayed)):
        style = {**line_style(series, series, len(rows)), "marker": "", "linewidth": 1.2}
        ax.plot(step, values[rows], **style, label=name)
    ax.legend(frameon=False, fontsize=6, loc="best", borderpad=0.1, labelspacing=0.2)


def _shade(
    ax: Axes,
    step: npt.NDArray[Any],
    middle: npt.NDArray[Any],
    error: npt.NDArray[Any],
    series: int | None = None,
) -> None:
    """Shade two standard errors to either side, in the colour of the last line by default."""
    colour = ax.get_lines()[-1].get_color() if series is None else line_style(series, 0, 1)["color"]
    low, high = middle - _BAND * error, middle + _BAND * error
    ax.fill_between(step, low, high, color=colour, alpha=0.18, linewidth=0)


def _inset(ax: Axes, rising: bool, title: str) -> Axes:
    small: Axes = ax.inset_axes(_INSETS["rising" if rising else "falling"])
    small.set_title(title, fontsize=7, pad=2)
    small.tick_params(labelsize=6, length=2, pad=1)
    small.grid(color="#dddddd", linewidth=0.4)
    small.margins(x=0.0)
    ticker = library("matplotlib.ticker")
    small.xaxis.set_major_locator(ticker.MaxNLocator(3, integer=True))
    small.yaxis.set_major_locator(ticker.MaxNLocator(4))
    small.patch.set_alpha(0.9)
    return small


def _steps(ax: Axes) -> None:
    ax.set_xlim(left=0)
    ax.set_xlabel("step")


def _legend(ax: Axes, place: Any) -> None:
    ax.legend(frameon=False, fontsize=7, loc=place)


def _shared_target(ensembles: Mapping[int, Ensemble], step: int | None) -> int:
    if not ensembles:
        raise ValueError("ensembles is empty, expected at least one")
    for size, one in ensembles.items():
        integer("ensembles", size, at_least=1)
        if not isinstance(one, Ensemble):
            raise TypeError(f"ensembles[{size}] is {shown(one)}, expected an Ensemble")
    shared = set.intersection(*(set(one.targets.tolist()) for one in ensembles.values()))
    if not shared:
        raise ValueError("ensembles share no target step, expected one that all of them have")
    at = max(shared) if step is None else integer("step", step, at_least=1)
    if at not in shared:
        raise ValueError(f"step is {at}, expected one of the shared targets {sorted(shared)}")
    return at
