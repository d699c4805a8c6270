"""Classification with a guaranteed Lipschitz constant."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from lipgd import losses
from lipgd.lipschitz import certified_radius
from lipgd.network import Network
from lipgd.sklearn._callbacks import with_callbacks
from lipgd.sklearn._estimator import LipschitzEstimator
from lipgd.sklearn._fit import Data
from lipgd.sklearn._scales import Scales
from lipgd.types import FloatArray

__all__ = ["LipschitzClassifier"]


class LipschitzClassifier(ClassifierMixin, LipschitzEstimator):
    """A network for classification whose Lipschitz constant is certified to keep a limit.

    Two classes are told apart by the sign of one output (logistic loss), more by the largest of as
    many outputs (cross entropy). For any two inputs,
    ``|decision_function(x) - decision_function(z)| <= lipschitz * |x - z|`` with Euclidean norms,
    in the units of X as it is given to :meth:`fit`; :func:`in_raw_units` undoes scalers.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers; an empty sequence is a linear model.
    lipschitz : float or None
        The largest Lipschitz constant, above 0; None sets no limit, and certifies what comes out.
    label_smoothing : float
        Of the cross entropy with more than two classes, from 0 to below 1.
    activation, init, method, certificate, solver, learning_rate, max_iter, batch_size, momentum, \
alpha, tol, n_iter_no_change, early_stopping, validation_fraction, warm_start, random_state, \
verbose, n_threads
        As for :class:`LipschitzRegressor`; the split for validation keeps the parts of the classes.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    network_, lipschitz_upper_, lipschitz_lower_, certificate_, history_, n_iter_, \
n_features_in_, feature_names_in_
        As for :class:`LipschitzRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from lipgd.sklearn import LipschitzClassifier
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = LipschitzClassifier(32, lipschitz=10.0, tol=0, random_state=0)
    >>> model = model.fit(X, X[:, 0] > 0)
    >>> model.lipschitz_upper_ <= 10.0, bool(model.score(X, X[:, 0] > 0) > 0.95)
    (True, True)
    """

    _scales_outputs = False

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        lipschitz: float | None = 5.0,
        *,
        label_smoothing: float = 0.0,
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
        self.label_smoothing = label_smoothing

    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> LipschitzClassifier:
        """Go through the samples once: one step, or one epoch of batches.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.
        classes : array-like of shape (n_classes,), optional
            All labels that will ever come; the first call needs it.

        Returns
        -------
        self
        """
        if classes is None and not hasattr(self, "network_"):
            raise ValueError(
                "classes is None, expected all labels in the first call of partial_fit"
            )
        self._partial_fit(X, y, sample_weight, classes)
        return self

    def decision_function(self, X: Any) -> FloatArray:
        """Return the outputs of the network, whose Lipschitz constant is certified.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict(self, X: Any) -> Any:
        """Return the labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        outputs = self._outputs(X)
        two = outputs.shape[1] == 1
        return self.classes_[(outputs[:, 0] > 0).astype(int) if two else outputs.argmax(axis=1)]

    def predict_proba(self, X: Any) -> FloatArray:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows sum to 1.
        """
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            outputs = np.hstack([-outputs, outputs]) / 2
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))

    def certified_radius(self, X: Any) -> FloatArray:
        """Return Euclidean radii within which the predicted label provably does not change.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            See :func:`lipgd.lipschitz.certified_radius`.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        outputs = self.network_(X, n_threads=self.n_threads)
        if outputs.shape[1] == 1:
            labels = np.where(outputs[:, 0] > 0, 1, -1)
        else:
            labels = outputs.argmax(axis=1)
        return certified_radius(self.network_, X, labels)

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[FloatArray, Any]:
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=reset)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)

    def _encoded(self, y: Any, classes: Any) -> Any:
        known = np.unique(y if classes is None else classes)
        if len(known) < 2:
            raise ValueError(f"y has one class, {known[0]!r}, expected at least two classes")
        unknown = np.setdiff1d(y, known)
        if len(unknown):
            raise ValueError(f"y has the label {unknown[0]!r}, expected labels of classes")
        self.classes_ = known
        codes = np.searchsorted(known, y)
        return np.where(codes == 1, 1.0, -1.0) if len(known) == 2 else codes

    def _classes_so_far(self, classes: Any) -> Any:
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes is {classes!r}, expected {self.classes_} as before")
        return self.classes_

    def _loss_name(self, scales: Scales) -> str:
        if len(self.classes_) == 2:
            return "logistic"
        return losses.get("cross_entropy", label_smoothing=self.label_smoothing).name

    def _n_outputs(self) -> int:
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _best_constant(self, data: Data) -> FloatArray:
        """Return the logarithms of the parts of the classes; an absent one counts half a sample."""
        codes = (data.y > 0).astype(int) if len(self.classes_) == 2 else data.y
        counts = np.bincount(codes, data.weight, minlength=len(self.classes_))
        logarithms = np.log(np.maximum(counts, 0.5 * counts.max() / len(codes)))
        if len(self.classes_) == 2:
            return np.array([logarithms[1] - logarithms[0]])
        return np.asarray(logarithms - logarithms.mean())

    def _strata(self, data: Data) -> Any:
        return data.y
