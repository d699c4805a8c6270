"""The experiments of the dynamics: all of them once, short, and what their tables must say."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from lipgd import experiments, plotting
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Request
from lipgd.experiments.dynamics import (
    _batches,
    _convergence,
    _convnet,
    _layers,
    _modules,
    _noise,
    _paths,
    _starts,
    _validation,
    studies,
)

mpl.use("agg")

STUDIES = ("validation", "layers", "batches", "paths", "noise", "convergence", "starts", "convnet")
FIGURES = {*STUDIES, "layers_0", "layers_20"}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        # One file per figure: drawing takes longer than the trainings.
        patch.setattr(plotting, "save", save_svg)
        return experiments.reproduce("dynamics", folder, quick=True, seeds=2, progress=False)


def save_svg(figure, path):
    figure.set_layout_engine("none")
    figure.savefig(path.with_suffix(".svg"))


def claims_of(findings) -> dict[str, bool | None]:
    return {claim.name.split(" (")[0]: claim.agrees for claim in findings.claims}


def test_every_part_is_there_with_its_figures_and_their_numbers(result):
    assert result.status == "finished"
    assert tuple(study.name for study in studies(Request(True))) == STUDIES
    assert {path.stem for path in (result.folder / "figures").glob("*.svg")} == FIGURES
    for name in STUDIES:
        for kind in ("rows", "figures", "tables"):
            with open(result.folder / kind / f"{name}.csv", newline="") as file:
                assert len(list(csv.reader(file))) > 2
    assert (result.folder / "report.html").read_text().count("<img") == len(FIGURES)
    assert len(result.answers) == 11


def test_predictions_of_all_regularizers_hold(result):
    with open(result.folder / "rows" / "validation.csv", newline="") as file:
        rows = Rows.of(csv.DictReader(file)).last(["regularizer", "activation", "seed"])
    assert set(rows.values("regularizer")) == {
        *_validation._REGULARIZERS,
        *_modules.REGULARIZERS,
    }
    z = rows["z"].astype(float)
    assert np.abs(z).max() < 4.5
    assert 0.4 < np.sqrt(np.mean(z**2)) < 1.8
    # First-order noise is known, what is left is of second order (and of the trapezoid rule).
    assert rows["replay_error"].astype(float).max() < 0.03
    change = rows["change"].astype(float)
    assert (change[rows["regularizer"] == "weight decay 0.01"] < change[:2]).all()


def test_numbers_do_not_depend_on_the_jobs(result, tmp_path):
    rows = _modules.regularized("dropout 0.2", 1, 80, 20)
    with open(result.folder / "rows" / "validation.csv", newline="") as file:
        kept = Rows.of(csv.DictReader(file)).where(regularizer="dropout 0.2", seed="1")
    assert [float(row) for row in kept["Z_predicted"]] == [row["Z_predicted"] for row in rows]


def validation(drift: float, z: float, replay: float, decayed: float = 0.5) -> Rows:
    return Rows.of(
        {
            "regularizer": name,
            "activation": "silu",
            "seed": seed,
            "change": change,
            "predicted": change,
            "z": z,
            "drift": drift * change,
            "noise_curvature": 0.0,
            "ito": 0.0,
            "finite_step": 0.0,
            "replay_error": replay,
            "step": 10,
            "Z": change,
            "Z_predicted": change,
            "Z_error": 0.1,
        }
        for name, change in (("none", 1.0), ("weight decay 0.01", decayed))
        for seed in range(20)
    )


def test_verdicts_on_predictions_follow_the_table():
    good = _validation.findings(validation(0.98, 1.0, 0.002))
    assert all(claims_of(good).values())
    assert "Less with weight decay 0.01 (0.50); more with none" in good.answers[1]
    raised = _validation.findings(validation(0.98, 1.0, 0.002, decayed=1.5))
    assert "Less with none; more with weight decay 0.01 (1.50)" in raised.answers[1]
    same = _validation.findings(validation(0.98, 1.0, 0.002, decayed=0.99))
    assert "more with none; within 2 % with weight decay 0.01 (0.99)" in same.answers[1]
    assert claims_of(_validation.findings(validation(0.3, 1.0, 0.002)))["The drift is primary"] is (
        False
    )
    for z in (0.5, 2.0):
        wrong = claims_of(_validation.findings(validation(0.98, z, 0.002)))
        assert wrong["Predictions are off by what they say"] is False
    left = claims_of(_validation.findings(validation(0.98, 1.0, 0.02)))
    assert left["Second order explains what first-order noise leaves"] is False


def test_every_training_of_the_validation_has_its_own_batches():
    found = [
        _validation._batches_of(regularizer, activation, seed)
        for regularizer in _validation._REGULARIZERS
        for activation in ("silu", "relu")
        for seed in range(5)
    ]
    assert len(set(found)) == len(found)


def layers(kappa: float) -> Rows:
    return Rows.of(
        {
            "layer": layer,
            "random_labels": share,
            "change": 1.0,
            "lambda2": 0.9,
            "kappa": kappa if (layer, share) == ("W3", 0.2) else 0.8,
        }
        for share in (0.0, 0.2)
        for layer in ("W1", "W2", "W3")
    )


def test_verdicts_on_layers_follow_the_table():
    assert _layers._everywhere(layers(0.6)).agrees is True
    found = _layers._everywhere(layers(-0.1))
    assert found.agrees is False
    assert found.seen == ("They do in 5 of 6 cases; least in W3 with 20 % random labels, -10 %.")


def test_shares_of_covariances_by_hand():
    rows = Rows.of(
        {
            "random_labels": 0.0,
            "dynamics_mu:W1": 0.0,
            "dynamics_log_norm:W1": log_norm,
            **{f"dynamics_{name}:W1": 4.0 for name in ("lambda2", "kappa")},
            "dynamics_lambda2_diagonal:W1": 1.0,
            "dynamics_kappa_diagonal:W1": 5.0,
        }
        for log_norm in (1.0, 1.5)
    )
    assert _layers._shares(rows).cells == ((0.0, "W1", 0.5, 0.75, -0.25),)


def test_one_seed_still_has_two_paths():
    parts = {study.name: study for study in studies(Request(True, seeds=1))}
    assert len(parts["paths"].jobs) == 4


def batches(power: float, slope: float, propagated: float) -> Rows:
    return Rows.of(
        {
            "batch_size": size,
            "noise": 1 / size - 1 / 1500,
            "runs": 48,
            "steps": 10,
            "change": 1.0 + slope / size,
            "change_error": 1e-3,
            "noise_free": 1.0,
            "noise_curvature": 0.1 / size,
            "variance": 1e-3 * (1 / size - 1 / 1500) ** power,
            "propagated": propagated,
            "innovation": 10.0,
        }
        for size in (32, 64, 128, 256)
    )


def test_verdicts_on_batch_sizes_follow_the_table():
    assert all(claims_of(_batches.findings(batches(1.0, 0.0, 1.0))).values())
    wrong = _batches.findings(batches(2.0, 10.0, 3.0))
    assert not any(claims_of(wrong).values())
    assert "exponent of the variance between runs is 2.00" in wrong.answers[0]


def test_verdicts_on_paths_follow_the_table():
    def rows(reshuffled: float) -> Rows:
        rng = np.random.default_rng(0)
        scale = {"independent": 0.02, "reshuffled": reshuffled}
        return Rows.of(
            {
                "sampling": how,
                "seed": seed,
                "step": 30 * epoch,
                "epoch": float(epoch),
                "Z": epoch + (scale[how] * rng.standard_normal() if epoch else 0.0),
            }
            for how in scale
            for seed in range(20)
            for epoch in range(4)
        )

    assert claims_of(_paths.findings(rows(0.004))) == {"Sampling trajectories": True}
    assert claims_of(_paths.findings(rows(0.02))) == {"Sampling trajectories": False}


def noise(early: tuple[float, float], late: tuple[float, float], off: float) -> Rows:
    return Rows.of(
        {
            "random_labels": share,
            "seed": 0,
            "early": early[place],
            "late": late[place],
            "risk": 0.1,
            "step": step,
            "Z": 0.0,
            "lambda2_off_diagonal": 0.9,
            "kappa_off_diagonal": 0.7 if share == 0 else off,
        }
        for place, share in enumerate((0.0, 0.5))
        for step in (0, 100)
    )


def test_verdicts_on_labels_follow_the_table():
    found = _noise.findings(noise((1.0, 0.5), (2.0, 3.0), 0.2))
    assert claims_of(found) == {
        "Label noise slows the early growth": True,
        "Label noise regularises": False,
        "Covariances dominate the noise": False,
    }
    assert "end above the clean ones, memorised" in found.answers[0]
    other = _noise.findings(noise((0.5, 1.0), (2.0, 1.0), 0.8))
    assert list(claims_of(other).values()) == [False, True, True]
    assert "end below the clean ones" in other.answers[0]
    unfitted = noise((1.0, 0.5), (2.0, 1.0), 0.8)
    place = unfitted.columns.index("risk")
    cells = tuple((*row[:place], 1.5, *row[place + 1 :]) for row in unfitted.cells)
    open_end = _noise.findings(Rows(unfitted.columns, cells))
    assert claims_of(open_end)["Label noise regularises"] is None
    assert "not memorised yet" in open_end.answers[0]


def windows(kappa: float, growth: float) -> Rows:
    return Rows.of(
        {
            "labels": labels,
            "begin": begin,
            "end": 2 * begin,
            "risk": 1e-3,
            "Z": 1.0,
            "growth": growth,
            "drift": growth,
            "noise_curvature": kappa * growth,
            "ito": 0.0,
            "finite_step": 0.0,
            "kappa_share": kappa,
            "slope": 0.2,
        }
        for labels in ("clean", "20 % random")
        for begin in (100, 200, 400, 800)
    )


def test_verdicts_on_long_runs_follow_the_table():
    faded = claims_of(_convergence.findings(windows(0.002, 0.1)))
    assert list(faded.values()) == [True, False]
    kept = claims_of(_convergence.findings(windows(0.3, -0.1)))
    assert list(kept.values()) == [False, True]


def test_verdicts_on_starts_follow_the_table():
    def rows(ends: tuple[float, float, float]) -> Rows:
        return Rows.of(
            {
                "scale": scale,
                "seed": 0,
                "risk": 0.1,
                "change": end - start,
                "drift": end - start,
                "noise_curvature": 0.0,
                "ito": 0.0,
                "finite_step": 0.0,
                "step": step,
                "Z": end if step else start,
            }
            for scale, start, end in zip((0.25, 1.0, 4.0), (-4.0, 0.0, 4.0), ends, strict=True)
            for step in (0, 10)
        )

    assert list(claims_of(_starts.findings(rows((2.7, 2.6, 4.1)))).values()) == [True]
    assert list(claims_of(_starts.findings(rows((-1.0, 2.6, 4.1)))).values()) == [False]
    assert list(claims_of(_starts.findings(rows((2.7, 2.6, 8.0)))).values()) == [False]


def test_folders_of_cifar(tmp_path):
    with pytest.raises(
        ValueError, match=r"data is .* no data_batch_1.bin of CIFAR-10 and no train"
    ):
        studies(Request(True, tmp_path))
    write_cifar(tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin", 1)
    write_cifar(tmp_path / "train.bin", 2)
    jobs = studies(Request(True, tmp_path))[-1].jobs
    assert len(jobs) == 6
    rows = _convnet.training("CIFAR-100", tmp_path, 100, "label smoothing 0.1", 2, 1)
    assert [row["step"] for row in rows] == [0, 1, 2] and rows[0]["images"] == 60
    found = _convnet.findings(Rows.of(rows))
    assert "60 of CIFAR-100" in found.blocks[1]


def write_cifar(path: Path, labels: int) -> None:
    rng = np.random.default_rng(0)
    path.parent.mkdir(exist_ok=True)
    heads = rng.integers(0, 10, (60, labels)).astype(np.uint8)
    pixels = rng.integers(0, 256, (60, 3072)).astype(np.uint8)
    path.write_bytes(np.column_stack([heads, pixels]).tobytes())


def test_without_pytorch_its_parts_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(_modules, "find_spec", lambda name: None)
    assert not _modules.usable()
    parts = {study.name: study for study in studies(Request(True))}
    assert not parts["convnet"].jobs
    assert "needs PyTorch" in parts["convnet"].show(Rows.of([])).blocks[0]
    found = _validation.findings(validation(0.98, 1.0, 0.002))
    assert "Mixup and dropout need PyTorch" in found.answers[-1]
    write_cifar(tmp_path / "train.bin", 2)
    with pytest.raises(ImportError, match="data needs PyTorch"):
        studies(Request(True, tmp_path))
