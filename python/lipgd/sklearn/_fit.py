"""Trainings that find their own learning rate, and stop by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd import losses
from lipgd._risk import risk
from lipgd._step_rule import meet_target
from lipgd.history import History
from lipgd.network import Network
from lipgd.run import Run, Snapshot
from lipgd.schedules import ScheduleLike
from lipgd.theory.convergence._sharpness import largest_curvature
from lipgd.training import train
from lipgd.types import FloatArray

__all__ = ["Data", "Fit", "Stopping", "fit"]

#: Chunks between changes of a rate that is found automatically.
_CHUNKS_PER_RATE = 4
#: A rate that served so long may be too small; one that made the risk rise was too large.
_GROWTH, _SHRINKAGE = 2.0, 0.5
#: Rates in a row that made the risk rise before it is as low as rounding lets it be.
_MOST_REJECTIONS = 30
#: Adam's steps have this size in every parameter, whatever the curvature.
_ADAM_RATE = 1e-2
#: Products with the Hessian for the first rate: it is tested by the risk all the same.
_CURVATURE_PRODUCTS = 12


@dataclass(frozen=True)
class Data:
    """Samples, what the loss compares the outputs with, and weights or None."""

    X: FloatArray
    y: Any
    weight: FloatArray | None = None


@dataclass(frozen=True)
class Stopping:
    """When a training ends before its last step.

    The score is the validation risk where there is validation data, else the training risk with
    the penalty whose gradient is the weight decay. It ends when the score has not fallen by the
    part ``tol`` of itself during ``patience`` chunks.
    """

    chunk: int
    tol: float
    patience: int
    validation: Data | None = None


@dataclass
class Fit:
    """The outcome: the network, its history, and how it ended."""

    network: Network
    history: History
    n_iter: int
    converged: bool
    stopped: bool


#: Called with (step, network, score) after each chunk; a true answer stops.
Watch = Callable[[int, Network, float], object]


def fit(
    net: Network,
    data: Data,
    *,
    loss: str,
    rate: ScheduleLike | None,
    steps: int,
    stopping: Stopping,
    watch: Watch,
    options: dict[str, Any],
) -> Fit:
    """Train a network; a rate of None is found from the curvature and tested by the risk.

    The descent and what it is compared with begin at a network that keeps the limit: one beyond it
    may have a smaller risk than all that follow.
    """
    start, target = net, options["constraint"]
    if target is not None:
        start = meet_target(net, list(net._layout.names), target)
    judge = _Judge(start, data, loss, stopping, watch, options)
    if rate is None:
        # Weights that were lowered to the limit are flat together, and not for long.
        return _automatic(net, data, loss, steps, judge, options)
    run = _train(start, data, loss, rate, steps, judge, options)
    judge.finish(run.network, run.steps)
    return judge.outcome([(0, run)])


def first_rate(net: Network, data: Data, loss: str, options: dict[str, Any]) -> float:
    """Return 1 / S with the curvature S of the outputs, weighed by the smoothness of the loss.

    That is the curvature of the risk without the curvature of the network itself: it is positive
    where that of the risk may vanish, as in flat parts of relu. Weight decay adds its own.
    """
    threads, kind = options.get("n_threads"), losses.get(loss)
    outputs = net(data.X, n_threads=threads)
    weight, share = _parabolas(kind, outputs, data)
    scale = share * kind.smoothness(net.n_outputs) / losses.get("mse").smoothness(net.n_outputs)
    curvature = scale * largest_curvature(
        net,
        data.X,
        outputs,  # at the minimum of the squared error, its curvature is that of the outputs
        "mse",
        weight,
        iterations=_CURVATURE_PRODUCTS,
        n_threads=threads,
    )
    curvature += max(options.get("weight_decay", {}).values(), default=0.0)
    return 1.0 / curvature if curvature > 0 and math.isfinite(1.0 / curvature) else 1.0


def _parabolas(
    kind: losses.Loss, outputs: FloatArray, data: Data
) -> tuple[FloatArray | None, float]:
    """Return weights for parabolas above the losses, and their mean.

    Huber's loss lies below the parabola that touches it at a residual r, whose curvature is the
    part delta / abs(r) of its largest one: far from the minimum that allows larger steps.
    """
    if kind.kind != "huber":
        return data.weight, 1.0
    residuals = np.abs(outputs.astype(np.float64) - data.y.reshape(outputs.shape))
    parts = kind.parameter / np.maximum(residuals.min(axis=1), kind.parameter)
    weight = parts if data.weight is None else parts * data.weight
    return weight, float(np.average(parts, weights=data.weight))


def _train(
    net: Network,
    data: Data,
    loss: str,
    rate: ScheduleLike,
    steps: int,
    judge: _Judge,
    options: dict[str, Any],
) -> Run:
    return train(
        net,
        data.X,
        data.y,
        loss=loss,
        rate=rate,
        steps=steps,
        sample_weight=data.weight,
        record=("risk",),
        callback=judge,
        callback_every=judge.stopping.chunk,
        **options,
    )


def _automatic(
    net: Network, data: Data, loss: str, steps: int, judge: _Judge, options: dict[str, Any]
) -> Fit:
    """Descend with a rate that grows while it serves, from the last good network each time."""
    adam = options.get("update") == "adam"
    rate, rejections = _ADAM_RATE if adam else first_rate(net, data, loss, options), 0
    runs: list[tuple[int, Run]] = []
    segment = _CHUNKS_PER_RATE * judge.stopping.chunk
    while judge.step < steps and not judge.over and rejections < _MOST_REJECTIONS:
        begin = judge.begin_segment()
        seeds = {} if options.get("batch_size") is None else {"shuffle_seed": _seed(options, begin)}
        run = _train(
            judge.network,
            data,
            loss,
            rate,
            min(segment, steps - begin),
            judge,
            {**options, **seeds},
        )
        if judge.step > begin:
            runs.append((begin, run))
        if judge.rejected or run.status == "diverged":
            rate, rejections = rate * _SHRINKAGE, rejections + 1
        else:
            rate, rejections = rate * _GROWTH, 0
    judge.converged = judge.converged or rejections == _MOST_REJECTIONS
    return judge.outcome(runs)


def _seed(options: dict[str, Any], begin: int) -> int:
    """Return the seed of the batches of a segment."""
    return int(np.random.SeedSequence((options["shuffle_seed"], begin)).generate_state(1)[0])


@dataclass
class _Judge:
    """Looks at the network after every chunk: whether it is better, and whether it is enough."""

    network: Network
    data: Data
    loss: str
    stopping: Stopping
    watch: Watch
    options: dict[str, Any]
    step: int = 0  #: the last step whose network was accepted
    converged: bool = False
    stopped: bool = False
    rejected: bool = False
    _begin: int = 0
    _automatic: bool = False
    _waited: int = 0

    def __post_init__(self) -> None:
        self._objective = self._objective_of(self.network)
        self._best = self._reference = self._score(self.network)
        self._best_network = self.network

    @property
    def over(self) -> bool:
        return self.converged or self.stopped

    def begin_segment(self) -> int:
        """Return the step from which the next rate starts."""
        self._begin, self._automatic, self.rejected = self.step, True, False
        return self.step

    def __call__(self, snapshot: Snapshot) -> bool:
        """Look at a training after a chunk; True stops it."""
        value = self._objective_of(snapshot.network)
        if self._automatic and not value <= self._objective:
            self.rejected = True
            return True
        self._objective = value
        self._accept(self._begin + snapshot.step, snapshot.network)
        return self.over

    def finish(self, network: Network, step: int) -> None:
        """Take the end of a training that was not looked at: a divergence keeps its network."""
        if step > self.step and not self.over:
            self.network, self.step = network, step

    def outcome(self, runs: list[tuple[int, Run]]) -> Fit:
        network = self.network if self.stopping.validation is None else self._best_network
        return Fit(network, _joined(runs, self.step), self.step, self.converged, self.stopped)

    def _accept(self, step: int, network: Network) -> None:
        self.network, self.step = network, step
        score = self._score(network)
        if score < self._best:
            self._best, self._best_network = score, network
        if score < self._reference * (1.0 - self.stopping.tol):
            self._reference, self._waited = score, 0
        else:
            self._waited += 1
        self.converged = self.stopping.tol > 0 and self._waited >= self.stopping.patience
        self.stopped = bool(self.watch(step, network, score))

    def _score(self, network: Network) -> float:
        validation = self.stopping.validation
        return self._objective if validation is None else self._risk_on(validation, network)

    def _objective_of(self, network: Network) -> float:
        """Return what the descent makes small: the risk, and the penalty of the weight decay."""
        named = dict(network.named())
        decays = self.options.get("weight_decay", {})
        penalty: float = sum(
            rate / 2 * float(np.sum(np.square(named[name], dtype=np.float64)))
            for name, rate in decays.items()
        )
        return self._risk_on(self.data, network) + penalty

    def _risk_on(self, data: Data, network: Network) -> float:
        threads = self.options.get("n_threads")
        return risk(network, data.X, data.y, self.loss, data.weight, threads)


def _joined(runs: list[tuple[int, Run]], last: int) -> History:
    """Return the accepted rows of trainings that followed each other as one history."""
    steps, values = [], []
    for number, (begin, run) in enumerate(runs):
        end = runs[number + 1][0] if number + 1 < len(runs) else last + 1
        shifted = run.history.step + begin
        kept = shifted < end
        steps.append(shifted[kept])
        values.append(run.history["risk"][kept])
    if not runs:
        return History([], {"risk": []})
    return History(np.concatenate(steps), {"risk": np.concatenate(values)}, runs[0][1].history.meta)
