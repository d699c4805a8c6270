"""The sharpness of the risk: the largest eigenvalue of its Hessian."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lipgd import _core
from lipgd._check import integer, number, shown
from lipgd._margin_rule import trained_flags
from lipgd._risk import Gradient, _data
from lipgd._threads import thread_choice
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["Sharpness", "sharpness"]


@dataclass(frozen=True, eq=False)
class Sharpness:
    """The largest eigenvalue of a Hessian as Lanczos' process finds it; ``float()`` is its value.

    Attributes
    ----------
    value : float
        The largest Ritz value, which is not above the largest eigenvalue but for rounding.
    residual : float
        ``|H v - value v|`` of the unit vector v: some eigenvalue lies within that of the value.
    products : int
        Products with the Hessian that were taken.
    converged : bool
        Whether the residual reached the tolerance.
    direction : Gradient
        The unit vector v, in float64; zero for what is frozen.

    References
    ----------
    large-stepsize.md, section 6.
    """

    value: float
    residual: float
    products: int
    converged: bool
    direction: Gradient = field(repr=False)
    _memory: DoubleArray = field(repr=False)

    def __float__(self) -> float:
        return self.value


def sharpness(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss = "logistic",
    frozen: Iterable[str] = (),
    *,
    sample_weight: ArrayLike | None = None,
    start: Sharpness | None = None,
    tolerance: float = 1e-9,
    max_products: int = 2000,
    n_threads: int | None = None,
) -> Sharpness:
    """Return the largest eigenvalue of the Hessian of the risk by the trained parameters.

    Lanczos' process with full orthogonalization and restarts on exact products with the Hessian, in
    float64 whatever the precision of the network. Products of the logistic loss are scaled where
    they would underflow. At kinks of the activation the second derivative counts as zero.

    Parameters
    ----------
    net : Network
        The network.
    X : array_like, shape (n_samples, n_inputs)
        Samples.
    y : array_like
        As for :func:`lipgd.risk`.
    loss : str or Loss
        See :func:`lipgd.losses.get`.
    frozen : iterable of str
        Parameters that are not trained: the Hessian leaves them out.
    sample_weight : array_like, shape (n_samples,), optional
        Weights >= 0, scaled to mean one.
    start : Sharpness, optional
        The result for a nearby network with the same parameters, from which the process starts.
    tolerance : float
        Stop when the residual is at most this times the value; at least 1e-14.
    max_products : int
        The most products with the Hessian.
    n_threads : int, optional
        Threads to use; by default what the process may use. It does not change a bit.

    Returns
    -------
    Sharpness
        What did not converge is returned too, and says so.

    Raises
    ------
    TypeError, ValueError
        If data, names or the start do not fit.

    Notes
    -----
    Memory: up to 40 vectors of the basis and their products, in 128 MiB, or 6 of each where a
    vector is longer; and the layers of all samples, with their slopes and second derivatives, if
    they fit into 64 MiB. Beyond, every product goes through the layers again, block by block.

    A warm start begins with the two top directions of the last result and the first of the one
    before, because large stepsizes swing to and fro. Where many eigenvalues lie within a per cent
    of the largest it may need as many products as a start without it.

    References
    ----------
    large-stepsize.md, section 6.

    Examples
    --------
    >>> import lipgd
    >>> net = lipgd.Network([[[0.0, 0.0]]])
    >>> found = lipgd.margins.sharpness(net, [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]], [1, -1, -1])
    >>> round(found.value, 9), found.converged
    (0.666666667, True)
    """
    x, targets, kind = _data(net, X, y, loss, sample_weight)
    trained = trained_flags(net, frozen)
    memory = np.empty(0)
    if start is not None:
        if not isinstance(start, Sharpness):
            raise TypeError(f"start is {shown(start)}, expected a Sharpness")
        if start.direction._layout != net._layout:
            raise ValueError("start is for a network of other sizes, expected the same parameters")
        memory = start._memory
    value, residual, products, converged, vectors = _core.sharpness(
        net._call,
        net._flat,
        x,
        targets,
        kind._code,
        trained,
        memory,
        number("tolerance", tolerance, at_least=1e-14),
        integer("max_products", max_products, at_least=1),
        *thread_choice(n_threads),
    )
    direction = np.zeros(net.n_parameters)
    direction[: vectors.size] = vectors[: net.n_parameters]
    vectors.flags.writeable = False
    return Sharpness(
        value=value,
        residual=residual,
        products=products,
        converged=converged,
        direction=Gradient._from_flat(net._layout, direction),
        _memory=vectors,
    )
