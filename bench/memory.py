"""How much memory of its own does training need on data that is larger than it should hold?

Ten million rows of 20 columns (1.6 GB in float64) come from a memory-mapped ``.npy`` file and train
a network of width 200 for a few steps. Counted is the anonymous resident memory (RssAnon) of a
fresh process, sampled while it trains: pages of the mapped file belong to the system's cache, not
to the process. Less than 300 MB are asked for. Linux only.

    python bench/memory.py --folder /var/tmp
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

COLUMNS = 20
WIDTH = 200
CHUNK = 100_000
LIMIT = 300e6
INTERVAL = 0.002


def write_data(folder: Path, rows: int) -> None:
    """Write X.npy and y.npy piece by piece."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float64, (rows, COLUMNS))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.float64, (rows,))
    for begin in range(0, rows, CHUNK):
        block = rng.standard_normal((min(CHUNK, rows - begin), COLUMNS))
        X[begin : begin + CHUNK] = block
        y[begin : begin + CHUNK] = np.sin(block.sum(axis=1))
    X.flush()
    y.flush()


def anonymous_memory() -> int:
    """Return this process's RssAnon in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon")


class Sampler(threading.Thread):
    """Keeps the largest RssAnon that it sees."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = anonymous_memory()
        self.samples = 0
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(INTERVAL):
            self.peak = max(self.peak, anonymous_memory())
            self.samples += 1

    def stop(self) -> None:
        self._done.set()
        self.join()
        self.peak = max(self.peak, anonymous_memory())


def fit(folder: Path, steps: int, threads: int | None) -> dict[str, Any]:
    """Train from the files and return what was seen; runs in a process of its own."""
    import lipgd

    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "Xy")
    network = lipgd.Network.create([COLUMNS, WIDTH, 1], activation="silu", init="he_normal", seed=0)
    before = anonymous_memory()
    sampler = Sampler()
    sampler.start()
    begin = perf_counter()
    run = lipgd.train(network, X, y, rate=1e-3, steps=steps, n_threads=threads)
    seconds = perf_counter() - begin
    sampler.stop()
    risk = run.history["risk"]
    return {
        "before": before,
        "peak": sampler.peak,
        "samples": sampler.samples,
        "seconds": seconds,
        "risk": (float(risk[0]), float(risk[-1])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the temporary files go (1.7 GB)")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: all that the process may use")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        write_data(Path(folder), options.rows)
        seen = pool.submit(fit, Path(folder), options.steps, options.threads).result()
    if not seen["risk"][1] < seen["risk"][0]:
        raise SystemExit(f"the risk did not fall: {seen['risk']}")
    data = options.rows * (COLUMNS + 1) * 8
    print(f"{options.rows} rows x {COLUMNS} columns ({data / 1e6:.0f} MB), width {WIDTH}")
    print(
        f"{options.steps} steps in {seen['seconds']:.1f} s, risk {seen['risk'][0]:.4f} -> "
        f"{seen['risk'][1]:.4f}"
    )
    print(
        f"anonymous memory before {seen['before'] / 1e6:.1f} MB, peak {seen['peak'] / 1e6:.1f} MB "
        f"of {seen['samples']} samples < {LIMIT / 1e6:.0f} MB "
        f"{'yes' if seen['peak'] < LIMIT else 'NO'}"
    )


if __name__ == "__main__":
    main()
