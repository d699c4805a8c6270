"""Data sets: bundled ones, readers of local files, and synthetic ones.

Nothing is downloaded and nothing is scaled: Lipschitz constants depend on the scale of the inputs.
To standardize or split, use scikit-learn.
"""

from __future__ import annotations

from ._bundled import load, names
from ._cifar import read_cifar
from ._csv import read_csv
from ._dataset import Dataset
from ._idx import read_idx, read_mnist
from ._synthetic import Teacher, gaussian_mixture, regression, xor

__all__ = [
    "Dataset",
    "Teacher",
    "gaussian_mixture",
    "load",
    "names",
    "read_cifar",
    "read_csv",
    "read_idx",
    "read_mnist",
    "regression",
    "xor",
]
