"""What goes wrong, by name: the signs of failure that a training leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .._risk import risk
from ..lipschitz import spectral_norm
from ..network import Network
from ..theory.convergence._sharpness import largest_curvature
from ..types import DoubleArray
from ._evidence import Evidence
from ._page import cell
from ._theorem3 import Growth, allowed_radii, room

__all__ = ["Signature", "signatures"]

#: The risk has to rise on this part of the rows, and on so many, to count as oscillation.
_RISES, _FEWEST_RISES = 0.05, 3
#: A gap counts from this part of the initial risk on, and from so many standard errors.
_LARGE_GAP, _ERRORS = 0.1, 3.0
#: A training risk above this part of the initial one is high; below, low.
_HALF = 0.5
#: Rates below this part of the largest are spent.
_SPENT = 0.01


@dataclass(frozen=True)
class Signature:
    """A sign of failure.

    Attributes
    ----------
    name : str
        ``"lipschitz_growth"``, ``"risk_gap"``, ``"oscillation"`` or ``"width_gap"``.
    text : str
        What was seen, with numbers, and what it points to.
    """

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


def signatures(
    evidence: Evidence, found: Growth, columns: Mapping[str, DoubleArray]
) -> tuple[Signature, ...]:
    """Return the signs that one training shows."""
    texts = {
        "lipschitz_growth": _lipschitz_growth(evidence, found, columns),
        "risk_gap": _risk_gap(evidence, columns),
        "oscillation": _oscillation(evidence),
    }
    return tuple(Signature(name, text) for name, text in texts.items() if text is not None)


def _lipschitz_growth(
    evidence: Evidence, found: Growth, columns: Mapping[str, DoubleArray]
) -> str | None:
    """Say that the Lipschitz constant or a parameter grew past its caps."""
    above = 1.0 + room(evidence)
    lines = {"caps": found.allowed}
    if evidence.target is not None:
        lines["target"] = np.full(len(evidence.step), evidence.target.limit)
    for words, line in lines.items():
        over = np.flatnonzero(columns["lipschitz_upper"] > line * above)
        if over.size:
            row = over[0]
            return (
                f"the certified value exceeds what the {words} allow from step "
                f"{evidence.step[row]} on ({cell(columns['lipschitz_upper'][row])} against "
                f"{cell(line[row])}): {_why_not(evidence, found)}"
            )
    if evidence.caps is None:
        return None
    if found.obeyed is not None and not found.displaced:
        return None
    start, end = dict(evidence.run.initial.named()), dict(evidence.run.network.named())
    for name, radius in allowed_radii(evidence, evidence.caps).items():
        moved = end[name].astype(np.float64) - start[name].astype(np.float64)
        spectral = evidence.caps.norm == "spectral" and moved.ndim == 2
        length = spectral_norm(moved).lower if spectral else float(np.linalg.norm(moved))
        if length > radius[-1] * above:
            return (
                f"{name} is {cell(length)} away from its start at the end, and the caps allow "
                f"{cell(float(radius[-1]))}: {_why_not(evidence, found)}"
            )
    return None


def _why_not(evidence: Evidence, found: Growth) -> str:
    return found.reasons.get("lipschitz_caps", "the condition on the rates did not hold")


def _risk_gap(evidence: Evidence, columns: Mapping[str, DoubleArray]) -> str | None:
    """Say that a low training risk comes with a high risk on other data, or the reverse."""
    train, other = columns["risk"], columns["test_risk"]
    start, now, there = float(train[0]), float(train[-1]), float(other[-1])
    if not all(map(math.isfinite, (start, now, there))):
        return None
    gap, error = there - now, _standard_error(evidence)
    words = f"training risk {cell(now)}, test risk {cell(there)}"
    if now < _HALF * start and gap > max(now, _LARGE_GAP * start, _ERRORS * error):
        least = int(np.nanargmin(other))
        if least < len(other) - 1 and other[least] < there - max(gap / 10, error):
            return (
                f"{words}, which was least at step {evidence.step[least]} ({cell(other[least])}): "
                "the rate was held too long"
            )
        return f"{words}: the rate was held too long, or decayed too strongly to leave the fit"
    spent = _spent_at(evidence)
    if now > _HALF * start and spent is not None and gap < max(now, _ERRORS * error):
        return (
            f"the reverse, {words}, against {cell(start)} at the start, with rates below "
            f"{_SPENT:.0%} of the largest from step {spent} on: the hold was too short, or the "
            "decay too strong"
        )
    return None


def _standard_error(evidence: Evidence) -> float:
    """Return the standard error of the test risk, by up to 20 parts of the test samples."""
    if evidence.test is None:
        return 0.0
    X, y = np.asarray(evidence.test[0]), np.asarray(evidence.test[1])
    parts = np.array_split(np.random.default_rng(0).permutation(len(X)), min(20, len(X)))
    risks = [risk(evidence.run.network, X[part], y[part], evidence.loss) for part in parts]
    with np.errstate(over="ignore", invalid="ignore"):  # after a divergence
        spread = float(np.std(risks, ddof=1)) if len(risks) > 1 else 0.0
    return spread / math.sqrt(len(risks))


def _spent_at(evidence: Evidence) -> int | None:
    """Return the step from which all rates are small against their largest, None if none."""
    steps = evidence.run.steps
    rates = [values[:steps] for values in evidence.run.settings.rates.values()]
    if not steps:
        return None
    largest = np.max(rates, axis=0)
    alive = np.flatnonzero(largest > _SPENT * largest.max())
    last = int(alive[-1]) + 1 if alive.size else 0
    return last if last < steps else None


def _oscillation(evidence: Evidence) -> str | None:
    """Say that rates are above the inverse of the smoothness, which was underestimated."""
    run, settings = evidence.run, evidence.run.settings
    plain = settings.update == "gradient" and not settings.momentum and settings.batch_size is None
    values = evidence.measured["risk"]
    if not plain or not settings.steps or not math.isfinite(values[0]):
        return None
    values = values[~np.isnan(values)]
    tolerance = 1e-9 if run.initial.dtype == np.float64 else 1e-4
    with np.errstate(invalid="ignore"):
        rises = int((np.diff(values) > tolerance * np.abs(values[:-1])).sum())
    many = max(_FEWEST_RISES, _RISES * (len(values) - 1))
    diverged = run.status == "diverged"
    if rises < many and not diverged:
        return None
    taken = max(run.steps, 1)  # a training that diverges at once has taken none
    rate = max(float(rates[:taken].max()) for rates in settings.rates.values())
    sharpness = max(_sharpness(evidence, net) for net in (run.initial, run.network))
    if rate * sharpness <= 1.0 and not diverged:
        return None
    seen = (
        "the training diverged" if diverged else f"the risk rose on {rises} of {len(values)} rows"
    )
    if not math.isfinite(sharpness):
        return f"{seen}: the rate {cell(rate)} is above 1 / Lip(R), which was underestimated"
    return (
        f"{seen}: the rate {cell(rate)} is {cell(rate * sharpness)} times 1 / Lip(R) by the "
        f"sharpness {cell(sharpness)} that is measured at the ends (an estimate): Lip(R) was "
        "underestimated"
    )


def _sharpness(evidence: Evidence, net: Network) -> float:
    run = evidence.run
    with np.errstate(all="ignore"):
        try:
            found = largest_curvature(
                net,
                evidence.X,
                evidence.y,
                evidence.loss,
                evidence.sample_weight,
                run.settings.frozen,
                iterations=20,
            )
        except (ValueError, np.linalg.LinAlgError):  # a network that is about to overflow
            return math.inf
    return found if math.isfinite(found) else math.inf
