"""A progress bar on stderr."""

from __future__ import annotations

import sys
import time

__all__ = ["ProgressBar"]

_WIDTH = 30


class ProgressBar:
    """One line that is written again and again; only the last time if stderr is no terminal."""

    def __init__(self, steps: int, label: str = "") -> None:
        self._steps = max(steps, 1)
        self._label = f"{label} " if label else ""
        self._start = time.monotonic()
        self._first_step: int | None = None
        self._line = ""
        self._live = sys.stderr.isatty()

    def show(self, step: int, risk: float | None) -> None:
        """Show that so many steps are done."""
        if self._first_step is None:
            self._first_step = step
        done = step / self._steps
        seconds = time.monotonic() - self._start
        rate = step / seconds if seconds > 0 else 0.0
        left = (self._steps - step) / rate if rate > 0 else 0.0
        bar = ("#" * int(_WIDTH * done)).ljust(_WIDTH, ".")
        text = f"{self._label}[{bar}] {step}/{self._steps}  {rate:,.0f} steps/s  {left:.0f} s left"
        if risk is not None:
            text += f"  risk {risk:.4g}"
        # Blanks cover what a longer line before left behind.
        self._line = text.ljust(len(self._line.rstrip()))
        if self._live:
            sys.stderr.write("\r" + self._line)
            sys.stderr.flush()

    def close(self) -> None:
        """End the line."""
        if not self._line:
            return
        sys.stderr.write(("\r" if self._live else "") + self._line + "\n")
        sys.stderr.flush()
