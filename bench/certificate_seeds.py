"""Do certificates keep to their times on networks of any seed and activation, also trained ones?

``python bench/certificate_seeds.py`` times each shape of ``cases/certificates.py`` for several
activations and seeds, on one core, and prints the slowest beside the target; ``--trained`` adds
networks after some steps on noisy waves. The proof of rounding is timed in turn with none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import lipgd
from cases.certificates import SPEED
from tables import duration, table

RESULTS = Path(__file__).resolve().parent / "results" / "certificate_seeds.json"
ACTIVATIONS = ("relu", "silu", "tanh", "gelu")


def network(sizes: list[int], activation: str, seed: int, trained: bool) -> lipgd.Network:
    """Return a random network, or what a short training makes of it."""
    net = lipgd.Network.create(sizes, activation=activation, init="lecun_normal", seed=seed)
    if not trained:
        return net
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, sizes[0]))
    waves = np.sin(X @ rng.normal(size=(sizes[0], sizes[-1])) / np.sqrt(sizes[0]))
    y = waves + 0.1 * rng.normal(size=waves.shape)
    return lipgd.train(net, X, y, rate=0.02, steps=60, record=()).network


def measure(net: lipgd.Network, tolerance: float) -> dict[str, Any]:
    """Return the times with and without proof, in turns, and the gap."""
    bound = lipgd.lipschitz.upper
    found = bound(net, tolerance=tolerance)
    lowest = found.bracket[0] if found.bracket else float("nan")
    times: dict[bool, list[float]] = {True: [], False: []}
    begin = time.perf_counter()
    bound(net, tolerance=tolerance)
    once = time.perf_counter() - begin
    rounds = 3 if once > 0.1 else 9
    repeats = max(1, min(50, int(0.01 / once)))
    for _ in range(rounds):
        for rigorous, list_of in times.items():
            begin = time.perf_counter()
            for _ in range(repeats):
                bound(net, rigorous=rigorous, tolerance=tolerance)
            list_of.append((time.perf_counter() - begin) / repeats)
    seconds, bare = (statistics.median(times[rigorous]) for rigorous in (True, False))
    return {"gap": 1.0 - lowest / found.value, "seconds": seconds, "proof": seconds / bare - 1.0}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", default="", help="shapes that begin so: 784")
    parser.add_argument("--activation", choices=ACTIVATIONS, nargs="+", default=list(ACTIVATIONS))
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="a line for every network")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for sizes, tolerance, target in SPEED:
        name = "-".join(map(str, sizes)) if len(sizes) < 5 else f"{len(sizes) - 1}x{sizes[1]}"
        if not name.startswith(options.only):
            continue
        for activation in options.activation:
            for seed in range(options.first, options.first + options.seeds):
                for trained in [False, True] if options.trained else [False]:
                    net = network(sizes, activation, seed, trained)
                    row = measure(net, tolerance)
                    row.update(network=name, activation=activation, seed=seed, trained=trained)
                    rows.append({**row, "tolerance": tolerance, "target": target})
                    if options.verbose:
                        print(rows[-1], flush=True)
    cells = []
    for name in dict.fromkeys(row["network"] for row in rows):
        those = [row for row in rows if row["network"] == name]
        slowest = max(those, key=lambda row: row["seconds"])
        cells.append(
            [
                name,
                str(len(those)),
                duration(statistics.median(row["seconds"] for row in those)),
                duration(slowest["seconds"]),
                f"{slowest['activation']} {slowest['seed']}",
                duration(slowest["target"]),
                f"{max(row['gap'] for row in those):.1e}",
                f"{100 * statistics.median(row['proof'] for row in those):.0f} %",
                f"{100 * max(row['proof'] for row in those):.0f} %",
            ]
        )
    header = ["network", "networks", "median", "slowest", "that is", "target"]
    print(table([*header, "largest gap", "proof adds", "at most"], cells))
    if not options.only and options.seeds >= 5:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
