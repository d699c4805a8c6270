"""Are the bounds those that other tools publish for their example weights?

``LIPGD_EXAMPLE_WEIGHTS=folder python bench/published.py`` with the files of the table in the folder
prints and writes ``bench/results/published_weights.json``. The files are not part of this project:
``lipsdp_random_weights.mat`` and ``lipsdp_mnist_weights.mat`` are
``examples/saved_weights/{random,mnist}_weights.mat`` of github.com/arobey1/LipSDP, and
``eclipse_lyr2n80test1.npz`` has the matrices of ``lyr2n80test1`` of the demo of
github.com/YuezhuXu/ECLipsE (both under the licence of MIT).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import lipgd
from tables import duration, table

RESULTS = Path(__file__).resolve().parent / "results" / "published_weights.json"

#: File, what was published, its value, whether that is a ratio to the product of norms, and whether
#: it is the optimum of LipSDP-Neuron.
PUBLISHED: list[tuple[str, str, float, bool, bool]] = [
    ("lipsdp_random_weights.mat", "LipSDP-Neuron (Robey et al.)", 36.482, False, True),
    ("lipsdp_random_weights.mat", "LipSDP-Layer (Robey et al.)", 39.839, False, False),
    ("lipsdp_mnist_weights.mat", "LipSDP-Neuron (solved by cvxpy)", 24.36635, False, True),
    ("lipsdp_mnist_weights.mat", "formal constant (branch and bound)", 24.29922, False, False),
    ("lipsdp_mnist_weights.mat", "coupled neurons, no bound (Robey et al.)", 24.320, False, False),
    ("lipsdp_mnist_weights.mat", "coupled neurons, no bound (Robey et al.)", 24.365, False, False),
    ("lipsdp_mnist_weights.mat", "product of norms", 31.504, False, False),
    ("eclipse_lyr2n80test1.npz", "LipSDP-Neuron (Xu, Sivaranjani)", 0.8426, True, True),
    ("eclipse_lyr2n80test1.npz", "ECLipsE-Fast (Xu, Sivaranjani)", 0.9246, True, False),
]


def weights(path: Path) -> Any:
    """Return what ``lipgd.lipschitz.read`` takes."""
    if path.suffix == ".mat":
        return lipgd.lipschitz.read(path, activation="relu")
    with np.load(path) as arrays:
        return lipgd.lipschitz.read([arrays["w1"], arrays["w2"]], activation="relu")


def compare(folder: Path) -> list[dict[str, Any]]:
    """Return a row for every published value of the files that are there."""
    rows = []
    for name, what, published, relative, neuron in PUBLISHED:
        if not (folder / name).exists():
            continue
        net = weights(folder / name)
        scale = lipgd.lipschitz.upper(net, "product").value if relative else 1.0
        found = lipgd.lipschitz.upper(net, "product" if what.startswith("product") else "sdp")
        if what.startswith("formal"):
            found = lipgd.lipschitz.upper(net, "branch_and_bound", seconds=5.0)
        rows.append(
            {
                "file": name,
                "published": what,
                "value": published,
                "lipgd": found.value / scale,
                "lowest": None if found.bracket is None else found.bracket[0] / scale,
                "seconds": found.seconds,
                "same_optimum": neuron,
            }
        )
    return rows


def main() -> None:
    """Print and write the table."""
    rows = compare(Path(os.environ["LIPGD_EXAMPLE_WEIGHTS"]))
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    cells = [
        [
            row["file"],
            row["published"],
            f"{row['value']:.6g}",
            f"{row['lipgd']:.6f}",
            f"{100 * (row['lipgd'] / row['value'] - 1):+.4f} %",
            duration(row["seconds"]),
        ]
        for row in rows
    ]
    print(table(["file", "published", "value", "lipgd", "difference", "time"], cells))


if __name__ == "__main__":
    main()
