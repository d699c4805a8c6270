"""The examples of all docstrings run, and every public name has a docstring with one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import types

import pytest

import lipgd

MODULES = [
    module.name
    for module in pkgutil.walk_packages(lipgd.__path__, "lipgd.")
    if not module.name.startswith("lipgd._core.") and not module.name.endswith(".__main__")
]
# Objects that users receive and do not make.
WITHOUT_EXAMPLE = {"Run"}


@pytest.mark.parametrize("name", ["lipgd", *MODULES])
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", sorted(set(lipgd.__all__) - WITHOUT_EXAMPLE))
def test_public_names_have_examples(name):
    value = getattr(lipgd, name)
    if not isinstance(value, types.ModuleType):
        assert ">>> " in (value.__doc__ or "")
