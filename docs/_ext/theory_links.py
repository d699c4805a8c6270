"""Citations of the theory in docstrings become links to its sections."""

from __future__ import annotations

import re
from typing import Any

PAGES = ("rate-constraints", "certificates", "large-stepsize", "dynamics")
_NUMBER = r"\d+(?:\.\d+)?"
#: "certificates.md, section 9", "large-stepsize.md, sections 3 to 5 and 7".
CITATION = re.compile(
    rf"({'|'.join(PAGES)})\.md"
    rf"(?:(,\s+[sS]ections?\s+)({_NUMBER}(?:(?:,\s+|\s+and\s+|\s+to\s+){_NUMBER})*))?"
)


def label(page: str, section: str | None) -> str:
    """Return the label of a section of a page of the theory."""
    return f"{page}-{section.replace('.', '-')}" if section else page


def labels(match: re.Match[str]) -> list[str]:
    """Return the labels that a citation leads to."""
    page, _, numbers = match.groups()
    return [label(page, number) for number in re.findall(_NUMBER, numbers or "")] or [page]


def linked(line: str) -> str:
    """Return a line of reST with its citations as links."""

    def link(match: re.Match[str]) -> str:
        page, words, numbers = match.groups()
        title = page.replace("-", " ")
        if numbers is None:
            return f":ref:`{title} <{page}>`"
        first, *others = re.split(rf"({_NUMBER})", numbers)[1:]
        found = f":ref:`{title}{words}{first} <{label(page, first)}>`"
        for part in others:
            number = re.fullmatch(_NUMBER, part)
            found += f":ref:`{part} <{label(page, part)}>`" if number else part
        return found

    return CITATION.sub(link, line)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [linked(line) for line in lines]


def setup(app: Any) -> dict[str, bool]:
    """Look at docstrings after numpydoc has."""
    app.connect("autodoc-process-docstring", _process, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
