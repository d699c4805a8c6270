"""The cells of a sweep, and what tells them apart."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lipgd._check import integer, shown

__all__ = ["Cell", "Cells", "cells_of", "short_text"]

_LONGEST_TEXT = 100
_ENCODER = json.JSONEncoder(sort_keys=True)


class _Value(NamedTuple):
    """A value of a name: how the table shows it, and how keys are made of both."""

    name: str
    label: Any
    value: Any
    label_text: str
    value_text: str


class Cell(NamedTuple):
    """One run: a value of every name."""

    values: tuple[_Value, ...]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the task."""
        return {one.name: one.value for one in self.values}

    @property
    def labels(self) -> dict[str, Any]:
        """What the table shows of them."""
        return {one.name: one.label for one in self.values}

    @property
    def key(self) -> str:
        """A name that depends on nothing but the labels and values: their digest."""
        values = sorted(self.values)  # by name; every one comes once
        labels = ", ".join([value.label_text for value in values])
        contents = ", ".join([value.value_text for value in values])
        return _digest(f'{{"labels": {{{labels}}}, "values": {{{contents}}}}}')


class Cells(Sequence[Cell]):
    """All combinations of the values of some axes, the last fastest; made when asked for."""

    def __init__(self, axes: list[list[_Value]]) -> None:
        self._axes = axes
        self._length = math.prod(len(axis) for axis in axes)
        #: Every axis, how many values it has, and how far apart cells with neighbouring ones are.
        self._places = []
        stride = self._length
        for axis in axes:
            stride //= len(axis)
            self._places.append((axis, len(axis), stride))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: Any) -> Any:
        position = range(self._length)[position]
        return Cell(tuple([axis[position // stride % n] for axis, n, stride in self._places]))

    def __iter__(self) -> Iterator[Cell]:
        return map(Cell, itertools.product(*self._axes))


def cells_of(grid: Any, seeds: int | Iterable[int]) -> Cells:
    """Return all combinations of the values of a grid, each with all seeds, in order."""
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid is {shown(grid)}, expected a mapping from names to values")
    axes = [_values(_name(name), _axis(name, values)) for name, values in grid.items()]
    numbers = _values("seed", [(seed, seed) for seed in _seeds(seeds)])
    for axis in axes:
        if len({(one.label_text, one.value_text) for one in axis}) < len(axis):
            raise ValueError("grid has a value twice, expected values that differ")
    if len({one.value for one in numbers}) < len(numbers):
        raise ValueError("seeds has a seed twice, expected seeds that differ")
    return Cells([*axes, numbers])


def _values(name: str, pairs: list[tuple[Any, Any]]) -> list[_Value]:
    """Return labels and values of a name with what they add to keys."""
    begin, values = f"{json.dumps(name)}: ", []
    for label, value in pairs:
        text = begin + _text(described(name, value))
        label_text = text if label is value else begin + _text(label)
        values.append(_Value(name, label, value, label_text, text))
    return values


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
    if isinstance(value, np.ndarray):
        content: Any = np.ascontiguousarray(value)
        return [str(value.dtype), list(value.shape), hashlib.sha256(content).hexdigest()]
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(
            f"{name} has {shown(value)}, which does not tell what it is, expected numbers, text, "
            "schedules, constraints or other values whose repr does"
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


def _axis(name: str, values: Any) -> list[tuple[Any, Any]]:
    """Return the labels and values of one name of the grid."""
    if isinstance(values, Mapping):
        pairs = [(_label(name, label), value) for label, value in values.items()]
    elif isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(
            f"grid[{name!r}] is {shown(values)}, expected a list of values, or a mapping from "
            "labels to values"
        )
    else:
        listed = [value.item() if isinstance(value, np.generic) else value for value in values]
        pairs = [(_plain(name, value), value) for value in listed]
    if not pairs:
        raise ValueError(f"grid[{name!r}] is empty, expected at least one value")
    return pairs


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
