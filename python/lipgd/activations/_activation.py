"""The class of activation functions, and how to find one."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from lipgd import _core
from lipgd._check import choice, number
from lipgd.activations._constants import above, below, constants
from lipgd.types import ArrayLike, FloatArray

#: In the order of the C++ enumeration ActivationKind.
_KINDS = (
    "identity",
    "relu",
    "leaky_relu",
    "relu6",
    "elu",
    "tanh",
    "sigmoid",
    "silu",
    "gelu",
    "gelu_tanh",
    "softplus",
    "sin",
)
#: The parameter of a kind that has one, its default, and its limits.
_PARAMETERS: dict[str, tuple[str, float, dict[str, float]]] = {
    "leaky_relu": ("slope", 0.01, {"at_least": 0.0, "at_most": 1.0}),
    "elu": ("alpha", 1.0, {"above": 0.0}),
}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True, repr=False)
class Activation:
    """A scalar function, applied to every element. Use :func:`get` to make one.

    Attributes
    ----------
    name : str
        The name that :func:`get` accepts, with its parameters: ``"leaky_relu(0.01)"``.
    kind : int
        The code of the base function in the compiled core.
    parameter : float
        The slope of leaky_relu, the alpha of elu, else 0.
    mix : float
        The function is ``mix * z + (1 - mix) * base(z)``.
    lipschitz : float
        The largest size of the slope.
    slope_range : tuple of float
        The infimum and the supremum of the slope.
    curvature : float
        The Lipschitz constant of the slope, the largest size of the second derivative; inf if the
        slope jumps.
    supremum : float
        The supremum of the size of the function.
    at_zero : float
        The value at zero, rounded away from zero.
    homogeneity_range : tuple of float
        The infimum and the supremum of ``phi(z) - z phi'(z)``, which is zero for homogeneous
        functions.
    smooth : bool
        Whether the curvature is finite.

    References
    ----------
    rate-constraints.md, section 1.1; large-stepsize.md, section 1.1.
    """

    name: str
    kind: int
    parameter: float
    mix: float
    lipschitz: float
    slope_range: tuple[float, float]
    curvature: float
    supremum: float
    at_zero: float
    homogeneity_range: tuple[float, float]

    @property
    def smooth(self) -> bool:
        """Whether the slope is Lipschitz continuous."""
        return math.isfinite(self.curvature)

    def __repr__(self) -> str:
        return f"activations.get({self.name!r})"

    def __str__(self) -> str:
        return self.name

    def __call__(self, z: ArrayLike) -> FloatArray:
        """Return the function of every element.

        Parameters
        ----------
        z : array_like
            Real numbers, of any shape. float32 stays float32, all else becomes float64.

        Returns
        -------
        ndarray
            An array of the shape of ``z``.

        Examples
        --------
        >>> import lipgd
        >>> lipgd.activations.get("relu")([-1.0, 2.0])
        array([0., 2.])
        """
        return self._jet(z)[0]

    def slope(self, z: ArrayLike) -> FloatArray:
        """Return the derivative at every element, at a kink the one that PyTorch takes.

        Parameters
        ----------
        z : array_like
            Real numbers, of any shape. float32 stays float32, all else becomes float64.

        Returns
        -------
        ndarray
            An array of the shape of ``z``.

        Examples
        --------
        >>> import lipgd
        >>> lipgd.activations.get("relu").slope([-1.0, 0.0, 2.0])
        array([0., 0., 1.])
        """
        return self._jet(z)[1]

    def second_derivative(self, z: ArrayLike) -> FloatArray:
        """Return the second derivative at every element, zero at a kink.

        Parameters
        ----------
        z : array_like
            Real numbers, of any shape. float32 stays float32, all else becomes float64.

        Returns
        -------
        ndarray
            An array of the shape of ``z``.

        Examples
        --------
        >>> import lipgd
        >>> lipgd.activations.get("softplus").second_derivative([0.0])
        array([0.25])
        """
        return self._jet(z)[2]

    def _jet(self, z: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        array = np.asarray(z)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"z has dtype {array.dtype}, expected real numbers")
        dtype: type[np.floating[Any]] = np.float32 if array.dtype == np.float32 else np.float64
        flat = np.ascontiguousarray(array, dtype=dtype).reshape(-1)
        value, slope, curvature = _core.activate(self.kind, self.parameter, self.mix, flat)
        shape = array.shape
        return value.reshape(shape), slope.reshape(shape), curvature.reshape(shape)


def names() -> tuple[str, ...]:
    """Return the names of all base activations.

    Examples
    --------
    >>> import lipgd
    >>> "silu" in lipgd.activations.names()
    True
    """
    return _KINDS


def get(name: str | Activation, **parameters: float) -> Activation:
    """Return an activation by its name.

    Parameters
    ----------
    name : str or Activation
        One of :func:`names`. It may carry its parameters: ``"leaky_relu(0.2)"``, ``"elu(1.0)"``,
        ``"leaky(softplus, 0.5)"``. An Activation is returned as it is.
    **parameters : float
        ``slope`` of leaky_relu, from 0 to 1 (default 0.01); ``alpha`` of elu, above 0 (default 1).

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If the name or the value of a parameter is not accepted.
    TypeError
        If a parameter is not one of this activation, or stated twice.

    Examples
    --------
    >>> import lipgd
    >>> lipgd.activations.get("silu").slope_range
    (-0.09983932012886693, 1.099839320128867)
    >>> lipgd.activations.get("leaky_relu", slope=0.2).name
    'leaky_relu(0.2)'
    """
    if isinstance(name, Activation):
        _refuse(name.name, parameters)
        return name
    text = str(name)
    if mixed := re.fullmatch(rf"leaky\((.+), *({_NUMBER})\)", text):
        _refuse(text, parameters)
        return leaky(mixed[1], float(mixed[2]))
    stated = re.fullmatch(rf"(\w+)\(({_NUMBER})\)", text)
    if stated and stated[1] in _PARAMETERS:
        _refuse(text, parameters)
        name, parameters = stated[1], {_PARAMETERS[stated[1]][0]: float(stated[2])}
    kind = choice("activation", name, _KINDS)
    if kind not in _PARAMETERS:
        _refuse(kind, parameters)
        return _base(kind)
    parameter, value, limits = _PARAMETERS[kind]
    value = parameters.pop(parameter, value)
    _refuse(kind, parameters)
    return _base(kind, number(parameter, value, **limits))


def leaky(base: str | Activation, c: float) -> Activation:
    """Return ``c * z + (1 - c) * base(z)``.

    Parameters
    ----------
    base : str or Activation
        A smooth activation.
    c : float
        From 0 to 1.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If the base is not smooth, or ``c`` is outside [0, 1].

    References
    ----------
    large-stepsize.md, section 1.1 ("Leaky variants").

    Examples
    --------
    >>> import lipgd
    >>> lipgd.activations.leaky("softplus", 0.5).slope_range
    (0.5, 1.0)
    """
    inner = get(base)
    c = number("c", c, at_least=0.0, at_most=1.0)
    if not inner.smooth:
        raise ValueError(f"base is {inner.name}, expected a smooth activation")
    if inner.mix:
        raise ValueError(f"base is {inner.name}, expected an activation that is not leaky already")
    if c == 0.0:
        return inner
    if c == 1.0:
        return get("identity")
    share = Fraction(c)
    rest = 1 - share
    low, high = inner.slope_range
    slopes = below(share + rest * Fraction(low)), above(share + rest * Fraction(high))
    lowest, highest = inner.homogeneity_range
    return Activation(
        name=f"leaky({inner.name}, {c!r})",
        kind=inner.kind,
        parameter=inner.parameter,
        mix=c,
        lipschitz=max(abs(slopes[0]), abs(slopes[1])),
        slope_range=slopes,
        curvature=above(rest * Fraction(inner.curvature)),
        supremum=math.inf,
        at_zero=above(rest * Fraction(inner.at_zero)),
        homogeneity_range=(
            lowest if math.isinf(lowest) else below(rest * Fraction(lowest)),
            highest if math.isinf(highest) else above(rest * Fraction(highest)),
        ),
    )


def _base(kind: str, parameter: float = 0.0) -> Activation:
    known = constants(kind, parameter)
    return Activation(
        name=f"{kind}({parameter!r})" if kind in _PARAMETERS else kind,
        kind=_KINDS.index(kind),
        parameter=parameter,
        mix=0.0,
        lipschitz=max(abs(slope) for slope in known.slope_range),
        slope_range=known.slope_range,
        curvature=known.curvature,
        supremum=known.supremum,
        at_zero=known.at_zero,
        homogeneity_range=known.homogeneity_range,
    )


def _refuse(name: str, parameters: dict[str, float]) -> None:
    if parameters:
        given = next(iter(parameters))
        known = _PARAMETERS[name][0] if name in _PARAMETERS else "none"
        raise TypeError(f"{given} is not a parameter of {name}, expected {known}")
