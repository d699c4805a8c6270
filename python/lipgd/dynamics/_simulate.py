"""Paths of the stochastic differential equation of gradient descent: section 3 of dynamics.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from lipgd._check import choice, integer, number
from lipgd._threads import thread_choice
from lipgd.dynamics._descent_problem import DescentProblem
from lipgd.dynamics._noise_root import NoiseRoot, root_of, scale_of
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray, IndexArray

__all__ = ["Simulation", "simulate"]

_DRIFTS = ("modified", "plain")


@dataclass(frozen=True, eq=False)
class Simulation:
    """Log norms along paths of the equation.

    Attributes
    ----------
    step : ndarray of int64, shape (rows,)
        The time, in steps of gradient descent of the same rate.
    time : ndarray, shape (rows,)
        The time of the equation, ``rate * step``.
    layers : ndarray, shape (paths, rows, layers)
        The log norms.
    """

    step: IndexArray = field(repr=False)
    time: DoubleArray = field(repr=False)
    layers: DoubleArray = field(repr=False)

    @property
    def observed(self) -> DoubleArray:
        """Z, the sum of the layers' log norms: (paths, rows)."""
        total: DoubleArray = self.layers.sum(axis=2)
        return total

    @property
    def mean(self) -> DoubleArray:
        """The mean of Z over the paths, (rows,)."""
        mean: DoubleArray = self.observed.mean(axis=0)
        return mean

    @property
    def variance(self) -> DoubleArray:
        """The variance of Z between the paths, (rows,); NaN for a single one."""
        if len(self.layers) == 1:
            return np.full(len(self.step), math.nan)
        variance: DoubleArray = self.observed.var(axis=0, ddof=1)
        return variance


def simulate(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    batch_size: int,
    rate: float,
    steps: int,
    loss: str | Loss,
    paths: int = 1,
    substeps: int = 1,
    drift: str = "modified",
    rank: int | None = None,
    refresh: int = 1,
    sampling: str = "independent",
    weight_decay: float | Mapping[str, float] = 0.0,
    frozen: Iterable[str] = (),
    record_every: int = 10,
    seed: int = 0,
    n_threads: int | None = None,
) -> Simulation:
    """Simulate dTheta = -grad L dt + sqrt(rate) Sigma^(1/2) dB by Euler and Maruyama's scheme.

    A step of gradient descent takes the time ``rate``, which is cut into ``substeps``. The noise is
    that of the current parameters, exactly (a combination of the samples' gradients, section 5.5),
    or from a root of a lower rank.

    Parameters
    ----------
    net, X, y, batch_size, loss, frozen
        As for :func:`coefficients`.
    rate : float
        Of gradient descent: the noise per time, and the unit of time.
    steps : int
        The time, in steps of gradient descent.
    paths : int
        How many paths; path i is a function of ``seed`` and i.
    substeps : int
        Euler steps per step of gradient descent.
    drift : {"modified", "plain"}
        ``"plain"`` follows the gradient, and agrees with gradient descent to weak order one in the
        rate; ``"modified"`` follows that of ``L + rate/4 |grad L|^2`` and agrees to order two:
        the equation itself then supplies the finite-step term psi, which must not be added to its
        prediction again (3.4). The part of this correction that Euler's own step makes is left out:
        with one substep nothing is left of it, and a step is one of gradient descent with Gaussian
        noise.
    rank : int, optional
        Use a root of this rank (:func:`noise_root`) instead of the whole noise.
    refresh : int
        Euler steps for which a root is kept.
    sampling : {"independent", "replacement"}
        How batches are drawn (5.1).
    weight_decay : float or mapping of str to float
        Part of the gradient of L.
    record_every : int
        Rows at every so many steps, and at the end.
    seed : int
        Of the noise.
    n_threads : int, optional
        Paths run at once; by default what the process may use.

    Returns
    -------
    Simulation

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> found = lipgd.dynamics.simulate(
    ...     net, X, X[:, 0], batch_size=5, rate=0.1, steps=20, loss="mse", paths=4, substeps=2)
    >>> found.layers.shape, found.step.tolist()
    ((4, 3, 2), [0, 10, 20])
    """
    from lipgd._plan import _names, _weight_decay

    count = integer("paths", paths, at_least=1)
    integer("steps", steps, at_least=1)
    number("rate", rate, above=0.0)
    first = integer("seed", seed, at_least=0)
    problem = DescentProblem.checked(net, X, y, loss, frozen, 1)
    scale = scale_of(problem, batch_size, sampling)
    if rank is not None:
        integer("rank", rank, at_least=1, at_most=problem.n_samples - 1)
    layout = problem.net._layout
    fixed = _names("frozen", frozen, layout.names)
    decays = _weight_decay(weight_decay, [n for n in layout.names if n not in fixed], layout)
    scheme = _Scheme(
        problem,
        rate,
        scale,
        integer("substeps", substeps, at_least=1),
        choice("drift", drift, _DRIFTS) == "modified",
        rank,
        integer("refresh", refresh, at_least=1),
        problem.decays(decays),
    )
    every = integer("record_every", record_every, at_least=1)
    rows = [*range(0, steps, every), steps]

    def one(path: int) -> DoubleArray:
        rng = np.random.default_rng(np.random.SeedSequence(first, spawn_key=(path,)))
        return scheme.path(rows, rng)

    workers, _ = thread_choice(n_threads)
    with ThreadPoolExecutor(workers) as pool:
        layers = list(pool.map(one, range(count)))
    step: IndexArray = np.array(rows, np.int64)
    return Simulation(step, np.multiply(rate, step, dtype=np.float64), np.stack(layers))


