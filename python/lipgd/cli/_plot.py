"""``lipgd plot``: figures of histories."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import lipgd

from ._options import Commands, new_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DESCRIPTION = """\
Draw what trainings recorded: everything in one history, or several histories side by side, or the
columns that are named. Prints the name of the file.
"""
_EXAMPLES = """\
  lipgd plot lipgd-train/history.npz
  lipgd plot a/history.npz b/history.npz --column risk --out risk.svg
  lipgd plot history.npz --column lipschitz_upper gradient_norm --log
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = new_command(commands, "plot", "draw what was recorded", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("history", nargs="+", metavar="HISTORY.npz", help="what History.save wrote")
    parser.add_argument("--column", nargs="+", metavar="NAME", help="columns, a panel for each")
    parser.add_argument(
        "--out", metavar="FILE", help="PNG, SVG or PDF by its ending (the first history's name.png)"
    )
    parser.add_argument("--log", action="store_true", help="logarithmic values in every panel")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw, and print the name of the file."""
    from lipgd.plotting._style import log_values, write

    histories = {
        str(Path(path).with_suffix("")): lipgd.History.load(path) for path in arguments.history
    }
    figure = _figure(histories, arguments.column)
    if arguments.log:
        for ax in figure.axes:
            log_values(ax)
    path = Path(arguments.out or Path(arguments.history[0]).with_suffix(".png"))
    write(figure, path)
    print(path)
    return 0


def _figure(histories: Mapping[str, lipgd.History], columns: list[str] | None) -> Figure:
    from lipgd import plotting

    first = next(iter(histories.values()))
    if columns is None:
        alone = len(histories) == 1
        return plotting.overview(first) if alone else plotting.side_by_side(histories)
    figure, axes = plotting.panels(len(columns))
    for name, ax in zip(columns, axes, strict=True):
        if len(histories) == 1:
            plotting.column(first, name, ax=ax)
        else:
            plotting.compare(histories, name, ax=ax)
    return figure
