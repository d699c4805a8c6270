"""How much of two cores do sweeps of short runs use?

    python bench/sweep_efficiency.py [--rounds N]

400 runs of about 5 ms and 8,000 of about 0.2 ms, as trainings and as functions of Python, with and
without a folder for the finished cells. The efficiency is the time of one worker in this process
over twice that of two workers, medians of rounds in turns. Workers that must be started first are
started before the clock. What is asked for: 0.9 for runs of 5 ms, 0.8 for runs of 0.2 ms. Writes
``results/sweep_efficiency.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import lipgd
from tables import table

RESULTS = Path(__file__).resolve().parent / "results" / "sweep_efficiency.json"
X = np.random.default_rng(0).normal(size=(100, 5))
Y = np.sin(X[:, 0])
#: Milliseconds of a run, how many of them, and what is asked for.
SIZES = ((5.0, 400, 0.9), (0.2, 8000, 0.8))


def loop(index: int, turns: int, seed: int) -> dict[str, float]:
    """Do nothing useful for a while that depends on the turns alone."""
    total = 0.0
    for turn in range(turns):
        total += turn * 1e-9
    return {"total": total + index}


def case(kind: str, milliseconds: float, runs: int) -> tuple[Any, dict[str, list[Any]]]:
    """Return a task and its grid, so that one run takes so long here."""
    if kind == "function":
        turns = calibrated(lambda n: loop(0, n, 0), 1000, milliseconds)
        return loop, {"index": list(range(runs)), "turns": [turns]}
    settings: dict[str, Any] = {"X": X, "y": Y, "hidden": 30, "rate": 0.01}

    def train(steps: int) -> Any:
        return lipgd.sweep({**settings, "steps": steps}, {"momentum": [0.0]}, jobs=1)

    steps = calibrated(train, 10, milliseconds)
    rates = [float(rate) for rate in np.linspace(0.0, 0.5, runs)]
    return {**settings, "steps": steps}, {"momentum": rates}


def calibrated(function: Any, start: int, milliseconds: float) -> int:
    """Return the argument for which a function takes so long."""
    count = start
    for _ in range(4):
        function(count)
        seconds = min(timed(function, count) for _ in range(5))
        count = max(1, int(count * milliseconds * 1e-3 / seconds))
    return count


def timed(function: Any, *arguments: Any, **options: Any) -> float:
    begin = perf_counter()
    function(*arguments, **options)
    return perf_counter() - begin


def measured(task: Any, grid: dict[str, list[Any]], stored: bool, rounds: int) -> dict[str, Any]:
    times: dict[int, list[float]] = {1: [], 2: []}
    lipgd.sweep(task, grid, jobs=2)
    for _ in range(rounds):
        for jobs, seen in times.items():
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                out = folder if stored else None
                seen.append(timed(lipgd.sweep, task, grid, jobs=jobs, out=out))
    one, two = (statistics.median(times[jobs]) for jobs in (1, 2))
    return {"times": times, "efficiency": one / (2 * two), "one": one, "two": two}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    load = os.getloadavg()
    found = []
    for milliseconds, runs, wanted in SIZES:
        for kind in ("training", "function"):
            task, grid = case(kind, milliseconds, runs)
            for stored in (False, True):
                result = measured(task, grid, stored, options.rounds)
                names = {"kind": kind, "ms": milliseconds, "runs": runs, "stored": stored}
                found.append({**names, "wanted": wanted, **result})
    rows = [
        [
            f"{row['runs']:,} x {row['ms']:g} ms, {row['kind']}" + ", on disk" * row["stored"],
            f"{row['one']:.2f}",
            f"{row['two']:.2f}",
            f"{row['efficiency']:.1%}",
            f"{row['wanted']:.0%}",
        ]
        for row in found
    ]
    print(table(["sweep", "1 worker, s", "2 workers, s", "efficiency", "asked for"], rows))
    RESULTS.write_text(json.dumps({"load": load, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
