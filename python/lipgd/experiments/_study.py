"""The parts of an experiment: trainings to make, and what to show and say of their table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lipgd.experiments._rows import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Claim", "Findings", "Job", "Picture", "Request", "Study", "TableOf"]

#: Makes rows of the table of a study. It runs in a thread of its own and uses no other.
Job: TypeAlias = Callable[[], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Request:
    """What a user asks of an experiment.

    Attributes
    ----------
    quick : bool
        Fewer and shorter trainings.
    data : pathlib.Path or None
        A folder with data sets that do not come with a package.
    seeds : int or None
        Seeds of whatever is repeated; None leaves it to each part.
    """

    quick: bool = False
    data: Path | None = None
    seeds: int | None = None

    def pick(self, full: Any, quick: Any) -> Any:
        """Return the setting of a full or of a quick run."""
        return quick if self.quick else full

    def repeats(self, full: int, quick: int) -> range:
        """Return the seeds of a part: as many as the user says, or these."""
        return range(self.pick(full, quick) if self.seeds is None else self.seeds)


@dataclass(frozen=True)
class TableOf:
    """A table to show, and to write to ``tables/NAME.csv`` in full.

    Attributes
    ----------
    name : str
        The name of the file.
    rows : Rows
        The table.
    caption : str
        What it shows, with units.
    headings : mapping of str to str
        Words for columns whose names are not good enough.
    """

    name: str
    rows: Rows
    caption: str
    headings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure to show, and to write as PNG, SVG and CSV to ``figures/NAME``.

    Attributes
    ----------
    name : str
        The name of the files.
    figure : matplotlib.figure.Figure
        The figure.
    rows : Rows
        The numbers that it shows.
    caption, alt : str
        The text below, and what is to be seen.
    """

    name: str
    figure: Figure
    rows: Rows
    caption: str
    alt: str


@dataclass(frozen=True)
class Claim:
    """Something that was seen or proved elsewhere, beside what is seen here.

    Attributes
    ----------
    name : str
        Where it comes from.
    expected, seen : str
        In words; ``seen`` has the numbers.
    agrees : bool or None
        Whether they agree; None if the numbers cannot tell.
    """

    name: str
    expected: str
    seen: str
    agrees: bool | None


@dataclass(frozen=True)
class Findings:
    """What a table shows.

    Attributes
    ----------
    blocks : sequence of str, TableOf or Picture
        The section of the page: a string is a paragraph.
    answers : sequence of str
        Sentences for the top of the page.
    claims : sequence of Claim
        Rows of the comparison.
    """

    blocks: Sequence[str | TableOf | Picture]
    answers: Sequence[str] = ()
    claims: Sequence[Claim] = ()


@dataclass(frozen=True)
class Study:
    """A part of an experiment.

    Attributes
    ----------
    name : str
        The name of the file with all rows, ``rows/NAME.csv``.
    heading : str
        The heading of the section.
    jobs : sequence of callable
        They make the rows.
    show : callable
        Maps the table of all rows to what it shows.
    """

    name: str
    heading: str
    jobs: Sequence[Job]
    show: Callable[[Rows], Findings]
