"""How long do certificates take, how close are they to LipSDP-Neuron, and what costs following one?

Times are medians over rounds in this process on one core, with rounding counted; the targets stand
beside them. Values and times of cvxpy come from ``results/lipsdp_cvxpy.json``, which
``peers/cvxpy_lipsdp.py`` writes: a bound is to be at most 1e-4 above the solver's value, and the
solver's value is no bound itself, so that it may be above ours by what the solver leaves. The ratio
is to LipSDP as its authors state it; the column before the last has what cvxpy takes for the same
optimum as the smallest largest eigenvalue of K(theta), the form that the certificate uses.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lipgd
from certified_networks import cases
from harness import Settings, note
from tables import duration, table

ACTIVATIONS = ("silu", "relu", "tanh", "gelu")
CVXPY = Path(__file__).resolve().parents[1] / "results" / "lipsdp_cvxpy.json"

#: Sizes, tolerance of the gap, and the target in seconds.
SPEED: list[tuple[list[int], float, float]] = [
    ([10, 500, 1], 1e-4, 1e-3),
    ([784, 2000, 10], 1e-4, 0.5),
    ([50, 10000, 1], 1e-4, 0.2),
    ([50, 10000, 10], 1e-4, 0.2),
    ([500] * 11, 1e-3, 2.0),
    ([20] * 101, 1e-3, 2.0),
]
#: How often cvxpy's time is asked to be that of a certificate, at the width 200.
CVXPY_RATIO = 1e4
#: The share of the time that the proof may add.
PROOF = 0.5
#: Samples, sizes and steps of the training that follows the bound, and what that may cost in steps.
FOLLOWED, FOLLOWED_STEPS, FOLLOWED_TARGET = (500, [10, 500, 1]), 1200, 1.0


def run(activation: str, only: list[str], engines: list[str], settings: Settings) -> dict[str, Any]:
    """Measure, print the tables and return everything as plain data."""
    speed = [
        _speed(sizes, tolerance, target, activation, settings)
        for sizes, tolerance, target in SPEED
        if not only or any(_name(sizes).startswith(start) for start in only)
    ]
    print(f"\nCertificates of random networks, {activation}, on one core\n")
    header = ["network", "gap", "time", "target", "proof adds", "of the product"]
    print(table(header, [_speed_cells(row) for row in speed]))
    answer: dict[str, Any] = {"speed": speed}
    if not only:
        answer["cvxpy"] = _against_cvxpy(settings)
        answer["norm"] = _norm(settings)
        answer["record"] = _record(activation, settings)
    return answer


def check(activation: str, only: list[str], engines: list[str], settings: Settings) -> None:
    """Compare the bounds with the values of cvxpy, without timing anything."""
    for row in _against_cvxpy(Settings(1, 1, 0.0)):
        assert -1e-4 <= row["above"] <= 1e-4, row


def _name(sizes: list[int]) -> str:
    if len(sizes) <= 4:
        return "-".join(map(str, sizes))
    return f"{len(sizes) - 1} layers of {sizes[1]}"


def _median(call: Callable[[], Any], settings: Settings) -> float:
    """Return the median time of a call; short ones are repeated within a round."""
    begin = time.perf_counter()
    call()
    once = time.perf_counter() - begin
    repeats = max(1, min(200, math.ceil(settings.seconds / max(once, 1e-6) / 3)))
    times = []
    for _ in range(settings.rounds):
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        times.append((time.perf_counter() - begin) / repeats)
    return statistics.median(times)


def _speed(
    sizes: list[int], tolerance: float, target: float, activation: str, settings: Settings
) -> dict[str, Any]:
    note(f"{_name(sizes)} {activation} ...")
    net = lipgd.Network.create(sizes, activation=activation, init="lecun_normal", seed=0)
    bound = lipgd.lipschitz.upper

    def certificate(rigorous: bool = True) -> Any:
        return bound(net, rigorous=rigorous, tolerance=tolerance)

    found = certificate()
    lowest = found.bracket[0] if found.bracket else math.nan
    return {
        "network": _name(sizes),
        "tolerance": tolerance,
        "target": target,
        "gap": 1.0 - lowest / found.value,
        "seconds": _median(certificate, settings),
        "seconds_without_proof": _median(lambda: certificate(False), settings),
        "of_product": found.value / bound(net, "product").value,
    }


def _speed_cells(row: dict[str, Any]) -> list[str]:
    reached = "yes" if row["seconds"] <= row["target"] else "NO"
    proof = row["seconds"] / row["seconds_without_proof"] - 1.0
    return [
        row["network"],
        f"{row['gap']:.1e}",
        duration(row["seconds"]),
        f"{duration(row['target'])} {reached}",
        f"{100 * proof:.0f} % {'yes' if proof <= PROOF else 'NO'}",
        f"{row['of_product']:.3g}",
    ]


def _against_cvxpy(settings: Settings) -> list[dict[str, Any]]:
    """Return values and times beside those of the table."""
    known = {row["name"]: row for row in json.loads(CVXPY.read_text())["rows"]}
    rows = []
    for case in cases():
        peer = known.get(case.name)
        if peer is None or peer["value"] is None:
            continue
        net = case.network()
        found = lipgd.lipschitz.upper(net)
        seconds = _median(lambda net=net: lipgd.lipschitz.upper(net), settings)
        rows.append(
            {
                "network": case.name,
                "width": case.width,
                "value": found.value,
                "cvxpy": peer["value"],
                "above": found.value / peer["value"] - 1.0,
                "seconds": seconds,
                "cvxpy_seconds": peer["seconds"],
                "ratio": peer["seconds"] / seconds,
                "eigenvalue_seconds": peer["value_seconds"],
                "solver": peer["solver"],
            }
        )
    print("\nAgainst LipSDP-Neuron through cvxpy\n")
    header = ["network", "above", "time", "cvxpy", "ratio", "cvxpy on K", "solver"]
    print(table(header, map_cells(rows)))
    wide = [row["ratio"] for row in rows if row["width"] == 200]
    if wide:
        print(f"\nMedian ratio at width 200: {statistics.median(wide):.3g} >= {CVXPY_RATIO:.3g}")
    return rows


def map_cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of the table with cvxpy."""
    return [
        [
            row["network"],
            f"{row['above']:+.1e}",
            duration(row["seconds"]),
            duration(row["cvxpy_seconds"]),
            f"{row['ratio']:.3g}",
            duration(row["eigenvalue_seconds"]),
            row["solver"],
        ]
        for row in rows
    ]


