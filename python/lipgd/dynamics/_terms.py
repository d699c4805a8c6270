"""Coefficients from moments: sections 2, 3, 5, 9 and 10 of dynamics.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lipgd._check import flag, integer, number
from lipgd.dynamics._moments import LayerMoments, Moments
from lipgd.dynamics._rule import Rule
from lipgd.dynamics._triplets import NormDerivatives, Triplets
from lipgd.types import DoubleArray

__all__ = ["Coefficients", "Totals", "coefficients_of"]

#: Of a two-dimensional Gauss-Hermite sum (10.1).
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)


@dataclass(frozen=True)
class Totals:
    """The coefficients of Z, the sum of log norms over the layers (3.2); per unit of time.

    ``lambda2`` has the covariances between layers, ``lambda2_independent`` is the sum over layers:
    the Ito term of Z is minus one half of the latter, its variance is the former.
    """

    mu: float
    kappa: float
    psi: float
    lambda2: float
    lambda2_independent: float
    lambda2_diagonal: float
    kappa_diagonal: float

    @property
    def drift(self) -> float:
        """The expected change of Z per unit of time, mu + kappa - Ito + psi (2.2, 3.4)."""
        return self.mu + self.kappa - 0.5 * self.lambda2_independent + self.psi

    @property
    def lambda2_off_diagonal(self) -> float:
        """The part of ``lambda2`` from covariances of entries, those between layers included."""
        return self.lambda2 - self.lambda2_diagonal

    @property
    def kappa_off_diagonal(self) -> float:
        """The part of ``kappa`` from covariances of entries."""
        return self.kappa - self.kappa_diagonal


@dataclass(frozen=True)
class Coefficients:
    """What moves the log norms of the layers in one step; all per unit of time (a step is rate).

    Attributes
    ----------
    mu, kappa, lambda2, psi : ndarray, shape (layers,)
        Drift along the gradient, noise-curvature, noise and finite-step terms (2.3). Zero for a
        frozen layer. Within a reshuffled epoch kappa and lambda2 may be negative (5.3).
    covariance : ndarray, shape (layers, layers)
        Of the log norms; ``lambda2`` is its diagonal (6.3).
    kappa_diagonal, lambda2_diagonal : ndarray, shape (layers,)
        The parts from the variances of the entries of the gradient (5.4); the rest is from
        their covariances. NaN if not measured.
    gap : ndarray, shape (layers,)
        Relative: (sigma_1 - sigma_2) / sigma_1.
    degeneracy : ndarray, shape (layers,)
        rho of section 10: second order errs by 1-3 % up to 0.2, by 5-8 % up to 1.
    pair_share : ndarray, shape (layers,)
        The share of the second singular value in ``kappa``.
    curvature, curvature_pair : ndarray, shape (layers,)
        kappa + rate H[g, g] / (2 sigma_1), and the same with the pair term 10.1, which is finite
        where the gap is zero.
    norms : ndarray, shape (layers,)
        sigma_1 of the layers.
    network : Totals
        Those of the sum of log norms.
    """

    mu: DoubleArray
    kappa: DoubleArray
    lambda2: DoubleArray
    psi: DoubleArray
    covariance: DoubleArray
    kappa_diagonal: DoubleArray
    lambda2_diagonal: DoubleArray
    gap: DoubleArray
    degeneracy: DoubleArray
    pair_share: DoubleArray
    curvature: DoubleArray
    curvature_pair: DoubleArray
    norms: DoubleArray
    network: Totals


def coefficients_of(
    moments: Moments,
    *,
    batch_size: int,
    rate: float,
    sampling: str = "independent",
    step_in_epoch: int | None = None,
    population_size: float | None = None,
    frozen: Sequence[bool] | None = None,
    weight_decay: Sequence[float] | float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
    velocity: Sequence[npt.ArrayLike] | None = None,
) -> Coefficients:
    """Return the coefficients of layers whose moments were measured, of a network from anywhere.

    Parameters
    ----------
    moments : Moments
        At least two samples: the training set, or a probe drawn from it without replacement.
    batch_size, rate, sampling, step_in_epoch, momentum, nesterov
        As for :func:`coefficients`.
    population_size : int or inf, optional
        The number of samples that batches are drawn from; by default the samples are all of them.
        If there are more, they are a probe, and squares of means are debiased (5.2).
    frozen : sequence of bool, optional
        Layers that are not trained.
    weight_decay : float or sequence of float
        Of all layers, or of each.
    velocity : sequence of array_like, each the shape of its layer, optional
        What momentum has gathered, in the convention v = momentum v + g; by default zero.

    Examples
    --------
    >>> import numpy as np
    >>> from lipgd.dynamics import Moments, coefficients_of
    >>> moments = Moments([[[2.0, 0.0], [0.0, 1.0]]])
    >>> moments.add([np.eye(2)], [np.array([[1.0, 0.0], [3.0, 0.0]])])
    >>> round(float(coefficients_of(moments, batch_size=1, rate=0.1).mu[0]), 12)
    -0.25
    """
    if not isinstance(moments, Moments):
        raise TypeError(f"moments is a {type(moments).__name__}, expected Moments")
    if moments.count < 2:
        raise ValueError(f"moments has {moments.count} samples, expected at least 2")
    rule = Rule.checked(
        moments.count,
        population_size,
        integer("batch_size", batch_size, at_least=1),
        number("rate", rate, above=0.0),
        sampling,
        step_in_epoch,
        number("momentum", momentum, at_least=0.0, below=1.0),
        flag("nesterov", nesterov),
    )
    layers = len(moments.layers)
    fixed = [False] * layers if frozen is None else list(frozen)
    decays = list(np.broadcast_to(np.asarray(weight_decay, np.float64), layers))
    if len(fixed) != layers:
        raise ValueError(f"frozen has {len(fixed)} values, expected one per layer ({layers})")
    if velocity is not None and len(velocity) != layers:
        raise ValueError(f"velocity has {len(velocity)} arrays, expected one per layer ({layers})")
    rows = [
        _Layer(layer, rule, float(decays[i]), None if velocity is None else velocity[i])
        for i, layer in enumerate(moments.layers)
    ]
    return _gather(rows, moments, rule, np.array([not f for f in fixed], np.float64))


def _gather(rows: list[_Layer], moments: Moments, rule: Rule, on: DoubleArray) -> Coefficients:
    norms = np.array([row.top.norm for row in rows])
    trained = on > 0
    covariance = rule.rate * rule.noise * moments.slope_covariance() / np.outer(norms, norms)
    covariance *= np.outer(on, on)

    def column(name: str) -> DoubleArray:
        values = np.array([getattr(row, name) for row in rows], np.float64)
        return np.where(trained, values, 0.0)

    mu, kappa, psi = column("mu"), column("kappa"), column("psi")
    lambda2 = np.diag(covariance).copy()
    parts = column("lambda2_diagonal"), column("kappa_diagonal")
    totals = Totals(
        float(mu.sum()),
        float(kappa.sum()),
        float(psi.sum()),
        float(covariance.sum()),
        float(lambda2.sum()),
        float(parts[0].sum()),
        float(parts[1].sum()),
    )
    return Coefficients(
        mu=mu,
        kappa=kappa,
        lambda2=lambda2,
        psi=psi,
        covariance=covariance,
        kappa_diagonal=parts[1],
        lambda2_diagonal=parts[0],
        gap=np.array([row.top.gap / row.top.norm for row in rows]),
        degeneracy=column("degeneracy"),
        pair_share=column("pair_share"),
        curvature=column("curvature"),
        curvature_pair=column("curvature_pair"),
        norms=norms,
        network=totals,
    )


class _Layer:
    """All terms of one layer."""

    def __init__(
        self, layer: LayerMoments, rule: Rule, decay: float, velocity: npt.ArrayLike | None
    ) -> None:
        self.top: NormDerivatives = layer.top
        top = self.top
        self._layer, self._rule = layer, rule
        self._noise_trace = self._contract_noise(first=1)
        a, b, outside, second = self._mean_step(decay, velocity)
        self._pair_mean = self._mean_of_pair(a, b, second)
        slope = layer.sums()[0][0] / (layer.count - 1)
        half = 0.5 * rule.rate
        self.mu = -float(a[0]) / top.norm
        self.kappa = half * rule.noise * self._noise_trace / top.norm
        curved = top.contract(a * a, b * b, a * b, float(outside @ outside))
        curved -= rule.debias * self._noise_trace
        square = float(a[0]) ** 2 - rule.debias * slope
        self.psi = half * (curved / top.norm - square / top.norm**2)
        self.curvature = self.kappa + half * curved / top.norm
        self.curvature_pair = self._with_pair_term(a, b, outside)
        self.kappa_diagonal, self.lambda2_diagonal = self._diagonal()

    @property
    def pair_share(self) -> float:
        """The k = 2 term over the trace of the Hessian with the noise."""
        if len(self.top.values) < 2 or self._noise_trace == 0:
            return 0.0
        if self.top.gap == 0:
            return 1.0
        return 1 - self._contract_noise(first=self.top.pair) / self._noise_trace

    @property
    def degeneracy(self) -> float:
        """The root mean square coupling of the pair in one step over the gap."""
        if len(self.top.values) < 2:
            return 0.0
        variance = self._layer.pair_sums()[1, 1] / (self._layer.count - 1)
        spread = max(0.0, abs(self._rule.noise) - self._rule.debias) * variance
        size = self._rule.rate * math.sqrt(self._pair_mean[1] ** 2 + spread)
        return size / self.top.gap if self.top.gap > 0 else math.inf

    def _contract_noise(self, first: int) -> float:
        aa, bb, ab, outside = self._layer.sums()
        return self.top.contract(aa, bb, ab, outside, first) / (self._layer.count - 1)

    def _mean_step(
        self, decay: float, velocity: npt.ArrayLike | None
    ) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
        """Project the expected step, gradient, decay and velocity together (9.2, 9.3)."""
        a, b, outside, second = self._layer.means()
        gain, kept = self._rule.gradient_gain, self._rule.velocity_gain
        a, b, outside, second = gain * a, gain * b, gain * outside, gain * second
        a[0] += gain * decay * self.top.norm
        b[0] += gain * decay * self.top.norm
        if len(self.top.values) > 1:
            second += gain * decay * float(self.top.values[1])
        if velocity is None:
            return a, b, outside, second
        v = np.asarray(velocity, np.float64)
        shape = self.top.shape
        if v.shape != shape or not np.isfinite(v).all():
            raise ValueError(f"velocity has an array of shape {v.shape}, expected finite {shape}")
        of_a, of_b, of_outside = self.top.project(v)
        second += kept * self.top.second(v)
        return a + kept * of_a, b + kept * of_b, outside + kept * of_outside, second

    def _mean_of_pair(self, a: DoubleArray, b: DoubleArray, second: float) -> DoubleArray:
        if len(a) < 2:
            return np.zeros(2)
        coupling = 0.5 * (a + b)[1 : self.top.pair]
        size = coupling[0] if len(coupling) == 1 else np.linalg.norm(coupling)
        return np.array([a[0] - second, size])

    def _with_pair_term(self, a: DoubleArray, b: DoubleArray, outside: DoubleArray) -> float:
        """Replace the singular part of the pair by its mean over Gaussian noise (10.1)."""
        top, rule, count = self.top, self._rule, self._layer.count
        if len(a) < 2:
            return self.curvature
        if top.pair != 2:  # y has two parts there, and 10.1 is for one
            return math.nan
        noise = rule.noise - rule.debias
        aa, bb, ab, outer = self._layer.sums()
        scale = noise / (count - 1)
        moments = (scale * aa + a * a, scale * bb + b * b, scale * ab + a * b)
        beyond = scale * outer + float(outside @ outside)
        regular = top.contract(*moments, beyond, first=2)
        minus = moments[0][1] + moments[1][1] - 2 * moments[2][1]
        regular += float(minus) / (2 * (top.values[0] + top.values[1]))
        covariance = rule.rate**2 * abs(noise) * self._layer.pair_sums() / (count - 1)
        mean = -rule.rate * self._pair_mean
        pair = _pair_growth(top.gap, mean, covariance)
        if noise < 0:  # within a reshuffled epoch: past batches take back what noise adds
            pair = 2 * _pair_growth(top.gap, mean, 0 * covariance) - pair
        return float((0.5 * rule.rate * regular + pair / rule.rate) / top.norm)

    def _diagonal(self) -> tuple[float, float]:
        layer, top, rule = self._layer, self.top, self._rule
        if layer._squares is None or not isinstance(top, Triplets):
            return math.nan, math.nan
        variances = layer.variances()
        with np.errstate(invalid="ignore"):
            curved = float((top.hessian_diagonal() * variances).sum())
        along = float(top.left[:, 0] ** 2 @ variances @ top.right[:, 0] ** 2)
        scale = rule.rate * rule.noise / top.norm
        return 0.5 * scale * curved, scale * along / top.norm


def _pair_growth(gap: float, mean: DoubleArray, covariance: DoubleArray) -> float:
    """Return the mean of the top eigenvalue's growth beyond first order, for (d, y) Gaussian."""
    (dd, dy), (_, yy) = covariance
    root = math.sqrt(max(dd, 0.0))
    slope = dy / root if root > 0 else 0.0
    rest = math.sqrt(max(yy - slope * slope, 0.0))
    first, second = np.meshgrid(_NODES, _NODES, indexing="ij")
    d = gap + mean[0] + root * first
    y = mean[1] + slope * first + rest * second
    length = np.hypot(d, 2 * y)
    # length - d without cancellation where d > 0.
    safe = np.where(d > 0, length + d, 1.0)
    growth = np.where(d > 0, 4 * y * y / safe, length - d)
    weights = np.outer(_WEIGHTS, _WEIGHTS) / (2 * math.pi)
    return 0.5 * float((weights * growth).sum())
