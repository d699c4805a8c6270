"""Opening local files: gzip, digests, and one form of message for all that is wrong with them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

__all__ = ["MAX_BYTES", "digest", "read_all", "read_exactly", "reading"]

#: What a reader takes from one file, after decompression.
MAX_BYTES = 2**32
_CHUNK = 2**20


@contextmanager
def reading(path: str | os.PathLike[str], kind: str) -> Iterator[BinaryIO]:
    """Open a file, compressed by gzip or not; a ValueError inside speaks of the file."""
    with open(path, "rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if compressed else raw
        except (ValueError, EOFError, csv.Error, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{os.fspath(path)} is not a readable {kind} file: {error}") from error


def read_exactly(file: BinaryIO, count: int) -> bytearray:
    """Return the rest of a file of ``count`` bytes; memory grows with what is there."""
    data = bytearray()
    while chunk := file.read(min(_CHUNK, count - len(data)) or 1):
        data += chunk
        if len(data) > count:
            raise ValueError(f"it has more than the {count} bytes of data that it declares")
    if len(data) < count:
        raise ValueError(f"it has {len(data)} bytes of data, but declares {count}")
    return data


def read_all(file: BinaryIO) -> bytes:
    """Return the rest of a file of at most ``MAX_BYTES``; memory grows with what is there."""
    data = bytearray()
    while chunk := file.read(_CHUNK):
        data += chunk
        if len(data) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
    return bytes(data)


def digest(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the SHA-256 digest of a file by its name."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return {Path(path).name: found.hexdigest()}
