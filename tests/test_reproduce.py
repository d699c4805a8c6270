"""Experiments: tables, threads, files and pages, on studies that take no time."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from lipgd import experiments, plotting, report
from lipgd.cli import main
from lipgd.experiments import _reproduce, rate_constraints
from lipgd.experiments._charts import boxes, lines, name_axes
from lipgd.experiments._reproduce import Reproduction, reproduce_studies, run_jobs
from lipgd.experiments._rows import Rows, exponent
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf

mpl.use("agg")


def rows() -> Rows:
    return Rows.of(
        {"kind": kind, "n": n, "value": value}
        for kind, n, value in [("a", 1, 2.0), ("a", 2, 8.0), ("b", 1, 5.0), ("a", 1, 4.0)]
    )


def test_a_table_by_hand(tmp_path: Path) -> None:
    table = rows()
    assert table.values("kind") == ["a", "b"]
    assert table.where(kind="a", n=1)["value"].tolist() == [2.0, 4.0]
    assert table.last(["kind"]).cells == (("a", 1, 4.0), ("b", 1, 5.0))
    means = table.summary(["kind", "n"], mean=("value", np.mean))
    assert means.cells == (("a", 1, 3.0), ("a", 2, 8.0), ("b", 1, 5.0))
    assert table.pick(["value", "kind"]).cells[0] == (2.0, "a")
    table.write(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as file:
        assert list(csv.reader(file))[1] == ["a", "1", "2.0"]
    gaps = Rows.of([{"x": 1.0}, {"y": 2.0}])
    assert np.isnan(gaps["x"][1]) and gaps.cells == ((1.0, None), (None, 2.0))


def test_the_exponent_of_a_power() -> None:
    x = np.array([1.0, 2, 4, 8])
    assert exponent(x, 3 * x**-0.5) == pytest.approx(-0.5)
    assert exponent([1, 2, 3, 4], [1, 2, math.inf, 4]) == pytest.approx(1.0)
    assert math.isnan(exponent([1, 1], [2, 3]))


def job(value: float) -> list[dict[str, Any]]:
    return [{"kind": "a", "value": value}, {"kind": "b", "value": 2 * value}]


def tiny(values: range, name: str = "tiny") -> Study:
    def show(table: Rows) -> Findings:
        figure, axes = plotting.panels(2)
        drawn = lines(axes[0], table, "value", "value", "kind")
        boxes(axes[1], table, "value", "kind")
        name_axes(axes[0], "x", "y", log="xy", ticks=(1, 10))
        sentence = f"The largest is {table['value'].max():g} < 1e9 & more."
        return Findings(
            [sentence, TableOf("all", table, "All"), Picture("p", figure, drawn, "P", "dots")],
            [sentence],
            [Claim("c", "up", sentence, bool(table["value"].max() > 9))],
        )

    return Study(name, "A tiny <part>", [partial(job, float(v)) for v in values], show)


def page_of(folder: Path, study: Study, jobs: int = 2) -> Reproduction:
    return reproduce_studies("Title", "Lead.", [study], folder, "lipgd reproduce x", jobs, False)


def test_every_figure_has_its_numbers_and_every_table_its_file(tmp_path: Path) -> None:
    result = page_of(tmp_path / "new", tiny(range(1, 4)))
    names = {p.relative_to(result.folder).as_posix() for p in result.folder.rglob("*.*")}
    figures = {f"figures/p{suffix}" for suffix in (".png", ".svg", ".csv")}
    assert names == {"report.html", "tables/all.csv", "rows/tiny.csv", *figures}
    with open(result.folder / "figures" / "p.csv", newline="") as file:
        lines_ = list(csv.DictReader(file))
    assert {line["kind"] for line in lines_} == {"a", "b"}
    assert float(lines_[0]["mean"]) == 1.0


def test_the_page_is_one_file_that_loads_nothing(tmp_path: Path) -> None:
    result = page_of(tmp_path, tiny(range(1, 4)))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count('src="data:image/svg+xml;base64,') == 1
    assert re.findall(r"(?:https?:)?//[a-z]|<script|<link", re.sub(r'"data:[^"]*"', "", html)) == []
    assert "The largest is 6 &lt; 1e9 &amp; more." in html
    assert "A tiny &lt;part&gt;" in html
    assert result.answers == ("The largest is 6 < 1e9 & more.",)


def test_another_table_gives_other_sentences(tmp_path: Path) -> None:
    few, many = (page_of(tmp_path, tiny(range(1, n))) for n in (3, 9))
    assert few.answers != many.answers
    assert [few.claims[0].agrees, many.claims[0].agrees] == [False, True]
    assert "agrees: no" in str(few) and "agrees: yes" in str(many)


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    for jobs in (1, 3):
        page_of(tmp_path / str(jobs), tiny(range(1, 30)), jobs)
    for name in ("rows/tiny.csv", "figures/p.svg", "report.html"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_a_missing_library_is_known_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    study = Study("s", "S", [lambda: pytest.fail("work")], lambda table: Findings([]))
    with pytest.raises(ImportError, match=r'pip install "lipgd\[plot\]"'):
        page_of(tmp_path / "out", study)
    assert not (tmp_path / "out").exists()


def test_a_failing_job_is_not_hidden() -> None:
    def fail() -> list[dict[str, Any]]:
        raise ValueError("no such network")

    with pytest.raises(ValueError, match="no such network"):
        run_jobs([Study("s", "S", [fail], lambda table: Findings([]))], 2, None)


class InterruptingBar:
    """A progress bar during which Ctrl-C is pressed after the third job."""

    def __init__(self, *_: Any) -> None:
        self.close = lambda: None

    def show(self, done: int, _: Any) -> None:
        if done == 3:
            raise KeyboardInterrupt


def test_an_interrupted_run_keeps_the_parts_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow() -> list[dict[str, Any]]:
        time.sleep(0.3)
        return []

    monkeypatch.setattr(_reproduce, "ProgressBar", InterruptingBar)
    long = Study("long", "Long", [slow] * 5, lambda table: Findings([]))
    studies = [tiny(range(1, 4)), long]
    result = reproduce_studies("Title", "Lead.", studies, tmp_path, "lipgd", 1, True)
    assert result.status == "interrupted"
    html = (tmp_path / "report.html").read_text()
    assert "interrupted" in html and "A tiny" in html and "Long" not in html


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rates"}, "name is 'rates', expected one of rate-constraints"),
        ({"seeds": 0}, "seeds is 0, expected"),
        ({"jobs": 0}, "jobs is 0, expected"),
        ({"data": "somewhere"}, "data is 'somewhere', but rate-constraints needs none"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        experiments.reproduce(
            **{"name": "rate-constraints", "folder": tmp_path / "out", **arguments}
        )
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[Request], list[Study]]:
    def studies(request: Request) -> list[Study]:
        return [tiny(request.repeats(4, 3))]

    monkeypatch.setattr(rate_constraints, "studies", studies)
    return studies


def test_the_command(
    small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "rate-constraints", "--quick", "--seeds", "2"]) == 0
    out, err = capsys.readouterr()
    assert "The largest is 2 < 1e9 & more." in out and "2/2" in err
    html = (tmp_path / "lipgd-rate-constraints" / "report.html").read_text()
    assert "<code>lipgd reproduce rate-constraints --quick --seeds 2</code>" in html
    arguments = ["reproduce", "rate-constraints", "--json", "--no-progress", "--jobs", "1"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert err == "" and facts["status"] == "finished"
    assert facts["claims"][0]["agrees"] is False
    assert main(["reproduce", "nothing"]) == 2


def test_a_table_without_numbers_still_makes_a_page() -> None:
    assert "<table>" in report.table(["a"], [], caption="empty").text
