"""Pages and tables for people.

Everything that is given as text is escaped. Only the functions here make :class:`Html`.
"""

from __future__ import annotations

import base64
import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .._files import atomic_writer

__all__ = ["Html", "cell", "command", "figure", "page", "save", "table", "text_table"]

_MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}

#: The policy forbids the browser to load anything: what is not in the file is not shown.
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
"""
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --paper: #ffffff; --shade: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --line: #3d444d;
  --paper: #0d1117; --shade: #161b22; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .75rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
p { max-width: 48rem; margin: .6rem 0; }
figure { margin: 1.25rem 0; }
figcaption, caption { color: var(--soft); font-size: .9rem; text-align: left; }
caption { padding-bottom: .4rem; }
figcaption { margin-top: .4rem; }
img { display: block; max-width: 100%; height: auto; background: #ffffff; padding: .5rem;
  box-sizing: border-box; border: 1px solid var(--line); border-radius: 6px; }
.wide { overflow-x: auto; }
.wide img { min-width: 42rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: left; }
td, tbody th { white-space: nowrap; }
thead th { vertical-align: bottom; font-weight: 600; }
thead tr:last-child th { border-bottom: 2px solid var(--line); }
th.group { border-bottom: 1px solid var(--line); text-align: center; }
tbody th { font-weight: 400; }
tbody tr:nth-child(even) { background: var(--shade); }
tbody td, tbody th { border-bottom: 1px solid var(--line); }
.n { text-align: right; }
code { font: .9em ui-monospace, "DejaVu Sans Mono", Consolas, monospace; background: var(--shade);
  border-radius: 4px; padding: .1em .35em; }
pre { background: var(--shade); border: 1px solid var(--line); border-radius: 6px;
  padding: .75rem 1rem; overflow-x: auto; }
pre code { padding: 0; background: none; }
.from { color: var(--soft); font-size: .85rem; margin: .4rem 0 0; }
"""


@dataclass(frozen=True)
class Html:
    """A piece of a page that is HTML already.

    Attributes
    ----------
    text : str
        The markup.
    """

    text: str


def page(title: str, sections: Mapping[str, Iterable[str | Html]], *, lead: str = "") -> str:
    """Return a whole page.

    Parameters
    ----------
    title : str
        The title.
    sections : mapping of str to iterable of (str or Html)
        Headings with what stands below them; a string is a paragraph.
    lead : str
        A paragraph below the title.

    Returns
    -------
    str
        HTML that loads nothing from anywhere.

    Examples
    --------
    >>> from lipgd import report
    >>> "<h2>Risk &amp; rate</h2>" in report.page("T", {"Risk & rate": ["a < b"]})
    True
    """
    parts = [_HEAD.format(title=escape(title), style=_STYLE)]
    if lead:
        parts.append(_block(lead))
    for heading, blocks in sections.items():
        inside = "\n".join(_block(block) for block in blocks)
        parts.append(f"<section>\n<h2>{escape(heading)}</h2>\n{inside}\n</section>\n")
    parts.append("</main>\n</body>\n</html>\n")
    return "".join(parts)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str,
    groups: Sequence[tuple[str, int]] = (),
    command: str | None = None,
) -> Html:
    r"""Return a table whose first cells name the rows.

    Parameters
    ----------
    columns : sequence of str
        The headings.
    rows : iterable of sequence
        The cells, formatted by :func:`cell`; numbers stand at the right.
    caption : str
        What the table shows, with units.
    groups : sequence of (str, int)
        Headings above the headings, each with the number of its columns.
    command : str, optional
        What reproduces the numbers.

    Returns
    -------
    Html

    Raises
    ------
    ValueError
        If a row or the groups do not fit to the columns.

    Examples
    --------
    >>> from lipgd import report
    >>> "<td class=\"n\">0.1250</td>" in report.table(["a", "b"], [["x", 1 / 8]], caption="c").text
    True
    """
    lines = [list(row) for row in rows]
    for number, line in enumerate(lines):
        if len(line) != len(columns):
            raise ValueError(
                f"rows[{number}] has {len(line)} cells, but there are {len(columns)} columns"
            )
    if groups and sum(count for _, count in groups) != len(columns):
        raise ValueError(f"groups has {groups!r}, but there are {len(columns)} columns")
    numeric = _numeric(lines, len(columns))
    body = "\n".join(f"<tr>{_row(line, numeric)}</tr>" for line in lines)
    return Html(
        f'<figure>\n<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}">\n'
        f"<table>\n<caption>{escape(caption)}</caption>\n<thead>\n{_groups(groups)}"
        f"<tr>{_headings(columns, numeric)}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
        f"</div>\n{_from(command)}</figure>"
    )


