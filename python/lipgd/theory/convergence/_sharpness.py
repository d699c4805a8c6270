"""The curvature that is measured, where no bound of the smoothness is known."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lipgd._check import integer, number
from lipgd._risk import Gradient, hessian_vector_product
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.schedules import Schedule, constant
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["largest_curvature", "sharpness_rate"]

#: The Lanczos vectors start from a direction of this seed: the estimate is the same every time.
_SEED = 0


def sharpness_rate(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss = "mse",
    *,
    eta: float = 1.0,
    sample_weight: ArrayLike | None = None,
    frozen: Iterable[str] = (),
    iterations: int = 30,
) -> Schedule:
    """Return the constant schedule ``eta / s`` with the measured sharpness s of a network.

    s is the largest eigenvalue of the Hessian of the risk at this network, estimated from below by
    iterations of Lanczos. It is an estimate, in two ways: the true eigenvalue may be larger, and
    the curvature may be larger elsewhere. :func:`smoothness_rate` takes a bound, and is slower.

    Parameters
    ----------
    net : Network
        The network before training.
    X : array_like, shape (n_samples, n_inputs)
        Samples.
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        Values, signs or labels, as for :func:`lipgd.risk`.
    loss : str or Loss
        See :func:`lipgd.losses.get`.
    eta : float
        Above 0 and below 2, beyond which steps along the sharpest direction grow.
    sample_weight : array_like, shape (n_samples,), optional
        Weights >= 0.
    frozen : iterable of str
        Parameters that will not be trained.
    iterations : int
        Hessian-vector products, at least 1.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        If the risk has no positive curvature there.

    References
    ----------
    rate-constraints.md, section 9: the rate 1 / S with an estimate in the place of S.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import convergence
    >>> net = lipgd.Network([[[2.0]]])
    >>> X = np.array([[1.0], [3.0]])
    >>> round(convergence.sharpness_rate(net, X, [0.0, 0.0])(0), 6)
    0.1
    """
    eta = number("eta", eta, above=0.0, below=2.0)
    sharpness = largest_curvature(net, X, y, loss, sample_weight, frozen, iterations)
    if not sharpness > 0.0:
        raise ValueError(f"net has the sharpness {sharpness:g}, expected one above 0")
    return constant(eta / sharpness)


def largest_curvature(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss = "mse",
    sample_weight: ArrayLike | None = None,
    frozen: Iterable[str] = (),
    iterations: int = 30,
    n_threads: int | None = None,
) -> float:
    """Estimate the largest eigenvalue of the Hessian from below, by Lanczos."""
    integer("iterations", iterations, at_least=1)
    names = [name for name, _ in net.named()]
    fixed = set(frozen)
    if unknown := sorted(fixed - set(names)):
        raise ValueError(f"frozen has {unknown[0]!r}, expected some of {', '.join(names)}")
    trained = np.concatenate([np.full(a.size, name not in fixed) for name, a in net.named()])
    wide = net.replace(
        weights=[weight.astype(np.float64) for weight in net.weights],
        biases=[None if bias is None else bias.astype(np.float64) for bias in net.biases],
    )

    def product(direction: DoubleArray) -> DoubleArray:
        along = Gradient._from_flat(wide._layout, direction)
        found = hessian_vector_product(wide, X, y, along, loss, sample_weight, n_threads)
        return np.where(trained, found._flat, 0.0)

    vectors: list[DoubleArray] = []
    diagonal, beside = [], []
    vector = np.where(trained, np.random.default_rng(_SEED).normal(size=len(trained)), 0.0)
    length = float(np.linalg.norm(vector))
    while length > 0.0 and len(vectors) < iterations:
        vectors.append(vector / length)
        image = product(vectors[-1].copy())
        diagonal.append(float(image @ vectors[-1]))
        # Twice is enough to keep the vectors orthogonal.
        vector = image
        for _ in range(2):
            for old in vectors:
                vector = vector - (vector @ old) * old
        length = float(np.linalg.norm(vector))
        if length <= 1e-12 * max(map(abs, diagonal)):
            break
        beside.append(length)
    if not diagonal:
        return 0.0
    off = beside[: len(diagonal) - 1]
    return float(np.linalg.eigvalsh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))[-1])
