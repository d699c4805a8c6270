"""How long does a full-batch gradient step take, next to PyTorch and JAX?

Two-layer networks with one output and the mean squared error, from 50 to 10,000 samples, in float64
and float32. The peers are PyTorch as it is, compiled (model and loss; the whole step) and JAX (jit
and scan). All engines start from the same parameters and must reach the same ones before any time
is taken. A ratio is the peer's median time over that of lipgd, with the project's target beside it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from harness import Measurement, Settings, measure, note
from machine import activation_times, gemm_peaks
from problem import Problem
from tables import duration, megabytes, percent, table, verdict
from worker import Engine

LIPGD = Engine("lipgd", "lipgd_train")
EAGER = Engine("eager", "torch_eager")
COMPILED = Engine("compiled step", "torch_compiled")
MODEL = Engine("compiled model", "torch_compiled_model")
JAX = Engine("JAX scan", "jax_scan")
PEERS = (EAGER, MODEL, COMPILED, JAX)

#: (samples, width, inputs), dtypes, targets against eager, torch.compile (both forms) and JAX.
ROWS: list[tuple[tuple[int, int, int], tuple[str, ...], tuple[float, float, float]]] = [
    ((50, 50, 2), ("float64",), (15, 15, 1.5)),
    ((150, 200, 5), ("float64",), (7, 8, 3.5)),
    ((150, 200, 5), ("float32",), (10, 14, 2.5)),
    ((500, 500, 10), ("float64",), (3.7, 4, 2.9)),
    ((500, 500, 10), ("float32",), (4, 5, 3)),
    ((2000, 1000, 50), ("float64",), (2.1, 2, 2.1)),
    ((2000, 1000, 50), ("float32",), (1.8, 1.9, 1.7)),
    ((10000, 1000, 100), ("float64", "float32"), (3, 2.7, 2.3)),
    ((4000, 2000, 784), ("float64", "float32"), (1, 1, 1.1)),
]

#: The targets hold for silu; this part of them is asked of the other activations.
TARGET_SHARE = {"silu": 1.0, "tanh": 0.8, "gelu": 0.8, "relu": 0.7}
ACTIVATIONS = tuple(TARGET_SHARE)

#: The problem on which the cost of recording is measured, and what may be spent on it.
RECORDED = Problem(500, 500, 10, "float64")
RECORDER = Engine("recording", "lipgd_train", {"record": ("spectral_norm:W1", "spectral_norm:W2")})
RECORDING_TARGET = 0.05


def run(activation: str, only: list[str], engines: list[str], settings: Settings) -> dict[str, Any]:
    """Measure all chosen rows, print the tables and return everything as plain data."""
    chosen = _engines(engines)
    results = []
    for problem, targets in _rows(activation, only):
        note(f"{problem.label} {activation} ...")
        results.append((problem, targets, measure(chosen, problem, settings)))
    print(f"\nTime of one gradient step, {activation}, and ratio of the peer's time to it\n")
    print(_speed_table(results))
    print("\nPeak memory above the process after its imports: data, compilation, training\n")
    print(_memory_table(results))
    print(f"\nLargest use of a processor by an idle engine: {_idle(results)}")
    _print_failures(results)
    answer: dict[str, Any] = {"rows": [_plain(*result) for result in results]}
    if LIPGD in chosen and all(measured[LIPGD.title].median for _, _, measured in results):
        answer["roofline"] = _roofline(results, activation, settings)
        if _chosen(RECORDED, only):
            answer["recording"] = _recording(activation, settings)
    return answer


def check(activation: str, only: list[str], engines: list[str], settings: Settings) -> None:
    """Compare the engines' parameters with the reference, without timing anything."""
    chosen = _engines(engines)
    lines, results = [], []
    for problem, targets in _rows(activation, only):
        note(f"{problem.label} {activation} ...")
        measured = measure(chosen, problem, settings, only_check=True)
        results.append((problem, targets, measured))
        cells = [_difference(measured[engine.title]) for engine in chosen]
        lines.append([problem.label, str(problem.check_steps), *cells])
    print(f"\nDifference to the reference after the steps, {activation}\n")
    print(table(["N,width,d:dtype", "steps", *(engine.title for engine in chosen)], lines))
    _print_failures(results)


def _engines(modules: list[str]) -> list[Engine]:
    known = {engine.module: engine for engine in (LIPGD, *PEERS)}
    unknown = [module for module in modules if module not in known]
    if unknown:
        raise SystemExit(f"engines has {unknown[0]!r}, expected some of {', '.join(known)}")
    return [engine for module, engine in known.items() if not modules or module in modules]


def _rows(activation: str, only: list[str]) -> list[tuple[Problem, dict[str, float]]]:
    share = TARGET_SHARE[activation]
    rows = []
    for shape, dtypes, (eager, compiled, jax) in ROWS:
        targets = {EAGER.title: eager, MODEL.title: compiled}
        targets |= {COMPILED.title: compiled, JAX.title: jax}
        targets = {title: share * target for title, target in targets.items()}
        rows += [(Problem(*shape, dtype, activation), targets) for dtype in dtypes]
    rows = [row for row in rows if _chosen(row[0], only)]
    if not rows:
        raise SystemExit(f"only is {only}, expected the beginning of a row such as 500,500,10")
    return rows


