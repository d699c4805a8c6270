"""Is any upper bound below a value that the network has? Many small and hostile networks.

``python bench/soundness.py`` checks 100,000 networks: the upper bound of every one against norms of
products of matrices with slopes from the intervals, in extended precision (80-bit floats where the
machine has them), and 1,000 of them against the same norms in exact rational arithmetic. It prints
and writes the number of violations and the smallest ratio of upper bound to attained value.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd.lipschitz._certificate import certify

Matrix = npt.NDArray[np.float64]
RESULTS = Path(__file__).resolve().parent / "results" / "soundness.json"
SLOPES = ((0.0, 1.0), (-0.0998393202, 1.0998393202), (-1.0, 1.0), (0.25, 1.0), (0.5, 0.5))
KINDS = (
    "plain",
    "duplicates",
    "zero rows",
    "huge rows",
    "1e-300",
    "1e300",
    "rank one",
    "width one",
    "dead neurons",
    "orthogonal",
    "near cancelling",
    "float32",
    "integers",
    "mixed slopes",
)


def draw(rng: np.random.Generator, kind: str) -> tuple[list[Matrix], list[Matrix], list[Matrix]]:
    """Return matrices, and the least and greatest slopes of the hidden layers."""
    depth = int(rng.integers(1, 4))
    most = (9, 5, 3)[depth - 1]
    hidden = [1 if kind == "width one" else int(n) for n in rng.integers(1, most, depth)]
    sizes = [int(rng.integers(1, 7)), *hidden, int(rng.integers(1, 5))]
    weights = [rng.normal(size=(b, a)) for a, b in itertools.pairwise(sizes)]
    _deform(rng, kind, weights)
    low, high = SLOPES[int(rng.integers(len(SLOPES)))]
    lo = [np.full(n, low) for n in hidden]
    hi = [np.full(n, high) for n in hidden]
    if kind == "mixed slopes":
        ends = [np.sort(rng.uniform(-1, 1.2, (2, n)), axis=0) for n in hidden]
        lo, hi = [pair[0] for pair in ends], [pair[1] for pair in ends]
        for low_layer, high_layer in zip(lo, hi, strict=True):
            flat = rng.random(len(low_layer)) < 0.3
            high_layer[flat] = low_layer[flat]
    return weights, lo, hi


def _deform(rng: np.random.Generator, kind: str, weights: list[Matrix]) -> None:
    first, last = weights[0], weights[-1]
    if kind == "duplicates":
        first[-1], last[:, -1] = first[0], last[:, 0]
    elif kind == "zero rows":
        first[rng.random(len(first)) < 0.4] = 0.0
        last[rng.random(len(last)) < 0.4] = 0.0
    elif kind == "huge rows":
        for matrix in weights:
            matrix *= 10.0 ** rng.integers(-12, 13, (len(matrix), 1))
    elif kind in ("1e-300", "1e300"):
        exponent = 300 if kind == "1e300" else -300
        first *= 10.0**exponent
        last *= 10.0 ** -(exponent if rng.random() < 0.7 else exponent / 3)
    elif kind == "rank one":
        for matrix in weights:
            matrix[:] = np.outer(matrix[:, 0], matrix[0])
    elif kind == "dead neurons":
        first[0], last[:, -1] = 0.0, 0.0
    elif kind == "orthogonal":
        for matrix in weights:
            side = max(matrix.shape)
            q = np.linalg.qr(rng.normal(size=(side, side)))[0]
            matrix[:] = q[: matrix.shape[0], : matrix.shape[1]]
    elif kind == "near cancelling":
        if len(first) > 1:
            first[1] = first[0] * (1 + 1e-13 * rng.normal(size=first.shape[1]))
            last[:, min(1, last.shape[1] - 1)] = -last[:, 0]
    elif kind == "float32":
        for matrix in weights:
            matrix[:] = matrix.astype(np.float32)
    elif kind == "integers":
        for matrix in weights:
            matrix[:] = np.round(2 * matrix)


def worst_slopes(rng: np.random.Generator, lo: list[Matrix], hi: list[Matrix]) -> list[Matrix]:
    """Return slopes to try, a row for each: all ends of the intervals if few, else random ones."""
    total = sum(map(len, lo))
    if total <= 5:
        bits = np.array(list(itertools.product([0, 1], repeat=total)))
    else:
        bits = np.vstack([rng.integers(0, 2, (40, total)), np.ones(total), np.zeros(total)])
    ends = np.cumsum([len(low) for low in lo])[:-1]
    parts = np.split(bits, ends, axis=1)
    return [np.where(part == 1, high, low) for part, low, high in zip(parts, lo, hi, strict=True)]


def longdouble_products(weights: list[Matrix], slopes: list[Matrix]) -> npt.NDArray[Any]:
    """Return the matrices of the network with these slopes, in extended precision."""
    products = weights[0].astype(np.longdouble)[None]
    for matrix, slope in zip(weights[1:], slopes, strict=True):
        products = matrix.astype(np.longdouble) @ (
            slope.astype(np.longdouble)[..., None] * products
        )
    return products


def attained(products: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Return lower values of the norms in extended precision, and the inputs that show them."""
    largest = np.abs(products).max(axis=(1, 2), keepdims=True)
    scaled = products / np.where(largest > 0, largest, 1)
    right = np.linalg.svd(scaled.astype(np.float64), full_matrices=False)[2][:, 0]
    x = right.astype(np.longdouble)
    y = (scaled * x[:, None, :]).sum(axis=2)
    values = largest[:, 0, 0] * np.sqrt((y * y).sum(axis=1) / (x * x).sum(axis=1))
    return values, right


