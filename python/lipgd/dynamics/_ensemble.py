"""Many trainings from one network against the formulas: sections 4.1 and 4.2 of dynamics.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lipgd._check import flag, integer, shown
from lipgd._columns import DYNAMICS
from lipgd._recording import Recording
from lipgd._threads import thread_choice
from lipgd.dynamics._descent_problem import DescentProblem
from lipgd.dynamics._noise_in_time import NoiseInTime
from lipgd.dynamics._predict import predict
from lipgd.dynamics._prediction import Prediction
from lipgd.dynamics._propagation import NoiseFreePath, propagated_variance
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray, IndexArray

if TYPE_CHECKING:
    from lipgd.run import Run
    from lipgd.schedules import ScheduleLike

__all__ = ["Ensemble", "ensemble"]

#: Target steps of the propagated variance, if the caller names none.
_TARGETS = 4


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Z, the sum of the layers' log norms, over many trainings that differ in their batches alone.

    Attributes
    ----------
    step : ndarray of int64, shape (rows,)
        The steps taken.
    observed : ndarray, shape (runs, rows)
        Z of every run.
    predictions : tuple of Prediction
        One per run (see :func:`predict`).
    mean, variance : ndarray, shape (rows,)
        Of Z over the runs.
    noise_free : ndarray, shape (rows,)
        Z along the steps with the gradient over all samples.
    targets : ndarray of int64, shape (targets,)
        The rows' steps for which the propagated variance was computed.
    propagated : ndarray, shape (targets,)
        The variance between runs that noise propagated along the noise-free path gives (4.1), to
        leading order. At the end of a reshuffled epoch that order cancels for the most part, and
        what is left of the variance, little, is of higher order.
    innovation : ndarray, shape (rows,)
        The mean of the summed conditional variances, the integral of lambda^2: the variance of the
        innovation part alone, not that between runs (4.2).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> found = lipgd.dynamics.ensemble(
    ...     net, X, X[:, 0], loss="mse", runs=8, steps=40, batch_size=10, rate=0.1)
    >>> found.observed.shape, found.targets.tolist(), found.propagated.shape
    ((8, 5), [10, 20, 30, 40], (4,))
    >>> print(found)  # doctest: +ELLIPSIS
    8 runs of 40 steps: ...
    """

    step: IndexArray = field(repr=False)
    observed: DoubleArray = field(repr=False)
    predictions: tuple[Prediction, ...] = field(repr=False)
    noise_free: DoubleArray = field(repr=False)
    targets: IndexArray = field(repr=False)
    propagated: DoubleArray = field(repr=False)
    mean: DoubleArray = field(init=False, repr=False)
    variance: DoubleArray = field(init=False, repr=False)
    innovation: DoubleArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.observed.mean(axis=0))
        object.__setattr__(self, "variance", self.observed.var(axis=0, ddof=1))
        innovation = np.mean([p.variance for p in self.predictions], axis=0)
        object.__setattr__(self, "innovation", innovation)

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self.observed)

    @property
    def z(self) -> DoubleArray:
        """The z-scores of the predictions, (runs, rows)."""
        return np.stack([p.z for p in self.predictions])

    def average(self, part: str) -> DoubleArray:
        """Return the mean over the runs of an array of their predictions, (rows,).

        Parameters
        ----------
        part : str
            An attribute of :class:`Prediction` such as ``"drift"`` or ``"predicted"``.
        """
        if not isinstance(getattr(self.predictions[0], part, None), np.ndarray):
            raise ValueError(f"part is {shown(part)}, expected an array of Prediction")
        mean: DoubleArray = np.mean([getattr(p, part) for p in self.predictions], axis=0)
        return mean

    def table(self) -> list[dict[str, float]]:
        """Return what each formula explains, one row per target step.

        The keys: ``step``; ``mean_change`` of Z with its ``mean_error``; the parts of its
        prediction ``drift``, ``noise_curvature``, ``ito``, ``finite_step`` and ``epoch`` (of
        reshuffled epochs alone); ``unexplained``, the
        mean of observed minus predicted, with its ``unexplained_error``, and
        ``replay_unexplained``, which is free of first-order noise; ``noise_free``, the change
        without noise; ``variance`` between runs, with its relative error ``variance_error``;
        ``propagated`` (4.1) and ``innovation`` (the integral of lambda^2) over it.
        """
        rows = []
        root = math.sqrt(self.runs)
        for target, propagated in zip(self.targets, self.propagated, strict=True):
            at = int(np.flatnonzero(self.step == target)[0])
            left = np.array([p.observed[at] - p.predicted[at] for p in self.predictions])
            variance = float(self.variance[at])
            row = {
                "step": float(target),
                "mean_change": float(self.mean[at] - self.mean[0]),
                "mean_error": math.sqrt(variance) / root,
                **{
                    part: float(self.average(part)[at])
                    for part in ("drift", "noise_curvature", "ito", "finite_step", "epoch")
                },
                "unexplained": float(left.mean()),
                "unexplained_error": float(left.std(ddof=1)) / root,
                "replay_unexplained": float(self.mean[at] - self.average("replay")[at]),
                "noise_free": float(self.noise_free[at] - self.noise_free[0]),
                "variance": variance,
                "variance_error": math.sqrt(2 / (self.runs - 1)),
                "propagated": float(propagated) / variance if variance > 0 else math.nan,
                "innovation": float(self.innovation[at]) / variance if variance > 0 else math.nan,
            }
            rows.append(row)
        return rows

    def __str__(self) -> str:
        z = self.z[:, 1:]
        known = z[np.isfinite(z)]
        lines = [
            f"{self.runs} runs of {self.step[-1]} steps: root mean square z-score "
            + (f"{math.sqrt(np.mean(known**2)):.2f}" if known.size else "not known (no noise)")
        ]
        for row in self.table():
            total = row["mean_change"]
            share = {
                part: f"{100 * row[part] / total:+.1f} %" if total else "-"
                for part in (
                    "drift",
                    "noise_curvature",
                    "ito",
                    "finite_step",
                    "epoch",
                    "unexplained",
                )
            }
            lines += [
                f"after {row['step']:.0f} steps",
                f"  mean change of Z {total:+.5f} +- {row['mean_error']:.5f}: drift (mu) "
                f"{share['drift']}, noise-curvature (kappa) {share['noise_curvature']}, Ito "
                f"{share['ito']}, finite step (psi) {share['finite_step']}, "
                f"earlier batches of the epoch {share['epoch']}, unexplained "
                f"{share['unexplained']} (standard error {row['unexplained_error']:.1e})",
                f"  without noise {row['noise_free']:+.5f}",
                f"  variance {row['variance']:.3e} (+- {100 * row['variance_error']:.0f} %): "
                f"noise propagated by the Hessian (4.1) gives {row['propagated']:.2f} of it; the "
                f"innovation part alone, the sum of lambda^2, is {row['innovation']:.2f} of it",
            ]
        return "\n".join(lines)


