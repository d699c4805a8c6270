"""When the phases of a training with a large stepsize begin, seen and proved."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lipgd._arguments import finite_inputs_of, targets_of
from lipgd._check import shown
from lipgd._risk import risk
from lipgd.history import History
from lipgd.margins._bounds import Prediction, predictions
from lipgd.margins._reasons import REASONS, constant_stepsize, predictor_reasons, step_reasons
from lipgd.run import Run
from lipgd.theory import large_stepsize
from lipgd.theory.large_stepsize import Constants
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["Phases", "phases"]

#: Rises of the logarithm of the risk up to this are rounding, by precision.
_TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
#: How far two evaluations of the same risk may differ: float32 on another machine.
_SAME = 1e-4

_WORDS = {
    "observed": "no rise of the risk is recorded from",
    "certified": "the risk is proved never to rise again from (Theorem 1)",
    "spectral": "the same by the spectrum of the data (Theorem 2)",
    "margin": "the modified margin is proved never to fall again from (Theorem 3)",
    "paper": "the risk is below the threshold of the paper, 1 / (eta (2 rho^2 + beta)), from",
}


@dataclass(frozen=True, eq=False)
class Phases:
    """The phases of a training; what is None has its reasons. ``str`` of it is a summary.

    Attributes
    ----------
    observed : int
        The first recorded step after which the recorded risk never rises. It says nothing about
        steps that were not recorded.
    certified, spectral : int or None
        The first recorded step from which on the risk is proved never to rise, by Theorem 1 and by
        Theorem 2.
    margin : int or None
        The first recorded step from which on the modified margin is proved never to fall and the
        norm and the risk are monotone, by Theorem 3.
    paper : int or None
        The first recorded step with a risk of at most ``1 / (eta (2 rho^2 + beta))``, the threshold
        of arXiv 2406.08654.
    transition_time : float or None
        tau of Theorem 6: before the step ``ceil(tau)`` the stable phase has begun.
    risk_bounds : dict of str to ndarray, shape (n_rows,)
        By theorem, bounds on the rows of the history; NaN on rows that a theorem does not reach.
        ``average_risk_theorem5`` and ``average_slope_theorem6`` bound the means of risk and slope
        over all earlier steps; ``risk_before_theorem6`` and ``risk_theorem7`` bound the risk by
        what is known before the training; ``risk_theorem6`` and ``risk_theorem4`` from the
        certificates of risk and margin on.
    constants : Constants or None
        rho, beta, kappa and the other constants of the network.
    reasons : dict of str to tuple of str
        For every statement that is not made, the codes of :data:`REASONS`.
    stepsize : float or None
        eta.

    References
    ----------
    large-stepsize.md, sections 3 to 6.
    """

    observed: int
    certified: int | None
    spectral: int | None
    margin: int | None
    paper: int | None
    transition_time: float | None
    risk_bounds: dict[str, DoubleArray] = field(repr=False)
    constants: Constants | None = field(repr=False)
    reasons: dict[str, tuple[str, ...]]
    stepsize: float | None = None

    @property
    def stable(self) -> int | None:
        """The earlier one of ``certified`` and ``spectral``."""
        known = [step for step in (self.certified, self.spectral) if step is not None]
        return min(known) if known else None

    def __str__(self) -> str:
        lines = []
        for name, words in _WORDS.items():
            step = getattr(self, name)
            lines.append(
                f"{name:<24}{words} step {step:,}" if step is not None else self._not(name)
            )
        if self.transition_time is None:
            lines.append(self._not("transition_time"))
        else:
            time = f"{np.ceil(self.transition_time):,.0f}"
            lines.append(f"{'transition time':<24}the stable phase begins before step {time}")
        for name in _BOUNDS:
            if name not in self.risk_bounds:
                lines.append(self._not(name))
        return "\n".join(lines)

    def _not(self, name: str) -> str:
        why = "; ".join(REASONS[code] for code in self.reasons[name])
        return f"{name.replace('_', ' '):<24}not certified: {why}"


_BOUNDS = (
    "average_risk_theorem5",
    "average_slope_theorem6",
    "risk_before_theorem6",
    "risk_theorem6",
    "risk_theorem7",
    "risk_theorem4",
)


def phases(run: Run, X: ArrayLike, y: ArrayLike) -> Phases:
    """Return the phases of a training with a constant stepsize, from its history.

    Parameters
    ----------
    run : Run
        What :func:`lipgd.train` returned with ``"log_risk"`` or ``"risk"`` among its records.
    X : array_like, shape (n_samples, n_inputs)
        The samples that it was trained on.
    y : array_like, shape (n_samples,)
        Their labels, -1 or +1.

    Returns
    -------
    Phases
        A certificate is about exact arithmetic; where steps change the risk by less than rounding
        does, the computed risk may rise by that much.

    Raises
    ------
    TypeError, ValueError
        If the data are not those of the run, or the history has neither record.

    References
    ----------
    large-stepsize.md, sections 3 to 6.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> X, y = np.array([[1.0, 0.2], [-0.4, 1.0]]), np.array([1.0, -1.0])
    >>> signs = np.array([[1.0, -1.0, 1.0, -1.0]])
    >>> net = lipgd.Network([np.zeros((4, 2)), signs], None, "leaky(softplus, 0.5)", 0.25)
    >>> run = lipgd.train(net, X, y, loss="logistic", rate=100.0, steps=2000, frozen=["W2"])
    >>> found = lipgd.margins.phases(run, X, y)
    >>> found.observed <= found.certified <= found.paper, found.reasons["risk_theorem7"]
    (True, ('stepsize of another length',))
    """
    if not isinstance(run, Run):
        raise TypeError(f"run is {shown(run)}, expected what lipgd.train returned")
    samples, labels = _data(run, X, y)
    logs = _log_risks(run)
    _check_start(run, samples, labels, logs)
    steps = run.history.step
    tolerance = _TOLERANCE[str(run.initial.dtype)]
    observed = int(steps[large_stepsize.observed_row(logs, tolerance)])
    predictor = predictor_reasons(run)
    moved = step_reasons(run.settings, run.steps)
    found = None
    if not any(code != "loss" for code in predictor):
        found = large_stepsize.constants(run.initial, samples, run.settings.frozen or ("W2",))
    reasons = (*predictor, *moved)
    if found is None or reasons:
        names = ("certified", "spectral", "margin", "paper", "transition_time", *_BOUNDS)
        none = dict.fromkeys(names, reasons)
        return Phases(observed, None, None, None, None, None, {}, found, none)
    return _detect(run, samples, labels, logs, observed, found)


def _detect(run: Run, X: Any, y: Any, logs: DoubleArray, observed: int, found: Constants) -> Phases:
    eta, steps = constant_stepsize(run.settings), run.history.step
    rows = {
        "certified": large_stepsize.certified_row(found, eta, logs),
        "spectral": large_stepsize.spectral_row(found, eta, logs),
        "margin": large_stepsize.margin_row(found, eta, logs),
        "paper": large_stepsize.paper_row(found, eta, logs),
    }
    smooth = np.isfinite(found.curvature_bound)
    late: tuple[str, ...] = ("not reached in the record",) if smooth else ("not smooth",)
    reasons = {name: late for name, row in rows.items() if row is None}
    certain = rows["certified"] is not None or rows["spectral"] is not None
    if rows["margin"] is None:
        reasons["margin"] = _margin_reasons(found, certain, late)
    told: Prediction = predictions(run, X, y, logs, found, eta, rows)
    found_steps = {name: None if row is None else int(steps[row]) for name, row in rows.items()}
    return Phases(
        observed=observed,
        transition_time=told.transition_time,
        risk_bounds=told.bounds,
        constants=found,
        reasons={**reasons, **told.reasons(certain, late, reasons.get("margin", ()))},
        stepsize=eta,
        **found_steps,
    )


def _margin_reasons(found: Constants, certain: bool, late: tuple[str, ...]) -> tuple[str, ...]:
    if math.isinf(found.homogeneity_gap):
        return ("not near-homogeneous",)
    return ("kappa too large for the margin",) if certain else late


def _data(run: Run, X: ArrayLike, y: ArrayLike) -> tuple[Any, Any]:
    net = run.initial
    samples = finite_inputs_of("X", X, net.n_inputs, net.dtype)
    expected = run.history.meta.get("n_samples")
    if expected is not None and len(samples) != expected:
        raise ValueError(f"X has {len(samples)} samples, but the run was trained on {expected}")
    values, labels = targets_of("y", y, run.settings.loss, len(samples), net.n_outputs, net.dtype)
    return samples, labels if values is None else values


def _log_risks(run: Run) -> DoubleArray:
    history: History = run.history
    if "log_risk" in history:
        return np.asarray(history["log_risk"], np.float64)
    if "risk" not in history:
        recorded = ", ".join(history.columns) or "nothing"
        raise ValueError(f"run has recorded {recorded}, expected 'log_risk' or 'risk'")
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(history["risk"], np.float64))


def _check_start(run: Run, X: Any, y: Any, logs: DoubleArray) -> None:
    """Raise if the data are not those of the training, as far as the first risk can tell."""
    if run.settings.weighted or not len(logs) or run.history.step[0] != 0:
        return
    now = risk(run.initial, X, y, run.settings.loss)
    before = math.exp(min(float(logs[0]), 700.0))
    if math.isfinite(before) and abs(before - now) > _SAME * max(abs(before), 1e-30):
        raise ValueError(
            f"X and y give the initial network the risk {now:.6g}, but the run has recorded "
            f"{before:.6g}, expected the data that it was trained on"
        )
