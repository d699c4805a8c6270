"""Predicted log norms along a training: sections 4, 5 and 11 of dynamics.md."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lipgd._check import integer
from lipgd.dynamics._law import LogNormal
from lipgd.types import DoubleArray, IndexArray

__all__ = ["Prediction"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What theory says of Z, the sum of the layers' log norms, and what was observed.

    All arrays have one entry per row where coefficients were measured. The predicted trajectory is
    ``initial + drift + noise_curvature + ito + finite_step + epoch``; each part is a sum over the
    steps so far. Errors are never taken back at a row.

    Attributes
    ----------
    name : str
        ``"network"``, or ``"W1"``, ... for one layer.
    step : ndarray of int64, shape (rows,)
        The steps taken.
    time : ndarray, shape (rows,)
        The sum of the rates so far.
    observed : ndarray, shape (rows,)
        Z at the row, or the log norm of the layer.
    predicted : ndarray, shape (rows,)
        What is expected of the steps, from coefficients along the trajectory (4.1).
    standard_error : ndarray, shape (rows,)
        Of ``observed - predicted``: the root of the summed conditional variances and of what
        probes add (4.1, 5.2, 5.3). Not the spread between runs: that is ``ensemble``'s.
    z : ndarray, shape (rows,)
        ``(observed - predicted) / standard_error``; NaN where that is zero. With reshuffled epochs
        first-order noise cancels at the end of an epoch, so that z means nothing there.
    replay : ndarray, shape (rows,)
        With the first order of the actual steps and the expected second order (4.1).
    pathwise : ndarray, shape (rows,)
        First and second order of the actual change from row to row (2.1, 9.1).
    drift, noise_curvature, ito, finite_step : ndarray, shape (rows,)
        The summed mu, kappa, minus one half of lambda^2 (for the network: of the sum over layers)
        and psi.
    pair : ndarray, shape (rows,)
        What the pair term of section 10.1 adds; part of ``predicted`` and ``replay`` only if it was
        asked for.
    epoch : ndarray, shape (rows,)
        With reshuffled epochs, the drift because earlier batches have moved the parameters and so
        the mean gradient of the samples that are left; zero otherwise.
    first_order : ndarray, shape (rows,)
        The first order of the actual steps, summed.
    variance : ndarray, shape (rows,)
        The square of ``standard_error``.
    layers : tuple of Prediction
        The same of each layer; empty for a layer.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> run = lipgd.train(net, X, X[:, 0], rate=0.1, steps=30, batch_size=20,
    ...                   record=["lipschitz_dynamics"], record_every=1)
    >>> found = lipgd.dynamics.predict(run, X, X[:, 0])
    >>> len(found.step), bool(abs(found.z[-1]) < 4), found.layers[1].name
    (31, True, 'W2')
    >>> parts = found.drift + found.noise_curvature + found.ito + found.finite_step
    >>> bool(np.allclose(found.predicted, found.observed[0] + parts))
    True
    """

    name: str
    step: IndexArray = field(repr=False)
    time: DoubleArray = field(repr=False)
    observed: DoubleArray = field(repr=False)
    predicted: DoubleArray = field(repr=False)
    standard_error: DoubleArray = field(repr=False)
    z: DoubleArray = field(repr=False)
    replay: DoubleArray = field(repr=False)
    pathwise: DoubleArray = field(repr=False)
    drift: DoubleArray = field(repr=False)
    noise_curvature: DoubleArray = field(repr=False)
    ito: DoubleArray = field(repr=False)
    finite_step: DoubleArray = field(repr=False)
    pair: DoubleArray = field(repr=False)
    epoch: DoubleArray = field(repr=False)
    first_order: DoubleArray = field(repr=False)
    variance: DoubleArray = field(repr=False)
    layers: tuple[Prediction, ...] = field(default=(), repr=False)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.step)

    def law(self, row: int = -1) -> LogNormal:
        """Return the predicted law of K = e^Z at a row (4.4): the product of norms.

        The spread is that around this trajectory's prediction. The Lipschitz bound of the network
        is K times the constants of its activations and of its output scale.

        Parameters
        ----------
        row : int
            Counted from the end if negative.
        """
        place = integer("row", row, at_least=-self.rows, at_most=self.rows - 1)
        return LogNormal(float(self.predicted[place]), float(self.variance[place]))

    def error(self, predictor: str = "predicted") -> DoubleArray:
        """Return ``|prediction - observed|`` over the largest ``|observed - initial|`` of all rows.

        Parameters
        ----------
        predictor : {"predicted", "replay", "pathwise"}
            Which prediction; a single run cannot agree with the first better than its
            ``standard_error``.
        """
        if predictor not in ("predicted", "replay", "pathwise"):
            raise ValueError(
                f"predictor is {predictor!r}, expected 'predicted', 'replay' or 'pathwise'"
            )
        values: DoubleArray = getattr(self, predictor)
        moved = float(np.abs(self.observed - self.observed[0]).max())
        with np.errstate(invalid="ignore", divide="ignore"):
            relative: DoubleArray = np.abs(values - self.observed) / moved
        return relative

    def __str__(self) -> str:
        last = self.observed[-1] - self.observed[0]
        parts = {
            "drift along the gradient (mu)": self.drift,
            "noise-curvature (kappa)": self.noise_curvature,
            "Ito term": self.ito,
            "finite step (psi)": self.finite_step,
            "earlier batches of the epoch": self.epoch,
        }
        lines = [f"{self.name}: change of the log norm after {self.step[-1]} steps"]
        lines += [f"  {name:32}{values[-1]:+.6f}" for name, values in parts.items()]
        lines.append(
            f"  {'predicted':32}{self.predicted[-1] - self.observed[0]:+.6f}"
            f" +- {self.standard_error[-1]:.6f}"
        )
        lines.append(f"  {'observed':32}{last:+.6f}, z = {self.z[-1]:.2f}")
        return "\n".join(lines)
