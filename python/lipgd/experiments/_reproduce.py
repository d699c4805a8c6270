"""Running the studies of an experiment side by side, and writing one page of what they show."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lipgd
from lipgd import plotting, report
from lipgd._progress import ProgressBar
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Study, TableOf

__all__ = ["Reproduction", "reproduce_studies", "run_jobs"]

_AGREES = {True: "yes", False: "no", None: "cannot tell"}


@dataclass(frozen=True)
class Reproduction:
    """What :func:`lipgd.experiments.reproduce` returns; printed, its answers.

    Attributes
    ----------
    folder : pathlib.Path
        Where the files are.
    answers : tuple of str
        What the tables say, in words.
    claims : tuple of Claim
        What was to be seen, beside what is seen.
    status : str
        ``"finished"`` or ``"interrupted"``: then only the finished parts were written.
    """

    folder: Path
    answers: tuple[str, ...]
    claims: tuple[Claim, ...]
    status: str

    def __str__(self) -> str:
        claims = (
            f"{claim.name} (agrees: {_AGREES[claim.agrees]})\n  expected: {claim.expected}\n"
            f"  seen: {claim.seen}"
            for claim in self.claims
        )
        return "\n\n".join([*self.answers, *claims])


def run_jobs(
    studies: Sequence[Study], jobs: int, bar: ProgressBar | None
) -> tuple[dict[str, Rows], bool]:
    """Run the jobs of all studies in threads.

    Returns the tables of the studies whose jobs all ended, rows in the order of the jobs, and
    whether Ctrl-C came before the end.
    """
    pool = ThreadPoolExecutor(jobs)
    futures = {study.name: [pool.submit(job) for job in study.jobs] for study in studies}
    every: list[Future[Sequence[Mapping[str, Any]]]] = [
        f for part in futures.values() for f in part
    ]
    interrupted = False
    try:
        for done, future in enumerate(as_completed(every), 1):
            future.result()
            if bar is not None:
                bar.show(done, None)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    tables = {
        name: Rows.of(row for future in part for row in future.result())
        for name, part in futures.items()
        if not any(future.cancelled() for future in part)
    }
    return tables, interrupted


def reproduce_studies(
    title: str,
    words: str,
    studies: Sequence[Study],
    folder: str | os.PathLike[str],
    command: str,
    jobs: int,
    progress: bool,
) -> Reproduction:
    """Run the studies and write ``report.html``, tables and figures to a folder."""
    plotting.panels(1)  # a missing library is known before any work
    target = Path(folder)
    for name in ("figures", "tables", "rows"):
        (target / name).mkdir(parents=True, exist_ok=True)
    count = sum(len(study.jobs) for study in studies)
    bar = ProgressBar(count, title, "trainings") if progress else None
    tables, interrupted = run_jobs(studies, jobs, bar)
    if bar is not None:
        bar.close()
    found = {}
    for study in studies:
        if study.name in tables:
            tables[study.name].write(target / "rows" / f"{study.name}.csv")
            found[study.heading] = study.show(tables[study.name])
    answers = tuple(text for part in found.values() for text in part.answers)
    claims = tuple(claim for part in found.values() for claim in part.claims)
    status = "interrupted" if interrupted else "finished"
    result = Reproduction(target, answers, claims, status)
    report.save(target / "report.html", _page(title, words, found, result, command))
    return result


def _page(
    title: str, words: str, found: Mapping[str, Findings], result: Reproduction, command: str
) -> str:
    if result.status == "interrupted":
        words = f"{words} The run was interrupted: parts that had not ended are missing."
    sections: dict[str, list[str | report.Html]] = {}
    if result.answers:
        sections["In short"] = list(result.answers)
    if result.claims:
        sections["Expected and seen"] = _comparison(result.claims)
    for heading, part in found.items():
        sections[heading] = [_block(result.folder, block, command) for block in part.blocks]
    sections["Files"] = [
        "Beside this page: rows has everything that was measured; tables has the tables of this "
        "page in full digits; figures has the pictures as PNG and SVG, and the numbers that they "
        "show as CSV."
    ]
    sections["How it was made"] = [_setting(command)]
    return report.page(title, sections, lead=words)


def _comparison(claims: Sequence[Claim]) -> list[str | report.Html]:
    """Return the claims as paragraphs, for a table of long texts is hard to read."""
    counts = [sum(claim.agrees is kind for claim in claims) for kind in (True, False, None)]
    lead = (
        f"Of {len(claims)} statements, {counts[0]} agree with the numbers here, {counts[1]} do "
        f"not, and {counts[2]} cannot be told."
    )
    table = report.table(
        ["statement", "agrees"],
        [(claim.name, _AGREES[claim.agrees]) for claim in claims],
        caption="What was expected, and whether it is seen here",
    )
    details = [
        f"{claim.name} ({_AGREES[claim.agrees]}). Expected: {claim.expected} Seen: {claim.seen}"
        for claim in claims
    ]
    return [lead, table, *details]


def _block(folder: Path, block: str | TableOf | Picture, command: str) -> str | report.Html:
    """Write what has files, and return the block of the page."""
    if isinstance(block, TableOf):
        block.rows.write(folder / "tables" / f"{block.name}.csv")
        headings = [block.headings.get(c, c.replace("_", " ")) for c in block.rows.columns]
        cells = [[_shown(value) for value in row] for row in block.rows.cells]
        return report.table(headings, cells, caption=block.caption, command=command)
    if isinstance(block, Picture):
        path = folder / "figures" / block.name
        plotting.save(block.figure, path)
        block.rows.write(path.with_suffix(".csv"))
        svg = path.with_suffix(".svg")
        return report.figure(svg, alt=block.alt, caption=block.caption, command=command)
    return block


def _shown(value: Any) -> Any:
    """Return a value of a table as readers see it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if isinstance(value, float) and math.isnan(value) else value


def _setting(command: str) -> report.Html:
    config = asdict(lipgd.show_config())
    shown = ("version", "level", "compiler", "eigen", "threads", "python", "numpy", "platform")
    return report.table(
        ["what", "value"],
        [("command", command), *((name, str(config[name])) for name in shown)],
        caption="The installation and the machine",
        command="lipgd info",
    )
