"""Sampling trajectories: the same start, other batches, drawn in two ways."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lipgd import plotting
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.experiments._study import Claim, Findings, Picture, Request, Study, TableOf
from lipgd.experiments.dynamics._problem import digits, network, percent, train

__all__ = ["findings", "study", "training"]

_BATCH = 50
_SAMPLINGS = ("independent", "reshuffled")


def study(request: Request) -> Study:
    """Return a training per way of sampling and order of the batches."""
    epochs = request.pick(12, 3)
    runs = range(max(2, len(request.repeats(24, 6))))  # one run has no spread
    jobs = [partial(training, how, seed, epochs) for how in _SAMPLINGS for seed in runs]
    return Study("paths", "The same start, other batches", jobs, findings)


def training(sampling: str, seed: int, epochs: int) -> Sequence[dict[str, Any]]:
    """Return Z along one training, at three places of every epoch."""
    data = digits()
    epoch = len(data.X) // _BATCH
    net = network("silu", 0)
    layers = [f"spectral_norm:W{layer}" for layer in range(1, net.depth + 1)]
    run = train(
        net,
        data,
        steps=epochs * epoch,
        batch_size=_BATCH,
        sampling=sampling,
        shuffle_seed=seed,
        record=layers,
        record_every=epoch // 3,
        dynamics=None,
    )
    Z = np.sum([np.log(run.history[name]) for name in layers], axis=0)
    return [
        {
            "sampling": sampling,
            "seed": seed,
            "step": int(step),
            "epoch": step / epoch,
            "Z": float(z),
        }
        for step, z in zip(run.history.step, Z, strict=True)
    ]


def findings(rows: Rows) -> Findings:
    """Return the table, the figure and what they say."""
    spread = rows.summary(
        ["sampling", "epoch"],
        mean=("Z", np.mean),
        deviation=("Z", lambda z: float(np.std(z, ddof=1))),
    )
    ends = (row for row in spread.cells if float(row[1]).is_integer() and row[1])
    whole = Rows(spread.columns, tuple((how, int(epoch), *rest) for how, epoch, *rest in ends))
    table = TableOf(
        "paths",
        whole,
        "Mean and standard deviation over the runs of Z at the end of each epoch, by how batches "
        "are drawn: independently, or as a reshuffled epoch",
    )
    claims = [_narrow(whole, rows)]
    answer = f"How much does the order of the batches matter? {claims[0].seen}"
    return Findings([answer, table, _picture(rows)], [answer], claims)


def _narrow(whole: Rows, rows: Rows) -> Claim:
    wide, narrow = (whole.where(sampling=how) for how in _SAMPLINGS)
    start = float(rows["Z"][0])
    moved = float(wide["mean"][-1]) - start
    share = float(wide["deviation"][-1]) / abs(moved)
    ratio = float(np.median(wide["deviation"] / narrow["deviation"]))
    return Claim(
        "Sampling trajectories (section 15)",
        "another order of the batches changes Z by less than a few percent of its change; "
        "reshuffled epochs divide that several times at their ends.",
        f"The standard deviation of Z over the runs is {percent(share)} of its change at the end; "
        f"reshuffling divides it by {ratio:.1f} at the ends of epochs (median).",
        bool(share < 0.05 and ratio > 1.5),
    )


def _picture(rows: Rows) -> Picture:
    figure, axes = plotting.panels(2)
    centre = rows.summary(["epoch"], mean=("Z", np.mean))
    means = dict(zip(centre["epoch"], centre["mean"], strict=True))
    for place, (ax, how) in enumerate(zip(axes, _SAMPLINGS, strict=True)):
        part = rows.where(sampling=how)
        for seed in part.values("seed"):
            run = part.where(seed=seed)
            away = [z - means[epoch] for z, epoch in zip(run["Z"], run["epoch"], strict=True)]
            color = charts.point_style(place)["color"]
            ax.plot(run["epoch"], away, color=color, alpha=0.5, linewidth=0.8)
        charts.name_axes(ax, "epoch", "Z minus the mean", title=f"{how} batches")
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)
    return Picture(
        "paths",
        figure,
        rows,
        "Z of every run minus the mean over all runs at the same place.",
        "Bundles of lines: with reshuffled epochs they meet at the end of each epoch.",
    )
