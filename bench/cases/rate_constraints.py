"""What do limits on a training cost, next to PyTorch and next to a training without them?

The experiment of arXiv 2502.03792 (20 runs of 2,000 steps with both spectral norms at every step),
one training under caps, one with a Lipschitz limit, and the cost of caps beside a plain training.
All engines of a row start from the same parameters and must reach the same ones before any time is
taken. A ratio is the peer's median time over that of lipgd, with the project's target beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from experiment import STEPS
from harness import REST, Measurement, Settings, calibrate, note, opened
from problem import Problem
from tables import duration, percent, table, verdict
from worker import Engine, Worker

ACTIVATIONS = ("silu", "tanh", "gelu", "relu")


@dataclass(frozen=True)
class Row:
    """lipgd first, then its peers; ``ratios`` are asked of them."""

    name: str
    problem: Problem
    engines: tuple[Engine, ...]
    ratios: tuple[float | None, ...]
    steps: int | None = None  # of one measurement; None: as many as take settings.seconds
    tolerance: float = 1e-8  # of the difference between the engines' answers


SMALL = Problem(150, 200, 5, "float64")
LARGE = Problem(500, 500, 10, "float64")
#: More than this share of a step caps may not cost.
COST = 0.05


def _limited(title: str, module: str, constraint: str) -> Engine:
    return Engine(title, module, {"constraint": constraint})


ROWS = (
    Row(
        "experiment",
        SMALL,
        (Engine("lipgd", "lipgd_experiment"), Engine("eager", "torch_experiment")),
        (15,),
        STEPS,
        1e-5,  # norms are brackets of 1e-6
    ),
    Row(
        "caps",
        SMALL,
        (
            _limited("lipgd", "lipgd_constrained", "caps"),
            _limited("eager", "torch_constrained", "caps"),
        ),
        (10,),
    ),
    Row(
        "retract",
        SMALL,
        (
            _limited("lipgd", "lipgd_constrained", "retract"),
            _limited("eager", "torch_constrained", "nearest"),
            _limited("one factor", "torch_constrained", "factor"),
        ),
        (10, None),
        tolerance=1e-4,  # lipgd stays below the limit by what rounding may add
    ),
    Row(
        "cost",
        LARGE,
        (_limited("lipgd", "lipgd_constrained", "caps"), Engine("plain", "lipgd_train")),
        (None,),
    ),
)


def run(activation: str, only: list[str], engines: list[str], settings: Settings) -> dict[str, Any]:
    """Measure the chosen rows, print the table and return everything as plain data."""
    results = []
    for row in _rows(only):
        note(f"{row.name} {row.problem.label} {activation} ...")
        results.append((row, _measure(row, activation, engines, settings)))
    print(f"\nTime of one step (experiment: of one step of all runs), {activation}\n")
    print(table(["row", "engine", "time", "+-", "ratio to lipgd"], _lines(results)))
    return {"rows": [_plain(row, measured) for row, measured in results]}


def check(activation: str, only: list[str], engines: list[str], settings: Settings) -> None:
    """Compare the engines' answers without timing anything."""
    for row in _rows(only):
        measured = _measure(row, activation, engines, settings, only_check=True)
        for result in measured.values():
            print(f"{row.name}: {result.engine} differs from lipgd by {result.difference}")


def _rows(only: list[str]) -> list[Row]:
    rows = [row for row in ROWS if not only or any(row.name.startswith(text) for text in only)]
    if not rows:
        raise SystemExit(f"only is {only}, expected some of {', '.join(row.name for row in ROWS)}")
    return rows


def _measure(
    row: Row, activation: str, modules: list[str], settings: Settings, only_check: bool = False
) -> dict[str, Measurement]:
    problem = replace(row.problem, activation=activation)
    chosen = [e for e in row.engines if not modules or e.module in modules]
    failed: dict[str, str] = {}
    results = {engine.title: Measurement(engine.title) for engine in chosen}
    with opened(chosen, problem, settings.threads, failed) as workers:
        for title, reason in failed.items():
            results[title].error = reason
        for title, value in _differences(row, workers).items():
            results[title].difference = value
        if only_check:
            return results
        for worker in workers:
            steps = row.steps or calibrate(worker, settings.seconds)
            results[worker.engine.title].steps = steps
        for _ in range(settings.rounds):
            for worker in workers:
                time.sleep(REST)
                result = results[worker.engine.title]
                elapsed = worker.seconds(result.steps)
                result.times = (result.times or []) + [elapsed / result.steps]
    return results


def _differences(row: Row, workers: Sequence[Worker]) -> dict[str, float]:
    """Compare all engines with the first; another answer ends the bench."""
    steps = row.problem.check_steps
    answers = {worker.engine.title: worker.parameters(steps) for worker in workers}
    differences = {}
    first = next(iter(answers.values()), [])
    for title, answer in answers.items():
        same_rule = title not in ("plain", "one factor")
        pairs = zip(answer, first, strict=True)
        worst = max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)
        if same_rule and not worst <= row.tolerance:
            raise SystemExit(
                f"{row.name}: {title} differs by {worst:.1e} after {steps} steps, "
                f"allowed {row.tolerance:.1e}"
            )
        differences[title] = worst
    return differences


def _targets(row: Row, measured: dict[str, Measurement]) -> dict[str, float | None]:
    peers = [engine.title for engine in row.engines[1:]]
    return {t: r for t, r in zip(peers, row.ratios, strict=True) if t in measured}


def _ratio(measured: dict[str, Measurement], title: str) -> float | None:
    ours, peer = measured.get("lipgd"), measured[title]
    if ours is None or ours.median is None or peer.median is None:
        return None
    return peer.median / ours.median


def _lines(results: list[tuple[Row, dict[str, Measurement]]]) -> list[list[str]]:
    lines = []
    for row, measured in results:
        targets = _targets(row, measured)
        for title, result in measured.items():
            cell = "" if title not in targets else verdict(_ratio(measured, title), targets[title])
            if title == "plain":
                cell = _cost_cell(_cost(measured))
            lines.append([row.name, title, duration(result.median), percent(result.spread), cell])
    return lines


def _cost(measured: dict[str, Measurement]) -> float | None:
    ratio = _ratio(measured, "plain")
    return None if ratio is None else 1 / ratio - 1


def _cost_cell(cost: float | None) -> str:
    if cost is None:
        return "-"
    return f"caps cost {100 * cost:+.1f} % <= {100 * COST:.0f} % {'yes' if cost <= COST else 'NO'}"


def _plain(row: Row, measured: dict[str, Measurement]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "row": row.name,
        "problem": asdict(row.problem),
        "engines": {
            title: asdict(m) | {"median": m.median, "spread": m.spread}
            for title, m in measured.items()
        },
        "ratios": {
            title: {"ratio": _ratio(measured, title), "target": target}
            for title, target in _targets(row, measured).items()
        },
    }
    if "plain" in measured:
        answer["cost"] = {"value": _cost(measured), "target": COST}
    return answer
