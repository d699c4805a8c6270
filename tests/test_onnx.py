"""ONNX files that lipgd writes: exact round trips, equal predictions, proofs of what is stored."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import lipgd
import lipgd.onnx
from lipgd.lipschitz import lower, read, upper

LEAKY = [
    lipgd.activations.leaky(base, c).name
    for base, c in (("softplus", 0.1), ("gelu", 0.3), ("gelu_tanh", 0.5), ("silu", 0.3))
]
ACTIVATIONS = [*lipgd.activations.names(), "leaky_relu(0.0)", "leaky_relu(1.0)", "elu(0.7)", *LEAKY]
RNG = np.random.default_rng(3)
X = np.vstack([RNG.normal(size=(60, 3)), 15 * RNG.normal(size=(40, 3)), np.zeros((1, 3))])


def network(activation: str = "silu", dtype: Any = np.float64, scale: float = 0.3) -> lipgd.Network:
    rng = np.random.default_rng(5)
    shapes = [(7, 3), (6, 7), (2, 6)]
    weights = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    biases = [rng.normal(size=7).astype(dtype), None, rng.normal(size=2).astype(dtype)]
    return lipgd.Network(weights, biases, activation, scale)


def runtimes(path: Path) -> list[Any]:
    """Return what computes the outputs of a file: onnx's reference, and onnxruntime if there."""
    found = [lambda x: ReferenceEvaluator(str(path)).run(None, {"x": x})[0]]
    try:
        import onnxruntime
    except ImportError:
        return found
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [*found, lambda x: session.run(None, {"x": x})[0]]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_round_trips_and_predictions(activation: str, dtype: Any, tmp_path: Path) -> None:
    net, path = network(activation, dtype), tmp_path / "net.onnx"
    bound = lipgd.onnx.save(net, path, method="closed_form")
    onnx.checker.check_model(str(path), full_check=True)
    back = lipgd.onnx.load(path)
    assert back == net and back.biases[1] is None and back.dtype == dtype
    x = X.astype(dtype)
    expected = net(x)
    # Sums of products are rounded in another order: relative to their largest terms.
    first = np.abs(x) @ np.abs(net.weights[0].T) + 1
    size = first @ np.abs(net.weights[1].T) @ np.abs(net.weights[2].T)
    for run in runtimes(path):
        found = run(x)
        assert found.dtype == dtype
        assert (np.abs(found - expected) <= 4 * np.finfo(dtype).eps * size).all()
    assert bound.value == pytest.approx(upper(net, "closed_form").value, rel=1e-6)
    # Verifiers read the layers, without the metadata.
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, path)
    assert np.abs(read(path)(x) - expected).max() <= 100 * np.finfo(dtype).eps * size.max()
    again = lipgd.onnx.load(path)
    assert (again.weights[0] == net.weights[0]).all() and (again.weights[1] == net.weights[1]).all()


def test_float64_gelu_keeps_the_digits_of_tails(tmp_path: Path) -> None:
    for activation in ("gelu", "softplus", "elu"):
        net = lipgd.Network([np.eye(1), np.eye(1)], None, activation)
        lipgd.onnx.save(net, tmp_path / "n.onnx")
        x = np.linspace(-36 if activation == "softplus" else -8, 8, 999)[:, None]
        for run in runtimes(tmp_path / "n.onnx"):
            assert np.abs(run(x) / net(x) - 1)[x != 0].max() < 2e-14


def test_the_metadata_say_what_was_proved(tmp_path: Path) -> None:
    net, path = network("tanh"), tmp_path / "net.onnx"
    bound = lipgd.onnx.save(net, path, dtype=np.float32)
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    stored = lipgd.onnx.load(path)
    assert stored.dtype == np.float32 and facts["lipgd.dtype"] == "float32"
    assert all((a == b.astype(np.float32)).all() for (_, a), (_, b) in zip(
        stored.named(), net.named(), strict=True))  # fmt: skip
    # The bound is that of the rounded weights and of the rounded output scale.
    exact = stored.replace(
        weights=[w.astype(np.float64) for w in stored.weights],
        biases=[None if b is None else b.astype(np.float64) for b in stored.biases],
        output_scale=float(np.float32(0.3)),
    )
    assert float(facts["lipgd.lipschitz_upper"]) == bound.value == read_bound(path)
    assert bound.value >= upper(exact).value * (1 - 1e-12) != upper(net).value
    assert facts["lipgd.lipschitz_norm"] == "2" and facts["lipgd.lipschitz_rigorous"] == "true"
    assert facts["lipgd.activation"] == "tanh" and len(facts["lipgd.weights_sha256"]) == 64


