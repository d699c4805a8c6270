"""What a training recorded: one read-only array per quantity, and where each row was taken."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._files import atomic_writer, read_npz, write_npz

__all__ = ["History"]

_KIND = "lipgd history"
_VERSION = 1
_RESERVED = ("step", "meta", "format", "format_version")


class History:
    """The recorded quantities of a training, one row per recorded step.

    Parameters
    ----------
    step : array_like of int, shape (n_rows,)
        The step before which each row was taken, increasing from at least 0.
    columns : mapping of str to array_like, shape (n_rows,)
        The recorded quantities: numbers or truth values. They are copied.
    meta : mapping, optional
        Facts about the training that JSON can hold, such as versions, dtype and settings.

    Examples
    --------
    >>> from lipgd.history import History
    >>> history = History([0, 10], {"risk": [0.5, 0.25]}, {"dtype": "float64"})
    >>> history["risk"].tolist(), history.step.tolist(), history.columns, len(history)
    ([0.5, 0.25], [0, 10], ('risk',), 2)
    >>> history
    History(2 rows, steps 0 to 10: risk)
    """

    __slots__ = ("_columns", "_meta", "_step")

    def __init__(
        self,
        step: npt.ArrayLike,
        columns: Mapping[str, npt.ArrayLike],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self._step = _steps(step)
        self._columns = {name: _column(name, columns[name], len(self._step)) for name in columns}
        self._meta = _text(meta or {})

    @property
    def step(self) -> npt.NDArray[np.int64]:
        """The step before which each row was taken: int64, shape (n_rows,), read-only."""
        return self._step

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the recorded quantities."""
        return tuple(self._columns)

    @property
    def meta(self) -> dict[str, Any]:
        """A copy of the facts about the training."""
        facts: dict[str, Any] = json.loads(self._meta)
        return facts

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return one column, shape (n_rows,), read-only."""
        if name not in self._columns:
            recorded = ", ".join(self._columns) or "nothing"
            raise KeyError(f"column is {name!r}, but the history has {recorded}")
        return self._columns[name]

    def __len__(self) -> int:
        return len(self._step)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return (
            self.columns == other.columns
            and self.meta == other.meta
            and np.array_equal(self._step, other._step)
            and all(_same(self[name], other[name]) for name in self)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        span = f", steps {self._step[0]} to {self._step[-1]}" if len(self) else ""
        return f"History({len(self)} rows{span}: {', '.join(self._columns)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt from its arguments, because unpickled arrays would be writable.
        return History, (self._step, self._columns, self.meta)

    def to_numpy(self) -> npt.NDArray[np.void]:
        """Return the history as one structured array.

        Returns
        -------
        ndarray, shape (n_rows,)
            Its fields are "step" and the columns.
        """
        fields = {"step": self._step, **self._columns}
        table = np.empty(len(self), [(name, array.dtype) for name, array in fields.items()])
        for name, array in fields.items():
            table[name] = array
        return table

    def to_pandas(self) -> Any:
        """Return the history as a pandas table.

        Returns
        -------
        pandas.DataFrame
            One row per recorded step; the index "step" holds the steps.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError('to_pandas needs pandas: pip install "lipgd[pandas]"') from error
        index = pandas.Index(self._step, name="step")
        return pandas.DataFrame(self._columns, index=index, copy=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the history to a file, which is replaced as a whole or not at all.

        Parameters
        ----------
        path : str or path
            Ends in ``.npz``, which keeps everything and which NumPy can open too, or in ``.csv``,
            which keeps the step and the columns, in digits that give back the same numbers.

        Raises
        ------
        ValueError
            If the path ends in anything else.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".npz":
            facts: dict[str, npt.ArrayLike] = {
                "step": self._step,
                "meta": self._meta,
                **self._columns,
            }
            write_npz(path, facts, _KIND, _VERSION)
        elif suffix == ".csv":
            with atomic_writer(path) as file:
                text = io.TextIOWrapper(file, encoding="utf-8", newline="")
                self._write_csv(text)
                text.flush()
                text.detach()
        else:
            raise ValueError(f"path is {str(path)!r}, expected a name that ends in .npz or .csv")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> History:
        """Read a history that :meth:`save` wrote as ``.npz``.

        Parameters
        ----------
        path : str or path
            The file. Nothing in it is executed, and its sizes are checked before it is read.

        Returns
        -------
        History
            Equal to the one that was saved.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind, or of a newer version.
        """
        arrays = read_npz(path, _KIND, _VERSION)
        try:
            step, meta = (arrays.pop(name, None) for name in ("step", "meta"))
            if step is None or meta is None or meta.dtype.kind != "U" or meta.shape != ():
                raise ValueError("it has no steps or no facts")
            return History(step, arrays, json.loads(str(meta)))
        except (RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"{os.fspath(path)} is not a readable {_KIND} file: {error}"
            ) from error

    def _write_csv(self, text: io.TextIOWrapper) -> None:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["step", *self._columns])
        columns = [array.tolist() for array in self._columns.values()]
        writer.writerows(zip(self._step.tolist(), *columns, strict=True))


def _steps(step: npt.ArrayLike) -> npt.NDArray[np.int64]:
    given = np.asarray(step)
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"step has the dtype {given.dtype}, expected integers")
    if given.ndim != 1:
        raise ValueError(f"step has shape {given.shape}, expected one step per row")
    steps = given.astype(np.int64)
    if len(steps) and (steps[0] < 0 or (steps[1:] <= steps[:-1]).any()):
        raise ValueError("step is not increasing from at least 0, expected one row per step")
    steps.flags.writeable = False
    return steps


def _column(name: str, values: npt.ArrayLike, rows: int) -> npt.NDArray[Any]:
    if not isinstance(name, str):
        raise TypeError(f"columns has the name {name!r}, expected a string")
    if not name or name in _RESERVED:
        raise ValueError(f"columns has the name {name!r}, which is reserved")
    column = np.array(values)
    if column.dtype.kind not in "biuf" or column.dtype.itemsize > 8:
        raise TypeError(f"column {name!r} has the dtype {column.dtype}, expected numbers")
    if column.shape != (rows,):
        raise ValueError(f"column {name!r} has shape {column.shape}, but step has {rows} rows")
    column.flags.writeable = False
    return column


def _text(meta: Mapping[str, Any]) -> str:
    if not isinstance(meta, Mapping):
        raise TypeError(f"meta is {meta!r}, expected a mapping")
    try:
        return json.dumps(dict(meta), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"meta is not what JSON can hold: {error}") from error


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
