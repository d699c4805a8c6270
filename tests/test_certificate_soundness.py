"""No upper bound is below a value that the network has: the bench's networks, fewer of them."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def soundness() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "bench" / "soundness.py"
    spec = importlib.util.spec_from_file_location("soundness", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soundness"] = module
    spec.loader.exec_module(module)
    return module


def test_hostile_networks_in_extended_and_in_rational_arithmetic(soundness: ModuleType) -> None:
    rows = [soundness.check(seed, exact=seed % 40 == 0) for seed in range(2000)]
    assert not any(row["violated"] for row in rows)
    assert all(row["certified"] for row in rows)
    assert max(row["gap"] for row in rows) <= 1e-2


def test_a_bound_that_is_too_small_is_seen(
    soundness: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = soundness.certify

    class Smaller:
        def __init__(self, value: float) -> None:
            self.value, self.gap = value, 0.0

    ratio = math.nextafter(1.0, 0.0)
    rows = [soundness.check(seed, exact=False) for seed in range(56)]
    tight = [seed for seed, row in enumerate(rows) if row["ratio"] < 1 + 1e-11]
    assert tight
    monkeypatch.setattr(
        soundness,
        "certify",
        lambda *arguments: Smaller(honest(*arguments).value * (ratio - 1e-11)),
    )
    assert all(soundness.check(seed, exact=False)["violated"] for seed in tight)
