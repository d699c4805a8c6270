"""Data for ``lipgd train``: files, classes, the loss that fits them, scaling and splitting."""

from __future__ import annotations

import argparse
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lipgd import losses
from lipgd.data import Dataset, read_csv
from lipgd.data._dataset import numbered
from lipgd.losses import Loss

from ._processes import Alone, Several
from ._shards import is_integer, read_shards

if TYPE_CHECKING:
    from lipgd.experiments._prepare import Scaling

__all__ = ["Problem", "load_problem"]

Array = npt.NDArray[Any]

_ALONE = Alone()
_CLASSIFIERS = ("logistic", "cross_entropy")
#: Whole numbers that differ in at most so many values may well be classes.
_MOST_CLASSES = 20


@dataclass(frozen=True, eq=False)
class _Table:
    """One file; ``y`` has positions in ``classes`` if there are classes."""

    X: Array
    y: Array
    classes: tuple[str, ...]
    features: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is trained on.

    Attributes
    ----------
    X, y : ndarray
        The training part of this process, as the network sees it.
    test : (ndarray, ndarray) or None
        The test part.
    loss : Loss
        The loss, chosen or given.
    n_outputs : int
        Outputs of the network.
    classes, features : tuple of str
        Names; no classes in a regression.
    scaling : Scaling or None
        Means and scales, if the data are standardized.
    note : str
        What the user should know of the choice of the loss, if anything.
    """

    X: Array
    y: Array
    test: tuple[Array, Array] | None
    loss: Loss
    n_outputs: int
    classes: tuple[str, ...]
    features: tuple[str, ...]
    scaling: Scaling | None
    note: str


def load_problem(arguments: argparse.Namespace, processes: Alone | Several) -> Problem:
    """Read the files that the arguments name, and prepare them as they say."""
    given = None if arguments.loss == "auto" else losses.get(arguments.loss)
    classify = None if given is None else given.kind in _CLASSIFIERS
    if arguments.test_fraction and processes.count > 1:
        raise ValueError(
            f"--test-fraction is {arguments.test_fraction:g}, but processes that share the samples "
            "do not split them, expected --test-file"
        )
    table = _table(arguments.data, arguments.label, classify, processes)
    loss = given or losses.get(_fitting_loss(table.classes))
    if loss.kind == "logistic" and len(table.classes) != 2:
        raise ValueError(
            f"loss is logistic, but the label has {len(table.classes)} classes, "
            "expected 2 (cross_entropy takes more)"
        )
    test = None
    if arguments.test_file is not None:
        test = processes.agreed(lambda: _test(arguments, table))
    elif arguments.test_fraction:
        table, test = _split(table, arguments.test_fraction, arguments.seed)
    note = _note(table, processes) if given is None else ""
    return replace(_prepared(table, test, loss, arguments.standardize, processes), note=note)


def _table(
    paths: Sequence[str] | Dataset,
    label: str | None,
    classify: bool | None,
    processes: Alone | Several,
) -> _Table:
    """Return the rows of this process; the classes are those of all."""
    if isinstance(paths, Dataset):
        return _of_dataset(paths, classify)
    if all(_is_npy(path) for path in paths):
        X, y = processes.agreed(lambda: read_shards(paths, label, processes.rows))
        return _table_of(X, y, numbered(X.shape[1]), classify, processes.union)
    if len(paths) > 1:
        raise ValueError(f"data has {len(paths)} files, expected one, or several that end in .npy")
    table = processes.agreed(lambda: _read(paths[0], label, classify))
    rows = processes.rows(len(table.X))
    return replace(table, X=table.X[rows], y=table.y[rows])


def _test(arguments: argparse.Namespace, table: _Table) -> _Table:
    test = _read(arguments.test_file, arguments.label, bool(table.classes))
    return _matching(test, table, arguments.test_file)


def _fitting_loss(classes: Sequence[str]) -> str:
    return {0: "mse", 2: "logistic"}.get(len(classes), "cross_entropy")


def _note(table: _Table, processes: Alone | Several) -> str:
    """Return a hint if a regression looks like classes."""
    if table.classes or table.y.ndim > 1:
        return ""
    # Of many different values some are enough to see that there are too many.
    values = processes.union(np.unique(table.y)[: _MOST_CLASSES + 1])
    count = len(values)
    if count > _MOST_CLASSES or not (values == np.round(values)).all():
        return ""
    return (
        f"the label has {count} whole numbers and is taken as a quantity; "
        "--loss cross_entropy takes them as classes"
    )


def _read(path: str, label: str | None, classify: bool | None) -> _Table:
    """Read a file; ``classify=None`` makes classes of texts and of two distinct numbers."""
    if _is_npy(path) or Path(path).suffix.lower() == ".npz":
        whole = _is_npy(path)
        X, y = read_shards([path], label, _ALONE.rows) if whole else _read_npz(path, label)
        return _table_of(X, y, numbered(X.shape[1]), classify)
    task = {None: "auto", True: "classification", False: "regression"}[classify]
    column = -1 if label is None else int(label) if is_integer(label) else label
    return _of_dataset(read_csv(path, column, task=task), classify)  # type: ignore[arg-type]


def _of_dataset(data: Dataset, classify: bool | None) -> _Table:
    if data.task == "regression":
        return _table_of(data.X, data.y, data.feature_names, classify)
    y = (data.y + 1) // 2 if len(data.classes) == 2 else data.y
    return _Table(data.X, y, data.classes, data.feature_names)


def _read_npz(path: str, label: str | None) -> tuple[Array, Array]:
    name = os.fspath(path)
    try:
        with open(path, "rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it is an array, expected X and y")
            wanted = ("X", label or "y")
            missing = [key for key in wanted if key not in file]
            if missing:
                raise ValueError(f"it has no array {missing[0]!r}, only {', '.join(file.files)}")
            X, y = (file[key] for key in wanted)
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{name} is not a readable NumPy file: {error}") from error
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise ValueError(f"{name} has X of shape {X.shape} and {X.dtype}, expected a matrix")
    if y.ndim not in (1, 2) or len(y) != len(X):
        raise ValueError(f"{name} has {len(X)} rows in X, but {wanted[1]} has shape {y.shape}")
    return X, y


def _table_of(
    X: Array,
    y: Array,
    features: tuple[str, ...],
    classify: bool | None,
    union: Callable[[Array], Array] = _ALONE.union,
) -> _Table:
    if classify is None:
        # Three values are enough to know that there are not two.
        numbers = y.dtype.kind in "fiub"
        classify = y.ndim == 1 and (not numbers or len(union(np.unique(y)[:3])) == 2)
    if not classify:
        return _Table(X, y, (), features)
    if y.ndim != 1:
        raise ValueError(f"the label has shape {y.shape}, expected one class per row")
    if y.dtype.kind == "b":
        y = y.astype(np.int64)
    values = union(np.unique(y))
    names = tuple(map(_class_name, values.tolist()))
    if len(names) < 2:
        raise ValueError(f"the label has the single class {names[0]!r}, expected at least two")
    return _Table(X, np.searchsorted(values, y).astype(np.int64), names, features)


def _matching(test: _Table, table: _Table, path: str) -> _Table:
    """Return the test table with the positions of the training table's classes."""
    if test.X.shape[1] != table.X.shape[1]:
        raise ValueError(
            f"{path} has {test.X.shape[1]} inputs, but the training data have {table.X.shape[1]}"
        )
    if test.features != table.features:
        raise ValueError(f"{path} has other columns than the training data, expected the same")
    if not table.classes:
        return test
    unknown = [name for name in test.classes if name not in table.classes]
    if unknown:
        raise ValueError(
            f"{path} has the class {unknown[0]!r}, expected {', '.join(table.classes)}"
        )
    positions = np.array([table.classes.index(name) for name in test.classes])
    return replace(test, y=positions[test.y], classes=table.classes)


