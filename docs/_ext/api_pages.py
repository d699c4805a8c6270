"""One page per public module, with every name of its ``__all__``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import lipgd

#: Where names live that several modules have: the first of these that has one shows it.
_FIRST = ("lipgd", "lipgd.lipschitz", "lipgd.activations", "lipgd.losses", "lipgd.schedules")

#: What has a page of its own; other values are constants and types, and are named on the module's.
_CODE = (type, FunctionType)


def public_modules() -> list[str]:
    """Return the modules without an underscore that say what is public."""
    found = ["lipgd"]
    for module in pkgutil.walk_packages(lipgd.__path__, "lipgd."):
        private = any(part.startswith("_") for part in module.name.split("."))
        if not private and hasattr(importlib.import_module(module.name), "__all__"):
            found.append(module.name)
    return sorted(found, key=lambda name: (name not in _FIRST, name))


def documented() -> dict[str, list[str]]:
    """Return the names that the page of each module shows; every public object has one page."""
    seen: set[Any] = set()
    pages: dict[str, list[str]] = {}
    for name in public_modules():
        module = importlib.import_module(name)
        pages[name] = []
        for entry in sorted(module.__all__, key=str.lower):
            value = getattr(module, entry)
            if isinstance(value, ModuleType) or _key(value, entry) in seen:
                continue
            seen.add(_key(value, entry))
            pages[name].append(entry)
    return {name: entries for name, entries in pages.items() if entries}


def _key(value: Any, name: str) -> Any:
    """Return what two modules share that offer the same object."""
    return (value.__module__, value.__qualname__) if hasattr(value, "__qualname__") else id(value)


def _lines(name: str, entries: list[str]) -> Iterator[str]:
    yield from (name, "=" * len(name), "", f".. automodule:: {name}", "   :no-members:", "")
    yield from (f".. currentmodule:: {name}", "", ".. autosummary::", "   :toctree: names")
    yield from ("   :nosignatures:", "")
    values = {entry: getattr(importlib.import_module(name), entry) for entry in entries}
    data = [entry for entry, value in values.items() if not isinstance(value, _CODE)]
    yield from (f"   {entry}" for entry in entries if entry not in data)
    for entry in data:
        yield from ("", *_datum(entry, values[entry]))
    yield ""


def _datum(name: str, value: Any) -> Iterator[str]:
    """Yield how a constant, or the name of a type, is shown."""
    if isinstance(value, (dict, tuple)):
        yield from (f".. autodata:: {name}", "   :no-value:")
    else:
        yield from (f".. py:data:: {name}", "", f"   ``{value!r}``")


def file_names() -> dict[str, str]:
    """Return other names for the pages of classes that some systems take for those of functions."""
    pages = documented()
    names = [f"{module}.{entry}" for module, entries in pages.items() for entry in entries]
    lower = [name.lower() for name in names]
    return {
        name: f"{name}-class"
        for name in names
        if lower.count(name.lower()) > 1 and name.rsplit(".", 1)[1][0].isupper()
    }


def write_pages(folder: Path) -> None:
    """Write the pages that are not there yet or have changed."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = documented()
    for name, entries in pages.items():
        text = "\n".join(_lines(name, entries))
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    names = {
        f"{module}.{entry}"
        for module, entries in pages.items()
        for entry in entries
        if isinstance(getattr(importlib.import_module(module), entry), _CODE)
    }
    for path in folder.rglob("*.rst"):
        if path.stem.removesuffix("-class") not in (
            names if path.parent.name == "names" else pages
        ):
            path.unlink()


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before Sphinx looks for them."""
    write_pages(Path(app.srcdir, "api", "modules"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
