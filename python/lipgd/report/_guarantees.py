"""What is proved of a training, beside what was measured in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..constraints import RateCaps
from ..history import History
from ..run import Run
from ..theory.initialization import Law
from ..types import ArrayLike, DoubleArray
from . import _page
from ._corollary4 import gaps
from ._evidence import Evidence, gather
from ._signatures import Signature, signatures
from ._theorem3 import Growth, growth, room
from ._theorem5 import Descent, descent
from ._words import shown_rows, statements, vacuous_columns, verdicts

__all__ = ["Guarantees", "guarantees"]


@dataclass(frozen=True, eq=False)
class Guarantees:
    """Bounds beside measurements, a row for every recorded step; ``str`` of it is a table.

    Attributes
    ----------
    history : History
        The columns, NaN where a number is not known or not proved; see :func:`guarantees`.
    delta : float
        The probability that a bound of the gap fails.
    reasons : dict of str to str
        By column, why it has no number, or not on every row.
    sources : dict of str to str
        By column of a bound, what it is computed from.
    vacuous : dict of str to ndarray of bool
        By column of a bound, the rows on which it says nothing.
    conditions : tuple of str
        What the bounds suppose of the data and of the law.
    signatures : tuple of Signature
        Signs of failure that the training shows.
    sizes : tuple of int
        Inputs, hidden widths, outputs of the network.
    n_samples : int
        The number of training samples.
    """

    history: History
    delta: float
    reasons: dict[str, str]
    sources: dict[str, str]
    vacuous: dict[str, np.ndarray[Any, np.dtype[np.bool_]]]
    conditions: tuple[str, ...]
    signatures: tuple[Signature, ...]
    sizes: tuple[int, ...] = field(default=())
    n_samples: int = 0

    def __getitem__(self, name: str) -> DoubleArray:
        """Return one column, shape (n_rows,)."""
        column: DoubleArray = self.history[name]
        return column

    def rows(self) -> list[dict[str, float]]:
        """Return the table as one mapping per row: the step and the columns."""
        columns = {"step": self.history.step, **{name: self.history[name] for name in self.history}}
        lists = {name: values.tolist() for name, values in columns.items()}
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]

    def to_pandas(self) -> Any:
        """Return the table as a pandas table with the index "step"."""
        return self.history.to_pandas()

    def words(self) -> tuple[str, ...]:
        """Return what there is to say beside the numbers, a sentence each."""
        return (
            *verdicts(self.history, self.sources, self.vacuous),
            *statements(self.reasons, self.conditions, self.signatures),
        )

    def blocks(
        self, picture: str | os.PathLike[str] | None = None, command: str | None = None
    ) -> list[str | _page.Html]:
        """Return a section of :func:`lipgd.report.page`: a picture, a table and sentences.

        Parameters
        ----------
        picture : path-like, optional
            A file that :func:`lipgd.plotting.save` made of :func:`lipgd.plotting.guarantees`.
        command : str, optional
            What reproduces the numbers.

        Returns
        -------
        list of (str or Html)

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np, lipgd
        >>> from lipgd import plotting, report
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> net = lipgd.Network.create([1, 16, 1], activation="tanh")
        >>> run = lipgd.train(net, X, np.sin(3 * X), loss="huber", rate=0.01, steps=50)
        >>> found = report.guarantees(run, X, np.sin(3 * X))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "bounds")
        ...     _ = plotting.save(plotting.guarantees(found), path)
        ...     html = report.page("A training", {"Guarantees": found.blocks(path + ".svg")})
        >>> "Theorem 3" in html
        True
        """
        caption = "Bounds beside measurements, by step"
        names, rows = shown_rows(self.history)
        table = _page.table(names, rows, caption=caption, command=command)
        if picture is None:
            return [table, *self.words()]
        alt = " ".join(self.words())
        return [_page.figure(picture, alt=alt, caption=caption), table, *self.words()]

    def __str__(self) -> str:
        names, rows = shown_rows(self.history)
        return "\n".join([_page.text_table(names, rows), "", *self.words()])


def guarantees(
    run: Run,
    X: ArrayLike,
    y: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    delta: float = 0.05,
    *,
    sample_weight: ArrayLike | None = None,
    caps: RateCaps | None = None,
    law: Law | str | None = None,
    box: Sequence[Sequence[ArrayLike]] | None = None,
) -> Guarantees:
    """Return the guarantees of a training next to the truth, at every recorded step.

    The columns are

    - ``risk``, ``test_risk`` and ``gap``, their difference, as far as they are known;
    - ``lipschitz_lower`` and ``lipschitz_upper`` (certified): the bracket of the constant;
    - ``lipschitz_theorem3``: the bound of Theorem 3 given the initial network, from the budgets of
      the run's caps or, without caps, from its rates alone; ``lipschitz_drift``: the sharper (3+);
      ``lipschitz_before``: the bound before the weights are drawn, with the probability of the law;
    - ``lipschitz_caps``: what caps to judge by would allow, a bound only where they were obeyed;
      ``lipschitz_target``: the limit of a :class:`lipgd.LipschitzTarget`, kept at every step;
    - ``gradient_norm_min`` and ``gradient_norm_bound``: the smallest gradient norm on the rows so
      far, and Theorem 5 (b); between the rows of ``record_every`` above 1 it may have been smaller;
    - ``gap_wasserstein`` and ``gap_rademacher``: Corollary 4, two-sided and for all networks, and
      Theorem R, one-sided; each holds with probability at least 1 - delta.

    Where a theorem does not apply, the column is NaN, and ``reasons`` says why. What was not
    recorded is computed for the first and the last step. A bound is vacuous if it tells nothing
    that is not known without it. For a gap: training risk and bound together are not below the risk
    that a constant has for certain, or the bound not below the range of the loss. For a gradient:
    it is not below the initial gradient norm. For a Lipschitz constant: it is not below the slope
    that lets a function have any values on the samples.

    Parameters
    ----------
    run : Run
        What :func:`lipgd.train` returned.
    X, y : array_like
        The data that it was trained on.
    test : pair of array_like, optional
        ``(X, y)`` of other samples. A recorded ``validation_risk`` of the same samples fills all
        rows.
    delta : float
        The probability that a bound of the gap may fail, above 0 and below 1.
    sample_weight : array_like, shape (n_samples,), optional
        The weights that it was trained with.
    caps : RateCaps, optional
        Conditions to judge by, for a run without caps; by default those of the run.
    law : Law or str, optional
        The law of the initial weights, such as ``"he_normal"``, whose bounds hold with probability
        1 - delta; by default that of the caps, or what :meth:`lipgd.Network.create` drew from.
    box : pair of pairs, optional
        ``((X low, X high), (y low, y high))``, where samples and targets are known to lie before
        they are seen; by default the least box around them, and the report says so.

    Returns
    -------
    Guarantees

    Raises
    ------
    TypeError, ValueError
        If the data are not those of the run, or an argument does not fit.

    References
    ----------
    rate-constraints.md, sections 4, 5, 7, 8 and 9.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> net = lipgd.Network.create([1, 16, 1], activation="tanh", init="lecun_normal")
    >>> caps = lipgd.RateCaps(
    ...     dict.fromkeys(("W1", "b1", "W2", "b2"), 1.0), lipgd.schedules.exponential(1.0, 0.05)
    ... )
    >>> run = lipgd.train(
    ...     net, X, np.sin(3 * X), loss="huber", rate=0.1, steps=100, constraint=caps,
    ...     record=["risk", "lipschitz_upper"], record_every=25,
    ... )
    >>> found = lipgd.report.guarantees(run, X, np.sin(3 * X))
    >>> bool((found["lipschitz_upper"] <= found["lipschitz_theorem3"]).all())
    True
    >>> found.signatures
    ()
    """
    evidence = gather(run, X, y, test, delta, sample_weight, caps, law, box)
    found = growth(evidence)
    steps = descent(evidence, found)
    gap = gaps(evidence, found)
    none = np.full(len(evidence.step), np.nan)
    measured = evidence.measured
    columns = {
        "risk": measured["risk"],
        "test_risk": measured["test_risk"],
        "gap": _difference(measured["test_risk"], measured["risk"]),
        "lipschitz_lower": measured["lipschitz_lower"],
        "lipschitz_upper": _certified(evidence, found),
        "lipschitz_theorem3": found.given,
        "lipschitz_drift": found.drift,
        "lipschitz_before": found.before,
        "lipschitz_caps": found.allowed,
        "lipschitz_target": _limit(evidence),
        "gradient_norm_min": np.fmin.accumulate(measured["gradient_norm"]),
        "gradient_norm_bound": none if steps.bound is None else steps.bound,
        "gap_wasserstein": gap.wasserstein,
        "gap_rademacher": gap.rademacher,
    }
    reasons = {**_missing(evidence), **found.reasons, **gap.reasons}
    if steps.reason is not None:
        reasons["gradient_norm_bound"] = steps.reason
    return Guarantees(
        history=History(evidence.step, columns, {"loss": evidence.loss.name}),
        delta=evidence.delta,
        reasons=reasons,
        sources=_sources(found, steps),
        vacuous=vacuous_columns(evidence, columns, gap),
        conditions=_conditions(evidence, found, gap.conditions),
        signatures=signatures(evidence, found, columns),
        sizes=run.initial.sizes,
        n_samples=evidence.quantities.n_samples,
    )


def _limit(evidence: Evidence) -> DoubleArray:
    limit = np.nan if evidence.target is None else evidence.target.limit
    return np.full(len(evidence.step), limit)


def _difference(first: DoubleArray, second: DoubleArray) -> DoubleArray:
    with np.errstate(invalid="ignore"):  # both overflow where a training diverges
        return first - second


def _certified(evidence: Evidence, found: Growth) -> DoubleArray:
    """Return the certified values, without the width of their brackets where a theorem is below."""
    recorded = evidence.measured["lipschitz_upper"]
    near: DoubleArray = np.where(
        recorded <= found.given * (1.0 + room(evidence)), np.fmin(recorded, found.given), recorded
    )
    return near


def _sources(found: Growth, steps: Descent) -> dict[str, str]:
    """Return what bounds are computed from, where there is a choice."""
    sources = {}
    if found.radii:
        sources = dict.fromkeys(("lipschitz_theorem3", "lipschitz_drift"), found.source)
    if steps.smoothness is not None:
        bound = _page.cell(steps.smoothness)
        sources["gradient_norm_bound"] = f"a smoothness of at most {bound}, by {steps.source}"
    return sources


def _missing(evidence: Evidence) -> dict[str, str]:
    """Return which records would fill the rows between the ends."""
    reasons = {}
    columns = {"gradient_norm": "gradient_norm_min"}
    for name in ("risk", "gradient_norm", "lipschitz_upper", "lipschitz_lower"):
        if np.isnan(evidence.measured[name]).any():
            reasons[columns.get(name, name)] = f"known at both ends alone: record {name!r}"
    if np.isnan(evidence.measured["test_risk"]).all():
        reasons["test_risk"] = reasons["gap"] = "no other samples are known: give test=(X, y)"
    elif np.isnan(evidence.measured["test_risk"]).any():
        text = "known at both ends alone: train with validation=(X, y) and record 'validation_risk'"
        reasons["test_risk"] = reasons["gap"] = text
    return reasons


def _conditions(evidence: Evidence, found: Growth, others: tuple[str, ...]) -> tuple[str, ...]:
    if evidence.law is None or np.isnan(found.before).all():
        return others
    law = evidence.law
    words = (
        f"initial weights are drawn from {law.init}, and lipschitz_before holds with probability"
    )
    return (f"{words} {1 - law.delta:g}", *others)
