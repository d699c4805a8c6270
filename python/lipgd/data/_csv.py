"""Tables in text files: comma-separated values and their relatives."""

from __future__ import annotations

import array
import csv
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from .._check import choice, flag, integer
from ._dataset import Array, Dataset, labels, numbered
from ._source import MAX_BYTES, digest, reading

__all__ = ["read_csv"]

_DELIMITERS = (",", ";", "\t", " ")
_MISSING = frozenset(("", "?", "-", "na", "n/a", "nan", "null", "none"))
_LONGEST_LINE = 2**24
#: Rows that decide about the delimiter.
_SAMPLE = 20


def read_csv(
    path: str | os.PathLike[str],
    label: int | str = -1,
    *,
    task: Literal["auto", "regression", "classification"] = "auto",
    delimiter: str | None = None,
    header: bool | None = None,
) -> Dataset:
    r"""Return the table in a text file, with one column as the target.

    Parameters
    ----------
    path : str or path
        A file in UTF-8, compressed by gzip or not. Cells may be quoted; blank lines are skipped.
    label : int or str
        The column of the targets: its position (negative from the end) or its name.
    task : {"auto", "regression", "classification"}
        "auto" is classification if the first target is not a number. The classes are the distinct
        targets in sorted order.
    delimiter : {",", ";", tab, " "}, optional
        What separates the cells, " " for any white space; by default what fits the first rows.
    header : bool, optional
        Whether the first row has the names of the columns; by default it does if it has text above
        a number.

    Returns
    -------
    Dataset
        All other columns as inputs, which must be numbers.

    Raises
    ------
    ValueError
        If a cell is missing or not a finite number, rows have different lengths, or the label is
        not a column; the message names row and column. Rows count from 1, after the header.

    Examples
    --------
    >>> import os, tempfile
    >>> from lipgd import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "table.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("width,height,kind\n1.0,2.0,pear\n0.5,0.5,apple\n")
    ...     table = data.read_csv(path)
    >>> table.X.tolist(), table.y.tolist(), table.classes
    ([[1.0, 2.0], [0.5, 0.5]], [1, -1], ('apple', 'pear'))
    """
    choice("task", task, ("auto", "regression", "classification"))
    if delimiter is not None:
        choice("delimiter", delimiter, _DELIMITERS)
    if header is not None:
        flag("header", header)
    if not isinstance(label, str):
        integer("label", label)
    with reading(path, "CSV") as file:
        table = _read(file, label, task, delimiter, header)
        y, classes = _targets(table)
    X = np.frombuffer(table.inputs, dtype=np.float64).reshape(len(y), -1)
    return Dataset(
        X=X,
        y=y,
        name=Path(path).name.split(".")[0],
        task="classification" if table.classify else "regression",
        feature_names=tuple(table.names),
        source=os.fspath(path),
        classes=classes,
        sha256=digest(path),
    )


@dataclass
class _Table:
    """The columns, as far as they were read."""

    names: list[str]
    label_name: str
    classify: bool
    inputs: array.array[float] = field(default_factory=lambda: array.array("d"))
    targets: list[str] = field(default_factory=list)


def _read(
    file: BinaryIO, label: int | str, task: str, delimiter: str | None, header: bool | None
) -> _Table:
    lines = _lines(file)
    sample = list(islice(lines, _SAMPLE))
    rows = _rows(chain(sample, lines), delimiter or _sniffed(sample))
    top = list(islice(rows, 2))
    if not top:
        raise ValueError("it is empty")
    if header is None:
        header = _has_names(*(cells for _, cells in top))
    names = top.pop(0)[1] if header else list(numbered(len(top[0][1])))
    if not top:
        raise ValueError("it has no rows")
    position = _position(label, names, header)
    others = [name for index, name in enumerate(names) if index != position]
    table = _Table(others, names[position], task == "classification")
    if task == "auto":
        start = top[0][1]
        table.classify = position < len(start) and not _is_number(start[position])
    for number, (line, cells) in enumerate(chain(top, rows), start=1):
        _add(table, cells, position, f"row {number} (line {line})")
    return table