def _norm(settings: Settings) -> dict[str, Any]:
    """Return the times of a spectral norm at 1000 x 1000."""
    from scipy.sparse.linalg import svds

    A = np.random.default_rng(0).normal(size=(1000, 1000))
    times = {
        "lipgd": _median(lambda: lipgd.spectral_norm(A), settings),
        "numpy": _median(lambda: np.linalg.norm(A, 2), settings),
        "svds": _median(lambda: svds(A, k=1, return_singular_vectors=False), settings),
    }
    print("\nSpectral norm of a 1000 x 1000 matrix, a bracket of 1e-6 against numbers\n")
    cells = [
        [name, duration(seconds), f"{seconds / times['lipgd']:.2f}"]
        for name, seconds in times.items()
    ]
    print(table(["", "time", "ratio"], cells))
    return times


def _record(activation: str, settings: Settings) -> dict[str, Any]:
    """Return the steps' worth of time that following the tight bound costs, median of rounds."""
    rows = {}
    for dtype in ("float64", "float32"):
        note(f"record of the bound, {activation}, {dtype} ...")
        plain, ratios = [], []
        for _ in range(settings.rounds):
            without, with_it = (
                _training(activation, dtype, record, settings.threads)
                for record in ([], ["lipschitz_upper_sdp"])
            )
            plain.append(without / FOLLOWED_STEPS)
            ratios.append(with_it / without - 1.0)
        rows[dtype] = {"step": statistics.median(plain), "record": statistics.median(ratios)}
    threads = "one thread" if settings.threads == 1 else f"{settings.threads} threads"
    print(f"\nThe bound at every step of 500 samples, 10-500-1, {activation}, {threads}\n")
    cells = [
        [
            dtype,
            duration(row["step"]),
            f"{row['record']:.2f} steps",
            "yes" if row["record"] <= FOLLOWED_TARGET else "NO",
        ]
        for dtype, row in rows.items()
    ]
    print(table(["", "step", "the record adds", f"<= {FOLLOWED_TARGET:g}"], cells))
    return rows


def _training(activation: str, dtype: str, record: list[str], n_threads: int) -> float:
    n_samples, sizes = FOLLOWED
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (n_samples, sizes[0])).astype(dtype)
    y = (np.sin(3.0 * X[:, 0]) + 0.1 * rng.standard_normal(n_samples)).astype(dtype)
    net = lipgd.Network.create(sizes, activation=activation, dtype=dtype, seed=1)
    begin = time.perf_counter()
    lipgd.train(net, X, y, rate=0.02, steps=FOLLOWED_STEPS, record=record, n_threads=n_threads)
    return time.perf_counter() - begin