@pytest.mark.parametrize("scale", [0.3, 0.7])  # float32 rounds one up and the other down
def test_the_bound_holds_for_the_file_and_for_the_network_that_it_gives(
    scale: float, tmp_path: Path
) -> None:
    net, path = network("identity").replace(output_scale=scale), tmp_path / "net.onnx"
    bound = lipgd.onnx.save(net, path, dtype=np.float32)
    assert bound.value >= max(read_bound(path), lower(lipgd.onnx.load(path)).value)
    assert bound.value <= upper(net).value * (1 + 1e-6)


def read_bound(path: Path) -> float:
    return upper(read(path)).value


def test_what_cannot_be_bounded_is_said(tmp_path: Path) -> None:
    huge = lipgd.Network([np.full((3, 3), 1e200)] * 3)
    bound = lipgd.onnx.save(huge, tmp_path / "net.onnx")
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert facts["lipgd.lipschitz_upper"] == "nan" and bound.value != bound.value
    assert "largest float64" in facts["lipgd.lipschitz_reason"]
    assert lipgd.onnx.load(tmp_path / "net.onnx") == huge


@pytest.mark.parametrize("sizes", [(2, 3), (1, 5, 1), (4, 3, 3, 3, 3, 1)])
@pytest.mark.parametrize("opset", [13, 17, 20, onnx.defs.onnx_opset_version()])
def test_every_depth_and_opset(sizes: tuple[int, ...], opset: int, tmp_path: Path) -> None:
    net = lipgd.Network.create(sizes, activation="gelu", biases=False, dtype=np.float32)
    path = tmp_path / "net.onnx"
    lipgd.onnx.save(net, path, opset=opset, method="product")
    proto = onnx.load(path)
    assert proto.opset_import[0].version == opset and lipgd.onnx.load(path) == net
    used = {node.op_type for node in proto.graph.node}
    assert len(sizes) == 2 or ("Gelu" in used) == (opset >= 20)
    x = np.ones((2, sizes[0]), np.float32)
    expected = ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    np.testing.assert_allclose(net(x), expected, rtol=1e-5, atol=1e-6)


def test_files_of_others(tmp_path: Path) -> None:
    net, path = network("relu", np.float32, 1.0), tmp_path / "net.onnx"
    lipgd.onnx.save(net, path)
    proto = onnx.load(path)
    del proto.metadata_props[:]
    for node in proto.graph.node:
        node.name = f"another/{node.name}"
    onnx.save(proto, path)
    found = lipgd.onnx.load(path)
    assert found.dtype == np.float32 and found.activation.name == "relu"
    np.testing.assert_array_equal(found(X), net(X))
    proto.graph.node.append(helper.make_node("Softmax", ["y"], ["p"], name="probabilities"))
    proto.graph.output[0].name = "p"
    onnx.save(proto, path)
    with pytest.raises(ValueError, match=r"ends with a softmax.*up to its logits"):
        lipgd.onnx.load(path)
    assert read(path).network().sizes == net.sizes


def changed(path: Path, change: Any, **arguments: Any) -> None:
    """Write a network, and let a function change the message."""
    lipgd.onnx.save(network(**arguments), path, method="product")
    proto = onnx.load(path)
    change(proto)
    path.write_bytes(proto.SerializeToString())


def drop_metadata(proto: Any) -> None:
    del proto.metadata_props[:]


def outside(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def shape(*dims: int) -> Any:
    def change(proto: Any) -> None:
        tensor = proto.graph.initializer[0]
        tensor.dims[:] = dims
        if 0 in dims:
            tensor.raw_data = b""

    return change


def twice(proto: Any) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((7, 3)), "W1"))


def overwritten(proto: Any) -> None:
    proto.graph.node[1].output[0] = "z1"


def cycle(proto: Any) -> None:
    proto.graph.node[0].input[0] = "a1"


def opset(version: int) -> Any:
    def change(proto: Any) -> None:
        proto.opset_import[0].version = version

    return change


def own_function(proto: Any) -> None:
    nodes = [helper.make_node("Neg", ["a"], ["b"])]
    proto.functions.append(
        helper.make_function("", "Relu", ["a"], ["b"], nodes, proto.opset_import)
    )


