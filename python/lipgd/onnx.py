"""Networks to and from ONNX files, with the certificate of what is stored.

Needs ``pip install "lipgd[onnx]"``.
"""

from __future__ import annotations

import hashlib
import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import onnx
except ImportError as error:
    raise ImportError('lipgd.onnx needs onnx: pip install "lipgd[onnx]"') from error
from onnx import helper, numpy_helper

import lipgd
from lipgd._check import integer, path_of, shown
from lipgd._files import atomic_writer
from lipgd._stored import stored
from lipgd.activations import Activation, names
from lipgd.lipschitz import Estimate, upper
from lipgd.lipschitz._model import Model
from lipgd.lipschitz.reading._composed import lines_of
from lipgd.lipschitz.reading._onnx import model_of, parsed
from lipgd.network import Network

__all__ = ["load", "save"]

#: The oldest one in which everything that is written means what it does today.
_OPSET = 13
#: Since then there is an operation for gelu; kernels know it for float32.
_GELU_OPSET = 20
#: Protocol buffers hold no more.
_MOST_BYTES = 2**31 - 1
_PREFIX = "lipgd."
#: Operations of the same meaning, and those that runtimes have for float32 alone.
_SAME = {"identity": "Identity", "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "sin": "Sin"}
_SINGLE = {"leaky_relu": "LeakyRelu", "elu": "Elu", "softplus": "Softplus"}


def save(
    net: Network,
    path: str | os.PathLike[str],
    *,
    dtype: npt.DTypeLike | None = None,
    opset: int = _OPSET,
    method: str = "auto",
) -> Estimate:
    """Write a network to an ONNX file, and prove a bound of what the file holds.

    The file is a chain of ``Gemm`` and activations from ``x`` (n, n_inputs) to ``y`` (n,
    n_outputs). Operations that runtimes have for float32 alone are written in others if the network
    is of float64. What was stored is read again, and its Lipschitz constant bounded: the metadata
    have ``lipgd.lipschitz_upper``, ``lipgd.lipschitz_norm``, ``lipgd.lipschitz_method``,
    ``lipgd.lipschitz_rigorous``, ``lipgd.dtype`` and ``lipgd.weights_sha256``, beside what
    :func:`load` needs to return the same network.

    Parameters
    ----------
    net : Network
        The network.
    path : path-like
        The file; one that exists is replaced, whole or not at all.
    dtype : float64 or float32, optional
        The type of the numbers in the file; by default that of the network. Weights that become
        float32 are rounded to the nearest, and the bound is that of the rounded ones.
    opset : int
        The version of ONNX's operations: from 13, up to what the installed onnx knows.
    method : str
        How to prove the bound, see :func:`lipgd.lipschitz.upper`; ``"closed_form"`` is quick.

    Returns
    -------
    Estimate
        The bound that was written; its value is nan, and the metadata say why, if none was proved.

    Raises
    ------
    TypeError, ValueError
        If an argument is not accepted, a parameter is not finite in this dtype, or the file would
        have more than 2 GiB.

    References
    ----------
    certificates.md, section 9: bounds of stored weights.

    Examples
    --------
    >>> import lipgd, lipgd.onnx
    >>> net = lipgd.Network.create([3, 20, 1], activation="softplus", seed=0)
    >>> bound = lipgd.onnx.save(net, "net.onnx")
    >>> lipgd.onnx.load("net.onnx") == net, bound.rigorous
    (True, True)
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {shown(net)}, expected a Network")
    name = path_of("path", path)
    newest = onnx.defs.onnx_opset_version()
    opset = integer("opset", opset, at_least=_OPSET, at_most=newest)
    kept = _fitting(stored(net, dtype))
    proto = _proto(kept, opset)
    bound = _bound(kept, model_of(proto, os.path.basename(name)), method)
    helper.set_model_props(proto, _facts(kept, bound))
    content = proto.SerializeToString(deterministic=True)
    with atomic_writer(name) as file:
        file.write(content)
    return bound


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network from an ONNX file of anybody.

    Files of :func:`save` give the same network to the last bit. Others may hold what
    :func:`lipgd.lipschitz.read` treats, with the same activation behind all hidden layers: matrices
    and biases are taken as they are, missing biases become zeros, and what lies between matrices
    and activations, such as batch normalizations, is merged into matrices of float64.

    Parameters
    ----------
    path : path-like
        The file. Nothing in it is executed, weights in other files are refused, and sizes are
        checked before memory is taken.

    Returns
    -------
    Network
        Of float32 if the file is and nothing had to be merged, else of float64.

    Raises
    ------
    ValueError
        If the file is damaged or hostile, has a layer that a Network cannot hold (the message names
        it), or has weights that are not those which its metadata certify.

    Examples
    --------
    >>> import lipgd, lipgd.onnx
    >>> net = lipgd.Network.create([3, 20, 1], activation="gelu", output_scale=0.1, biases=False)
    >>> _ = lipgd.onnx.save(net, "net.onnx")
    >>> lipgd.onnx.load("net.onnx")
    Network(3-20-1, gelu, float64, 80 parameters, output scale 0.1)
    """
    source = path_of("path", path)
    name = os.path.basename(source)
    proto = parsed(source)
    net = _as_written(proto) or _as_read(proto, name)
    certified = _props(proto).get("weights_sha256")
    if certified is not None and certified != _digest(net):
        raise ValueError(
            f"{name} has other weights than its metadata certify, expected those with the "
            f"SHA-256 {shown(certified)}; lipgd.lipschitz.read takes it without its metadata"
        )
    return net


def _bound(net: Network, written: Model, method: str) -> Estimate:
    """Return a bound of what the file holds, and of the network that it gives back.

    They differ in the output scale, which a network has in double precision.
    """
    bound = upper(written, method)
    if float(net.dtype.type(net.output_scale)) == net.output_scale or math.isnan(bound.value):
        return bound
    other = upper(net, method)
    return bound if other.value <= bound.value else other


def _fitting(net: Network) -> Network:
    if net.dtype.itemsize * net.n_parameters > _MOST_BYTES - 2**20:
        raise ValueError(f"net has {net.n_parameters} parameters, expected less than 2 GiB of them")
    return net


class _Writer:
    """Collects nodes and arrays."""

    def __init__(self, net: Network, opset: int) -> None:
        self._net, self._opset = net, opset
        self._nodes: list[Any] = []
        self._arrays: dict[str, Any] = {}

    def graph(self) -> Any:
        net, value = self._net, "x"
        for layer in range(1, net.depth + 1):
            last = layer == net.depth
            value = self._gemm(layer, value, "y" if last and net.output_scale == 1.0 else None)
            if not last:
                value = self._activation(net.activation, value, f"a{layer}")
        if net.output_scale != 1.0:
            self._node("Mul", [value, self._scalar("output_scale", net.output_scale)], "y")
        kind = helper.np_dtype_to_tensor_dtype(net.dtype)
        ends = [("x", net.n_inputs), ("y", net.n_outputs)]
        shown_ends = [helper.make_tensor_value_info(end, kind, ["n", n]) for end, n in ends]
        arrays = [numpy_helper.from_array(array, name) for name, array in self._arrays.items()]
        return helper.make_graph(self._nodes, "lipgd", shown_ends[:1], shown_ends[1:], arrays)

    def _gemm(self, layer: int, value: str, result: str | None) -> str:
        operands = [value]
        for name, array in ((f"W{layer}", self._net.weights), (f"b{layer}", self._net.biases)):
            entry = array[layer - 1]
            if entry is not None:
                self._arrays[name] = np.ascontiguousarray(entry)
                operands.append(name)
        return self._node("Gemm", operands, result or f"z{layer}", transB=1)

    def _activation(self, activation: Activation, z: str, a: str) -> str:
        if activation.mix == 0.0:
            return self._base(activation, z, a)
        base = self._base(activation, z, f"{a}_base")
        c, rest = activation.mix, 1.0 - activation.mix
        first = self._node("Mul", [z, self._scalar("mix", c)], f"{a}_linear")
        second = self._node("Mul", [base, self._scalar("rest", rest)], f"{a}_rest")
        return self._node("Add", [first, second], a)

    def _base(self, activation: Activation, z: str, a: str) -> str:
        kind, single = names()[activation.kind], self._net.dtype == np.float32
        if kind == "leaky_relu" and activation.parameter == 0.0:
            kind = "relu"
        if kind in _SAME:
            return self._node(_SAME[kind], [z], a)
        if kind == "relu6":
            return self._node("Clip", [z, self._scalar("zero", 0.0), self._scalar("six", 6.0)], a)
        if kind == "silu":
            return self._node("Mul", [z, self._node("Sigmoid", [z], f"{a}_gate")], a)
        if kind == "gelu_tanh":
            return self._gelu_tanh(z, a)
        if kind == "gelu" and single:
            return self._gelu_of_float(z, a)
        if kind in _SINGLE and single:
            options = {} if kind == "softplus" else {"alpha": activation.parameter}
            return self._node(_SINGLE[kind], [z], a, **options)
        return self._recipe(kind, activation.parameter, z, a)

    def _recipe(self, kind: str, parameter: float, z: str, a: str) -> str:
        lines = lines_of(kind, parameter)
        results = {line.result: f"{a}_{line.result}" for line in lines}
        results.update({"z": z, lines[-1].result: a})
        for line in lines:
            operands = [
                results.get(operand) or self._scalar(f"c_{operand}", float(operand))
                for operand in line.operands
            ]
            self._node(line.operation, operands, results[line.result])
        return a

    def _gelu_of_float(self, z: str, a: str) -> str:
        if self._opset >= _GELU_OPSET:
            return self._node("Gelu", [z], a)
        root = self._node("Div", [z, self._scalar("root2", np.sqrt(2.0))], f"{a}_scaled")
        erf = self._node("Erf", [root], f"{a}_erf")
        return self._gate(z, erf, a)

    def _gelu_tanh(self, z: str, a: str) -> str:
        cube = self._node("Pow", [z, self._scalar("three", 3.0)], f"{a}_cube")
        bent = self._node("Mul", [cube, self._scalar("cubic", 0.044715)], f"{a}_bent")
        both = self._node("Add", [z, bent], f"{a}_sum")
        inner = self._node(
            "Mul", [both, self._scalar("root2_pi", np.sqrt(2.0 / np.pi))], f"{a}_inner"
        )
        return self._gate(z, self._node("Tanh", [inner], f"{a}_tanh"), a)

    def _gate(self, z: str, gate: str, a: str) -> str:
        """Write ``z (1 + gate) / 2``."""
        more = self._node("Add", [gate, self._scalar("one", 1.0)], f"{a}_more")
        half = self._node("Mul", [more, self._scalar("half", 0.5)], f"{a}_half")
        return self._node("Mul", [z, half], a)

    def _node(self, kind: str, operands: list[str], result: str, **options: Any) -> str:
        self._nodes.append(helper.make_node(kind, operands, [result], name=result, **options))
        return result

    def _scalar(self, name: str, value: float) -> str:
        self._arrays[name] = np.array(value, self._net.dtype)
        return name


def _proto(net: Network, opset: int) -> Any:
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        _Writer(net, opset).graph(),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="lipgd",
        producer_version=lipgd.__version__,
    )


