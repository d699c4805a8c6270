"""The command ``lipgd``: results on stdout, progress and messages on stderr.

Exit codes: 0 done or proved, 1 not proved or a training diverged, 2 wrong usage or bad input, 130
interrupted (what was trained so far is saved).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import lipgd

from . import _certify, _demo, _info, _plot, _reproduce, _sweep, _train

__all__ = ["main"]

_EPILOG = """\
examples:
  lipgd demo                                  train on real data, write a report
  lipgd train table.csv --label price         train on your own data
  lipgd certify model.onnx --at-most 5        prove a bound of a network from anywhere
  lipgd sweep settings.toml                   train with many settings
  lipgd reproduce rate-constraints --quick    repeat an experiment of a paper
  lipgd plot lipgd-train/history.npz          draw what was recorded
  lipgd info                                  which instruction set, how many threads
  c++ -I$(lipgd --includes) ...               compile against the headers

exit codes: 0 done or proved, 1 not proved or diverged, 2 wrong usage or bad input, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> from lipgd.cli import main
    >>> main(["plot", "no-such-file.npz"])
    2
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse leaves this way, after its message
        return 2 if stop.code else 0
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return _complain(arguments.command, "interrupted", 130)
    except (ImportError, OSError, TypeError, ValueError) as error:
        return _complain(arguments.command, f"error: {_sentence(error)}", 2)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lipgd",
        description="Train neural networks whose Lipschitz constant is certified.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lipgd {lipgd.__version__}")
    for option, function, what in (
        ("--includes", lipgd.get_include, "the folder of the C++ headers"),
        ("--cmakedir", lipgd.get_cmake_dir, "the folder of the CMake package"),
    ):
        parser.add_argument(option, action=_Show, function=function, help=f"print {what}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (_demo, _train, _certify, _sweep, _reproduce, _plot, _info):
        module.add(commands)
    return parser


class _Show(argparse.Action):
    """An option that prints what a function returns, and ends."""

    def __init__(
        self, option_strings: list[str], dest: str, function: Callable[[], str], help: str
    ) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)
        self._function = function

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(self._function())
        parser.exit()


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _complain(command: str, message: str, code: int) -> int:
    print(f"lipgd {command}: {message}", file=sys.stderr)
    return code
