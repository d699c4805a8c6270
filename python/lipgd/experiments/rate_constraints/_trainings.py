"""What the trainings share: data on the cube, networks, and the measurements at a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import lipgd
from lipgd.experiments._rows import Rows
from lipgd.types import DoubleArray

__all__ = [
    "Data",
    "at_risk",
    "compare",
    "cube",
    "curves",
    "named",
    "network",
    "on_average",
    "percent",
    "row_of",
    "starts",
]

#: Samples of the test part, which are also the points of the local Lipschitz constant.
_TEST = 2000
_NOISE = 0.1


@dataclass(frozen=True, eq=False)
class Data:
    """Samples to train on, and others to test on.

    Attributes
    ----------
    X, y : ndarray, shapes (n_samples, n_inputs) and (n_samples,)
        To train on.
    X_test, y_test : ndarray, shapes (n_test, n_inputs) and (n_test,)
        To test on; the local Lipschitz constant is the largest Jacobian norm on these points.
    """

    X: DoubleArray
    y: Any
    X_test: DoubleArray
    y_test: Any

    @property
    def test(self) -> tuple[DoubleArray, Any]:
        """The test part as a pair."""
        return self.X_test, self.y_test


def cube(n_samples: int, seed: int, n_inputs: int = 4) -> Data:
    """Return ``x`` uniform on the cube, ``y = sin(pi x_1) + x_2 x_3 / 2`` and noise of 0.1.

    With less than three inputs the product is that of the first and the last.
    """
    rng = np.random.default_rng([seed, n_samples, n_inputs])

    def draw(count: int) -> tuple[DoubleArray, DoubleArray]:
        X = rng.uniform(-1.0, 1.0, (count, n_inputs))
        second, third = (1, 2) if n_inputs > 2 else (0, -1)
        clean = np.sin(np.pi * X[:, 0]) + X[:, second] * X[:, third] / 2
        return X, clean + _NOISE * rng.standard_normal(count)

    return Data(*draw(n_samples), *draw(_TEST))


def network(
    data: Data,
    width: int = 100,
    *,
    activation: str = "relu",
    init: str = "torch",
    seed: int = 0,
    depth: int = 2,
    n_outputs: int = 1,
) -> lipgd.Network:
    """Return a network for the data; He's start has an outer layer of variance 1 / width."""
    law = f"{init}_normal" if init == "he" else init
    sizes = [data.X.shape[1], *[width] * (depth - 1), n_outputs]
    net = lipgd.Network.create(sizes, activation, init=law, seed=seed)
    if init != "he":
        return net
    *inner, outer = net.weights
    return lipgd.Network([*inner, outer / np.sqrt(2.0)], net.biases, net.activation)


#: What a history needs for :func:`row_of` and :func:`at_risk`.
CURVES = ("risk", "validation_risk", "lipschitz_lower", "lipschitz_upper")
#: Rows of the histories that are compared.
_ROWS = 30


def curves(net: lipgd.Network, data: Data, rate: Any, steps: int, **options: Any) -> lipgd.Run:
    """Train with one thread, and record risks and Lipschitz constants some thirty times."""
    settings = {"loss": "huber", "record": CURVES, "record_every": max(1, steps // _ROWS)}
    return lipgd.train(
        net,
        data.X,
        data.y,
        rate=rate,
        steps=steps,
        points=data.X_test,
        validation=data.test,
        n_threads=1,
        **{**settings, **options},
    )


def row_of(history: lipgd.History, row: int = -1) -> dict[str, float]:
    """Return local and product Lipschitz constant, training and test risk of a recorded row."""
    names = {"local": 2, "product": 3, "risk": 0, "test_risk": 1}
    return {name: float(history[CURVES[place]][row]) for name, place in names.items()}


def at_risk(history: lipgd.History, risk: float, column: str = "lipschitz_lower") -> float:
    """Return a column where the training risk first falls to a value, NaN if it never does."""
    risks, values = history["risk"], history[column]
    below = np.flatnonzero(risks <= risk)
    if not below.size:
        return float("nan")
    row = int(below[0])
    if row == 0:
        return float(values[0])
    high, low = float(risks[row - 1]), float(risks[row])
    part = (high - risk) / (high - low) if high > low else 1.0
    return float(values[row - 1] + part * (values[row] - values[row - 1]))


def compare(
    net: lipgd.Network, data: Data, rates: Mapping[str, Any], steps: int, **options: Any
) -> list[dict[str, Any]]:
    """Train from one start with every rate, and say what each ends with.

    ``same_risk`` is the local Lipschitz constant that the first of the rates had on its way when
    its training risk was the one that this rate ends with.
    """
    runs = {name: curves(net, data, rate, steps, **options) for name, rate in rates.items()}
    first = next(iter(runs.values())).history
    return [
        {
            "schedule": name,
            "status": run.status,
            **row_of(run.history),
            "local_start": float(run.history["lipschitz_lower"][0]),
            "same_risk": at_risk(first, float(run.history["risk"][-1])),
        }
        for name, run in runs.items()
    ]


def starts(rows: Rows) -> Rows:
    """Return rows with a column ``start``: the initialisation and the activation in words."""
    names = [f"{init}, {kind}" for init, kind in zip(rows["init"], rows["activation"], strict=True)]
    cells = ((*cell, name) for cell, name in zip(rows.cells, names, strict=True))
    return Rows((*rows.columns, "start"), tuple(cells))


def on_average(values: Any) -> str:
    """Return the mean of some numbers as text of three digits."""
    return f"{float(np.mean(values)):.3g}"


def named(names: Sequence[Any], last: str = "and") -> str:
    """Return names as a list in words, ``none`` if there are none."""
    texts = [str(name) for name in names]
    if len(texts) < 2:
        return texts[0] if texts else "none"
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def percent(ratio: float) -> str:
    """Return a ratio as a difference in words: ``3 % above``, ``12 % below``, ``the same as``."""
    if not np.isfinite(ratio):
        return "not comparable with"
    difference = 100 * (ratio - 1)
    if abs(difference) < 0.5:
        return "the same as"
    return f"{abs(difference):.0f} % {'above' if difference > 0 else 'below'}"
