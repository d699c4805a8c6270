"""Activations that ONNX, or the kernels that run it, have for float32 alone: written in others.

Every line of a recipe is one node: its result, its operation, its operands. These are ``z``,
results of lines above, numbers, or parameters of the activation. The last line has the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["LONGEST", "Found", "Line", "find", "lines_of"]

#: 2 exp(x^2 / 2) Q(x) = g / (x g + g - x h) for the upper tail Q of the normal distribution, as in
#: elementwise.hpp: the coefficients of g and h, and the x from which exp(-x^2 / 2) is 0.
_G = (
    *(1.0, 1.5475511495018186, 1.1848984639787845, 0.5763763316098545, 0.19436784350900688),
    *(0.046928738363218134, 0.00811120297566316, 0.0009710360493800908),
    *(7.36129370086407e-05, 2.731197743207059e-06),
)
_H = (
    *(0.20211543919714084, 0.17616420789377268, 0.05203414074333524, -0.00805334201926324),
    *(-0.012288736865367062, -0.004986677466920744, -0.0011759064574366417),
    *(-0.00017578727110621417, -1.5915999887995266e-05, -6.918510001703522e-07),
)
_FLUSHED = 37.64


@dataclass(frozen=True)
class Line:
    """One node: the name of its result, its operation and the names of its operands."""

    result: str
    operation: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A recipe in a graph: which activation, of what, under which name, in how many nodes."""

    function: str
    operand: str
    result: str
    length: int


def _polynomial(name: str, coefficients: Sequence[float]) -> str:
    """Return the lines of Horner's rule in x."""
    *rest, top = coefficients
    value, lines = repr(top), []
    for power, coefficient in reversed(list(enumerate(rest))):
        lines += [
            f"{name}{power}x Mul {value} x",
            f"{name}{power} Add {name}{power}x {coefficient}",
        ]
        value = f"{name}{power}"
    return "\n".join(lines)


#: By the base name of the activation.
_TEXTS: dict[str, str] = {
    "leaky_relu": """
        scaled Mul z slope
        value Max z scaled
    """,
    # alpha expm1(m) for m = min(z, 0), without the cancellation of exp(m) - 1.
    "elu": """
        positive Relu z
        flipped Neg z
        size Relu flipped
        m Neg size
        half Mul m 0.5
        tanh Tanh half
        exp Exp m
        more Add exp 1.0
        expm1 Mul tanh more
        below Mul expm1 alpha
        value Add positive below
    """,
    # log(1 + e) for e = exp(-|z|), and what the rounding of u = 1 + e has taken from e.
    "softplus": """
        positive Relu z
        size Abs z
        m Neg size
        e Exp m
        u Add e 1.0
        log Log u
        taken Sub u 1.0
        rest Sub e taken
        log1p Add log rest
        value Add positive log1p
    """,
    "gelu": f"""
        positive Relu z
        size Abs z
        x Min size {_FLUSHED}
        square Mul x x
        m Mul square -0.5
        exp Exp m
        {_polynomial("g", _G)}
        {_polynomial("h", _H)}
        xg Mul x g0
        xh Mul x h0
        difference Sub g0 xh
        below Add difference xg
        top Mul xg exp
        twice Div top below
        tail Mul twice 0.5
        value Sub positive tail
    """,
}


def _parsed(text: str) -> tuple[Line, ...]:
    rows = [line.split() for line in text.strip().splitlines()]
    return tuple(Line(result, kind, tuple(operands)) for result, kind, *operands in rows)


_RECIPES: Mapping[str, tuple[Line, ...]] = {name: _parsed(text) for name, text in _TEXTS.items()}
#: Nodes of the longest recipe.
LONGEST = max(map(len, _RECIPES.values()))
#: The parameters that recipes have.
_PARAMETERS = {"leaky_relu": "slope", "elu": "alpha"}


def lines_of(kind: str, parameter: float) -> list[Line]:
    """Return the recipe of an activation with the number in place of its parameter."""
    name = _PARAMETERS.get(kind)
    return [
        Line(
            line.result,
            line.operation,
            tuple(repr(parameter) if operand == name else operand for operand in line.operands),
        )
        for line in _RECIPES[kind]
    ]


def find(nodes: Sequence[Any], constant: Callable[[str], Any]) -> Found | None:
    """Return the recipe that the first nodes follow, if there is one.

    Nodes have ``op_type``, ``input`` and ``output``, and no attributes or a domain of their own;
    ``constant`` returns the array of a name, or None.
    """
    for kind, lines in _RECIPES.items():
        found = _follows(nodes[: len(lines)], kind, lines, constant)
        if found is not None:
            return found
    return None


def _follows(
    nodes: Sequence[Any], kind: str, lines: Sequence[Line], constant: Callable[[str], Any]
) -> Found | None:
    if len(nodes) < len(lines):
        return None
    if any(node.op_type != line.operation for node, line in zip(nodes, lines, strict=True)):
        return None
    names: dict[str, str] = {}
    parameters: dict[str, float] = {}
    known = {line.result for line in lines} | {"z"}
    for node, line in zip(nodes, lines, strict=True):
        plain = not node.attribute and node.domain in ("", "ai.onnx")
        if not plain or len(node.output) != 1 or len(node.input) != len(line.operands):
            return None
        for given, wanted in zip(node.input, line.operands, strict=True):
            if wanted in known:
                if names.setdefault(wanted, given) != given:
                    return None
            elif not _is_constant(constant(given), kind, wanted, parameters):
                return None
        names[line.result] = node.output[0]
    values = "".join(f"({value!r})" for value in parameters.values())
    return Found(kind + values, names["z"], names["value"], len(lines))


def _is_constant(array: Any, kind: str, wanted: str, parameters: dict[str, float]) -> bool:
    if not isinstance(array, np.ndarray) or array.shape != ():
        return False
    number = float(array)
    if wanted == _PARAMETERS.get(kind):
        allowed = 0.0 <= number <= 1.0 if kind == "leaky_relu" else 0.0 < number < np.inf
        return allowed and parameters.setdefault(wanted, number) == number
    return number == float(wanted)
