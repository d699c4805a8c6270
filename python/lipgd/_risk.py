"""The risk of a network on data, and its derivatives."""

from __future__ import annotations

import math

import numpy as np

from lipgd import _core, losses
from lipgd._arguments import Targets, finite_inputs_of, targets_of, weights_of
from lipgd._check import shown
from lipgd._layout import Layout, Parameters
from lipgd._threads import thread_choice
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike, FloatArray

__all__ = ["Gradient", "hessian_vector_product", "risk", "risk_and_gradient"]


class Gradient(Parameters):
    """A direction in the space of parameters: one array per weight matrix and bias. Immutable.

    Parameters
    ----------
    weights : sequence of array_like, each (n_outputs, n_inputs) of its layer
        The part of the weights.
    biases : sequence of (array_like (n_outputs,) or None), optional
        The part of the biases, None where the network has none.

    Examples
    --------
    >>> import lipgd
    >>> lipgd.Gradient([[[3.0, 4.0]]]).norm()
    5.0
    """

    __slots__ = ()

    def norm(self) -> float:
        """Return the Euclidean norm over all parameters."""
        largest = float(np.abs(self._flat).max())
        if not 0 < largest < math.inf:
            return largest
        # The squares of these neither overflow nor underflow.
        scaled = self._flat.astype(np.float64) / largest
        return largest * math.sqrt(float(np.square(scaled).sum()))

    def __repr__(self) -> str:
        sizes = "-".join(str(size) for size in self.sizes)
        return f"Gradient({sizes}, {self.dtype}, norm {self.norm():.6g})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Gradient):
            return NotImplemented
        return self._same_parameters(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[object, ...]:
        return Gradient, (self.weights, self.biases)

    @classmethod
    def _from_flat(cls, layout: Layout, flat: FloatArray) -> Gradient:
        gradient = object.__new__(cls)
        gradient._adopt(layout, flat)
        return gradient


def risk(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss = "mse",
    sample_weight: ArrayLike | None = None,
    n_threads: int | None = None,
) -> float:
    """Return the mean loss over the samples.

    Parameters
    ----------
    net : Network
        The network.
    X : array_like, shape (n_samples, n_inputs)
        Samples, read in place if they are float32 or float64.
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        Values; -1 or +1 for the logistic loss; integer labels (n_samples,) for cross_entropy.
    loss : str or Loss
        See :func:`lipgd.losses.get`.
    sample_weight : array_like, shape (n_samples,), optional
        Weights >= 0; only their ratios count: they are scaled to mean one.
    n_threads : int, optional
        Threads to use; by default what the process may use. It does not change a bit.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If shapes, dtypes, labels or weights do not fit, or a value is not finite.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> net = lipgd.Network([[[2.0]]])
    >>> lipgd.risk(net, np.array([[1.0], [2.0]]), [1.0, 5.0])
    1.0
    """
    x, targets, kind = _data(net, X, y, loss, sample_weight)
    value: float = _core.risk(
        net._call, net._flat, x, targets, kind._code, *thread_choice(n_threads)
    )
    return value


def risk_and_gradient(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss = "mse",
    sample_weight: ArrayLike | None = None,
    n_threads: int | None = None,
) -> tuple[float, Gradient]:
    """Return the risk and its gradient by all parameters, in one pass over the samples.

    Parameters
    ----------
    net, X, y, loss, sample_weight, n_threads
        As for :func:`risk`.

    Returns
    -------
    risk : float
    gradient : Gradient
        In the precision of the network.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> net = lipgd.Network([[[2.0]]])
    >>> value, gradient = lipgd.risk_and_gradient(net, np.array([[1.0], [2.0]]), [1.0, 5.0])
    >>> value, gradient.weights[0].item()
    (1.0, -1.0)
    """
    x, targets, kind = _data(net, X, y, loss, sample_weight)
    value, flat = _core.risk_and_gradient(
        net._call, net._flat, x, targets, kind._code, *thread_choice(n_threads)
    )
    return value, Gradient._from_flat(net._layout, flat)


def hessian_vector_product(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    direction: Gradient | Network,
    loss: str | Loss = "mse",
    sample_weight: ArrayLike | None = None,
    n_threads: int | None = None,
) -> Gradient:
    """Return the Hessian of the risk times a direction, exactly (Pearlmutter 1994).

    Where the activation has a kink, its second derivative counts as zero, and the loss huber has
    curvature up to its threshold, as in automatic differentiation.

    Parameters
    ----------
    net, X, y, loss, sample_weight, n_threads
        As for :func:`risk`.
    direction : Gradient or Network
        One value per parameter of the network.

    Returns
    -------
    Gradient
        In the precision of the network.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> net = lipgd.Network([[[2.0]]])
    >>> direction = lipgd.Gradient([[[1.0]]])
    >>> lipgd.hessian_vector_product(
    ...     net, np.array([[1.0], [3.0]]), [0.0, 0.0], direction
    ... ).weights[0].item()
    10.0
    """
    _check_network(net)
    if not isinstance(direction, Parameters):
        raise TypeError(f"direction is {shown(direction)}, expected a Gradient or a Network")
    if direction._layout != net._layout:
        raise ValueError(
            f"direction has the parameters {_describe(direction)}, "
            f"but the network has {_describe(net)}"
        )
    if not np.isfinite(direction._flat).all():
        raise ValueError("direction has a value that is not finite, expected finite numbers")
    x, targets, kind = _data(net, X, y, loss, sample_weight)
    along = np.ascontiguousarray(direction._flat, net.dtype)
    flat = _core.hessian_vector_product(
        net._call, net._flat, along, x, targets, kind._code, *thread_choice(n_threads)
    )
    return Gradient._from_flat(net._layout, flat)


def _data(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss,
    sample_weight: ArrayLike | None,
) -> tuple[FloatArray, Targets, Loss]:
    _check_network(net)
    kind = losses.get(loss)
    x = finite_inputs_of("X", X, net.n_inputs, net.dtype)
    values, labels = targets_of("y", y, kind, len(x), net.n_outputs, net.dtype)
    return x, (values, labels, weights_of(sample_weight, len(x), net.dtype)), kind


def _check_network(net: Network) -> None:
    if not isinstance(net, Network):
        raise TypeError(f"net is {shown(net)}, expected a Network")


def _describe(parameters: Parameters) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in parameters.named())
