"""Citations of the theory in docstrings become links to its sections."""

from __future__ import annotations

import re
from typing import Any

PAGES = ("rate-constraints", "certificates", "large-stepsize", "dynamics")
#: "certificates.md, section 9", "sections 3 to 5" (the first of them).
CITATION = re.compile(rf"({'|'.join(PAGES)})\.md(?:,\s+[sS]ections?\s+(\d+(?:\.\d+)?))?")


def label(page: str, section: str | None) -> str:
    """Return the label of a section of a page of the theory."""
    return f"{page}-{section.replace('.', '-')}" if section else page


def linked(line: str) -> str:
    """Return a line of reST with its citations as links."""

    def link(match: re.Match[str]) -> str:
        words = match.group(0).replace(".md", "").replace("-", " ")
        return f":ref:`{words} <{label(match.group(1), match.group(2))}>`"

    return CITATION.sub(link, line)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [linked(line) for line in lines]


def setup(app: Any) -> dict[str, bool]:
    """Look at docstrings after numpydoc has."""
    app.connect("autodoc-process-docstring", _process, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