def _facts(net: Network, bound: Estimate) -> dict[str, str]:
    """Return the metadata: numbers are exact, as the shortest text that gives them back."""
    facts = {
        "activation": net.activation.name,
        "output_scale": repr(net.output_scale),
        "dtype": net.dtype.name,
        "weights_sha256": _digest(net),
        "lipschitz_upper": repr(bound.value),
        "lipschitz_norm": "2",
        "lipschitz_method": bound.method,
        "lipschitz_rigorous": str(bound.rigorous).lower(),
    }
    if bound.reason is not None:
        facts["lipschitz_reason"] = bound.reason
    return {_PREFIX + name: text for name, text in facts.items()}


def _props(proto: Any) -> dict[str, str]:
    return {
        entry.key.removeprefix(_PREFIX): entry.value
        for entry in proto.metadata_props
        if entry.key.startswith(_PREFIX)
    }


def _digest(net: Network) -> str:
    """Return the SHA-256 of the parameters, where a missing bias is one of zeros."""
    state = hashlib.sha256()
    for matrix, bias in zip(net.weights, net.biases, strict=True):
        vector = np.zeros(len(matrix), net.dtype) if bias is None else bias
        state.update(repr((matrix.shape, net.dtype.name)).encode())
        for array in (matrix, vector):
            state.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return state.hexdigest()


