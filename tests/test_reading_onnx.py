"""ONNX files in the ways that exporters write them, against the reference evaluator of onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lipgd.lipschitz import Model, read

RNG = np.random.default_rng(0)
W1, B1 = RNG.normal(size=(8, 5)).astype(np.float32), RNG.normal(size=8).astype(np.float32)
W2, B2 = RNG.normal(size=(3, 8)).astype(np.float32), RNG.normal(size=3).astype(np.float32)
X = RNG.normal(size=(7, 5)).astype(np.float32)
SIZES = {"W1": W1, "B1": B1, "W2": W2, "B2": B2, "W1T": W1.T, "W2T": W2.T}


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=f"n_{output}", **attributes)


def saved(path: Path, nodes: list[Any], opset: int = 21, **arrays: Any) -> Path:
    constants = {**SIZES, **{k: np.asarray(v, np.float32) for k, v in arrays.items()}}
    used = {name for n in nodes for name in n.input}
    tensors = [numpy_helper.from_array(a, k) for k, a in constants.items() if k in used]
    real = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", real, ["n", 5])],
        [helper.make_tensor_value_info(nodes[-1].output[0], real, None)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    onnx.save(model, path)
    return path


def dense(middle: list[Any], end: str = "a") -> list[Any]:
    """Return two dense layers with nodes from z to ``end`` between them."""
    return [
        node("Gemm", "x W1 B1", "z", transB=1),
        *middle,
        node("Gemm", f"{end} W2 B2", "y", transB=1),
    ]


def same(path: Path) -> Model:
    found = read(path)
    expected = ReferenceEvaluator(str(path)).run(None, {"x": X})[0]
    assert np.allclose(found(X), expected, rtol=1e-5, atol=1e-5)
    return found


NODES: dict[str, tuple[str, list[Any]]] = {
    "Relu": ("relu", [node("Relu", "z", "a")]),
    "LeakyRelu": ("leaky_relu(0.25)", [node("LeakyRelu", "z", "a", alpha=0.25)]),
    "Elu": ("elu(1.5)", [node("Elu", "z", "a", alpha=1.5)]),
    "Selu": ("elu(1.6732631921768188)", [node("Selu", "z", "a")]),
    "Tanh": ("tanh", [node("Tanh", "z", "a")]),
    "Sigmoid": ("sigmoid", [node("Sigmoid", "z", "a")]),
    "Softplus": ("softplus", [node("Softplus", "z", "a")]),
    "Sin": ("sin", [node("Sin", "z", "a")]),
    "Gelu": ("gelu", [node("Gelu", "z", "a")]),
    "Gelu tanh": ("gelu_tanh", [node("Gelu", "z", "a", approximate="tanh")]),
    "Clip": ("relu6", [node("Clip", "z zero six", "a")]),
    "PRelu": ("leaky_relu(0.5)", [node("PRelu", "z half", "a")]),
    "silu": ("silu", [node("Sigmoid", "z", "s"), node("Mul", "z s", "a")]),
    "swish of slope 3": (
        "silu",
        [node("Mul", "z three", "t"), node("Sigmoid", "t", "s"), node("Mul", "s z", "a")],
    ),
    "gelu by erf": (
        "gelu",
        [
            node("Div", "z root", "d"),
            node("Erf", "d", "e"),
            node("Add", "e one", "f"),
            node("Mul", "z f", "g"),
            node("Mul", "g half", "a"),
        ],
    ),
    "gelu by tanh": (
        "gelu_tanh",
        [
            node("Pow", "z three", "p"),
            node("Mul", "p cubic", "q"),
            node("Add", "z q", "r"),
            node("Mul", "r inner", "s"),
            node("Tanh", "s", "t"),
            node("Add", "t one", "u"),
            node("Mul", "z half", "h"),
            node("Mul", "h u", "a"),
        ],
    ),
}
CONSTANTS = {
    "zero": 0.0,
    "one": 1.0,
    "half": 0.5,
    "three": 3.0,
    "six": 6.0,
    "root": np.sqrt(2.0),
    "cubic": 0.044715,
    "inner": np.sqrt(2.0 / np.pi),
}


@pytest.mark.parametrize("name", NODES)
def test_every_activation(name: str, tmp_path: Path) -> None:
    activation, middle = NODES[name]
    found = same(saved(tmp_path / "m.onnx", dense(middle), **CONSTANTS))
    assert [a.name for a in found.activations] == [activation]
    if name not in ("Selu", "swish of slope 3"):
        assert found.exact
        assert (found.weights[0] == W1).all() and (found.biases[1] == B2).all()


def test_products_sums_and_shapes(tmp_path: Path) -> None:
    nodes = [
        node("Flatten", "x", "f"),
        node("Identity", "f", "i"),
        node("MatMul", "i W1T", "m"),
        node("Add", "B1 m", "z"),
        node("Dropout", "z", "d"),
        node("Relu", "d", "a"),
        node("Transpose", "W2", "t", perm=[1, 0]),
        node("MatMul", "a t", "n"),
        node("Sub", "n B2", "o"),
        node("Neg", "o", "y"),
    ]
    found = same(saved(tmp_path / "m.onnx", nodes))
    assert found.exact and found.sizes == (5, 8, 3)
    assert (found.weights[1] == -W2.astype(np.float64)).all()


def test_factors_of_a_gemm_and_batch_normalization(tmp_path: Path) -> None:
    stats = {k: RNG.uniform(0.5, 2.0, 8) for k in ("gain", "shift", "mean", "var")}
    nodes = [
        node("Gemm", "x W1T B1", "z", alpha=0.5, beta=2.0),
        node("BatchNormalization", "z gain shift mean var", "n"),
        node("Relu", "n", "a"),
        node("Gemm", "a W2 B2", "y", transB=1),
        node("Softmax", "y", "p"),
    ]
    path = saved(tmp_path / "m.onnx", nodes, **stats)
    found = read(path)
    logits = found(X)
    expected = ReferenceEvaluator(str(path)).run(None, {"x": X})[0]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.allclose(exponentials / exponentials.sum(axis=1, keepdims=True), expected, atol=1e-5)
    assert "before Softmax" in found.notes[-1] and not found.exact


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (dense([node("Mish", "z", "a")]), r"layer n_a \(Mish\), which is not treated"),
        (dense([node("LayerNormalization", "z B1 B1", "a")]), "divides by a deviation"),
        ([node("Conv", "x W1", "y")], r"n_y \(Conv\), which is a convolution"),
        (dense([node("Relu", "z", "r"), node("Add", "r z", "a")]), "the function"),
        (
            [
                node("Gemm", "x W1 B1", "z", transB=1),
                node("Relu", "z", "r"),
                node("MatMul", "r sq", "s"),
                node("Add", "s r", "y"),
            ],
            "n_y .* skips layers",
        ),
        ([node("MatMul", "x x", "y")], "which is not treated"),
        (dense([node("Softmax", "z", "a")]), "after Softmax"),
        ([node("Relu", "x", "y")], "begins with an activation"),
    ],
)
def test_what_cannot_be_treated_is_named(nodes: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read(saved(tmp_path / "m.onnx", nodes, sq=np.eye(8)))


def test_hostile_files(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", dense([node("Relu", "z", "a")]))
    model = onnx.load(path)
    secret = tmp_path / "secret"
    secret.write_bytes(W1.tobytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(secret))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="in another file, expected all weights inside"):
        read(path)

    model = onnx.load(saved(tmp_path / "n.onnx", dense([node("Relu", "z", "a")])))
    model.graph.initializer[0].dims[0] = 2**40
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="has a damaged array"):
        read(path)
    content = (tmp_path / "n.onnx").read_bytes()
    for end in range(0, len(content), 37):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError):
            read(path)


def test_exported_by_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    layers = torch.nn
    model = layers.Sequential(layers.Linear(5, 8), layers.GELU(), layers.Linear(8, 3))
    torch.onnx.export(model, (torch.zeros(1, 5),), tmp_path / "m.onnx", external_data=False)
    assert np.allclose(read(tmp_path / "m.onnx")(X), read(model)(X), atol=1e-6)
