"""What is known of a training before anything is bounded: its records, its ends, its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._arguments import finite_inputs_of, targets_of
from .._check import number
from .._risk import risk
from ..constraints import LipschitzTarget, RateCaps
from ..losses import Loss
from ..network import Network
from ..run import Run
from ..theory import rate_constraints
from ..theory.initialization import Law
from ..theory.rate_constraints import Quantities
from ..training import train
from ..types import ArrayLike, DoubleArray

__all__ = ["Box", "Evidence", "gather"]

#: What every row shows, if it was recorded, and both ends in any case.
_MEASURED = ("risk", "gradient_norm", "lipschitz_upper", "lipschitz_lower")
#: How far two evaluations of the same risk may differ: float32 on another machine.
_SAME = 1e-4

#: Lower and upper ends of the samples, then of the targets.
Box = tuple[tuple[DoubleArray, DoubleArray], tuple[DoubleArray, DoubleArray]]


@dataclass(frozen=True)
class Evidence:
    """A training with its data, and what was measured at each of the rows of the report."""

    run: Run
    X: ArrayLike
    y: ArrayLike
    test: tuple[ArrayLike, ArrayLike] | None
    sample_weight: ArrayLike | None
    delta: float
    caps: RateCaps | None  #: the conditions to judge by
    law: Law | None
    box: Box
    box_given: bool
    quantities: Quantities  #: of the initial network
    step: npt.NDArray[np.int64]
    measured: dict[str, DoubleArray]

    @property
    def loss(self) -> Loss:
        """The loss of the training."""
        return self.run.settings.loss

    @property
    def target(self) -> LipschitzTarget | None:
        """The Lipschitz target of the training, if it has one."""
        constraint = self.run.settings.constraint
        return constraint if isinstance(constraint, LipschitzTarget) else None

    @property
    def enforced(self) -> bool:
        """Whether the conditions to judge by are those that the training obeyed."""
        return self.caps is not None and self.caps is self.run.settings.constraint

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that were trained."""
        frozen = self.run.settings.frozen
        return tuple(name for name in self.quantities.names if name not in frozen)

    def recorded(self, name: str) -> DoubleArray | None:
        """Return a column of the history on the rows of the report, NaN where it has no row."""
        history = self.run.history
        if name not in history:
            return None
        values = np.full(len(self.step), np.nan)
        values[np.searchsorted(self.step, history.step)] = history[name]
        return values


def gather(
    run: Run,
    X: ArrayLike,
    y: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None,
    delta: float,
    sample_weight: ArrayLike | None,
    caps: RateCaps | None,
    law: Law | str | None,
    box: Sequence[Sequence[ArrayLike]] | None,
) -> Evidence:
    """Check the arguments of :func:`guarantees` and measure what the records do not have."""
    if not isinstance(run, Run):
        raise TypeError(f"run is {type(run).__name__}, expected what lipgd.train returned")
    number("delta", delta, above=0.0, below=1.0)
    constraint = run.settings.constraint
    if caps is None and isinstance(constraint, RateCaps):
        caps = constraint
    if caps is not None and not isinstance(caps, RateCaps):
        raise TypeError(f"caps is {caps!r}, expected RateCaps")
    n_samples = run.history.meta.get("n_samples")
    x = finite_inputs_of("X", X, run.initial.n_inputs, run.initial.dtype)
    if n_samples is not None and len(x) != n_samples:
        raise ValueError(f"X has {len(x)} samples, but the run was trained on {n_samples}")
    loss = run.settings.loss
    quantities = rate_constraints.measure(run.initial, X, y, loss, sample_weight)
    if test is not None:
        _check_test(test, run.initial, loss)
    step: npt.NDArray[np.int64] = np.union1d(run.history.step, [0, run.steps]).astype(np.int64)
    evidence = Evidence(
        run=run,
        X=X,
        y=y,
        test=test,
        sample_weight=sample_weight,
        delta=delta,
        caps=caps,
        law=_law_of(law, caps, run.initial, delta),
        box=_box_of(box, run.initial, loss, (X, y), test),
        box_given=box is not None,
        quantities=quantities,
        step=step,
        measured={},
    )
    _measure(evidence)
    return evidence


def _measure(evidence: Evidence) -> None:
    """Fill in the records, and both ends of the training where there are none."""
    run, measured = evidence.run, evidence.measured
    for name in _MEASURED:
        values = evidence.recorded(name)
        measured[name] = np.full(len(evidence.step), np.nan) if values is None else values
    ends = {0: run.initial, len(evidence.step) - 1: run.network}
    for row, net in ends.items():
        missing = [name for name in _MEASURED if np.isnan(measured[name][row])]
        found = _state_of(evidence, net, missing)
        if row == 0:
            _check_start(evidence, found)
        for name in missing:
            measured[name][row] = found[name]
    measured["test_risk"] = _test_risk(evidence)


