"""What the trainings share: data on the cube, networks, and the measurements at a state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import lipgd
from lipgd.types import DoubleArray

__all__ = ["Data", "cube", "lipschitz", "network", "on_average", "share", "state"]

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
    sizes = [data.X.shape[1], *[width] * (depth - 1), n_outputs]
    net = lipgd.Network.create(
        sizes, activation, init=f"{init}_normal" if init == "he" else init, seed=seed
    )
    if init != "he":
        return net
    *inner, outer = net.weights
    return lipgd.Network([*inner, outer / np.sqrt(2.0)], net.biases, net.activation)


def state(net: lipgd.Network, data: Data, loss: str = "huber") -> dict[str, float]:
    """Return local and product Lipschitz constant, training and test risk of a network."""
    found = lipgd.train(
        net,
        data.X,
        data.y,
        loss=loss,
        steps=0,
        points=data.X_test,
        validation=data.test,
        record=("lipschitz_lower", "lipschitz_upper", "risk", "validation_risk"),
        n_threads=1,
    ).history
    return {
        "local": float(found["lipschitz_lower"][0]),
        "product": float(found["lipschitz_upper"][0]),
        "risk": float(found["risk"][0]),
        "test_risk": float(found["validation_risk"][0]),
    }


def lipschitz(history: lipgd.History, row: int) -> dict[str, float]:
    """Return the local and the product Lipschitz constant that were recorded on a row."""
    return {
        "local": float(history["lipschitz_lower"][row]),
        "product": float(history["lipschitz_upper"][row]),
    }


def on_average(values: Any) -> str:
    """Return the mean of some numbers as text of three digits."""
    return f"{float(np.mean(values)):.3g}"


def share(part: float, whole: float) -> str:
    """Return how much larger or smaller a number is than another, in words."""
    if not (np.isfinite(part) and np.isfinite(whole)) or whole == 0:
        return "not comparable with"
    percent = 100 * (part / whole - 1)
    if abs(percent) < 0.5:
        return "as large as"
    return f"{abs(percent):.0f} % {'larger' if percent > 0 else 'smaller'} than"
