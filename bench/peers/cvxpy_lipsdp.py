"""LipSDP-Neuron through cvxpy: the values and times of ``bench/results/lipsdp_cvxpy.json``.

Two forms of the same optimum. As its authors state it: a matrix inequality of the size of inputs
and hidden neurons together. And as the smallest largest eigenvalue of K(theta) (certificates.md,
section 3), of the size of inputs and outputs: its values are what bounds are compared with. Times
are of the processor, in one thread, so that other work on the machine does not count; that of the
first form is a time the solver took or used up at least.

``OMP_NUM_THREADS=1 python bench/peers/cvxpy_lipsdp.py`` takes about half an hour; results that the
file has already are kept.
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
#: Interior points up to this size of the authors' matrix, a first-order method above.
LARGEST_INTERIOR = 72
#: Seconds and iterations for the first-order method.
TIME_LIMIT, MOST_ITERATIONS = 400.0, 4000


def parts(net: lipgd.Network) -> tuple[Any, Any, float, float]:
    """Return the two matrices and the ends of the slopes."""
    inner, outer = (np.asarray(matrix, np.float64) for matrix in net.weights)
    low, high = net.activation.slope_range
    return inner, outer, low, high


def solved(problem: Any, **options: Any) -> dict[str, Any]:
    """Solve and return status and processor time."""
    begin = time.process_time()
    try:
        problem.solve(**options)
        status = problem.status
    except cvxpy.SolverError as error:
        status = str(error)
    return {"seconds": time.process_time() - begin, "status": status}


def by_authors(net: lipgd.Network) -> dict[str, Any]:
    """Solve LipSDP-Neuron as it was published."""
    inner, outer, low, high = parts(net)
    width, inputs = inner.shape
    squared = cvxpy.Variable(nonneg=True)
    multipliers = cvxpy.Variable(width, nonneg=True)
    T = cvxpy.diag(multipliers)
    corner = -2 * low * high * inner.T @ T @ inner - squared * np.eye(inputs)
    side = (low + high) * inner.T @ T
    matrix = cvxpy.bmat([[corner, side], [side.T, -2 * T + outer.T @ outer]])
    problem = cvxpy.Problem(cvxpy.Minimize(squared), [matrix << 0])
    if width + inputs <= LARGEST_INTERIOR:
        row = solved(problem, solver="CLARABEL") | {"solver": "Clarabel"}
    else:
        limits = {"max_iters": MOST_ITERATIONS, "time_limit_secs": TIME_LIMIT}
        row = solved(problem, solver="SCS", eps=1e-5, **limits) | {"solver": "SCS"}
    found = squared.value
    return row | {"value": None if found is None else float(np.sqrt(abs(found)))}


def by_eigenvalue(net: lipgd.Network) -> dict[str, Any]:
    """Solve for the theta of the smallest largest eigenvalue of K(theta)."""
    inner, outer, low, high = parts(net)
    width, inputs = inner.shape
    outputs = len(outer)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    theta, inverse, bound = cvxpy.Variable(width), cvxpy.Variable(width), cvxpy.Variable()
    squares = np.stack([np.outer(w, w).ravel() for w in inner], axis=1)
    outer_squares = np.stack([np.outer(b, b).ravel() for b in outer.T], axis=1)
    corner = cvxpy.reshape(half * squares @ theta, (inputs, inputs), order="C")
    last = cvxpy.reshape(half * outer_squares @ inverse, (outputs, outputs), order="C")
    linear = middle * outer @ inner
    K = cvxpy.bmat([[corner, linear.T], [linear, last]])
    constraints = [
        K << bound * np.eye(inputs + outputs),
        inverse >= cvxpy.inv_pos(theta),
    ]
    row = solved(cvxpy.Problem(cvxpy.Minimize(bound), constraints), solver="CLARABEL")
    return row | {"value": None if bound.value is None else float(bound.value)}


def run(case: Case) -> dict[str, Any]:
    """Return the row of one case."""
    net = case.network()
    reduced, published = by_eigenvalue(net), by_authors(net)
    return {
        "name": case.name,
        "value": reduced["value"],
        "value_status": reduced["status"],
        "value_seconds": reduced["seconds"],
        "seconds": published["seconds"],
        "status": published["status"],
        "solver": published["solver"],
        "authors_value": published["value"],
    }


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
