"""What the estimators share: parameters, fitting, attributes."""

from __future__ import annotations

import math
import warnings
from abc import ABCMeta, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lipgd._check import choice, flag, integer, number, shown
from lipgd.constraints import LipschitzTarget
from lipgd.history import History
from lipgd.lipschitz import Estimate, lower, upper
from lipgd.network import Network
from lipgd.sklearn._callbacks import CallbackSupport, Tasks, with_callbacks
from lipgd.sklearn._fit import Data, Fit, Stopping, fit
from lipgd.sklearn._scales import Scales, scales_of
from lipgd.types import FloatArray

__all__ = ["LipschitzEstimator"]

#: Steps between looks at the risk.
_CHUNK = 25
#: Of the tight bound: it is sought more closely where it has not come down to the limit.
_TOLERANCES = (1e-4, 1e-6, 1e-8)
#: Samples at which the lower value is sought.
_MOST_POINTS = 1000


class LipschitzEstimator(CallbackSupport, BaseEstimator, metaclass=ABCMeta):
    """A network with a limit on its Lipschitz constant, trained by gradient descent."""

    #: Whether targets are numbers in some unit.
    _scales_outputs: bool

    def __init__(
        self,
        hidden_layer_sizes: Any,
        lipschitz: float | None,
        *,
        activation: str,
        init: str | Network,
        method: str,
        certificate: str,
        solver: str,
        learning_rate: Any,
        max_iter: int,
        batch_size: int | None,
        momentum: float,
        alpha: float,
        tol: float,
        n_iter_no_change: int,
        early_stopping: bool,
        validation_fraction: float,
        warm_start: bool,
        random_state: Any,
        verbose: bool,
        n_threads: int | None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.lipschitz = lipschitz
        self.activation = activation
        self.init = init
        self.method = method
        self.certificate = certificate
        self.solver = solver
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.momentum = momentum
        self.alpha = alpha
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_threads = n_threads

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples; float32 is kept, anything else becomes float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Values or labels.
        sample_weight : array-like of shape (n_samples,), optional
            Weights >= 0 of the samples in the risk.

        Returns
        -------
        self
        """
        self._check_parameters()
        X, y = self._validated(X, y, reset=True)
        targets = self._encoded(y, None)
        known = getattr(self, "network_", None) if self.warm_start else None
        return self._fit(X, y, targets, sample_weight, known, self.max_iter)

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, classes: Any, n_epochs: int = 1
    ) -> Any:
        self._check_parameters()
        first = not hasattr(self, "network_")
        X, y = self._validated(X, y, reset=first)
        targets = self._encoded(y, classes if first else self._classes_so_far(classes))
        steps = n_epochs
        if self.batch_size is not None:
            steps *= -(-len(X) // min(self.batch_size, len(X)))
        known = None if first else self.network_
        return self._fit(X, y, targets, sample_weight, known, steps, partial=True)

    def _fit(
        self,
        X: FloatArray,
        y: Any,
        targets: Any,
        sample_weight: Any,
        known: Network | None,
        steps: int,
        partial: bool = False,
    ) -> Any:
        rng = check_random_state(self.random_state)
        seeds = rng.randint(2**31 - 1, size=3)
        data = _present(Data(X, targets, _weights(sample_weight, X)))
        validation = None
        if self.early_stopping and not partial:
            data, validation = self._split(data, int(seeds[2]))
        net = self._given(data, known)
        scales = self._scales_of(data, net, partial)
        loss, inner = self._loss_name(scales), scales.data(data)
        if not partial:
            self._warn_of_limit(data)
        net = self._drawn(inner, int(seeds[0])) if net is None else scales.inward(net)
        chunk = min(_CHUNK, self.n_iter_no_change, steps)
        stopping = Stopping(
            chunk=chunk,
            tol=0.0 if partial else self.tol,
            patience=-(-self.n_iter_no_change // chunk),
            validation=None if validation is None else scales.data(validation),
        )
        tasks = Tasks(self, -(-steps // chunk), X, y, _metadata(sample_weight))
        tasks.begin(self._attributes(scales.outward(net)))

        def watch(step: int, network: Network, score: float) -> bool:
            if self.verbose:
                value = score * scales.outputs**2
                print(f"{type(self).__name__}: step {step} of {steps}, risk {value:.6g}")
            return tasks.next_chunk(self._attributes(scales.outward(network)), step == steps)

        outcome = fit(
            net,
            inner,
            loss=loss,
            rate=None if _is_auto(self.learning_rate) else self.learning_rate,
            steps=steps,
            stopping=stopping,
            watch=watch,
            options=self._options(net, int(seeds[1]), len(data.X), scales),
        )
        self._adopt(outcome, data, scales)
        tasks.end(self._attributes(self.network_))
        if not partial and self.tol > 0 and not (outcome.converged or outcome.stopped):
            warnings.warn(
                f"max_iter is {self.max_iter}, and the risk was still falling by more than "
                f"tol={self.tol:g} of itself in {self.n_iter_no_change} steps, expected a larger "
                "max_iter or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _outputs(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return self.network_(X, n_threads=self.n_threads)

    def _adopt(self, outcome: Fit, data: Data, scales: Scales) -> None:
        self.network_ = scales.outward(outcome.network)
        found = outcome.history
        risk = found["risk"] * scales.outputs**2
        self.history_ = History(found.step, {"risk": risk}, found.meta)
        self.n_iter_ = outcome.n_iter
        self.certificate_ = self._proved()
        self.lipschitz_upper_ = float(self.certificate_)
        points = data.X[:: -(-len(data.X) // _MOST_POINTS)]
        self.lipschitz_lower_ = float(lower(self.network_, points, "points"))

    def _proved(self) -> Estimate:
        """Return the best bound; the training has proved one at the limit."""
        # The tight one stops within its tolerance, where others may be exact.
        methods = {"product", self.certificate} - {"sdp"}
        bounds = [upper(self.network_, method) for method in sorted(methods)]
        for tolerance in _TOLERANCES:
            bounds.append(upper(self.network_, tolerance=tolerance))
            best = min(bounds, key=lambda e: math.inf if math.isnan(e.value) else e.value)
            if self.lipschitz is None or best.value <= self.lipschitz:
                break
        return best

    def _attributes(self, network: Network) -> dict[str, Any]:
        """Return what makes a fitted estimator of a network, for callbacks."""
        return {"network_": network}

    def _options(self, net: Network, seed: int, n_samples: int, scales: Scales) -> dict[str, Any]:
        constraint = None
        if self.lipschitz is not None:
            constraint = LipschitzTarget(
                scales.limit(self.lipschitz),
                method=self.method,
                certificate=self.certificate,
                rescale_initial=True,
            )
        return {
            "constraint": constraint,
            "update": self.solver,
            "momentum": 0.0 if self.solver == "adam" else self.momentum,
            "nesterov": self.momentum > 0 and self.solver != "adam",
            "weight_decay": scales.decay(self.alpha, net.depth),
            "batch_size": None if self.batch_size is None else min(self.batch_size, n_samples),
            "sampling": "reshuffled",
            "shuffle_seed": seed,
            "n_threads": self.n_threads,
        }

    def _sizes(self, data: Data) -> tuple[int, ...]:
        return (data.X.shape[1], *_widths(self.hidden_layer_sizes), self._n_outputs())

    def _given(self, data: Data, known: Network | None) -> Network | None:
        """Return the network to start from, if there is one."""
        if known is not None:
            return _fitting("network_ of the last fit", known, self._sizes(data))
        if isinstance(self.init, Network):
            return _fitting("init", self.init, self._sizes(data))
        return None

    def _drawn(self, data: Data, seed: int) -> Network:
        """Return a random network."""
        net = Network.create(
            self._sizes(data),
            activation=self.activation,
            init=str(self.init),
            seed=seed,
            dtype=data.X.dtype,
        )
        # Biases do not count in a Lipschitz constant: the best constant output is a free start.
        biases = [*net.biases[:-1], self._best_constant(data).astype(net.dtype)]
        return net.replace(biases=biases)

    def _scales_of(self, data: Data, net: Network | None, partial: bool) -> Scales:
        """Return the units of the training: those of the data for a rate that the user knows."""
        if not _is_auto(self.learning_rate):
            return Scales()
        before: Scales | None = getattr(self, "_scales", None)
        if partial and before is not None and before.found:
            return before
        centred = net is None or net.biases[0] is not None
        self._scales = scales_of(data, self._scales_outputs, centred)
        return self._scales

    def _split(self, data: Data, seed: int) -> tuple[Data, Data]:
        """Return samples for the training, of every class at least one, and for validation."""
        n_samples, classes = len(data.X), self._strata(data)
        order = np.random.default_rng(seed).permutation(n_samples)
        order = order[np.argsort(classes[order], kind="stable")]
        free = np.delete(order, np.unique(classes[order], return_index=True)[1])
        if not len(free):
            raise ValueError(
                f"X has {n_samples} sample{'s' * (n_samples > 1)}, all of which the training "
                "needs, expected more for early_stopping"
            )
        count = min(len(free), math.ceil(self.validation_fraction * n_samples))
        # Evenly over the sorted classes: each gives its part.
        chosen = np.zeros(n_samples, bool)
        chosen[free[((np.arange(count) + 0.5) * (len(free) / count)).astype(int)]] = True
        return _rows(data, np.flatnonzero(~chosen)), _rows(data, np.flatnonzero(chosen))

    def _check_parameters(self) -> None:
        if self.lipschitz is not None:
            number("lipschitz", self.lipschitz, above=0)
        integer("max_iter", self.max_iter, at_least=1)
        integer("n_iter_no_change", self.n_iter_no_change, at_least=1)
        number("tol", self.tol, at_least=0, below=1)
        number("alpha", self.alpha, at_least=0)
        number("momentum", self.momentum, at_least=0, below=1)
        number("validation_fraction", self.validation_fraction, above=0, below=1)
        for name in ("early_stopping", "warm_start", "verbose"):
            flag(name, getattr(self, name))
        if self.batch_size is not None:
            integer("batch_size", self.batch_size, at_least=1)
        choice("solver", self.solver, ("gradient", "adam"))
        if isinstance(self.learning_rate, str):
            choice("learning_rate", self.learning_rate, ("auto",))
        if not isinstance(self.init, (str, Network)):
            raise TypeError(f"init is {shown(self.init)}, expected a name or a Network")
        _widths(self.hidden_layer_sizes)

    def _classes_so_far(self, classes: Any) -> Any:
        return None

    def _warn_of_limit(self, data: Data) -> None:
        """Warn if the limit alone keeps the network from fitting."""

    @abstractmethod
    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[FloatArray, Any]: ...

    @abstractmethod
    def _encoded(self, y: Any, classes: Any) -> Any:
        """Return what the loss takes, and remember what predictions need."""

    @abstractmethod
    def _loss_name(self, scales: Scales) -> str: ...

    @abstractmethod
    def _n_outputs(self) -> int: ...

    @abstractmethod
    def _best_constant(self, data: Data) -> FloatArray: ...

    @abstractmethod
    def _strata(self, data: Data) -> Any:
        """Return the class of each sample, for a split that keeps their parts."""


def _fitting(name: str, net: Network, sizes: tuple[int, ...]) -> Network:
    if net.sizes != sizes:
        raise ValueError(
            f"{name} has the sizes {net.sizes}, expected {sizes}: features, hidden_layer_sizes "
            "and outputs"
        )
    return net


def _is_auto(rate: Any) -> bool:
    return isinstance(rate, str) and rate == "auto"


def _widths(hidden_layer_sizes: Any) -> tuple[int, ...]:
    given = hidden_layer_sizes
    listed = given if isinstance(given, (list, tuple, np.ndarray)) else (given,)
    return tuple(
        integer(f"hidden_layer_sizes[{i}]", size, at_least=1) for i, size in enumerate(listed)
    )


def _weights(sample_weight: Any, X: FloatArray) -> FloatArray | None:
    if sample_weight is None:
        return None
    weights: FloatArray = _check_sample_weight(sample_weight, X, dtype=X.dtype)
    if (weights < 0).any():
        raise ValueError(f"sample_weight has {weights.min():g}, expected weights of at least 0")
    if not weights.any():  # scikit-learn checks it from 1.8 on
        raise ValueError("sample_weight has only zeros, expected a positive weight")
    return weights


def _metadata(sample_weight: Any) -> dict[str, Any] | None:
    return None if sample_weight is None else {"sample_weight": sample_weight}


def _present(data: Data) -> Data:
    """Leave out samples of weight zero: a training then cannot depend on them."""
    if data.weight is None or data.weight.all():
        return data
    return _rows(data, np.flatnonzero(data.weight))


def _rows(data: Data, rows: Any) -> Data:
    weight = None if data.weight is None else data.weight[rows]
    return Data(data.X[rows], data.y[rows], weight)
