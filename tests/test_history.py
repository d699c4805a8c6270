"""The History: what it holds, what files give back, and messages."""

from __future__ import annotations

import builtins
import copy
import csv
import doctest
import json
import pickle

import numpy as np
import pandas as pd
import pytest

import lipgd.history
from lipgd._files import write_npz
from lipgd.history import History

STEP = np.array([0, 5, 10, 12])
COLUMNS = {
    "risk": np.array([1.0, 0.1 + 0.2, 1e-300, np.nan]),
    "rate:W1": np.array([0.1, 0.2, 0.3, np.inf], dtype=np.float32),
    "count": np.array([1, 2, 3, 2**53 + 1]),
    "good": np.array([True, False, True, True]),
}
META = {"version": "0.1", "dtype": "float64", "settings": {"steps": 12, "frozen": ["W2"]}}


@pytest.fixture
def history():
    return History(STEP, COLUMNS, META)


def test_holds_what_was_recorded(history):
    assert len(history) == 4
    assert history.columns == tuple(history) == tuple(COLUMNS)
    assert "risk" in history
    assert "step" not in history
    assert history.step.dtype == np.int64
    assert np.array_equal(history.step, STEP)
    for name, column in COLUMNS.items():
        assert history[name].dtype == column.dtype
        assert history[name].tobytes() == column.tobytes()
        assert history[name].flags.c_contiguous
    assert history.meta == META


def test_is_frozen(history):
    for array in (history.step, *(history[name] for name in history)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        history.step = STEP
    history.meta["settings"]["steps"] = 0
    assert history.meta == META
    source = np.array([1.0])
    frozen = History([0], {"risk": source})
    source[0] = 2.0
    assert frozen["risk"][0] == 1.0


def test_equality_is_of_bits_and_facts(history):
    assert history == History(STEP, COLUMNS, META)
    assert history == copy.deepcopy(history)
    changed = COLUMNS["risk"].copy()
    changed[1] = np.nextafter(changed[1], 1)
    assert history != History(STEP, COLUMNS | {"risk": changed}, META)
    assert history != History(STEP + 1, COLUMNS, META)
    assert history != History(STEP, COLUMNS, {})
    assert history != History(STEP, {"risk": COLUMNS["risk"]}, META)
    assert history != History(STEP, COLUMNS | {"count": COLUMNS["count"] * 1.0}, META)
    assert history != COLUMNS
    with pytest.raises(TypeError, match="unhashable"):
        hash(history)


def test_survives_pickle_and_stays_frozen(history):
    again = pickle.loads(pickle.dumps(history))
    assert again == history
    assert not again["risk"].flags.writeable


def test_npz_gives_everything_back(history, tmp_path):
    path = tmp_path / "h.npz"
    history.save(path)
    again = History.load(path)
    assert again == history
    assert again["risk"].tobytes() == history["risk"].tobytes()
    assert not again["risk"].flags.writeable
    with np.load(path, allow_pickle=False) as file:
        assert np.array_equal(file["risk"], history["risk"], equal_nan=True)
        assert np.array_equal(file["step"], STEP)
        assert json.loads(str(file["meta"])) == META


@pytest.mark.parametrize("empty", [History([], {"risk": []}), History([3], {}), History([], {})])
def test_small_histories_are_legal(empty, tmp_path):
    empty.save(tmp_path / "h.npz")
    empty.save(tmp_path / "h.csv")
    assert History.load(tmp_path / "h.npz") == empty
    assert len(empty.to_numpy()) == len(empty.to_pandas()) == len(empty)
    assert repr(empty).startswith(f"History({len(empty)} rows")


def test_csv_keeps_every_digit(history, tmp_path):
    path = tmp_path / "h.CSV"
    history.save(path)
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["step", *COLUMNS]
    table = np.array(rows[1:])
    assert np.array_equal(table[:, 0].astype(int), STEP)
    assert np.array_equal(table[:, 1].astype(float), COLUMNS["risk"], equal_nan=True)
    assert np.array_equal(table[:, 2].astype(np.float32), COLUMNS["rate:W1"])
    assert [int(count) for count in table[:, 3]] == COLUMNS["count"].tolist()
    assert pd.read_csv(path)["good"].tolist() == COLUMNS["good"].tolist()


def test_structured_array_has_the_same_columns(history):
    table = history.to_numpy()
    assert table.dtype.names == ("step", *COLUMNS)
    assert np.array_equal(table["step"], STEP)
    for name in history:
        assert table[name].dtype == history[name].dtype
        assert table[name].tobytes() == history[name].tobytes()


def test_table_has_the_same_columns(history):
    table = history.to_pandas()
    assert table.index.name == "step"
    assert table.index.tolist() == STEP.tolist()
    for name in history:
        assert table[name].to_numpy().tobytes() == history[name].tobytes()
    table.loc[0, "risk"] = 9.0
    assert history["risk"][0] == 1.0


def test_table_without_pandas_names_the_extra(history, monkeypatch):
    original = builtins.__import__

    def without_pandas(name, *arguments):
        if name == "pandas":
            raise ImportError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ImportError, match=r'to_pandas needs pandas: pip install "lipgd\[pandas\]"'):
        history.to_pandas()


