"""Lines, labels and scales that the figures share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..history import History
from ..run import Run
from ._style import axes_or_new, legend, line_style, log_steps, log_values, next_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Label of the axis, and whether it is logarithmic.
_QUANTITIES: dict[str, tuple[str, bool]] = {
    "risk": ("risk", True),
    "validation_risk": ("validation risk", True),
    "gradient_norm": ("gradient norm (risk / parameter)", True),
    "rate": ("learning rate (per step)", False),
    "spectral_norm": ("spectral norm (certified upper)", False),
    "spectral_norm_lower": ("spectral norm (lower value)", False),
    "lipschitz_upper": ("certified Lipschitz upper value", False),
    "lipschitz_lower": ("Lipschitz lower value", False),
    "parameter_norm": ("norm of parameters (Euclidean)", False),
    "displacement": ("distance from start (Euclidean)", False),
    "path_length": ("length of the path (Euclidean)", False),
}
#: Units of the risk by the kind of loss.
_RISKS = {
    "mse": "mean squared error",
    "huber": "mean Huber loss",
    "logistic": "mean logistic loss, nats",
    "cross_entropy": "mean cross entropy, nats",
}
#: More points than a screen has pixels only make files large.
_MOST_POINTS = 2000
#: Matplotlib's margins overflow at the end of the range of float64, which diverging risks reach.
_LARGEST = 1e200


def history_of(history_or_run: Any) -> History:
    """Return the history of a run, or of whatever else has one; a history as it is."""
    history = getattr(history_or_run, "history", history_or_run)
    if not isinstance(history, History):
        raise TypeError(f"history_or_run is {history_or_run!r}, expected a History or a Run")
    return history


def axis_of(name: str) -> tuple[str, bool]:
    """Return the label of a column's axis, and whether it is logarithmic."""
    quantity, _, part = name.partition(":")
    words, log = _QUANTITIES.get(quantity, (quantity.replace("_", " "), False))
    return f"{words}: {part}" if part else words, log


def present(history: History, names: Iterable[str]) -> list[str]:
    """Return those of the names that are recorded, at least one."""
    wanted = list(names)
    found = [name for name in wanted if name in history]
    if not found:
        raise missing(history, wanted)
    return found


def parts(history: History, quantity: str) -> list[str]:
    """Return the recorded columns of a quantity, of the whole and of single parameters."""
    return [name for name in history.columns if name.partition(":")[0] == quantity]


def missing(history: History, wanted: Iterable[str]) -> ValueError:
    """Return the error of a history that recorded none of the columns."""
    recorded = ", ".join(history.columns) or "nothing"
    return ValueError(f"history_or_run has recorded {recorded}, expected {' or '.join(wanted)}")


def roles(
    ax: Axes | None, history: History, words: Mapping[str, str], line: dict[str, Any]
) -> Axes:
    """Draw those columns of one training that are recorded, in one colour."""
    names = present(history, words)
    ax = axes_or_new(ax)
    series = next_series(ax)
    for role, name in enumerate(words):
        if name in names:
            label = label_of(line, words[name])
            _draw(ax, history.step, history[name], (series, role), {**line, "label": label})
    return ax


def several(
    ax: Axes, step: npt.NDArray[Any], table: Mapping[str, npt.NDArray[Any]], line: dict[str, Any]
) -> None:
    """Draw each entry of the table in its own colour, line style and marker."""
    for name, values in table.items():
        series = next_series(ax)
        label = line.get("label", name) if len(table) == 1 else label_of(line, name)
        _draw(ax, step, values, (series, series), {**line, "label": label})


def family(
    history_or_run: History | Run, quantities: Iterable[str], ax: Axes | None, line: dict[str, Any]
) -> Axes:
    """Draw every recorded column of the quantities."""
    history = history_of(history_or_run)
    wanted = list(quantities)
    found = [q for q in wanted if parts(history, q)]
    names = [name for q in found for name in parts(history, q)]
    if not names:
        raise missing(history, wanted)
    ax = axes_or_new(ax)
    several(ax, history.step, {_words(name, found): history[name] for name in names}, line)
    label, log = axis_of(found[0]) if len(found) == 1 else ("Euclidean norm", False)
    return finish(ax, history, label, log)


def _words(name: str, quantities: list[str]) -> str:
    quantity, _, part = name.partition(":")
    where = part or "all parameters"
    return where if len(quantities) == 1 else f"{quantity.replace('_', ' ')}, {where}"


def label_of(line: dict[str, Any], words: str) -> str:
    return f"{line['label']}, {words}" if "label" in line else words


def _draw(
    ax: Axes,
    step: npt.NDArray[Any],
    values: npt.NDArray[Any],
    style: tuple[int, int],
    line: dict[str, Any],
) -> None:
    rows = np.flatnonzero(np.abs(values) <= _LARGEST)
    rows = rows[thinned(len(rows))]
    ax.plot(step[rows], values[rows], **{**line_style(*style, len(rows)), **line})


def thinned(count: int) -> npt.NDArray[np.int64]:
    """Return positions from 0 to ``count``, the ends among them, as many as can be seen."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    return np.linspace(0, count - 1, _MOST_POINTS).astype(np.int64)


def logarithmic_steps(ax: Axes, history: History) -> None:
    """Make the axis of steps logarithmic from the first recorded step on, with room for step 0."""
    if len(history) > 2:
        log_steps(ax, float(max(history.step[1], 1)))


def finish(ax: Axes, history: History, label: str, log: bool) -> Axes:
    """Set labels, scale and legend."""
    if label == "risk":
        kind = str(history.meta.get("loss", "")).partition("(")[0]
        label = f"risk ({_RISKS[kind]})" if kind in _RISKS else label
    if log:
        log_values(ax)
    ax.set_xlabel("step")
    if not ax.get_ylabel():
        ax.set_ylabel(label)
    if len(ax.get_legend_handles_labels()[1]) > 1:
        legend(ax)
    return ax