def _split(table: _Table, fraction: float, seed: int) -> tuple[_Table, _Table]:
    from lipgd.experiments._prepare import split

    X, y, X_test, y_test = split(
        table.X, table.y, fraction=fraction, seed=seed, stratify=bool(table.classes)
    )
    return replace(table, X=X, y=y), replace(table, X=X_test, y=y_test)


def _prepared(
    table: _Table,
    test: _Table | None,
    loss: Loss,
    standardized: bool,
    processes: Alone | Several,
) -> Problem:
    tables = [table] if test is None else [table, test]
    pairs = [(each.X, _targets(each, loss)) for each in tables]
    scaling = None
    if standardized:
        scaling = processes.scaling(*pairs[0], targets=not table.classes)
        pairs = [(scaling.inputs(X), scaling.targets(y)) for X, y in pairs]
    (X, y), *others = pairs
    many = len(table.classes) if loss.takes_labels else y.shape[1] if y.ndim == 2 else 1
    return Problem(
        X=X,
        y=y,
        test=others[0] if others else None,
        loss=loss,
        n_outputs=many,
        classes=table.classes,
        features=table.features,
        scaling=scaling,
        note="",
    )


def _targets(table: _Table, loss: Loss) -> Array:
    return 2 * table.y - 1 if loss.kind == "logistic" else table.y


def _class_name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_npy(path: str) -> bool:
    return Path(path).suffix.lower() == ".npy"
