"""Square roots of the covariance of batch gradients: section 5.5 of dynamics.md."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lipgd._check import choice, integer
from lipgd._risk import Gradient
from lipgd.dynamics._descent_problem import DescentProblem
from lipgd.dynamics._rule import batch_factor
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["NoiseRoot", "noise_root", "root_of", "scale_of"]

#: Samplings whose batches do not depend on each other.
_INDEPENDENT = ("independent", "replacement")


@dataclass(frozen=True, eq=False)
class NoiseRoot:
    """A matrix R with R R^T the covariance of a batch gradient, or nearly: R xi samples its noise.

    Attributes
    ----------
    factors : ndarray, shape (rank, n_parameters)
        The columns of R, orthogonal, the longest first, in the order of the network's parameters.
    values : ndarray, shape (rank,)
        The eigenvalues of the covariance that are kept: their squared lengths.
    trace : float
        The trace of the whole covariance.
    trace_error : float
        What is missing of it: the sum of the eigenvalues left out. No other R of this rank has a
        smaller error.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> root = lipgd.dynamics.noise_root(net, X, X[:, 0], batch_size=5, loss="mse", rank=10)
    >>> root.rank, bool(0 < root.trace_error < 0.1 * root.trace)
    (10, True)
    >>> root.sample(rng).weights[0].shape
    (8, 3)
    """

    factors: DoubleArray = field(repr=False)
    values: DoubleArray = field(repr=False)
    trace: float
    trace_error: float
    _net: Network = field(repr=False)

    @property
    def rank(self) -> int:
        """The number of columns."""
        return len(self.values)

    def sample(self, rng: np.random.Generator) -> Gradient:
        """Return a Gaussian deviation of a batch gradient from its mean.

        Parameters
        ----------
        rng : numpy.random.Generator
            What draws it.
        """
        noise = rng.standard_normal(self.rank) @ self.factors
        return Gradient._from_flat(self._net._layout, noise)


def noise_root(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    batch_size: int,
    loss: str | Loss,
    rank: int | None = None,
    sampling: str = "independent",
    frozen: Iterable[str] = (),
    n_threads: int | None = None,
) -> NoiseRoot:
    """Return the best square root of a rank of the covariance of batch gradients.

    By the eigenvectors of the Gram matrix of the samples' gradients, which needs layer inputs and
    back-propagated signals alone: memory for (n_samples, n_samples), time for its decomposition.

    Parameters
    ----------
    net, X, y, batch_size, loss, frozen
        As for :func:`coefficients`; biases that are trained count.
    rank : int, optional
        By default n_samples - 1, which leaves nothing out.
    sampling : {"independent", "replacement"}
        How a batch is drawn (5.1).
    n_threads : int, optional
        By default what the process may use.

    Returns
    -------
    NoiseRoot

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
    >>> whole = lipgd.dynamics.noise_root(net, X, X[:, 0], batch_size=5, loss="mse")
    >>> whole.rank, bool(whole.trace_error < 1e-12 * whole.trace)
    (41, True)
    """
    problem = DescentProblem.checked(net, X, y, loss, frozen, n_threads)
    scale = scale_of(problem, batch_size, sampling)
    if rank is not None:
        integer("rank", rank, at_least=1, at_most=problem.n_samples - 1)
    return root_of(problem, np.array(problem.net._flat), scale, rank)


def scale_of(problem: DescentProblem, batch_size: int, sampling: str) -> float:
    """Return phi / (M (N - 1)), what the sum of squared deviations takes (5.1)."""
    choice("sampling", sampling, _INDEPENDENT)
    n = problem.n_samples
    if n < 2:
        raise ValueError("X has 1 sample, expected at least 2")
    most = n if sampling == "independent" else None
    size = integer("batch_size", batch_size, at_least=1, at_most=most)
    return batch_factor(sampling, size, n) / (size * (n - 1))


def root_of(
    problem: DescentProblem, theta: DoubleArray, scale: float, rank: int | None
) -> NoiseRoot:
    """Return the root at some parameters of the network."""
    gram = _centred_gram(problem, theta)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    # Directions below rounding have no eigenvectors to speak of.
    real = int((values > 1e-13 * max(values[0], 1e-300)).sum())
    kept = real if rank is None else min(rank, real)
    n = problem.n_samples
    weight = n * math.sqrt(scale)
    factors = np.empty((kept, len(theta)))
    for k in range(kept):
        factors[k] = problem.risk_gradient(theta, np.ascontiguousarray(weight * vectors[:, k]))
    return NoiseRoot(
        factors,
        scale * values[:kept],
        scale * float(np.trace(gram)),
        scale * float(values[kept:].sum()),
        problem.net,
    )


def _centred_gram(problem: DescentProblem, theta: DoubleArray) -> DoubleArray:
    """Return the inner products of the samples' gradients about their mean."""
    features, signals = problem.layer_rows(theta)
    n = problem.n_samples
    gram = np.zeros((n, n))
    for name, begin, _, _ in problem.net._layout.groups:
        if not problem.trained[begin]:
            continue
        layer = int(name[1:]) - 1
        of_signals = signals[layer] @ signals[layer].T
        if name.startswith("W"):
            of_signals *= features[layer] @ features[layer].T
        gram += of_signals
    mean = gram.mean(axis=0)
    gram -= mean
    gram -= mean[:, None]
    gram += mean.mean()
    return gram
