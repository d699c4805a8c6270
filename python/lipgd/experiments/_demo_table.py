"""The table of the demo: one row per training."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lipgd import report
from lipgd._files import atomic_writer

__all__ = ["Demo", "Row", "accuracy", "write_table"]

_KEY = """\
train, test: risk at the end; acc.: test accuracy
Lip: Lipschitz constant, lower value (over the training samples)..certified upper value"""


@dataclass(frozen=True)
class Row:
    """One training of the demo.

    Attributes
    ----------
    data_set, schedule, loss, status : str
        What was trained, with which rate, and how it ended.
    train_risk, test_risk : float
        At the end.
    test_accuracy : float or None
        Share of the test part with the right sign; None for regression.
    lipschitz_lower_start, lipschitz_upper_start, lipschitz_lower_end, lipschitz_upper_end : float
        Largest Jacobian norm over the training samples, and the certified upper value.
    steps : int
        Steps taken.
    seconds, steps_per_second : float
        The time of the training, recording included.
    """

    data_set: str
    schedule: str
    loss: str
    status: str
    train_risk: float
    test_risk: float
    test_accuracy: float | None
    lipschitz_lower_start: float
    lipschitz_upper_start: float
    lipschitz_lower_end: float
    lipschitz_upper_end: float
    steps: int
    seconds: float
    steps_per_second: float


@dataclass(frozen=True)
class Demo:
    """What :func:`demo` returns; printed, a table.

    Attributes
    ----------
    folder : pathlib.Path
        Where the files are.
    rows : tuple of Row
        The trainings.
    status : str
        ``"finished"``, ``"diverged"`` (one of them did) or ``"interrupted"``.
    """

    folder: Path
    rows: tuple[Row, ...]
    status: str

    def __str__(self) -> str:
        columns = ("data set", "rate", "train", "test", "acc.", "Lip start", "Lip end")
        lines = [
            (
                row.data_set,
                row.schedule,
                row.train_risk,
                row.test_risk,
                accuracy(row),
                f"{row.lipschitz_lower_start:.2f}..{row.lipschitz_upper_start:.2f}",
                f"{row.lipschitz_lower_end:.2f}..{row.lipschitz_upper_end:.2f}",
                f"{row.seconds:.2f}",
                round(row.steps_per_second),
            )
            for row in self.rows
        ]
        return f"{report.text_table((*columns, 'seconds', 'steps/s'), lines)}\n\n{_KEY}"


def accuracy(row: Row) -> str | None:
    """Return the test accuracy as text."""
    return None if row.test_accuracy is None else f"{row.test_accuracy:.3f}"


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV, in digits that give back the same numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    writer.writerows(asdict(row).values() for row in rows)
    with atomic_writer(path) as file:
        file.write(text.getvalue().encode())
