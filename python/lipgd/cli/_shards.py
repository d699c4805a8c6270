"""Tables in ``.npy`` files, of which every process reads the rows that are its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["is_integer", "read_shards"]

Array = npt.NDArray[Any]


def read_shards(
    paths: Sequence[str], label: str | None, rows: Callable[[int], slice]
) -> tuple[Array, Array]:
    """Return inputs and label of some rows of tables that follow each other.

    Parameters
    ----------
    paths : sequence of str
        Files of two-dimensional arrays with as many columns.
    label : str or None
        The position of the column that is the label, the last one by default.
    rows : callable
        From the number of all rows to those that are wanted.
    """
    tables = [_opened(path) for path in paths]
    columns = tables[0].shape[1]
    for path, table in zip(paths, tables, strict=True):
        if table.shape[1] != columns:
            raise ValueError(
                f"{path} has {table.shape[1]} columns, but {paths[0]} has {columns}, "
                "expected the same"
            )
    column = _column(paths[0], label, columns)
    wanted = rows(sum(map(len, tables)))
    pieces, before = [], 0
    for table in tables:
        begin, end = (min(max(at - before, 0), len(table)) for at in (wanted.start, wanted.stop))
        before += len(table)
        if begin < end:
            pieces.append(table[begin:end])
    table = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return _inputs(table, column), np.array(table[:, column])


def is_integer(text: str) -> bool:
    """Return whether a text is the position of a column."""
    return text.removeprefix("-").isdecimal()


def _opened(path: str) -> Array:
    """Return a table whose rows are read when they are used."""
    name = os.fspath(path)
    with open(name, "rb"):  # a message of the system if it is not there
        pass
    try:
        table = np.load(name, mmap_mode="r", allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{name} is not a readable NumPy file: {error}") from error
    if not isinstance(table, np.ndarray):
        raise ValueError(f"{name} is an .npz file, expected an array")
    if table.ndim != 2 or table.shape[1] < 2 or table.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} is not a readable NumPy file: it has shape {table.shape} and {table.dtype}, "
            "expected a matrix"
        )
    if len(table) == 0:
        raise ValueError(f"{name} has no rows, expected at least one")
    return np.asarray(table)


def _column(path: str, label: str | None, columns: int) -> int:
    if label is not None and not is_integer(label):
        raise ValueError(f"label is {label!r}, expected the position of a column in {path}")
    column = -1 if label is None else int(label)
    if not -columns <= column < columns:
        raise ValueError(f"label is {column}, but there are {columns} columns")
    return column % columns


def _inputs(table: Array, column: int) -> Array:
    """Return all columns but one: without a copy if it is at an end."""
    if column == 0:
        return table[:, 1:]
    if column == table.shape[1] - 1:
        return table[:, :-1]
    return np.delete(table, column, axis=1)
