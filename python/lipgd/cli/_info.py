"""``lipgd info``: what this installation is."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import lipgd

from ._options import Commands, as_json, new_command

_EXAMPLES = """\
  lipgd info
  lipgd info --json
  LIPGD_ISA=base lipgd info                   with another instruction set
"""


def add(commands: Commands) -> None:
    """Add the command."""
    words = "say which version, instruction set and threads are in use"
    parser = new_command(commands, "info", words, f"{words.capitalize()}.", _EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the facts."""
    config = lipgd.show_config()
    print(as_json(asdict(config)) if arguments.json else config)
    return 0
