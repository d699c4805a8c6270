"""Certificates in files, and how to check them again without the code that made them.

A file is JSON. Numbers are hexadecimal, so that they are the same to the last bit.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lipgd._check import path_of
from lipgd._files import atomic_writer
from lipgd.types import DoubleArray

from ._certificate import Certificate
from ._model import Model
from ._proof import is_bound
from .reading import read

__all__ = ["Checked", "check_certificate", "write_certificate"]

_FORMAT, _VERSION = "lipgd certificate", 1
_MOST_BYTES = 2**30
#: Infima and suprema of slopes to 30 digits, rounded outward: not those that made the certificate.
_SLOPES = {
    "identity": ("1", "1"),
    "relu": ("0", "1"),
    "relu6": ("0", "1"),
    "tanh": ("0", "1"),
    "softplus": ("0", "1"),
    "sigmoid": ("0", "1/4"),
    "sin": ("-1", "1"),
    "silu": ("-0.099839320128866916958184924321", "1.099839320128866916958184924321"),
    "gelu": ("-0.128904145185154786340744442262", "1.128904145185154786340744442262"),
    "gelu_tanh": ("-0.128993068658771765455904470400", "1.128993068658771765455904470400"),
}


@dataclass(frozen=True)
class Checked:
    """What a second look at a certificate found.

    Attributes
    ----------
    proved : bool
        Whether the certificate proves its value for this network, in exact arithmetic.
    value : float
        The bound that the file claims.
    statement : str
        A sentence that says what is proved, or what is wrong.
    """

    proved: bool
    value: float
    statement: str

    def __str__(self) -> str:
        return self.statement


def write_certificate(
    path: str | os.PathLike[str],
    model: Model,
    found: Certificate,
    slopes: tuple[Sequence[DoubleArray], Sequence[DoubleArray]],
    *,
    value: float,
    where: str = "",
    input_scales: DoubleArray | None = None,
) -> None:
    """Write what proves a bound of a model.

    ``value`` is the bound of the whole, rounding of merged layers and all; ``where`` says on which
    domain the slopes hold, empty for everywhere.
    """
    facts = {
        "format": _FORMAT,
        "version": _VERSION,
        "model": model.digest(),
        "sizes": list(model.sizes),
        "activations": [activation.name for activation in model.activations],
        "value": float(value).hex(),
        "where": where,
        "input_scales": None if input_scales is None else _hex(input_scales),
        "low": [_hex(numbers) for numbers in slopes[0]],
        "high": [_hex(numbers) for numbers in slopes[1]],
        "multipliers": [_hex(numbers) for numbers in found.multipliers],
        "exponents": [[int(e) for e in numbers] for numbers in found.exponents],
    }
    with atomic_writer(path) as file:
        file.write(json.dumps(facts, indent=1).encode() + b"\n")


def check_certificate(path: str | os.PathLike[str], source: Any, activation: Any = None) -> Checked:
    """Prove the bound of a certificate file again, in exact rational arithmetic.

    The check shares no code with what made the certificate: no matrix product, no eigenvalue and no
    constant. It takes seconds up to some hundred neurons, and minutes up to a thousand.

    Parameters
    ----------
    path : path-like
        What :meth:`Audit.save_certificate` or ``lipgd certify --save`` wrote.
    source, activation
        The network, as :func:`read` takes it.

    Returns
    -------
    Checked

    Raises
    ------
    ValueError
        If the file is not a certificate, or one of another network.

    References
    ----------
    certificates.md, theorems 1 and 4, section 9.

    Examples
    --------
    >>> import lipgd
    >>> net = lipgd.Network.create([2, 6, 1], seed=1)
    >>> lipgd.lipschitz.audit(net, effort="fast").save_certificate("net.json")
    >>> lipgd.lipschitz.check_certificate("net.json", net).proved
    True
    """
    name = path_of("path", path)
    facts = _load(name)
    model = read(source, activation)
    if facts["model"] != model.digest():
        raise ValueError(f"{name} is the certificate of another network")
    try:
        value = float.fromhex(facts["value"])
        weights = _scaled(model, facts["input_scales"])
        low, high = (_exact(facts[side]) for side in ("low", "high"))
        multipliers = _multipliers(facts["multipliers"], facts["exponents"])
        widths = [len(matrix) for matrix in model.weights[:-1]]
        if any([len(v) for v in part] != widths for part in (low, high, multipliers)):
            raise ValueError("its sizes are not those of the network")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is not a readable {_FORMAT}: {error}") from error
    if not math.isfinite(value) or value < 0:
        return Checked(False, value, f"Not proved: the value is {value}.")
    if not facts["where"]:
        problem = _narrow(model, low, high)
        if problem:
            return Checked(False, value, f"Not proved: {problem}.")
    if not is_bound(weights, low, high, multipliers, Fraction(value)):
        return Checked(False, value, f"Not proved: the multipliers do not show {value:.9g}.")
    return Checked(True, value, _statement(model, value, facts))


def _statement(model: Model, value: float, facts: dict[str, Any]) -> str:
    norm = "largest-entry" if facts["input_scales"] else "Euclidean"
    text = f"Proved in exact arithmetic: {value:.9g} bounds the Lipschitz constant ({norm} inputs)"
    if facts["where"]:
        text += f" on a {facts['where']}, given the stored slopes of its neurons"
    if not model.exact:
        text += ", of the layers as they were merged"
    return text + "."


def _load(name: str) -> dict[str, Any]:
    if os.path.getsize(name) > _MOST_BYTES:
        raise ValueError(f"{name} has more than {_MOST_BYTES} bytes, expected a certificate")
    with open(name, "rb") as file:
        try:
            facts = json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} is not a readable {_FORMAT}: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise ValueError(f"{name} is not a {_FORMAT}")
    if facts.get("version") != _VERSION:
        raise ValueError(f"{name} has version {facts.get('version')}, expected {_VERSION}")
    wanted = {"model", "value", "where", "input_scales", "low", "high", "multipliers", "exponents"}
    if wanted - set(facts):
        raise ValueError(f"{name} has no entry {min(wanted - set(facts))!r}")
    return facts


def _hex(numbers: DoubleArray) -> list[str]:
    return [float(x).hex() for x in numbers]


def _exact(layers: Any) -> list[list[Fraction]]:
    return [[Fraction(float.fromhex(x)) for x in layer] for layer in layers]


def _multipliers(numbers: Any, exponents: Any) -> list[list[Fraction | None]]:
    """Return ``t 2^e``; None for infinite ones, which belong to known slopes."""
    result = []
    for layer, powers in zip(numbers, exponents, strict=True):
        row: list[Fraction | None] = []
        for text, power in zip(layer, powers, strict=True):
            if abs(power) > 10_000:
                raise ValueError(f"it has the exponent {power}")
            t = float.fromhex(text)
            scale = Fraction(2) ** int(power)
            row.append(None if math.isinf(t) else Fraction(t) * scale)
        result.append(row)
    return result


def _scaled(model: Model, scales: Any) -> list[list[list[Fraction]]]:
    """Return the matrices, the first one for inputs whose largest entry is at most one."""
    weights = [[[Fraction(float(x)) for x in row] for row in m] for m in model.weights]
    if scales is None:
        return weights
    s = [Fraction(float.fromhex(x)) for x in scales]
    if len(s) != model.n_inputs or any(x <= 0 for x in s) or sum(1 / (x * x) for x in s) > 1:
        raise ValueError("its scales of inputs do not describe an ellipsoid around the cube")
    weights[0] = [[x * y for x, y in zip(row, s, strict=True)] for row in weights[0]]
    return weights


def _narrow(model: Model, low: list[list[Fraction]], high: list[list[Fraction]]) -> str | None:
    """Return which interval misses a slope that its activation can have."""
    for layer, activation in enumerate(model.activations):
        least, greatest = _range_of(activation.name)
        if max(low[layer], default=least) > least or min(high[layer], default=greatest) < greatest:
            return f"the slopes of hidden layer {layer + 1} are not all those of {activation.name}"
    return None


def _range_of(name: str) -> tuple[Fraction, Fraction]:
    if mixed := re.fullmatch(r"leaky\((.+), (\S+)\)", name):
        c = Fraction(float(mixed[2]))
        low, high = _range_of(mixed[1])
        return c + (1 - c) * low, c + (1 - c) * high
    kind, _, rest = name.partition("(")
    if kind == "leaky_relu":
        return Fraction(float(rest[:-1])), Fraction(1)
    if kind == "elu":
        return Fraction(0), max(Fraction(1), Fraction(float(rest[:-1])))
    low_text, high_text = _SLOPES[kind]
    return Fraction(low_text), Fraction(high_text)
