"""The risk at time T with the stepsize tuned for T, with and without oscillation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, exponent
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.large_stepsize._problems import descend, mean_field, opposed, tidy

__all__ = ["findings", "study", "training"]

_ACTIVATION, _WIDTH = "leaky(softplus, 0.5)", 8
_MARGIN = 0.05
_SMALL, _LARGE, _ANY = "small (monotone)", "large (up to a multiple of T)", "any"


def study(request: Request) -> Study:
    """Return a training per stepsize, each long enough for every T."""
    longest = 4000
    times = np.unique(np.geomspace(100, longest, request.pick(12, 8)).astype(int))
    grid = 2.0 ** np.arange(0, 24.01, request.pick(0.25, 0.5))
    jobs = [partial(training, float(stepsize), [int(t) for t in times]) for stepsize in grid]
    return Study("tuned", "The best stepsize for T steps", jobs, findings)


def training(stepsize: float, times: list[int]) -> Sequence[dict[str, Any]]:
    """Return the risk at each time, and whether it never rose before."""
    data = opposed(_MARGIN)
    net = mean_field(_ACTIVATION, _WIDTH, 2, 0, size=0.0)
    logs = descend(net, data, stepsize, max(times)).history["log_risk"]
    rises = np.flatnonzero(np.diff(logs) > 1e-12)
    first = int(rises[0]) + 1 if len(rises) else len(logs)
    return [
        {"stepsize": tidy(stepsize), "T": t, "log_risk": float(logs[t]), "monotone": first > t}
        for t in times
    ]


def findings(rows: Rows) -> Findings:
    """Return the best stepsize for every T, and the exponents."""
    cells = []
    for t in rows.values("T"):
        part = rows.where(T=t)
        choices = {
            _SMALL: part.where(monotone=True),
            _LARGE: Rows(
                part.columns, tuple(row for row in part.cells if row[0] <= _most(rows, t))
            ),
            _ANY: part,
        }
        for name, kept in choices.items():
            if len(kept):
                best = int(np.argmin(kept["log_risk"]))
                cells.append(
                    {
                        "stepsizes": name,
                        "T": t,
                        "stepsize": float(kept["stepsize"][best]),
                        "risk": math.exp(max(float(kept["log_risk"][best]), -690.0)),
                        "log_risk": float(kept["log_risk"][best]),
                    }
                )
    found = Rows.of(cells)
    fits = {
        name: (
            _fit(found.where(stepsizes=name)),
            exponent(found.where(stepsizes=name)["T"], found.where(stepsizes=name)["stepsize"]),
        )
        for name in found.values("stepsizes")
    }
    answer = _answer(fits, found)
    claim = Claim(
        "Acceleration (Theorem 7 and the slow example of section 5)",
        "on two nearly opposed samples runs that never rise have a risk of order 1 / T at least, "
        "while stepsizes of the order of T give T^-2 or better.",
        f"exponents {fits[_SMALL][0]:.2f} and {fits[_LARGE][0]:.2f}.",
        bool(abs(fits[_SMALL][0] + 1.0) < 0.2 and fits[_LARGE][0] < -1.8),
    )
    table = TableOf(
        "tuned",
        found,
        "The lowest risk after T steps over stepsizes whose risk never rose, over those up to a "
        "multiple of T, and over all of the grid",
        {"log_risk": "log risk"},
    )
    return Findings([answer, table, _picture(found)], [answer], [claim])


def _most(rows: Rows, t: int) -> float:
    """Return the largest stepsize of the order that Theorem 7 has: a multiple of T.

    For the least T it is the largest monotone one.
    """
    first = min(rows.values("T"))
    start = float(rows.where(T=first, monotone=True)["stepsize"].max())
    return start * float(t) / float(first) * (1.0 + 1e-9)


def _fit(part: Rows) -> float:
    logs = part["log_risk"]
    return exponent(part["T"], np.exp(logs - logs.max()))


def _answer(fits: dict[str, tuple[float, float]], found: Rows) -> str:
    words = "; ".join(
        f"{name}: risk T^{fits[name][0]:.2f} with a stepsize T^{fits[name][1]:.2f}"
        for name in (_SMALL, _LARGE)
    )
    best = found.where(stepsizes=_ANY)
    return (
        f"How fast can the risk fall with one stepsize tuned for T? Fitted powers: {words}. "
        f"Without a limit there is no power: stepsize {best['stepsize'][0]:.3g} ends with a log "
        f"risk of {best['log_risk'][0]:.4g} after {best['T'][0]:.0f} steps."
    )


def _picture(found: Rows) -> Picture:
    figure, axes = plotting.panels(2)
    limited = Rows.of(
        dict(zip(found.columns, row, strict=True)) for row in found.cells if row[0] != _ANY
    )
    for ax, name, words in (
        (axes[0], "risk", "lowest risk after T steps (nats)"),
        (axes[1], "stepsize", "best stepsize"),
    ):
        charts.lines(ax, limited, "T", name, "stepsizes")
        charts.name_axes(ax, "steps T", words, log="xy")
    first = limited.where(stepsizes=_SMALL)
    t, risk = first["T"], first["risk"]
    axes[0].plot(t, risk[0] * (t / t[0]) ** -2.0, color="#333333", linestyle=":", label="T^-2")
    axes[0].plot(t, risk[0] * (t / t[0]) ** -1.0, color="#333333", linestyle="--", label="T^-1")
    axes[0].legend(frameon=False, fontsize=8)
    return Picture(
        "tuned",
        figure,
        found,
        "Two nearly opposed samples: the best stepsizes that keep the risk monotone, and the best "
        "up to a multiple of T, with the powers T^-1 and T^-2.",
        "The risk with large stepsizes falls faster than with those that are monotone.",
    )
