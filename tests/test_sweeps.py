"""Sweeps: the same table from every engine, order and interruption."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

import lipgd
from lipgd.sweeps import _engines, _grid, _store

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
SETTINGS = {"X": X, "y": np.sin(X[:, 0]), "steps": 20, "rate": 0.05}
GRID = {"hidden": [4, [5, 3]], "lipschitz": [0.5, None], "activation": ["silu", "relu"]}


def double(a, b=1, *, seed):
    return {"product": a * b, "draw": float(np.random.default_rng(seed).normal())}


def fails_for_two(a, seed):
    if a == 2:
        raise ArithmeticError("two is bad")
    return {"a_squared": a * a}


def test_rows_come_in_the_order_of_the_grid():
    table = lipgd.sweep(double, {"a": [1, 2], "b": [3, 4]}, seeds=2, jobs=1)
    assert [(r["a"], r["b"], r["seed"]) for r in table] == [
        (a, b, seed) for a in (1, 2) for b in (3, 4) for seed in (0, 1)
    ]
    assert table.columns == ("a", "b", "seed", "product", "draw")
    assert table.column("product") == [3, 3, 4, 4, 6, 6, 8, 8]
    # The same seeds for all cells: differences between them are not luck of the draw.
    assert table[0]["draw"] == table[2]["draw"] != table[1]["draw"]
    assert table[-1] == table[7] and len(table[2:4]) == 2


def test_settings_train_networks():
    test = (X[:10], SETTINGS["y"][:10])
    table = lipgd.sweep({**SETTINGS, "test": test}, GRID, seeds=[3, 5])
    assert len(table) == 16
    for row in table:
        hidden = json.loads(row["hidden"]) if isinstance(row["hidden"], str) else [row["hidden"]]
        net = lipgd.Network.create([2, *hidden, 1], activation=row["activation"], seed=row["seed"])
        limit = row["lipschitz"]
        target = None if limit is None else lipgd.LipschitzTarget(limit, rescale_initial=True)
        run = lipgd.train(net, X, SETTINGS["y"], steps=20, rate=0.05, constraint=target)
        assert row["risk"] == run.history["risk"][-1]
        assert row["test_risk"] == lipgd.risk(run.network, *test)
        assert row["status"] == "finished" and row["steps_taken"] == 20
        assert row["lipschitz_lower"] <= row["lipschitz_upper"] <= (limit or np.inf)


def engines(monkeypatch, name):
    """Make a sweep use one engine for all but the cells of the pilot."""
    monkeypatch.setattr(_engines, "_PILOT_SECONDS", 0.0)
    if name == "threads":
        monkeypatch.setattr(_engines, "_LEAST_THREAD_SECONDS", 0.0)
    else:
        monkeypatch.setattr(_engines, "_LEAST_THREAD_SECONDS", np.inf)
        monkeypatch.setattr(_engines, "_START_SECONDS", 0.0)
    missing = {"joblib": ["cloudpickle"], "neither": ["cloudpickle", "joblib", "joblib.parallel"]}
    for module in missing.get(name, []):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("engine", ["threads", "workers", "joblib", "neither"])
def test_every_engine_gives_the_same_table(engine, monkeypatch):
    expected = lipgd.sweep(SETTINGS, GRID, seeds=2, jobs=1)
    engines(monkeypatch, engine)
    assert lipgd.sweep(SETTINGS, GRID, seeds=2, jobs=2) == expected


def test_a_dask_cluster_gives_the_same_table():
    distributed = pytest.importorskip("distributed")
    import joblib

    expected = lipgd.sweep(SETTINGS, GRID, jobs=1)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        table = lipgd.sweep(SETTINGS, GRID)
        workers = lipgd.sweep(process, {"a": list(range(12))})
    assert table == expected
    assert len(set(workers.column("process"))) == 2
    assert os.getpid() not in workers.column("process")


def test_backends_that_answer_at_the_end_are_asked_a_little_at_a_time(tmp_path, monkeypatch):
    """The backend of Ray is such a one; without a number of jobs it would take one worker."""
    import joblib
    from joblib._parallel_backends import ThreadingBackend

    class AtTheEnd(ThreadingBackend):
        supports_return_generator = False

        def effective_n_jobs(self, n_jobs):
            return {None: 1, -1: 2}.get(n_jobs, n_jobs)

    joblib.register_parallel_backend("at_the_end", AtTheEnd)
    monkeypatch.setattr(_engines, "_BATCH_SECONDS", 0.0)
    calls = []
    add = _store.Store.add
    monkeypatch.setattr(_store.Store, "add", lambda *a, **k: (calls.append(1), add(*a, **k)))
    expected = lipgd.sweep(SETTINGS, GRID, seeds=4, jobs=1)
    for options in ({}, {"n_jobs": -1}, {"n_jobs": 1}):
        with joblib.parallel_config(backend="at_the_end", **options):
            assert lipgd.sweep(SETTINGS, GRID, seeds=4) == expected
            threads = lipgd.sweep(thread, {"a": list(range(12))}, out=tmp_path / str(options))
        alone = set(threads.column("thread")) == {threading.get_ident()}
        assert alone == (options.get("n_jobs") == 1)
    assert len(calls) == 3 * 12


def thread(a, seed):
    time.sleep(0.02)
    return {"thread": threading.get_ident()}


def process(a, seed):
    time.sleep(0.05)
    return {"process": os.getpid()}


def test_finished_cells_are_not_run_again(tmp_path):
    first = lipgd.sweep(SETTINGS, {"hidden": [4]}, out=tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = lipgd.sweep(SETTINGS, {"hidden": [4]}, out=tmp_path)
    assert again == first
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    wider = lipgd.sweep(SETTINGS, {"hidden": [4, 8]}, seeds=2, out=tmp_path)
    assert wider[0] == first[0] and len(wider) == 4
    assert wider == lipgd.sweep(SETTINGS, {"hidden": [4, 8]}, seeds=2)


def quick(a, seed):
    return {"square": a * a}


@pytest.mark.parametrize("engine", ["one worker", "two workers", "a backend"])
def test_quick_cells_reach_the_disk_together(engine, tmp_path, monkeypatch):
    import joblib

    calls = []
    monkeypatch.setattr(_store.os, "fsync", lambda *_: calls.append(1))
    cells, options = {"a": list(range(600))}, {"jobs": 1 if engine == "one worker" else 2}
    if engine == "a backend":
        with joblib.parallel_config(backend="threading", n_jobs=2):
            table = lipgd.sweep(quick, cells, out=tmp_path)
    else:
        table = lipgd.sweep(quick, cells, out=tmp_path, **options)
    assert table.column("square") == [a * a for a in range(600)]
    assert len(calls) < 40
    assert not list((tmp_path / "cells").iterdir())
    assert (tmp_path / "journal.jsonl").read_text().count('"row"') == 600


def test_ctrl_c_keeps_quick_cells_that_wait_for_the_disk(tmp_path):
    def cell(a, seed):
        if a == 300:
            raise KeyboardInterrupt
        return {"b": a}

    table = lipgd.sweep(cell, {"a": list(range(400))}, out=tmp_path)
    assert len(table) == 300 and not table.complete


def test_a_folder_of_another_sweep_is_refused(tmp_path):
    lipgd.sweep(SETTINGS, {"hidden": [4]}, out=tmp_path)
    with pytest.raises(ValueError, match=r"out has another sweep, with y .* there and .* here"):
        lipgd.sweep({**SETTINGS, "y": np.cos(X[:, 0])}, {"hidden": [4]}, out=tmp_path)
    with pytest.raises(ValueError, match=r"with momentum not given there and 0\.5 here"):
        lipgd.sweep({**SETTINGS, "momentum": 0.5}, {"hidden": [4]}, out=tmp_path)
    with pytest.raises(ValueError, match=r"another sweep, with settings .*; task"):
        lipgd.sweep(dict, {"hidden": [4]}, out=tmp_path)
    with pytest.raises(ValueError, match="and resume is False"):
        lipgd.sweep(SETTINGS, {"hidden": [4]}, out=tmp_path, resume=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file', which is a file, expected a folder"):
        lipgd.sweep(SETTINGS, {"hidden": [4]}, out=tmp_path / "file")
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep\.json is damaged"):
        lipgd.sweep(SETTINGS, {"hidden": [4]}, out=tmp_path)


def test_half_a_line_of_the_journal_counts_as_none(tmp_path):
    expected = lipgd.sweep(double, {"a": [1, 2, 3]}, out=tmp_path, jobs=1)
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_bytes()
    for cut in range(len(whole)):
        journal.write_bytes(whole[:cut])
        assert lipgd.sweep(double, {"a": [1, 2, 3]}, out=tmp_path, jobs=1) == expected
    journal.write_bytes(whole.replace(b'"product": 2', b'"product": 7'))
    assert lipgd.sweep(double, {"a": [1, 2, 3]}, out=tmp_path, jobs=1) == expected


PROGRAM = """
import sys, time, lipgd

