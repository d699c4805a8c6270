"""``lipgd train`` over files of one table, in one process and started by mpiexec."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi_programs import LIBRARIES, ended, start

import lipgd
from lipgd.cli import main

needs_mpi = pytest.mark.skipif(not LIBRARIES, reason="no launcher of MPI programs")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(803, 4)) * [1.0, 5.0, 0.1, 2.0] + 3.0
TARGET = np.sin(X[:, 0]) + 0.2 * X[:, 1]
COMMON = ["--hidden", "12", "--rate", "0.1", "--no-progress", "--json"]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return written(tmp_path, "part", TARGET)


def written(folder: Path, name: str, y: Any) -> list[str]:
    table = np.column_stack([X, y])
    pieces = np.split(table, [90, 600])
    paths = [str(folder / f"{name}{i}.npy") for i in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        np.save(path, piece)
    return paths


def trained(folder: Path, processes: int, *arguments: str, library: str | None = None) -> Any:
    """Return the facts that one process printed, and the bytes of the results."""
    command = ["-m", "lipgd", "train", *arguments, *COMMON, "--out", folder]
    process = start(processes, *command, library=library)
    out, err = ended(process)
    assert process.returncode == 0, err
    files = {path.name: path.read_bytes() for path in folder.glob("*.npz")}
    return json.loads(out), files


def test_files_are_one_table(files: list[str], tmp_path: Path, capsys: Any) -> None:
    out = ["--out", str(tmp_path / "out"), "--steps", "40", "--rate", "1e-3"]
    assert main(["train", *files, *COMMON, *out]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == len(X)
    net = lipgd.Network.create([4, 12, 1], activation="silu")
    run = lipgd.train(net, X, TARGET, rate=1e-3, steps=40)
    assert lipgd.Network.load(tmp_path / "out" / "network.npz") == run.network
    # Another column as the label, and files of another width or kind.
    assert main(["train", *files, *COMMON, *out, "--label", "1"]) == 0
    np.save(tmp_path / "wide.npy", np.zeros((5, 6)))
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    for extra, words in (
        ("wide.npy", "has 6 columns, but"),
        ("text.npy", "expected a matrix"),
        ("none.npy", "No such file"),
    ):
        assert main(["train", *files, str(tmp_path / extra), *COMMON, *out]) == 2
        assert words in capsys.readouterr().err
    assert main(["train", files[0], "table.csv", *COMMON]) == 2
    assert "data has 2 files, expected one, or several that end in .npy" in capsys.readouterr().err


@needs_mpi
def test_any_number_of_processes_and_library_gives_the_same_files(
    files: list[str], tmp_path: Path
) -> None:
    options = [*files, "--standardize", "--steps", "60", "--lipschitz", "1.5", "--momentum", "0.5"]
    runs = [(next(iter(LIBRARIES)), n) for n in (1, 4)]
    runs += [(library, 3) for library in LIBRARIES]
    expected = None
    for library, processes in runs:
        facts, found = trained(tmp_path / f"{library}{processes}", processes, *options)
        assert set(found) == {"network.npz", "history.npz", "scaling.npz"}
        assert (facts["samples"], facts["processes"]) == (len(X), processes)
        expected = expected or (facts, found)
        assert found == expected[1] and facts["train"] == expected[0]["train"]
    plain = lipgd.History.load(tmp_path / f"{runs[0][0]}1" / "history.npz")
    assert max(plain["lipschitz_upper"]) <= 1.5 and plain["risk"][-1] < plain["risk"][0]
    np.testing.assert_allclose(plain["risk"][-1], expected[0]["train"]["risk"], rtol=1e-12)


@needs_mpi
def test_classes_are_those_of_all_processes(tmp_path: Path, capsys: Any) -> None:
    # No process but the last one sees the third class.
    y = np.where(np.arange(len(X)) > 780, 2.0, X[:, 0] > 3)
    paths = written(tmp_path, "class", y)
    options = ["--loss", "cross_entropy", "--standardize", "--steps", "30"]
    facts, _ = trained(tmp_path / "three", 3, *paths, *options)
    assert facts["classes"] == ["0", "1", "2"] and "Network(4-12-3" in facts["network"]
    assert main(["train", *paths, *options, *COMMON, "--out", str(tmp_path / "one")]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["train"]["accuracy"] == pytest.approx(facts["train"]["accuracy"], abs=1e-12)
    assert alone["train"]["risk"] == pytest.approx(facts["train"]["risk"], rel=1e-9)


@needs_mpi
def test_a_killed_process_leaves_a_checkpoint_to_resume(files: list[str], tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    options = [*files, "--caps", "W1=900", "W2=900", "--caps-mode", "carry_over"]
    options += ["--standardize", "--record-every", "50"]
    saved = ["--checkpoint", str(state), "--checkpoint-every", "10"]
    folder = tmp_path / "killed"
    command = ["-m", "lipgd", "train", *options, *saved, *COMMON, "--out", folder]
    process = start(3, *command, "--steps", "1000000")
    deadline = time.monotonic() + 30
    while not state.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    ranks = children(process.pid)
    assert len(ranks) == 3
    os.kill(ranks[1], signal.SIGKILL)
    began = time.monotonic()
    ended(process, timeout=10)
    assert process.returncode != 0 and time.monotonic() - began < 10
    with np.load(state) as content:
        step = int(content["progress"][0])
    steps = ["--steps", str(step + 25)]
    _, resumed = trained(tmp_path / "resumed", 2, *options, *saved, *steps, "--resume")
    _, whole = trained(tmp_path / "whole", 1, *options, *steps)
    for name in ("network.npz", "history.npz"):
        assert resumed[name] == whole[name]


def children(pid: int) -> list[int]:
    """Return the processes below a launcher that run lipgd, in the order of their start."""
    found, level = [], [pid]
    while level:
        text = "".join(Path(f"/proc/{one}/task/{one}/children").read_text() for one in level)
        level = [int(number) for number in text.split()]
        found += [one for one in level if b"lipgd" in Path(f"/proc/{one}/cmdline").read_bytes()]
    return [one for one in found if b"-n\0" not in Path(f"/proc/{one}/cmdline").read_bytes()]


@needs_mpi
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "3"], "--batch-size is given, but processes that share the samples"),
        (["--test-fraction", "0.2"], "--test-fraction is 0.2, but processes"),
    ],
)
def test_one_process_says_what_is_wrong(
    files: list[str], options: list[str], message: str, tmp_path: Path
) -> None:
    process = start(3, "-m", "lipgd", "train", *files, *options, "--out", tmp_path / "out")
    _, err = ended(process)
    assert process.returncode == 2 and err.count("lipgd train: error") == 1 and message in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint-every", "3"], "--checkpoint-every is 3, but --checkpoint is missing"),
        (["--caps-mode", "observed"], "--caps-mode is observed, but --caps is missing"),
        (["--caps", "W1=1", "--lipschitz", "2"], "--caps and --lipschitz are given"),
        (["--caps", "W1"], "--caps has 'W1', expected a name and a number"),
        (["--caps", "W9=3"], "W9"),
        (["--caps", "W1=-3"], "budgets['W1'] is -3.0"),
    ],
)
def test_options_that_need_each_other(
    files: list[str], options: list[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    assert main(["train", *files, *options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
