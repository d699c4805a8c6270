"""Pages for people, and what is guaranteed of a training beside what happened in it.

A page is one HTML file that needs no network, with every number beside its command.

>>> from lipgd import report
>>> rows = [["constant", 0.25], ["decaying", 0.5]]
>>> table = report.table(["rate", "risk"], rows, caption="Risks", command="lipgd demo")
>>> html = report.page("A title", {"Results": ["What was done.", table]})
>>> html.startswith("<!doctype html>"), "<script" in html
(True, False)
"""

from __future__ import annotations

from ._guarantees import Guarantees, guarantees
from ._page import Html, cell, command, figure, page, save, table, text_table
from ._signatures import Signature
from ._widths import Widths, compare_widths

__all__ = [
    "Guarantees",
    "Html",
    "Signature",
    "Widths",
    "cell",
    "command",
    "compare_widths",
    "figure",
    "guarantees",
    "page",
    "save",
    "table",
    "text_table",
]
