from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

from lipgd import theory


def modules() -> list[str]:
    return [info.name for info in pkgutil.walk_packages(theory.__path__, "lipgd.theory.")]


def public(module: ModuleType) -> list[tuple[str, object]]:
    return [(name, getattr(module, name)) for name in module.__all__]


@pytest.mark.parametrize("name", modules())
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    "module",
    [
        theory.rate_constraints,
        theory.convergence,
        theory.generalization,
        theory.initialization,
        theory.large_stepsize,
    ],
)
def test_every_public_name_cites_its_section_and_has_an_example(module: ModuleType) -> None:
    page = "large-stepsize" if module is theory.large_stepsize else "rate-constraints"
    for name, thing in public(module):
        text = inspect.getdoc(thing) or ""
        assert f"{page}.md, section" in text, name
        if inspect.isfunction(thing):
            assert ">>> " in text, name
