"""What the trainings share: data, networks, and what is read off a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import lipgd
from lipgd.dynamics import Prediction, Recording
from lipgd.experiments import _charts as charts
from lipgd.experiments._rows import Rows
from lipgd.run import Run
from lipgd.types import DoubleArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PARTS", "Data", "along", "digits", "draw", "facts", "network", "percent", "train"]

_SAMPLES = 1500
_SIZES = (64, 64, 32, 10)
#: Parts of a prediction, and the words for them.
PARTS = {
    "drift": "drift along the gradient",
    "noise_curvature": "noise-curvature",
    "ito": "Ito term",
    "finite_step": "finite step",
}


@dataclass(frozen=True, eq=False)
class Data:
    """Samples with classes."""

    X: DoubleArray
    y: npt.NDArray[np.int64]


def digits(wrong: float = 0.0, samples: int = _SAMPLES) -> Data:
    """Return the first images, standardized; a share of the labels is drawn at random."""
    found = lipgd.data.load("digits")
    X = np.asarray(found.X, np.float64)[:samples]
    y = np.array(found.y[:samples], np.int64)
    rng = np.random.default_rng(0)
    drawn = rng.permutation(len(y))[: round(wrong * len(y))]
    y[drawn] = rng.integers(10, size=len(drawn))
    return Data((X - X.mean(axis=0)) / (X.std(axis=0) + 1e-8), y)


def network(
    activation: str, seed: int, scale: float = 1.0, sizes: tuple[int, ...] = _SIZES
) -> lipgd.Network:
    """Return the network of dynamics.md, section 13; the weights are multiplied by ``scale``."""
    net = lipgd.Network.create(list(sizes), activation, "torch", seed=seed)
    return lipgd.Network([scale * w for w in net.weights], net.biases, net.activation)


def train(net: lipgd.Network, data: Data, **settings: Any) -> Run:
    """Train with cross-entropy on one thread, recording what predictions need."""
    plain = {
        "loss": "cross_entropy",
        "rate": 0.1,
        "batch_size": 32,
        "record": ("lipschitz_dynamics", "risk"),
        "dynamics": Recording(diagonal=False),
    }
    return lipgd.train(net, data.X, data.y, **{**plain, **settings}, n_threads=1)


def facts(found: Prediction) -> dict[str, Any]:
    """Return what a table shows of a prediction at its end."""
    moved = float(found.observed[-1] - found.observed[0])
    return {
        "change": moved,
        "predicted": float(found.predicted[-1] - found.predicted[0]),
        "standard_error": float(found.standard_error[-1]),
        "z": float(found.z[-1]),
        **{part: float(getattr(found, part)[-1]) for part in PARTS},
        "replay_error": float(found.error("replay")[1:].mean()),
    }


def along(found: Prediction, most: int = 60) -> list[dict[str, Any]]:
    """Return rows along a prediction, with all its parts."""
    rows = np.unique(np.linspace(0, found.rows - 1, most).astype(int))
    return [
        {
            "step": int(found.step[i]),
            "Z": float(found.observed[i]),
            "Z_predicted": float(found.predicted[i]),
            "Z_error": float(found.standard_error[i]),
            "Z_replay": float(found.replay[i]),
            **{f"{part}_so_far": float(getattr(found, part)[i]) for part in PARTS},
        }
        for i in rows
    ]


def draw(ax: Axes, rows: Rows, place: int, label: str) -> None:
    """Draw Z along a training, and its prediction with two standard errors to either side."""
    color = charts.point_style(place)["color"]
    step, predicted, error = rows["step"], rows["Z_predicted"], 2.0 * rows["Z_error"]
    ax.plot(step, rows["Z"], color=color, label=f"{label}, observed")
    ax.plot(step, predicted, "--", color="#333333", linewidth=1.0)
    ax.fill_between(step, predicted - error, predicted + error, color=color, alpha=0.2, linewidth=0)


def percent(value: float) -> str:
    """Return a share in words."""
    return f"{100.0 * value:.3g} %"
