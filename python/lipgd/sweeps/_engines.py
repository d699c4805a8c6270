"""Where cells run: in this process, on its threads, or in processes of joblib's backends."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from typing import Any

from lipgd.sweeps._grid import Arguments, Cells

__all__ = ["Outcome", "run_cells"]

#: Arguments in, a row out.
Task = Callable[..., dict[str, Any]]
#: Positions of cells and their arguments.
Batch = tuple[Sequence[int], Arguments]
#: A cell that ran: its position, its row or what it raised, seconds. Tuples reach other processes
#: sooner than objects with names.
Outcome = tuple[int, dict[str, Any] | None, str | None, float]
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


def run_cells(
    task: Task, cells: Cells, waiting: Sequence[int], jobs: int, threads_suit: bool
) -> Iterator[list[Outcome]]:
    """Run a task on the cells at some positions, and yield the outcomes in batches, in any order."""
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
    batches = _batches(cells, waiting[done:], seconds, jobs)
    if threads_suit and seconds >= _LEAST_THREAD_SECONDS:
        with ThreadPoolExecutor(jobs) as pool:
            yield from _pooled(pool, task, batches, jobs)
    elif seconds * (len(waiting) - done) < _START_SECONDS:
        for batch in batches:
            yield run_batch(task, batch)
    else:
        yield from _joblib(task, batches, jobs)


def _in_turn(
    task: Task, cells: Cells, waiting: Sequence[int], limit: float
) -> Generator[list[Outcome], None, tuple[int, float]]:
    """Run cells here until the time is over; return how many, and the seconds of the shortest."""
    batch: list[Outcome] = []
    done, shortest, began = 0, math.inf, time.perf_counter()
    yielded = began
    try:
        while done < len(waiting):
            now = time.perf_counter()
            if now - began >= limit and (done > 1 or (done == 1 and shortest > _FIRST_SECONDS)):
                break
            if now - yielded >= _BATCH_SECONDS:
                yield batch
                batch, yielded = [], time.perf_counter()
            batch += run_batch(task, _batch(cells, waiting[done : done + 1]))
            shortest = min(shortest, batch[-1][-1])
            done += 1
    except KeyboardInterrupt:
        yield batch
        raise
    yield batch
    return done, shortest


def _on_backend(
    task: Task, cells: Cells, waiting: Sequence[int], jobs: int, workers: int
) -> Iterator[list[Outcome]]:
    """Run cells where the caller chose: some to see how long one takes, then batches."""
    first, rest = waiting[:workers], waiting[workers:]
    seconds = math.inf
    for outcomes in _joblib(task, [_batch(cells, [position]) for position in first], jobs):
        seconds = min(seconds, *(spent for *_, spent in outcomes))
        yield outcomes
    if rest:
        yield from _joblib(task, _batches(cells, rest, seconds, workers), jobs)


def run_batch(task: Task, batch: Batch) -> list[Outcome]:
    """Run some cells, one after the other."""
    positions, arguments = batch
    outcomes, names = [], tuple(arguments)
    for position, *values in zip(positions, *arguments.values(), strict=True):
        began = time.perf_counter()
        try:
            row, error = task(**dict(zip(names, values, strict=True))), None
        except Exception as problem:  # one bad cell must not cost the others
            row, error = None, f"{type(problem).__name__}: {problem}"
        outcomes.append((position, row, error, time.perf_counter() - began))
    return outcomes


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


def _joblib(task: Task, batches: Iterable[Batch], jobs: int) -> Iterator[list[Outcome]]:
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


def _processes(task: Task, batches: Iterable[Batch], jobs: int) -> Iterator[list[Outcome]]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from _pooled(pool, task, batches, jobs)


def _pooled(
    pool: Executor, task: Task, batches: Iterable[Batch], jobs: int
) -> Iterator[list[Outcome]]:
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
