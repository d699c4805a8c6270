"""How long do 10^5 steps with a large stepsize take, with margins recorded every 100 steps? And
how many gradients does the sharpness cost, when it starts from its last value?

Lifted XOR, 200 samples, 100 neurons with leaky softplus and fixed signs, float64, next to PyTorch
eager and JAX (jit and scan). All engines must reach the same weights and record the same margins
before any time is taken. They take turns; a ratio is the peer's median time over that of lipgd.

The sharpness is that of 500 samples, 500 neurons and 10 inputs after every step or every 10, with
a relative residual of a thousandth, in processor time of one thread; gradients and sharpness take
turns too.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict
from time import thread_time
from typing import Any, NamedTuple

import numpy as np

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

#: The most gradients that a warm start may cost.
SHARPNESS_TARGET = 15.0
OUTER = ("W2", "b2")


class WarmStarts(NamedTuple):
    """A training along which the sharpness is measured."""

    activation: str
    init: str
    rate: float
    frozen: tuple[str, ...] = ()


SHARPNESS_ROWS = [
    WarmStarts("gelu", "mean_field", 100.0),
    WarmStarts("gelu", "mean_field", 5.0),
    WarmStarts("silu", "mean_field_balanced", 400.0, OUTER),
    WarmStarts("leaky(softplus, 0.5)", "mean_field_balanced", 200.0, OUTER),
    WarmStarts("tanh", "mean_field", 100.0),
    WarmStarts("tanh", "he_normal", 2.0),
    WarmStarts("silu", "he_normal", 0.5),
    WarmStarts("gelu", "he_normal", 0.1),
    WarmStarts("leaky(softplus, 0.5)", "he_normal", 0.02),
]


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
    answer: dict[str, Any] = {"problem": asdict(problem), "engines": rows, "ratios": ratios}
    if LIPGD.title in results:
        answer["sharpness"] = _sharpness()
    return answer


def check(activation: str, only: list[str], engines: list[str], settings: Settings) -> None:
    """Compare weights and margins with the reference, without timing anything."""
    problem, chosen = XorProblem(), _engines(engines)
    results = measure(chosen, problem, settings, only_check=True, reference_engine=REFERENCE)
    lines = [[title, f"{m.difference:.1e}"] for title, m in results.items() if not m.error]
    print(f"\nDifference to the reference after {problem.check_steps} steps\n")
    print(table(["engine", "difference"], lines))


def _sharpness() -> list[dict[str, Any]]:
    """Print and return what a warm-started sharpness costs."""
    note("sharpness ...")
    rows, lines = [], []
    for training in SHARPNESS_ROWS:
        for every in (1, 10):
            gradients, warm, products = _warm_starts(training, every)
            gradient = statistics.median(gradients)
            mean, worst = statistics.mean(warm) / gradient, max(warm) / gradient
            row = training._asdict() | {"every": every, "gradient": gradient, "products": products}
            rows.append(row | {"cost": mean, "worst": worst, "target": SHARPNESS_TARGET})
            name = f"{training.activation}, {training.init}, {training.rate:g}"
            counts = f"{statistics.mean(products):.1f} ({max(products)})"
            met = "yes" if mean <= SHARPNESS_TARGET else "NO"
            cost = f"{mean:.1f} ({worst:.0f}) <= {SHARPNESS_TARGET:g} {met}"
            lines.append([name, str(every), duration(gradient), counts, cost])
    print("\nSharpness from a warm start, 500,500,10:float64, mean (most)\n")
    print(table(["training", "steps", "gradient", "products", "gradients"], lines))
    return rows


def _warm_starts(training: WarmStarts, every: int) -> tuple[list[float], list[float], list[int]]:
    """Return times of gradients and of warm starts along a training, and the products of these."""
    import lipgd
    from lipgd.margins import sharpness

    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 10))
    y = np.where(X[:, 0] + 0.3 * rng.standard_normal(500) > 0, 1.0, -1.0)
    net = lipgd.Network.create([10, 500, 1], training.activation, training.init)
    frozen = training.frozen
    last = sharpness(net, X, y, "logistic", frozen, tolerance=1e-3, n_threads=1)
    gradients, warm, products = [], [], []
    for _ in range(40):
        options: dict[str, Any] = {"loss": "logistic", "frozen": frozen, "record": ()}
        net = lipgd.train(
            net, X, y, rate=training.rate, steps=every, n_threads=1, **options
        ).network
        begin = thread_time()
        for _ in range(8):
            lipgd.risk_and_gradient(net, X, y, "logistic", n_threads=1)
        between = thread_time()
        last = sharpness(net, X, y, "logistic", frozen, start=last, tolerance=1e-3, n_threads=1)
        warm.append(thread_time() - between)
        gradients.append((between - begin) / 8)
        products.append(last.products)
    return gradients, warm, products


def _engines(modules: list[str]) -> list[Engine]:
    known = {engine.module: engine for engine in (LIPGD, EAGER, JAX)}
    unknown = [module for module in modules if module not in known]
    if unknown:
        raise SystemExit(f"engines has {unknown[0]!r}, expected some of {', '.join(known)}")
    return [engine for module, engine in known.items() if not modules or module in modules]
