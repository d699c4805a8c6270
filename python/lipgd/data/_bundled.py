"""The real data sets that come with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._check import choice
from ._dataset import Dataset, labels, strings

__all__ = ["load", "names"]

#: The loader in scikit-learn, and the classes that are kept (all if empty).
_SETS: dict[str, tuple[str, tuple[int, ...]]] = {
    "diabetes": ("load_diabetes", ()),
    "linnerud": ("load_linnerud", ()),
    "breast_cancer": ("load_breast_cancer", ()),
    "digits": ("load_digits", ()),
    "digits_3_vs_8": ("load_digits", (3, 8)),
    "iris": ("load_iris", ()),
    "wine": ("load_wine", ()),
}
_REGRESSION = ("diabetes", "linnerud")


def names() -> tuple[str, ...]:
    """Return the names that :func:`load` knows.

    Returns
    -------
    tuple of str
        Sets for regression first.

    Examples
    --------
    >>> from lipgd import data
    >>> data.names()[:2]
    ('diabetes', 'linnerud')
    """
    return tuple(_SETS)


def load(name: str) -> Dataset:
    """Return a real data set that comes with scikit-learn.

    ============= ======= ====== ==========================================
    name          samples inputs targets
    ============= ======= ====== ==========================================
    diabetes      442     10     progression of the disease after one year
    linnerud      20      3      three physiological measurements
    breast_cancer 569     30     -1 malignant, +1 benign
    digits        1797    64     0 to 9, the digit in an image of 8x8 pixels
    digits_3_vs_8 357     64     -1 for the digit 3, +1 for 8
    iris          150     4      0 to 2, the species
    wine          178     13     0 to 2, the grower
    ============= ======= ====== ==========================================

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    Dataset
        The numbers as scikit-learn gives them, in arrays of their own.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> from lipgd import data
    >>> data.load("digits_3_vs_8")
    Dataset(digits_3_vs_8: 357 samples, 64 inputs, classification)
    """
    loader, kept = _SETS[choice("name", name, _SETS)]
    bunch = getattr(_scikit_learn(), loader)()
    X = np.array(bunch.data, dtype=np.float64, order="C")
    source = f"scikit-learn, sklearn.datasets.{loader}"
    features = strings(bunch.feature_names)
    if name in _REGRESSION:
        targets = np.array(bunch.target, dtype=np.float64, order="C")
        return Dataset(X, targets, name, "regression", features, source)
    kept = kept or tuple(range(len(bunch.target_names)))
    rows = np.isin(bunch.target, kept)
    y = labels(np.searchsorted(kept, bunch.target[rows]), len(kept))
    classes = strings([bunch.target_names[label] for label in kept])
    return Dataset(X[rows], y, name, "classification", features, source, classes)


def _scikit_learn() -> Any:
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError('load needs scikit-learn: pip install "lipgd[demo]"') from error
    return sklearn.datasets