def other_weights(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    tensor.raw_data = (2 * numpy_helper.to_array(tensor)).tobytes()


def not_finite(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    tensor.raw_data = np.full((7, 3), np.inf).tobytes()
    drop_metadata(proto)


def squares(proto: Any) -> None:
    """Let a product of 2^40 factors come from 40 nodes."""
    drop_metadata(proto)
    names = ["z1", *(f"s{i}" for i in range(40))]
    squared = [helper.make_node("Mul", [a, a], [b]) for a, b in itertools.pairwise(names)]
    nodes = [proto.graph.node[0], *squared, *proto.graph.node[1:]]
    nodes[41].input[0] = names[-1]
    proto.graph.ClearField("node")
    proto.graph.node.extend(nodes)


def outer_sum(proto: Any) -> None:
    """Let a table of 10^12 entries come from a million."""
    drop_metadata(proto)
    for name, size in (("row", (1, 10**6)), ("column", (10**6, 1))):
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(size, np.int8), name))
    proto.graph.node.insert(0, helper.make_node("Add", ["row", "column"], ["table"]))


def no_inputs(proto: Any) -> None:
    drop_metadata(proto)
    proto.graph.node[1].ClearField("input")


def no_result(proto: Any) -> None:
    drop_metadata(proto)
    proto.graph.node[1].ClearField("output")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (outside, "keeps W1 in another file"),
        (shape(2**40, 3), "has a damaged array W1"),
        (shape(2**40, 0), "has a damaged array W1"),
        (shape(2**30, 0), "has the malformed layer z1"),
        (shape(-1, 3), "has a damaged array W1"),
        (shape(70, 30), "has a damaged array W1"),
        (twice, "computes or stores 'W1' twice"),
        (overwritten, "computes or stores 'z1' twice"),
        (cycle, "uses a1 at z1 .* before it is there"),
        (opset(3), "has the opset 3, expected one from 7"),
        (opset(10**6), "has the opset 1000000"),
        (lambda proto: proto.ClearField("opset_import"), "has the opset none"),
        (own_function, "defines the function Relu"),
        (other_weights, "has other weights than its metadata certify"),
        (not_finite, "not finite"),
        (squares, "a product of too many factors"),
        (outer_sum, r"computes at table \(Add\) a constant of shape \(1000000, 1000000\)"),
        (no_inputs, "has the malformed layer a1_gate"),
        (no_result, "has the node Sigmoid without a result"),
        (lambda proto: proto.graph.ClearField("output"), "1 inputs and 0 outputs"),
    ],
)
def test_hostile_files_are_refused(change: Any, words: str, tmp_path: Path) -> None:
    changed(tmp_path / "net.onnx", change)
    with pytest.raises(ValueError, match=words):
        lipgd.onnx.load(tmp_path / "net.onnx")


def test_damaged_files_raise_nothing_but_value_errors(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    lipgd.onnx.save(network("elu"), path, method="product")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = {"refused": 0, "same": 0}
    for trial in range(400):
        content = bytearray(whole[: rng.integers(len(whole))] if trial % 4 == 0 else whole)
        for place in rng.integers(len(content) or 1, size=2):
            content[place : place + 1] = rng.bytes(1)
        path.write_bytes(content)
        try:
            lipgd.onnx.load(path)
            outcomes["same"] += 1
        except ValueError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 300


@pytest.mark.parametrize(
    ("net", "options", "error", "message"),
    [
        (3, {}, TypeError, "net is 3, expected a Network"),
        (network(), {"opset": 12}, ValueError, "opset is 12, expected an integer at least 13"),
        (network(), {"opset": 9999}, ValueError, "opset is 9999"),
        (network(), {"dtype": "int8"}, ValueError, "dtype is 'int8', expected one of float64"),
        (network(), {"dtype": "real"}, TypeError, "dtype is 'real', expected float64 or float32"),
        (network(), {"method": "guess"}, ValueError, "method is 'guess'"),
        (
            lipgd.Network([[[1e300]]]),
            {"dtype": np.float32},
            ValueError,
            "net has an entry of W1 that is not finite in float32",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(
    net: Any, options: dict[str, Any], error: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        lipgd.onnx.save(net, tmp_path / "net.onnx", **options)
    assert not (tmp_path / "net.onnx").exists()


def test_files_that_are_not_there_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lipgd.onnx.load(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="path is 3, expected a path"):
        lipgd.onnx.load(3)  # type: ignore[arg-type]
