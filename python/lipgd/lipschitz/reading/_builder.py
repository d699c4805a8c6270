"""Layers, one after the other, become a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd import activations
from lipgd._arguments import real_array
from lipgd.activations import Activation
from lipgd.lipschitz._model import Model, gamma, rounding_of
from lipgd.types import DoubleArray

__all__ = ["Builder"]

_IDENTITY = "identity"
#: Integers of up to this size are exact in float64.
_EXACT = 2**53


@dataclass(frozen=True)
class _Pending:
    """Scales and shifts that wait for the next matrix.

    The scales may be off by some units in the last place, the shifts by as many units of ``size``.
    """

    scale: DoubleArray
    shift: DoubleArray
    size: DoubleArray
    units: float

    def followed(self, s: DoubleArray, t: DoubleArray, units: float) -> _Pending:
        """Return these scales and then others."""
        return _Pending(
            s * self.scale,
            s * self.shift + t,
            np.abs(s) * self.size + np.abs(t),
            self.units + units + (0.0 if (self.scale == 1.0).all() else 1.0),
        )


class Builder:
    """Collects matrices, scales and activations.

    Matrices without an activation between them are not multiplied, which would round: the neurons
    between them are affine, and cost a certificate nothing (certificates.md, section 1).
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.notes: list[str] = []
        self._weights: list[DoubleArray] = []
        self._biases: list[DoubleArray] = []
        self._errors: list[tuple[float, float]] = []
        self._activations: list[Activation] = []
        self._pending: _Pending | None = None

    @property
    def width(self) -> int | None:
        """How many values the layers so far give; None before the first."""
        if self._pending is not None:
            return len(self._pending.scale) if self._pending.scale.ndim else None
        return len(self._weights[-1]) if self._weights else None

    @property
    def _open(self) -> bool:
        return len(self._weights) > len(self._activations) and self._pending is None

    def linear(self, name: str, matrix: Any, bias: Any = None) -> None:
        """Add ``matrix @ x + bias``."""
        w = _finite(f"the matrix of {name}", matrix, 2)
        if w.size == 0:
            raise self.error(f"has an empty matrix in {name}, expected at least one entry")
        b = np.zeros(len(w)) if bias is None else _finite(f"the bias of {name}", bias, 1)
        if b.shape != (len(w),):
            raise self.error(f"has {len(b)} biases in {name}, expected {len(w)}")
        if self.width not in (None, w.shape[1]):
            raise self.error(f"gives {self.width} values to {name}, which takes {w.shape[1]}")
        if self._open:
            self.activation(_IDENTITY)
        error = bias_error = 0.0
        if self._pending is not None:
            pending, self._pending = self._pending, None
            units, merged = pending.units, w * pending.scale
            shift, size = (np.broadcast_to(v, w.shape[1]) for v in (pending.shift, pending.size))
            error = rounding_of(merged, units + 1.0)
            largest = float((np.abs(w) @ size + np.abs(b)).max())
            bias_error = gamma(w.shape[1] + units + 6.0) * largest * (1.0 + 1e-9)
            w, b = merged, b + w @ shift
        self._push(w, b, error, bias_error)

    def scale(self, name: str, scale: Any, shift: Any = 0.0, units: float = 0.0) -> None:
        """Add ``scale * x + shift``, whose numbers may be off by some units in the last place."""
        unknown = self.width is None and np.ndim(scale) == 0 and np.ndim(shift) == 0
        width = self.width or max(np.size(scale), np.size(shift))
        shape = () if unknown else (width,)
        if not all(np.isfinite(v).all() for v in (scale, shift)):
            raise self.error(f"has {name} with a number that is not finite")
        try:
            s, t = (np.broadcast_to(_finite(name, v), shape) for v in (scale, shift))
        except ValueError as error:
            raise self.error(f"has {name}, which does not fit {width} values") from error
        if (s == 1.0).all() and (t == 0.0).all():
            return
        if self._open:
            self._merge(s, t, units)
        else:
            before = self._pending or _Pending(np.ones(shape), np.zeros(shape), np.zeros(shape), 0)
            self._pending = before.followed(s, t, units)

    def hidden(self, activation: Any, place: int, count: int) -> None:
        """Add the activation behind a matrix: the same one for all, or that of a list."""
        if not isinstance(activation, (list, tuple)):
            return self.activation(activation)
        if len(activation) != count:
            raise ValueError(
                f"activation has {len(activation)} entries, but {self.source} has "
                f"{count} hidden layers"
            )
        self.activation(activation[place])

    def activation(self, activation: str | Activation) -> None:
        """Add an activation."""
        if not self._open:
            self._settle()
        self._activations.append(activations.get(activation))

    def build(self) -> Model:
        """Return the model."""
        if not self._weights:
            raise self.error("has no matrix of weights, expected at least one dense layer")
        if not self._open:
            self._settle()
        if not all(np.isfinite(array).all() for array in (*self._weights, *self._biases)):
            raise self.error("has scales and weights whose products exceed the range of float64")
        return Model(
            tuple(_frozen(w) for w in self._weights),
            tuple(_frozen(b) for b in self._biases),
            tuple(self._activations),
            tuple(error for error, _ in self._errors),
            tuple(error for _, error in self._errors),
            self.source,
            tuple(self.notes),
        )

    def error(self, what: str) -> ValueError:
        """Return the error of a source that is not as expected."""
        return ValueError(f"{self.source} {what}")

    def _settle(self) -> None:
        """Write what acts on single values as a diagonal matrix."""
        if self.width is None:
            raise self.error("begins with an activation, whose number of inputs is not known")
        self.linear("the identity", np.eye(self.width))

    def _merge(self, s: DoubleArray, t: DoubleArray, units: float) -> None:
        w, b = s[:, None] * self._weights[-1], s * self._biases[-1] + t
        error, bias_error = self._errors[-1]
        largest = float(np.abs(s).max(initial=0.0)) * (1.0 + (units + 2.0) * 2.0**-52)
        exact = units == 0.0 and _powers_of_two(s)
        size = float((np.abs(s * self._biases[-1]) + np.abs(t)).max(initial=0.0))
        own = 0.0 if exact else rounding_of(w, units + 1.0)
        sums = exact and not (t * self._biases[-1]).any()
        own_bias = 0.0 if sums else gamma(units + 3.0) * size * (1.0 + 1e-9)
        self._weights[-1], self._biases[-1] = w, b
        self._errors[-1] = (largest * error + own, largest * bias_error + own_bias)

    def _push(self, w: DoubleArray, b: DoubleArray, error: float, bias_error: float) -> None:
        self._weights.append(w)
        self._biases.append(b)
        self._errors.append((error, bias_error))


def _finite(name: str, value: Any, ndim: int | None = None) -> DoubleArray:
    array = real_array(name, value)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}, expected {ndim} dimensions")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise TypeError(f"{name} has dtype {array.dtype}, expected at most float64")
    if array.dtype.kind in "iu" and ((array > _EXACT) | (array < -_EXACT)).any():
        raise ValueError(f"{name} has an integer beyond 2**53, which float64 rounds, expected less")
    numbers = np.array(array, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} has an entry that is not finite, expected finite numbers")
    return numbers


def _powers_of_two(s: DoubleArray) -> bool:
    mantissas = np.frexp(np.abs(s))[0]
    return bool(((mantissas == 0.5) | (s == 0.0)).all())


def _frozen(array: DoubleArray) -> DoubleArray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
