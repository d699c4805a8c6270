"""Processes of sweeps: they stay for a while, and end with the sweep or the program."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

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


class Mute(Exception):
    def __str__(self):
        raise ValueError("no text")


def raising(a):
    if a == 3:
        sys.exit(4)
    if a == 4:
        raise Mute
    return a


@pytest.mark.parametrize("jobs", [1, 2])
def test_exits_and_errors_without_text_cost_their_cells_alone(jobs):
    with pytest.warns(RuntimeWarning, match="2 of 6 cells failed"):
        table = lipgd.sweep(lambda a, seed: {"b": raising(a)}, {"a": range(6)}, jobs=jobs)
    assert table.column("b") == [0, 1, 2, 5]
    assert [cell["error"] for cell in table.failures] == ["SystemExit: 4", "Mute"]


def test_what_cannot_be_sent_is_named():
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"task has what cannot .*'_thread.lock' .* or jobs=1"):
        cells(lambda a: lock and a, 6)
    with pytest.raises(TypeError, match="grid has what cannot be sent to other processes"):
        lipgd.sweep(lambda a, seed: {"b": 1}, {"a": {"one": lock}}, seeds=6, jobs=2)
    assert not _workers._KEPT._workers


def test_no_more_processes_start_than_there_are_cells():
    lipgd.sweep(lambda a, seed: {"b": a}, {"a": range(4)}, jobs=50)
    assert len(_workers._KEPT._workers) == 2  # two cells ran here, to see how long they take


def test_processes_see_what_changed_since_the_last_sweep(tmp_path, monkeypatch):
    def seen():
        return cells(lambda a: f"{os.environ.get('CHANGED')} {module.content()} {os.getcwd()}", 4)

    source = tmp_path / "edited_between_sweeps.py"
    source.write_text("def content(): return 1")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("edited_between_sweeps")
    here = os.getcwd()
    assert seen() == seen() == [f"None 1 {here}"] * 4
    source.write_text("def content(): return 'two'")
    module = importlib.reload(module)
    assert seen() == [f"None two {here}"] * 4
    monkeypatch.setenv("CHANGED", "yes")
    monkeypatch.chdir(tmp_path)
    assert seen() == [f"yes two {tmp_path}"] * 4
    del sys.modules["edited_between_sweeps"]


def test_cells_may_close_or_replace_the_streams():
    here = os.getpid()

    def cell(a):
        if os.getpid() != here:
            sys.stdout.close() if a % 2 else setattr(sys, "stderr", None)
        return a

    assert cells(cell, 8) == list(range(8))


def test_processes_without_work_give_memory_back():
    def megabytes():
        pids = [worker._process.pid for worker in _workers._KEPT._workers]
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
        return max(pages) * os.sysconf("SC_PAGESIZE") / 2**20

    cells(lambda a: a, 6)
    before = megabytes()
    data = os.urandom(2**20) * 60
    cells(lambda a: len(data), 6)
    wait_for(lambda: megabytes() < before + 30)


def test_a_fork_keeps_no_process_from_ending():
    running = run_on_workers(lambda request: request, [1] * 9, 2)
    next(running)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python 3.12, since there are threads
        child = os.fork()
    if child == 0:
        os._exit(not all(worker.connection.closed for worker in _workers._ALL))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(running) == [1] * 8


def test_a_process_is_missed_although_what_it_forked_lives_on():
    def cell(a):
        if a == 5:
            if os.fork() == 0:
                time.sleep(20)
                os._exit(0)
            os._exit(3)
        return a

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="exit code 3"):
        cells(cell, 8)
    assert time.monotonic() - start < 15


BARE = """
import os, sys
os.close(0), os.close(1)
import lipgd
from lipgd.sweeps import _engines
_engines._PILOT_SECONDS = _engines._START_SECONDS = _engines._BATCH_SECONDS = 0.0
sys.path.append("a 'quoted' \\udcff {path}")
import pathlib
sys.path.append(pathlib.Path("no text"))
def cell(a, seed):
    if os.getpid() != here:
        return {"flags": f"{__debug__} {sys.warnoptions} {os.read(0, 1)}"}
    return {"flags": "here"}
here = os.getpid()
print(*sorted(set(lipgd.sweep(cell, {"a": range(9)}, jobs=2).column("flags"))), file=sys.stderr)
"""


def test_processes_have_the_flags_of_a_program_even_one_without_streams():
    command = [sys.executable, "-O", "-W", "error", "-c", BARE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == "False ['error'] b'' here\n"


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
