"""Answers first, then times: the engines take turns, so that a slow minute hits all of them."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from problem import Problem, XorProblem, start
from worker import Engine, EngineError, Worker

REFERENCE = Engine("NumPy loop", "numpy_loop")

#: Largest difference to the reference, relative to how far each parameter array moved. Rounding the
#: parameters once a step is allowed on top: in float32 it can be most of a small update.
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}

#: Rest between measurements, in which the thread pools that just worked go to sleep.
REST = 0.03
#: A measurement takes so many steps at least.
FEWEST_STEPS = 10


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    threads: int = 2
    rounds: int = 7
    seconds: float = 0.3


@dataclass
class Measurement:
    """What one engine did on one problem; ``error`` says why there is nothing."""

    engine: str
    steps: int = 0
    times: list[float] | None = None  # seconds per step, one for each round
    difference: float | None = None
    peak_memory: int | None = None
    idle_share: float = 0.0  # largest share of a processor used while another engine was timed
    error: str | None = None

    @property
    def median(self) -> float | None:
        """Return the median time of a step."""
        return statistics.median(self.times) if self.times else None

    @property
    def spread(self) -> float | None:
        """Return half the distance of the quartiles, relative to the median."""
        if not self.times or len(self.times) < 2:
            return None
        low, middle, high = statistics.quantiles(self.times, n=4, method="inclusive")
        return (high - low) / 2 / middle


def prepare_process(threads: int) -> None:
    """Give this process and its children ``threads`` processors, and pools of that size."""
    os.sched_setaffinity(0, _processors(threads))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    # Else torch.compile keeps a pool of compiler processes.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"


def _processors(threads: int) -> set[int]:
    """Choose one processor of each core before the second ones of any."""
    allowed = os.sched_getaffinity(0)
    if threads > len(allowed):
        raise SystemExit(f"threads is {threads}, but this process may use {len(allowed)}")
    first: list[int] = []
    second: list[int] = []
    for cpu in sorted(allowed):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        text = siblings.read_text() if siblings.exists() else str(cpu)
        lowest = int(text.replace("-", ",").split(",")[0])
        (first if lowest == cpu or lowest not in allowed else second).append(cpu)
    return set((first + second)[:threads])


@contextmanager
def opened(
    engines: Sequence[Engine], problem: Problem | XorProblem, threads: int, failed: dict[str, str]
) -> Iterator[list[Worker]]:
    """Start a worker for every engine; those that cannot start are noted in ``failed``."""
    workers: list[Worker] = []
    try:
        for engine in engines:
            try:
                workers.append(Worker(engine, problem, threads))
            except EngineError as error:
                failed[engine.title] = str(error)
        yield workers
    finally:
        for worker in workers:
            worker.close()


def reference(engine: Engine, problem: Problem | XorProblem, threads: int) -> list[Any]:
    """Return the parameters after the check's steps, made by the reference."""
    worker = Worker(engine, problem, threads)
    try:
        return worker.parameters(problem.check_steps)
    finally:
        worker.close()


def difference(
    result: Sequence[Any], expected: Sequence[Any], initial: Sequence[Any], steps: int
) -> tuple[float, float]:
    """Return |result - expected| / |expected - initial| and what it may be, of the worst array."""
    worst = (0.0, 1.0)
    for got, want, begin in zip(result, expected, initial, strict=True):
        moved = np.linalg.norm(want - begin.astype(np.float64))
        rounding = 0.5 * np.finfo(got.dtype).eps * steps * np.linalg.norm(want)
        allowed = float(TOLERANCE[got.dtype.name] + rounding / moved)
        error = float("nan")
        if got.shape == want.shape:
            error = float(np.linalg.norm(got.astype(np.float64) - want) / moved)
        if not error <= allowed:
            return error, allowed
        worst = max(worst, (error, allowed), key=lambda pair: pair[0] / pair[1])
    return worst


def check(
    workers: Sequence[Worker], problem: Problem | XorProblem, threads: int, engine: Engine
) -> dict[str, float]:
    """Compare all engines with the reference; a wrong one ends the bench."""
    expected = reference(engine, problem, threads)
    initial = start(problem).initial
    differences = {}
    for worker in workers:
        got = worker.parameters(problem.check_steps)
        if any(array.dtype != problem.dtype for array in got):
            raise SystemExit(f"{worker.engine.title} does not compute in {problem.dtype}")
        steps, title = problem.check_steps, worker.engine.title
        error, allowed = difference(got, expected, initial, steps)
        if not error <= allowed:
            raise SystemExit(
                f"{problem.label}: {title} differs from the reference by {error:.1e} "
                f"of the way after {steps} steps, allowed {allowed:.1e}"
            )
        differences[title] = error
    return differences


def calibrate(worker: Worker, seconds: float) -> int:
    """Return the number of steps that takes about ``seconds``, and leave the engine warm for it.

    Long steps are repeated too, so that what a training costs once hardly counts.
    """
    steps = 1
    while True:
        worker.seconds(steps)  # compiles, if the number of steps is part of the program
        elapsed = worker.seconds(steps)
        wanted = max(round(seconds * steps / elapsed), FEWEST_STEPS)
        if elapsed > seconds / 4 or steps >= wanted:
            break
        steps = min(wanted, 16 * steps)
    if wanted != steps:
        worker.seconds(wanted)
    return wanted


def measure(
    engines: Sequence[Engine],
    problem: Problem | XorProblem,
    settings: Settings,
    only_check: bool = False,
    reference_engine: Engine = REFERENCE,
) -> dict[str, Measurement]:
    """Return a measurement for every engine, by title."""
    failed: dict[str, str] = {}
    with opened(engines, problem, settings.threads, failed) as workers:
        results = {engine.title: Measurement(engine.title) for engine in engines}
        for title, reason in failed.items():
            results[title].error = reason
        for title, error in check(workers, problem, settings.threads, reference_engine).items():
            results[title].difference = error
        for worker in workers:
            results[worker.engine.title].peak_memory = worker.peak_memory()
        if not only_check:
            for worker in workers:
                results[worker.engine.title].steps = calibrate(worker, settings.seconds)
            for _ in range(settings.rounds):
                _play_round(workers, results)
    return results


def _play_round(workers: Sequence[Worker], results: dict[str, Measurement]) -> None:
    for worker in workers:
        time.sleep(REST)
        result = results[worker.engine.title]
        others = [other for other in workers if other is not worker]
        before = [other.processor_seconds() for other in others]
        elapsed = worker.seconds(result.steps)
        result.times = (result.times or []) + [elapsed / result.steps]
        for other, used in zip(others, before, strict=True):
            idle = results[other.engine.title]
            idle.idle_share = max(idle.idle_share, (other.processor_seconds() - used) / elapsed)


def note(text: str) -> None:
    """Tell how far the bench is."""
    print(text, file=sys.stderr, flush=True)
