"""Risk and log norms over a plane of parameters, and where networks are seen from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lipgd import _core
from lipgd._check import integer, number, shown
from lipgd.dynamics._descent_problem import DescentProblem
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["Landscape", "landscape"]

#: The path fills this share of the extent that is chosen for it.
_FILLED = 0.8
#: Without a path the plane reaches this share of the center's length in both directions.
_REACH = 0.5
#: Relative, of spectral norms: more than a picture shows.
_PRECISE = 1e-10


@dataclass(frozen=True, eq=False)
class Landscape:
    """The risk and Z, the sum of the layers' log norms, over a plane of parameters.

    A point of the plane is ``center + first * directions[0] + second * directions[1]``.

    Attributes
    ----------
    first, second : ndarray, shape (points,)
        The coordinates of the grid.
    risk, log_norm : ndarray, shape (points, points)
        At ``[i, j]`` the values at ``(first[j], second[i])``.
    path : ndarray, shape (networks, 2)
        The coordinates of the networks, projected orthogonally: only the share ``in_plane`` of
        what they differ by from the center is seen.
    path_risk, path_log_norm : ndarray, shape (networks,)
        The values of the networks themselves, not of their projections.
    in_plane : float
        The squared lengths of the projections over those of the differences, all networks summed;
        NaN without a network that differs from the center.
    center : Network
        Where the plane is anchored, in float64.
    directions : ndarray, shape (2, parameters)
        Orthonormal.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> found = lipgd.dynamics.landscape(net, X, X[:, 0], loss="mse", points=5)
    >>> found.risk.shape, bool(np.isclose(found.risk[2, 2], lipgd.risk(net, X, X[:, 0])))
    ((5, 5), True)
    """

    first: DoubleArray = field(repr=False)
    second: DoubleArray = field(repr=False)
    risk: DoubleArray = field(repr=False)
    log_norm: DoubleArray = field(repr=False)
    path: DoubleArray = field(repr=False)
    path_risk: DoubleArray = field(repr=False)
    path_log_norm: DoubleArray = field(repr=False)
    in_plane: float
    center: Network = field(repr=False)
    directions: DoubleArray = field(repr=False)

    def project(self, networks: Iterable[Network]) -> DoubleArray:
        """Return the coordinates of other networks, (networks, 2).

        Parameters
        ----------
        networks : iterable of Network
            Each with the shapes of the center.
        """
        moved = _differences("networks", networks, self.center)
        coordinates: DoubleArray = moved @ self.directions.T
        return coordinates


def landscape(
    center: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | Loss,
    path: Sequence[Network] = (),
    extent: float | None = None,
    points: int = 25,
    seed: int = 0,
    frozen: Iterable[str] = (),
    n_threads: int | None = None,
) -> Landscape:
    """Evaluate the risk and the log norms over two random orthogonal directions of parameters.

    The directions are Gaussian, made orthonormal. In a space of many dimensions they see little of
    a training's path (about two over the number of parameters of its squared length, as much as
    any other direction), so that the default extent is that of the projected path, not of the path.

    Parameters
    ----------
    center : Network
        The middle of the plane, such as a trained network.
    X, y, loss
        The data and the loss of the risk, as for :func:`lipgd.train`.
    path : sequence of Network
        Networks to project onto the plane, such as those of a training; see the callback of
        :func:`lipgd.train`.
    extent : float, optional
        How far the plane reaches in either direction. By default so that it holds the path; half
        of the center's Euclidean length without one.
    points : int
        Points of the grid per direction, at least 2; odd numbers have the center among them.
    seed : int
        Of the directions.
    frozen : iterable of str
        Parameters that the directions leave alone.
    n_threads : int, optional
        By default what the process may use.

    Returns
    -------
    Landscape

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a point of the grid has a layer that is zero.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> net, seen = lipgd.Network.create([3, 8, 1], activation="tanh"), []
    >>> run = lipgd.train(net, X, X[:, 0], rate=0.1, steps=40, batch_size=10,
    ...                   callback=lambda now: seen.append(now.network), callback_every=10)
    >>> found = lipgd.dynamics.landscape(run.network, X, X[:, 0], loss="mse", path=seen, points=7)
    >>> found.path.shape == (len(seen), 2), bool(abs(found.path).max() <= found.first[-1])
    (True, True)
    """
    count = integer("points", points, at_least=2)
    start = integer("seed", seed, at_least=0)
    reach = None if extent is None else number("extent", extent, above=0.0)
    problem = DescentProblem.checked(center, X, y, loss, frozen, n_threads)
    moved = _differences("path", path, problem.net)
    if np.count_nonzero(problem.trained) < 2:
        raise ValueError("frozen leaves less than two parameters, expected a plane of them")
    directions = _orthonormal(np.random.default_rng(start), problem.trained)
    coordinates = moved @ directions.T
    if reach is None:
        farthest = float(np.abs(coordinates).max(initial=0.0)) / _FILLED
        reach = farthest or _REACH * float(np.linalg.norm(problem.net._flat))
    axis = np.linspace(-reach, reach, count)
    origin = problem.net._flat
    grid = [origin + a * directions[0] + b * directions[1] for b in axis for a in axis]
    risk, log_norm = _values(problem, grid)
    along_risk, along_norm = _values(problem, [origin + step for step in moved])
    length = float(np.square(moved).sum())
    return Landscape(
        first=axis,
        second=axis.copy(),
        risk=risk.reshape(count, count),
        log_norm=log_norm.reshape(count, count),
        path=coordinates,
        path_risk=along_risk,
        path_log_norm=along_norm,
        in_plane=float(np.square(coordinates).sum()) / length if length > 0 else math.nan,
        center=problem.net,
        directions=directions,
    )


def _differences(name: str, networks: Iterable[Network], center: Network) -> DoubleArray:
    """Return what networks differ by from the center, (networks, parameters)."""
    if isinstance(networks, Network):
        raise TypeError(f"{name} is {shown(networks)}, expected a sequence of networks")
    flats = []
    for place, net in enumerate(networks):
        if not isinstance(net, Network):
            raise TypeError(f"{name}[{place}] is {shown(net)}, expected a Network")
        if net._layout != center._layout:
            raise ValueError(f"{name}[{place}] is {net!r}, expected the shapes of {center!r}")
        flats.append(net._flat.astype(np.float64) - center._flat)
    return np.array(flats).reshape(len(flats), center.n_parameters)


def _orthonormal(rng: np.random.Generator, trained: npt.NDArray[np.bool_]) -> DoubleArray:
    directions = np.zeros((2, len(trained)))
    drawn = rng.normal(size=(np.count_nonzero(trained), 2))
    directions[:, trained] = np.linalg.qr(drawn)[0].T
    return directions


def _values(problem: DescentProblem, points: Iterable[DoubleArray]) -> tuple[DoubleArray, ...]:
    """Return the risk and the sum of log norms at points of the space of parameters."""
    pairs = [(problem.risk(theta), _log_norm(problem, theta)) for theta in points]
    risk, log_norm = np.array(pairs).reshape(-1, 2).T
    return risk.copy(), log_norm.copy()


def _log_norm(problem: DescentProblem, theta: DoubleArray) -> float:
    total = 0.0
    for name, begin, end, shape in problem.net._layout.groups:
        if name.startswith("W"):
            matrix = theta[begin:end].reshape(shape)
            lower, *_ = _core.spectral_norm(matrix, _PRECISE, _core.default_spectral_iterations)
            if lower == 0:
                raise ValueError(f"the plane has a point where {name} = 0, expected no such layer")
            total += math.log(lower)
    return total