def _as_written(proto: Any) -> Network | None:
    """Return the network for which :func:`save` writes this very graph, if there is one."""
    props = _props(proto)
    if not {"activation", "output_scale"} <= set(props):
        return None
    try:
        arrays = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in proto.graph.initializer
            if not tensor.external_data and tensor.name[:1] in ("W", "b")
        }
        depth = sum(name.startswith("W") for name in arrays)
        net = Network(
            [arrays[f"W{layer}"] for layer in range(1, depth + 1)],
            [arrays.get(f"b{layer}") for layer in range(1, depth + 1)],
            props["activation"],
            float(props["output_scale"]),
        )
        opset = proto.opset_import[0].version
        expected = _Writer(net, max(opset, _OPSET)).graph()
    except Exception:  # of damaged arrays and texts; reading the layers says what is wrong
        return None
    same = expected.SerializeToString(deterministic=True) == proto.graph.SerializeToString(
        deterministic=True
    )
    return net if same else None


def _as_read(proto: Any, name: str) -> Network:
    model = model_of(proto, name)
    ends = [note for note in model.notes if "taken up to its logits" in note]
    if ends:
        raise ValueError(
            f"{name} ends with a softmax, which a Network cannot hold; "
            "lipgd.lipschitz.read(path).network() is the network up to its logits"
        )
    net = model.network()
    single = proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    if not single or not all((a == a.astype(np.float32)).all() for _, a in net.named()):
        return net
    return net.replace(
        weights=[matrix.astype(np.float32) for matrix in net.weights],
        biases=[None if bias is None else bias.astype(np.float32) for bias in net.biases],
    )
