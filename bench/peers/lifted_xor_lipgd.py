"""lipgd on lifted XOR, through its public interface: argument checks are part of the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import lipgd
from problem import RECORDED_MARGINS, XorStart


def prepare(given: XorStart, dtype: str, threads: int) -> Callable[[int], list[Any]]:
    signs = given.signs[None, :]
    scale = 1.0 / len(given.signs)
    net = lipgd.Network([given.weights, signs], None, "leaky(softplus, 0.5)", scale)

    def train(steps: int) -> list[Any]:
        run = lipgd.train(
            net,
            given.X,
            given.y,
            loss="logistic",
            rate=given.rate,
            steps=steps,
            frozen=("W2",),
            record=RECORDED_MARGINS,
            record_every=given.record_every,
            n_threads=threads,
        )
        if run.status != "finished":
            raise RuntimeError(f"the run ended as {run.status}: {run.message}")
        table = np.stack([run.history[name] for name in RECORDED_MARGINS], axis=1)
        return [run.network.weights[0], table[: steps // given.record_every]]

    return train