def cell(a, seed):
    time.sleep(0.002 if a % 2 else 0.12)
    return {"square": a * a}

if __name__ == "__main__":
    table = lipgd.sweep(cell, {"a": list(range(24))}, out=sys.argv[1], jobs=2)
    table.save(sys.argv[2])
"""


def test_a_killed_sweep_goes_on_to_the_same_table(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def start(name):
        return subprocess.Popen(
            [sys.executable, program, tmp_path / name, tmp_path / f"{name}.csv"],
            start_new_session=True,
        )

    assert start("whole").wait() == 0
    draw = random.Random(1)
    for _ in range(4):
        killed = start("killed")
        time.sleep(draw.uniform(0.3, 1.2))
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    assert start("killed").wait() == 0
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_cells_that_raise_do_not_cost_the_others(tmp_path):
    with pytest.warns(RuntimeWarning, match="1 of 3 cells failed, the first with ArithmeticError"):
        table = lipgd.sweep(fails_for_two, {"a": [1, 2, 3]}, out=tmp_path)
    assert table.column("a_squared") == [1, 9] and table.complete
    assert table.failures == [{"a": 2, "seed": 0, "error": "ArithmeticError: two is bad"}]
    assert "1 failed" in repr(table)


def test_ctrl_c_returns_the_rows_so_far(tmp_path):
    def cell(a, seed):
        if a == 3:
            raise KeyboardInterrupt
        return {"b": a}

    table = lipgd.sweep(cell, {"a": [1, 2, 3, 4]}, out=tmp_path, jobs=1)
    assert table.column("b") == [1, 2] and not table.complete
    assert "interrupted" in repr(table)


def test_labels_stand_for_values():
    rates = {"constant": 0.05, "decaying": lipgd.schedules.exponential(0.05, 0.1)}
    table = lipgd.sweep({**SETTINGS, "hidden": 4}, {"rate": rates})
    assert table.column("rate") == ["constant", "decaying"]
    assert table[0]["risk"] != table[1]["risk"]
    schedules = [0.05, lipgd.schedules.exponential(0.05, 0.1)]
    other = lipgd.sweep({**SETTINGS, "hidden": 4}, {"rate": schedules})
    assert other.column("risk") == table.column("risk")
    assert other[1]["rate"] == repr(schedules[1])


def test_runs_and_numpy_numbers_make_rows():
    def train(rate, seed):
        return lipgd.train(lipgd.Network.create([2, 3, 1], seed=seed), X, X[:, 0], steps=3)

    def numbers(a, seed):
        return {"x": np.float32(a), "n": np.int64(3), "flag": np.bool_(True), "none": None}

    assert lipgd.sweep(train, {"rate": [0.1]}, jobs=1)[0]["steps_taken"] == 3
    row = lipgd.sweep(numbers, {"a": [0.5]}, jobs=1)[0]
    assert row == {"a": 0.5, "seed": 0, "x": 0.5, "n": 3, "flag": True, "none": None}
    assert type(row["x"]) is float and type(row["flag"]) is bool


def test_tables_are_saved(tmp_path, monkeypatch):
    table = lipgd.sweep(double, {"a": [1, 2]}, jobs=1)
    frame = table.to_pandas()
    assert list(frame.columns) == list(table.columns) and frame["product"].tolist() == [1, 2]
    table.save(tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "a,seed,product,draw" and len(lines) == 3
    assert float(lines[1].split(",")[3]) == table[0]["draw"]
    # Without a library for Parquet, pandas finds none.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    with pytest.raises(ImportError, match="save needs pyarrow"):
        table.save(tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()
    with pytest.raises(ValueError, match=r"expected a name that ends in \.csv or \.parquet"):
        table.save(tmp_path / "t.txt")


def test_files_of_parquet_hold_columns_of_several_types(tmp_path):
    def cell(rate, seed):
        facts = {"long": 2**63 - 1 + seed, "longest": 2**63 - 1, "some": None if seed else "a"}
        return facts | {"number": seed + 0.5 if seed else 1, "flag": seed > 0}

    grid = {"rate": [0.5, lipgd.schedules.polynomial(0.1, 1.0, 10.0)]}
    table = lipgd.sweep(cell, grid, seeds=2, jobs=1)
    table.save(tmp_path / "t.parquet")
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert list(frame.columns) == list(table.columns)
    # Text where a column has both kinds or what 64 bits do not hold.
    assert frame["rate"].tolist() == [str(rate) for rate in table.column("rate")]
    assert frame["long"].tolist() == [str(2**63 - 1), str(2**63)] * 2
    assert frame["longest"].tolist() == [2**63 - 1] * 4
    assert frame["some"].isna().tolist() == [False, True] * 2 and frame["some"][0] == "a"
    assert frame["number"].tolist() == [1.0, 1.5] * 2
    assert frame["flag"].tolist() == [False, True] * 2


@pytest.mark.parametrize(
    ("task", "grid", "options", "error", "message"),
    [
        (double, [1], {}, TypeError, r"grid is \[1\], expected a mapping"),
        (double, {"a": 3}, {}, TypeError, r"grid\['a'\] is 3, expected a list"),
        (double, {"a": np.array(3)}, {}, TypeError, r"grid\['a'\] is .*3.*, expected a list"),
        (double, {"a": []}, {}, ValueError, r"grid\['a'\] is empty"),
        (double, {"a": [1, 1]}, {}, ValueError, "grid has a value twice"),
        (double, {"seed": [1]}, {}, ValueError, "grid has the name 'seed'"),
        (double, {1: [1]}, {}, TypeError, "grid has the name 1"),
        (double, {"a": [object()]}, {}, TypeError, "does not tell what it is"),
        (double, {"a": [1]}, {"seeds": 0}, ValueError, "seeds is 0"),
        (double, {"a": [1]}, {"seeds": [-1]}, ValueError, r"seeds\[0\] is -1"),
        (double, {"a": [1]}, {"jobs": 0}, ValueError, "jobs is 0"),
        (double, {"a": [1]}, {"resume": "yes"}, TypeError, "resume is 'yes'"),
        (3, {"a": [1]}, {}, TypeError, "task is 3, expected a function or a mapping"),
        ({"X": X}, {"rate": [1]}, {}, ValueError, "task has no 'y'"),
        ({**SETTINGS, "width": 3}, {"rate": [1]}, {}, ValueError, "task has the name 'width'"),
        (SETTINGS, {"width": [3]}, {}, ValueError, "grid has the name 'width', expected some of X"),
    ],
)
def test_bad_arguments_are_refused_by_name(task, grid, options, error, message):
    with pytest.raises(error, match=message):
        lipgd.sweep(task, grid, **options)


def test_the_bar_counts_cells(capsys):
    lipgd.sweep(double, {"a": [1, 2]}, jobs=1, progress=True)
    assert "2/2" in capsys.readouterr().err


def test_keys_depend_on_labels_and_values_alone():
    grid = {'b"': [1.5, None, "é"], "a": {"one": [1, 2], "nan": np.nan}}
    cells = _grid.cells_of(grid, [3, 7])
    keys = [cells.key(position) for position in range(len(cells))]
    assert len(set(keys)) == len(cells) == 12
    for position, key in enumerate(keys):
        arguments = cells.arguments([position])
        values = {name: _grid.described(name, value) for name, (value,) in arguments.items()}
        labels = cells.labels(position)
        assert key == _grid._digest(_grid._text({"labels": labels, "values": values}))
    turned = _grid.cells_of(dict(reversed(grid.items())), [7, 3])
    assert {turned.key(position) for position in range(12)} == set(keys)


@pytest.mark.parametrize("seconds", [1e-5, 2e-4, 5e-3, 3.0])
def test_batches_shrink_so_that_no_worker_waits_long(seconds):
    cells = _grid.cells_of({"a": range(3000)}, 1)
    batches = list(_engines._batches(cells, range(5, 3000), seconds, 2))
    assert [position for positions, _ in batches for position in positions] == [*range(5, 3000)]
    for positions, arguments in batches:
        assert arguments == {"a": list(positions), "seed": [0] * len(positions)}
    sizes = [len(positions) for positions, _ in batches]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) * seconds <= max(0.25, seconds) + seconds
    assert sizes[-1] * seconds <= 0.01 + seconds
