"""The smallest gradient norm against the number of steps, and what is certified of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows, exponent, mean
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.rate_constraints._schedules import kinds
from lipgd.experiments.rate_constraints._trainings import cube, network
from lipgd.theory import convergence, rate_constraints
from lipgd.theory.rate_constraints import Quantities

__all__ = ["findings", "study", "training"]

_SAMPLES, _RATE, _ETA = 150, 0.05, 0.5
_CHOSEN = ("constant", "exponential .002", "exponential .02")
#: Exponents are fitted from this step on.
_FROM = 30
#: Horizons of the certified rates; the last ones are too long to train.
_HORIZONS = (10**2, 10**3, 10**4, 10**6, 10**8)


def study(request: Request) -> Study:
    """Return the long trainings with every schedule, and those with certified rates."""
    steps = request.pick(20_000, 2000)
    seeds = request.repeats(4, 1)
    jobs: list[Any] = [partial(training, n, seed, steps) for n in _CHOSEN for seed in seeds]
    longest = request.pick(10**4, 10**3)
    jobs += [partial(certified, horizon, 0, horizon <= longest) for horizon in _HORIZONS]
    return Study("descent", "Smallest gradient norm against the number of steps", jobs, findings)


def _start(seed: int) -> tuple[Any, lipgd.Network, Quantities]:
    data = cube(_SAMPLES, seed)
    net = network(data, activation="silu", seed=seed)
    return data, net, rate_constraints.measure(net, data.X, data.y, "huber")


def training(schedule: str, seed: int, steps: int) -> Sequence[dict[str, Any]]:
    """Return rows at horizons T: the smallest gradient norm, and how far (12) lets it go.

    The radius of (12) is the root of the sum of rates times the sum of rate times squared gradient
    norm: no parameters go farther (Cauchy and Schwarz), whatever the smoothness is.
    """
    data, net, quantities = _start(seed)
    rate = kinds(_RATE)[schedule]
    run = lipgd.train(
        net,
        data.X,
        data.y,
        loss="huber",
        rate=rate,
        steps=steps,
        record=("gradient_norm", "lipschitz_upper"),
        n_threads=1,
    )
    norms, rates = run.history["gradient_norm"], rate.rates(run.steps)
    smallest = np.minimum.accumulate(norms)
    sums, energies = np.cumsum(rates), np.cumsum(rates * norms[: run.steps] ** 2)
    rows = []
    for horizon in np.unique(np.geomspace(1, run.steps, 40).astype(int)):
        radius = float(np.sqrt(sums[horizon - 1] * energies[horizon - 1]))
        rows.append(
            {
                "kind": "training",
                "schedule": schedule,
                "seed": seed,
                "T": int(horizon),
                "gradient": float(smallest[horizon - 1]),
                "product": float(run.history["lipschitz_upper"][horizon]),
                "energy_bound": float(convergence.energy_lipschitz_bound(quantities, radius)),
            }
        )
    return rows


def certified(horizon: int, seed: int, trained: bool) -> Sequence[dict[str, Any]]:
    """Return the row of the certified rate of a horizon, with a training if it is not too long."""
    data, net, quantities = _start(seed)
    smoothness = partial(convergence.ball_smoothness, quantities)
    plan = convergence.energy_schedule(smoothness, quantities.risk, horizon, _ETA)
    row: dict[str, Any] = {
        "kind": "certified",
        "seed": seed,
        "T": horizon,
        "radius": plan.radius,
        "rate": plan.rate,
        "gradient_certified": plan.gradient,
        "lipschitz_certified": float(convergence.energy_lipschitz_bound(quantities, plan.radius)),
        "gradient": None,
        "product": None,
    }
    if trained:
        run = lipgd.train(
            net,
            data.X,
            data.y,
            loss="huber",
            rate=plan.rate,
            steps=horizon,
            record=("gradient_norm", "lipschitz_upper"),
            n_threads=1,
        )
        row["gradient"] = float(run.history["gradient_norm"][:horizon].min())
        row["product"] = float(run.history["lipschitz_upper"][-1])
    return [row]


_PLAN = ("T", "radius", "rate", "gradient_certified", "gradient", "lipschitz_certified", "product")


def findings(rows: Rows) -> Findings:
    """Return the tables, the figure and what they say."""
    runs = rows.where(kind="training")
    numbers = {n: (n, mean) for n in ("gradient", "product", "energy_bound")}
    summary = runs.summary(["schedule", "T"], **numbers)
    fits = Rows.of(_fit(name, summary.where(schedule=name)) for name in summary.values("schedule"))
    plans = rows.where(kind="certified").pick(_PLAN)
    sentences = [_sentence(fits), _certified_in_words(plans)]
    figure, axes = plotting.panels(2)
    charts.lines(axes[0], runs, "T", "gradient", "schedule")
    _references(axes[0], summary)
    charts.name_axes(axes[0], "steps T", "smallest gradient norm before T", log="xy")
    charts.lines(axes[1], runs, "T", "product", "schedule")
    charts.lines(axes[1], runs, "T", "energy_bound", "schedule", marker="none", alpha=0.5)
    charts.name_axes(
        axes[1], "steps T", "product, and energy bound (12) (pale)", log="xy", key=None
    )
    caption = (
        "Means over seeds, with deviations as bands. Thin lines are powers of T to compare with."
    )
    blocks: list[str | TableOf | Picture] = [
        *sentences,
        TableOf(
            "descent_exponents",
            fits,
            f"Exponent of T fitted from T = {_FROM} on, and numbers at the largest T",
        ),
        Picture("descent", figure, summary, caption, " ".join(sentences)),
        TableOf(
            "descent_certified",
            plans,
            "Theorem 5 (e): rates that are certified before training, what they promise, and what "
            "is measured (horizons above are not trained)",
        ),
    ]
    return Findings(blocks, sentences[:1], [_claim(plans)])


def _fit(name: str, part: Rows) -> dict[str, Any]:
    late = part["T"] >= _FROM
    return {
        "schedule": name,
        "exponent": exponent(part["T"][late], part["gradient"][late]),
        "T": int(part["T"][-1]),
        "gradient": float(part["gradient"][-1]),
        "product": float(part["product"][-1]),
        "energy_bound": float(part["energy_bound"][-1]),
    }


def _references(ax: Any, summary: Rows) -> None:
    """Draw the powers of T to compare with, from a common point."""
    first = summary.where(schedule=summary.values("schedule")[0])
    start = int(np.flatnonzero(first["T"] >= _FROM)[0])
    across, height = first["T"][start:], 1.6 * first["gradient"][start]
    for power, words in ((-0.5, "T^-1/2"), (-0.25, "T^-1/4")):
        line = height * (across / across[0]) ** power
        ax.plot(across, line, color="#888888", linewidth=0.9)
        ax.annotate(words, (across[-1], line[-1]), fontsize=8, ha="right", va="bottom")


def _speed(power: float) -> str:
    """Say between which of the powers of the theory an exponent lies."""
    if power <= -0.5:
        return "at least as fast as T^-1/2"
    return "between T^-1/2 and T^-1/4" if power <= -0.25 else "slower than T^-1/4"


def _sentence(fits: Rows) -> str:
    parts = [
        f"{name}: exponent {power:.2f}, {_speed(power)}"
        for name, power in zip(fits["schedule"], fits["exponent"], strict=True)
    ]
    over = fits["energy_bound"] / fits["product"]
    return (
        f"Smallest gradient norm against T: {'; '.join(parts)}. At the largest T the energy bound "
        f"(12) of the Lipschitz constant is {over.min():.1f} to {over.max():.1f} times the product."
    )


def _certified_in_words(plans: Rows) -> str:
    trained = [cell for cell in plans.cells if cell[_PLAN.index("gradient")] is not None]
    part = Rows(plans.columns, tuple(trained))
    slope = _last_slope(plans)
    if not len(part):
        return f"The certified gradient norm falls like T^{slope:.3f} at the end."
    held = bool(
        (part["gradient"] <= part["gradient_certified"]).all()
        and (part["product"] <= part["lipschitz_certified"]).all()
    )
    most = float(np.max(part["gradient"] / part["gradient_certified"]))
    return (
        f"Do rates that are certified before training keep what they promise? "
        f"{'Yes, at every horizon that is trained' if held else 'No'}; the measured smallest "
        f"gradient norm is at most {most:.2f} of the certified one, which falls like T^{slope:.3f} "
        "between the last two horizons."
    )


def _last_slope(plans: Rows) -> float:
    return exponent(plans["T"][-2:], plans["gradient_certified"][-2:])


def _claim(plans: Rows) -> Claim:
    """Compare with observation 6."""
    expected = {10**3: (2.42, 0.0154, 0.157, 13.6), 10**6: (16.1, 0.00068, 0.0236, 192.0)}
    columns = ("radius", "rate", "gradient_certified", "lipschitz_certified")
    close, seen = True, []
    for horizon, numbers in expected.items():
        found = [float(plans.where(T=horizon)[name][0]) for name in columns]
        close &= all(abs(a / b - 1) < 0.1 for a, b in zip(found, numbers, strict=True))
        seen.append(
            f"T = {horizon:,}: r = {found[0]:.3g}, rate {found[1]:.3g}, gradient {found[2]:.3g}, "
            f"Lip {found[3]:.3g}"
        )
    slope = _last_slope(plans)
    return Claim(
        "Certified energy schedule (observation 6)",
        "T = 1,000: r = 2.42, rate .0154, gradient .157, Lip 13.6; T = 1,000,000: r = 16.1, rate "
        ".00068, gradient .0236, Lip 192; slope -0.255 at the end (other draws, so within 10 %).",
        f"{'; '.join(seen)}; slope {slope:.3f}.",
        close and abs(slope + 0.255) < 0.01,
    )
