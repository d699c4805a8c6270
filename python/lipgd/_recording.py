"""How the record of the Lipschitz dynamics is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lipgd._check import flag, integer, number

__all__ = ["Recording"]


@dataclass(frozen=True)
class Recording:
    """How :func:`lipgd.train` measures the record ``lipschitz_dynamics`` at its rows.

    Parameters
    ----------
    movement : float, optional
        Measure at the first and last row, and in between only where a layer has moved by more than
        this share of its norm since it was measured (dynamics.md, section 11): 0.02 errs by 0.3 %
        of the change of Z or less, 0.05 by 1 %. The other rows hold NaN. Use it with a small
        ``record_every``. By default every row is measured.
    probe_size : int, optional
        Measure on so many samples, drawn afresh each time, instead of all (5.2).
    diagonal : bool
        Whether the diagonal parts of the noise are measured, too (5.4).
    seed : int
        Seed of the probes.

    Examples
    --------
    >>> from lipgd.dynamics import Recording
    >>> Recording(movement=0.02).probe_size is None
    True
    """

    movement: float | None = None
    probe_size: int | None = None
    diagonal: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.movement is not None:
            number("movement", self.movement, above=0.0)
        if self.probe_size is not None:
            integer("probe_size", self.probe_size, at_least=2)
        flag("diagonal", self.diagonal)
        integer("seed", self.seed, at_least=0)

    def facts(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        return {
            "movement": self.movement,
            "probe_size": self.probe_size,
            "diagonal": self.diagonal,
            "seed": self.seed,
        }
