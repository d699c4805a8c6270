"""What do the coefficients of the Lipschitz dynamics cost, and what the companion of every step?

A 64-64-32-10 network on 1500 digits in float64. The coefficients, with their diagonal parts, are
compared with PyTorch: gradients of all samples by ``torch.func.vmap(grad)``, then dense algebra; at
least 8 times faster and 5 times less memory are asked for, and about 10 ms on one core (section 14
of dynamics.md, item 11): the coefficients use one whatever PyTorch uses. The companion follows the
leading singular pairs at every step of a training with batches of 64; at most 10 % are asked for,
of the processor's time on one thread. Engines are processes of their own and take turns.
"""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from harness import REST, Settings, note
from tables import duration, megabytes, table, verdict

ACTIVATIONS = ("silu", "relu")
ENGINES = ("lipgd_coefficients", "torch_coefficients")
FASTER, SMALLER, COMPANION, SECONDS = 8.0, 5.0, 0.1, 0.01
SAMPLES, BATCH, RATE = 1500, 64, 0.1
#: Steps of one measured training, and of the training that the weights come from.
STEPS, BEFORE = 2000, 200
#: Of the largest number of each kind.
TOLERANCE = 1e-9

_state: dict[str, Any] = {}


def run(activation: str, only: list[str], engines: list[str], settings: Settings) -> dict[str, Any]:
    """Measure, print the tables and return everything as plain data."""
    rows = {}
    if not only or "coefficients" in only:
        rows["coefficients"] = _coefficients(activation, settings)
    if not only or "companion" in only:
        rows["companion"] = _companion(activation, settings)
    return rows


def check(activation: str, only: list[str], engines: list[str], settings: Settings) -> None:
    """Compare the engines' answers, without timing anything."""
    with _pools(activation, settings) as pools:
        _compare(pools)


class _pools:
    """One process per engine."""

    def __init__(self, activation: str, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        arguments = _problem(activation)
        self.pools = {
            engine: ProcessPoolExecutor(
                1, context, _prepare, (engine, arguments, activation, settings.threads)
            )
            for engine in ENGINES
        }

    def __enter__(self) -> dict[str, ProcessPoolExecutor]:
        return self.pools

    def __exit__(self, *_: object) -> None:
        for pool in self.pools.values():
            pool.shutdown()


def _problem(activation: str) -> tuple[Any, ...]:
    """Return weights, biases, samples and labels of a network that has trained for a while."""
    import lipgd

    data = lipgd.data.load("digits")
    X, y = data.X[:SAMPLES], data.y[:SAMPLES]
    X = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-8)
    net = lipgd.Network.create([64, 64, 32, 10], activation=activation, init="torch", seed=0)
    net = lipgd.train(
        net, X, y, loss="cross_entropy", rate=RATE, steps=BEFORE, batch_size=BATCH
    ).network
    return [w.copy() for w in net.weights], [b.copy() for b in net.biases], X, y


def _prepare(engine: str, arguments: tuple[Any, ...], activation: str, threads: int) -> None:
    prepare = importlib.import_module(f"peers.{engine}").prepare
    _state["evaluate"] = prepare(
        *arguments, activation=activation, batch_size=BATCH, rate=RATE, threads=threads
    )


def _answer() -> tuple[dict[str, Any], int]:
    """Return the first answer and the memory that it took above the process with its imports."""
    baseline = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to the present size
    answer = _state["evaluate"]()
    return answer, _resident("VmHWM") - baseline


def _resident(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def _seconds(repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        _state["evaluate"]()
    return (time.perf_counter() - begin) / repeats


def _compare(pools: dict[str, ProcessPoolExecutor]) -> dict[str, Any]:
    """Return the memory of each engine and the largest relative difference of their answers."""
    answers = {engine: pool.submit(_answer).result() for engine, pool in pools.items()}
    ours, theirs = (answers[engine][0] for engine in ENGINES)
    worst = 0.0
    for name, values in theirs.items():
        expected = np.array(values)
        worst = max(worst, float(np.abs(ours[name] - expected).max() / np.abs(expected).max()))
    if not worst <= TOLERANCE:
        raise SystemExit(f"the engines differ by {worst:.1e}, allowed {TOLERANCE:.1e}")
    return {
        "memory": {engine: memory for engine, (_, memory) in answers.items()},
        "difference": worst,
    }


def _coefficients(activation: str, settings: Settings) -> dict[str, Any]:
    note(f"coefficients, {activation} ...")
    with _pools(activation, settings) as pools:
        row = _compare(pools)
        once = {engine: pool.submit(_seconds, 2).result() for engine, pool in pools.items()}
        repeats = {e: max(1, round(settings.seconds / seconds)) for e, seconds in once.items()}
        times: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for _ in range(settings.rounds):
            for engine, pool in pools.items():
                time.sleep(REST)
                times[engine].append(pool.submit(_seconds, repeats[engine]).result())
    median = {engine: statistics.median(values) for engine, values in times.items()}
    ours, theirs = ENGINES
    faster = median[theirs] / median[ours]
    smaller = row["memory"][theirs] / max(row["memory"][ours], 1)
    print(f"\nCoefficients of a 64-64-32-10 network, N = {SAMPLES}, {activation}, float64\n")
    cells = [[e, duration(median[e]), megabytes(row["memory"][e])] for e in ENGINES]
    cells.append(["ratio", verdict(faster, FASTER), verdict(smaller, SMALLER)])
    print(table(["", "time", "memory"], cells))
    print(
        f"\nOn one core: {duration(median[ours])}, about {duration(SECONDS)} asked for: "
        f"{'yes' if median[ours] <= SECONDS else 'NO'}"
    )
    return {
        **row,
        "times": times,
        "faster": faster,
        "smaller": smaller,
        "on_one_core": median[ours],
    }


def _companion(activation: str, settings: Settings) -> dict[str, Any]:
    note(f"companion, {activation} ...")
    import lipgd

    weights, biases, X, y = _problem(activation)
    starts = {
        "at initialisation": lipgd.Network.create(
            [64, 64, 32, 10], activation=activation, init="torch", seed=0
        ),
        "trained": lipgd.Network(weights, biases, activation=activation),
    }
    found = {}
    for name, net in starts.items():
        times: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(max(3, settings.rounds)):
            for label, record in (("without", ()), ("with", ("dynamics_first_order",))):
                begin = time.process_time()
                lipgd.train(
                    net, X, y, loss="cross_entropy", rate=RATE, steps=STEPS, batch_size=BATCH,
                    record=record, record_every=STEPS, n_threads=1,
                )  # fmt: skip
                times[label].append((time.process_time() - begin) / STEPS)
        shares = [b / a - 1 for a, b in zip(times["without"], times["with"], strict=True)]
        found[name] = {"times": times, "share": statistics.median(shares)}
    print(f"\nThe companion at every step, batches of {BATCH}, {STEPS} steps, one thread\n")
    cells = [
        [
            name,
            duration(statistics.median(row["times"]["without"])),
            duration(statistics.median(row["times"]["with"])),
            f"{100 * row['share']:.1f} % <= {100 * COMPANION:.0f} % "
            f"{'yes' if row['share'] <= COMPANION else 'NO'}",
        ]
        for name, row in found.items()
    ]
    print(table(["start", "step", "with", "cost"], cells))
    return found
