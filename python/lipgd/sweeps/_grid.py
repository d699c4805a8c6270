"""The cells of a sweep, and what tells them apart."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lipgd._check import integer, shown

__all__ = ["Arguments", "Cells", "cells_of", "short_text"]

#: Of each name, the values for some cells.
Arguments = dict[str, list[Any]]

_LONGEST_TEXT = 100
_ENCODER = json.JSONEncoder(sort_keys=True)


class _Axis(NamedTuple):
    """The values of a name, how the table shows each, and how keys are made of both."""

    name: str
    labels: list[Any]
    values: list[Any]
    label_texts: list[str]
    value_texts: list[str]

    def has_one_twice(self) -> bool:
        """Return whether two have the same label and value."""
        texts = zip(self.label_texts, self.value_texts, strict=True)
        return len(set(texts)) < len(self.values)


class Cells:
    """All combinations of the values of some axes, the last fastest.

    Cells are their positions: an object for each would cost more than a short run may.
    """

    def __init__(self, axes: list[_Axis]) -> None:
        stride = self._length = math.prod(len(axis.values) for axis in axes)
        #: Every axis, how far apart cells with neighbouring values are, and how many there are.
        self._places: list[tuple[_Axis, int, int]] = []
        for axis in axes:
            stride //= len(axis.values)
            self._places.append((axis, stride, len(axis.values)))
        self._by_name = sorted(self._places, key=lambda place: place[0].name)

    def __len__(self) -> int:
        return self._length

    def labels(self, position: int) -> dict[str, Any]:
        """Return what the table shows of the arguments of a cell."""
        return {axis.name: axis.labels[position // s % n] for axis, s, n in self._places}

    def arguments(self, positions: Sequence[int]) -> Arguments:
        """Return the arguments of some cells: of each name, the values for all of them."""
        return {
            axis.name: [axis.values[position // s % n] for position in positions]
            for axis, s, n in self._places
        }

    def key(self, position: int) -> str:
        """Return a name that depends on nothing but the labels and values: their digest."""
        labels = ", ".join([axis.label_texts[position // s % n] for axis, s, n in self._by_name])
        values = ", ".join([axis.value_texts[position // s % n] for axis, s, n in self._by_name])
        return _digest(f'{{"labels": {{{labels}}}, "values": {{{values}}}}}')


def cells_of(grid: Any, seeds: int | Iterable[int]) -> Cells:
    """Return all combinations of the values of a grid, each with all seeds, in order."""
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid is {shown(grid)}, expected a mapping from names to values")
    axes = [_axis(_name(name), *_labelled(name, values)) for name, values in grid.items()]
    numbers = _seeds(seeds)
    if any(axis.has_one_twice() for axis in axes):
        raise ValueError("grid has a value twice, expected values that differ")
    if len(set(numbers)) < len(numbers):
        raise ValueError("seeds has a seed twice, expected seeds that differ")
    return Cells([*axes, _axis("seed", numbers, numbers)])


def _axis(name: str, labels: list[Any], values: list[Any]) -> _Axis:
    begin = json.dumps(name)
    facts = map(functools.partial(_facts, name), labels, values)
    value_texts = [f"{begin}: {_text(fact)}" for fact in facts]
    label_texts = value_texts
    if any(map(operator.is_not, labels, values)):
        label_texts = [f"{begin}: {_text(label)}" for label in labels]
    return _Axis(name, labels, values, label_texts, value_texts)


def _facts(name: str, label: Any, value: Any) -> Any:
    try:
        return described(name, value)
    except TypeError:  # a function, say, of which the label alone tells what it is
        return label


def described(name: str, value: Any) -> Any:
    """Return what JSON can hold of a value and what tells it from others."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [described(name, entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): described(name, entry) for key, entry in value.items()}
    if hasattr(value, "__array__"):  # the repr of frames and tensors leaves numbers out
        value = np.asarray(value)
        if value.dtype.hasobject:
            return described(name, [str(value.dtype), list(value.shape), value.ravel().tolist()])
        content: Any = np.ascontiguousarray(value)
        if value.dtype.kind in "mM":  # dates have no buffer
            content = content.view(np.int64)
        return [str(value.dtype), list(value.shape), hashlib.sha256(content).hexdigest()]
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(
            f"{name} has {shown(value)}, which does not tell what it is, expected numbers, text, "
            "schedules, constraints or other values whose repr does, or in a grid a mapping from "
            "labels to such values"
        )
    return text


def short_text(name: str, value: Any) -> str:
    """Return what tells a value from others on one line: itself, or its digest if it is long."""
    text = _text(described(name, value))
    return text if len(text) <= _LONGEST_TEXT else _digest(text)


def _text(facts: Any) -> str:
    if type(facts) is int:  # most values are, and an encoder takes its time
        return repr(facts)
    return _ENCODER.encode(facts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"grid has the name {shown(name)}, expected text")
    if name == "seed":
        raise ValueError("grid has the name 'seed', expected the seeds in the argument seeds")
    return name


def _labelled(name: str, values: Any) -> tuple[list[Any], list[Any]]:
    """Return the labels and values of one name of the grid."""
    if isinstance(values, Mapping):
        labels = [_label(name, label) for label in values]
        chosen = list(values.values())
    elif (
        isinstance(values, str)
        or not isinstance(values, Iterable)
        or getattr(values, "ndim", 1) == 0  # such arrays only say that they are iterable
    ):
        raise TypeError(
            f"grid[{name!r}] is {shown(values)}, expected a list of values, or a mapping from "
            "labels to values"
        )
    else:
        chosen = [value.item() if isinstance(value, np.generic) else value for value in values]
        labels = [_plain(name, value) for value in chosen]
    if not chosen:
        raise ValueError(f"grid[{name!r}] is empty, expected at least one value")
    return labels, chosen


def _label(name: str, label: Any) -> Any:
    if not isinstance(label, (bool, int, float, str)):
        raise TypeError(f"grid[{name!r}] has the label {shown(label)}, expected text or a number")
    return label


def _plain(name: str, value: Any) -> Any:
    """Return a value as the table shows it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    text = described(name, value)
    return text if isinstance(text, str) else json.dumps(text)


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, Iterable):
        numbers = [integer(f"seeds[{i}]", seed, at_least=0) for i, seed in enumerate(seeds)]
        if not numbers:
            raise ValueError("seeds is empty, expected at least one seed")
        return numbers
    return list(range(integer("seeds", seeds, at_least=1)))
