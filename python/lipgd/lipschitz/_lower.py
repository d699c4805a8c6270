"""Lower bounds of Lipschitz constants: norms of Jacobians that the network has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lipgd import _core
from lipgd._arguments import finite_inputs_of
from lipgd._check import choice, integer
from lipgd._threads import thread_choice
from lipgd.lipschitz._attained import attained_norm
from lipgd.lipschitz._certificate import certify
from lipgd.lipschitz._estimate import Estimate
from lipgd.lipschitz._model import Model
from lipgd.lipschitz._question import model_of, question
from lipgd.lipschitz.domains import domain_of
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["lower"]

METHODS = ("auto", "points", "ascent")
_STARTS = 24
_TRIALS = 4
#: Floating-point operations that a search may cost, about.
_BUDGET = 1e10
_SCALES = (0.1, 1.0, 10.0, 100.0)


def lower(
    net: Any,
    X: ArrayLike | None = None,
    method: str = "auto",
    domain: Any = None,
    *,
    seed: int = 0,
) -> Estimate:
    """Find points at which the Jacobian of a network is large.

    The Lipschitz constant is not below the norm of any derivative. The value counts every rounding
    error: it is a little below the norm at the returned point, and never above an upper bound.

    Parameters
    ----------
    net : object
        A network of any depth, or whatever else :func:`lipgd.lipschitz.read` takes or returns.
    X : array_like (n_samples, n_inputs), optional
        Points to look at.
    method : str
        ``"points"``: those of ``X`` alone; ``"ascent"``, the same as ``"auto"``: local searches
        from the best of them, from random points, and from points whose neurons have the slopes
        that the certificate of the upper bound says are the worst.
    domain : Ball or Box, optional
        Where the points must lie; by default anywhere.
    seed : int
        Of the random points and directions.

    Returns
    -------
    Estimate
        ``witness[0]`` is the point.

    Raises
    ------
    ValueError, TypeError
        If an argument is not accepted.

    References
    ----------
    certificates.md, section 6

    Examples
    --------
    >>> import lipgd
    >>> net = lipgd.Network.create([4, 50, 2], activation="tanh", seed=0)
    >>> found = lipgd.lipschitz.lower(net)
    >>> 0 < found.value <= lipgd.lipschitz.upper(net).value
    True
    """
    begin = time.perf_counter()
    method = choice("method", method, METHODS)
    seed = integer("seed", seed, at_least=0)
    model, scale = model_of(net)
    net = net if isinstance(net, Network) else model
    points = np.empty((0, model.n_inputs))
    if X is not None:
        points = finite_inputs_of("X", X, model.n_inputs, np.dtype(np.float64)).astype(np.float64)
    elif method == "points":
        raise ValueError("X is None, but method is 'points', expected points to look at")
    search = _Search(model, domain, np.random.default_rng(seed))
    with np.errstate(all="ignore"):  # what overflows on the way is no candidate
        points = search.inside(points)
        if method == "points":
            candidates = points[np.argsort(-search.norms(points), kind="stable")[:64]]
        else:
            starts = [points, search.random_points(points), search.suggested_points(net, domain)]
            candidates = search.climb(np.concatenate(starts))
        value, witness = search.best(candidates)
    attained = float(np.nextafter(value * abs(scale), 0.0)) if scale != 1.0 else value
    return Estimate(
        attained,
        "lower",
        "global" if domain is None else "local",
        "jacobian",
        True,
        None if witness is None else (witness,),
        seconds=time.perf_counter() - begin,
        reason=None if witness is not None else "no point was found where the derivative is sure",
    )


class _Search:
    """Norms of Jacobians at many points, and steps to larger ones."""

    def __init__(self, model: Model, domain: Any, rng: np.random.Generator) -> None:
        self.model = model
        self.rng = rng
        self.project: Callable[[DoubleArray], DoubleArray] | None = None
        region = domain_of(domain, model.n_inputs)
        if region is not None:
            self.project = region.project
        sizes = model.sizes
        cost = 2.0 * min(sizes[0], sizes[-1]) * sum(matrix.size for matrix in model.weights)
        affordable = _BUDGET / (cost + 2e4)
        self.starts = int(np.clip(affordable / 200, 4, _STARTS))
        self.drawn = int(np.clip(affordable / 50, 4, 128))
        self.rounds = int(np.clip(affordable / (_TRIALS * self.starts), 10, 150))
        kinds = {activation.name for activation in model.activations}
        self.network = model.network() if len(kinds) <= 1 else None

    def inside(self, points: DoubleArray) -> DoubleArray:
        """Return the nearest points of the domain."""
        return points if self.project is None or not len(points) else self.project(points)

    def norms(self, points: DoubleArray) -> DoubleArray:
        """Return the norms of the Jacobians; zero where they are not finite."""
        if not len(points):
            return np.empty(0)
        with np.errstate(all="ignore"):
            if self.network is not None:
                found = _core.jacobian_norms(
                    self.network._call,
                    self.network._flat,
                    np.ascontiguousarray(points),
                    *thread_choice(None),
                )
            else:
                found = np.linalg.norm(self.model.jacobian(points), 2, axis=(1, 2))
        return np.where(np.isfinite(found), found, 0.0)

    def random_points(self, points: DoubleArray) -> DoubleArray:
        """Return points near the origin and far from it, and the given ones, moved a little."""
        inputs = self.model.n_inputs
        drawn = [
            scale * self.rng.normal(size=(self.drawn, inputs)) * self._typical()
            for scale in _SCALES
        ]
        if len(points):
            some = points[self.rng.integers(len(points), size=2 * self.drawn)]
            spread = points.std(axis=0) + 1e-3 * (np.abs(points).max() + 1e-9)
            drawn.append(some + 0.3 * spread * self.rng.normal(size=some.shape))
        return self.inside(np.concatenate(drawn))

    def _typical(self) -> float:
        """Return a length at which biases and weights of the first layer balance."""
        rows = np.sqrt((self.model.weights[0] ** 2).sum(axis=1))
        active = rows > 0
        if not active.any() or not np.isfinite(rows).all():
            return 1.0
        offset = float(np.median(np.abs(self.model.biases[0][active]) / rows[active]))
        return offset + 1.0 if offset > 0 else 1.0 / float(rows.max())

    def suggested_points(self, net: Network | Model, domain: Any) -> DoubleArray:
        """Return points whose first neurons have the signs of the worst slopes, if any have."""
        empty = np.empty((0, self.model.n_inputs))
        asked = question(net, domain)
        if len(asked.weights) == 1:
            return self.inside(np.zeros((1, self.model.n_inputs)))
        found = certify(
            asked.weights, asked.lo, asked.hi, tolerance=1e-2, max_sweeps=50, projections=8
        )
        if not found.neurons:
            return empty
        matrix, bias = self.model.weights[0], self.model.biases[0]
        sides = np.asarray(found.neurons[0][1])
        points = []
        with np.errstate(all="ignore"):
            inverse = np.linalg.pinv(matrix)
            for side in (*sides, *-sides):
                for reach in _SCALES:
                    points.append(inverse @ (reach * self._typical() * side - bias))
        found_points = np.array(points)
        return self.inside(found_points[np.isfinite(found_points).all(axis=1)])

    def climb(self, starts: DoubleArray) -> DoubleArray:
        """Return where steps in random directions, longer after a success, end."""
        values = self.norms(starts)
        order = np.argsort(-values, kind="stable")[: self.starts]
        points, values = starts[order].copy(), values[order]
        steps = 0.3 * (np.linalg.norm(points, axis=1) + self._typical())
        for _ in range(self.rounds):
            moves = self.rng.normal(size=(_TRIALS, *points.shape))
            if points.shape[1] > 1:  # along single coordinates half of the time
                single = self.rng.integers(points.shape[1], size=moves.shape[:2])
                mask = np.zeros_like(moves)
                np.put_along_axis(mask, single[..., None], 1.0, axis=2)
                moves[::2] *= mask[::2]
            moves /= np.maximum(np.linalg.norm(moves, axis=2, keepdims=True), 1e-300)
            trials = points + steps[:, None] * moves
            shape = trials.shape
            trials = self.inside(trials.reshape(-1, shape[2])).reshape(shape)
            found = self.norms(trials.reshape(-1, shape[2])).reshape(shape[:2])
            best = found.argmax(axis=0)
            rows = np.arange(len(points))
            better = found[best, rows] > values
            points[better] = trials[best, rows][better]
            values[better] = found[best, rows][better]
            steps *= np.where(better, 1.6, 0.7)
        return points[np.argsort(-values, kind="stable")]

    def best(self, candidates: DoubleArray) -> tuple[float, DoubleArray | None]:
        """Return the largest norm that is sure, and its point.

        At a kink the point is moved a little.
        """
        value, witness = 0.0, None
        for x in candidates[:8] if len(candidates) > 8 else candidates:
            for nudge in (0.0, 1e-10, 1e-6, 1e-3):
                size = nudge * (np.abs(x).max() + self._typical())
                moved = self.inside((x + size * self.rng.normal(size=x.shape))[None])[0]
                found = attained_norm(self.model, moved)
                if found > value:
                    value, witness = found, moved
                if found > 0.0:
                    break
        return value, witness
