"""Regression with a guaranteed Lipschitz constant."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from lipgd import losses
from lipgd.network import Network
from lipgd.sklearn._callbacks import with_callbacks
from lipgd.sklearn._estimator import LipschitzEstimator
from lipgd.sklearn._fit import Data
from lipgd.sklearn._scales import Scales, largest_r2
from lipgd.types import FloatArray

__all__ = ["LipschitzRegressor"]

#: Limits that keep R^2 below this are more often a matter of units than of robustness.
_SMALL_R2 = 0.1


class LipschitzRegressor(RegressorMixin, LipschitzEstimator):
    """A network for regression whose Lipschitz constant is certified to keep a limit.

    For any two inputs, ``|predict(x) - predict(z)| <= lipschitz * |x - z|`` with Euclidean norms,
    in the units of X and y as they are given to :meth:`fit`; :func:`in_raw_units` undoes scalers.
    A warning says so if the limit alone keeps R^2 below 0.1.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers; an empty sequence is a linear model.
    lipschitz : float or None
        The largest Lipschitz constant, above 0; None sets no limit, and certifies what comes out.
        Features with a standard deviation of one and targets with one of s need about s times what
        standardized targets would.
    loss : str
        ``"mse"`` or ``"huber"``, also ``"huber(0.5)"``.
    activation : str
        See :func:`lipgd.activations.get`. Smooth ones train best.
    init : str or Network
        The law of the first weights (:func:`lipgd.initialization.weights_and_biases`), or the
        network to start from. It is rescaled where it exceeds the limit.
    method, certificate : str
        See :class:`lipgd.LipschitzTarget`.
    solver : str
        ``"gradient"`` descent, or ``"adam"``, which needs fewer steps where curvatures differ.
    learning_rate : "auto", number, Schedule, callable or array
        ``"auto"`` starts with one over the measured curvature, grows while the risk falls, and
        goes back to the last good network with half the rate where it rises. It works in units in
        which samples vary by about one: inputs are centred, and inputs and targets each divided by
        a power of two, which ``network_``, ``history_``, ``alpha`` and limits do not show. Any
        other rate is that of :func:`lipgd.train` on the weights of ``network_`` and the data as
        they are.
    max_iter : int
        The most steps of gradient descent.
    batch_size : int or None
        Samples per step, in reshuffled epochs; None takes all of them.
    momentum : float
        Nesterov momentum, from 0 to below 1; without meaning for ``solver="adam"``.
    alpha : float
        Weight decay of the matrices of ``network_``, at least 0.
    tol : float
        Stop when the risk has not fallen by this part of itself in ``n_iter_no_change`` steps; 0
        takes all ``max_iter`` steps.
    n_iter_no_change : int
        See ``tol``.
    early_stopping : bool
        Keep a part of the samples for validation: ``tol`` then counts their risk, and the network
        with the smallest one is returned.
    validation_fraction : float
        That part.
    warm_start : bool
        Whether :meth:`fit` starts from the network of the last one.
    random_state : int, RandomState or None
        Seeds the first weights, the batches and the split for validation.
    verbose : bool
        Print the risk every 25 steps: with the penalty of ``alpha``, or of the validation samples.
    n_threads : int or None
        Threads to use; it does not change a bit of the result.

    Attributes
    ----------
    network_ : Network
        The trained network.
    lipschitz_upper_ : float
        A proved upper bound of its Lipschitz constant, at most ``lipschitz``.
    lipschitz_lower_ : float
        A value that its Lipschitz constant reaches.
    certificate_ : Estimate
        Where the upper bound comes from.
    history_ : History
        The risk of the training samples.
    n_iter_ : int
        Steps that led to the end of the training.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from lipgd.sklearn import LipschitzRegressor
    >>> X = np.linspace(-2, 2, 100)[:, None]
    >>> model = LipschitzRegressor(32, lipschitz=1.5, tol=0, random_state=0)
    >>> model = model.fit(X, np.sin(X[:, 0]))
    >>> model.lipschitz_upper_ <= 1.5, bool(model.score(X, np.sin(X[:, 0])) > 0.99)
    (True, True)
    """

    _scales_outputs = True

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        lipschitz: float | None = 5.0,
        *,
        loss: str = "mse",
        activation: str = "silu",
        init: str | Network = "he_normal",
        method: str = "retract",
        certificate: str = "product",
        solver: str = "gradient",
        learning_rate: Any = "auto",
        max_iter: int = 1000,
        batch_size: int | None = None,
        momentum: float = 0.9,
        alpha: float = 0.0,
        tol: float = 1e-4,
        n_iter_no_change: int = 100,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            lipschitz,
            activation=activation,
            init=init,
            method=method,
            certificate=certificate,
            solver=solver,
            learning_rate=learning_rate,
            max_iter=max_iter,
            batch_size=batch_size,
            momentum=momentum,
            alpha=alpha,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            n_threads=n_threads,
        )
        self.loss = loss

    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> LipschitzRegressor:
        """Go through the samples once: one step, or one epoch of batches.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.

        Returns
        -------
        self
        """
        self._partial_fit(X, y, sample_weight, None)
        return self

    def predict(self, X: Any) -> FloatArray:
        """Return the values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the form of the y of :meth:`fit`.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if self._is_flat else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[FloatArray, Any]:
        X, y = validate_data(
            self,
            X,
            y,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            reset=reset,
        )
        return X, y.astype(X.dtype, copy=False)

    def _encoded(self, y: Any, classes: Any) -> Any:
        self._is_flat = y.ndim == 1
        self._width = 1 if self._is_flat else y.shape[1]
        return y

    def _loss_name(self, scales: Scales) -> str:
        kind = losses.get(self.loss)
        if not kind.residual:
            raise ValueError(f"loss is {self.loss!r}, expected mse or huber")
        if kind.kind == "huber":
            kind = losses.get("huber", delta=kind.parameter / scales.outputs)
        return kind.name

    def _warn_of_limit(self, data: Data) -> None:
        if self.lipschitz is None:
            return
        reachable = largest_r2(data, self.lipschitz)
        if reachable < _SMALL_R2:
            warnings.warn(
                f"lipschitz is {self.lipschitz:g}, and no function with that constant has an R^2 "
                f"above {reachable:.2g} on these samples, expected a larger limit, or targets in "
                "a larger unit: it is in units of y per unit of X",
                UserWarning,
                stacklevel=4,
            )

    def _n_outputs(self) -> int:
        return self._width

    def _best_constant(self, data: Data) -> FloatArray:
        mean = np.average(data.y, axis=0, weights=data.weight)
        return np.atleast_1d(mean)

    def _strata(self, data: Data) -> Any:
        return np.zeros(len(data.X))
