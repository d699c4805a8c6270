"""Predictions from the record of a training: sections 4, 5 and 11 of dynamics.md."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from lipgd._check import flag, integer, shown
from lipgd._columns import DYNAMICS, dynamics_columns
from lipgd.dynamics._noise_in_time import NoiseInTime
from lipgd.dynamics._prediction import Prediction
from lipgd.run import Run
from lipgd.types import ArrayLike, DoubleArray, IndexArray

__all__ = ["predict"]

#: Steps between rows of a training that is repeated to be measured (section 11).
_EVERY = 10


def predict(
    run: Run,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    pair_term: bool = False,
    record_every: int | None = None,
) -> Prediction:
    """Predict how the log norms of the layers moved along a training.

    Between rows coefficients are interpolated linearly (the trapezoid rule of section 11), in units
    of the rate of each step. With a row at every step the prediction is the compensator of
    section 4.1 itself.

    Parameters
    ----------
    run : Run
        A training that recorded ``lipschitz_dynamics``, with any sampling, weight decay, heavy ball
        or Nesterov momentum. A training that did not is repeated from its first network, which
        gives the same steps.
    X, y : array_like, optional
        The training data, needed for a run without the record.
    pair_term : bool
        Add the pair term of section 10.1, for layers that stay nearly degenerate.
    record_every : int, optional
        Rows of the repeated training; by default 10.

    Returns
    -------
    Prediction
        Of the network, with one of each layer in ``layers``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the data are not those of the run.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 3))
    >>> net = lipgd.Network.create([3, 8, 1], activation="tanh")
    >>> run = lipgd.train(net, X, X[:, 0], rate=0.1, steps=30, batch_size=20)
    >>> found = lipgd.dynamics.predict(run, X, X[:, 0])
    >>> found.law().median > 0, found.step.tolist()
    (True, [0, 10, 20, 30])
    """
    if not isinstance(run, Run):
        raise TypeError(f"run is {shown(run)}, expected a Run of lipgd.train")
    flag("pair_term", pair_term)
    if X is not None and len(np.shape(X)) != 2:
        raise ValueError(f"X has shape {np.shape(X)}, expected (n_samples, n_inputs)")
    if X is not None and len(np.asarray(X)) != run.history.meta["n_samples"]:
        raise ValueError(
            f"X has {len(np.asarray(X))} samples, but the run had {run.history.meta['n_samples']}"
        )
    columns = dynamics_columns(run.initial._layout)
    if any(name not in run.history.columns for name in columns):
        run = _repeated(run, X, y, record_every)
    elif record_every is not None:
        raise ValueError("record_every is given, but the run has its record, expected None")
    return _Series.of(run).predict(pair_term)


def _repeated(run: Run, X: ArrayLike | None, y: ArrayLike | None, record_every: int | None) -> Run:
    from lipgd.training import train

    if X is None or y is None:
        raise ValueError(
            f"X or y is missing, but the run has no record {DYNAMICS}, expected its data, with "
            "which it is repeated"
        )
    settings = run.settings
    again = train(
        run.initial,
        X,
        y,
        loss=settings.loss,
        rate={name: rates[: run.steps] for name, rates in settings.rates.items()},
        steps=run.steps,
        constraint=settings.constraint,
        update=settings.update,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        proximal=settings.proximal,
        batch_size=settings.batch_size,
        sampling=settings.sampling,
        shuffle_seed=settings.shuffle_seed,
        frozen=settings.frozen,
        record=(DYNAMICS,),
        record_every=_EVERY
        if record_every is None
        else integer("record_every", record_every, at_least=1),
    )
    if again.network != run.network:
        raise ValueError(
            "X and y lead to another network than that of the run, expected the data of the run, "
            "in the same order and without sample weights"
        )
    return again


@dataclass(frozen=True)
class _Series:
    """The columns of a record at the rows that were measured; first the network, then layers."""

    names: tuple[str, ...]
    step: IndexArray
    rates: DoubleArray  #: (steps,)
    columns: dict[str, DoubleArray]  #: each (rows, 1 + layers)
    noise: NoiseInTime
    probe: float  #: variance of a mean over the probe, over the per-sample variance

    @classmethod
    def of(cls, run: Run) -> _Series:
        history, settings = run.history, run.settings
        matrices = [name for name in run.initial._layout.names if name.startswith("W")]
        moving = next(name for name in matrices if name not in settings.frozen)
        measured = np.isfinite(history["dynamics_log_norm"])
        n_samples = int(history.meta["n_samples"])
        columns = {
            quantity: np.stack(
                [
                    history[f"dynamics_{quantity}{part}"][measured]
                    for part in ("", *(f":{name}" for name in matrices))
                ],
                axis=1,
            )
            for quantity in (
                *("log_norm", "first_order", "pathwise", "mu", "kappa", "lambda2", "psi", "pair"),
                "epoch",
            )
        }
        probe = settings.dynamics.probe_size if settings.dynamics is not None else None
        return cls(
            ("network", *matrices),
            history.step[measured],
            np.asarray(settings.rates[moving]),
            columns,
            NoiseInTime(
                n_samples,
                settings.batch_size or n_samples,
                settings.sampling if settings.batch_size is not None else "independent",
                settings.momentum,
                settings.nesterov,
            ),
            0.0 if probe is None else (1 - probe / n_samples) / probe,
        )

    def predict(self, pair_term: bool) -> Prediction:
        steps = int(self.step[-1])
        eta = self.rates[:steps, None]
        mu = self._summed(eta * self._between("mu"))
        psi = self._summed(eta**2 * self._between("psi"))
        kappa, ito, pair = self._from_noise(self.noise.curvature_factors(steps))
        added = pair if pair_term else np.zeros_like(pair)
        variance = self._picked(self.noise.accumulated(eta**2 * self._between("lambda2")))
        variance += self._probe_variance()
        observed = self.columns["log_norm"]
        factors = (self.rates[:steps] ** 2 * self.noise.epoch_factors(steps))[:, None]
        epoch = self._summed(factors * self._between("epoch"))
        predicted = observed[0] + mu + kappa + ito + psi + epoch + added
        # In the actual first order the batches of an epoch have balanced each other already.
        own_kappa, own_ito, own_pair = self._from_noise(self.noise.own_factors(steps))
        first = self.columns["first_order"]
        replay = observed[0] + first + own_kappa + own_ito + psi
        replay += own_pair if pair_term else 0.0
        error = np.sqrt(variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(error > 0, (observed - predicted) / error, math.nan)
        time = np.concatenate([[0.0], np.cumsum(self.rates[:steps])])[self.step]
        parts = [
            Prediction(
                name, self.step, time, observed[:, k], predicted[:, k], error[:, k], z[:, k],
                replay[:, k], observed[0, k] + self.columns["pathwise"][:, k], mu[:, k],
                kappa[:, k], ito[:, k], psi[:, k], pair[:, k], epoch[:, k], first[:, k],
                variance[:, k],
            )
            for k, name in enumerate(self.names)
        ]  # fmt: skip
        return replace(parts[0], layers=tuple(parts[1:]))

    def _from_noise(self, factors: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return the sums of kappa, of the Ito term and of the pair term."""
        scale = (self.rates[: len(factors)] ** 2 * factors)[:, None]
        kappa, lambda2, pair = (
            self._summed(scale * self._between(name)) for name in ("kappa", "lambda2", "pair")
        )
        ito = -0.5 * lambda2
        ito[:, 0] = ito[:, 1:].sum(axis=1)  # of the network without what is between layers (3.2)
        return kappa, ito, pair

    def _between(self, quantity: str) -> DoubleArray:
        """Return a column at every step: second-order ones per unit of the rate."""
        values = self.columns[quantity]
        if quantity not in ("mu", "epoch"):
            values = values / self._row_rates()[:, None]
        steps = np.arange(self.step[-1])
        usable = np.isfinite(values).all(axis=1)
        if not usable.any():
            return np.zeros((len(steps), values.shape[1]))
        return np.stack([np.interp(steps, self.step[usable], c[usable]) for c in values.T], axis=1)

    def _row_rates(self) -> DoubleArray:
        """Return the rates that rows were measured for: NaN where a step has none."""
        if not len(self.rates):
            return np.full(len(self.step), math.nan)
        rates = self.rates[np.minimum(self.step, len(self.rates) - 1)]
        return np.where(rates > 0, rates, math.nan)

    def _summed(self, summands: DoubleArray) -> DoubleArray:
        return self._picked(np.cumsum(summands, axis=0))

    def _picked(self, sums: DoubleArray) -> DoubleArray:
        """Return sums over the first steps at the rows."""
        return np.concatenate([np.zeros((1, sums.shape[1])), sums])[self.step]

    def _probe_variance(self) -> DoubleArray:
        """Return what fresh probes add: each stands for the steps around its row (5.2)."""
        rows, steps = len(self.step), int(self.step[-1])
        zero = np.zeros((rows, len(self.names)))
        if self.probe == 0 or self.noise.factor <= 0 or rows < 2:
            return zero
        index = np.searchsorted(self.step, np.arange(steps), side="right") - 1
        share = (np.arange(steps) - self.step[index]) / np.diff(self.step)[index]
        eta = self.rates[:steps]
        after = np.bincount(index, eta * (1 - share), rows)
        before = np.bincount(index + 1, eta * share, rows)
        lambda2 = np.nan_to_num(self.columns["lambda2"] / self._row_rates()[:, None])
        per_sample = lambda2 * self.noise.batch_size / self.noise.factor
        whole = np.cumsum((before + after)[:, None] ** 2 * per_sample, axis=0)
        own = (after * (after + 2 * before))[:, None] * per_sample  # what follows the row
        variance: DoubleArray = self.probe * np.maximum(whole - own, 0.0)
        return variance
