"""Run benches: ``python bench/run.py training --activation silu``.

Prints tables and writes JSON to ``bench/results/``. Linux only. A bench never passes or fails; with
``--check`` the engines' answers are compared and nothing is timed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path

from harness import Settings, note, prepare_process
from machine import BENCH, facts


def main() -> None:
    names = sorted(path.stem.replace("_", "-") for path in (BENCH / "cases").glob("*.py"))
    options = _arguments(names)
    settings = Settings(options.threads, options.rounds, options.seconds)
    prepare_process(options.threads)
    machine = facts(options.threads)
    if machine["load_at_start"] > 0.5:
        note(f"the machine is busy (load {machine['load_at_start']:.1f}): times will be too")
    for name in (case.replace("-", "_") for case in options.case):
        case = importlib.import_module(f"cases.{name}")
        activations = case.ACTIVATIONS
        if options.activation != "all":
            activations = [options.activation or activations[0]]
            if activations[0] not in case.ACTIVATIONS:
                raise SystemExit(f"{name} knows {', '.join(case.ACTIVATIONS)}, or all")
        for activation in activations:
            if options.check:
                case.check(activation, options.only, options.engines, settings)
                continue
            result = case.run(activation, options.only, options.engines, settings)
            result = {"machine": machine | {"load_at_end": os.getloadavg()[0]}} | result
            partial = "_partial" if options.only or options.engines else ""
            path = options.out / f"{name}_{activation}{partial}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1) + "\n")
            note(f"wrote {path}")


def _arguments(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "case",
        nargs="+",
        choices=names,
        help="what to measure",
    )
    parser.add_argument("--activation", help="of the case, or all (default: its first)")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="ROW",
        help="rows whose name starts so, such as 500,500,10 or 500,500,10:float64 or caps",
    )
    parser.add_argument(
        "--engines",
        nargs="+",
        default=[],
        metavar="FILE",
        help="files of bench/peers/, such as lipgd_train jax_scan (default: all)",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each engine")
    parser.add_argument("--seconds", type=float, default=0.3, help="length of one measurement")
    parser.add_argument("--check", action="store_true", help="compare the answers, time nothing")
    parser.add_argument("--out", type=Path, default=BENCH / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
