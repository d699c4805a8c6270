"""The verb of sweeps."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from lipgd._check import flag, integer, shown
from lipgd._progress import ProgressBar
from lipgd._threads import usable_threads
from lipgd.run import Run
from lipgd.sweeps._engines import Outcomes, run_cells
from lipgd.sweeps._grid import Cells, cells_of, short_text
from lipgd.sweeps._result import SweepResult
from lipgd.sweeps._settings import Trainings, check_names, row_of
from lipgd.sweeps._store import Store

__all__ = ["sweep"]

#: Types of entries that need no other look.
_PLAIN = frozenset((type(None), bool, int, float, str))
_BASES: dict[type, Callable[[Any], Any]]
_BASES = {int: int.__int__, float: float.__float__, str: str.__str__}
#: Cells that took longer get a file of their own.
_LONG_SECONDS = 0.1


def sweep(
    task: Callable[..., Any] | Mapping[str, Any],
    grid: Mapping[str, Any],
    *,
    seeds: int | Iterable[int] = 1,
    jobs: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool = False,
) -> SweepResult:
    """Run all combinations of some settings, in parallel, and return one table.

    The result does not depend on the order in which cells run or on where they run. With ``out``,
    every finished cell is on disk before the next ones are looked at: after a crash or an
    interruption the same call goes on with the cells that are missing.

    Parameters
    ----------
    task : callable or mapping
        A function of the names of the grid and ``seed`` that returns a mapping from column names to
        numbers, text or None, or a :class:`Run`; or the settings of trainings: ``X``, ``y``,
        ``test`` (a pair ``(X, y)``), ``hidden``, ``activation``, ``init``, ``dtype``,
        ``output_scale``, ``biases``, ``lipschitz`` (short for a constraint), and the arguments of
        :func:`lipgd.train`.
    grid : mapping of str to list, or to mapping from labels to values
        The values of each name; labels stand in the table for values that say little themselves.
    seeds : int or iterable of int
        How often each combination is run, with the seeds 0, 1, ..., or the seeds themselves.
    jobs : int, optional
        Workers; by default as many as the process may use. Trainings of milliseconds share the
        threads of this process, other tasks run in processes of their own, which are kept for five
        minutes. Under ``joblib.parallel_config(backend=...)`` they run there, which may be a
        cluster of Dask or Ray.
    out : path-like, optional
        A folder for the finished cells.
    resume : bool
        Whether to go on with a folder that has cells already; otherwise it is refused.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    SweepResult
        Rows in the order of the grid. Cells that raised are in ``failures``, with a RuntimeWarning;
        they are tried again by the next call. After Ctrl-C it has the rows so far.

    Raises
    ------
    TypeError, ValueError
        For bad arguments, or a folder that belongs to another sweep.
    RuntimeError
        If a process dies under a cell; finished cells stay in ``out``.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> settings = {"X": X, "y": np.sin(3 * X[:, 0]), "steps": 100, "rate": 0.1}
    >>> table = lipgd.sweep(settings, {"hidden": [10, 20], "lipschitz": [1.0, None]}, seeds=2)
    >>> len(table), table[0]["status"], table[0]["lipschitz_upper"] <= 1.0
    (8, 'finished', True)
    """
    flag("resume", resume)
    flag("progress", progress)
    workers = usable_threads() if jobs is None else integer("jobs", jobs, at_least=1)
    cells = cells_of(grid, seeds)
    function, threads_suit = _task(task, grid)
    store = None if out is None else Store(out, _facts(function), resume)
    collector = _Collector(cells, store, progress)
    complete = True
    try:
        waiting = [position for position in range(len(cells)) if position not in collector.rows]
        for outcomes in run_cells(function, cells, waiting, workers, threads_suit):
            collector.take(outcomes)
    except KeyboardInterrupt:
        complete = False
    finally:
        collector.close()
    return _result(cells, collector.rows, collector.failures, complete)


class _Function:
    """A function whose answer becomes a row."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, **arguments: Any) -> dict[str, Any]:
        answer = self.function(**arguments)
        if isinstance(answer, Run):
            return row_of(answer)
        if not isinstance(answer, Mapping):
            raise TypeError(f"the task returned {shown(answer)}, expected a mapping or a Run")
        return {str(name): _entry(name, value) for name, value in answer.items()}


def _entry(name: Any, value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _PLAIN:
        return value
    # Members of enumerations and the like: the disk would give back the number or text alone.
    for kind, plain in _BASES.items():
        if isinstance(value, kind):
            return plain(value)
    raise TypeError(f"the task returned {name}={shown(value)}, expected a number, text or None")


def _task(
    task: Callable[..., Any] | Mapping[str, Any], grid: Mapping[str, Any]
) -> tuple[_Function | Trainings, bool]:
    """Return the function of a cell, and whether threads suit it."""
    if callable(task):
        return _Function(task), False
    trainings = Trainings(task)
    check_names("grid", grid)
    return trainings, True


def _facts(task: _Function | Trainings) -> dict[str, Any]:
    """Return what tells a sweep from others."""
    if isinstance(task, _Function):
        return {"task": _name(task.function)}
    return {"settings": {name: short_text(name, value) for name, value in task.settings.items()}}


def _name(function: Callable[..., Any]) -> str:
    """Return a name that is the same in every process."""
    if isinstance(function, functools.partial):
        given = short_text("task", [function.args, function.keywords])
        return f"{_name(function.func)} with {given}"
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


class _Collector:
    """Takes what workers return: to the disk, to the table, to the progress bar."""

    def __init__(self, cells: Cells, store: Store | None, progress: bool) -> None:
        self._cells, self._store = cells, store
        #: Rows and errors by the positions of their cells.
        self.rows: dict[int, dict[str, Any]] = {}
        self.failures: dict[int, str] = {}
        if store is not None and store.rows:
            for position in range(len(cells)):
                row = store.rows.get(cells.key(position))
                if row is not None:
                    self._keep(position, row)
        self._bar = ProgressBar(len(cells), "sweep", "cells", len(self.rows)) if progress else None
        self._show()

    def take(self, outcomes: Outcomes) -> None:
        """Take what cells returned or raised."""
        for position, row in zip(outcomes.positions, outcomes.rows, strict=True):
            self._keep(position, row)
        self.failures |= outcomes.errors
        if self._store is not None:
            keys = map(self._cells.key, outcomes.positions)
            quick = outcomes.seconds < _LONG_SECONDS * len(outcomes)
            self._store.add(zip(keys, outcomes.rows, strict=True), quick)
        self._show()

    def _keep(self, position: int, row: dict[str, Any]) -> None:
        labels = self._cells.labels(position)
        self.rows[position] = {**labels, **row, **labels}

    def close(self) -> None:
        """End the progress bar."""
        if self._bar is not None:
            self._bar.close()

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.show(len(self.rows) + len(self.failures), None)


def _result(
    cells: Cells,
    rows: dict[int, dict[str, Any]],
    failures: dict[int, str],
    complete: bool,
) -> SweepResult:
    table = [rows[position] for position in sorted(rows)]
    failed = [
        {**cells.labels(position), "error": failures[position]} for position in sorted(failures)
    ]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(cells)} cells failed, the first with {failed[0]['error']}",
            RuntimeWarning,
            stacklevel=3,
        )
    return SweepResult(table, failed, complete)
