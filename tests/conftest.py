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


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> type[np.floating[Any]]:
    """Both types of numbers."""
    return request.param
