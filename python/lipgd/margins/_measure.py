"""All margins of a network on data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lipgd import _core, losses
from lipgd._arguments import finite_inputs_of, targets_of
from lipgd._check import shown
from lipgd._margin_rule import degree_of, gap_of, trained_flags
from lipgd._risk import Gradient
from lipgd._threads import thread_choice
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["Margins", "margins"]


@dataclass(frozen=True, eq=False)
class Margins:
    """The margins of a network, computed in float64 and in the log domain.

    Attributes
    ----------
    values : ndarray, shape (n_samples,)
        ``q_i = y_i f(x_i)``.
    slopes : ndarray, shape (n_samples,)
        ``y_i <grad f(x_i), w>``, the derivatives along the trained parameters w.
    log_risk : float
        ``log L`` of the logistic loss, also where L underflows.
    margin : float
        The smallest margin.
    smoothed : float
        ``iota(-log(n L))``, the margin of a single sample with the whole loss; at most ``margin``.
    parameter_norm : float
        The norm N of the trained parameters.
    degree : int
        D, the number of trained weight matrices: the degree of homogeneity.
    normalized_margin, smoothed_margin : float
        ``margin / N^D`` and ``smoothed / N^D``.
    homogeneity_gap : float or None
        kappa, a bound of ``|D q_i - slopes_i| / D`` for all parameters; None if none is known.
    modified_margin : float or None
        ``(smoothed - kappa) / N^D``, which large steps do not lower either (Theorem 3); None
        without kappa.
    homogeneity_error : float
        ``max_i (D q_i - slopes_i)_+ / D``, measured at these parameters.
    log_risk_gradient : Gradient
        ``grad log L``, the gradient of the risk divided by the risk, which does not underflow; zero
        for what is frozen.

    References
    ----------
    large-stepsize.md, sections 4, 4.1 and 4.2.
    """

    values: DoubleArray = field(repr=False)
    slopes: DoubleArray = field(repr=False)
    log_risk: float
    margin: float
    smoothed: float
    parameter_norm: float
    degree: int
    normalized_margin: float
    smoothed_margin: float
    homogeneity_gap: float | None
    modified_margin: float | None
    homogeneity_error: float
    log_risk_gradient: Gradient = field(repr=False)

    @property
    def relative_homogeneity_error(self) -> float:
        """``homogeneity_error / smoothed``; inf where the smoothed margin is not positive.

        Under gradient flow the smoothed margin loses at most this times the growth of the logarithm
        of ``parameter_norm ** degree`` (section 4.1).
        """
        return self.homogeneity_error / self.smoothed if self.smoothed > 0.0 else math.inf


def margins(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    frozen: Iterable[str] = (),
    n_threads: int | None = None,
) -> Margins:
    """Return all margins of a network with one output on labels -1 and +1.

    Parameters
    ----------
    net : Network
        One output.
    X : array_like, shape (n_samples, n_inputs)
        Samples.
    y : array_like, shape (n_samples,)
        Labels, -1 or +1.
    frozen : iterable of str
        Parameters that are not trained: norms leave them out.
    n_threads : int, optional
        Threads to use; by default what the process may use. It does not change a bit.

    Returns
    -------
    Margins

    Raises
    ------
    TypeError, ValueError
        If the network has several outputs, or data, labels or names do not fit.

    References
    ----------
    large-stepsize.md, sections 4, 4.1 and 4.2.

    Examples
    --------
    >>> import lipgd
    >>> net = lipgd.Network([[[3.0, 4.0]]])
    >>> found = lipgd.margins.margins(net, [[200.0, 100.0], [-100.0, -150.0]], [1, -1])
    >>> found.values.tolist(), found.normalized_margin
    ([1000.0, 900.0], 180.0)
    >>> round(found.log_risk, 6), round(found.smoothed_margin, 6)
    (-900.693147, 180.0)
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {shown(net)}, expected a Network")
    if net.n_outputs != 1:
        raise ValueError(f"net has {net.n_outputs} outputs, expected one")
    trained = trained_flags(net, frozen)
    loss = losses.get("logistic")
    x = finite_inputs_of("X", X, net.n_inputs, net.dtype)
    targets = (*targets_of("y", y, loss, len(x), 1, net.dtype), None)
    threads = thread_choice(n_threads)
    degree, gap = degree_of(net, trained), gap_of(net, trained)
    call = (net._call, net._flat, x, targets)
    q, slopes, log_risk, margin, smoothed, norm, *normalized, error = _core.margins(
        *call, trained, float(degree), gap or 0.0, *threads
    )
    _, flat, log_scale = _core.scaled_gradient(*call, loss._code, trained, *threads)
    for array in (q, slopes):
        array.flags.writeable = False
    # The gradient and the risk may both be beyond the range of numbers, but not their quotient. A
    # gradient out of range is times e^margin, and the risk then the mean of the e^-q.
    excess = math.log(np.exp(margin - q).mean()) if log_scale else log_risk
    factor = math.exp(-excess)
    gradient = (flat.astype(np.float64) * factor).astype(net.dtype)
    return Margins(
        values=q,
        slopes=slopes,
        log_risk=log_risk,
        margin=margin,
        smoothed=smoothed,
        parameter_norm=norm,
        degree=degree,
        normalized_margin=normalized[0],
        smoothed_margin=normalized[1],
        homogeneity_gap=gap,
        modified_margin=None if gap is None else normalized[2],
        homogeneity_error=error,
        log_risk_gradient=Gradient._from_flat(net._layout, gradient),
    )
