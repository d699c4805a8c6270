"""The demo: real data, two rates each, and everything that it leaves behind."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import lipgd
from lipgd.experiments import demo as module
from lipgd.experiments.demo import Demo, demo

mpl.use("agg")

NAMES = ("diabetes", "digits_3_vs_8", "breast_cancer")
STEMS = [f"{name}_{rate}" for name in NAMES for rate in ("constant", "hold_then_decay")]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return demo(tmp_path_factory.mktemp("demo") / "new" / "folder", quick=True, progress=False)


def test_every_set_is_trained_with_both_rates(result: Demo) -> None:
    assert result.status == "finished"
    assert [(row.data_set, row.schedule) for row in result.rows] == [
        (name, rate) for name in NAMES for rate in ("constant", "hold-then-decay")
    ]
    assert {row.status for row in result.rows} == {"finished"}


def test_the_numbers_make_sense(result: Demo) -> None:
    for row in result.rows:
        assert 0 < row.lipschitz_lower_start <= row.lipschitz_upper_start
        assert 0 < row.lipschitz_lower_end <= row.lipschitz_upper_end
        assert row.steps_per_second == pytest.approx(row.steps / row.seconds)
    diabetes = [row for row in result.rows if row.data_set == "diabetes"]
    others = [row for row in result.rows if row.data_set != "diabetes"]
    assert all(row.test_accuracy is None and row.test_risk < 0.6 for row in diabetes)
    assert all(row.test_accuracy is not None and row.test_accuracy > 0.9 for row in others)


def test_the_start_is_the_network_of_the_seed(result: Demo) -> None:
    for row, n_inputs in zip(result.rows[::2], (10, 64, 30), strict=True):
        net = lipgd.Network.create([n_inputs, 100, 1], "silu", "glorot_normal", seed=0)
        norms = [np.linalg.norm(matrix, 2) for matrix in net.weights]
        product = np.prod(norms) * net.activation.lipschitz
        assert row.lipschitz_upper_start == pytest.approx(product, rel=1e-5)


def test_the_decaying_rate_ends_with_the_smaller_lipschitz_constant(result: Demo) -> None:
    for constant, decaying in zip(result.rows[::2], result.rows[1::2], strict=True):
        assert decaying.lipschitz_upper_end < constant.lipschitz_upper_end
        assert decaying.lipschitz_upper_start == constant.lipschitz_upper_start


def test_the_folder_has_everything(result: Demo) -> None:
    files = {path.relative_to(result.folder).as_posix() for path in result.folder.rglob("*.*")}
    assert files == {
        "report.html",
        "table.csv",
        *(f"figures/{name}{suffix}" for name in NAMES for suffix in (".png", ".svg")),
        *(f"histories/{stem}{suffix}" for stem in STEMS for suffix in (".npz", ".csv")),
        *(f"networks/{stem}.npz" for stem in STEMS),
        *(f"networks/{name}_scaling.npz" for name in NAMES),
    }


def test_the_files_reproduce_the_table(result: Demo) -> None:
    """Redone by hand: scikit-learn's split, the saved means and scales, the saved networks."""
    from sklearn.model_selection import train_test_split

    for stem, row in zip(STEMS, result.rows, strict=True):
        data = lipgd.data.load(row.data_set)
        labels = data.y if data.task == "classification" else None
        X, X_test, y, y_test = train_test_split(
            data.X, data.y, test_size=0.25, random_state=0, stratify=labels
        )
        with np.load(result.folder / "networks" / f"{row.data_set}_scaling.npz") as file:
            scaling = dict(file)
        assert scaling["input_mean"] == pytest.approx(X.mean(axis=0))
        X_test = (X_test - scaling["input_mean"]) / scaling["input_scale"]
        if labels is None:
            assert scaling["target_scale"][0] == pytest.approx(y.std())
            y_test = (y_test - scaling["target_mean"]) / scaling["target_scale"]
        net = lipgd.Network.load(result.folder / "networks" / f"{stem}.npz")
        assert lipgd.risk(net, X_test, y_test, loss=row.loss) == pytest.approx(row.test_risk)
        if labels is not None:
            assert np.mean(np.sign(net(X_test)[:, 0]) == y_test) == row.test_accuracy
        history = lipgd.History.load(result.folder / "histories" / f"{stem}.npz")
        assert history["validation_risk"][-1] == row.test_risk


def test_the_csv_has_the_rows_in_full(result: Demo) -> None:
    with open(result.folder / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["test_risk"]) for line in lines] == [row.test_risk for row in result.rows]
    assert lines[0]["test_accuracy"] == ""


def test_the_report_has_the_table_the_figures_and_the_command(result: Demo) -> None:
    html = (result.folder / "report.html").read_text(encoding="utf-8")
    assert html.count("<img ") == 3
    assert html.count("data:image/svg+xml;base64,") == 3
    assert html.count("<code>lipgd demo --quick --seed 0</code>") == 4
    for row in result.rows:
        assert f">{lipgd.report.cell(row.test_risk)}</td>" in html
    assert re.findall(r"(?:https?:)?//[a-z]", re.sub(r'src="data:[^"]*"', "", html)) == []


def test_the_printed_table_fits_a_terminal(result: Demo) -> None:
    lines = str(result).splitlines()
    assert lines[0].split() == [
        *("data", "set", "rate", "train", "test", "acc.", "Lip", "start", "Lip", "end"),
        *("seconds", "steps/s"),
    ]
    assert max(map(len, lines)) <= 100


def test_the_same_seed_gives_the_same_bits(result: Demo, tmp_path: Path) -> None:
    demo(tmp_path, quick=True, progress=False, n_threads=1)
    for name in ("networks/diabetes_constant.npz", "histories/digits_3_vs_8_constant.csv"):
        assert (tmp_path / name).read_bytes() == (result.folder / name).read_bytes()


def test_progress_goes_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CASES", module._CASES[:1])
    demo(tmp_path, quick=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(" [")[0] for line in err.splitlines()] == [
        "diabetes, constant",
        "diabetes, hold-then-decay",
    ]
    assert "300/300" in err


def test_an_interrupted_demo_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupting(*arguments: object) -> bool:
        calls.append(arguments)
        return len(calls) > 2  # in the second training or later

    monkeypatch.setattr(module, "_show", interrupting)
    result = demo(tmp_path, quick=True, progress=False)
    assert result.status == "interrupted"
    assert 2 <= len(result.rows) < 6
    assert [row.status == "interrupted" for row in result.rows].index(True) == len(result.rows) - 1
    assert "interrupted" in (tmp_path / "report.html").read_text()


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^seed is -1, expected an integer at least 0$"):
        demo(tmp_path, seed=-1)
    with pytest.raises(TypeError, match=r"^quick is 1, expected True or False$"):
        demo(tmp_path, quick=1)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
