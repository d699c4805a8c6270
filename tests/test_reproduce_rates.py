"""Learning rates and Lipschitz constants: a short run of every part, and what its tables say."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import lipgd
from lipgd import experiments
from lipgd.experiments._reproduce import Reproduction
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Findings, Request
from lipgd.experiments.rate_constraints import (
    _controller,
    _depth,
    _descent,
    _front,
    _gap,
    _methods,
    _samples,
    _schedules,
    _trainings,
    _width,
    studies,
)
from lipgd.experiments.rate_constraints._conjugate import conjugate_gradients
from lipgd.experiments.rate_constraints._trainings import Data, at_risk, cube, named, percent

mpl.use("agg")

PARTS = [study.name for study in studies(Request(quick=True))]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    folder = tmp_path_factory.mktemp("rates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_trainings, "_TEST", 200)
        return experiments.reproduce(
            "rate-constraints", folder, quick=True, seeds=1, progress=False
        )


def read(result: Reproduction, part: str) -> Rows:
    """Return the table of a part as it was written."""
    lines = (result.folder / "rows" / f"{part}.csv").read_text().splitlines()
    columns = tuple(lines[0].split(","))
    return Rows(columns, tuple(tuple(map(parsed, line.split(","))) for line in lines[1:]))


def parsed(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text or None


def show(part: str, rows: Rows) -> Findings:
    found: Findings = importlib.import_module(
        f"lipgd.experiments.rate_constraints._{part}"
    ).findings(rows)
    return found


def sentences(found: Findings) -> list[str]:
    claims = [claim.seen for claim in found.claims]
    return [*(b for b in found.blocks if isinstance(b, str)), *found.answers, *claims]


def scaled(rows: Rows, column: str, factor: float, **equal: Any) -> Rows:
    """Return a table in which a column is multiplied where other columns have these values."""
    place = rows.columns.index(column)
    chosen = {rows.columns.index(name): value for name, value in equal.items()}
    cells = []
    for row in rows.cells:
        hit = row[place] is not None and all(row[i] == value for i, value in chosen.items())
        cells.append((*row[:place], row[place] * factor, *row[place + 1 :]) if hit else row)
    return Rows(rows.columns, tuple(cells))


def test_the_page_and_the_files(result: Reproduction) -> None:
    html = (result.folder / "report.html").read_text(encoding="utf-8")
    bare = re.sub(r'src="data:[^"]*"', "", html)
    assert re.findall(r"(?:https?:)?//[a-z]|<script|<link", bare) == []
    figures = sorted((result.folder / "figures").glob("*.png"))
    assert len(figures) >= len(PARTS) and html.count("<img ") == len(figures)
    for png in figures:
        assert png.with_suffix(".svg").stat().st_size > 1000
        assert len(png.with_suffix(".csv").read_text().splitlines()) > 1
    assert "nan" not in re.sub(r"<[^>]*>", " ", bare).split()
    for answer in result.answers:
        assert answer[:60] in bare


def test_every_observation_has_its_claim(result: Reproduction) -> None:
    numbers = {
        int(n) for claim in result.claims for n in re.findall(r"observation (\d)", claim.name)
    }
    assert numbers == {1, 2, 3, 4, 5, 6, 7}


def test_no_training_diverged(result: Reproduction) -> None:
    for part in PARTS:
        rows = read(result, part)
        if "status" in rows.columns:
            assert set(rows.values("status")) <= {"finished", None}, part


@pytest.mark.parametrize("part", PARTS)
def test_another_table_gives_other_sentences(result: Reproduction, part: str) -> None:
    rows = read(result, part)
    before = sentences(show(part, rows))
    rng = np.random.default_rng(0)

    def other(column: str, value: Any) -> Any:
        if isinstance(value, bool):
            return not value
        measured = isinstance(value, float) and column not in ("target", "decay", "C_W", "C_B")
        return value * rng.uniform(0.4, 2.5) if measured else value

    cells = (tuple(map(other, rows.columns, row)) for row in rows.cells)
    after = sentences(show(part, Rows(rows.columns, tuple(cells))))
    assert sentences(show(part, rows)) == before
    assert len(before) == len(after) > 0
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_whether_a_constant_rate_is_as_smooth(result: Reproduction) -> None:
    rows = read(result, "schedules")
    for column in ("local", "same_risk"):  # whatever was measured: all alike
        place = rows.columns.index(column)
        cells = ((*row[:place], 1.0, *row[place + 1 :]) for row in rows.cells)
        rows = Rows(rows.columns, tuple(cells))
    assert "? Yes (" in show("schedules", rows).answers[0]
    smoother = scaled(rows, "local", 0.5, schedule="exponential .02")
    assert "smoother even at the same training risk" in show("schedules", smoother).answers[0]
    trained_less = scaled(smoother, "same_risk", 0.5, schedule="exponential .02")
    text = show("schedules", trained_less).answers[0]
    assert "Not quite, but the difference is that of training less" in text
    assert "exponential .02: local constant 50 % below" in text
    rougher = rows
    for name in rows.values("schedule")[1:]:
        rougher = scaled(rougher, "local", 2.0, schedule=name)
    text = show("schedules", rougher).answers[0]
    assert "? No, and at the same training risk the constant rate is the smoother one" in text


def test_whether_depth_changes_it(result: Reproduction) -> None:
    rows = read(result, "depth")
    place = rows.columns.index("same_risk"), rows.columns.index("local")
    alike = Rows(
        rows.columns,
        tuple((*row[: place[0]], row[place[1]], *row[place[0] + 1 :]) for row in rows.cells),
    )
    assert "? No: at the same training risk" in show("depth", alike).answers[0]
    deep = max(rows.values("depth"))
    one = scaled(alike, "same_risk", 2.0, schedule="exponential .02", depth=deep)
    assert (
        f"? Yes: they are alike at the same training risk but for depth {deep}"
        in (show("depth", one).answers[0])
    )
    every = scaled(alike, "same_risk", 2.0, schedule="exponential .02")
    assert "? No: at no depth are they alike" in show("depth", every).answers[0]


def test_what_is_said_of_other_methods(result: Reproduction) -> None:
    rows = read(result, "methods")
    place = rows.columns.index("same_risk"), rows.columns.index("local")
    alike = Rows(
        rows.columns,
        tuple((*row[: place[0]], row[place[1]], *row[place[0] + 1 :]) for row in rows.cells),
    )
    assert "all of them" in show("methods", alike).answers[0]
    adam = scaled(alike, "local", 0.5, method="Adam", schedule="decaying")
    assert "Not for Adam (" in show("methods", adam).answers[0]
    rough = scaled(rows, "level_local", 9.0, method="heavy ball")
    assert re.search(r"rougher: heavy ball \(", show("methods", rough).answers[1])
    few, many = (scaled(rows, "restarts", f, method="conjugate gradients") for f in (0.0, 1e3))
    assert "so the directions are conjugate ones" in show("methods", few).answers[2]
    assert "restarted on 0% of" in show("methods", few).answers[2]
    if rows.where(method="conjugate gradients")["restarts"].any():
        assert "so it says little about conjugacy" in show("methods", many).answers[2]


def claim(part: str, rows: Rows) -> bool | None:
    return show(part, rows).claims[0].agrees


def test_claims_flip_with_the_table(result: Reproduction) -> None:
    """Each is true of a table that is made for it, and false of one that differs."""
    samples = Rows.of(
        {"init": i, "activation": a, "N": n, "seed": s, "step": 9, "local": v, "product": v,
         "test_risk": 0.1}
        for i, a in (("torch", "relu"), ("he", "relu"))
        for n, pair in ((50, (2.0, 2.4)), (150, (1.7, 1.8)), (500, (1.8, 1.9)))
        for s, v in enumerate(pair)
    )  # fmt: skip
    assert claim("samples", samples) is True
    assert claim("samples", scaled(samples, "local", 2.0, N=500)) is False

    width = Rows.of(
        {"init": i, "activation": "relu", "p": p, "seed": 0, "local": 1.5, "local_start": 1.5,
         "product": p**power, "product_start": p**power, "test_risk": 0.1,
         "large_rate_status": "finished",
         "large_rate_uphill": 0.5 if i == "he" and p == 500 else 0.0}
        for i, power in (("torch", 0.33), ("he", 0.43))
        for p in (50, 150, 500)
    )  # fmt: skip
    assert claim("width", width) is True
    assert "grows about like the square root" in show("width", width).answers[0]
    assert claim("width", scaled(width, "local", 3.0, p=500)) is False
    assert claim("width", scaled(width, "large_rate_uphill", 0.0)) is False

    caps = read(result, "caps")
    assert claim("caps", scaled(caps, "risk", 9.0, mode="displacement")) is False
    controller = read(result, "controller")
    stalled = scaled(controller, "still_from", 0.1)
    assert claim("controller", stalled) is True
    assert claim("controller", scaled(stalled, "risk", 9.0, method="retract")) is False
    assert claim("controller", scaled(stalled, "used", 2.0)) is False
    descent = read(result, "descent")
    assert claim("descent", scaled(descent, "radius", 1.5, T=1000)) is False
    gap = read(result, "gap")
    assert claim("gap", gap) is True
    assert claim("gap", scaled(gap, "rademacher", 1.01, kind="terms", d=9)) is False
    schedules = read(result, "schedules")
    assert claim("schedules", scaled(schedules, "energy_ratio", 1.2)) is False


def test_what_is_certified_holds(result: Reproduction) -> None:
    certified = read(result, "descent").where(kind="certified")
    trained = [row for row in certified.cells if row[certified.columns.index("gradient")]]
    part = Rows(certified.columns, tuple(trained))
    assert len(part) >= 2
    assert (part["gradient"] <= part["gradient_certified"]).all()
    assert (part["product"] <= part["lipschitz_certified"]).all()
    runs = read(result, "descent").where(kind="training")
    assert (runs["product"] <= runs["energy_bound"]).all()
    caps = read(result, "caps")
    assert (caps["product"] <= caps["target_product"]).all()
    assert (read(result, "controller")["used"] <= 1).all()
    for name in ("samples", "schedules", "activations", "depth", "methods", "real"):
        rows = read(result, name)
        assert (rows["local"] <= rows["product"] * (1 + 1e-9)).all()


def test_a_row_is_what_training_by_hand_gives(
    result: Reproduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_trainings, "_TEST", 200)
    rows = read(result, "schedules").where(init="torch", activation="silu", seed=0)
    data = cube(150, 0)
    net = lipgd.Network.create([4, 100, 1], "silu", "torch", seed=0)
    rate = _schedules.kinds()["exponential .02"]
    assert rate.rates(60)[[0, 49, 50, 59]] == pytest.approx([0.01] * 3 + [0.01 * math.exp(-0.18)])
    run = lipgd.train(net, data.X, data.y, loss="huber", rate=rate, steps=300)
    row = rows.where(schedule="exponential .02")
    assert row["risk"][0] == lipgd.risk(run.network, data.X, data.y, loss="huber")
    jacobians = run.network.jacobian(data.X_test)
    assert row["local"][0] == pytest.approx(np.linalg.norm(jacobians, axis=(1, 2)).max(), rel=1e-6)
    moved = np.linalg.norm(run.network.weights[1] - net.weights[1])
    assert row["displacement_B"][0] == pytest.approx(moved)


def test_the_value_at_a_risk_by_hand() -> None:
    history = lipgd.History(
        [0, 1, 2, 3], {"risk": [4.0, 2.0, 3.0, 1.0], "lipschitz_lower": [1.0, 2.0, 5.0, 9.0]}
    )
    assert at_risk(history, 3.0) == 1.5
    assert at_risk(history, 5.0) == 1.0
    assert at_risk(history, 1.0) == 9.0
    assert math.isnan(at_risk(history, 0.5))


def test_words() -> None:
    assert [named([]), named([1]), named(["a", "b", "c"])] == ["none", "1", "a, b and c"]
    assert percent(1.251) == "25 % above" and percent(0.9) == "10 % below"
    assert percent(1.001) == "the same as" and percent(math.nan) == "not comparable with"


def test_the_front_by_hand() -> None:
    first, second = np.array([1.0, 2.0, 3.0, 2.0, 1.0]), np.array([3.0, 2.0, 1.0, 3.0, 3.0])
    assert _front.efficient(first, second).tolist() == [True, True, True, False, True]


def test_conjugate_gradients_solve_least_squares_in_as_many_searches_as_unknowns() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 6)) * [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    y = X @ rng.standard_normal(6) + rng.standard_normal(40)
    data = Data(X, y, X, y)
    net = lipgd.Network.create([6, 1], seed=0)
    found = conjugate_gradients(net, data, "mse", 150)
    design = np.column_stack([X, np.ones(40)])
    best = np.mean((design @ np.linalg.lstsq(design, y, rcond=None)[0] - y) ** 2)
    assert lipgd.risk(found.network, X, y) == pytest.approx(best, rel=1e-6)
    assert found.restarts <= found.iterations / 4
    assert found.evaluations == sorted(set(found.evaluations))
    descent = lipgd.train(net, X, y, rate=0.005, steps=150)
    assert lipgd.risk(descent.network, X, y) > 1.05 * best


def test_every_part_has_a_module_and_a_heading() -> None:
    full = studies(Request())
    assert [study.name for study in full] == PARTS
    assert len({study.heading for study in full}) == len(PARTS)
    modules = (_samples, _width, _depth, _descent, _gap, _methods, _controller)
    assert {m.__name__.split("._")[-1] for m in modules} <= set(PARTS)
    seeds = {len(studies(Request(seeds=n))[3].jobs) for n in (2, 5)}
    assert seeds == {2, 5}
    assert Path(experiments.__file__).parent.joinpath("rate_constraints").is_dir()
