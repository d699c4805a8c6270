"""Processes of sweeps: they stay for a while, and end with the sweep or the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import lipgd
from lipgd.sweeps import _engines, _workers
from lipgd.sweeps._workers import run_on_workers


@pytest.fixture(autouse=True)
def only_workers(monkeypatch):
    """All cells but the first run on workers."""
    monkeypatch.setattr(_engines, "_PILOT_SECONDS", 0.0)
    monkeypatch.setattr(_engines, "_START_SECONDS", 0.0)
    monkeypatch.setattr(_engines, "_BATCH_SECONDS", 0.0)
    yield
    _workers._KEPT.close()


def cells(function, count, **options):
    """Return a column of a sweep of two workers over 0, 1, ..., and whether it is whole."""
    table = lipgd.sweep(lambda a, seed: {"b": function(a)}, {"a": range(count)}, jobs=2, **options)
    return table.column("b")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_are_kept_for_the_next_sweep_and_then_end(tmp_path, monkeypatch):
    here = os.getpid()

    def pids(folder):
        folder.mkdir()

        def pid(a):
            if os.getpid() != here:
                (folder / str(os.getpid())).touch()
                while len(list(folder.iterdir())) < 2:
                    time.sleep(0.001)
            return os.getpid()

        return set(cells(pid, 12)) - {here}

    first = pids(tmp_path / "a")
    assert len(first) == 2
    assert pids(tmp_path / "b") == first
    # Others are started in place of dead ones.
    os.kill(max(first), signal.SIGKILL)
    wait_for(lambda: not is_alive(max(first)))
    again = pids(tmp_path / "c")
    assert len(again) == 2 and len(again & first) == 1
    # Other numbers of workers have other numbers of threads.
    monkeypatch.setattr(_workers, "_KEPT_SECONDS", 0.0)
    monkeypatch.setattr(_workers, "usable_threads", lambda: 64)
    threads = cells(lambda a: os.environ.get("OMP_NUM_THREADS"), 4)
    assert set(threads[2:]) == {os.environ.get("OMP_NUM_THREADS", "32")}
    wait_for(lambda: not _workers._KEPT._workers)
    wait_for(lambda: not any(map(is_alive, again)))


def test_requests_and_answers_of_any_length_do_not_block_each_other():
    requests = [bytes([number]) * 10**6 for number in range(10)]
    answers = list(run_on_workers(lambda request: request + request, iter(requests), 2))
    assert sorted(answers) == [request + request for request in requests]


def test_a_process_that_dies_is_named_and_the_finished_cells_stay(tmp_path):
    def deadly(a):
        if a == 5 and not (tmp_path / "mended").exists():
            time.sleep(0.5)
            os._exit(3)
        return a

    with pytest.raises(RuntimeError, match=r"a process of the sweep ended with exit code 3 while"):
        cells(deadly, 8, out=tmp_path / "out")
    assert not _workers._KEPT._workers
    finished = (tmp_path / "out" / "journal.jsonl").read_text().count('"row"')
    assert finished + len(list((tmp_path / "out" / "cells").iterdir())) >= 3
    (tmp_path / "mended").touch()
    assert cells(deadly, 8, out=tmp_path / "out") == list(range(8))


class Elsewhere:
    """What only this process can load."""

    def __init__(self, process):
        if os.getpid() != process:
            raise ImportError("no module of that name")
        self.process = process

    def __reduce__(self):
        return Elsewhere, (self.process,)


@pytest.mark.parametrize("place", ["function", "request", "answer"])
def test_what_a_process_cannot_load_or_send_is_an_error(place):
    here = Elsewhere(os.getpid())
    functions = {
        "function": lambda request: here,
        "request": lambda request: request,
        "answer": lambda request: sys._getframe(),
    }
    requests = [here if place == "request" else 1] * 3
    message = "cannot pickle 'frame'" if place == "answer" else "no module of that name"
    with pytest.raises(RuntimeError, match=f"could not run cells: .*{message}"):
        list(run_on_workers(functions[place], requests, 2))


def test_an_exit_in_a_cell_is_an_error():
    with pytest.raises(RuntimeError, match="could not run cells: SystemExit: 4"):
        cells(lambda a: sys.exit(4) if a > 2 else 0, 6)


PROGRAM = """
import glob, os, sys, time
import lipgd
from lipgd.sweeps import _engines
_engines._PILOT_SECONDS = _engines._START_SECONDS = _engines._BATCH_SECONDS = 0.0
parent = os.getpid()
def cell(a, seed):
    if os.getpid() != parent:
        open(f"{os.getpid()}.pid", "w").close()
        while len(glob.glob("*.pid")) < 2:
            time.sleep(0.001)
    sys.stdout.write(f"cell {a}\\n")  # as one piece
    time.sleep(SLEEP)
    return {"a2": a * a}
def table(count):
    return lipgd.sweep(cell, {"a": range(count)}, jobs=2)
"""


def started(folder, sleep, body):
    """Start a script that has no guard around its calls."""
    folder.joinpath("program.py").write_text(PROGRAM.replace("SLEEP", str(sleep)) + body)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "program.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes(folder):
    return [int(path.stem) for path in folder.glob("*.pid")]


def test_a_script_sees_what_cells_print_and_leaves_nothing_behind(tmp_path):
    script = started(tmp_path, 0.001, "print(table(50).column('a2') == [a * a for a in range(50)])")
    out, err = script.communicate(timeout=60)
    assert (script.returncode, err) == (0, "")
    lines = sorted(out.split("\n"))
    assert lines == sorted([*(f"cell {a}" for a in range(50)), "True", ""])
    assert len(processes(tmp_path)) == 2
    assert not any(map(is_alive, processes(tmp_path)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_program_even_within_a_cell(number, tmp_path):
    body = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
result = table(12)
print(result.complete, set(result.column("a2")) <= {0, 1, 4, 9, 16})
"""
    script = started(tmp_path, "60 if a > 4 else 0", body)
    wait_for(lambda: len(processes(tmp_path)) == 2)
    os.kill(script.pid, number)
    out, err = script.communicate(timeout=30)
    if number == signal.SIGINT:
        assert (script.returncode, err) == (0, "")
        assert "False True" in out
    else:
        assert script.returncode == -number
    wait_for(lambda: not any(map(is_alive, processes(tmp_path))))


def test_copies_of_the_program_have_processes_of_their_own(tmp_path):
    body = """
whole = table(30)
child = os.fork()
if child == 0:
    parent = os.getpid()
    os.chdir("copy")
    os._exit(table(30) != whole)
print(table(30) == whole, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    (tmp_path / "copy").mkdir()
    script = started(tmp_path, 0.001, "import warnings\nwarnings.simplefilter('ignore')\n" + body)
    out, err = script.communicate(timeout=60)
    assert (script.returncode, err) == (0, "")
    assert "True 0" in out.split("\n")
    others = processes(tmp_path / "copy")
    assert len(processes(tmp_path)) == len(others) == 2
    assert not set(others) & set(processes(tmp_path))
    wait_for(lambda: not any(map(is_alive, others + processes(tmp_path))))
