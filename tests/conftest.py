"""Fixtures that run a test at every instruction set and for both types of numbers."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lipgd import _core


@pytest.fixture(params=_core.available())
def core(request: pytest.FixtureRequest) -> ModuleType:
    """The compiled core at each level that this machine runs."""
    return _core.load(request.param)


@pytest.fixture
def level(core: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """The whole package at each level that this machine runs."""
    for name in vars(core):
        if not name.startswith("_") and hasattr(_core, name):
            monkeypatch.setattr(_core, name, getattr(core, name))
    chosen: str = core.build_info["level"]
    monkeypatch.setattr(_core, "level", chosen)
    return chosen


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> type[np.floating[Any]]:
    """Both types of numbers."""
    return request.param
