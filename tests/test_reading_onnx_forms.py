"""ONNX files that runtimes refuse, or would take in another way: refused with the node's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lipgd.lipschitz import read

RNG = np.random.default_rng(1)
W, B, V = RNG.normal(size=(3, 5)), RNG.normal(size=5), RNG.normal(size=(5, 2))
ARRAYS = {"W": W, "b": B, "V": V}
SINGLE, DOUBLE, HALF = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16


def op(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=f"n_{output}", **attributes)


def file_of(
    path: Path,
    first: list[Any],
    shape: tuple[int | str | None, ...] | None = ("n", 3),
    kind: int = SINGLE,
    **arrays: Any,
) -> Path:
    """Write nodes from x to z, a relu and a last matrix."""
    nodes = [*first, op("Relu", "z", "a"), op("MatMul", "a V", "y")]
    used = {name for node in nodes for name in node.input}
    singles = {name: array.astype(np.float32) for name, array in ARRAYS.items()}
    tensors = [
        numpy_helper.from_array(np.asarray(array), name)
        for name, array in {**singles, **arrays}.items()
        if name in used
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    path.write_bytes(model.SerializeToString())
    return path


def dense(*before: Any, start: str = "x", end: str = "z") -> list[Any]:
    return [*before, op("MatMul", f"{start} W", "m"), op("Add", "m b", end)]


@pytest.mark.parametrize(
    ("first", "options", "words"),
    [
        (dense(), {"W": W}, r"n_m \(MatMul\) of float and double, expected one type"),
        (dense(), {"W": np.ones((3, 5), np.int8)}, r"n_m \(MatMul\) of float and int8"),
        (dense(), {"b": B.astype(np.float16)}, r"n_z \(Add\) of float and float16"),
        ([op("Gemm", "x W b", "z")], {"b": B}, r"n_z \(Gemm\) of float and double"),
        (
            dense(op("Cast", "x", "c", to=HALF), start="c"),
            {},
            r"n_m \(MatMul\) of float and float16",
        ),
        (dense(), {"kind": TensorProto.INT32}, "the input x of int32, expected real numbers"),
        (dense(), {"shape": ("n", 4)}, "declares 4 values per sample at its input x, .* takes 3"),
        # A column has one number for each of five samples, not for each of five values.
        (
            dense(),
            {"b": B[:, None].astype("f4")},
            r"n_z \(Add\) a constant of shape \(5, 1\)",
        ),
        (
            [op("Gemm", "x W b", "z")],
            {"b": B[:, None].astype("f4")},
            r"n_z \(Gemm\): a constant of shape \(5, 1\)",
        ),
        (
            [*dense(end="h"), op("Div", "h d", "z")],
            {"d": np.ones((5, 1), np.float32)},
            r"n_z \(Div\) a constant of shape \(5, 1\)",
        ),
        # Rows of other lengths mix samples.
        *(
            ([*dense(end="h"), op("Reshape", "h s", "z", **more)], {"s": np.array(s)}, words)
            for words in [r"n_z \(Reshape\), expected one row per sample"]
            for s, more in (
                ((5, -1), {}),
                ((1, -1), {}),
                ((-1, 1), {}),
                ((0, -1), {"allowzero": 1}),
            )
        ),
        (
            [*dense(end="h"), op("LeakyRelu", "h", "z", alpha="steep")],
            {},
            r"n_z \(LeakyRelu\): its alpha is no number",
        ),
        (
            [*dense(end="h"), op("BatchNormalization", "h b b b v", "z")],
            {"v": -np.ones(5, np.float32)},
            r"n_z \(BatchNormalization\) with a number that is not finite",
        ),
        (
            [op("Gemm", "x W b", "z", alpha=float("nan"))],
            {},
            r"n_z \(Gemm\) with a number that is not finite",
        ),
        (
            [*dense(end="h"), *(op("Mul", f"{a} c", b) for a, b in ("hi", "ij", "jz"))],
            {"c": np.full(5, 1e160), "kind": DOUBLE, **ARRAYS},
            "products exceed the range of float64",
        ),
    ],
)
@pytest.mark.filterwarnings("error")
def test_files_that_runtimes_refuse_or_take_otherwise(
    tmp_path: Path, first: list[Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        read(file_of(tmp_path / "m.onnx", first, **options))


@pytest.mark.parametrize(
    ("shape", "first", "options"),
    [
        (("n", 3), dense(op("Reshape", "x s", "r"), start="r"), {"s": [-1, 3]}),
        (("n", 3), dense(op("Reshape", "x s", "r"), start="r"), {"s": [0, -1]}),
        ((1, 3), dense(op("Reshape", "x s", "r"), start="r"), {"s": [1, -1]}),
        (("n", 1, 3), dense(op("Reshape", "x s", "r"), start="r"), {"s": [-1, 3]}),
        (("n", 1, 3), dense(op("Flatten", "x", "r"), start="r"), {}),
        (None, dense(), {}),
        ((None, None), dense(), {"b": B[None].astype(np.float32)}),
        (("n", 3), dense(op("Cast", "x", "r", to=SINGLE), start="r"), {"kind": DOUBLE}),
    ],
)
def test_forms_that_mean_the_same(
    tmp_path: Path, shape: Any, first: list[Any], options: dict[str, Any]
) -> None:
    found = read(file_of(tmp_path / "m.onnx", first, shape, **options))
    X = RNG.normal(size=(4, 3))
    w, b, v = (array.astype(np.float32).astype(np.float64) for array in (W, B, V))
    np.testing.assert_allclose(found(X), np.maximum(X @ w + b, 0.0) @ v, rtol=1e-12)


def test_attributes_and_versions_that_no_file_may_have(tmp_path: Path) -> None:
    path = file_of(tmp_path / "m.onnx", [*dense(end="h"), op("LeakyRelu", "h", "z", alpha=0.1)])
    for change, words in (
        ("twice", r"n_z \(LeakyRelu\) with an attribute that is given twice"),
        ("elsewhere", r"n_z \(LeakyRelu\) with an attribute of a function that is not there"),
        ("format", "the file format 99, expected one up to"),
    ):
        model = onnx.load(path)
        slope = model.graph.node[2].attribute
        if change == "twice":
            slope.add().CopyFrom(slope[0])
        elif change == "elsewhere":
            slope[0].ref_attr_name = "alpha"
        else:
            model.ir_version = 99
        other = tmp_path / f"{change}.onnx"
        other.write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match=words):
            read(other)
