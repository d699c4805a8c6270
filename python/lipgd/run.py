"""What a training leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lipgd._recording import Recording
from lipgd.constraints import LipschitzTarget, RateCaps
from lipgd.history import History
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import DoubleArray

__all__ = ["Run", "Settings", "Snapshot"]


@dataclass(frozen=True, eq=False)
class Settings:
    """The resolved arguments of a training.

    Attributes
    ----------
    loss : Loss
        The loss.
    steps : int
        The steps that were asked for.
    rates : dict of str to ndarray, shape (steps,)
        The learning rates of every trained parameter, read-only.
    constraint, update, momentum, nesterov, clip_norm, proximal
        As given to :func:`lipgd.train`.
    weight_decay, tolerance, frozen, record, record_every
        As given too; weight decay by parameter name.
    batch_size, sampling, shuffle_seed
        The batches; a batch size of None is the full batch.
    weighted : bool
        Whether samples had different weights.
    dynamics : Recording or None
        How the record ``lipschitz_dynamics`` was measured, if it was.
    """

    loss: Loss
    steps: int
    rates: dict[str, DoubleArray] = field(repr=False)
    constraint: LipschitzTarget | RateCaps | None
    update: str
    momentum: float
    nesterov: bool
    clip_norm: float | Mapping[str, float] | None
    proximal: dict[str, tuple[str, float]] | None
    weight_decay: dict[str, float]
    tolerance: float
    frozen: tuple[str, ...]
    record: tuple[str, ...]
    record_every: int
    batch_size: int | None
    sampling: str
    shuffle_seed: int
    weighted: bool
    dynamics: Recording | None = None

    def facts(self) -> dict[str, Any]:
        """Return what JSON can hold of the settings: all but the rates."""
        return {
            "loss": self.loss.name,
            "steps": self.steps,
            "constraint": repr(self.constraint),
            "update": self.update,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "clip_norm": repr(self.clip_norm),
            "proximal": repr(self.proximal),
            "weight_decay": self.weight_decay,
            "tolerance": self.tolerance,
            "frozen": list(self.frozen),
            "record": list(self.record),
            "record_every": self.record_every,
            "batch_size": self.batch_size,
            "sampling": self.sampling,
            "shuffle_seed": self.shuffle_seed,
            "weighted": self.weighted,
            "dynamics": None if self.dynamics is None else self.dynamics.facts(),
        }


@dataclass(frozen=True, eq=False)
class Run:
    """The outcome of :func:`lipgd.train`.

    Attributes
    ----------
    network : Network
        The network after the last step, or the last good one if the training diverged.
    initial : Network
        The network before the first step.
    settings : Settings
        The resolved arguments.
    history : History
        The recorded quantities.
    status : str
        ``"finished"``, ``"converged"`` (the gradient's norm reached the tolerance), ``"diverged"``
        or ``"interrupted"`` (by Ctrl-C or the callback).
    steps : int
        The number of steps that led to ``network``.
    seconds : float
        Time spent, including resumed parts.
    message : str
        The status as a sentence.
    """

    network: Network
    initial: Network
    settings: Settings
    history: History
    status: str
    steps: int
    seconds: float
    message: str

    def __repr__(self) -> str:
        return f"Run({self.status} after {self.steps} steps, {self.seconds:.3g} s: {self.message})"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a running training, as a callback sees it.

    Attributes
    ----------
    step : int
        The number of steps taken.
    steps : int
        The number of steps asked for.
    seconds : float
        Time spent so far.
    network : Network
        The network now.
    history : History
        The rows recorded so far.
    """

    step: int
    steps: int
    seconds: float
    network: Network
    history: History
