"""The networks on which certificates are compared, the same on every machine up to rounding."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

import lipgd


@dataclass(frozen=True)
class Case:
    """A two-layer network, random or after some training on noisy waves."""

    width: int
    inputs: int
    outputs: int
    activation: str
    trained: bool

    @property
    def name(self) -> str:
        """What stands in tables and files."""
        kind = "trained" if self.trained else "random"
        return f"{self.inputs}-{self.width}-{self.outputs} {self.activation} {kind}"

    def network(self) -> lipgd.Network:
        """Return the network."""
        seed = 1000 * self.width + 10 * self.inputs + self.outputs
        sizes = [self.inputs, self.width, self.outputs]
        net = lipgd.Network.create(sizes, activation=self.activation, seed=seed)
        if not self.trained:
            return net
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(300, self.inputs))
        waves = np.sin(X @ rng.normal(size=(self.inputs, self.outputs)))
        y = waves + 0.1 * rng.normal(size=waves.shape)
        return lipgd.train(net, X, y, rate=0.02, steps=500, record=()).network


def cases() -> list[Case]:
    """Return the cases of the committed table, from narrow to wide."""
    shapes = [(2, 1), (10, 3), (64, 10)]
    kinds = list(itertools.product(("relu", "silu", "tanh"), (False, True)))
    return [
        Case(width, *shapes[(i + j) % 3], *kinds[(2 * i + j) % 6])
        for i, width in enumerate((20, 50, 100, 200))
        for j in range(6)
    ]
