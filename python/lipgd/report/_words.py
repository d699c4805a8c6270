"""Guarantees for readers: which rows to show, what is vacuous, and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..history import History
from ..theory.rate_constraints._losses import losses_and_gradients
from ..types import DoubleArray
from ._corollary4 import Gaps
from ._evidence import Evidence
from ._page import cell
from ._signatures import Signature

__all__ = ["shown_rows", "statements", "vacuous_columns", "verdicts"]

Flags = dict[str, npt.NDArray[np.bool_]]

#: Rows and samples that are looked at.
_MOST_ROWS, _MOST_SAMPLES = 12, 1000
_HEADINGS = {
    "risk": "risk",
    "test_risk": "test risk",
    "lipschitz_lower": "Lip lower",
    "lipschitz_upper": "Lip upper",
    "lipschitz_theorem3": "Theorem 3",
    "lipschitz_drift": "(3+)",
    "lipschitz_before": "before draw",
    "lipschitz_caps": "caps allow",
    "lipschitz_target": "target",
    "gradient_norm_min": "gradient",
    "gradient_norm_bound": "Theorem 5",
    "gap": "gap",
    "gap_wasserstein": "Wasserstein",
    "gap_rademacher": "Rademacher",
}
_NAMES = {
    "lipschitz_theorem3": "The Theorem 3 bound of the Lipschitz constant",
    "lipschitz_drift": "Its form (3+)",
    "lipschitz_before": "The Theorem 3 bound before the draw",
    "lipschitz_target": "The target of the training, which bounds the Lipschitz constant,",
    "gradient_norm_bound": "The Theorem 5 bound of the smallest gradient norm",
    "gap_wasserstein": "The Wasserstein bound of the gap",
    "gap_rademacher": "The Rademacher bound of the gap",
}
#: The measurement that each bound is next to.
_BESIDE = {
    "lipschitz_theorem3": "lipschitz_upper",
    "lipschitz_drift": "lipschitz_upper",
    "lipschitz_before": "lipschitz_upper",
    "lipschitz_target": "lipschitz_upper",
    "gradient_norm_bound": "gradient_norm_min",
    "gap_wasserstein": "gap",
    "gap_rademacher": "gap",
}


def shown_rows(history: History) -> tuple[list[str], list[list[Any]]]:
    """Return headings and at most a dozen rows of the columns that have a number."""
    names = [name for name in _HEADINGS if not np.isnan(history[name]).all()]
    count = len(history)
    rows = np.unique(np.linspace(0, count - 1, min(count, _MOST_ROWS)).astype(np.int64))
    table = [
        [int(history.step[row]), *(_number(float(history[name][row])) for name in names)]
        for row in rows
    ]
    return ["step", *(_HEADINGS[name] for name in names)], table


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def vacuous_columns(evidence: Evidence, columns: Mapping[str, DoubleArray], gap: Gaps) -> Flags:
    """Return for every bound the rows on which it is not below what is known without it."""
    slope = _free_slope(evidence)
    # What is left between the training risk and that of a constant.
    left = _constant_risk(evidence) - np.nan_to_num(columns["risk"])
    known = {
        "lipschitz_theorem3": slope,
        "lipschitz_drift": slope,
        "lipschitz_before": slope,
        "lipschitz_target": slope,
        "gradient_norm_bound": evidence.measured["gradient_norm"][0],
        "gap_wasserstein": np.fmin(gap.wasserstein_trivial, left),
        "gap_rademacher": np.fmin(gap.rademacher_trivial, left),
    }
    with np.errstate(invalid="ignore"):
        return {
            name: np.isinf(columns[name]) | (columns[name] >= trivial)
            for name, trivial in known.items()
        }


def _free_slope(evidence: Evidence) -> float:
    """Return the slope with which a function may have any values on the samples.

    The diagonal of the box of the targets over the least distance of two samples (of the first
    thousand): a Lipschitz constant above excludes nothing.
    """
    points = np.asarray(evidence.X)[:_MOST_SAMPLES].astype(np.float64)
    squares = np.square(points).sum(axis=1)
    distances = squares[:, None] + squares[None] - 2.0 * points @ points.T
    np.fill_diagonal(distances, math.inf)
    least = distances[distances > 1e-12 * max(float(squares.max()), 1e-300)]
    low, high = evidence.box[1]
    if not least.size or not math.isfinite(float(least.min())):
        return math.inf
    return float(np.linalg.norm(high - low)) / math.sqrt(float(least.min()))


def _constant_risk(evidence: Evidence) -> float:
    """Return a risk that a constant has for certain: the middle of the targets' box, or a guess."""
    loss = evidence.loss
    if loss.takes_labels:
        return math.log(evidence.run.initial.n_outputs)
    if loss.kind == "logistic":
        return math.log(2.0)
    low, high = evidence.box[1]
    residuals = (high - low)[None] / 2.0
    return float(losses_and_gradients(loss, residuals, np.zeros_like(residuals))[0][0])


def verdicts(history: History, sources: Mapping[str, str], vacuous: Flags) -> list[str]:
    """Return for every bound what its last number is worth."""
    words = []
    for name, text in _NAMES.items():
        rows = np.flatnonzero(~np.isnan(history[name]))
        if rows.size:
            row = int(rows[-1])
            source = f", from {sources[name]}" if name in sources else ""
            flag = "vacuous" if vacuous[name][row] else "not vacuous"
            words.append(f"{text} {_compared(history, name, row)}{source}: {flag}.")
    return words


def _compared(history: History, name: str, row: int) -> str:
    value, measured = float(history[name][row]), float(history[_BESIDE[name]][row])
    text = f"is {cell(value)} at step {history.step[row]}"
    if math.isfinite(measured) and math.isfinite(value):
        text += f" (measured {cell(measured)})"
    return text


def statements(
    reasons: Mapping[str, str], conditions: tuple[str, ...], found: tuple[Signature, ...]
) -> list[str]:
    """Return what is supposed, what is missing and why, and the signs of failure."""
    words = [f"Supposed: {'; '.join(conditions)}."] if conditions else []
    grouped: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        grouped.setdefault(reason, []).append(name)
    words += [f"{', '.join(names)}: {reason}." for reason, names in grouped.items()]
    words += [f"Sign of failure, {signature}." for signature in found]
    return words if found else [*words, "No sign of failure."]
