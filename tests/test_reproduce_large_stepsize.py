"""The experiments of large stepsizes: all of them once, short, and what their tables must say."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import lipgd
from lipgd import experiments, plotting
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Request
from lipgd.experiments.large_stepsize import _images, _labels, _problems, _tuned, studies

mpl.use("agg")

STUDIES = (
    "xor",
    "scaling",
    "landscape",
    "tuned",
    "activations",
    "images",
    "labels",
    "starts",
    "scale",
)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        # One file per figure: drawing takes longer than the trainings.
        patch.setattr(plotting, "save", save_svg)
        return experiments.reproduce(
            "large-stepsize", folder, quick=True, seeds=1, jobs=2, progress=False
        )


def save_svg(figure, path):
    figure.set_layout_engine("none")
    figure.savefig(path.with_suffix(".svg"))


def table(result, name: str) -> Rows:
    with open(result.folder / "tables" / f"{name}.csv", newline="") as file:
        return Rows.of(csv.DictReader(file))


def numbers(rows: Rows, name: str) -> np.ndarray:
    return np.array([float(value) if value else math.nan for value in rows[name]])


def test_every_part_is_there_with_its_figures_and_their_numbers(result):
    assert result.status == "finished"
    assert tuple(study.name for study in studies(Request(True))) == STUDIES
    figures = {path.stem for path in (result.folder / "figures").glob("*.svg")}
    assert figures == {*STUDIES, "xor_phases", "landscape_slices"}
    for name in figures:
        with open(result.folder / "figures" / f"{name}.csv", newline="") as file:
            assert len(list(csv.reader(file))) > 3
    page = (result.folder / "report.html").read_text()
    assert page.count("<img") == len(figures)
    assert len(result.answers) == len(STUDIES)


def test_certified_trainings_and_kappa(result):
    xor = table(result, "xor")
    assert len(xor) == 24
    assert (numbers(xor, "observed") <= numbers(xor, "certified")).all()
    assert (numbers(xor, "certified") <= numbers(xor, "paper")).all()
    bound = numbers(xor, "transition_bound")
    applies = (xor["data"] == "lifted XOR") & (xor["activation"] == "leaky softplus")
    assert (np.isfinite(bound) == applies).all()
    gap = table(result, "near_homogeneity")
    ratio = numbers(gap, "chosen") / numbers(gap, "kappa")
    assert (ratio <= 1 + 1e-9).all() and (ratio > 0.995).all()
    one_sided = 2 * numbers(gap, "kappa") / numbers(gap, "table")
    assert one_sided == pytest.approx(1.0, rel=1e-9)


def test_exponents_and_the_edge_of_stability(result):
    fits = table(result, "scaling_exponents")
    risk = dict(zip(fits["against"], numbers(fits, "risk"), strict=True))
    assert risk["stepsize"] == pytest.approx(-1.0, abs=0.3)
    assert risk["width"] == pytest.approx(1.0, abs=0.3)
    claims = {claim.name: claim.agrees for claim in result.claims}
    assert claims["Edge of stability (section 6)"] is True
    assert claims["Table of near-homogeneity (section 1.1)"] is True


def test_the_best_stepsize_is_that_of_the_lowest_risk():
    rows = Rows.of(
        {"stepsize": s, "T": t, "log_risk": -math.log(s) - p * math.log(t), "monotone": s < 2}
        for s, p in [(1.0, 1.0), (4.0, 2.0), (10.0, 0.0)]
        for t in (10, 100, 1000)
    )
    found = _tuned.findings(rows)
    cells = found.blocks[1].rows
    assert cells.where(stepsizes="any")["stepsize"].tolist() == [4.0] * 3
    large = cells.where(stepsizes="large (up to a multiple of T)")
    assert large["stepsize"].tolist() == [1.0, 4.0, 4.0]
    assert cells.where(stepsizes="small (monotone)")["stepsize"].tolist() == [1.0] * 3
    assert "risk T^-2.80" in found.answers[0] and "risk T^-1.00" in found.answers[0]
    assert found.claims[0].agrees


def cifar_files(folder: Path, count: int = 30) -> None:
    rng = np.random.default_rng(0)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        labels = rng.integers(0, 3, count).astype(np.uint8)
        pixels = rng.integers(0, 256, (count, 3072)).astype(np.uint8)
        pixels[labels == 1, :500] //= 4
        (folder / name).write_bytes(np.column_stack([labels, pixels]).tobytes())


def mnist_files(folder: Path, count: int = 40) -> None:
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        labels = rng.choice([3, 8, 1], count).astype(np.uint8)
        images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28))
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big")
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


def test_data_sets_that_are_there_add_their_trainings(tmp_path):
    inside = tmp_path / "cifar-10-batches-bin"
    inside.mkdir()
    cifar_files(inside)
    mnist_files(tmp_path)
    request = Request(quick=True, data=tmp_path)
    parts = {study.name: study for study in studies(request)}
    plain = {study.name: study for study in studies(Request(quick=True))}
    assert len(parts["images"].jobs) == len(plain["images"].jobs) + 2
    assert len(parts["labels"].jobs) == len(plain["labels"].jobs) + 3
    rows = _images.training("airplane and automobile", inside, 0.2, 5, 8, 0)
    assert rows[0]["data"] == "airplane and automobile" and rows[-1]["step"] == 5
    rows = _labels.training("MNIST, 10 % noise", tmp_path, 10.0, 5)
    assert rows[-1]["step"] == 5 and 0 <= rows[0]["accuracy"] <= 1
    (inside / "test_batch.bin").unlink()
    for name in ("images", "labels"):
        (tmp_path / f"t10k-{name}-idx{3 if name == 'images' else 1}-ubyte").unlink()
    assert _images.training("airplane and automobile", inside, 0.2, 1, 8, 0)
    assert _labels.training("MNIST, 10 % noise", tmp_path, 10.0, 1)


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a folder with either"):
        experiments.reproduce("large-stepsize", tmp_path / "out", data=tmp_path, progress=False)
    assert not (tmp_path / "out").exists()


def test_problems_are_what_they_say():
    data = _problems.opposed(0.1)
    assert np.linalg.norm(data.X, axis=1)[0] == pytest.approx(1.0)
    assert (data.y * data.X[:, 0]).min() == pytest.approx(0.1)
    apart = _problems.cloud(30, 4, 0.3, 0, n_test=10)
    assert (apart.y * apart.X[:, 0]).min() >= 0.3 / 2 and len(apart.X_test) == 10
    for kind in ("normal", "uniform", "rademacher"):
        net = _problems.mean_field("gelu", 400, 9, 0, size=2.0, kind=kind, scale=3.0)
        assert net.weights[0].std() == pytest.approx(2.0 / 3.0, rel=0.05)
        assert net.weights[1].sum() == 0 and net.output_scale == 3.0 / 400
    run = lipgd.train(net, np.ones((1, 9)), [1.0], loss="logistic", rate=1.0, frozen=["W2"])
    assert _problems.accuracy(run.network, np.ones((1, 9)), [1.0]) == 1.0
    assert _problems.tidy(3.0) == 3 and isinstance(_problems.tidy(3.0), int)
    assert _problems.tidy(0.5) == 0.5
    rows = _problems.positions(1000)
    assert rows[0] == 0 and rows[-1] == 999 and (np.diff(rows) > 0).all()
