"""The pages: their code runs, their links lead somewhere, and no public name is missing.

``make docs`` builds the pages and runs the gallery; this is what is quick to see in their sources.
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mpi_programs import LIBRARIES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import api_pages  # noqa: E402
import command_help  # noqa: E402
import support_matrix  # noqa: E402
import theory_links  # noqa: E402

GENERATED = {DOCS / "generated", DOCS / "gallery", DOCS / "api" / "modules"}
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if not GENERATED & set(path.parents)]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return the language and the text of the code of a page, at the lines that it has there."""
    found: list[tuple[str, str]] = []
    language, start, lines = "", 0, path.read_text().splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if language:
            text = "\n".join(lines[start:number]) + "\n"
            found.append((language, "\n" * start + text if language == "python" else text))
            language = ""
        else:
            language, start = line.strip("`") or "text", number + 1
    return found


def labels(path: Path) -> set[str]:
    return set(re.findall(r"^\(([\w-]+)\)=$", path.read_text(), re.MULTILINE))


def citations() -> Iterator[tuple[str, re.Match[str]]]:
    """Yield every mention of a page of the theory in the sources, with the sections behind it."""
    for folder in ("python/lipgd", "cpp/include/lipgd", "bench"):
        for path in sorted((ROOT / folder).rglob("*.[hp]*")):
            if path.suffix in (".py", ".hpp"):
                for match in theory_links.CITATION.finditer(path.read_text()):
                    yield name_of(path), match


#: What a test does not do: install, run the whole suite.
NOT_HERE = ("make ", "pip ")
RUN = ("python", "bash")
with_code = [
    path
    for path in [ROOT / "README.md", *PAGES]
    if any(language in RUN for language, _ in blocks(path))
]