def text_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return the same table as plain text for a terminal.

    Parameters
    ----------
    columns : sequence of str
        The headings.
    rows : iterable of sequence
        The cells, formatted by :func:`cell`; numbers stand at the right.

    Returns
    -------
    str
        Lines without a line break at the end.

    Examples
    --------
    >>> from lipgd import report
    >>> print(report.text_table(["rate", "risk"], [["constant", 0.5], ["decaying", 0.25]]))
    rate        risk
    --------  ------
    constant  0.5000
    decaying  0.2500
    """
    values = [list(row) for row in rows]
    lines = [list(columns), *([cell(value) for value in line] for line in values)]
    right = _numeric(values, len(columns))
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    aligned = (
        (text.rjust(width) if numeric else text.ljust(width))
        for line in lines
        for text, width, numeric in zip(line, widths, right, strict=True)
    )
    return "\n".join("  ".join(islice(aligned, len(columns))).rstrip() for _ in lines)


def figure(
    path: str | os.PathLike[str], *, alt: str, caption: str, command: str | None = None
) -> Html:
    """Return a picture that is part of the page.

    Parameters
    ----------
    path : path-like
        A file that ends in ``.svg`` or ``.png``, such as :func:`lipgd.plotting.save` writes.
    alt : str
        What is to be seen, for those who cannot see it.
    caption : str
        The text below.
    command : str, optional
        What reproduces the picture.

    Returns
    -------
    Html

    Raises
    ------
    ValueError
        If the file is of another kind.

    Examples
    --------
    >>> import os, tempfile
    >>> from lipgd import report
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "dot.svg")
    ...     with open(path, "w") as file:
    ...         _ = file.write('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    ...     html = report.figure(path, alt="nothing", caption="An empty picture.")
    >>> 'src="data:image/svg+xml;base64,' in html.text
    True
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _MEDIA:
        raise ValueError(f"path is {os.fspath(path)!r}, expected a name that ends in .svg or .png")
    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return Html(
        f'<figure>\n<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}">\n'
        f'<img alt="{escape(alt)}" src="data:{_MEDIA[suffix]};base64,{data}">\n</div>\n'
        f"<figcaption>{escape(caption)}</figcaption>\n{_from(command)}</figure>"
    )


def command(text: str) -> Html:
    """Return a command or a program, to be copied.

    Parameters
    ----------
    text : str
        One or more lines.

    Returns
    -------
    Html

    Examples
    --------
    >>> from lipgd import report
    >>> report.command("lipgd demo > table.txt").text
    '<pre><code>lipgd demo &gt; table.txt</code></pre>'
    """
    return Html(f"<pre><code>{escape(text)}</code></pre>")


def cell(value: Any) -> str:
    """Return a value as text: four digits of a number, a dash for None.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    str

    Examples
    --------
    >>> from lipgd import report
    >>> [report.cell(value) for value in (0.123456, 12345, None, "text", 1e-9)]
    ['0.1235', '12,345', '-', 'text', '1.000e-09']
    """
    if value is None:
        return "-"
    if not _is_number(value):
        return str(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    number = float(value)
    large = math.isfinite(number) and 1e4 <= abs(number) < 1e15
    return f"{number:,.0f}" if large else f"{number:#.4g}".rstrip(".")


def save(path: str | os.PathLike[str], html: str) -> None:
    """Write a page to a file, which is replaced as a whole or not at all.

    Parameters
    ----------
    path : path-like
        The file.
    html : str
        What :func:`page` returned.
    """
    with atomic_writer(path) as file:
        file.write(html.encode("utf-8"))


def _block(block: str | Html) -> str:
    return block.text if isinstance(block, Html) else f"<p>{escape(block)}</p>"


def _from(command: str | None) -> str:
    if command is None:
        return ""
    return f'<p class="from">Reproduced by <code>{escape(command)}</code></p>\n'


def _groups(groups: Sequence[tuple[str, int]]) -> str:
    cells = [
        f'<th scope="colgroup" class="group" colspan="{count}">{escape(words)}</th>'
        if words
        else f'<td colspan="{count}"></td>'
        for words, count in groups
    ]
    return f"<tr>{''.join(cells)}</tr>\n" if cells else ""


def _headings(columns: Sequence[str], numeric: Sequence[bool]) -> str:
    return "".join(
        f'<th scope="col"{_class(right)}>{escape(words)}</th>'
        for words, right in zip(columns, numeric, strict=True)
    )


def _row(line: Sequence[Any], numeric: Sequence[bool]) -> str:
    cells = [escape(cell(value)) for value in line]
    first = f'<th scope="row"{_class(numeric[0])}>{cells[0]}</th>'
    others = (
        f"<td{_class(right)}>{text}</td>"
        for text, right in zip(cells[1:], numeric[1:], strict=True)
    )
    return first + "".join(others)


def _class(right: bool) -> str:
    return ' class="n"' if right else ""


def _numeric(lines: Sequence[Sequence[Any]], count: int) -> list[bool]:
    """Return which columns hold numbers, formatted or not."""
    texts = ([cell(line[i]) for line in lines if line[i] is not None] for i in range(count))
    return [bool(column) and all(map(_reads_as_number, column)) for column in texts]


def _reads_as_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
