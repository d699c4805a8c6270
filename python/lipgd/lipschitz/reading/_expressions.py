"""What graphs do to single values, as polynomials in functions of one value x.

``0.5 * x * (1 + erf(x / sqrt(2)))`` becomes ``0.5 x + 0.5 x erf(0.7071 x)`` however it was written,
and that is known to be gelu.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from lipgd import activations
from lipgd._check import number

from ._builder import Builder

__all__ = ["Expression", "X", "add", "apply", "call", "constant", "is_x", "multiply", "power"]

#: Products of atoms with their factors. An atom is ("x",) or (function, items of its argument).
Expression: TypeAlias = dict[tuple[Any, ...], float]

_X = ("x",)
X: Expression = {(_X,): 1.0}
_MOST_TERMS, _MOST_FACTORS = 64, 8
#: Constants in files are rounded to float32.
_CLOSE = 2e-6
_GELU_TANH = math.sqrt(2.0 / math.pi)
#: Functions that are activations of the same name.
_NAMED = {"relu", "relu6", "tanh", "sigmoid", "softplus", "silu", "gelu", "gelu_tanh", "sin"}


def constant(value: float) -> Expression:
    """Return a number as an expression."""
    return {(): float(value)}


def is_x(expression: Expression) -> bool:
    """Return whether an expression is x itself."""
    return expression == X


def add(a: Expression, b: Expression, sign: float = 1.0) -> Expression:
    """Return ``a + sign * b``."""
    total = dict(a)
    for term, factor in b.items():
        total[term] = total.get(term, 0.0) + sign * factor
    return _tidy(total)


def multiply(a: Expression, b: Expression) -> Expression:
    """Return ``a * b``."""
    product: Expression = {}
    for left, p in a.items():
        for right, q in b.items():
            if len(left) + len(right) > _MOST_FACTORS:
                raise ValueError("has a product of too many factors")
            term = tuple(sorted((*left, *right), key=repr))
            product[term] = product.get(term, 0.0) + p * q
    return _tidy(product)


def power(a: Expression, exponent: float) -> Expression:
    """Return a power with a small whole exponent."""
    if exponent not in (1, 2, 3):
        raise ValueError(f"raises to the power {exponent:g}, which belongs to no activation")
    result = a
    for _ in range(int(exponent) - 1):
        result = multiply(result, a)
    return result


def call(function: str, argument: Expression) -> Expression:
    """Return a function of a polynomial in x; the name may carry a parameter: ``elu(1.0)``."""
    if any(atom != _X for term in argument for atom in term):
        raise ValueError(f"has {function} of another function, which belongs to no activation")
    items = tuple(sorted(argument.items(), key=repr))
    return {((function, items),): 1.0}


def apply(builder: Builder, name: str, expression: Expression) -> None:
    """Add what an expression does to the layers.

    Raises
    ------
    ValueError
        If it is no activation.
    """
    offset = expression.get((), 0.0)
    rest = {term: factor for term, factor in expression.items() if term}
    if set(rest) <= {(_X,)}:
        builder.scale(name, rest.get((_X,), 0.0), offset)
        return
    found = _found(rest) or _leaky(rest)
    if found is not None and found[0].name == "gelu":
        offset -= 0.5 * found[2] * found[3]
    if found is None:
        raise builder.error(
            f"has at {name} the function {_text(expression)}, "
            "which is none of the activations that have known slopes"
        )
    activation, inner, shift, outer = found
    if activation.name == "gelu_tanh" and len(rest) > 1:
        builder.notes.append("The constants of gelu are rounded in the file, and taken as exact.")
    builder.scale(name, inner, shift)
    builder.activation(activation)
    builder.scale(name, outer, offset)


def _tidy(expression: Expression) -> Expression:
    if len(expression) > _MOST_TERMS:
        raise ValueError("has a function of too many terms")
    return {term: number("a factor", factor) for term, factor in expression.items() if factor}


_Found: TypeAlias = tuple[activations.Activation, float, float, float] | None


def _found(rest: Expression) -> _Found:
    return _single(rest) or _gated(rest) or _gelu(rest)


def _leaky(rest: Expression) -> _Found:
    """Read ``outer * (c x + (1 - c) activation(x))``; gelu has x among its own terms."""
    linear = rest.get((_X,), 0.0)
    others = {term: factor for term, factor in rest.items() if term != (_X,)}
    own = [0.0, *others.values()] if len(others) == 1 else [0.0]
    for share in own:
        found = _found({**others, **({(_X,): share} if share else {})})
        if found is None or found[1:3] != (1.0, 0.0) or not found[0].smooth or found[0].mix:
            continue
        outer = _near_one(linear - share + found[3])
        c = (linear - share) / outer if outer else math.inf
        if 0.0 < c < 1.0:
            return activations.leaky(found[0], c), 1.0, 0.0, outer
    return None


def _single(rest: Expression) -> _Found:
    """Read ``outer * activation(inner * x + shift)``."""
    if len(rest) != 1:
        return None
    ((term, outer),) = rest.items()
    if len(term) != 1 or term[0] == _X:
        return None
    function, items = term[0]
    argument = dict(items)
    if not set(argument) <= {(), (_X,)} or function.partition("(")[0] not in _KNOWN:
        return None
    inner, shift = argument.get((_X,), 0.0), argument.get((), 0.0)
    return activations.get(function), inner, shift, outer


_KNOWN: Mapping[str, None] = dict.fromkeys((*_NAMED, "leaky_relu", "elu", "leaky"))


def _gated(rest: Expression) -> _Found:
    """Read ``(u x + v) sigmoid(p x + q)`` with ``v / u = q / p``: ``u / p silu(p x + q)``."""
    gate = _gate(rest, "sigmoid")
    if gate is None:
        return None
    atom, (p, q) = gate
    outer = _outer(rest, atom, p, q)
    known = {(_X, atom), (atom, _X), (atom,)}
    if outer is None or not set(rest) <= known:
        return None
    return activations.get("silu"), p, q, outer


def _gelu(rest: Expression) -> _Found:
    """Read ``(u x + v) (1 + erf(p x + q))`` and ``u x (1 + tanh(a x + b x^3))``."""
    gate = _gate(rest, "erf")
    if gate is None:
        return _gelu_tanh(rest)
    atom, (p, q) = gate
    outer = _outer(rest, atom, p, q)
    known = {(_X, atom), (atom, _X), (atom,), (_X,)}
    if outer is None or not set(rest) <= known:
        return None
    if not _close(rest.get((_X,), 0.0), outer * p):
        return None
    s = _near_one(p * math.sqrt(2.0))
    return activations.get("gelu"), s, q * s / p, 2.0 * outer * p / s


def _gelu_tanh(rest: Expression) -> _Found:
    if len(rest) != 2 or (_X,) not in rest:
        return None
    outer = rest[(_X,)]
    term, factor = next((t, f) for t, f in rest.items() if t != (_X,))
    atoms = [atom for atom in term if atom != _X]
    if len(term) != 2 or len(atoms) != 1 or atoms[0][0] != "tanh" or not _close(factor, outer):
        return None
    inner = dict(atoms[0][1])
    if set(inner) != {(_X,), (_X, _X, _X)}:
        return None
    s = _near_one(inner[(_X,)] / _GELU_TANH)
    if s <= 0 or not _close(inner[(_X, _X, _X)], 0.044715 * _GELU_TANH * s**3):
        return None
    return activations.get("gelu_tanh"), s, 0.0, 2.0 * outer / s


def _gate(rest: Expression, function: str) -> tuple[Any, tuple[float, float]] | None:
    """Return the only atom of a function of ``p x + q`` in all terms, and p and q."""
    atoms = {atom for term in rest for atom in term if atom != _X}
    if len(atoms) != 1:
        return None
    atom = atoms.pop()
    inner = dict(atom[1])
    if atom[0] != function or not set(inner) <= {(_X,), ()} or (_X,) not in inner:
        return None
    return atom, (inner[(_X,)], inner.get((), 0.0))


def _outer(rest: Expression, atom: Any, p: float, q: float) -> float | None:
    """Return c if the terms with the atom are ``c (p x + q) atom``."""
    slope = rest.get((_X, atom), rest.get((atom, _X), 0.0))
    c = slope / p
    return c if _close(rest.get((atom,), 0.0), c * q) and c else None


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= _CLOSE * max(abs(a), abs(b))


def _near_one(s: float) -> float:
    """Return 1 for what differs from it by the rounding of a float32."""
    return 1.0 if abs(s - 1.0) < _CLOSE else s


def _text(expression: Mapping[tuple[Any, ...], float]) -> str:
    parts = []
    for term, factor in expression.items():
        atoms = [a[0] if a == _X else f"{a[0]}({_text(dict(a[1]))})" for a in term]
        parts.append(" ".join(([f"{factor:g}"] if factor != 1.0 or not atoms else []) + atoms))
    return " + ".join(parts) or "0"
