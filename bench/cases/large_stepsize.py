"""How long do 10^5 steps with a large stepsize take, with margins recorded every 100 steps?

Lifted XOR, 200 samples, 100 neurons with leaky softplus and fixed signs, float64, next to PyTorch
eager and JAX (jit and scan). All engines must reach the same weights and record the same margins
before any time is taken. They take turns; a ratio is the peer's median time over that of lipgd.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from harness import Settings, measure, note
from problem import XorProblem
from tables import duration, percent, table, verdict
from worker import Engine

LIPGD = Engine("lipgd", "lifted_xor_lipgd")
EAGER = Engine("eager", "lifted_xor_torch")
JAX = Engine("JAX scan", "lifted_xor_jax")
REFERENCE = Engine("NumPy loop", "lifted_xor_numpy")
#: What the peers' times are to be, as multiples of lipgd's.
TARGETS = {EAGER.title: 10.0, JAX.title: 3.0}

ACTIVATIONS = ("leaky_softplus",)
STEPS = 100_000


def run(activation: str, only: list[str], engines: list[str], settings: Settings) -> dict[str, Any]:
    """Measure, print the table and return everything as plain data."""
    problem = XorProblem()
    note(f"{problem.label} ...")
    results = measure(_engines(engines), problem, settings, reference_engine=REFERENCE)
    ours = results[LIPGD.title].median if LIPGD.title in results else None
    lines, ratios = [], {}
    for title, measured in results.items():
        median = measured.median
        ratio = median / ours if ours and median and title in TARGETS else None
        if ratio is not None:
            ratios[title] = {"ratio": ratio, "target": TARGETS[title]}
        whole = None if median is None else STEPS * median
        cells = [duration(median), percent(measured.spread), duration(whole)]
        lines.append([title, *cells, verdict(ratio, TARGETS.get(title))])
        if measured.error:
            print(f"\nno times of {measured.error}")
    print(f"\nGradient steps with margins recorded every {problem.record_every}, {problem.label}\n")
    print(table(["engine", "step", "+-", f"{STEPS:,} steps", "ratio"], lines))
    rows = {title: asdict(m) | {"median": m.median} for title, m in results.items()}
    return {"problem": asdict(problem), "engines": rows, "ratios": ratios}


def check(activation: str, only: list[str], engines: list[str], settings: Settings) -> None:
    """Compare weights and margins with the reference, without timing anything."""
    problem, chosen = XorProblem(), _engines(engines)
    results = measure(chosen, problem, settings, only_check=True, reference_engine=REFERENCE)
    lines = [[title, f"{m.difference:.1e}"] for title, m in results.items() if not m.error]
    print(f"\nDifference to the reference after {problem.check_steps} steps\n")
    print(table(["engine", "difference"], lines))


def _engines(modules: list[str]) -> list[Engine]:
    known = {engine.module: engine for engine in (LIPGD, EAGER, JAX)}
    unknown = [module for module in modules if module not in known]
    if unknown:
        raise SystemExit(f"engines has {unknown[0]!r}, expected some of {', '.join(known)}")
    return [engine for module, engine in known.items() if not modules or module in modules]
