"""The progress bar: one line, whatever the width of the terminal."""

from __future__ import annotations

import io
import sys

import pytest

from lipgd._progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(monkeypatch: pytest.MonkeyPatch, columns: int, label: str) -> list[str]:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    bar = ProgressBar(1000, label)
    for step, risk in ((500, 0.01234), (1000, 0.5)):
        bar.show(step, risk)
    bar.close()
    assert terminal.getvalue().endswith("\n")
    return terminal.getvalue().rstrip("\n").split("\r")[1:]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("label", ["", "a long name of a data set"])
def test_no_line_wraps_and_no_number_is_cut(
    columns: int, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A risk of 0.0123 once ended as 0."""
    shown = lines(monkeypatch, columns, label)
    assert max(map(len, shown)) < columns
    assert [" 500/1000" in shown[0], " 1000/1000" in shown[1]] == [True, True]
    for line, risk in zip(shown, ("0.01234", "0.5", "0.5"), strict=True):
        assert "risk" not in line or f"  risk {risk}" in line
    assert ("risk" in shown[0]) or columns < 100
    assert shown[0].startswith(label) or columns < 70


def test_the_bar_grows_with_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(monkeypatch, 200, "")
    assert [line.count("#") for line in shown] == [15, 30, 30]
    assert [line.count(".", 0, 32) for line in shown] == [15, 0, 0]


def test_what_was_done_before_does_not_make_it_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 5.0))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = ProgressBar(1000, done=900)
    bar.show(950, None)
    assert "950/1000  10 steps/s  5 s left" in bar._line


def test_a_file_gets_the_last_line_alone(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar(10, "name")
    bar.show(5, None)
    bar.show(10, 0.25)
    bar.close()
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("name [##############################] 10/10  ")
    assert err.endswith("  risk 0.25\n")
