"""Bounds of example weights of other tools against the values that they publish.

The files are not part of this project; ``bench/published.py`` says where they come from.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import lipgd

FOLDER = Path(os.environ.get("LIPGD_EXAMPLE_WEIGHTS", "-"))
RESULTS = Path(__file__).resolve().parents[1] / "bench" / "results" / "published_weights.json"


def example(name: str) -> Path:
    if not (FOLDER / name).exists():
        pytest.skip("LIPGD_EXAMPLE_WEIGHTS names no folder with the files")
    return FOLDER / name


@pytest.mark.parametrize(
    ("name", "optimum", "digits"),
    [("lipsdp_random_weights.mat", 36.482, 5e-4), ("lipsdp_mnist_weights.mat", 24.36635, 1e-5)],
)
def test_the_optimum_of_lipsdp_neuron(name: str, optimum: float, digits: float) -> None:
    pytest.importorskip("scipy")
    found = lipgd.lipschitz.upper(
        lipgd.lipschitz.read(example(name), activation="relu"), tolerance=1e-6
    )
    assert optimum - digits <= found.value <= (optimum + digits) * (1 + 1e-6)


def test_the_ratio_to_the_product_of_norms() -> None:
    with np.load(example("eclipse_lyr2n80test1.npz")) as arrays:
        net = lipgd.lipschitz.read([arrays["w1"], arrays["w2"]], activation="relu")
    ratio = lipgd.lipschitz.upper(net).value / lipgd.lipschitz.upper(net, "product").value
    assert 0.84255 <= ratio <= 0.84265 * (1 + 1e-4)


def test_the_committed_comparison_is_that_of_the_published_values() -> None:
    rows = json.loads(RESULTS.read_text())["rows"]
    optima = [row for row in rows if row["same_optimum"]]
    assert len(optima) == 3
    for row in optima:
        assert row["lipgd"] == pytest.approx(row["value"], rel=2e-4)
        assert row["lowest"] <= row["value"] * (1 + 1e-4)
