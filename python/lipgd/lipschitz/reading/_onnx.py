"""ONNX files: chains of dense layers, in any of the ways that exporters write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from lipgd.lipschitz._model import Model

from ._builder import Builder
from ._composed import LONGEST, find
from ._graph import Graph, Stream, one_per_value
from ._onnx_checks import Input, Types, check_file, input_of, options_of

__all__ = ["model_of", "parsed", "read_onnx"]

_ELEMENTWISE = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Sin": "sin",
    "Erf": "erf",
}
_ARITHMETIC = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}
_KNOWN = "Gemm, MatMul, Add, BatchNormalization, Flatten, Dropout and activations of lipgd"
_REASONS = {
    "Conv": "is a convolution, and only dense layers are treated",
    "LayerNormalization": "divides by a deviation of its inputs",
    "LSTM": "is recurrent, and only chains of layers are treated",
    "Attention": "has no finite Lipschitz constant",
    "MaxPool": "pools its inputs, and only dense layers are treated",
    "If": "depends on its inputs, and only chains of layers are treated",
    "Loop": "depends on its inputs, and only chains of layers are treated",
}
#: Protocol buffers hold no more.
_MOST_BYTES = 2**31
#: What operations raise if inputs are missing, or are not of the kind or shape that they need.
_MALFORMED = (*(AttributeError, IndexError, KeyError, MemoryError), *(TypeError, ValueError))


def read_onnx(path: str) -> Model:
    """Read a file; external data are refused, and nothing in it is executed."""
    return model_of(parsed(path), os.path.basename(path))


def parsed(path: str) -> Any:
    """Return what a file holds, after checks of all that does not need its layers."""
    onnx = _library()
    builder = Builder(os.path.basename(path))
    if os.path.getsize(path) > _MOST_BYTES:
        raise builder.error("has more than 2 GiB, expected a smaller file")
    with open(path, "rb") as file:
        content = file.read()
    try:
        proto = onnx.load_model_from_string(content, format="protobuf")
    except Exception as error:  # of the parser, which has classes of its own
        raise builder.error(f"is not a readable ONNX file: {error}") from error
    check_file(builder, proto, onnx.defs.onnx_opset_version(), onnx.IR_VERSION)
    return proto


def model_of(proto: Any, name: str) -> Model:
    """Return the layers of a file that was parsed."""
    builder = Builder(name)
    reader = _Reader(builder, proto.graph, _library().numpy_helper.to_array)
    reader.run()
    model = builder.build()
    reader.inputs.check(builder, model.sizes[0])
    return model


def _library() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError('ONNX files need onnx: pip install "lipgd[onnx]"') from error
    return onnx


class _Reader:
    """Follows the nodes of a graph in their order."""

    def __init__(self, builder: Builder, graph: Any, to_array: Callable[[Any], Any]) -> None:
        self._builder = builder
        self._onnx = graph
        self._to_array = to_array
        self._graph = Graph(builder)
        self._types = Types(builder)
        self.inputs = Input("", None)

    def run(self) -> None:
        values = self._graph.values
        for tensor in self._onnx.initializer:
            values[tensor.name] = self._array(tensor)
            self._types.known[tensor.name] = tensor.data_type
        inputs = [entry for entry in self._onnx.input if entry.name not in values]
        if len(inputs) != 1 or len(self._onnx.output) != 1:
            raise self._builder.error(
                f"has {len(inputs)} inputs and {len(self._onnx.output)} outputs, "
                "expected one of each"
            )
        self.inputs = input_of(self._builder, inputs[0])
        self._types.known[inputs[0].name] = inputs[0].type.tensor_type.elem_type
        values[inputs[0].name] = self._graph.start()
        self._follow(list(self._onnx.node))
        output = self._onnx.output[0].name
        if output not in values:
            raise self._builder.error(f"never computes its output {output}")
        self._graph.finish(values[output])

    def _follow(self, nodes: list[Any]) -> None:
        values, place = self._graph.values, 0
        while place < len(nodes):
            node = nodes[place]
            found = find(nodes[place : place + LONGEST], values.get)
            if found is not None and isinstance(values.get(found.operand), Stream):
                stream = values[found.operand]
                words = f"{node.name} ({found.function.partition('(')[0]})"
                values[found.result] = self._graph.function(words, stream, found.function)
                self._types.keep(found.operand, found.result)
                place += found.length
                continue
            if not node.output:
                raise self._builder.error(f"has the node {node.op_type} without a result")
            values[node.output[0]] = self._node(node, node.name or node.output[0])
            place += 1

    def _array(self, tensor: Any) -> Any:
        if tensor.data_location == 1 or tensor.external_data:
            raise self._builder.error(
                f"keeps {tensor.name} in another file, expected all weights inside"
            )
        if any(not 0 <= length <= _MOST_BYTES for length in tensor.dims):
            raise self._builder.error(
                f"has a damaged array {tensor.name}: its shape is {tuple(tensor.dims)}"
            )
        try:
            array = self._to_array(tensor)
        except Exception as error:  # sizes that do not fit, types that are not known
            raise self._builder.error(f"has a damaged array {tensor.name}: {error}") from error
        if array.dtype.kind in "fiub":
            return array.astype(np.float64) if array.dtype.kind == "f" else array
        raise self._builder.error(f"has {tensor.name} of {array.dtype}, expected real numbers")

    def _node(self, node: Any, name: str) -> Any:
        words = f"{name} ({node.op_type})"
        known = [self._graph.values.get(i) if i else None for i in node.input]
        missing = [i for i in node.input if i and i not in self._graph.values]
        if missing:
            raise self._builder.error(f"uses {missing[0]} at {words} before it is there")
        options = options_of(self._builder, words, node)
        self._types.follow(words, node, options)
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused where it is used
                return self._operation(node, words, known, options)
        except _MALFORMED as error:
            if str(error).startswith(self._builder.source):
                raise
            raise self._builder.error(f"has the malformed layer {words}: {error}") from error

    def _operation(self, node: Any, words: str, known: list[Any], options: dict[str, Any]) -> Any:
        if node.domain not in ("", "ai.onnx", "com.microsoft"):
            raise self._untreated(words, node.op_type)
        operation = _OPERATIONS.get(node.op_type)
        if operation is not None:
            return operation(self, words, known, options)
        if node.op_type in _ELEMENTWISE:
            return self._graph.function(words, known[0], _ELEMENTWISE[node.op_type])
        if node.op_type in _ARITHMETIC:
            return self._graph.arithmetic(words, _ARITHMETIC[node.op_type], *known)
        if node.op_type in ("Softmax", "LogSoftmax"):
            return self._graph.softmax(words, known[0], node.op_type)
        raise self._untreated(words, node.op_type)

    def _untreated(self, words: str, kind: str) -> ValueError:
        why = next((text for part, text in _REASONS.items() if part in kind), "is not treated")
        return self._builder.error(f"has the layer {words}, which {why}, expected {_KNOWN}")

    def gemm(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        x, matrix = known[:2]
        bias = known[2] if len(known) > 2 else None
        alpha, beta = _real(options, "alpha", 1.0), _real(options, "beta", 1.0)
        if _whole(options, "transA", 0) or not isinstance(matrix, np.ndarray):
            raise self._untreated(words, "Gemm of a transposed or computed matrix")
        matrix = matrix if _whole(options, "transB", 0) else matrix.T
        if bias is None or beta == 0.0:
            bias = None
        else:
            bias = beta * np.broadcast_to(one_per_value(bias), (len(matrix),))
        if alpha != 1.0:
            x = self._graph.affine(words, x, alpha)
        return self._graph.linear(words, x, matrix, bias)

    def matmul(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        if not isinstance(known[0], Stream) or not isinstance(known[1], np.ndarray):
            raise self._untreated(words, "MatMul of two computed matrices")
        return self._graph.linear(words, known[0], known[1].T)

    def batch_norm(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        if _whole(options, "training_mode", 0):
            raise self._builder.error(f"has {words} in training mode, expected inference")
        x, weight, bias, mean, variance = known[:5]
        scale = weight / np.sqrt(variance + _real(options, "epsilon", 1e-5))
        value = self._graph.affine(words, x, 1.0, -mean)
        self._builder.notes.append(f"{words} is merged into the layer beside it.")
        return self._graph.affine(words, value, scale, bias, 4.0)

    def dropout(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        if len(known) > 2 and known[2] is not None and np.any(known[2]):
            raise self._builder.error(f"has {words} in training mode, expected inference")
        return self._graph.same(words, known[0])

    def identity(self, words: str, known: list[Any], options: dict[str, Any]) -> Any:
        return known[0]

    def flatten(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        if _whole(options, "axis", 1) != 1:
            raise self._builder.error(f"has {words} along another axis than 1")
        return self._graph.same(words, known[0])

    def reshape(self, words: str, known: list[Any], options: dict[str, Any]) -> Any:
        shape = known[1]
        if not isinstance(known[0], Stream):
            return np.reshape(known[0], shape)
        fits = isinstance(shape, np.ndarray) and shape.size == 2
        if not fits or not self._keeps_samples(shape.ravel(), _whole(options, "allowzero", 0)):
            raise self._builder.error(f"has {words}, expected one row per sample")
        return self._graph.same(words, known[0])

    def _keeps_samples(self, shape: Any, zero_is_zero: int) -> bool:
        """Whether a shape of rows and columns, 0 for those before and -1 for the rest, does."""
        rows, columns = (int(length) for length in shape)
        width = self._builder.width or self.inputs.width
        if columns == -1:
            return (rows == 0 and not zero_is_zero) or 0 < rows == self.inputs.batch
        return columns > 0 and width in (None, columns)

    def transpose(self, words: str, known: list[Any], options: dict[str, Any]) -> Any:
        if not isinstance(known[0], np.ndarray):
            raise self._untreated(words, "Transpose")
        axes = list(options["perm"].ints) if "perm" in options else None
        return np.transpose(known[0], axes)

    def cast(self, words: str, known: list[Any], options: dict[str, Any]) -> Any:
        # To float, float64 or half: the function in exact arithmetic is the same.
        if isinstance(known[0], Stream) and _whole(options, "to", 1) not in (1, 10, 11, 16):
            raise self._builder.error(f"has {words} to whole numbers, which has no slopes")
        return known[0]

    def constant(self, words: str, known: list[Any], options: dict[str, Any]) -> Any:
        if "value" in options:
            return self._array(options["value"].t)
        for name in ("value_float", "value_int", "value_floats", "value_ints"):
            if name in options:
                entry = options[name]
                field = {"value_float": "f", "value_int": "i", "value_floats": "floats"}
                return np.array(getattr(entry, field.get(name, "ints")))
        raise self._untreated(words, "Constant")

    def leaky_relu(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        return self._parameter(words, known[0], "leaky_relu", _real(options, "alpha", 0.01))

    def elu(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        return self._parameter(words, known[0], "elu", _real(options, "alpha", 1.0))

    def prelu(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        slopes = np.unique(known[1])
        if len(slopes) > 1:
            raise self._builder.error(f"has {words} with several slopes, expected one")
        return self._parameter(words, known[0], "leaky_relu", float(slopes[0]))

    def selu(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        alpha = _real(options, "alpha", 1.67326319217681884765625)
        scale = _real(options, "gamma", 1.05070102214813232421875)
        inner = self._parameter(words, known[0], "elu", alpha)
        scaled: Stream = self._graph.arithmetic(words, "*", inner, scale)
        return scaled

    def gelu(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        form = options["approximate"].s.decode() if "approximate" in options else "none"
        return self._graph.function(words, known[0], "gelu" if form == "none" else "gelu_tanh")

    def swish(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        inner = self._graph.arithmetic(words, "*", known[0], _real(options, "alpha", 1.0))
        gate = self._graph.function(words, inner, "sigmoid")
        result: Stream = self._graph.arithmetic(words, "*", known[0], gate)
        return result

    def clip(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        limits = [_real(options, name, np.nan) for name in ("min", "max")]
        for place in (1, 2):
            if len(known) > place and known[place] is not None:
                limits[place - 1] = float(np.asarray(known[place]).reshape(()))
        if limits == [0.0, 6.0]:
            return self._graph.function(words, known[0], "relu6")
        if limits[0] == 0.0 and not limits[1] <= 3e38:
            return self._graph.function(words, known[0], "relu")
        raise self._builder.error(
            f"has {words} from {limits[0]:g} to {limits[1]:g}, expected 0 to 6 or to infinity"
        )

    def power(self, words: str, known: list[Any], options: dict[str, Any]) -> Stream:
        return self._graph.power(words, *known)

    def negative(self, words: str, known: list[Any], options: dict[str, Any]) -> Any:
        return self._graph.arithmetic(words, "*", known[0], -1.0)

    def root(self, words: str, known: list[Any], options: dict[str, Any]) -> Any:
        if isinstance(known[0], Stream):
            raise self._untreated(words, "Sqrt")
        return np.sqrt(known[0])

    def _parameter(self, words: str, value: Any, kind: str, parameter: float) -> Stream:
        if kind == "leaky_relu" and not 0.0 <= parameter <= 1.0:
            raise self._builder.error(f"has {words} of slope {parameter:g}, expected 0 to 1")
        return self._graph.function(words, value, f"{kind}({parameter!r})")


def _real(options: dict[str, Any], name: str, default: float) -> float:
    return float(_of_type(options[name], 1).f) if name in options else default


def _whole(options: dict[str, Any], name: str, default: int) -> int:
    return int(_of_type(options[name], 2).i) if name in options else default


def _of_type(attribute: Any, kind: int) -> Any:
    if attribute.type not in (0, kind):  # the oldest files do not say it
        raise ValueError(f"its {attribute.name} is no {'number' if kind == 1 else 'whole number'}")
    return attribute


_OPERATIONS: dict[str, Callable[[_Reader, str, list[Any], dict[str, Any]], Any]] = {
    "BatchNormalization": _Reader.batch_norm,
    "Cast": _Reader.cast,
    "Clip": _Reader.clip,
    "Constant": _Reader.constant,
    "Dropout": _Reader.dropout,
    "Elu": _Reader.elu,
    "Flatten": _Reader.flatten,
    "Gelu": _Reader.gelu,
    "Gemm": _Reader.gemm,
    "Identity": _Reader.identity,
    "LeakyRelu": _Reader.leaky_relu,
    "MatMul": _Reader.matmul,
    "Neg": _Reader.negative,
    "PRelu": _Reader.prelu,
    "Pow": _Reader.power,
    "Reshape": _Reader.reshape,
    "Selu": _Reader.selu,
    "Sqrt": _Reader.root,
    "Swish": _Reader.swish,
    "Transpose": _Reader.transpose,
}
