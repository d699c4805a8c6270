"""A progress bar on stderr."""

from __future__ import annotations

import shutil
import sys
import time

__all__ = ["ProgressBar"]

_WIDEST, _NARROWEST = 30, 5
#: Columns beside the label that are worth having.
_FOR_NUMBERS = 40


class ProgressBar:
    """One line that is written again and again; only the last time if stderr is no terminal."""

    def __init__(self, steps: int, label: str = "", unit: str = "steps", done: int = 0) -> None:
        #: How many are done before the clock starts.
        self._done = done
        self._steps = max(steps, 1)
        self._label = f"{label} " if label else ""
        self._unit = unit
        self._start = time.monotonic()
        self._line = ""
        self._live = sys.stderr.isatty()

    def show(self, step: int, risk: float | None) -> None:
        """Show that so many steps are done."""
        done = step / self._steps
        seconds = time.monotonic() - self._start
        rate = (step - self._done) / seconds if seconds > 0 else 0.0
        left = (self._steps - step) / rate if rate > 0 else 0.0
        pace = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        facts = [f" {step}/{self._steps}", f"  {pace} {self._unit}/s", f"  {left:.0f} s left"]
        if risk is not None:
            facts.append(f"  risk {risk:.4g}")
        text = self._fitted(done, facts)
        # Blanks cover what a longer line before left behind.
        self._line = text.ljust(len(self._line.rstrip()))
        if self._live:
            sys.stderr.write("\r" + self._line)
            sys.stderr.flush()

    def _fitted(self, done: float, facts: list[str]) -> str:
        """Return the line, without the last facts or the label if the terminal is too narrow."""
        # A line that wraps could not be overwritten.
        columns = shutil.get_terminal_size().columns - 1 if self._live else sys.maxsize
        label = self._label if len(self._label) + _FOR_NUMBERS <= columns else ""
        room = columns - len(label) - 2
        while len(facts) > 1 and _NARROWEST + len("".join(facts)) > room:
            facts = facts[:-1]
        width = max(_NARROWEST, min(_WIDEST, room - len("".join(facts))))
        bar = ("#" * int(width * done)).ljust(width, ".")
        return f"{label}[{bar}]{''.join(facts)}"

    def close(self) -> None:
        """End the line."""
        if not self._line:
            return
        sys.stderr.write(("\r" if self._live else "") + self._line + "\n")
        sys.stderr.flush()
