"""LipSDP-Neuron through cvxpy, as its authors state it: the values and times of the table.

``python bench/peers/cvxpy_lipsdp.py`` writes ``bench/results/lipsdp_cvxpy.json``; that takes hours.
Results that the file has already are kept.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import cvxpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import lipgd
from certified_networks import Case, cases

RESULTS = Path(__file__).resolve().parents[1] / "results" / "lipsdp_cvxpy.json"
#: Interior points up to this size of the matrix, a first-order method above.
LARGEST_INTERIOR = 115
#: Seconds for the first-order method.
TIME_LIMIT = 600.0


def solve(net: lipgd.Network) -> dict[str, Any]:
    """Return the Lipschitz bound that the solver reports, and how long everything took."""
    inner, outer = (np.asarray(matrix, np.float64) for matrix in net.weights)
    low, high = net.activation.slope_range
    width, inputs = inner.shape
    begin = time.perf_counter()
    squared = cvxpy.Variable(nonneg=True)
    multipliers = cvxpy.Variable(width, nonneg=True)
    T = cvxpy.diag(multipliers)
    corner = -2 * low * high * inner.T @ T @ inner - squared * np.eye(inputs)
    side = (low + high) * inner.T @ T
    matrix = cvxpy.bmat([[corner, side], [side.T, -2 * T + outer.T @ outer]])
    problem = cvxpy.Problem(cvxpy.Minimize(squared), [matrix << 0])
    if width + inputs <= LARGEST_INTERIOR:
        problem.solve(solver="CLARABEL")
    else:
        problem.solve(solver="SCS", eps=1e-5, max_iters=100000, time_limit_secs=TIME_LIMIT)
    value = None if squared.value is None else float(np.sqrt(squared.value))
    return {
        "value": value,
        "seconds": time.perf_counter() - begin,
        "status": problem.status,
        "solver": "Clarabel" if width + inputs <= LARGEST_INTERIOR else "SCS",
    }


def run(case: Case) -> dict[str, Any]:
    """Return the row of one case."""
    return {"name": case.name, **solve(case.network())}


def main() -> None:
    """Solve what is missing and write after every case."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    known = {row["name"] for row in stored["rows"]}
    stored["cvxpy"] = cvxpy.__version__
    for case in cases():
        if case.name in known:
            continue
        stored["rows"].append(run(case))
        print(stored["rows"][-1], file=sys.stderr, flush=True)
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
