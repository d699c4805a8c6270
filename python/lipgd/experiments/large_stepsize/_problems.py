"""What the trainings share: data, mean-field networks, and what is read off a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import lipgd
from lipgd import margins
from lipgd.experiments._prepare import split, standardize
from lipgd.experiments._rows import exponent
from lipgd.run import Run
from lipgd.types import DoubleArray

__all__ = [
    "Data",
    "accuracy",
    "cloud",
    "curve",
    "descend",
    "digits",
    "mean_field",
    "opposed",
    "positions",
    "summary",
    "tidy",
    "word",
    "xor",
]

#: Names of activations as the page writes them.
_WORDS = {"leaky(softplus, 0.5)": "leaky softplus", "gelu": "GELU", "silu": "SiLU"}


@dataclass(frozen=True, eq=False)
class Data:
    """Samples with signs, and others to test on, if there are any."""

    X: Any
    y: DoubleArray
    X_test: Any = None
    y_test: Any = None


def xor(lift: float | None = None) -> Data:
    """Return the four corners, with a third coordinate that separates them if it is lifted."""
    found = lipgd.data.xor(lift=lift)
    return Data(found.X, np.asarray(found.y, np.float64))


def opposed(margin: float = 0.1) -> Data:
    """Return two samples that nearly oppose each other, those of section 5 ("slower")."""
    height = math.sqrt(1.0 - margin**2)
    return Data(np.array([[margin, height], [margin, -0.5 * height]]), np.ones(2))


def cloud(n_samples: int, n_inputs: int, gap: float, seed: int, n_test: int = 0) -> Data:
    """Return Gaussian inputs of length about 1 on both sides of a hyperplane, by gap apart.

    With a negative gap the classes overlap.
    """
    rng = np.random.default_rng([seed, n_samples, n_inputs])
    X = rng.standard_normal((n_samples + n_test, n_inputs))
    y = np.where(X[:, 0] >= 0.0, 1.0, -1.0)
    X[:, 0] += gap * y
    X /= math.sqrt(n_inputs)
    return Data(X[:n_samples], y[:n_samples], X[n_samples:], y[n_samples:])


def digits(seed: int) -> Data:
    """Return the digits 3 and 8, standardized and scaled to length about 1."""
    found = lipgd.data.load("digits_3_vs_8")
    X, y, X_test, y_test = split(found.X, found.y, fraction=0.3, seed=seed, stratify=True)
    scaling = standardize(X, y, targets=False)
    length = math.sqrt(X.shape[1])
    return Data(
        scaling.inputs(X) / length,
        np.asarray(y, np.float64),
        scaling.inputs(X_test) / length,
        np.asarray(y_test, np.float64),
    )


def mean_field(
    activation: str,
    width: int,
    n_inputs: int,
    seed: int,
    *,
    scale: float = 1.0,
    size: float = 1.0,
    kind: str = "normal",
) -> lipgd.Network:
    """Return ``f = (b / m) sum a_j phi(x . w_j)`` with balanced signs.

    ``scale`` is b; ``size`` the standard deviation of the hidden weights times the root of the
    number of inputs; ``kind`` their law: normal, uniform or rademacher.
    """
    rng = np.random.default_rng([seed, width, n_inputs])
    draws: dict[str, Callable[[tuple[int, int]], Any]] = {
        "normal": rng.standard_normal,
        "uniform": lambda shape: rng.uniform(-math.sqrt(3.0), math.sqrt(3.0), shape),
        "rademacher": lambda shape: rng.choice([-1.0, 1.0], shape),
    }
    hidden = draws[kind]((width, n_inputs)) * size / math.sqrt(n_inputs)
    signs = np.resize([1.0, -1.0], (1, width))
    return lipgd.Network([hidden, signs], None, activation, scale / width)


def descend(
    net: lipgd.Network,
    data: Data,
    stepsize: float,
    steps: int,
    record: Sequence[str] = ("log_risk",),
    frozen: Sequence[str] = ("W2",),
    record_every: int = 1,
) -> Run:
    """Train with the logistic loss at a constant stepsize, on one thread."""
    return lipgd.train(
        net,
        data.X,
        data.y,
        loss="logistic",
        rate=stepsize,
        steps=steps,
        frozen=frozen,
        record=record,
        record_every=record_every,
        n_threads=1,
    )


def positions(count: int, most: int = 90) -> npt.NDArray[np.int64]:
    """Return rows of a history, dense at its beginning, as a logarithmic axis shows them."""
    return np.unique(np.geomspace(1, count, most).astype(np.int64) - 1)


def curve(run: Run, columns: Sequence[str] = ("log_risk",)) -> list[dict[str, Any]]:
    """Return rows of a history as mappings."""
    history = run.history
    return [
        {"step": int(history.step[i]), **{name: float(history[name][i]) for name in columns}}
        for i in positions(len(history))
    ]


def summary(run: Run, data: Data) -> dict[str, Any]:
    """Return phases and rate of a training: what the tables show."""
    found = margins.phases(run, data.X, data.y)
    logs, step = run.history["log_risk"], run.history.step
    late = step >= max(run.steps // 10, found.observed, 1)
    rate = _decay(step[late], logs[late])
    time = found.transition_time
    return {
        "observed": found.observed,
        "certified": found.certified,
        "spectral": found.spectral,
        "margin": found.margin,
        "paper": found.paper,
        "transition_bound": None if time is None else math.ceil(time),
        "log_risk": float(logs[-1]),
        "scaled": math.exp(float(logs[-1]) + math.log(max(run.steps, 1) * _stepsize(run))),
        "decay": rate,
        "peak": float(np.exp(min(logs.max() - logs[0], 300.0))),
        "reasons": "; ".join(sorted({code for codes in found.reasons.values() for code in codes})),
    }


def accuracy(net: lipgd.Network, X: Any, y: Any) -> float:
    """Return the share of samples with the right sign."""
    return float(np.mean(np.sign(net(X, n_threads=1)[:, 0]) == y))


def word(activation: str) -> str:
    """Return the name of an activation for people."""
    return _WORDS.get(activation, activation)


def tidy(value: float) -> float | int:
    """Return a whole number as an int, which tables and legends show without a point."""
    return int(value) if float(value).is_integer() else value


def _stepsize(run: Run) -> float:
    return float(next(iter(run.settings.rates.values()))[0])


def _decay(step: Any, logs: Any) -> float:
    """Return the exponent of the risk as a power of the step."""
    rows = positions(len(step), 200)
    # The largest logarithm is taken out, so that nothing underflows.
    return exponent(step[rows], np.exp(logs[rows] - logs[rows].max()))
