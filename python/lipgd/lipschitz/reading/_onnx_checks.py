"""What is checked of ONNX files beside their layers: names, versions, types and shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ._builder import Builder

__all__ = ["Input", "Types", "check_file", "input_of", "options_of"]

#: Before, sums and products had other rules for shapes.
_OLDEST_OPSET = 7
#: float, half, double and bfloat16; 0 does not say.
_REAL = (0, 1, 10, 11, 16)
_INT64 = 7
#: Operations whose operands have one type.
_ONE_TYPE = ("Add", "Clip", "Div", "Gemm", "MatMul", "Mul", "PRelu", "Sub")


def check_file(builder: Builder, proto: Any, newest_opset: int, newest_form: int) -> None:
    """Raise for what no reader can take in one way alone."""
    if not all(isinstance(text, str) for text in _texts(proto)):
        raise builder.error("is not a readable ONNX file: a name in it is not UTF-8")
    _check_versions(builder, proto, newest_opset, newest_form)
    _check_names(builder, proto.graph)


@dataclass(frozen=True)
class Input:
    """The declared shape of the samples, or None; lengths that are not declared are None."""

    name: str
    shape: tuple[int | None, ...] | None

    @property
    def batch(self) -> int | None:
        """How many samples there must be."""
        return self.shape[0] if self.shape is not None and len(self.shape) > 1 else None

    @property
    def width(self) -> int | None:
        """How many values a sample has."""
        lengths = () if self.shape is None else self.shape[1:]
        known = [length for length in lengths if length is not None]
        return math.prod(known) if lengths and len(known) == len(lengths) else None

    def check(self, builder: Builder, n_inputs: int) -> None:
        """Raise if rows of samples do not fit the first matrix."""
        if self.shape is None or len(self.shape) != 2 or self.width in (None, n_inputs):
            return
        raise builder.error(
            f"declares {self.width} values per sample at its input {self.name}, but its first "
            f"matrix takes {n_inputs}"
        )


def input_of(builder: Builder, entry: Any) -> Input:
    """Return the input that an entry of a graph declares."""
    kind = entry.type.tensor_type
    if kind.elem_type not in _REAL:
        raise builder.error(
            f"has the input {entry.name} of {_type_name(kind.elem_type)}, expected real numbers"
        )
    if not kind.HasField("shape"):
        return Input(entry.name, None)
    lengths = (dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim)
    return Input(entry.name, tuple(length if length > 0 else None for length in lengths))


class Types:
    """The types of all values: nothing but Cast changes them, and runtimes mix none."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self.known: dict[str, int] = {}

    def keep(self, operand: str, result: str) -> None:
        """Note that a result has the type of an operand."""
        self.known[result] = self.known.get(operand, 0)

    def follow(self, words: str, node: Any, options: dict[str, Any]) -> None:
        """Note the type of what a node computes, or raise if it mixes types."""
        given = [self.known.get(name, 0) for name in node.input if name]
        kinds = sorted({kind for kind in given if kind})
        if node.op_type in _ONE_TYPE and len(kinds) > 1:
            mixed = " and ".join(_type_name(kind) for kind in kinds)
            raise self._builder.error(f"has {words} of {mixed}, expected one type")
        if node.op_type == "Cast" and "to" in options:
            kind = options["to"].i
        elif node.op_type == "Constant":
            kind = _constant_type(options)
        else:
            kind = given[0] if given else 0
        self.known[node.output[0]] = kind


def options_of(builder: Builder, words: str, node: Any) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    options = {attribute.name: attribute for attribute in node.attribute}
    if len(options) < len(node.attribute):
        raise builder.error(f"has {words} with an attribute that is given twice")
    if any(attribute.ref_attr_name for attribute in node.attribute):
        raise builder.error(f"has {words} with an attribute of a function that is not there")
    return options


def _constant_type(options: dict[str, Any]) -> int:
    if "value" in options:
        return int(options["value"].t.data_type)
    return _INT64 if {"value_int", "value_ints"} & set(options) else 1


def _type_name(kind: int) -> str:
    from onnx import TensorProto

    known = kind in TensorProto.DataType.values()
    return TensorProto.DataType.Name(kind).lower() if known else f"the unknown type {kind}"


def _texts(proto: Any) -> Iterator[Any]:
    """Yield all names: the parser leaves those that are no text as bytes."""
    for entry in proto.metadata_props:
        yield from (entry.key, entry.value)
    for opset in proto.opset_import:
        yield opset.domain
    graph = proto.graph
    for named in (*graph.initializer, *graph.input, *graph.output):
        yield named.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _check_versions(builder: Builder, proto: Any, newest: int, newest_form: int) -> None:
    if proto.ir_version > newest_form:
        raise builder.error(
            f"has the file format {proto.ir_version}, expected one up to {newest_form}"
        )
    opsets = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if len(opsets) != 1 or not _OLDEST_OPSET <= opsets[0] <= newest:
        raise builder.error(
            f"has the opset {', '.join(map(str, opsets)) or 'none'}, "
            f"expected one from {_OLDEST_OPSET} to {newest}"
        )
    if proto.functions:
        raise builder.error(
            f"defines the function {proto.functions[0].name}, expected operations of ONNX alone"
        )
    if proto.graph.sparse_initializer or proto.graph.quantization_annotation:
        raise builder.error("has sparse or quantized weights, expected dense ones")


def _check_names(builder: Builder, graph: Any) -> None:
    """Raise if a value has two sources: which one counts would be anybody's guess."""
    arrays = [tensor.name for tensor in graph.initializer]
    seen = {entry.name for entry in graph.input} - set(arrays)
    results = [name for node in graph.node for name in node.output if name]
    for name in (*arrays, *results):
        if name in seen:
            raise builder.error(f"computes or stores {name!r} twice, expected once")
        seen.add(name)
