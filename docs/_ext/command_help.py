"""The help texts of the command line, as the program prints them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from lipgd.cli import main

COMMANDS = ("demo", "train", "certify", "sweep", "reproduce", "plot", "info")


def help_of(*command: str) -> str:
    """Return what ``lipgd COMMAND --help`` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main([*command, "--help"])
    return printed.getvalue().rstrip()


def text() -> str:
    """Return the page, one section per command."""
    parts = [f"```text\n{help_of()}\n```\n"]
    parts += [f"## lipgd {command}\n\n```text\n{help_of(command)}\n```\n" for command in COMMANDS]
    return "\n".join(parts)


def setup(app: Any) -> dict[str, bool]:
    """Write the texts that the page includes."""
    path = Path(app.srcdir, "generated", "command-help.md")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
