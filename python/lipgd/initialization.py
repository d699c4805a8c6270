"""Seeded random weights: sub-Gaussian laws, independent entries.

The laws and scales are those of rate-constraints.md, section 5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from lipgd._check import number, shown

__all__ = ["names", "weights_and_biases"]

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
#: Draws a matrix (outputs, inputs) for a scale.
# A text, as numpy.random takes a tenth of the time to import lipgd.
Law: TypeAlias = "Callable[[np.random.Generator, tuple[int, int], float], Array]"


def _normal(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Array:
    return rng.normal(0.0, scale, shape)


def _uniform(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Array:
    return rng.uniform(-scale, scale, shape)


def _rademacher(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Array:
    return np.where(rng.integers(0, 2, shape) == 1, scale, -scale)


def _balanced(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Array:
    """Return +scale and -scale in turn along every row: nothing is drawn."""
    return np.broadcast_to(np.where(np.arange(shape[1]) % 2 == 0, scale, -scale), shape).copy()


#: Laws whose scale the user gives: standard deviation, half width, size.
_SCALED: dict[str, Law] = {"normal": _normal, "uniform": _uniform, "rademacher": _rademacher}

#: Laws whose scale comes from fan-in and fan-out.
_FANNED: dict[str, tuple[Law, Callable[[int, int], float]]] = {
    "he_normal": (_normal, lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    "he_uniform": (_uniform, lambda fan_in, fan_out: math.sqrt(6 / fan_in)),
    "glorot_normal": (_normal, lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))),
    "glorot_uniform": (_uniform, lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
    "lecun_normal": (_normal, lambda fan_in, fan_out: math.sqrt(1 / fan_in)),
    "lecun_uniform": (_uniform, lambda fan_in, fan_out: math.sqrt(3 / fan_in)),
    "torch": (_uniform, lambda fan_in, fan_out: math.sqrt(1 / fan_in)),
}

#: The outer weights of mean-field networks.
_MEAN_FIELD: dict[str, Law] = {"mean_field": _rademacher, "mean_field_balanced": _balanced}


def names() -> tuple[str, ...]:
    """Return the names of all initialisations.

    Examples
    --------
    >>> import lipgd
    >>> "he_normal" in lipgd.initialization.names()
    True
    """
    return (*_SCALED, *_FANNED, *_MEAN_FIELD)


def weights_and_biases(
    init: str, sizes: list[int], rng: np.random.Generator
) -> tuple[list[Array], list[Array]]:
    """Draw the parameters of a network.

    Parameters
    ----------
    init : str
        ``"normal(s)"`` (standard deviation s), ``"uniform(a)"`` (on [-a, a]), ``"rademacher(a)"``
        (-a or a); ``"he_normal"``, ``"he_uniform"``, ``"glorot_normal"``, ``"glorot_uniform"``,
        ``"lecun_normal"``, ``"lecun_uniform"``; ``"torch"`` (uniform by fan-in, biases too, as
        ``torch.nn.Linear``); ``"mean_field"`` (hidden weights of variance 1 / fan-in, outer weights
        -1 or +1 at random, made for an output scale of 1 / width), ``"mean_field_balanced"`` (the
        same with outer weights +1, -1, +1, ... in turn). Biases are zero except with ``"torch"``.
    sizes : list of int
        Inputs, hidden widths, outputs.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    weights : list of ndarray, each (outputs, inputs)
    biases : list of ndarray, each (outputs,)
    """
    name, scale = _parse(init)
    shapes = [(fan_out, fan_in) for fan_in, fan_out in pairwise(sizes)]
    weights, biases = [], []
    for layer, (fan_out, fan_in) in enumerate(shapes):
        shape = (fan_out, fan_in)
        if name in _SCALED:
            weights.append(_SCALED[name](rng, shape, scale))
        elif name in _MEAN_FIELD and layer == len(shapes) - 1:
            weights.append(_MEAN_FIELD[name](rng, shape, 1.0))
        else:
            law, fan_scale = _FANNED["lecun_normal" if name in _MEAN_FIELD else name]
            weights.append(law(rng, shape, fan_scale(fan_in, fan_out)))
        bound = 1 / math.sqrt(fan_in) if name == "torch" else 0.0
        biases.append(rng.uniform(-bound, bound, fan_out) if bound else np.zeros(fan_out))
    return weights, biases


def _parse(init: str) -> tuple[str, float]:
    if not isinstance(init, str):
        raise TypeError(
            f"init is {shown(init)}, expected a name such as 'he_normal' or 'normal(0.1)'"
        )
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?", init.strip())
    name, text = (match[1], match[2]) if match else (init, None)
    if name not in names() or (text is not None and name not in _SCALED):
        raise ValueError(f"init is {init!r}, expected one of {', '.join(names())}")
    if name not in _SCALED:
        return name, 1.0
    if text is None:
        raise ValueError(f"init is {init!r}, expected its scale too, such as '{name}(0.1)'")
    try:
        scale = float(text)
    except ValueError:
        raise ValueError(f"init is {init!r}, expected a number as in '{name}(0.1)'") from None
    return name, number(f"the scale of init {init!r}", scale, at_least=0)