def _state_of(evidence: Evidence, net: Network, names: list[str]) -> dict[str, float]:
    """Return quantities of a network as a history has them, and its risk."""
    run = evidence.run
    state = train(
        net,
        evidence.X,
        evidence.y,
        loss=evidence.loss,
        steps=0,
        frozen=run.settings.frozen,
        sample_weight=evidence.sample_weight,
        record=("risk", *names),
    ).history
    return {name: float(state[name][-1]) for name in state}


def _check_start(evidence: Evidence, found: dict[str, float]) -> None:
    """Raise if the data are not those of the training, as far as the risk can tell."""
    before, now = float(evidence.measured["risk"][0]), found["risk"]
    if np.isfinite(before) and abs(before - now) > _SAME * max(abs(before), 1e-30):
        raise ValueError(
            f"X, y and sample_weight give the initial network the risk {now:.6g}, but the run has "
            f"recorded {before:.6g}, expected the data that it was trained on"
        )


def _test_risk(evidence: Evidence) -> DoubleArray:
    """Return the risk on other data: at both ends, or at all rows if the run recorded it."""
    validation, run = evidence.recorded("validation_risk"), evidence.run
    if evidence.test is None:
        return np.full(len(evidence.step), np.nan) if validation is None else validation
    values = np.full(len(evidence.step), np.nan)
    for row, net in ((0, run.initial), (-1, run.network)):
        values[row] = risk(net, *evidence.test, evidence.loss)
    if validation is None or not np.allclose(validation[[0, -1]], values[[0, -1]], _SAME):
        return values
    return validation


def _check_test(test: object, net: Network, loss: Loss) -> None:
    if not isinstance(test, (tuple, list)) or len(test) != 2:
        raise TypeError(f"test is {type(test).__name__}, expected a pair (X, y)")
    x = finite_inputs_of("test[0]", test[0], net.n_inputs, net.dtype)
    targets_of("test[1]", test[1], loss, len(x), net.n_outputs, net.dtype, "test[0]")


def _law_of(law: Law | str | None, caps: RateCaps | None, net: Network, delta: float) -> Law | None:
    """Return the law given, that of the caps, or that which the network was drawn from."""
    if law is None and caps is not None and caps.initial != "given":
        law = caps.initial
    if law is None:
        law = net.init
    if isinstance(law, str):
        return Law(law, delta)
    if law is not None and not isinstance(law, Law):
        raise TypeError(f"law is {law!r}, expected a Law or the name of an initialization")
    return law


def _box_of(
    box: Sequence[Sequence[ArrayLike]] | None,
    net: Network,
    loss: Loss,
    data: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike] | None,
) -> Box:
    """Return the box that samples and targets lie in: the one given, or the least that does."""
    pairs = [data] if test is None else [data, test]
    points = [np.asarray(x).reshape(-1, net.n_inputs) for x, _ in pairs]
    values = [_targets(y, net, loss) for _, y in pairs]
    if box is None:
        return _ends(points), _ends(values)
    if len(box) != 2 or any(len(part) != 2 for part in box):
        raise TypeError("box has another form, expected ((X low, X high), (y low, y high))")
    given = []
    for name, part, inside in zip(("X", "y"), box, (points, values), strict=True):
        width = inside[0].shape[1]
        low, high = (np.broadcast_to(np.asarray(end, np.float64), width) for end in part)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise ValueError(f"box has the ends {part!r} of {name}, expected finite low <= high")
        if any((rows < low).any() or (rows > high).any() for rows in inside):
            raise ValueError(f"box does not hold all of {name}, expected a box around the data")
        given.append((low, high))
    return given[0], given[1]


def _targets(y: ArrayLike, net: Network, loss: Loss) -> DoubleArray:
    """Return targets as rows; those of a classification are signs or one of the labels."""
    if loss.takes_labels:
        return np.stack([np.zeros(net.n_outputs), np.ones(net.n_outputs)])
    if loss.kind == "logistic":
        return np.stack([-np.ones(net.n_outputs), np.ones(net.n_outputs)])
    values: Any = np.asarray(y, np.float64)
    rows: DoubleArray = values.reshape(-1, net.n_outputs)
    return rows


def _ends(parts: list[npt.NDArray[Any]]) -> tuple[DoubleArray, DoubleArray]:
    lows = np.min([part.min(axis=0) for part in parts], axis=0)
    highs = np.max([part.max(axis=0) for part in parts], axis=0)
    return lows.astype(np.float64), highs.astype(np.float64)
