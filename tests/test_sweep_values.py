"""What sweeps are given and what cells return, of any kind, before and after a resumption."""

from __future__ import annotations

import enum
import functools
import json
import os
import signal
import threading

import numpy as np
import pandas as pd
import pytest

import lipgd
from lipgd.sweeps import _grid


class Colour(enum.IntEnum):
    RED = 1


class Side(str, enum.Enum):
    LEFT = "left"


def test_what_the_disk_gives_back_is_what_was_there(tmp_path):
    def cell(a, seed):
        return {"c": Colour.RED, "s": Side.LEFT, "n": float("nan"), "h": 10**40, "t": "a\n'\ud800"}

    first = lipgd.sweep(cell, {"a": [1]}, out=tmp_path, jobs=1)
    assert [type(value) for value in first[0].values()] == [int, int, int, str, float, int, str]
    assert first == lipgd.sweep(cell, {"a": [1]}, out=tmp_path, jobs=1)


class Callable:
    def __call__(self, a, seed):
        return {"b": a}


def power(a, seed, n):
    return {"b": a**n}


def test_functions_without_a_name_are_known_again(tmp_path):
    lipgd.sweep(Callable(), {"a": [1]}, out=tmp_path / "a", jobs=1)
    assert lipgd.sweep(Callable(), {"a": [1, 2]}, out=tmp_path / "a", jobs=1).column("b") == [1, 2]
    manifest = json.loads((tmp_path / "a" / "sweep.json").read_text())
    assert manifest["task"] == f"{__name__}.Callable"
    lipgd.sweep(functools.partial(power, n=2), {"a": [1]}, out=tmp_path / "b", jobs=1)
    manifest = json.loads((tmp_path / "b" / "sweep.json").read_text())
    assert manifest["task"] == f'{__name__}.power with [[], {{"n": 2}}]'
    with pytest.raises(ValueError, match="out has another sweep, with task"):
        lipgd.sweep(functools.partial(power, n=3), {"a": [1]}, out=tmp_path / "b")


def test_labels_tell_functions_apart(tmp_path):
    grid = {"f": {"square": lambda x: x * x, "same": lambda x: x}}

    def cell(f, seed):
        return {"b": f(3)}

    for _ in range(2):
        table = lipgd.sweep(cell, grid, out=tmp_path, jobs=1)
        assert table.column("b") == [9, 3] and table.column("f") == ["square", "same"]
    with pytest.raises(TypeError, match="a mapping from labels to such values"):
        lipgd.sweep(cell, {"f": list(grid["f"].values())})


def test_all_numbers_of_a_frame_tell_it_from_others(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)))
    settings = {"X": frame, "y": frame[0], "steps": 2}
    lipgd.sweep(settings, {"hidden": [3]}, out=tmp_path)
    other = frame.copy()
    other.iloc[150, 1] += 1.0  # the repr does not show it
    with pytest.raises(ValueError, match="another sweep, with X"):
        lipgd.sweep({**settings, "X": other}, {"hidden": [3]}, out=tmp_path)
    arrays = [np.array([1, "a"], object), np.array([1, "b"], object), np.array(["2020"], "M8[D]")]
    assert len({_grid.short_text("a", array) for array in arrays}) == 3


@pytest.mark.parametrize("kind", ["settings", "function"])
def test_a_training_that_ctrl_c_ended_is_no_finished_cell(kind, tmp_path):
    settings = {"X": np.ones((50, 2)), "y": np.ones(50), "steps": 10**8, "rate": 1e-9}

    def function(seed):
        net = lipgd.Network.create([2, 3, 1], seed=seed)
        return lipgd.train(net, **settings)

    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
    task = settings if kind == "settings" else function
    table = lipgd.sweep(task, {}, out=tmp_path, jobs=1)
    assert len(table) == 0 and not table.complete
    assert not list((tmp_path / "cells").iterdir())