def ensemble(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    runs: int,
    steps: int,
    batch_size: int,
    loss: str | Loss = "mse",
    rate: ScheduleLike = 0.01,
    sampling: str = "independent",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float | Mapping[str, float] = 0.0,
    frozen: Iterable[str] = (),
    record_every: int = 10,
    dynamics: Recording | None = None,
    targets: Sequence[int] | None = None,
    propagate: bool = True,
    shuffle_seed: int = 0,
    n_threads: int | None = None,
) -> Ensemble:
    """Train from one network with many orders of batches, and compare with the formulas.

    Trainings run on threads, each on one; the result does not depend on their number. The cost of
    the propagated variance is a Hessian-vector product and a pass over the samples per step and
    target.

    Parameters
    ----------
    net : Network
        Where every run starts.
    X, y, loss, rate, steps, batch_size, sampling, momentum, nesterov, weight_decay, frozen
        As for :func:`lipgd.train`, with one rate for all parameters.
    runs : int
        At least 2; run i has the shuffle seed ``shuffle_seed + i``.
    record_every, dynamics
        Rows where coefficients are measured, and how.
    targets : sequence of int, optional
        Steps of rows where (4.1) is computed; by default four.
    propagate : bool
        Whether (4.1) is computed; if not, ``propagated`` is NaN.
    shuffle_seed : int
        Of the first run.
    n_threads : int, optional
        By default what the process may use.

    Returns
    -------
    Ensemble
        ``print`` says what each formula explains.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    RuntimeError
        If a run diverged.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> found = lipgd.dynamics.ensemble(net, X, X[:, 0], runs=4, steps=20, batch_size=10)
    >>> bool((found.variance[1:] > 0).all())
    True
    """
    count = integer("runs", runs, at_least=2)
    integer("steps", steps, at_least=1)
    flag("propagate", propagate)
    if isinstance(rate, Mapping):
        raise TypeError("rate is a mapping, expected one rate for all parameters")
    every = integer("record_every", record_every, at_least=1)
    if dynamics is not None and dynamics.movement is not None:
        raise ValueError("dynamics has a movement, expected the same rows for all runs")
    first = integer("shuffle_seed", shuffle_seed, at_least=0)
    rows = [*range(0, steps, every), steps]
    wanted = _targets(targets, rows)
    problem = DescentProblem.checked(net, X, y, loss, frozen, n_threads)
    settings: dict[str, Any] = {
        "loss": loss,
        "rate": rate,
        "steps": steps,
        "batch_size": batch_size,
        "sampling": sampling,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
        "frozen": frozen if isinstance(frozen, str) else tuple(frozen),
        "record": (DYNAMICS,),
        "record_every": every,
        "dynamics": dynamics,
    }
    finished = _train_all(net, X, y, settings, range(first, first + count), n_threads)
    predictions = tuple(predict(run) for run in finished)
    path = _path(problem, finished[0], rows)
    propagated = propagated_variance(path, wanted) if propagate else np.full(len(wanted), math.nan)
    return Ensemble(
        step=np.array(rows, np.int64),
        observed=np.stack([p.observed for p in predictions]),
        predictions=predictions,
        noise_free=path.log_norms,
        targets=np.array(wanted, np.int64),
        propagated=propagated,
    )


