"""Bounds and times of eclipse-nn beside certificates, on random ReLU networks.

``python bench/peers/eclipse_bounds.py`` with ``pip install eclipse-nn`` (0.1.7) prints the table
and writes ``bench/results/eclipse_nn.json``. ECLipsE solves one semidefinite program per layer
through cvxpy, ECLipsE-Fast has a closed form per layer; neither counts rounding. auto-LiRPA has no
row: the release on PyPI (0.3, of 2022) cannot be imported beside NumPy 2.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from eclipse_nn.LipConstEstimator import LipConstEstimator

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import lipgd
from tables import duration, table

RESULTS = Path(__file__).resolve().parents[1] / "results" / "eclipse_nn.json"
#: Sizes, and whether a semidefinite program per layer ends within minutes.
NETWORKS: list[tuple[list[int], bool]] = [
    ([4, 80, 1], True),
    ([10, 200, 3], True),
    ([20] * 6, True),
    ([20] * 11, True),
    ([100] * 11, False),
    ([500] * 11, False),
]


def timed(call: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Return a value and the median of its times."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        value = float(call())
        times.append(time.perf_counter() - begin)
    return value, statistics.median(times)


def row(sizes: list[int], slow: bool) -> dict[str, Any]:
    """Return bounds relative to the product of norms, and times."""
    net = lipgd.Network.create(sizes, activation="relu", init="lecun_normal", seed=0)
    weights = [torch.tensor(matrix, dtype=torch.float64) for matrix in net.weights]
    product = lipgd.lipschitz.upper(net, "product").value
    tolerance = 1e-4 if len(sizes) < 4 else 1e-3
    found = timed(lambda: lipgd.lipschitz.upper(net, tolerance=tolerance).value, 3)
    fast = timed(lambda: LipConstEstimator(weights=weights).estimate("ECLipsE_Fast"), 3)
    best = None
    if slow:
        best = timed(lambda: LipConstEstimator(weights=weights).estimate("ECLipsE"), 1)
    name = "-".join(map(str, sizes)) if len(sizes) < 4 else f"{len(sizes) - 1} x {sizes[0]}"
    return {
        "network": name,
        "lipgd": found[0] / product,
        "lipgd_seconds": found[1],
        "fast": fast[0] / product,
        "fast_seconds": fast[1],
        "eclipse": None if best is None else best[0] / product,
        "eclipse_seconds": None if best is None else best[1],
    }


def main() -> None:
    """Measure in one thread, print and write."""
    torch.set_num_threads(1)
    rows = [row(*network) for network in NETWORKS]
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    cells = []
    for entry in rows:
        line = [entry["network"]]
        for name in ("lipgd", "fast", "eclipse"):
            value = entry[name]
            line += ["-" if value is None else f"{value:.4g}", duration(entry[f"{name}_seconds"])]
        cells.append(line)
    print(table(["network", "lipgd", "time", "ECLipsE-Fast", "time", "ECLipsE", "time"], cells))


if __name__ == "__main__":
    main()
