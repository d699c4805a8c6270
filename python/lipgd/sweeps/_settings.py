"""Trainings as cells: settings in, a row of results out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from lipgd._check import shown
from lipgd._risk import risk
from lipgd.constraints import LipschitzTarget
from lipgd.network import Network
from lipgd.training import train

__all__ = ["SETTINGS", "Trainings", "row_of"]

_DATA = ("X", "y", "test")
_NETWORK = ("hidden", "activation", "init", "dtype", "output_scale", "biases")
#: What makes no sense in a cell, or is set by the sweep.
_LEFT_OUT = {"net", "X", "y", "n_threads", "progress", "callback", "callback_every"}
_LEFT_OUT |= {"checkpoint", "checkpoint_every", "resume"}
_OF_TRAIN = tuple(n for n in inspect.signature(train).parameters if n not in _LEFT_OUT)
#: The names of all settings of a cell.
SETTINGS = (*_DATA, *_NETWORK, "lipschitz", *_OF_TRAIN)


class Trainings:
    """A task that trains a network on data; cells add to its settings or change them."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        check_names("task", settings)
        for name in ("X", "y"):
            if name not in settings:
                raise ValueError(f"task has no {name!r}, expected the data of all cells")
        self.settings = dict(settings)

    def __call__(self, seed: int, **changes: Any) -> dict[str, Any]:
        """Train, and return the end of the training as a row."""
        given = {**self.settings, **changes}
        X, y, test = np.asarray(given.pop("X")), given.pop("y"), given.pop("test", None)
        net = _network(given, X, y, seed)
        limit = given.pop("lipschitz", None)
        if limit is not None:
            given["constraint"] = LipschitzTarget(limit, rescale_initial=True)
        wanted = ("risk", "lipschitz_lower", "lipschitz_upper")
        run = train(
            net,
            X,
            y,
            **{"record": wanted, "record_every": 2**62, "shuffle_seed": seed, **given},
            n_threads=1,
        )
        row = row_of(run)
        if test is not None:
            row["test_risk"] = risk(run.network, test[0], test[1], run.settings.loss, n_threads=1)
        return row


def row_of(run: Any) -> dict[str, Any]:
    """Return how a run ended: its status, and the last row of its history.

    Ctrl-C is for the sweep: the part of a run before it is no result of a cell.
    """
    if run.message.startswith("interrupted at step"):
        raise KeyboardInterrupt
    last = {name: float(run.history[name][-1]) for name in run.history if len(run.history)}
    return {"status": run.status, "steps_taken": run.steps, **last}


def check_names(argument: str, given: Mapping[str, Any]) -> None:
    """Raise for a name that is no setting."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{argument} is {shown(given)}, expected a function or a mapping")
    for name in given:
        if name not in SETTINGS:
            raise ValueError(
                f"{argument} has the name {name!r}, expected some of {', '.join(SETTINGS)}"
            )


def _network(given: dict[str, Any], X: Any, y: Any, seed: int) -> Network:
    hidden = given.pop("hidden", (100,))
    hidden = (hidden,) if np.ndim(hidden) == 0 else tuple(hidden)
    labels = str(given.get("loss", "mse")).startswith("cross_entropy")
    outputs = int(np.max(y)) + 1 if labels else (1 if np.ndim(y) == 1 else np.shape(y)[1])
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    options = {name: given.pop(name) for name in _NETWORK[1:] if name in given}
    return Network.create(
        [X.shape[1], *hidden, outputs],
        seed=seed,
        **{"activation": "silu", "dtype": dtype, **options},
    )
