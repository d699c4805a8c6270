"""Finished cells on disk: each is there as a whole or not at all."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lipgd._files import atomic_writer

__all__ = ["Store"]

_FORMAT = 2
_MANIFEST = "sweep.json"
_JOURNAL = "journal.jsonl"
_CELLS = "cells"


class Store:
    """The folder of a sweep.

    A cell that took long gets a file of its own. Quick ones are lines of a journal, many of which
    reach the disk together; every line carries its checksum, so that half a line counts as none.
    """

    def __init__(self, folder: str | os.PathLike[str], facts: dict[str, Any], resume: bool) -> None:
        self._folder = Path(folder)
        self._rows: dict[str, dict[str, Any]] = {}
        if self._folder.exists() and not self._folder.is_dir():
            raise ValueError(f"out is {str(folder)!r}, which is a file, expected a folder")
        (self._folder / _CELLS).mkdir(parents=True, exist_ok=True)
        manifest = self._folder / _MANIFEST
        if manifest.exists():
            if not resume:
                raise ValueError(f"out is {str(folder)!r}, which has a sweep, and resume is False")
            self._check(manifest, facts)
            self._read()
        else:
            _write_json(manifest, {"format": _FORMAT, **facts})
        self._journal = self._folder / _JOURNAL

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The finished rows by the keys of their cells."""
        return self._rows

    def add(self, finished: Iterable[tuple[str, dict[str, Any]]], quick: bool) -> None:
        """Keep finished rows; they are on the disk when this returns."""
        new = dict(finished)
        if not new:
            return
        if quick:
            text = "".join(_line({"key": key, "row": row}) for key, row in new.items())
            with open(self._journal, "ab") as file:
                # A line that was cut off by a crash must not swallow the first new one.
                file.write(b"\n" + text.encode())
                file.flush()
                os.fsync(file.fileno())
        else:
            for key, row in new.items():
                _write_json(self._folder / _CELLS / f"{key}.json", {"key": key, "row": row})
        self._rows.update(new)

    def _check(self, manifest: Path, facts: dict[str, Any]) -> None:
        try:
            known = json.loads(manifest.read_text())
        except ValueError as error:
            raise ValueError(f"{manifest} is damaged: {error}") from error
        if known.get("format") != _FORMAT:
            raise ValueError(f"{manifest} has the format {known.get('format')}, expected {_FORMAT}")
        changes = _changes(known, facts)
        if changes:
            raise ValueError(
                f"out has another sweep, with {'; '.join(changes)}: expected another folder"
            )

    def _read(self) -> None:
        journal = self._folder / _JOURNAL
        if journal.exists():
            for line in journal.read_bytes().split(b"\n"):
                entry = _entry(line)
                if entry is not None:
                    self._rows[entry["key"]] = entry["row"]
        for path in sorted((self._folder / _CELLS).glob("*.json")):
            entry = json.loads(path.read_text())
            self._rows[entry["key"]] = entry["row"]


def _changes(known: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Say which facts are not the known ones."""
    found = []
    for name in sorted({*known, *facts} - {"format"}):
        before, now = known.get(name), facts.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _changes(before, now)
        elif before != now:
            found.append(f"{name} {before or 'not given'} there and {now or 'not given'} here")
    return found


def _line(entry: dict[str, Any]) -> str:
    text = json.dumps(entry)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return what a line of the journal says, None if it is not whole."""
    checksum, _, text = line.partition(b" ")
    if not text or checksum != b"%08x" % zlib.crc32(text):
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry


def _write_json(path: Path, content: Any) -> None:
    with atomic_writer(path) as file:
        file.write(json.dumps(content).encode())
