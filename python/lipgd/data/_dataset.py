"""What every function of this package returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Dataset"]

Array = npt.NDArray[Any]
Task = Literal["regression", "classification"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs, targets, and where they come from.

    Parameters
    ----------
    X : ndarray of float64, shape (n_samples, n_inputs)
        The inputs, in C order. Readers of images can give float32.
    y : ndarray, shape (n_samples,) or (n_samples, n_outputs)
        The targets: floats for regression; int64 labels for classification, -1 and +1 if there are
        two classes, else 0, 1, 2, ...
    name : str
        A short name for tables and titles.
    task : {"regression", "classification"}
        What the targets are.
    feature_names : tuple of str
        The names of the inputs.
    source : str
        The file, the package or the call that the data come from.
    classes : tuple of str
        The names of the classes in the order of their labels; empty for regression.
    sha256 : mapping of str to str
        The SHA-256 digest of each source file by its name; empty if there is none.
    teacher : callable, optional
        The function without noise that made the targets of synthetic regression.
    lipschitz : float, optional
        The Lipschitz constant of the teacher in the Euclidean norm, where it is known exactly.

    Examples
    --------
    >>> from lipgd import data
    >>> data.xor()
    Dataset(xor: 4 samples, 2 inputs, classification)
    """

    X: Array
    y: Array
    name: str
    task: Task
    feature_names: tuple[str, ...]
    source: str
    classes: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    teacher: Callable[[Array], Array] | None = None
    lipschitz: float | None = None

    def __repr__(self) -> str:
        rows, columns = self.X.shape
        return f"Dataset({self.name}: {rows} samples, {columns} inputs, {self.task})"


def labels(positions: npt.ArrayLike, n_classes: int) -> npt.NDArray[np.int64]:
    """Return the labels of classes given by position: -1 and +1 if there are two."""
    found = np.array(positions, dtype=np.int64)
    return 2 * found - 1 if n_classes == 2 else found


def numbered(count: int) -> tuple[str, ...]:
    """Return the names "x0", "x1", ... of inputs without a name."""
    return tuple(f"x{i}" for i in range(count))


def strings(names: Sequence[Any]) -> tuple[str, ...]:
    """Return names as plain strings."""
    return tuple(str(name) for name in names)
