"""Checkpoints: the arrays of a training's state in one file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd._caps import increments_of
from lipgd._check import path_of
from lipgd._files import read_npz, write_npz
from lipgd._plan import Plan
from lipgd.constraints import RateCaps

__all__ = ["check_target", "read_checkpoint", "write_checkpoint"]

Array = npt.NDArray[Any]

_KIND, _VERSION = "lipgd checkpoint", 1
#: Rows at either end of the data that tell one data set from another.
_SAMPLE = 64
#: Rates that are expanded at once; one number may stand for many steps.
_SLICE = 2**16
#: Arrays of the state that go into the file under their own names, if there are any.
_ARRAYS = (
    *("parameters", "previous", "initial", "velocity", "squares", "last_gradient"),
    *("path_length", "spent", "stalled", "carried", "progress", "anchor", "anchor_facts"),
)


def write_checkpoint(
    path: str | os.PathLike[str],
    plan: Plan,
    state: dict[str, Any],
    rows: Array,
    seconds: float,
) -> None:
    """Write the state, whole or not at all."""
    arrays = {name: state[name] for name in _ARRAYS if state.get(name) is not None}
    arrays["rows"] = rows[:, : state["progress"][1]]
    for number, direction in enumerate(state["directions"], start=1):
        arrays[f"direction{number}"] = direction
    arrays["seconds"] = np.float64(seconds)
    arrays["settings"] = json.dumps(_fingerprint(plan, state["progress"][0]))
    write_npz(path, arrays, _KIND, _VERSION)


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise unless a checkpoint can be written to this path."""
    folder = os.path.dirname(os.path.realpath(path_of("checkpoint", path)))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"checkpoint is {str(path)!r}, but its folder does not exist")
    if os.path.isdir(path):
        raise IsADirectoryError(f"checkpoint is {str(path)!r}, a folder, expected a file")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"checkpoint is {str(path)!r}, but its folder cannot be written to")


def read_checkpoint(
    path: str | os.PathLike[str],
    plan: Plan,
    state: dict[str, Any],
    rows: Array,
) -> float:
    """Fill the state from a file and return the seconds spent before.

    Raises
    ------
    ValueError
        If the file is damaged or belongs to a training with other arguments.
    """
    name = path_of("resume", path)
    arrays = read_npz(name, _KIND, _VERSION)
    step, count = _progress(name, arrays)
    if step > plan.settings.steps:
        raise ValueError(
            f"resume is {name!r}, which has {step} steps, but steps is {plan.settings.steps}"
        )
    _compare_settings(name, _settings(name, arrays), _fingerprint(plan, step))
    initial = plan.net._flat
    if not np.array_equal(_entry(name, arrays, "initial", initial.shape, initial.dtype), initial):
        raise ValueError(f"resume is {name!r}, which began with another network")
    if not 0 <= count <= min(plan.n_rows, step // plan.settings.record_every + 1):
        raise ValueError(f"resume is {name!r}, but that file has {count} rows at step {step}")
    for key in _ARRAYS:
        if state.get(key) is not None and key != "initial":
            state[key][...] = _entry(name, arrays, key, state[key].shape, state[key].dtype)
    if not np.isfinite(state["parameters"]).all():
        raise ValueError(f"resume is {name!r}, but that file has parameters that are not finite")
    rows[:, :count] = _entry(name, arrays, "rows", (len(rows), count), rows.dtype)
    directions = sum(key.startswith("direction") for key in arrays)
    state["directions"] = [_direction(name, arrays, number) for number in range(1, directions + 1)]
    return float(_entry(name, arrays, "seconds", (), np.float64))


def _fingerprint(plan: Plan, step: int) -> dict[str, Any]:
    """Return everything that the bits of the first steps depend on, but for the build."""
    free = ("steps", "lipgd", "level")
    facts = {key: value for key, value in plan.meta.items() if key not in free}
    problem = plan.problem
    validation_x, validation_targets = problem["validation"] or (None, ())
    arrays = {
        "data": (problem["inputs"], *problem["targets"]),
        "validation": (validation_x, *validation_targets),
        "points": (problem["points"],),
    }
    constraint, increments = plan.settings.constraint, _digest([])
    if isinstance(constraint, RateCaps):  # a callable or an array tells too little by its repr
        facts["constraint"] = repr(replace(constraint, shape=None))
        increments = _digest([increments_of(constraint).rates(step)])
    return {
        **facts,
        "increments": increments,
        "output_scale": plan.net.output_scale,
        **{name: _digest(_ends(parts)) for name, parts in arrays.items()},
        **({} if plan.data_digest is None else {"data": plan.data_digest}),
        "rates": _digest(
            rates[begin : min(begin + _SLICE, step)]
            for rates in plan.rates
            for begin in range(0, step, _SLICE)
        ),
    }


def _ends(arrays: Iterable[Array | None]) -> Iterator[Array]:
    for array in arrays:
        if array is not None:
            yield array[:_SAMPLE]
            yield array[-_SAMPLE:]


def _digest(arrays: Iterable[Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _progress(name: str, arrays: dict[str, Array]) -> tuple[int, int]:
    step, count = (int(value) for value in _entry(name, arrays, "progress", (2,), np.int64))
    if step < 0:
        raise ValueError(f"resume is {name!r}, but that file has the step {step}")
    return step, count


def _settings(name: str, arrays: dict[str, Array]) -> dict[str, Any]:
    try:
        settings = json.loads(str(_entry(name, arrays, "settings", (), np.str_)))
    except json.JSONDecodeError:
        settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"resume is {name!r}, but that file has no proper settings")
    return settings


def _direction(name: str, arrays: dict[str, Array], number: int) -> Array:
    """Return where a spectral norm goes on, which the core looks at closely."""
    key = f"direction{number}"
    length = arrays[key].size if key in arrays else 0
    return _entry(name, arrays, key, (length,), np.float64)


def _entry(
    name: str,
    arrays: dict[str, Array],
    key: str,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
) -> Array:
    """Return an array of the file if it is what it should be."""
    array = arrays.get(key)
    if array is None or array.shape != shape or not np.issubdtype(array.dtype, dtype):
        raise ValueError(f"resume is {name!r}, but that file has no proper array {key!r}")
    return array


def _compare_settings(name: str, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if saved.get(key) != value:
            raise ValueError(
                f"resume is {name!r}, whose {key} is {saved.get(key)!r}, but here it is {value!r}"
            )