def _chosen(problem: Problem, only: list[str]) -> bool:
    return not only or any(problem.label.startswith(text) for text in only)


def _difference(measurement: Measurement) -> str:
    return "failed" if measurement.difference is None else f"{measurement.difference:.1e}"


def _ratio(measured: dict[str, Measurement], title: str) -> float | None:
    ours, peer = measured.get(LIPGD.title), measured.get(title)
    if ours is None or peer is None or ours.median is None or peer.median is None:
        return None
    return peer.median / ours.median


def _speed_table(results: list[Any]) -> str:
    titles = list(results[0][2])
    peers = [title for title in titles if title != LIPGD.title]
    header = ["N,width,d:dtype"]
    header += [cell for title in titles for cell in (title, "+-")]
    header += [f"vs {title}" for title in peers if LIPGD.title in titles]
    lines = []
    for problem, targets, measured in results:
        line = [problem.label]
        for title in titles:
            line += [duration(measured[title].median), percent(measured[title].spread)]
        if LIPGD.title in titles:
            line += [verdict(_ratio(measured, title), targets[title]) for title in peers]
        lines.append(line)
    return table(header, lines)


def _memory_table(results: list[Any]) -> str:
    titles = list(results[0][2])
    lines = [
        [problem.label, *(megabytes(measured[title].peak_memory) for title in titles)]
        for problem, _, measured in results
    ]
    return table(["N,width,d:dtype", *titles], lines)


def _idle(results: list[Any]) -> str:
    every = [m for _, _, measured in results for m in measured.values()]
    worst = max(every, key=lambda m: m.idle_share)
    return f"{percent(worst.idle_share)} ({worst.engine})"


def _print_failures(results: list[Any]) -> None:
    """Say once for each engine why it has no times."""
    failures = {m.engine: m.error for _, _, measured in results for m in measured.values()}
    for error in failures.values():
        if error:
            print(f"\nno times of {error}")


def _plain(
    problem: Problem, targets: dict[str, float], measured: dict[str, Measurement]
) -> dict[str, Any]:
    engines = {
        title: asdict(m) | {"median": m.median, "spread": m.spread} for title, m in measured.items()
    }
    ratios = {
        title: {"ratio": _ratio(measured, title), "target": target}
        for title, target in targets.items()
        if title in measured
    }
    return {"problem": asdict(problem), "engines": engines, "ratios": ratios}


def _roofline(results: list[Any], activation: str, settings: Settings) -> dict[str, Any]:
    """Print and return which share of the machine's limit lipgd reaches.

    The limit is the matrix products at the best BLAS's speed, then the activation's value and slope
    on all threads: nothing overlaps, and nothing else is counted.
    """
    note("roofline ...")
    dtypes = sorted({problem.dtype for problem, _, _ in results})
    peaks = gemm_peaks(dtypes, settings.threads)
    elements = activation_times([activation])[activation]
    rows, lines = [], []
    for problem, _, measured in results:
        products = problem.flops / max(peaks[problem.dtype].values())
        count = problem.samples * problem.width
        elementwise = elements[problem.dtype] * count / settings.threads
        median = measured[LIPGD.title].median
        share = None if median is None else (products + elementwise) / median
        rows.append(
            {"row": problem.label, "products": products, "elementwise": elementwise, "share": share}
        )
        times = [duration(products), duration(elementwise), duration(median)]
        lines.append([problem.label, *times, percent(share)])
    print("\nShare of the roofline\n")
    for dtype, libraries in peaks.items():
        speeds = ", ".join(f"{name} {peak / 1e9:.0f}" for name, peak in libraries.items())
        print(
            f"{dtype}: products at {speeds} GFLOP/s, {activation} at "
            f"{duration(elements[dtype])} per element and thread"
        )
    print("\n" + table(["N,width,d:dtype", "products", "elementwise", "lipgd", "share"], lines))
    return {"gemm_peaks": peaks, "seconds_per_element": elements, "rows": rows}


def _recording(activation: str, settings: Settings) -> dict[str, Any]:
    """Print and return what recording both spectral norms at every step costs."""
    note("recording ...")
    problem = replace(RECORDED, activation=activation)
    measured = measure([LIPGD, RECORDER], problem, settings)
    plain, recording = measured[LIPGD.title], measured[RECORDER.title]
    if plain.median is None or recording.median is None:
        print(f"\nRecording: {plain.error or recording.error}")
        return {"error": plain.error or recording.error}
    cost = recording.median / plain.median - 1
    print(
        f"\nRecording both spectral norms at every step, {problem.label}: {duration(plain.median)} "
        f"-> {duration(recording.median)}, {100 * cost:+.1f} % <= {100 * RECORDING_TARGET:.0f} % "
        f"{'yes' if cost <= RECORDING_TARGET else 'NO'}"
    )
    return {
        "cost": cost,
        "target": RECORDING_TARGET,
        "without": asdict(plain),
        "with": asdict(recording),
    }
