"""Checkpoints: the arrays of a training's state in one file."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np

from lipgd._files import read_npz, write_npz
from lipgd._plan import Plan

__all__ = ["read_checkpoint", "write_checkpoint"]

_KIND, _VERSION = "lipgd checkpoint", 1
#: Rows at either end of the data that tell one data set from another.
_SAMPLE = 64
#: Arrays of the state that go into the file under their own names, if there are any.
_ARRAYS = ("parameters", "previous", "initial", "velocity", "path_length", "progress")


def write_checkpoint(
    path: str | os.PathLike[str],
    plan: Plan,
    state: dict[str, Any],
    rows: np.ndarray[Any, Any],
    seconds: float,
) -> None:
    """Write the state, whole or not at all."""
    arrays = {name: state[name] for name in _ARRAYS if state[name] is not None}
    arrays["rows"] = rows[:, : state["progress"][1]]
    for layer, direction in enumerate(state["directions"]):
        arrays[f"direction{layer + 1}"] = direction
    arrays["seconds"] = np.float64(seconds)
    arrays["settings"] = json.dumps(_fingerprint(plan, state["progress"][0]))
    write_npz(path, arrays, _KIND, _VERSION)


def read_checkpoint(
    path: str | os.PathLike[str],
    plan: Plan,
    state: dict[str, Any],
    rows: np.ndarray[Any, Any],
) -> float:
    """Fill the state from a file and return the seconds spent before.

    Raises
    ------
    ValueError
        If the file is damaged or belongs to a training with other arguments.
    """
    arrays = read_npz(path, _KIND, _VERSION)
    name = os.fspath(path)
    try:
        settings = json.loads(str(arrays["settings"][()]))
        saved = {key: arrays[key] for key in (*_ARRAYS, "rows") if key in arrays}
        directions = [arrays[f"direction{layer + 1}"] for layer in range(len(state["directions"]))]
        seconds = float(arrays["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"resume is {name!r}, but that file is incomplete: {error}") from error
    step, count = (int(value) for value in saved["progress"])
    _compare_settings(name, settings, _fingerprint(plan, step))
    if not np.array_equal(saved["initial"], plan.net._flat):
        raise ValueError(f"resume is {name!r}, which began with another network")
    for key in _ARRAYS:
        if state[key] is not None and key != "initial":
            if key not in saved or saved[key].shape != state[key].shape:
                raise ValueError(f"resume is {name!r}, but that file has a wrong {key}")
            state[key][...] = saved[key]
    if step > plan.settings.steps:
        raise ValueError(
            f"resume is {name!r}, which has {step} steps, but steps is {plan.settings.steps}"
        )
    rows[:, :count] = saved["rows"]
    state["directions"] = directions
    return seconds


def _fingerprint(plan: Plan, step: int) -> dict[str, Any]:
    """Return everything that the bits of the first steps depend on, but for the build."""
    facts = {key: value for key, value in plan.meta.items() if key not in ("steps", "lipgd", "level")}
    values, labels, weights = plan.problem["targets"]
    x = plan.problem["inputs"]
    ends = [array[part] for array in (x, values, labels, weights) if array is not None
            for part in (slice(0, _SAMPLE), slice(-_SAMPLE, None))]
    return {
        **facts,
        "output_scale": plan.net.output_scale,
        "data": _digest(ends),
        "rates": _digest([plan.rates[:, :step]]),
    }


def _digest(arrays: list[np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _compare_settings(name: str, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if saved.get(key) != value:
            raise ValueError(
                f"resume is {name!r}, whose {key} is {saved.get(key)!r}, but here it is {value!r}"
            )
