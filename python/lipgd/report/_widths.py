"""The gap between risks against the width of networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._guarantees import Guarantees
from ._page import cell, text_table
from ._signatures import Signature

__all__ = ["Widths", "compare_widths"]

#: A gap grows with the width from this exponent on, if all but this part of pairs agree.
_EXPONENT, _AGREEMENT = 0.1, 0.8


@dataclass(frozen=True)
class Widths:
    """The last gap of several trainings against the width.

    Attributes
    ----------
    widths : tuple of int
        The largest hidden width of each network, increasing.
    gaps : tuple of float
        Test risk minus training risk, the mean over the trainings of a width.
    exponent : float
        The slope of log gap against log width; NaN if a gap is not above 0.
    signatures : tuple of Signature
        ``width_gap`` if the gap grows with the width.
    """

    widths: tuple[int, ...]
    gaps: tuple[float, ...]
    exponent: float
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        rows = list(zip(self.widths, self.gaps, strict=True))
        words = [f"Sign of failure, {signature}." for signature in self.signatures]
        return "\n".join([text_table(["width", "gap"], rows), *(words or ["No sign of failure."])])


def compare_widths(found: Sequence[Guarantees]) -> Widths:
    """Tell whether the gap between test and training risk grows with the width.

    It grows if its logarithm rises with that of the width with an exponent above 0.1, and at least
    four of five pairs of widths are in that order. Corollary 4 and Theorem R (a) do not get worse
    with the width where the Lipschitz constant or the norms do not.

    Parameters
    ----------
    found : sequence of Guarantees
        Of trainings that differ in width and perhaps in seeds, each with a test risk; at least
        three widths.

    Returns
    -------
    Widths

    Raises
    ------
    ValueError
        If a training has no test risk, or there are fewer than three widths.

    References
    ----------
    rate-constraints.md, sections 7 and 8.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd import report
    >>> rng = np.random.default_rng(0)
    >>> X, T = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    >>> found = []
    >>> for width in (4, 8, 16):
    ...     net = lipgd.Network.create([2, width, 1], activation="tanh", init="lecun_normal")
    ...     run = lipgd.train(net, X, X.sum(axis=1), rate=0.05, steps=50)
    ...     found.append(report.guarantees(run, X, X.sum(axis=1), test=(T, T.sum(axis=1))))
    >>> report.compare_widths(found).widths
    (4, 8, 16)
    """
    by_width: dict[int, list[float]] = {}
    for place, one in enumerate(found):
        if not isinstance(one, Guarantees):
            raise TypeError(f"found[{place}] is {type(one).__name__}, expected Guarantees")
        gap = float(one["gap"][-1])
        if not math.isfinite(gap):
            raise ValueError(
                f"found[{place}] has no finite gap, expected one made with test=(X, y)"
            )
        by_width.setdefault(max(one.sizes[1:-1], default=one.sizes[0]), []).append(gap)
    if len(by_width) < 3:
        raise ValueError(f"found has {len(by_width)} widths, expected at least three")
    widths = sorted(by_width)
    gaps = [float(np.mean(by_width[width])) for width in widths]
    exponent = math.nan
    if min(gaps) > 0:
        exponent = float(np.polyfit(np.log(widths), np.log(gaps), 1)[0])
    grows = _ordered(gaps) >= _AGREEMENT and _rises(gaps, exponent) and _clear(by_width)
    text = (
        f"the gap grows from {cell(gaps[0])} at width {widths[0]} to {cell(gaps[-1])} at width "
        f"{widths[-1]}: wider networks fit what does not carry over; a Lipschitz target, or "
        "budgets that do not grow with the width, would hold them"
    )
    signs = (Signature("width_gap", text),) if grows else ()
    return Widths(tuple(widths), tuple(gaps), exponent, signs)


def _ordered(gaps: list[float]) -> float:
    """Return the part of pairs of widths whose gaps are in the same order."""
    pairs = [(a, b) for place, a in enumerate(gaps) for b in gaps[place + 1 :]]
    return sum(a < b for a, b in pairs) / len(pairs)


def _rises(gaps: list[float], exponent: float) -> bool:
    return exponent > _EXPONENT if math.isfinite(exponent) else gaps[-1] > 0.0


def _clear(by_width: dict[int, list[float]]) -> bool:
    """Return whether the ends differ by more than the spread over seeds, where it is known."""
    narrow, wide = by_width[min(by_width)], by_width[max(by_width)]
    spread = [
        np.std(gaps, ddof=1) / math.sqrt(len(gaps)) for gaps in (narrow, wide) if len(gaps) > 1
    ]
    return bool(np.mean(wide) - np.mean(narrow) > 2.0 * math.hypot(*map(float, spread)))
