"""Do many short trainings from Python threads scale with the cores?

2,000 trainings of 50 steps (150 samples, width 200, 5 inputs), submitted to a pool of one and of
two Python threads, in turns. With ``n_threads=1`` two Python threads should need at most 0.6 of the
time of one; with the default every training may use all cores itself.

    python bench/concurrency.py
"""

from __future__ import annotations

import argparse
import statistics
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

import lipgd
from problem import Problem, start

PROBLEM = Problem(150, 200, 5, "float64")
DISTINCT = 50
TARGET = 0.6


class Workload:
    """Trainings on the same data from different networks."""

    def __init__(self, trainings: int, steps: int) -> None:
        self.trainings, self.steps = trainings, steps
        self.given = start(PROBLEM)
        sizes = [PROBLEM.inputs, PROBLEM.width, 1]
        self.networks = [
            lipgd.Network.create(
                sizes, activation=PROBLEM.activation, init="lecun_normal", seed=seed
            )
            for seed in range(DISTINCT)
        ]

    def train(self, index: int, n_threads: int | None) -> Any:
        """Return the network after training number ``index``."""
        return lipgd.train(
            self.networks[index % DISTINCT],
            self.given.X,
            self.given.y,
            rate=self.given.rate,
            steps=self.steps,
            record=(),
            n_threads=n_threads,
        ).network

    def seconds(self, workers: int, n_threads: int | None) -> float:
        """Return the time of all trainings on a pool of ``workers`` Python threads."""
        with ThreadPoolExecutor(workers) as pool:
            begin = perf_counter()
            for _ in pool.map(lambda index: self.train(index, n_threads), range(self.trainings)):
                pass
            return perf_counter() - begin

    def check(self, n_threads: int | None) -> None:
        """Compare the networks trained two at a time with those trained alone, bit by bit."""
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(lambda index: self.train(index, n_threads), range(DISTINCT)))
        for index, network in enumerate(together):
            alone = self.train(index, n_threads)
            pairs = zip(network.weights, alone.weights, strict=True)
            if not all(np.array_equal(a, b) for a, b in pairs):
                raise SystemExit(f"training {index} gave other bits beside another one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    workload = Workload(options.trainings, options.steps)
    for n_threads in (1, None):
        workload.check(n_threads)
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.rounds):
            for workers, seen in times.items():
                seen.append(workload.seconds(workers, n_threads))
        one, two = (statistics.median(times[workers]) for workers in (1, 2))
        line = f"n_threads={n_threads}: {one:.2f} s on 1, {two:.2f} s on 2, ratio {two / one:.2f}"
        if n_threads == 1:
            line += f" <= {TARGET} {'yes' if two / one <= TARGET else 'NO'}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
