"""Phase times and rate against kappa, stepsize and width."""

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
from lipgd.experiments.large_stepsize._problems import descend, mean_field, opposed, summary
from lipgd.theory import large_stepsize

__all__ = ["findings", "study", "training"]

_LEAKS = (0.15, 0.3, 0.5, 0.7, 0.85, 0.95)
_WIDTHS = (4, 8, 16, 32, 64, 128)
_BASE = {"activation": "softplus", "leak": 0.5, "stepsize": 1000.0, "width": 16}
_NUMBERS = ("observed", "certified", "margin", "scaled", "risk", "transition_bound")


def study(request: Request) -> Study:
    """Return trainings that vary one thing at a time."""
    steps = request.pick(20_000, 2_000)
    seeds = request.repeats(5, 2)
    stepsizes = request.pick((10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4), (30.0, 300.0, 3e3))
    settings: list[dict[str, Any]] = []
    for activation in ("softplus", "gelu", "silu"):
        settings += [{"vary": "kappa", "activation": activation, "leak": c} for c in _LEAKS]
    settings += [{"vary": "stepsize", "stepsize": value} for value in stepsizes]
    settings += [{"vary": "width", "width": m} for m in _WIDTHS]
    jobs = [
        partial(training, {**_BASE, **setting}, seed, steps)
        for setting in settings
        for seed in seeds
    ]
    return Study("scaling", "Phase times and rate", jobs, findings)


def training(setting: dict[str, Any], seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return the row of one training."""
    data = opposed(0.1)
    activation = f"leaky({setting['activation']}, {setting['leak']})"
    net = mean_field(activation, setting["width"], 2, seed)
    run = descend(net, data, setting["stepsize"], steps)
    found = large_stepsize.constants(net, data.X)
    facts = summary(run, data)
    return [
        {
            **setting,
            "seed": seed,
            "kappa": found.homogeneity_gap,
            "risk": math.exp(max(facts["log_risk"], -700.0)),
            **facts,
        }
    ]


def findings(rows: Rows) -> Findings:
    """Return the tables, the figure and what they say."""
    blocks: list[Any] = []
    fits = _fits(rows)
    for vary, words in (("kappa", "kappa, by the leak c"), ("stepsize", ""), ("width", "")):
        part = rows.where(vary=vary)
        keys = ["activation", "leak", "kappa"] if vary == "kappa" else [vary]
        blocks.append(
            TableOf(
                f"scaling_{vary}",
                part.summary(keys, **{name: (name, _median) for name in _NUMBERS}),
                f"Medians over seeds against {words or vary}: steps at which phases begin, "
                "stepsize x step x risk and the risk at the end, and the bound of Theorem 6",
                {"scaled": "eta t L", "transition_bound": "bound (Thm 6)"},
            )
        )
    blocks.append(
        TableOf("scaling_exponents", fits, "Exponents of powers fitted to the medians above")
    )
    answer = _answer(fits)
    return Findings([answer, *blocks, _picture(rows)], [answer], _claims(rows, fits))


def _median(values: Any) -> float:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else float("nan")


def _fits(rows: Rows) -> Rows:
    """Return exponents of the phase times and of the risk."""
    cells = []
    for vary in ("kappa", "stepsize", "width"):
        part = rows.where(vary=vary)
        for activation in part.values("activation"):
            group = part.where(activation=activation)
            medians = group.summary([vary], **{name: (name, _median) for name in _NUMBERS})
            cells.append(
                {
                    "against": vary,
                    "activation": f"leaky {activation}",
                    **{name: exponent(medians[vary], medians[name]) for name in _NUMBERS},
                }
            )
    return Rows.of(cells)


def _picture(rows: Rows) -> Picture:
    figure, axes = plotting.panels(3, 3)
    drawn = []
    for place, (vary, words) in enumerate(
        (("kappa", "kappa"), ("stepsize", "stepsize"), ("width", "width m"))
    ):
        part = _at_least_one(rows.where(vary=vary))
        by = "activation"
        for ax, quantity, label in (
            (axes[place], "observed", "last rise of the risk (0 as 1)"),
            (axes[place + 3], "certified", "certified step (0 as 1)"),
            (axes[place + 6], "scaled", "stepsize x step x risk"),
        ):
            found = charts.lines(ax, part, vary, quantity, by)
            charts.name_axes(ax, words, label, log="xy")
            drawn += [
                {"against": vary, "quantity": quantity, "activation": name, "value": value}
                | {"mean": mean, "deviation": deviation}
                for name, value, mean, deviation in found.cells
            ]
    return Picture(
        "scaling",
        figure,
        Rows.of(drawn),
        "Two nearly opposed samples: last rise of the risk, certified step, and rate at the end; "
        "means over seeds, shaded by a standard deviation.",
        "Nine panels: last rise, certified step, stepsize x step x risk, against kappa, stepsize "
        "and width.",
    )


def _at_least_one(rows: Rows) -> Rows:
    """Return the rows with steps of at least 1, which a logarithm can show."""
    places = [rows.columns.index(name) for name in ("observed", "certified")]
    shown = []
    for row in rows.cells:
        cells = list(row)
        for i in places:
            cells[i] = None if cells[i] is None else max(cells[i], 1)
        shown.append(tuple(cells))
    return Rows(rows.columns, tuple(shown))


def _answer(fits: Rows) -> str:
    stepsize = fits.where(against="stepsize")
    width = fits.where(against="width")
    kappa = fits.where(against="kappa")
    return (
        "How do the phases scale on two nearly opposed samples? Fitted exponents: against the "
        f"stepsize, certified time {stepsize['certified'][0]:.2f} (the bound of Theorem 6: "
        f"{stepsize['transition_bound'][0]:.2f}) and risk at the end {stepsize['risk'][0]:.2f}; "
        f"against the width at a fixed stepsize, risk {width['risk'][0]:.2f}; against kappa, risk "
        f"between {kappa['risk'].min():.2f} and {kappa['risk'].max():.2f} (the leak changes the "
        "slopes, too)."
    )


def _claims(rows: Rows, fits: Rows) -> list[Claim]:
    stepsize, width = fits.where(against="stepsize"), fits.where(against="width")
    bound = rows["transition_bound"].astype(float)
    certified = rows["certified"].astype(float)
    known = np.isfinite(certified) & np.isfinite(bound)
    within = bool((certified[known] < bound[known]).all())
    ratio = float(np.median(bound[known] / np.maximum(certified[known], 1.0)))
    return [
        Claim(
            "Risk against stepsize and width (Theorem 4)",
            "in the stable phase the risk is of order m / (eta t): exponents -1 in the stepsize "
            "and +1 in the width.",
            f"{stepsize['risk'][0]:.2f} in the stepsize, {width['risk'][0]:.2f} in the width.",
            bool(abs(stepsize["risk"][0] + 1) < 0.3 and abs(width["risk"][0] - 1) < 0.3),
        ),
        Claim(
            "Transition time (Theorem 6)",
            "the stable phase begins before the bound, which is pessimistic.",
            f"{int(known.sum())} of {len(rows)} trainings have both times, all within the bound: "
            f"{'yes' if within else 'no'}; the bound is {ratio:.0f} times the certified time in "
            "the median.",
            within,
        ),
    ]
