"""A graph of operations on one stream of values, node by node."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd import activations

from ._builder import Builder
from ._expressions import (
    Expression,
    X,
    add,
    apply,
    call,
    constant,
    is_x,
    multiply,
    power,
)

__all__ = ["Graph", "Stream", "one_per_value"]


@dataclass(frozen=True)
class Stream:
    """A function of the values after some layers; ``base`` counts those layers."""

    base: int
    expression: Any


def one_per_value(constant: Any) -> Any:
    """Return a constant as a vector, one for each value of a sample or one for all.

    Rows come last: a column has one for each sample of a batch.
    """
    array = np.asarray(constant)
    if array.size != math.prod(array.shape[-1:]):
        raise ValueError(f"a constant of shape {array.shape}, expected one per value")
    return array.reshape(-1)


class Graph:
    """Follows one stream through operations, and refuses what is no chain of layers.

    Values are Streams, or arrays where they are constant.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self._base = 0
        self._tail: str | None = None
        self.values: dict[Hashable, Any] = {}

    def start(self) -> Stream:
        """Return the stream of the inputs."""
        return Stream(self._base, X)

    def linear(self, name: str, value: Any, matrix: Any, bias: Any = None) -> Stream:
        """Add a matrix behind a stream."""
        self._flush(name, value)
        self.builder.linear(name, matrix, bias)
        return self._advanced()

    def affine(
        self, name: str, value: Any, scale: Any, shift: Any = 0.0, units: float = 0.0
    ) -> Stream:
        """Add scales and shifts of single values behind a stream."""
        self._flush(name, value)
        self.builder.scale(name, scale, shift, units)
        return self._advanced()

    def function(self, name: str, value: Any, function: str) -> Stream:
        """Add a function of single values."""
        stream = self._stream(name, value)
        if "(" in function:
            try:
                activations.get(function)
            except ValueError as error:
                raise self.builder.error(f"has the layer {name}, whose {error}") from error
        try:
            return Stream(stream.base, call(function, stream.expression))
        except ValueError as error:
            raise self.builder.error(f"{error} (at {name})") from error

    def same(self, name: str, value: Any) -> Stream:
        """Leave a stream as it is."""
        return self._stream(name, value)

    def softmax(self, name: str, value: Any, function: str) -> Stream:
        """End the stream before a softmax."""
        self._flush(name, value)
        self._tail = function
        self.builder.notes.append(
            f"The network is taken up to its logits, before {function} ({name})."
        )
        return self._advanced()

    def arithmetic(self, name: str, sign: str, a: Any, b: Any) -> Any:
        """Add, subtract, multiply or divide two values."""
        if not isinstance(a, Stream) and not isinstance(b, Stream):
            return self._folded(name, sign, a, b)
        if isinstance(a, Stream) and isinstance(b, Stream):
            if a.base != b.base:
                raise self.builder.error(
                    f"has at {name} a connection that skips layers, expected a chain of layers"
                )
            if sign == "/":
                raise self.builder.error(f"divides at {name} by what depends on the inputs")
            return self._combined(name, a, sign, b.expression)
        return self._with_constant(name, sign, a, b)

    def _folded(self, name: str, sign: str, a: Any, b: Any) -> Any:
        """Compute constants, which must not outgrow the file that they come from."""
        shape = np.broadcast_shapes(np.shape(a), np.shape(b))
        if math.prod(shape) > max(np.size(a), np.size(b)):
            raise self.builder.error(
                f"computes at {name} a constant of shape {shape} of small ones"
            )
        operations = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
        with np.errstate(all="ignore"):  # what is not finite is refused where it is used
            return operations[sign](a, b)

    def power(self, name: str, value: Any, exponent: Any) -> Stream:
        """Raise a stream to a constant power."""
        stream = self._stream(name, value)
        if isinstance(exponent, Stream) or np.size(exponent) != 1:
            raise self.builder.error(f"has at {name} a power that is not constant")
        try:
            result = power(stream.expression, float(np.asarray(exponent).reshape(())))
        except ValueError as error:
            raise self.builder.error(f"{error} (at {name})") from error
        return Stream(stream.base, result)

    def finish(self, value: Any) -> None:
        """Add what is left at the output."""
        if self._tail is not None and not is_x(self._stream("the output", value).expression):
            raise self.builder.error(f"goes on after {self._tail}, expected it at the output")
        self._flush("the output", value)

    def _with_constant(self, name: str, sign: str, a: Any, b: Any) -> Stream:
        stream, number = (a, b) if isinstance(a, Stream) else (b, a)
        stream = self._stream(name, stream)
        array = np.asarray(number, np.float64)
        if array.size != 1:
            try:
                array = one_per_value(array)
            except ValueError as error:
                raise self.builder.error(f"has at {name} {error}") from error
        if sign == "/":
            if stream is b or not array.all():
                raise self.builder.error(f"has at {name} a division that no dense layer does")
            if array.size != 1:
                return self.affine(name, stream, 1.0 / array, 0.0, 1.0)
            array, sign = 1.0 / array, "*"
        flipped = stream is b and sign == "-"
        if array.size == 1:
            other = constant(float(array.reshape(())))
            if flipped:
                return self._combined(name, Stream(stream.base, other), "-", stream.expression)
            return self._combined(name, stream, sign, other)
        if sign == "*":
            return self.affine(name, stream, array)
        scale, shift = (-1.0, array) if flipped else (1.0, array if sign == "+" else -array)
        return self.affine(name, stream, scale, shift)

    def _combined(self, name: str, a: Stream, sign: str, b: Expression) -> Stream:
        try:
            if sign == "*":
                return Stream(a.base, multiply(a.expression, b))
            return Stream(a.base, add(a.expression, b, 1.0 if sign == "+" else -1.0))
        except ValueError as error:
            raise self.builder.error(f"{error} (at {name})") from error

    def _stream(self, name: str, value: Any) -> Stream:
        if not isinstance(value, Stream):
            raise self.builder.error(f"computes {name} from constants, expected the inputs")
        if value.base != self._base:
            raise self.builder.error(
                f"uses at {name} the values of an earlier layer, expected a chain of layers"
            )
        if self._tail is not None and not is_x(value.expression):
            raise self.builder.error(f"goes on after {self._tail}, expected it at the output")
        return value

    def _flush(self, name: str, value: Any) -> None:
        stream = self._stream(name, value)
        if self._tail is not None and name != "the output":
            raise self.builder.error(f"goes on with {name} after {self._tail}")
        if not is_x(stream.expression):
            apply(self.builder, f"the input of {name}", stream.expression)

    def _advanced(self) -> Stream:
        self._base += 1
        return Stream(self._base, X)
