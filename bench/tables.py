"""Plain text tables."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [_line(header, widths), "  ".join("-" * width for width in widths)]
    return "\n".join(lines + [_line(row, widths) for row in rows])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join([first, *rest]).rstrip()


def duration(seconds: float | None) -> str:
    """Return a time with three digits and a unit."""
    if seconds is None:
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def percent(share: float | None) -> str:
    """Return a share of one as a whole percentage."""
    return "-" if share is None else f"{100 * share:.0f} %"


def megabytes(size: int | None) -> str:
    """Return a size in units of 1e6 bytes."""
    return "-" if size is None else f"{size / 1e6:.1f} MB"


def verdict(ratio: float | None, target: float | None) -> str:
    """Return a ratio with its target and whether it is reached."""
    if ratio is None:
        return "-"
    if target is None:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} >= {target:.3g} {'yes' if ratio >= target else 'NO'}"
