"""Neural networks whose Lipschitz constant is steered, certified and studied.

>>> import numpy as np, lipgd
>>> rng = np.random.default_rng(0)
>>> X = rng.uniform(-1, 1, (100, 3))
>>> y = np.sin(X.sum(axis=1))
>>> net = lipgd.Network.create([3, 50, 1], activation="silu")
>>> run = lipgd.train(net, X, y, rate=0.1, steps=200)
>>> run.status
'finished'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lipgd import activations, initialization, lipschitz, losses, schedules
from lipgd._config import show_config
from lipgd._core import build_info as _build_info
from lipgd._paths import get_cmake_dir, get_include
from lipgd._risk import Gradient, hessian_vector_product, risk, risk_and_gradient
from lipgd.constraints import LipschitzTarget, RateCaps
from lipgd.history import History
from lipgd.lipschitz import spectral_norm
from lipgd.network import Network
from lipgd.run import Run
from lipgd.training import train

if TYPE_CHECKING:
    from lipgd import (
        data,
        distributed,
        dynamics,
        experiments,
        export,
        margins,
        plotting,
        report,
        theory,
    )
    from lipgd.sweeps import sweep

__all__ = [
    "Gradient",
    "History",
    "LipschitzTarget",
    "Network",
    "RateCaps",
    "Run",
    "activations",
    "data",
    "distributed",
    "dynamics",
    "experiments",
    "export",
    "get_cmake_dir",
    "get_include",
    "hessian_vector_product",
    "initialization",
    "lipschitz",
    "losses",
    "margins",
    "plotting",
    "report",
    "risk",
    "risk_and_gradient",
    "schedules",
    "show_config",
    "spectral_norm",
    "sweep",
    "theory",
    "train",
]

__version__: str = _build_info["version"]

#: Leaves that are imported when they are first used.
_LEAVES = (
    "data",
    "distributed",
    "dynamics",
    "experiments",
    "export",
    "margins",
    "plotting",
    "report",
    "theory",
)

#: Adapters need a library that may be missing: they are no names of ``from lipgd import *``.
_ADAPTERS = ("onnx", "sklearn")


def __getattr__(name: str) -> Any:
    if name == "sweep":
        return importlib.import_module("lipgd.sweeps").sweep
    if name not in (*_LEAVES, *_ADAPTERS):
        raise AttributeError(f"module 'lipgd' has no attribute {name!r}")
    return importlib.import_module(f"lipgd.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LEAVES, *_ADAPTERS, "sweep"})
