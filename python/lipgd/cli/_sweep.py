"""``lipgd sweep``: many trainings from a file of settings."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lipgd
from lipgd.schedules import from_dict

from ._options import Commands, as_json, new_command
from ._processes import Alone
from ._table import load_problem

_DESCRIPTION = """\
Train with all combinations of some settings and write one table. Finished trainings are kept: the
same command after an interruption goes on with those that are missing.
"""
_EXAMPLES = """\
  lipgd sweep settings.toml
  lipgd sweep settings.toml --out widths --jobs 4 --json

settings.toml (or .json):
  seeds = 5                     # how often each combination is trained
  [data]
  file = "table.csv"            # or name = "diabetes" (with scikit-learn)
  label = "price"
  standardize = true
  test_fraction = 0.25
  [settings]                    # arguments of lipgd.train, and hidden, activation, init, lipschitz
  steps = 2000
  rate = 0.05
  [grid]
  hidden = [50, 100, [50, 50]]
  lipschitz = [1.0, 5.0]
  [grid.rate]                   # labels, where values are tables
  constant = 0.05
  hybrid = {kind = "hold_then_decay", rate = 0.05, hold = 50, decay = {kind = "exponential", \
rate = 1.0, decay_rate = 0.02}}

The folder gets table.csv, settings.json and the finished trainings.
"""
_PARTS = ("data", "settings", "grid", "seeds", "jobs")
_DATA = {"file": None, "name": None, "label": None, "standardize": False, "test_fraction": 0.0}


def add(commands: Commands) -> None:
    """Add the command."""
    words = "train with all combinations of some settings"
    parser = new_command(commands, "sweep", words, _DESCRIPTION, _EXAMPLES)
    parser.add_argument("settings", metavar="FILE", help="settings, .toml or .json")
    parser.add_argument("--out", default="lipgd-sweep", metavar="DIR", help="(lipgd-sweep)")
    parser.add_argument("--jobs", type=int, metavar="N", help="workers (what there is)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split for testing (0)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the sweep, and print its table."""
    content = _read(Path(arguments.settings))
    settings = {**_data_of(content.get("data"), arguments.seed), **_part(content, "settings")}
    folder = Path(arguments.out)
    table = lipgd.sweep(
        {name: _value(value) for name, value in settings.items()},
        {name: _axis(values) for name, values in _part(content, "grid").items()},
        seeds=content.get("seeds", 1),
        jobs=content.get("jobs") if arguments.jobs is None else arguments.jobs,
        out=folder,
        progress=not arguments.no_progress,
    )
    table.save(folder / "table.csv")
    rows = list(table)
    if arguments.json:
        print(as_json({"rows": rows, "failures": table.failures, "complete": table.complete}))
    else:
        from lipgd import report

        cells = [[row.get(name) for name in table.columns] for row in rows]
        print(report.text_table(list(table.columns), cells) if rows else "no rows")
        print(f"\nfiles    {folder}")
    if not table.complete:
        print("lipgd sweep: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 1 if table.failures else 0


def _read(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        content = _toml(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not readable: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} has no table, expected {', '.join(_PARTS)}")
    unknown = [name for name in content if name not in _PARTS]
    if unknown:
        raise ValueError(f"{path} has {unknown[0]!r}, expected some of {', '.join(_PARTS)}")
    return content


def _toml(text: str) -> Any:
    if importlib.util.find_spec("tomllib") is None:
        raise ValueError("TOML needs Python 3.11, expected JSON")
    import tomllib

    return tomllib.loads(text)


def _part(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = content.get(name, {})
    if not isinstance(part, dict):
        raise ValueError(f"{name} is {part!r}, expected a table")
    return part


def _data_of(given: Any, seed: int) -> dict[str, Any]:
    """Return the data as settings of a sweep."""
    if not isinstance(given, Mapping):
        raise ValueError("the settings have no [data], expected one with file or name")
    unknown = [name for name in given if name not in _DATA]
    if unknown:
        raise ValueError(f"data has {unknown[0]!r}, expected some of {', '.join(_DATA)}")
    options = {**_DATA, **given}
    if (options["file"] is None) == (options["name"] is None):
        raise ValueError("data has both or none of file and name, expected one of them")
    problem = load_problem(
        argparse.Namespace(
            data=[options["file"]] if options["name"] is None else lipgd.data.load(options["name"]),
            label=options["label"],
            loss="auto",
            test_file=None,
            test_fraction=options["test_fraction"],
            standardize=options["standardize"],
            seed=seed,
        ),
        Alone(),
    )
    tests = {} if problem.test is None else {"test": problem.test}
    return {"X": problem.X, "y": problem.y, "loss": problem.loss.name, **tests}


def _value(value: Any) -> Any:
    """Return a setting; tables with a kind are schedules."""
    return from_dict(value) if isinstance(value, Mapping) and "kind" in value else value


def _axis(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {label: _value(value) for label, value in values.items()}
    return [_value(value) for value in values] if isinstance(values, list) else values
