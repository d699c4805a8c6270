"""Options and output that several commands share."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

__all__ = ["add_common", "as_json", "new_command"]

#: What ``add_subparsers`` returns.
Commands = Any


def new_command(
    commands: Commands, name: str, words: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command whose help ends with examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=words,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_common(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the options of everything that trains."""
    parser.add_argument("--out", default=out, metavar="DIR", help=f"folder to fill ({out})")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (0)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads (what there is)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.add_argument("--json", action="store_true", help="print JSON")


def as_json(facts: Any) -> str:
    """Return facts as JSON; numbers that are not finite become null."""
    return json.dumps(_plain(facts), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
