"""``lipgd train``: what it makes of a table, what it prints, and how it ends."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import lipgd
from lipgd.cli import main

mpl.use("agg")

Capture = pytest.CaptureFixture[str]


def write_csv(path: Path, X: Any, y: Any, names: tuple[str, ...] = ("a", "b")) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "target"])
        writer.writerows([*row, value] for row, value in zip(X.tolist(), y, strict=True))
    return path


@pytest.fixture
def X() -> Any:
    return np.random.default_rng(0).uniform(-1, 1, (60, 2)) * [1, 10]


@pytest.fixture
def table(tmp_path: Path, X: Any) -> Path:
    return write_csv(tmp_path / "table.csv", X, (5 * X[:, 0] + X[:, 1] + 100).tolist())


@pytest.fixture
def train(tmp_path: Path, capsys: Capture) -> Callable[..., Any]:
    """Run ``lipgd train`` with JSON into ``out`` and return its exit code and facts."""

    def run(data: Path, *arguments: str) -> tuple[int, Any]:
        fixed = ["--out", str(tmp_path / "out"), "--no-progress", "--json", "--hidden", "8"]
        code = main(["train", str(data), *fixed, *arguments])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else None

    return run


class TestTrain:
    def test_a_regression_with_everything(
        self, table: Path, X: Any, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        options = ["--label", "target", "--standardize", "--test-fraction", "0.25"]
        code, facts = train(table, *options, "--rate", "0.1", "--hold", "100", "--decay", "0.01")
        assert (code, facts["status"], facts["loss"]) == (0, "finished", "mse")
        assert (facts["samples"], facts["test_samples"]) == (45, 15)
        assert facts["recorded_steps"] == [0, 1000]
        assert facts["test"]["risk"] < 0.1
        assert facts["recorded"]["validation_risk"][-1] == pytest.approx(facts["test"]["risk"])
        assert facts["recorded"]["risk"][-1] == pytest.approx(facts["train"]["risk"])
        out = tmp_path / "out"
        assert {path.name for path in out.iterdir()} == {
            *("network.npz", "history.npz", "history.csv", "history.png", "history.svg"),
            *("scaling.npz", "summary.json"),
        }
        assert json.loads((out / "summary.json").read_text()) == facts
        with np.load(out / "scaling.npz") as file:
            scaling = dict(file)
        net = lipgd.Network.load(out / "network.npz")
        scaled = net((X - scaling["input_mean"]) / scaling["input_scale"])
        predicted = scaled * scaling["target_scale"] + scaling["target_mean"]
        assert np.abs(predicted[:, 0] - (5 * X[:, 0] + X[:, 1] + 100)).max() < 5
        history = lipgd.History.load(out / "history.npz")
        assert history["risk"][-1] == facts["recorded"]["risk"][-1]

    def test_it_is_what_the_library_does(
        self, table: Path, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        options = ["--batch-size", "7", "--momentum", "0.5", "--weight-decay", "0.01"]
        rate = ["--rate", "1e-5", "--hold", "20", "--decay", "0.1"]
        train(table, *options, *rate, "--steps", "50", "--seed", "3", "--threads", "1")
        data = lipgd.data.read_csv(table)
        net = lipgd.Network.create([2, 8, 1], activation="silu", seed=3)
        run = lipgd.train(
            net,
            data.X,
            data.y,
            rate=lambda step: 1e-5 * np.exp(-0.1 * max(step - 20, 0)),
            steps=50,
            batch_size=7,
            momentum=0.5,
            weight_decay=0.01,
            shuffle_seed=3,
        )
        saved = lipgd.Network.load(tmp_path / "out" / "network.npz")
        for (name, array), (_, expected) in zip(saved.named(), run.network.named(), strict=True):
            assert array == pytest.approx(expected, rel=1e-12), name

    def test_two_classes_of_text_are_logistic(
        self, X: Any, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        data = write_csv(tmp_path / "two.csv", X, np.where(X[:, 0] > 0, "yes", "no").tolist())
        code, facts = train(data, "--rate", "0.5", "--standardize")
        assert (code, facts["loss"], facts["classes"]) == (0, "logistic", ["no", "yes"])
        assert facts["train"]["accuracy"] > 0.95
        with np.load(tmp_path / "out" / "scaling.npz") as file:
            assert "target_mean" not in file
            scaled = (X - file["input_mean"]) / file["input_scale"]
        net = lipgd.Network.load(tmp_path / "out" / "network.npz")
        assert np.mean((net(scaled)[:, 0] > 0) == (X[:, 0] > 0)) == facts["train"]["accuracy"]

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_three_classes_are_cross_entropy(
        self, dtype: str, X: Any, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        classes = np.digitize(X[:, 0], [-0.3, 0.3])
        data = write_csv(tmp_path / "three.csv", X, [f"class {c}" for c in classes])
        code, facts = train(data, "--rate", "0.5", "--standardize", "--dtype", dtype)
        assert (code, facts["loss"]) == (0, "cross_entropy(0.0)")
        assert facts["train"]["accuracy"] > 0.9
        assert lipgd.Network.load(tmp_path / "out" / "network.npz").sizes == (2, 8, 3)
        assert dtype in facts["network"]

    def test_two_classes_by_cross_entropy(
        self, X: Any, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        data = write_csv(tmp_path / "two.csv", X, (X[:, 0] > 0).astype(int).tolist())
        _, facts = train(data, "--rate", "0.5", "--standardize", "--loss", "cross_entropy")
        assert facts["train"]["accuracy"] > 0.95
        assert facts["classes"] == ["0", "1"]

    def test_whole_numbers_are_a_quantity_with_a_hint(
        self, X: Any, tmp_path: Path, capsys: Capture
    ) -> None:
        data = write_csv(tmp_path / "three.csv", X, np.digitize(X[:, 0], [-0.3, 0.3]).tolist())
        out = str(tmp_path / "out")
        assert main(["train", str(data), "--steps", "1", "--no-progress", "--out", out]) == 0
        captured = capsys.readouterr()
        assert "regression" in captured.out
        assert "3 whole numbers and is taken as a quantity" in captured.err

    def test_test_files_use_the_classes_of_the_training_file(
        self, X: Any, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        names = np.array(["x", "y", "z"])[np.digitize(X[:, 0], [-0.3, 0.3])]
        data = write_csv(tmp_path / "train.csv", X, names.tolist())
        some = names != "x"
        test = write_csv(tmp_path / "test.csv", X[some], names[some].tolist())
        code, facts = train(data, "--test-file", str(test), "--rate", "0.1", "--steps", "3000")
        assert (code, facts["test_samples"]) == (0, int(some.sum()))
        net = lipgd.Network.load(tmp_path / "out" / "network.npz")
        right = np.array(["x", "y", "z"])[net(X[some]).argmax(axis=1)] == names[some]
        assert facts["test"]["accuracy"] == np.mean(right)
        assert facts["test"]["accuracy"] > 0.8

    @pytest.mark.parametrize("suffix", [".npz", ".npy"])
    def test_numpy_files(
        self, suffix: str, X: Any, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        path, y = tmp_path / f"data{suffix}", X[:, 0] * X[:, 1]
        np.savez(path, X=X, y=y) if suffix == ".npz" else np.save(path, np.column_stack([y, X]))
        label = [] if suffix == ".npz" else ["--label", "0"]
        code, facts = train(path, *label, "--standardize", "--rate", "0.1")
        assert (code, facts["samples"], facts["features"]) == (0, 60, ["x0", "x1"])
        assert facts["train"]["risk"] < 0.5

    def test_a_diverged_training_is_saved_and_has_exit_code_1(
        self, table: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        out = tmp_path / "out"
        code = main(["train", str(table), "--rate", "100", "--out", str(out), "--no-progress"])
        captured = capsys.readouterr()
        assert code == 1
        assert captured.out.startswith("diverged: step ")
        assert captured.err.startswith("lipgd train: diverged: step ")
        assert np.isfinite(lipgd.Network.load(out / "network.npz").weights[0]).all()

    def test_a_resumed_training_has_the_same_bits(
        self, table: Path, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        options = ["--standardize", "--batch-size", "10"]
        train(table, *options, "--steps", "300", "--record-every", "5")
        whole = (tmp_path / "out" / "network.npz").read_bytes()
        state = ["--checkpoint", str(tmp_path / "state.npz"), "--record-every", "5"]
        train(table, *options, "--steps", "100", *state)
        assert (tmp_path / "out" / "network.npz").read_bytes() != whole
        code, facts = train(table, *options, "--steps", "300", *state, "--resume")
        assert (code, facts["steps"]) == (0, 300)
        assert (tmp_path / "out" / "network.npz").read_bytes() == whole
        assert train(table, *options, "--seed", "1", *state, "--resume") == (2, None)

    @pytest.mark.parametrize("method", [None, "retract", "rates"])
    def test_a_lipschitz_constant_is_kept(
        self, table: Path, train: Callable[..., Any], method: str | None
    ) -> None:
        options = ["--standardize", "--rate", "0.3", "--steps", "300", "--record-every", "1"]
        free = train(table, *options)[1]["recorded"]["lipschitz_upper"]
        assert free[-1] > 0.8
        choice = [] if method is None else ["--lipschitz-method", method]
        code, facts = train(table, *options, "--lipschitz", "0.5", *choice)
        first, last = facts["recorded"]["lipschitz_upper"]
        assert (code, facts["arguments"]["lipschitz"]) == (0, 0.5)
        assert first == pytest.approx(0.5 / 4, rel=1e-5)
        assert 0.49 < last <= 0.5
        assert ("stood still" in facts["message"]) == (method == "rates")

    def test_lipschitz_arguments_that_are_refused(
        self, table: Path, train: Callable[..., Any], capsys: Capture
    ) -> None:
        assert main(["train", str(table), "--lipschitz-method", "rates"]) == 2
        assert "--lipschitz-method is rates, but --lipschitz is missing" in capsys.readouterr().err
        assert main(["train", str(table), "--lipschitz", "0"]) == 2
        assert "limit is 0" in capsys.readouterr().err

    def test_an_old_scaling_does_not_stay_beside_a_new_network(
        self, table: Path, tmp_path: Path, train: Callable[..., Any]
    ) -> None:
        train(table, "--standardize", "--steps", "1")
        assert (tmp_path / "out" / "scaling.npz").exists()
        train(table, "--steps", "1")
        assert not (tmp_path / "out" / "scaling.npz").exists()

    def test_the_summary_for_people(self, table: Path, tmp_path: Path, capsys: Capture) -> None:
        out = str(tmp_path / "out")
        assert main(["train", str(table), "--standardize", "--steps", "20", "--out", out]) == 0
        captured = capsys.readouterr()
        lines = captured.out.splitlines()
        assert lines[0] == "finished: took all 20 steps"
        assert "units    standardized: Lipschitz values too" in lines
        assert [line.split()[0] for line in lines if line.startswith("lipschitz")] == [
            "lipschitz_lower",
            "lipschitz_upper",
        ]
        assert lines[-1] == f"files    {out}"
        assert "20/20" in captured.err

    def test_without_matplotlib_there_is_no_figure(
        self,
        table: Path,
        tmp_path: Path,
        train: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        assert train(table, "--steps", "1")[0] == 0
        assert not (tmp_path / "out" / "history.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "none.csv: No such file or directory"),
        (["table.csv", "--label", "foo"], "label is 'foo', but the columns have a, b, target"),
        (["table.csv", "--loss", "logistic"], "loss is logistic, but the label has 60 classes"),
        (["table.csv", "--loss", "hinge"], "loss is 'hinge', expected one of mse"),
        (["table.csv", "--activation", "foo"], "'foo', expected"),
        (["table.csv", "--rate", "-1"], "rate is -1.0, expected a finite number at least 0"),
        (["table.csv", "--record", "foo"], "record has 'foo', expected some of risk"),
        (["table.csv", "--record-every", "0"], "record_every is 0, expected an integer"),
        (["table.csv", "--hold", "5"], "--hold is 5, but --decay is missing"),
        (["table.csv", "--resume"], "--resume is given, but --checkpoint is missing"),
        (["table.csv", "--threads", "0"], "n_threads is 0, expected an integer at least 1"),
        (["table.csv", "--test-file", "other.csv"], "other.csv has other columns than the"),
        (["table.csv", "--test-fraction", "2"], "test_size"),
        (["two.npz", "--label", "z"], "it has no array 'z', only X, y"),
        (["broken.npz"], "broken.npz is not a readable NumPy file"),
        (["flat.npy"], "it has shape (3,) and float64, expected a matrix"),
        (["same.npz", "--loss", "logistic"], "the label has the single class '1'"),
        (["two.npz", "--test-file", "kinds.npz"], "kinds.npz has the class '7', expected 0, 1"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    table: Path,
    X: Any,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(table.parent)
    write_csv(Path("other.csv"), X, X[:, 0].tolist(), names=("a", "c"))
    np.savez("two.npz", X=X, y=X[:, 0] > 0)
    np.savez("kinds.npz", X=X, y=np.where(X[:, 0] > 0, 1, 7))
    np.savez("same.npz", X=X, y=np.ones(60))
    np.save("flat.npy", np.ones(3))
    Path("broken.npz").write_bytes(b"PK\x03\x04 nonsense")
    assert main(["train", *arguments, "--no-progress"]) == 2
    out, text = capsys.readouterr()
    assert (out, text.count("\n")) == ("", 1)
    assert text.startswith("lipgd train: error: ")
    assert message in text


def test_ctrl_c_saves_the_training_and_has_exit_code_130(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    steps = ["--steps", "200000000", "--record-every", "1000000", "--rate", "1e-6"]
    # A test suite in the background ignores the signal, and its children would too.
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from lipgd.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    options = ["train", str(table), *steps, "--out", str(out)]
    command = [sys.executable, "-c", script, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not out.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        printed, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert printed.startswith("interrupted: interrupted at step ")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("lipgd train: interrupted: interrupted at step ")
    taken = json.loads((out / "summary.json").read_text())["steps"]
    assert 0 < taken < 200_000_000
    assert lipgd.History.load(out / "history.npz").step[0] == 0
    lipgd.Network.load(out / "network.npz")
