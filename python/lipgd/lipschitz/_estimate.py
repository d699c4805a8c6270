"""What is known of a Lipschitz constant from one side."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lipgd.lipschitz._certificate import Certificate
from lipgd.types import FloatArray

__all__ = ["Estimate"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number that a Lipschitz constant is not above, or not below.

    Attributes
    ----------
    value : float
        The number; nan if nothing was proved, and then ``reason`` says why.
    side : str
        ``"upper"`` or ``"lower"``.
    scope : str
        ``"global"``, or ``"local"`` for a constant on a domain.
    method : str
        How it was found.
    rigorous : bool
        Whether it holds for the stored weights with every rounding error counted.
    witness : tuple of ndarray or None
        What attains a lower value: a point, at which the Jacobian has at least this norm, or two
        points, whose outputs differ by at least so many times their distance.
    multipliers : list of ndarray or None
        What proves an upper value, see :mod:`lipgd.lipschitz`; zero for neurons that never act.
    bracket : tuple of float or None
        Two numbers that enclose what the method computes: the optimum of LipSDP-Neuron for
        ``"sdp"``, the largest norm over all slopes for ``"branch_and_bound"``. The second is the
        value; how far the first is below it shows what more time could gain.
    seconds : float
        The time it took.
    reason : str or None
        Why there is no value, or why a better method was not used.
    certificate : Certificate or None
        What ``"sdp"`` and ``"closed_form"`` rest on, with room for any scale of the weights.

    Examples
    --------
    >>> from lipgd.lipschitz import Estimate
    >>> float(Estimate(2.5, "upper", "global", "product", True))
    2.5
    """

    value: float
    side: str
    scope: str
    method: str
    rigorous: bool
    witness: tuple[FloatArray, ...] | None = None
    multipliers: list[npt.NDArray[np.float64]] | None = field(default=None, repr=False)
    bracket: tuple[float, float] | None = None
    seconds: float = 0.0
    reason: str | None = None
    certificate: Certificate | None = field(default=None, repr=False)

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        what = f"{self.side} {self.scope} {self.method}"
        if self.value != self.value:
            return f"{what}: not certified, {self.reason}"
        proof = "proved in floating point" if self.rigorous else "up to rounding"
        return f"{what}: {self.value:.9g} ({proof}, {self.seconds:.3g} s)"
