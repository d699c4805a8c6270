"""Tables in text files: good ones of every style, and a refusal for every bad one."""

from __future__ import annotations

import gzip
import hashlib
import os

import numpy as np
import pytest

from lipgd import data


def write(path, content, compressed=False):
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if compressed else content)
    return path


TABLE = [[5.1, 3.5, -1e-3], [4.9, 3.0, 0.25], [1 / 3, 2.5e10, 7.0]]
TEXT = {
    "comma": ",".join,
    "semicolon": ";".join,
    "tab": "\t".join,
    "spaces": "   ".join,
    "mixed white space": " \t ".join,
    "quoted": lambda cells: ",".join(f'"{cell}"' for cell in cells),
    "padded": " , ".join,
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("style", TEXT)
def test_tables_of_every_style_are_read(tmp_path, style, header, compressed):
    rows = [["wide", "tall", "target"]] * header + [[repr(x) for x in row] for row in TABLE]
    text = "\n".join(TEXT[style](row) for row in rows) + "\n"
    path = write(tmp_path / "some.table.csv", text, compressed)
    dataset = data.read_csv(path)
    assert np.array_equal(dataset.X, np.array(TABLE)[:, :2])
    assert np.array_equal(dataset.y, np.array(TABLE)[:, 2])
    assert dataset.X.dtype == dataset.y.dtype == np.float64
    assert dataset.X.flags.c_contiguous
    assert dataset.task == "regression"
    assert dataset.classes == ()
    assert dataset.feature_names == (("wide", "tall") if header else ("x0", "x1"))
    assert dataset.name == "some"
    assert dataset.source == os.fspath(path)
    assert dataset.sha256 == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("label", "column"), [("a", 0), ("b", 1), ("c", 2), (0, 0), (1, 1), (-3, 0), (np.int64(2), 2)]
)
def test_the_label_is_a_name_or_a_position(tmp_path, label, column):
    path = write(tmp_path / "t.csv", "a,b,c\n1,2,3\n4,5,6\n")
    dataset = data.read_csv(path, label)
    table = np.array([[1.0, 2, 3], [4, 5, 6]])
    assert np.array_equal(dataset.y, table[:, column])
    assert np.array_equal(dataset.X, np.delete(table, column, axis=1))
    assert dataset.feature_names == tuple(np.delete(["a", "b", "c"], column))


def test_line_endings_blank_lines_and_marks_are_no_matter(tmp_path):
    path = write(tmp_path / "t.csv", b"\xef\xbb\xbfa,b\r\n\r\n1,2\r\n   \r\n3,4")
    dataset = data.read_csv(path, "a")
    assert dataset.X.tolist() == [[2.0], [4.0]]
    assert dataset.feature_names == ("b",)


def test_quotes_can_hold_delimiters_and_line_ends(tmp_path):
    path = write(tmp_path / "t.csv", '"a, first","b\nsecond"\n1,x\n2,"y, or ""z"""\n')
    dataset = data.read_csv(path, delimiter=",")
    assert dataset.feature_names == ("a, first",)
    assert dataset.classes == ("x", 'y, or "z"')


def test_classes_are_sorted_and_two_are_signs(tmp_path):
    path = write(tmp_path / "t.csv", "x,kind\n1,pear\n2,apple\n3,pear\n")
    dataset = data.read_csv(path)
    assert dataset.task == "classification"
    assert dataset.classes == ("apple", "pear")
    assert dataset.y.tolist() == [1, -1, 1]
    assert dataset.y.dtype == np.int64
    path = write(tmp_path / "t.csv", "1,pear\n2,apple\n3,fig\n")
    dataset = data.read_csv(path)
    assert dataset.classes == ("apple", "fig", "pear")
    assert dataset.y.tolist() == [2, 0, 1]


def test_numbers_are_classes_only_on_request(tmp_path):
    path = write(tmp_path / "t.csv", "x,kind\n1,10\n2,9\n3,10.0\n4,0.5\n")
    assert data.read_csv(path).y.tolist() == [10.0, 9.0, 10.0, 0.5]
    dataset = data.read_csv(path, task="classification")
    assert dataset.classes == ("0.5", "9", "10")
    assert dataset.y.tolist() == [2, 1, 2, 0]


def test_header_and_delimiter_can_be_said(tmp_path):
    path = write(tmp_path / "t.csv", "2020,2021\n1,2\n3,4\n")
    assert len(data.read_csv(path).X) == 3
    dataset = data.read_csv(path, "2020", header=True)
    assert dataset.y.tolist() == [1.0, 3.0]
    path = write(tmp_path / "t.csv", "a b,c\n1,2\n")
    assert data.read_csv(path, delimiter=",").feature_names == ("a b",)