def _lines(file: BinaryIO) -> Iterator[str]:
    # Lines come one by one and bounded: a compressed file may hold far more than its size tells.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    size = 0
    while line := text.readline(_LONGEST_LINE):
        size += len(line)
        if len(line) == _LONGEST_LINE or size > MAX_BYTES:
            raise ValueError(f"it has lines over {_LONGEST_LINE} or text over {MAX_BYTES} letters")
        yield line
    text.detach()


def _rows(lines: Iterator[str] | list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    if delimiter == " ":
        lines = (line.strip().replace("\t", " ") for line in lines)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    for cells in reader:
        if len(cells) > 1 or any(map(str.strip, cells)):
            yield reader.line_num, [cell.strip() for cell in cells]


def _sniffed(lines: list[str]) -> str:
    """Return the delimiter that cuts the lines into equally many cells, most of them numbers."""
    best, most = ",", 0.0
    for delimiter in _DELIMITERS:
        try:
            rows = [cells for _, cells in _rows(lines, delimiter)]
        except csv.Error:
            continue
        if len({len(cells) for cells in rows}) != 1 or len(rows[0]) < 2:
            continue
        cells = [cell for row in rows for cell in row]
        share = 1.0 + sum(map(_is_number, cells)) / len(cells)
        if share > most:
            best, most = delimiter, share
    return best


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python would read 1_000


def _has_names(first: list[str], second: list[str] | None = None) -> bool:
    if second is None:
        return not any(map(_is_number, first))
    pairs = zip(first, second, strict=False)
    return any(
        not _is_number(above) and above.lower() not in _MISSING and _is_number(below)
        for above, below in pairs
    )


def _position(label: int | str, names: list[str], header: bool) -> int:
    if len(names) < 2:
        raise ValueError(f"it has the single column {names[0]!r}, expected inputs and a label")
    if isinstance(label, str):
        if names.count(label) != 1 or not header:
            found = ", ".join(names) if header else "no names"
            raise ValueError(f"label is {label!r}, but the columns have {found}")
        return names.index(label)
    if not -len(names) <= label < len(names):
        raise ValueError(f"label is {label}, but there are {len(names)} columns")
    return label % len(names)


def _add(table: _Table, cells: list[str], position: int, place: str) -> None:
    if len(cells) != len(table.names) + 1:
        raise ValueError(f"{place} has {len(cells)} cells, expected {len(table.names) + 1}")
    target = cells.pop(position)
    table.inputs.extend(_numbers(cells, table.names, place))
    if not table.classify:
        _number(target, table.label_name, place)
    elif target.lower() in _MISSING:
        raise ValueError(f"{place}, column {table.label_name!r} is {target!r}, a missing value")
    table.targets.append(target)


def _numbers(cells: list[str], names: list[str], place: str) -> list[float]:
    try:
        values = list(map(float, cells))
    except ValueError:
        values = [math.nan]
    if all(map(math.isfinite, values)) and "_" not in "".join(cells):
        return values
    return [_number(cell, name, place) for name, cell in zip(names, cells, strict=True)]


def _number(cell: str, name: str, place: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and "_" not in cell:
        return value
    if cell.lower() in _MISSING:
        raise ValueError(f"{place}, column {name!r} is {cell!r}, a missing value")
    raise ValueError(f"{place}, column {name!r} is {cell!r}, expected a finite number")


def _targets(table: _Table) -> tuple[Array, tuple[str, ...]]:
    if not table.classify:
        return np.array(table.targets, dtype=np.float64), ()
    if all(map(_is_number, table.targets)):
        values, found = np.unique(np.array(table.targets, dtype=np.float64), return_inverse=True)
        classes = tuple(str(int(v)) if v.is_integer() else repr(v) for v in values.tolist())
    else:
        texts, found = np.unique(table.targets, return_inverse=True)
        classes = tuple(map(str, texts))
    if len(classes) < 2:
        raise ValueError(f"column {table.label_name!r} has the single class {classes[0]!r}")
    return labels(found, len(classes)), classes
