"""The cells of a sweep, and what tells them apart."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd._check import integer, shown

__all__ = ["Cell", "cells_of", "described", "digest"]


@dataclass(frozen=True, eq=False)
class Cell:
    """One run: its arguments, how the table shows them, and a key that depends on nothing else."""

    arguments: dict[str, Any]
    labels: dict[str, Any]
    key: str


def cells_of(grid: Any, seeds: int | Iterable[int]) -> list[Cell]:
    """Return all combinations of the values of a grid, each with all seeds, in order."""
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid is {shown(grid)}, expected a mapping from names to values")
    axes = {_name(name): _axis(name, values) for name, values in grid.items()}
    numbers = _seeds(seeds)
    cells = []
    for combination in itertools.product(*axes.values()):
        labels = {name: pair[0] for name, pair in zip(axes, combination, strict=True)}
        arguments = {name: pair[1] for name, pair in zip(axes, combination, strict=True)}
        for seed in numbers:
            facts = {**labels, "seed": seed}
            described_facts = {**{n: described(n, v) for n, v in arguments.items()}, "seed": seed}
            key = digest({"labels": facts, "values": described_facts})
            cells.append(Cell({**arguments, "seed": seed}, facts, key))
    if len({cell.key for cell in cells}) < len(cells):
        raise ValueError("grid has a value twice, expected values that differ")
    return cells


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


def digest(facts: Any) -> str:
    """Return a short name for facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


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
