"""What do the coefficients of the Lipschitz dynamics of a PyTorch module cost?

    python bench/torch_dynamics.py [--rounds N] [--threads N]

One evaluation of ``lipgd.torch.coefficients`` of a five-layer ConvNet over all its samples, next to
PyTorch's own forward and backward over the same blocks of them, in turns. Times are those of the
processor, since the two alternate on it. At most 3 times forward and backward are asked for on top.
Writes ``results/torch_dynamics.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

from harness import prepare_process
from machine import facts
from tables import duration, table

if TYPE_CHECKING:
    from torch import nn

RESULTS = Path(__file__).resolve().parent / "results" / "torch_dynamics.json"
#: Pixels of a side, channels, samples: the digits, and images of the size of CIFAR.
SHAPES = ((8, 1, 1500), (32, 3, 512))
MOST_ON_TOP = 3.0
BLOCK = 256


def convnet(size: int, channels: int) -> nn.Module:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def measured(size: int, channels: int, samples: int, kind: str, rounds: int) -> dict[str, Any]:
    import torch
    from torch import nn

    import lipgd.torch

    warnings.simplefilter("ignore")  # of kernels as matrices
    dtype = getattr(torch, kind)
    model = convnet(size, channels).to(dtype)
    x = torch.randn(samples, channels, size, size, dtype=dtype)
    y = torch.randint(10, (samples,))
    loss = nn.CrossEntropyLoss()

    def plain() -> None:
        for first in range(0, samples, BLOCK):
            rows = slice(first, first + BLOCK)
            loss(model(x[rows]), y[rows]).backward()

    def reshaped() -> None:
        lipgd.torch.coefficients(model, loss, x, y, batch_size=32, rate=0.1, block_size=BLOCK)

    times: dict[str, list[float]] = {"plain": [], "reshaped": []}
    for function in (plain, reshaped):
        function()
    for _ in range(rounds):
        for function in (plain, reshaped):
            begin = process_time()
            function()
            times[function.__name__].append(process_time() - begin)
    middle = {name: statistics.median(each) for name, each in times.items()}
    return {
        "shape": [samples, channels, size, size],
        "dtype": kind,
        "times": times,
        "on_top": middle["reshaped"] / middle["plain"] - 1.0,
        "most": MOST_ON_TOP,
        **middle,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    prepare_process(options.threads)
    machine = facts(options.threads)
    # A process of its own, in which NumPy and PyTorch find how many threads they may have.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = [
            pool.submit(measured, *shape, kind, options.rounds).result()
            for shape in SHAPES
            for kind in ("float32", "float64")
        ]
    rows = [
        [
            f"{' x '.join(map(str, row['shape']))}, {row['dtype']}",
            duration(row["plain"]),
            duration(row["reshaped"]),
            f"{row['on_top']:.2f} <= {MOST_ON_TOP:g} "
            f"{'yes' if row['on_top'] <= MOST_ON_TOP else 'NO'}",
        ]
        for row in found
    ]
    print(table(["samples", "forward and backward", "coefficients", "on top"], rows))
    machine["load_at_end"] = os.getloadavg()[0]
    RESULTS.write_text(json.dumps({"machine": machine, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