@dataclass(frozen=True)
class _Scheme:
    """The steps of one path."""

    problem: DescentProblem
    rate: float
    scale: float
    substeps: int
    modified: bool
    rank: int | None
    refresh: int
    decay: DoubleArray

    def path(self, rows: list[int], rng: np.random.Generator) -> DoubleArray:
        theta = np.array(self.problem.net._flat, np.float64)
        found, root, taken = [], None, 0
        for step in range(rows[-1] + 1):
            if step in rows:
                found.append(self.problem.log_norms(theta))
            if step == rows[-1]:
                break
            for _ in range(self.substeps):
                if self.rank is not None and taken % self.refresh == 0:
                    root = root_of(self.problem, theta, self.scale, self.rank)
                theta = theta - self._change(theta, root, rng)
                taken += 1
        return np.stack(found)

    def _change(
        self, theta: DoubleArray, root: NoiseRoot | None, rng: np.random.Generator
    ) -> DoubleArray:
        """Return what is subtracted over a piece of time dt: all sums over samples are gradients.

        sqrt(rate dt) Sigma^(1/2) xi = sqrt(rate dt scale) sum_i (xi_i - mean) g_i.
        """
        n, dt = self.problem.n_samples, self.rate / self.substeps
        size, modified = math.sqrt(self.rate * dt), self.modified and self.substeps > 1
        plain = dt * self.decay * theta
        if root is not None:
            noise = size * (rng.standard_normal(root.rank) @ root.factors)
            weights = np.full(n, dt)
        else:
            draws = rng.standard_normal(n)
            draws -= draws.mean()
            weights = n * size * math.sqrt(self.scale) * draws
            noise = np.zeros_like(theta)
            if not modified:
                weights += dt
        change: DoubleArray = plain + noise + self.problem.risk_gradient(theta, weights)
        if not modified:
            return change
        gradient = self.problem.risk_gradient(theta)
        if root is None:
            change += dt * gradient
        along = gradient + self.decay * theta
        bent = self.problem.hessian_product(theta, along) + self.decay * along
        return change + 0.5 * (self.rate - dt) * dt * bent