def _targets(targets: Sequence[int] | None, rows: list[int]) -> list[int]:
    if targets is None:
        places = np.linspace(0, len(rows) - 1, min(_TARGETS, len(rows) - 1) + 1)[1:]
        return [rows[round(place)] for place in places]
    wanted = [integer("targets", t, at_least=1, at_most=rows[-1]) for t in targets]
    for target in wanted:
        if target not in rows:
            raise ValueError(f"targets has {target}, expected steps of rows, such as {rows[1]}")
    return wanted


def _train_all(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    settings: dict[str, Any],
    seeds: Iterable[int],
    n_threads: int | None,
) -> list[Run]:
    from lipgd.training import train

    workers, _ = thread_choice(n_threads)
    with ThreadPoolExecutor(workers) as pool:
        waiting = [
            pool.submit(train, net, X, y, **settings, shuffle_seed=seed, n_threads=1)
            for seed in seeds
        ]
        finished = []
        try:
            for future in waiting:
                run = future.result()
                if run.status != "finished":
                    raise RuntimeError(f"a run did not finish: {run.message}")
                finished.append(run)
        finally:
            for future in waiting:
                future.cancel()
    return finished


def _path(problem: DescentProblem, run: Run, rows: Sequence[int]) -> NoiseFreePath:
    settings = run.settings
    noise = NoiseInTime(
        problem.n_samples,
        settings.batch_size or problem.n_samples,
        settings.sampling,
        settings.momentum,
        settings.nesterov,
    )
    rates = np.asarray(next(iter(settings.rates.values())))
    return NoiseFreePath(problem, rates, noise, problem.decays(settings.weight_decay), rows)
