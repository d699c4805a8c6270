"""What an activation and its slope can be on an interval (certificates.md, section 10)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lipgd import activations
from lipgd.activations import Activation
from lipgd.types import DoubleArray

__all__ = ["slope_range", "value_range"]

Booleans = npt.NDArray[np.bool_]

#: Where the slope has an extremum: the greatest slope beside a positive place, else the least.
#: Between these places, and outside them, the slope is monotone.
_EXTREMA: dict[str, tuple[tuple[float, int], ...]] = {
    "tanh": ((0.0, 1),),
    "sigmoid": ((0.0, 1),),
    "softplus": (),
    "silu": ((-2.3993572805154677, 0), (2.3993572805154677, 1)),
    "gelu": ((-1.4142135623730951, 0), (1.4142135623730951, 1)),
    "gelu_tanh": ((-1.4185040087908284, 0), (1.4185040087908284, 1)),
}
#: The place and the value of the only minimum, rounded down; all others are monotone.
_MINIMA = {
    "silu": (-1.2784645427610738, -0.27846454276107385),
    "gelu": (-0.7517915246935645, -0.16997120747990372),
    "gelu_tanh": (-0.7524614220710163, -0.17004075057125410),
}
#: Places are known to far less than this.
_NEAR = 1e-9
#: Computed values are within 4 units in the last place, slopes within 5 of the largest slope.
_VALUE_PAD, _SLOPE_PAD = 8 * 2.0**-52, 16 * 2.0**-52
#: Beyond this, sines of rounded arguments say nothing.
_FAR = 1e6


def slope_range(
    activation: Activation, low: DoubleArray, high: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Return numbers that enclose all slopes on the intervals ``[low, high]``.

    At a kink both slopes count. Intervals that are not finite have the range of the whole line.
    """
    base = _base(activation.kind, activation.parameter)
    least, greatest = _base_slopes(base, low, high)
    mix = activation.mix
    pad = _SLOPE_PAD * max(1.0, activation.lipschitz)
    if mix:
        least, greatest = mix + (1.0 - mix) * least - pad, mix + (1.0 - mix) * greatest + pad
    bottom, top = activation.slope_range
    known = np.isfinite(low) & np.isfinite(high)
    return (
        np.where(known, np.clip(least, bottom, top), bottom),
        np.where(known, np.clip(greatest, bottom, top), top),
    )


def value_range(
    activation: Activation, low: DoubleArray, high: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """Return numbers that enclose all values on the intervals ``[low, high]``."""
    base = _base(activation.kind, activation.parameter)
    least, greatest = _base_values(base, low, high)
    if activation.mix:
        mix = activation.mix
        least = _below(mix * low + (1.0 - mix) * least, np.abs(mix * low) + np.abs(least))
        greatest = _above(mix * high + (1.0 - mix) * greatest, np.abs(mix * high) + abs(greatest))
    known = np.isfinite(low) & np.isfinite(high)
    return np.where(known, least, -np.inf), np.where(known, greatest, np.inf)


@lru_cache(maxsize=64)
def _base(kind: int, parameter: float) -> Activation:
    name = activations.names()[kind]
    named = {"leaky_relu": "slope", "elu": "alpha"}
    return activations.get(name, **({named[name]: parameter} if name in named else {}))


def _base_slopes(
    base: Activation, low: DoubleArray, high: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    kind = base.name.partition("(")[0]
    if kind == "identity":
        return np.ones_like(low), np.ones_like(low)
    if kind in ("relu", "leaky_relu"):
        flat = base.parameter
        return np.where(low > 0, 1.0, flat), np.where(high > 0, 1.0, flat)
    if kind == "relu6":
        inside = (low > 0) & (high < 6)
        return inside.astype(np.float64), ((high > 0) & (low < 6)).astype(np.float64)
    if kind == "elu":
        return _elu_slopes(base.parameter, low, high)
    if kind == "sin":
        return _cosines(low, high)
    ends = [np.asarray(base.slope(_finite(z)), np.float64) for z in (low, high)]
    pad = _SLOPE_PAD * max(1.0, base.lipschitz)
    ranges = np.minimum(*ends) - pad, np.maximum(*ends) + pad
    for place, side in _EXTREMA[kind]:
        inside = (low <= place + _NEAR) & (high >= place - _NEAR)
        ranges[side][inside] = base.slope_range[side]
    return ranges


def _elu_slopes(
    alpha: float, low: DoubleArray, high: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    pad = _SLOPE_PAD * max(1.0, alpha)
    left = alpha * np.exp(np.minimum(_finite(low), 0.0)) - pad
    right = alpha * np.exp(np.minimum(_finite(high), 0.0)) + pad
    least = np.where(low > 0, 1.0, np.where(high < 0, left, np.minimum(left, 1.0)))
    greatest = np.where(low > 0, 1.0, np.where(high < 0, right, np.maximum(right, 1.0)))
    return least, greatest


def _cosines(low: DoubleArray, high: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    ends = np.cos(_finite(low)), np.cos(_finite(high))
    far = (np.abs(low) > _FAR) | (np.abs(high) > _FAR)
    least = np.where(far | _meets(low, high, np.pi), -1.0, np.minimum(*ends) - _SLOPE_PAD)
    greatest = np.where(far | _meets(low, high, 0.0), 1.0, np.maximum(*ends) + _SLOPE_PAD)
    return np.maximum(least, -1.0), np.minimum(greatest, 1.0)


def _meets(low: DoubleArray, high: DoubleArray, place: float) -> Booleans:
    """Return which intervals contain, or nearly contain, ``place`` plus a whole number of turns."""
    turn = 2.0 * np.pi
    first = np.ceil((low - place - _NEAR) / turn)
    return place + first * turn <= high + _NEAR


def _base_values(
    base: Activation, low: DoubleArray, high: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    kind = base.name.partition("(")[0]
    if kind == "sin":
        return _sines(low, high)
    ends = [np.asarray(base(_finite(z)), np.float64) for z in (low, high)]
    least = _below(np.minimum(*ends), np.minimum(*ends))
    greatest = _above(np.maximum(*ends), np.maximum(*ends))
    if kind in _MINIMA:
        place, value = _MINIMA[kind]
        inside = (low <= place + _NEAR) & (high >= place - _NEAR)
        least[inside] = np.nextafter(value, -1.0)
    return least, greatest


def _sines(low: DoubleArray, high: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    ends = np.sin(_finite(low)), np.sin(_finite(high))
    far = (np.abs(low) > _FAR) | (np.abs(high) > _FAR)
    least = np.where(far | _meets(low, high, -0.5 * np.pi), -1.0, np.minimum(*ends) - _VALUE_PAD)
    greatest = np.where(far | _meets(low, high, 0.5 * np.pi), 1.0, np.maximum(*ends) + _VALUE_PAD)
    return np.maximum(least, -1.0), np.minimum(greatest, 1.0)


def _finite(z: DoubleArray) -> DoubleArray:
    return np.where(np.isfinite(z), z, 0.0)


def _below(value: DoubleArray, size: DoubleArray) -> DoubleArray:
    return value - _VALUE_PAD * np.abs(size) - 2.0**-1073


def _above(value: DoubleArray, size: DoubleArray) -> DoubleArray:
    return value + _VALUE_PAD * np.abs(size) + 2.0**-1073
