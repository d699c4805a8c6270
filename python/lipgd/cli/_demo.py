"""``lipgd demo``: training on real data."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ._options import Commands, add_common, as_json, new_command

_DESCRIPTION = """\
Train on three real data sets that come with scikit-learn, with a constant and with a
hold-then-decay learning rate. Prints a table; writes figures, histories, networks and report.html.
Features are standardized (and the target of the regression): Lipschitz constants are in these
units.
"""
_EXAMPLES = """\
  lipgd demo                                  about ten seconds
  lipgd demo --quick --out /tmp/demo          a fifth of the steps
  lipgd demo --json --no-progress > demo.json
"""
_CODES = {"finished": 0, "diverged": 1, "interrupted": 130}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = new_command(commands, "demo", "train on real data", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--quick", action="store_true", help="take a fifth of the steps")
    add_common(parser, "lipgd-demo")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, and print the table."""
    from lipgd.experiments.demo import demo

    result = demo(
        arguments.out,
        quick=arguments.quick,
        seed=arguments.seed,
        progress=not arguments.no_progress,
        n_threads=arguments.threads,
    )
    if arguments.json:
        rows = [asdict(row) for row in result.rows]
        print(as_json({"status": result.status, "folder": str(result.folder), "rows": rows}))
    else:
        print(f"{result}\n\nreport: {result.folder / 'report.html'}")
    return _CODES[result.status]
