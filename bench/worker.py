"""One process per engine, which stays alive between measurements and works only when asked.

Thread pools of different libraries never share a process, and a pool that spins while it should be
idle is seen: ``processor_seconds`` of the idle workers is read around every measurement.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from problem import Problem, XorProblem, start

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Engine:
    """A file of ``peers/`` and the extra arguments of its ``prepare``."""

    title: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)


class EngineError(Exception):
    """An engine could not be imported or failed."""


class Worker:
    """A process that prepared one engine for one problem."""

    def __init__(self, engine: Engine, problem: Problem | XorProblem, threads: int) -> None:
        self.engine = engine
        self._connection, child = _SPAWN.Pipe()
        arguments = (child, engine, problem, threads)
        self._process = _SPAWN.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        child.close()
        try:
            self._receive()
        except EngineError:
            self.close()
            raise

    def parameters(self, steps: int) -> list[Any]:
        """Train from the start and return the parameters."""
        result: list[Any] = self._ask("parameters", steps)
        return result

    def seconds(self, steps: int) -> float:
        """Train from the start and return the time it took."""
        return float(self._ask("seconds", steps))

    def peak_memory(self) -> int:
        """Return the peak of the first training in bytes, above the process with its imports."""
        return int(self._ask("peak_memory", 0))

    def processor_seconds(self) -> float:
        """Return the processor time that the process's live threads have used so far."""
        total = 0
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            try:
                total += int((thread / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue  # the thread ended between the two calls
        return total * 1e-9

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()

    def _ask(self, command: str, steps: int) -> Any:
        self._connection.send((command, steps))
        return self._receive()

    def _receive(self) -> Any:
        try:
            failed, answer = self._connection.recv()
        except EOFError:
            failed, answer = True, "the process died"
        if failed:
            raise EngineError(f"{self.engine.title}: {answer}")
        return answer


def _serve(
    connection: Connection, engine: Engine, problem: Problem | XorProblem, threads: int
) -> None:
    try:
        session = _Session(engine, problem, threads)
        connection.send((False, None))
        while True:
            command, steps = connection.recv()
            connection.send((False, getattr(session, command)(steps)))
    except EOFError:
        pass  # the harness closed its end
    except BaseException:
        connection.send((True, traceback.format_exc(limit=-3)))
    finally:
        # Without the exit handlers of the libraries, which may wait for their own threads.
        os._exit(0)


class _Session:
    """The commands of a worker."""

    def __init__(self, engine: Engine, problem: Problem | XorProblem, threads: int) -> None:
        prepare = importlib.import_module(f"peers.{engine.module}").prepare
        self._baseline = _resident("VmRSS")
        self._peak: int | None = None
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to the present size
        arguments = start(problem).arguments(problem, threads)
        self._train: Callable[[int], list[Any]] = prepare(*arguments, **engine.options)

    def parameters(self, steps: int) -> list[Any]:
        result = self._train(steps)
        if self._peak is None:
            self._peak = _resident("VmHWM") - self._baseline
        return result

    def seconds(self, steps: int) -> float:
        begin = perf_counter()
        self._train(steps)
        return perf_counter() - begin

    def peak_memory(self, _: int) -> int | None:
        return self._peak


def _resident(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")
