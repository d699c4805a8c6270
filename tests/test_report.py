"""Pages: escaped, self-contained, well-formed."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lipgd import report

VOID = {"meta", "img", "br", "link"}
NASTY = "<script>alert('x')</script> & \"quotes\""


class Reader(HTMLParser):
    """Collects tags, attributes and text; fails where tags are not nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.text.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "dot.svg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return path


def whole_page(picture: Path) -> str:
    table = report.table(
        ["name", NASTY],
        [[NASTY, 0.5], ["b", None]],
        caption=NASTY,
        groups=[("", 1), (NASTY, 1)],
        command=f"lipgd demo > {NASTY}",
    )
    figure = report.figure(picture, alt=NASTY, caption=NASTY, command=NASTY)
    blocks = [NASTY, table, figure, report.command(NASTY)]
    return report.page(NASTY, {NASTY: blocks}, lead=NASTY)


def test_everything_is_escaped_and_nested(picture: Path) -> None:
    html = whole_page(picture)
    reader = Reader(html)
    assert reader.all("script") == []
    assert "<script" not in html
    assert reader.text.count(NASTY) == 12
    assert reader.all("img")[0]["alt"] == NASTY
    assert {region["aria-label"] for region in reader.all("div")} == {NASTY}


def test_nothing_is_loaded_from_elsewhere(picture: Path) -> None:
    reader = Reader(whole_page(picture))
    assert {tag for tag, _ in reader.tags} & {"link", "script", "iframe", "object"} == set()
    sources = [a[k] for _, a in reader.tags for k in ("src", "href", "srcset") if k in a]
    assert [str(source)[:5] for source in sources] == ["data:"]
    policy = next(m for m in reader.all("meta") if "http-equiv" in m)
    assert str(policy["content"]).startswith("default-src 'none'")
    assert "url(" not in whole_page(picture)
    assert "@import" not in whole_page(picture)


def test_a_picture_is_embedded_whole(picture: Path) -> None:
    source = Reader(whole_page(picture)).all("img")[0]["src"]
    kind, _, data = str(source).partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data) == picture.read_bytes()


def test_tables_name_their_columns_rows_and_command() -> None:
    html = report.table(["a", "b"], [["x", 1.5], ["y", 2.5]], caption="c", command="lipgd info")
    reader = Reader(html.text)
    assert [th["scope"] for th in reader.all("th")] == ["col", "col", "row", "row"]
    assert reader.text == ["c", "a", "b", "x", "1.500", "y", "2.500", "Reproduced by", "lipgd info"]


def test_numbers_stand_at_the_right() -> None:
    rows = [["x", "0.50", None, "text"], ["y", 2.5, 1, "1"]]
    reader = Reader(report.table(["a", "b", "c", "d"], rows, caption="").text)
    assert [td.get("class") for td in reader.all("td")] == ["n", "n", None] * 2
    assert reader.all("th")[0].get("class") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (np.int64(3), "3"),
        (0.25, "0.2500"),
        (1234.5, "1234"),
        (98765.4, "98,765"),
        (1e-12, "1.000e-12"),
        (1e20, "1.000e+20"),
        (np.float32(0.5), "0.5000"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (True, "True"),
        (None, "-"),
        ("a", "a"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert report.cell(value) == text


def test_text_tables_align() -> None:
    text = report.text_table(["name", "n"], [["a", 1], ["long name", 1000]])
    assert text.splitlines() == [
        "name           n",
        "---------  -----",
        "a              1",
        "long name  1,000",
    ]


def test_pages_are_saved_as_unicode(tmp_path: Path) -> None:
    report.save(tmp_path / "page.html", report.page("Červonenkis ≤ 1", {}))
    assert "Červonenkis ≤ 1" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^rows\[1\] has 1 cells, but there are 2 columns$"):
        report.table(["a", "b"], [[1, 2], [3]], caption="")
    with pytest.raises(ValueError, match=r"^groups has \[\('g', 3\)\], but there are 2 columns$"):
        report.table(["a", "b"], [], caption="", groups=[("g", 3)])
    with pytest.raises(ValueError, match=r"^path is 'a\.gif', expected a name that ends in \.svg"):
        report.figure("a.gif", alt="", caption="")
