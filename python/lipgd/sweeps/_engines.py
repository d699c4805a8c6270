"""Where cells run: here, on threads, in other processes, or where joblib has them."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lipgd.sweeps._grid import Arguments, Cells
from lipgd.sweeps._workers import are_possible, in_words, run_on_workers

__all__ = ["Outcomes", "run_cells"]

#: Arguments in, a row out.
Task = Callable[..., dict[str, Any]]
#: Positions of cells and their arguments.
Batch = tuple[Sequence[int], Arguments]
#: Cells go to workers in batches of about so many seconds: handing one over takes milliseconds.
_BATCH_SECONDS = 0.25
#: Shorter runs spend too much of their time under the lock of the interpreter for threads.
_LEAST_THREAD_SECONDS = 3e-3
#: Starting processes takes about so long; less work is done at once.
_START_SECONDS = 0.5
#: What is done here first, to see how long a cell takes: two at least, if the first was no longer
#: than this, since it may have had to import what all need.
_PILOT_SECONDS = 0.01
_FIRST_SECONDS = 0.2
#: A batch takes at most this part of what is left for a worker, so that none waits long at the end,
#: but no fewer cells than take so many seconds.
_PART = 2
_LEAST_BATCH_SECONDS = 0.01
#: Batches per worker that backends are asked for which answer when all are done.
_ASKED = 4


@dataclass
class Outcomes:
    """What some cells returned or raised.

    Columns cost less than an object per cell, on their way here and in the collections of garbage.
    """

    #: The positions of the cells that returned a row, and their rows.
    positions: list[int] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    #: What others raised, by their positions.
    errors: dict[int, str] = field(default_factory=dict)
    #: How long all took together.
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.rows) + len(self.errors)


def run_cells(
    task: Task, cells: Cells, waiting: Sequence[int], jobs: int, threads_suit: bool
) -> Iterator[Outcomes]:
    """Run a task on some cells, by their positions, and yield what comes of them in any order."""
    if not waiting:
        return
    chosen = _chosen_backend()
    if chosen is not None:
        yield from _on_backend(task, cells, waiting, *chosen)
        return
    limit = math.inf if jobs == 1 else _PILOT_SECONDS
    done, seconds = yield from _in_turn(task, cells, waiting, limit)
    if done == len(waiting):
        return
    jobs = min(jobs, len(waiting) - done)
    batches = _batches(cells, waiting[done:], seconds, jobs)
    if threads_suit and seconds >= _LEAST_THREAD_SECONDS:
        with ThreadPoolExecutor(jobs) as pool:
            yield from _pooled(pool, task, batches, jobs)
    elif seconds * (len(waiting) - done) < _START_SECONDS:
        for batch in batches:
            yield run_batch(task, batch)
    elif are_possible():
        yield from run_on_workers(partial(run_batch, task), batches, jobs)
    else:
        yield from _joblib(task, batches, jobs)


def _in_turn(
    task: Task, cells: Cells, waiting: Sequence[int], limit: float
) -> Generator[Outcomes, None, tuple[int, float]]:
    """Run cells here until the time is over; return how many, and the seconds of the shortest."""
    outcomes = Outcomes()
    done, shortest, began = 0, math.inf, time.perf_counter()
    yielded = began
    try:
        while done < len(waiting):
            now = time.perf_counter()
            if now - began >= limit and (done > 1 or (done == 1 and shortest > _FIRST_SECONDS)):
                break
            if now - yielded >= _BATCH_SECONDS:
                yield outcomes
                outcomes, yielded = Outcomes(), time.perf_counter()
            before = outcomes.seconds
            _run(task, _batch(cells, waiting[done : done + 1]), outcomes)
            shortest = min(shortest, outcomes.seconds - before)
            done += 1
    except KeyboardInterrupt:
        yield outcomes
        raise
    yield outcomes
    return done, shortest


def _on_backend(
    task: Task, cells: Cells, waiting: Sequence[int], jobs: int, workers: int
) -> Iterator[Outcomes]:
    """Run cells where the caller chose: some to see how long one takes, then batches."""
    first, rest = waiting[:workers], waiting[workers:]
    seconds = math.inf
    for outcomes in _joblib(task, [_batch(cells, [position]) for position in first], jobs):
        seconds = min(seconds, outcomes.seconds)
        yield outcomes
    if rest:
        yield from _joblib(task, _batches(cells, rest, seconds, workers), jobs)


def run_batch(task: Task, batch: Batch) -> Outcomes:
    """Run some cells, one after the other."""
    outcomes = Outcomes()
    _run(task, batch, outcomes)
    return outcomes


def _run(task: Task, batch: Batch, outcomes: Outcomes) -> None:
    """Run some cells, and add what comes of each when it is done."""
    positions, arguments = batch
    names, began = tuple(arguments), time.perf_counter()
    for position, *values in zip(positions, *arguments.values(), strict=True):
        try:
            row = task(**dict(zip(names, values, strict=True)))
        except (Exception, SystemExit) as problem:  # one bad cell must not cost the others
            outcomes.errors[position] = in_words(problem)
        else:
            outcomes.rows.append(row)
            outcomes.positions.append(position)
    outcomes.seconds += time.perf_counter() - began


def _batches(cells: Cells, waiting: Sequence[int], seconds: float, jobs: int) -> Iterator[Batch]:
    """Yield batches of cells that take about so long, ever smaller ones towards the end."""
    most = max(1, math.ceil(_BATCH_SECONDS / max(seconds, 1e-6)))
    least = math.ceil(_LEAST_BATCH_SECONDS / max(seconds, 1e-6))
    while waiting:
        size = min(most, max(least, len(waiting) // (_PART * jobs)))
        yield _batch(cells, waiting[:size])
        waiting = waiting[size:]


def _batch(cells: Cells, positions: Sequence[int]) -> Batch:
    return positions, cells.arguments(positions)


def _chosen_backend() -> tuple[int, int] | None:
    """Return what joblib calls the number of jobs, and how many workers these are.

    None if the caller has chosen no backend with joblib.parallel_config.
    """
    if "joblib" not in sys.modules:  # to import it takes longer than many a sweep
        return None
    try:
        from joblib import effective_n_jobs
        from joblib.parallel import get_active_backend
    except ImportError:
        return None
    backend, jobs = get_active_backend()
    if type(backend).__name__ == "LokyBackend" and jobs in (None, 1):
        return None
    # Some backends take no number for one worker, others for all of them.
    jobs = -1 if jobs is None else int(jobs)
    return jobs, max(1, int(effective_n_jobs(jobs)))


def _joblib(task: Task, batches: Iterable[Batch], jobs: int) -> Iterator[Outcomes]:
    try:
        from joblib import Parallel, delayed, effective_n_jobs
        from joblib.parallel import get_active_backend
    except ImportError:
        yield from _processes(task, batches, jobs)
        return
    calls = (delayed(run_batch)(task, batch) for batch in batches)
    if get_active_backend()[0].supports_return_generator:
        options = {"return_as": "generator_unordered", "batch_size": 1}
        yield from Parallel(n_jobs=jobs, **options)(calls)
        return
    # Such a backend, like that of Ray, answers when all is done: it is asked a little at a time, so
    # that what is finished reaches the disk.
    some = _ASKED * max(1, int(effective_n_jobs(jobs)))
    with Parallel(n_jobs=jobs, batch_size=1) as workers:
        while chunk := list(itertools.islice(calls, some)):
            yield from workers(chunk)


def _processes(task: Task, batches: Iterable[Batch], jobs: int) -> Iterator[Outcomes]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from _pooled(pool, task, batches, jobs)


def _pooled(pool: Executor, task: Task, batches: Iterable[Batch], jobs: int) -> Iterator[Outcomes]:
    """Keep two batches per worker in a pool, so that little is lost when it ends early."""
    waiting = iter(batches)
    running = set()
    try:
        for batch in waiting:
            running.add(pool.submit(run_batch, task, batch))
            if len(running) < 2 * jobs:
                continue
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        for future in running:
            future.cancel()
