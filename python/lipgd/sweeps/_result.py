"""The table that comes out of a sweep."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lipgd._files import atomic_writer

__all__ = ["SweepResult"]


class SweepResult(Sequence[dict[str, Any]]):
    """The rows of a sweep in the order of its grid: what each cell was given, and what it gave.

    Parameters
    ----------
    rows : sequence of dict
        One per finished cell, by column name.
    failures : sequence of dict, optional
        Cells that raised: what they were given, and ``error``.
    complete : bool
        Whether all cells ran.

    Examples
    --------
    >>> import lipgd
    >>> def area(width, height, seed):
    ...     return {"area": width * height}
    >>> table = lipgd.sweep(area, {"width": [1, 2], "height": [3]})
    >>> table[1]
    {'width': 2, 'height': 3, 'seed': 0, 'area': 6}
    >>> table.column("area")
    [3, 6]
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        failures: Sequence[dict[str, Any]] = (),
        complete: bool = True,
    ) -> None:
        self._rows = list(rows)
        self.failures = list(failures)
        self.complete = complete

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in the order in which they first come."""
        return tuple(dict.fromkeys(name for row in self._rows for name in row))

    def column(self, name: str) -> list[Any]:
        """Return one column, None where a row does not have it."""
        if name not in self.columns:
            raise KeyError(f"column is {name!r}, but the table has {', '.join(self.columns)}")
        return [row.get(name) for row in self._rows]

    def __getitem__(self, index: Any) -> Any:
        """Return a row, or the rows of a slice."""
        chosen = self._rows[index]
        return [dict(row) for row in chosen] if isinstance(index, slice) else dict(chosen)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(row) for row in self._rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SweepResult):
            return NotImplemented
        # Texts, so that a number that is not a number equals itself.
        return repr(self._rows) == repr(other._rows)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        state = "" if self.complete else ", interrupted"
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"SweepResult({len(self)} rows{failed}{state}: {', '.join(self.columns)})"

    def to_pandas(self) -> Any:
        """Return the table as a pandas.DataFrame, one row per cell.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError('to_pandas needs pandas: pip install "lipgd[pandas]"') from error
        return pandas.DataFrame(self._rows, columns=list(self.columns))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a file, which is replaced as a whole or not at all.

        Parameters
        ----------
        path : path-like
            Ends in ``.csv``, or in ``.parquet`` (with pandas and pyarrow), in which a column that
            has both text and numbers, or integers beyond 64 bits, is one of text.

        Raises
        ------
        ValueError
            If the path ends in anything else.
        ImportError
            If what writes the file is not installed.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".csv":
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows([row.get(name) for name in self.columns] for row in self._rows)
            content = text.getvalue().encode()
        elif suffix == ".parquet":
            content = self._parquet()
        else:
            raise ValueError(
                f"path is {str(path)!r}, expected a name that ends in .csv or .parquet"
            )
        with atomic_writer(path) as file:
            file.write(content)

    def _parquet(self) -> bytes:
        table = self.to_pandas()
        for name in self.columns:
            values = [row.get(name) for row in self._rows]
            if not _is_one_type(values):
                texts = [None if value is None else str(value) for value in values]
                table[name] = texts
        try:
            content: bytes = table.to_parquet(index=False)
        except ImportError as error:
            raise ImportError(
                "save needs pyarrow or fastparquet for files of Parquet: pip install pyarrow"
            ) from error
        return content


def _is_one_type(values: list[Any]) -> bool:
    """Whether a column of a file with types can hold all of these."""
    kinds = {type(value) for value in values} - {type(None)}
    if int in kinds and not all(-(2**63) <= v < 2**63 for v in values if type(v) is int):
        return False
    return len(kinds) <= 1 or kinds == {int, float}
