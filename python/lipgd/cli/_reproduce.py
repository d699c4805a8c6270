"""``lipgd reproduce``: the experiments of the papers."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ._options import Commands, as_json, new_command

_DESCRIPTION = """\
Repeat an experiment: tables, figures and one HTML page. Prints what the tables say, in words.
The numbers depend on neither the number of jobs nor the load of the machine.
"""
_EXAMPLES = """\
  lipgd reproduce rate-constraints --quick    less than a minute
  lipgd reproduce rate-constraints            all of it, less than 15 minutes on two cores
  lipgd reproduce large-stepsize --data cifar-10-batches-bin
  lipgd reproduce dynamics --quick            a convolutional network too, if PyTorch is there
"""
_CODES = {"finished": 0, "interrupted": 130}


def add(commands: Commands) -> None:
    """Add the command."""
    from lipgd import experiments

    parser = new_command(
        commands, "reproduce", "repeat an experiment of a paper", _DESCRIPTION, _EXAMPLES
    )
    parser.add_argument("name", choices=experiments.names(), metavar="NAME", help="which one")
    parser.add_argument("--out", metavar="DIR", help="folder to fill (lipgd-NAME)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter trainings")
    parser.add_argument("--data", metavar="DIR", help="folder with data sets, if it needs some")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds of whatever is repeated")
    parser.add_argument("--jobs", type=int, metavar="N", help="trainings at the same time (cores)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Repeat the experiment, and print what it says."""
    from lipgd import experiments

    result = experiments.reproduce(
        arguments.name,
        arguments.out or f"lipgd-{arguments.name}",
        quick=arguments.quick,
        data=arguments.data,
        seeds=arguments.seeds,
        jobs=arguments.jobs,
        progress=not arguments.no_progress,
    )
    if arguments.json:
        print(as_json({**asdict(result), "folder": str(result.folder)}))
    else:
        print(f"{result}\n\nreport: {result.folder / 'report.html'}")
    return _CODES[result.status]
