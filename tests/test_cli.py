"""The command: what it prints, where, with which exit code, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

import lipgd
from lipgd.cli import main

mpl.use("agg")

Capture = pytest.CaptureFixture[str]


def error(capsys: Capture, *arguments: str) -> str:
    """Return the message of a command that fails with exit code 2."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_usage(capsys: Capture) -> None:
    assert "arguments are required: COMMAND" in error(capsys)
    assert "invalid choice: 'trian'" in error(capsys, "trian")
    assert "invalid float value: 'x'" in error(capsys, "train", "a.csv", "--rate", "x")
    both = ["--test-fraction", "0.5", "--test-file", "b.csv"]
    assert "not allowed with argument" in error(capsys, "train", "a.csv", *both)


def test_a_missing_library_is_named(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    text = error(capsys, "demo", "--out", str(tmp_path / "out"))
    assert 'pip install "lipgd[demo]"' in text
    assert not (tmp_path / "out").exists()


class TestPlot:
    @pytest.fixture
    def histories(self, tmp_path: Path) -> list[str]:
        paths = [str(tmp_path / f"{name}.npz") for name in ("one", "two")]
        for path in paths:
            lipgd.History([0, 1, 2], {"risk": [3.0, 2, 1], "margin": [1.0, 2, 3]}).save(path)
        return paths

    def test_a_figure_beside_the_history(self, histories: list[str], capsys: Capture) -> None:
        assert main(["plot", histories[0]]) == 0
        path = Path(capsys.readouterr().out.strip())
        assert path == Path(histories[0]).with_suffix(".png")
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_columns_of_several_histories(self, histories: list[str], tmp_path: Path) -> None:
        out = tmp_path / "figure.svg"
        columns = ["--column", "margin", "risk", "--log", "--out", str(out)]
        assert main(["plot", *histories, *columns]) == 0
        svg = out.read_text()
        for text in ("margin", "risk", str(tmp_path / "one"), str(tmp_path / "two")):
            assert f">{text}</text>" in svg

    def test_logarithmic_values(
        self, histories: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        figures: list[Any] = []
        monkeypatch.setattr(
            "lipgd.plotting._style.write", lambda figure, path: figures.append(figure)
        )
        main(["plot", histories[0], "--column", "margin"])
        main(["plot", histories[0], "--column", "margin", "--log"])
        assert [figure.axes[0].get_yscale() for figure in figures] == ["linear", "log"]

    def test_messages(self, histories: list[str], tmp_path: Path, capsys: Capture) -> None:
        text = error(capsys, "plot", histories[0], "--column", "rate:W1")
        assert "history_or_run has recorded risk, margin, expected rate:W1" in text
        text = error(capsys, "plot", histories[0], "--out", str(tmp_path / "figure.docx"))
        assert "figure.docx', expected a name that ends in" in text
        assert "No such file" in error(capsys, "plot", "none.npz")


def test_info(capsys: Capture) -> None:
    assert main(["info"]) == 0
    assert capsys.readouterr().out == f"{lipgd.show_config()}\n"
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["level"] == lipgd.show_config().level


def test_demo(tmp_path: Path, capsys: Capture) -> None:
    options = ["--quick", "--no-progress", "--seed", "1", "--json", "--out", str(tmp_path)]
    assert main(["demo", *options]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert (facts["status"], len(facts["rows"]), err) == ("finished", 6, "")
    assert "lipgd demo --quick --seed 1" in (tmp_path / "report.html").read_text()


def test_options_of_the_whole(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lipgd {lipgd.__version__}\n"
    assert main(["--includes"]) == 0
    assert capsys.readouterr().out == f"{lipgd.get_include()}\n"


@pytest.mark.parametrize("command", [[], ["demo"], ["train"], ["certify"], ["plot"], ["info"]])
def test_help_has_examples(command: list[str], capsys: Capture) -> None:
    assert main([*command, "--help"]) == 0
    out = capsys.readouterr().out
    examples = out.partition("examples:\n")[2]
    assert f"  lipgd {' '.join(command)}" in examples


def test_starting_needs_no_optional_library() -> None:
    script = (
        "import sys; from lipgd.cli import main; main(['info']); main(['train', '--help']);"
        "main(['plot', '--help']); sys.exit(bool({'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE).returncode == 0