@pytest.mark.parametrize("path", with_code, ids=name_of)
def test_code_of_pages_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    if LIBRARIES:  # of MPI
        command, environment = next(iter(LIBRARIES.values()))
        folders.insert(1, str(Path(command[0]).parent))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    names = {"__name__": "page"}
    for language, text in blocks(path):
        if file := re.match(r"\s*(?://|#) (\w+\.\w+)\n", text):
            Path(file[1]).write_text(text)
        if language == "python":
            exec(compile(text, str(path), "exec"), names)
        elif language == "bash":
            if text.startswith(NOT_HERE) or (text.startswith("mpiexec ") and not LIBRARIES):
                continue
            run = subprocess.run(
                ["bash", "-euc", text],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=100,
            )
            assert run.returncode == 0, run.stderr
        else:
            known = ("bash", "cmake", "cpp", "text", "toml")
            assert language in known or language.startswith("{"), language


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_examples_run(path, tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    pyplot.close("all")


def test_the_gallery_has_ten_examples_with_titles():
    assert len(EXAMPLES) >= 10
    for path in EXAMPLES:
        title = path.read_text().split('"""')[1].strip().splitlines()
        assert set(title[1]) == {"="} and len(title[1]) == len(title[0]), path


def test_every_public_name_has_a_page():
    shown = api_pages.documented()
    keys = {
        api_pages._key(getattr(importlib.import_module(module), entry), entry)
        for module, entries in shown.items()
        for entry in entries
    }
    missing = [
        f"{module}.{entry}"
        for module in api_pages.public_modules()
        for entry in importlib.import_module(module).__all__
        if not isinstance(value := getattr(importlib.import_module(module), entry), type(re))
        and api_pages._key(value, entry) not in keys
    ]
    assert not missing
    index = (DOCS / "api" / "index.md").read_text()
    assert set(re.findall(r"^modules/(\S+)$", index, re.MULTILINE)) == set(shown)


def test_public_modules_are_those_of_the_package():
    import lipgd

    modules = {f"lipgd.{name}" for name in lipgd.__all__}
    found = set(api_pages.public_modules())
    assert {name for name in modules if name in sys.modules} <= found
    assert "lipgd.sklearn" in found and not any("._" in name for name in found)


def test_citations_of_the_theory_lead_to_a_section():
    known = set().union(*(labels(DOCS / "theory" / f"{p}.md") for p in theory_links.PAGES))
    citations_found = list(citations())
    assert len(citations_found) > 150
    dead = [
        (where, found.group(0))
        for where, found in citations_found
        if not set(theory_links.labels(found)) <= known
    ]
    assert not dead


@pytest.mark.parametrize("page", theory_links.PAGES)
def test_statements_that_docstrings_cite_are_on_the_page(page):
    """As in "large-stepsize.md, section 5, Theorem 6, (5.5)"."""
    text = (DOCS / "theory" / f"{page}.md").read_text()
    statement = re.compile(r"(?:Theorem|Lemma|Proposition|Corollary) \w+|\(\d[\d.]*\+?\)", re.I)
    cited = {
        found
        for path in sorted((ROOT / "python" / "lipgd").rglob("*.py"))
        for words in re.findall(rf"{page}\.md,([^\"\n;]*)", path.read_text())
        for found in statement.findall(words)
    }
    assert cited or page == "dynamics"
    for found in cited:
        number = re.fullmatch(r"\((.*)\)", found)
        needle = re.escape(f"\\tag{{{number[1]}}}") if number else rf"{found}\b"
        assert re.search(needle, text, re.IGNORECASE), found


def test_links_between_pages_lead_somewhere():
    known = set().union(*(labels(path) for path in PAGES))
    dead = []
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        text = path.read_text()
        for target in re.findall(r"\{ref\}`(?:[^`<]*<)?([^`<>]+)>?`", text):
            dead += [] if target in known else [(name_of(path), target)]
        for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`<>]+)>?`", text):
            dead += [] if page_exists(path, target) else [(name_of(path), target)]
        for target in re.findall(r"(?<!!)\[[^\]]+\]\(([\w./-]+)\)", text):
            dead += [] if (path.parent / target).exists() else [(name_of(path), target)]
        for role, name in re.findall(r"\{py:(\w+)\}`~?([\w.]+)`", text):
            dead += [] if importable(name) else [(name_of(path), f"{role} {name}")]
    assert not dead


def page_exists(path: Path, target: str) -> bool:
    where = DOCS / target.lstrip("/") if target.startswith("/") else path.parent / target
    if target.endswith("gallery/index"):
        return (ROOT / "examples" / "GALLERY_HEADER.rst").exists()
    return where.with_name(f"{where.name}.md").exists()


def importable(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


def test_docstrings_link_to_the_theory():
    assert theory_links.linked("    rate-constraints.md, section 6.5 (chord).") == (
        "    :ref:`rate constraints, section 6.5 <rate-constraints-6-5>` (chord)."
    )
    assert theory_links.linked("certificates.md, sections 2 and 9; Rump, 2006") == (
        "certificates.md, sections 2 and 9; Rump, 2006".replace(
            "certificates.md, sections 2", ":ref:`certificates, sections 2 <certificates-2>`"
        ).replace(" 9;", " :ref:`9 <certificates-9>`;")
    )


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the docstrings of all public names, and of the public methods of classes."""
    for module, names in api_pages.documented().items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            members = vars(value).items() if isinstance(value, type) else ()
            public = [(name, value), *((f"{name}.{n}", v) for n, v in members if n[0] != "_")]
            for path, entry in public:
                if text := getattr(entry, "__doc__", None):
                    yield f"{module}.{path}", text


def test_docstrings_have_no_markup_by_accident():
    """A bar or a star at the begin of a word is markup of reST, but in code and in examples."""
    wrong = []
    for name, text in docstrings():
        prose = re.sub(r"(?m)^\s*(?:>>>|\.\.\.) .*\n(?:.*\S.*\n)*", "", text)
        prose = re.sub(r"``.*?``|^ *\*+\w+ : .*$", "", prose, flags=re.DOTALL | re.MULTILINE)
        wrong += [(name, found) for found in re.findall(r"(?<![\w|])\|[^\s|].*", prose)]
    assert not wrong


def test_help_of_every_command_is_on_the_page():
    text = command_help.text()
    listed = command_help.help_of().split("COMMAND\n")[1].split("options:")[0]
    commands = re.findall(r"^ {4}(\w+)", listed, re.MULTILINE)
    assert set(commands) == set(command_help.COMMANDS)
    assert all(f"usage: lipgd {name}" in text for name in commands)


def test_the_support_matrix_says_what_works_and_what_does_not():
    text = support_matrix.text()
    for name in support_matrix.ACTIVATIONS:
        assert text.count(f"| `{name}` |") == 6
    yes, no = support_matrix.YES, support_matrix.NO
    assert f"| `adam` | {no} | {yes} |" in text
    assert not support_matrix.works(lambda: support_matrix.bound("relu", "no such method"))
    assert f"| `relu` | {yes} | {no} | {no} | {no} | {no} |" in text


def test_the_readme_is_short_and_has_one_picture():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 42
    (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert (ROOT / picture).stat().st_size > 10_000
    assert "\nmake demo " in text and "\nmake test " in text
