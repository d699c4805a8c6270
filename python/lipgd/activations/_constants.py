"""The constants of the base functions: exact, or rounded outward.

See rate-constraints.md, section 1.1, and large-stepsize.md, section 1.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


def above(value: Fraction) -> float:
    """Return the least double that is not below the value."""
    nearest = float(value)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def below(value: Fraction) -> float:
    """Return the greatest double that is not above the value."""
    return -above(-value)


def _up(digits: str) -> float:
    """Return the least double above an irrational number, given by its leading digits."""
    return above(Fraction(digits))


@dataclass(frozen=True)
class Constants:
    """What Activation documents under these names, for one base function."""

    slope_range: tuple[float, float]
    curvature: float
    supremum: float
    at_zero: float
    homogeneity_range: tuple[float, float]


#: Kinks of piecewise linear functions through the origin leave them homogeneous.
_HALF_LINES = Constants((0.0, 1.0), math.inf, math.inf, 0.0, (0.0, 0.0))
#: sqrt(2 / pi), which both forms of gelu attain at zero.
_GELU_CURVATURE = _up("0.797884560802865355879892119868763736952")


def _gate(excess: str, curvature: float, homogeneity: str) -> Constants:
    """For z P(z) with P(z) + P(-z) = 1: as slopes at z and -z sum to 1, they fill [-e, 1 + e]."""
    low, high = -_up(excess), above(1 + Fraction(excess))
    return Constants((low, high), curvature, math.inf, 0.0, (-_up(homogeneity), 0.0))


_BY_KIND = {
    "identity": Constants((1.0, 1.0), 0.0, math.inf, 0.0, (0.0, 0.0)),
    "relu": _HALF_LINES,
    # Above 6 the slope is 0 and the value 6.
    "relu6": Constants((0.0, 1.0), math.inf, 6.0, 0.0, (0.0, 6.0)),
    # 4 / (3 sqrt 3), where tanh(z)^2 = 1/3.
    "tanh": Constants(
        (0.0, 1.0), _up("0.769800358919501019345531707335943274196"), 1.0, 0.0, (-1.0, 1.0)
    ),
    # 1 / (6 sqrt 3): sigmoid(z) = (1 + tanh(z / 2)) / 2.
    "sigmoid": Constants(
        (0.0, 0.25), _up("0.096225044864937627418191463416992909274"), 1.0, 0.5, (0.0, 1.0)
    ),
    # Extremal where z tanh(z / 2) = 2, at z = 2.399357...
    "silu": _gate(
        "0.099839320128866916958184924320570972130",
        0.5,
        "0.439228839890645150777979636654852948388",
    ),
    # Extremal at sqrt 2: Phi(sqrt 2) + sqrt 2 phi(sqrt 2), and sqrt(2 / pi) / e.
    "gelu": _gate(
        "0.128904145185154786340744442261973312332",
        _GELU_CURVATURE,
        "0.293525326347479799788628858063109236015",
    ),
    # Extremal at z = 1.418504...
    "gelu_tanh": _gate(
        "0.128993068658771765455904470399553845734",
        _GELU_CURVATURE,
        "0.293882665649001364765730874632978139908",
    ),
    # The defect of homogeneity is the entropy of sigmoid(z), at most log 2.
    "softplus": Constants(
        (0.0, 1.0),
        0.25,
        math.inf,
        _up("0.693147180559945309417232121458176568075"),
        (0.0, _up("0.693147180559945309417232121458176568075")),
    ),
    "sin": Constants((-1.0, 1.0), 1.0, 1.0, 0.0, (-math.inf, math.inf)),
}


def constants(kind: str, parameter: float) -> Constants:
    """Return the constants of a base function."""
    if kind == "leaky_relu":
        curvature = 0.0 if parameter == 1.0 else math.inf
        return Constants((parameter, 1.0), curvature, math.inf, 0.0, (0.0, 0.0))
    if kind == "elu":
        # The slope jumps from alpha to 1 at zero, and below zero phi - z phi' rises from -alpha
        # to 0, as its derivative is -z alpha e^z.
        curvature = 1.0 if parameter == 1.0 else math.inf
        steepest = max(1.0, parameter)
        return Constants((0.0, steepest), curvature, math.inf, 0.0, (-parameter, 0.0))
    return _BY_KIND[kind]