def test_many_rows_come_back(tmp_path):
    table = np.random.default_rng(0).normal(size=(3000, 4))
    path = tmp_path / "t.csv"
    np.savetxt(path, table, delimiter=";", fmt="%.17g")
    dataset = data.read_csv(path, 0)
    assert np.array_equal(np.column_stack([dataset.y, dataset.X]), table)


BAD_TEXT = [
    ("", {}, "it is empty"),
    ("\n \n", {}, "it is empty"),
    ("a,b\n", {}, "it has no rows"),
    ("1\n2\n", {}, "it has the single column 'x0', expected inputs and a label"),
    ("a,b\n1,2\n3\n", {}, r"row 2 \(line 3\) has 1 cells, expected 2"),
    ("a,b\n1,2\n\n3,4,5\n", {}, r"row 2 \(line 4\) has 3 cells, expected 2"),
    ("a,b\n1,2\n,4\n", {}, r"row 2 \(line 3\), column 'a' is '', a missing value"),
    ("a,b\n1,2\n,\n", {}, r"row 2 \(line 3\), column 'a' is '', a missing value"),
    ("a,b\n1,2\n3,\n", {}, r"row 2 \(line 3\), column 'b' is '', a missing value"),
    ("a,b\n1,2\n?,4\n", {}, r"column 'a' is '\?', a missing value"),
    ("a,b\n1,2\nNA,4\n", {}, "column 'a' is 'NA', a missing value"),
    ("a,b\n1,2\nNaN,4\n", {}, "column 'a' is 'NaN', a missing value"),
    ("?,1\n2,3\n", {}, r"row 1 \(line 1\), column 'x0' is '\?', a missing value"),
    ("a,b\n1,x\n2,\n", {}, "column 'b' is '', a missing value"),
    ("a,b\n1,2\n3,\n", {"task": "classification"}, "column 'b' is '', a missing value"),
    ("a,b\n1,2\ninf,4\n", {}, "column 'a' is 'inf', expected a finite number"),
    ("a,b\n1,2\n1e999,4\n", {}, "column 'a' is '1e999', expected a finite number"),
    ("a,b\n1,2\n1_000,4\n", {}, "column 'a' is '1_000', expected a finite number"),
    ("sex,b\nmale,2\nfemale,4\n", {}, r"row 1 \(line 2\), column 'sex' is 'male', expected a fin"),
    ("a,b\n1,2\n3,x\n", {}, r"row 2 \(line 3\), column 'b' is 'x', expected a finite number"),
    ("a,b\n1,x\n2,y\n", {"task": "regression"}, "column 'b' is 'x', expected a finite number"),
    ("a,b\n1,x\n2,x\n", {}, "column 'b' has the single class 'x'"),
    ("a,b\n1,2\n", {"label": "c"}, "label is 'c', but the columns have a, b"),
    ("a,a\n1,2\n", {"label": "a"}, "label is 'a', but the columns have a, a"),
    ("1,2\n3,4\n", {"label": "x0"}, "label is 'x0', but the columns have no names"),
    ("1,2\n3,4\n", {"label": 2}, "label is 2, but there are 2 columns"),
    ("1,2\n3,4\n", {"label": -3}, "label is -3, but there are 2 columns"),
    (b"a,b\n1,\xff\n", {}, "'utf-8' codec can't decode"),
    ('a,b\n1,"2\n', {"delimiter": ","}, "unexpected end of data"),
    ("a,b\n1," + "2" * 200_000, {}, "field larger than field limit"),
    ("a,b\n1," + "2" * 2**24, {}, "it has lines over 16777216"),
]


@pytest.mark.parametrize(("content", "arguments", "message"), BAD_TEXT)
def test_bad_text_is_refused(tmp_path, content, arguments, message):
    path = write(tmp_path / "bad.csv", content)
    with pytest.raises(ValueError, match=message) as caught:
        data.read_csv(path, **arguments)
    assert caught.match(r"bad\.csv is not a readable CSV file: ")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"label": 1.0}, TypeError, "label is 1.0"),
        ({"label": None}, TypeError, "label is None"),
        ({"task": "ranking"}, ValueError, "task is 'ranking'"),
        ({"delimiter": "|"}, ValueError, r"delimiter is '\|'"),
        ({"header": 1}, TypeError, "header is 1, expected True or False"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, error, message):
    path = write(tmp_path / "t.csv", "a,b\n1,2\n")
    with pytest.raises(error, match=message):
        data.read_csv(path, **arguments)
    with pytest.raises(FileNotFoundError):
        data.read_csv(tmp_path / "none.csv")