def exceeds_exactly(
    weights: list[Matrix], slopes: list[Matrix], x: npt.NDArray[np.float64], bound: float
) -> bool:
    """Return whether ``|J x| > bound |x|``, in rational arithmetic."""
    vector = [Fraction(float(v)) for v in x]
    length = sum(v * v for v in vector)
    for layer, matrix in enumerate(weights):
        vector = [
            sum((Fraction(float(a)) * b for a, b in zip(row, vector, strict=True)), Fraction(0))
            for row in matrix
        ]
        if layer < len(slopes):
            vector = [Fraction(float(s)) * v for s, v in zip(slopes[layer], vector, strict=True)]
    return sum(v * v for v in vector) > Fraction(bound) ** 2 * length


def check(seed: int, exact: bool) -> dict[str, Any]:
    """Return what one network shows; ``violated`` must be false."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    weights, lo, hi = draw(rng, kind)
    found = certify(weights, lo, hi)
    if math.isnan(found.value):
        return {"kind": kind, "certified": False, "violated": False, "ratio": math.inf}
    slopes = worst_slopes(rng, lo, hi)
    values, inputs = attained(longdouble_products(weights, slopes))
    worst = int(values.argmax())
    best = values[worst]
    violated = bool(np.longdouble(found.value) < best * (1 - np.longdouble(2.0**-58)))
    if exact:
        chosen = [layer[worst] for layer in slopes]
        violated = violated or exceeds_exactly(weights, chosen, inputs[worst], found.value)
    ratio = float(np.longdouble(found.value) / best) if best > 0 else math.inf
    return {
        "kind": kind,
        "certified": True,
        "violated": violated,
        "ratio": ratio,
        "gap": found.gap,
    }


def main() -> None:
    """Check, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=100_000)
    parser.add_argument("--exact", type=int, default=1_000, help="in rational arithmetic too")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    begin = time.perf_counter()
    stride = max(1, options.networks // max(1, options.exact))
    exact = [seed % stride == 0 for seed in range(options.networks)]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(check, range(options.networks), exact, chunksize=500))
    kinds = {
        kind: {
            "networks": sum(row["kind"] == kind for row in rows),
            "not_certified": sum(row["kind"] == kind and not row["certified"] for row in rows),
            "violations": sum(row["kind"] == kind and row["violated"] for row in rows),
            "smallest_ratio_minus_one": min(r["ratio"] for r in rows if r["kind"] == kind) - 1,
            "largest_gap": max(
                (r["gap"] for r in rows if r["kind"] == kind and r["certified"]), default=None
            ),
        }
        for kind in KINDS
    }
    result = {
        "networks": len(rows),
        "exact": len(range(0, options.networks, stride)),
        "violations": sum(row["violated"] for row in rows),
        "smallest_ratio_minus_one": min(row["ratio"] for row in rows) - 1,
        "extended_precision_bits": int(np.finfo(np.longdouble).nmant) + 1,
        "seconds": time.perf_counter() - begin,
        "kinds": kinds,
    }
    print(json.dumps(result, indent=1))
    if options.networks >= 100_000:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
