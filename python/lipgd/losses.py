"""Losses with the constants that bounds use.

Every loss is a mean over the outputs (cross entropy: over none) and the risk is its mean over the
samples. See rate-constraints.md, section 1.2.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from lipgd._check import choice, integer, number

__all__ = ["Loss", "get", "names"]

#: In the order of the C++ enumeration.
_KINDS = ("mse", "huber", "logistic", "cross_entropy")
#: The parameter of a loss, if it has one, and its default.
_PARAMETERS = {"huber": ("delta", 1.0), "cross_entropy": ("label_smoothing", 0.0)}
#: What a parameter may be.
_LIMITS: dict[str, dict[str, float]] = {
    "huber": {"above": 0},
    "cross_entropy": {"at_least": 0, "below": 1},
}


@dataclass(frozen=True)
class Loss:
    """A loss of one sample. Use :func:`get` to make one.

    Attributes
    ----------
    kind : str
        One of :func:`names`.
    parameter : float
        The threshold delta of ``huber``, the label smoothing of ``cross_entropy``, else 0.
    """

    kind: str
    parameter: float = 0.0

    def __post_init__(self) -> None:
        choice("loss", self.kind, _KINDS)
        name, _ = _PARAMETERS.get(self.kind, ("parameter", 0.0))
        limits = _LIMITS.get(self.kind, {"at_least": 0, "at_most": 0})
        object.__setattr__(self, "parameter", number(name, self.parameter, **limits))

    @property
    def name(self) -> str:
        """The name that :func:`get` accepts, with the parameter: ``"huber(0.5)"``."""
        return f"{self.kind}({self.parameter!r})" if self.kind in _PARAMETERS else self.kind

    @property
    def residual(self) -> bool:
        """Whether the derivative is bounded by a multiple of ``|f - y|``: mse and huber."""
        return self.kind in ("mse", "huber")

    @property
    def takes_labels(self) -> bool:
        """Whether ``y`` holds one integer label per sample instead of one value per output."""
        return self.kind == "cross_entropy"

    def lipschitz(self, n_outputs: int) -> float:
        """Return the Lipschitz constant in the outputs, rounded up; inf for mse.

        It is ``delta / sqrt(D)`` for huber, ``1 / sqrt(D)`` for logistic and ``sqrt(2)`` for
        cross_entropy, with ``D`` outputs (rate-constraints.md, section 1.2).

        Examples
        --------
        >>> import lipgd
        >>> lipgd.losses.get("huber", delta=0.5).lipschitz(1)
        0.5
        """
        n_outputs = integer("n_outputs", n_outputs, at_least=1)
        if self.kind == "mse":
            return math.inf
        if self.kind == "cross_entropy":
            return math.nextafter(math.sqrt(2.0), math.inf)
        bound = self.parameter if self.kind == "huber" else 1.0
        if n_outputs == 1:
            return bound
        return math.nextafter(bound / math.sqrt(n_outputs) * (1 + 2**-52), math.inf)

    def smoothness(self, n_outputs: int) -> float:
        """Return the Lipschitz constant of the derivative in the outputs, rounded up.

        It is ``2 / D`` for mse, ``1 / D`` for huber, ``1 / (4 D)`` for logistic and ``1 / 2`` for
        cross_entropy (rate-constraints.md, section 1.2).

        Examples
        --------
        >>> import lipgd
        >>> lipgd.losses.get("mse").smoothness(4)
        0.5
        """
        n_outputs = integer("n_outputs", n_outputs, at_least=1)
        if self.kind == "cross_entropy":
            return 0.5
        constant = {"mse": 2.0, "huber": 1.0, "logistic": 0.25}[self.kind]
        quotient = constant / n_outputs
        exact = quotient * n_outputs == constant and math.frexp(n_outputs)[0] == 0.5
        return quotient if exact else math.nextafter(quotient, math.inf)

    @property
    def _code(self) -> tuple[int, float]:
        return _KINDS.index(self.kind), self.parameter


def names() -> tuple[str, ...]:
    """Return the names of all losses.

    Examples
    --------
    >>> import lipgd
    >>> lipgd.losses.names()
    ('mse', 'huber', 'logistic', 'cross_entropy')
    """
    return _KINDS


def get(name: str | Loss, **parameters: float) -> Loss:
    """Return a loss by its name.

    Parameters
    ----------
    name : str or Loss
        ``"mse"`` (squared error), ``"huber"``, ``"logistic"`` (labels -1 and +1) or
        ``"cross_entropy"`` (softmax, integer labels); a name may carry its parameter, as in
        ``"huber(0.5)"``. A Loss is returned as it is.
    **parameters : float
        ``delta`` of huber, above 0 (default 1); ``label_smoothing`` of cross_entropy, from 0 to
        below 1 (default 0).

    Returns
    -------
    Loss

    Examples
    --------
    >>> import lipgd
    >>> lipgd.losses.get("huber", delta=0.5)
    Loss(kind='huber', parameter=0.5)
    """
    if isinstance(name, Loss):
        if parameters:
            raise TypeError(f"{min(parameters)} is given beside a Loss, expected a name")
        return name
    kind, parameters = _split(name, parameters)
    choice("loss", kind, _KINDS)
    known, default = _PARAMETERS.get(kind, ("", 0.0))
    unknown = sorted(set(parameters) - {known})
    if unknown:
        expected = f"expected {known}" if known else "expected no parameter"
        raise TypeError(f"{unknown[0]} is not a parameter of the loss {kind}, {expected}")
    return Loss(kind, parameters.get(known, default))


def _split(name: Any, parameters: dict[str, float]) -> tuple[str, dict[str, float]]:
    match = re.fullmatch(r"(\w+)\((.+)\)", name) if isinstance(name, str) else None
    if match is None or match[1] not in _PARAMETERS or parameters:
        return name, parameters
    try:
        return match[1], {_PARAMETERS[match[1]][0]: float(match[2])}
    except ValueError:
        return name, parameters