def test_unknown_column_names_those_that_exist(history):
    with pytest.raises(
        KeyError, match="column is 'loss', but the history has risk, rate:W1, count"
    ):
        history["loss"]
    with pytest.raises(KeyError, match="but the history has nothing"):
        History([], {})["risk"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.5], {}), TypeError, "step has the dtype float64, expected integers"),
        (([[0]], {}), ValueError, r"step has shape \(1, 1\), expected one step per row"),
        (([0, 0], {}), ValueError, "step is not increasing from at least 0"),
        (([-1, 0], {}), ValueError, "step is not increasing from at least 0"),
        (([2**63 - 1, -(2**63)], {}), ValueError, "step is not increasing"),
        (
            ([0], {"risk": [1.0, 2.0]}),
            ValueError,
            r"column 'risk' has shape \(2,\), but step has 1",
        ),
        (([0], {"risk": [[1.0]]}), ValueError, r"column 'risk' has shape \(1, 1\)"),
        (([0], {"risk": ["a"]}), TypeError, "column 'risk' has the dtype <U1, expected numbers"),
        (([0], {"risk": [None]}), TypeError, "column 'risk' has the dtype object"),
        (([0], {"risk": [1j]}), TypeError, "column 'risk' has the dtype complex128"),
        (([0], {"step": [1.0]}), ValueError, "columns has the name 'step', which is reserved"),
        (([0], {"format": [1.0]}), ValueError, "columns has the name 'format', which is reserved"),
        (([0], {"": [1.0]}), ValueError, "columns has the name ''"),
        (([0], {1: [1.0]}), TypeError, "columns has the name 1, expected a string"),
        (([0], {}, [1]), TypeError, r"meta is \[1\], expected a mapping"),
        (([0], {}, {"a": object()}), TypeError, "meta is not what JSON can hold: Object of type"),
        (([0], {}, {"a": np.nan}), ValueError, "meta is not what JSON can hold: Out of range"),
    ],
)
def test_messages(arguments, error, message):
    with pytest.raises(error, match=message):
        History(*arguments)


def test_other_suffixes_are_refused(history, tmp_path):
    with pytest.raises(ValueError, match=r"expected a name that ends in \.npz or \.csv"):
        history.save(tmp_path / "history.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"meta": "{}"}, "it has no steps or no facts"),
        ({"step": [0]}, "it has no steps or no facts"),
        ({"step": [0], "meta": [1]}, "it has no steps or no facts"),
        ({"step": [0], "meta": "{"}, "Expecting property name"),
        ({"step": [0], "meta": "[1]"}, r"meta is \[1\], expected a mapping"),
        ({"step": [0], "meta": "[" * 100_000}, "recursion"),
        ({"step": [0], "meta": '{"a": NaN}'}, "not what JSON can hold"),
        ({"step": [0.5], "meta": "{}"}, "step has the dtype float64"),
        ({"step": [0], "meta": "{}", "risk": [1.0, 2.0]}, "but step has 1 rows"),
        ({"step": [0], "meta": "{}", "risk": ["a"]}, "expected numbers"),
    ],
)
def test_files_that_are_no_history_are_refused(tmp_path, arrays, message):
    path = tmp_path / "h.npz"
    write_npz(path, arrays, "lipgd history", 1)
    with pytest.raises(ValueError, match=message) as caught:
        History.load(path)
    assert caught.match(r"h\.npz is not a readable lipgd history file: ")


def test_files_of_another_kind_are_refused(tmp_path, history):
    history.save(tmp_path / "h.csv")
    with pytest.raises(ValueError, match=r"h\.csv is not a readable lipgd history file: "):
        History.load(tmp_path / "h.csv")
    write_npz(tmp_path / "h.npz", {}, "lipgd network", 1)
    with pytest.raises(ValueError, match="its kind is 'lipgd network', expected 'lipgd history'"):
        History.load(tmp_path / "h.npz")


def test_examples_run():
    result = doctest.testmod(lipgd.history)
    assert result.attempted > 0
    assert result.failed == 0
