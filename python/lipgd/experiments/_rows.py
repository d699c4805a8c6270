"""Tables of experiments: what was measured, and what is computed from it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd._files import atomic_writer

__all__ = ["Rows", "exponent", "mean"]


@dataclass(frozen=True)
class Rows:
    """A table: columns by name, a tuple per row.

    Attributes
    ----------
    columns : tuple of str
        The names.
    cells : tuple of tuple
        The rows.
    """

    columns: tuple[str, ...]
    cells: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, mappings: Iterable[Mapping[str, Any]]) -> Rows:
        """Return a table of mappings; a column that a row lacks is None there."""
        given = list(mappings)
        columns = tuple(dict.fromkeys(name for row in given for name in row))
        return cls(columns, tuple(tuple(row.get(name) for name in columns) for row in given))

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return a column as an array; missing numbers are NaN."""
        place = self.columns.index(name)
        values = [row[place] for row in self.cells]
        if any(isinstance(value, str) for value in values):
            return np.array(values, dtype=object)
        return np.array([np.nan if value is None else value for value in values])

    def values(self, name: str) -> list[Any]:
        """Return the different values of a column in the order in which they come."""
        place = self.columns.index(name)
        return list(dict.fromkeys(row[place] for row in self.cells))

    def where(self, **equal: Any) -> Rows:
        """Return the rows whose columns have these values."""
        places = {self.columns.index(name): value for name, value in equal.items()}
        kept = (row for row in self.cells if all(row[i] == value for i, value in places.items()))
        return Rows(self.columns, tuple(kept))

    def pick(self, columns: Sequence[str]) -> Rows:
        """Return some of the columns."""
        places = [self.columns.index(name) for name in columns]
        return Rows(tuple(columns), tuple(tuple(row[i] for i in places) for row in self.cells))

    def last(self, by: Sequence[str]) -> Rows:
        """Return the last row of every group of rows with equal values of these columns."""
        places = [self.columns.index(name) for name in by]
        ends = {tuple(row[i] for i in places): row for row in self.cells}
        return Rows(self.columns, tuple(ends.values()))

    def summary(
        self, by: Sequence[str], **numbers: tuple[str, Callable[[npt.NDArray[Any]], Any]]
    ) -> Rows:
        """Return one row per group: the columns that name it, and numbers of its columns.

        Each number is a pair of a column and a function of its values, ``mean=("risk", np.mean)``.
        """
        places = [self.columns.index(name) for name in by]
        groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        for row in self.cells:
            groups.setdefault(tuple(row[i] for i in places), []).append(row)
        cells = []
        for key, rows in groups.items():
            part = Rows(self.columns, tuple(rows))
            found = (function(part[name]) for name, function in numbers.values())
            cells.append((*key, *(_plain(value) for value in found)))
        return Rows((*by, *numbers), tuple(cells))

    def write(self, path: Path) -> None:
        """Write CSV, in digits that give back the same numbers."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.cells)
        with atomic_writer(path) as file:
            file.write(text.getvalue().encode())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def exponent(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the exponent of the power of x that fits y best: the slope of logarithms.

    Points where y is not above 0 or not finite do not count; with fewer than two it is NaN.
    """
    across, up = np.asarray(x, float), np.asarray(y, float)
    good = np.isfinite(up) & (up > 0) & (across > 0)
    if len(np.unique(across[good])) < 2:
        return float("nan")
    return float(np.polyfit(np.log(across[good]), np.log(up[good]), 1)[0])


def mean(values: npt.ArrayLike) -> float:
    """Return the mean of the numbers that are not NaN, NaN if there are none."""
    numbers = np.asarray(values, float)
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if known.size else float("nan")
