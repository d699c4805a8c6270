"""How much of two cores do sweeps of short runs use?

    python bench/sweep_efficiency.py [--rounds N]

Runs of about 5 ms and of about 0.2 ms, as trainings and as functions of Python, with and without a
folder for the finished cells. The efficiency is the time of a plain loop over all runs in this
process, without a sweep, over twice the time of a sweep with two workers: medians of rounds, loops
and sweeps in turns. Workers that must be started first are started before the clock. What is asked
for: 0.9 for runs of 5 ms, 0.8 for runs of 0.2 ms, in which trainings take one step if a machine has
no time for more. Beside it stands what two plain loops reach that run at once, each over half of
the runs in a process of its own with nothing to hand over: less than one where cores share caches,
or a host with others. Writes ``results/sweep_efficiency.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import lipgd
from lipgd.sweeps._settings import Trainings
from tables import table

RESULTS = Path(__file__).resolve().parent / "results" / "sweep_efficiency.json"
X = np.random.default_rng(0).normal(size=(100, 5))
Y = np.sin(X[:, 0])
#: What runs, how many milliseconds it takes, how many of them, and what is asked for.
CASES = (
    ("training", 5.0, 400, 0.9),
    ("function", 5.0, 400, 0.9),
    ("training", 0.2, 4000, 0.8),
    ("function", 0.2, 8000, 0.8),
)


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
        return Trainings({**settings, "steps": steps})(0)

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


def measured(task: Any, grid: dict[str, list[Any]], rounds: int) -> dict[str, list[float]]:
    """Return times of a plain loop, of two at once, of sweeps, and of sweeps with a folder."""
    times: dict[str, list[float]] = {"loop": [], "two loops": [], "in memory": [], "on disk": []}
    cell = task if callable(task) else Trainings(task)
    names = list(grid)
    arguments = [
        {**dict(zip(names, values, strict=True)), "seed": 0}
        for values in itertools.product(*grid.values())
    ]
    halves = [(cell, arguments[::2]), (cell, arguments[1::2])]
    with get_context("spawn").Pool(2) as pool:
        for number in range(rounds + 1):
            times["loop"].append(plain(halves[0]) + plain(halves[1]))
            times["two loops"].append(max(pool.map(plain, halves, chunksize=1)))
            times["in memory"].append(timed(lipgd.sweep, task, grid, jobs=2))
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                times["on disk"].append(timed(lipgd.sweep, task, grid, jobs=2, out=folder))
            if number == 0:  # processes started
                times = {name: [] for name in times}
    return times


def plain(runs: tuple[Any, list[dict[str, Any]]]) -> float:
    """Return how long a plain loop takes."""
    cell, arguments = runs
    return timed(lambda: [cell(**given) for given in arguments])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    load = os.getloadavg()
    found = []
    for kind, milliseconds, runs, wanted in CASES:
        task, grid = case(kind, milliseconds, runs)
        times = measured(task, grid, options.rounds)
        loop_seconds = statistics.median(times["loop"])
        at_once = statistics.median(times["two loops"])
        for where in ("in memory", "on disk"):
            two = statistics.median(times[where])
            names = {"kind": kind, "ms": milliseconds, "runs": runs, "where": where}
            facts = {"loop": loop_seconds, "two": two, "efficiency": loop_seconds / (2 * two)}
            facts |= {"possible": loop_seconds / (2 * at_once)}
            found.append({**names, "wanted": wanted, **facts, "times": times})
    rows = [
        [
            f"{row['runs']:,} x {row['ms']:g} ms, {row['kind']}, {row['where']}",
            f"{row['loop']:.2f}",
            f"{row['two']:.2f}",
            f"{row['efficiency']:.1%}",
            f"{row['possible']:.1%}",
            f"{row['wanted']:.0%}",
        ]
        for row in found
    ]
    header = ["sweep", "loop, s", "2 workers, s", "efficiency", "two loops", "asked for"]
    print(table(header, rows))
    RESULTS.write_text(json.dumps({"load": load, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
