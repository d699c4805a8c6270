"""``lipgd sweep``: a table from a file of settings."""

from __future__ import annotations

import json
import re
import sys

import pytest

from lipgd.cli import main

TOML = """
seeds = 2
[data]
name = "diabetes"
standardize = true
test_fraction = 0.25
[settings]
steps = 30
hidden = [8]
[grid]
lipschitz = [0.5, 2.0]
[grid.rate]
constant = 0.05
hybrid = {kind = "exponential", rate = 0.05, decay_rate = 0.1}
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML needs Python 3.11")
def test_the_command_writes_a_table_and_goes_on(tmp_path, capsys):
    settings, out = tmp_path / "settings.toml", tmp_path / "out"
    settings.write_text(TOML)
    assert main(["sweep", str(settings), "--out", str(out), "--no-progress", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 8
    assert {(r["lipschitz"], r["rate"], r["seed"]) for r in rows} == {
        (limit, rate, seed)
        for limit in (0.5, 2.0)
        for rate in ("constant", "hybrid")
        for seed in (0, 1)
    }
    assert all(r["lipschitz_upper"] <= r["lipschitz"] for r in rows)
    text = (out / "table.csv").read_text()
    assert main(["sweep", str(settings), "--out", str(out), "--no-progress"]) == 0
    assert "lipschitz_upper" in capsys.readouterr().out
    assert (out / "table.csv").read_text() == text
    assert main(["sweep", str(settings), "--out", str(out), "--seed", "1"]) == 2
    assert "out has another sweep, with X" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"grid": {}}', r"the settings have no \[data\]"),
        ('{"data": {"name": "diabetes", "file": "x.csv"}}', "both or none of file and name"),
        ('{"data": {"path": "x.csv"}}', "data has 'path'"),
        ('{"jobbs": 3}', "has 'jobbs'"),
        ("[1]", "has no table"),
        ("{", "is not readable"),
    ],
)
def test_the_command_names_what_is_wrong(tmp_path, capsys, content, message):
    path = tmp_path / "settings.json"
    path.write_text(content)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)
