"""The coefficients of a network on data: sections 2 to 6 of dynamics.md."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from lipgd import losses
from lipgd._arguments import finite_inputs_of, targets_of
from lipgd._check import number, shown
from lipgd._risk import Gradient
from lipgd.dynamics._moments import Moments
from lipgd.dynamics._terms import Coefficients, coefficients_of
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike

__all__ = ["coefficients"]


def coefficients(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    batch_size: int,
    rate: float,
    loss: str | Loss,
    sampling: str = "independent",
    step_in_epoch: int | None = None,
    probe: ArrayLike | None = None,
    population_size: float | None = None,
    frozen: Iterable[str] = (),
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
    velocity: Gradient | None = None,
) -> Coefficients:
    """Return what moves the log norms of the layers in a step of mini-batch gradient descent.

    Exact for the training set as the population; unbiased from a probe (5.2). Factors have the
    precision of the network, singular values and sums are in float64.

    Parameters
    ----------
    net : Network
        The network before the step.
    X : array_like, shape (n_samples, n_inputs)
        The training set, or a uniform probe of it if ``population_size`` is given.
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        Values or labels, as the loss takes them.
    batch_size : int
        Samples of a batch.
    rate : float
        The step size.
    loss : str or Loss
        See :func:`lipgd.losses.get`.
    sampling : {"independent", "replacement", "reshuffled"}
        Batches without replacement but independent of each other, drawn with replacement, or
        epochs in a shuffled order (5.1, 5.3).
    step_in_epoch : int, optional
        Needed for "reshuffled": 0 for the first step of an epoch.
    probe : array_like of int, shape (n,), optional
        Distinct positions of samples, drawn uniformly, to measure on instead of all of them.
    population_size : int or inf, optional
        The number of samples that batches are drawn from, if it is not that of X.
    frozen : iterable of str
        Names of parameters that are not trained; "W1" leaves out the first layer.
    weight_decay : float
        Coupled: the gradient is g + weight_decay theta (9.2).
    momentum : float
        Of the heavy ball v = momentum v + g (9.3).
    nesterov : bool
        Whether the step is g + momentum v instead of v.
    velocity : Gradient, optional
        v before the step; by default zero.

    Returns
    -------
    Coefficients

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a weight matrix is zero: its norm has no logarithm.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.dynamics import coefficients
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> found = coefficients(net, X, X[:, 0], batch_size=10, rate=0.1, loss="mse")
    >>> found.mu.shape, bool((found.kappa >= 0).all())
    ((2,), True)
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {shown(net)}, expected a Network")
    kind = losses.get(loss)
    x = finite_inputs_of("X", X, net.n_inputs, net.dtype)
    values, labels = targets_of("y", y, kind, len(x), net.n_outputs, net.dtype)
    if probe is not None:
        if population_size is not None:
            raise ValueError("population_size is given with a probe of X, expected one of the two")
        population_size = len(x)
        rows = _positions(probe, len(x))
        x = x[rows]
        values = None if values is None else values[rows]
        labels = None if labels is None else labels[rows]
    names = {name for name, _ in net.named()}
    if isinstance(frozen, str):
        raise TypeError(f"frozen is {frozen!r}, expected names such as ('W1',)")
    fixed = set(frozen)
    if not fixed <= names:
        unknown = min(str(name) for name in fixed - names)
        raise ValueError(f"frozen has {unknown!r}, expected names among {', '.join(sorted(names))}")
    if velocity is not None and not isinstance(velocity, Gradient):
        raise TypeError(f"velocity is {shown(velocity)}, expected a Gradient")
    moments = Moments(net.weights)
    moments.add_network(net, x, (values, labels, None), kind)
    return coefficients_of(
        moments,
        batch_size=batch_size,
        rate=rate,
        sampling=sampling,
        step_in_epoch=step_in_epoch,
        population_size=population_size,
        frozen=[f"W{layer + 1}" in fixed for layer in range(net.depth)],
        weight_decay=number("weight_decay", weight_decay, at_least=0.0),
        momentum=momentum,
        nesterov=nesterov,
        velocity=None if velocity is None else velocity.weights,
    )


def _positions(probe: ArrayLike, n_samples: int) -> npt.NDArray[np.int64]:
    rows = np.asarray(probe)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise TypeError(f"probe is {shown(probe)}, expected positions of samples, integers (n,)")
    if len(rows) < 2 or rows.min() < 0 or rows.max() >= n_samples:
        raise ValueError(
            f"probe has {len(rows)} positions, expected at least 2 from 0 to {n_samples - 1}"
        )
    if len(np.unique(rows)) != len(rows):
        raise ValueError("probe has a position twice, expected distinct samples")
    return rows.astype(np.int64)
