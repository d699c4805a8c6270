"""Files that are either the old or the new one, never half of it, and that are safe to open.

A lipgd file is an uncompressed ``.npz`` archive of plain arrays, without pickles. It names its kind
and the version of its format, and every size is checked against the file before memory is taken.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lipgd._check import path_of

__all__ = ["atomic_writer", "read_npz", "write_npz"]

Array = npt.NDArray[Any]

_KIND = "format"
_VERSION = "format_version"
_MAGIC = b"\x93NUMPY\x01\x00"
#: Longest header that is read; NumPy writes 128 bytes for a plain array.
_LONGEST_HEADER = 4096
#: The header of an array of numbers or text in C order, as NumPy writes it.
_HEADER = re.compile(
    rb"\{ *'descr' *: *'(?P<dtype>[<|](?:b1|[iu][1248]|f[248]|U[1-9]\d{0,7}))' *, *"
    rb"'fortran_order' *: *False *, *"
    rb"'shape' *: *\( *(?P<shape>(?:\d{1,18} *, *)*(?:\d{1,18})?) *\) *,? *\}[ \n]*"
)
_PLAIN = re.compile(r"[<|](b1|[iu][1248]|f[248]|U[1-9]\d*)")
#: Bytes of text in one array; settings need a few thousand.
_MOST_TEXT = 2**26
_CHUNK = 2**20
#: What the zip reader raises for archives that are not what they say.
_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path`` once it is complete and on the disk."""
    target = Path(os.path.realpath(path_of("path", path)))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path is {str(path)!r}, but its folder does not exist")
    if target.is_dir():
        raise IsADirectoryError(f"path is {str(path)!r}, a folder, expected a file")
    temporary = target.with_name(f".lipgd-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_npz(
    path: str | os.PathLike[str], arrays: Mapping[str, npt.ArrayLike], kind: str, version: int
) -> None:
    """Write named arrays of numbers or text to a file that ``read_npz`` and NumPy can read.

    The bytes of the file depend on the arrays alone.
    """
    reserved = {_KIND, _VERSION} & set(arrays)
    if reserved:
        raise ValueError(f"arrays has the name {reserved.pop()!r}, which is reserved")
    entries = {_KIND: kind, _VERSION: np.int64(version), **arrays}
    plain = {name: _plain_array(name, value) for name, value in entries.items()}
    with atomic_writer(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in plain.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(info, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)


def read_npz(
    path: str | os.PathLike[str], kind: str, version: int, max_bytes: int = 2**34
) -> dict[str, Array]:
    """Return the arrays of a file that ``write_npz`` wrote.

    Files of another kind, of a version above ``version``, with more than ``max_bytes``, and files
    that are damaged or hostile raise a ValueError before memory is taken for what they declare.
    """
    with open(path_of("path", path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            if size > max_bytes:
                raise ValueError(f"it has {size} bytes, expected at most {max_bytes}")
            with zipfile.ZipFile(file) as archive:
                return _read_archive(archive, size, kind, version)
        except _DAMAGE as error:
            raise ValueError(f"{os.fspath(path)} is not a readable {kind} file: {error}") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder, and its rename is already durable
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain_array(name: str, value: npt.ArrayLike) -> Array:
    array = np.asarray(value)
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if not _PLAIN.fullmatch(array.dtype.str):
        raise TypeError(f"array {name!r} has the dtype {array.dtype}, expected numbers or text")
    if array.dtype.kind == "U" and array.nbytes > _MOST_TEXT:
        raise ValueError(
            f"array {name!r} has {array.nbytes} bytes of text, expected at most {_MOST_TEXT}"
        )
    return array


def _read_archive(archive: zipfile.ZipFile, size: int, kind: str, version: int) -> dict[str, Array]:
    entries = _entries(archive.infolist(), size)
    found = {name: _read_array(archive, name, entries) for name in (_KIND, _VERSION)}
    if found[_KIND].dtype.kind != "U" or found[_KIND].shape != () or found[_KIND][()] != kind:
        raise ValueError(f"its kind is {found[_KIND].tolist()!r}, expected {kind!r}")
    if found[_VERSION].dtype != np.int64 or found[_VERSION].shape != ():
        raise ValueError(f"its version is {found[_VERSION].tolist()!r}, expected an integer")
    if not 1 <= found[_VERSION] <= version:
        raise ValueError(
            f"its version is {found[_VERSION]}, but this lipgd reads versions up to {version}"
        )
    return {name: _read_array(archive, name, entries) for name in entries if name not in found}


def _entries(infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    entries = {}
    for info in infos:
        name, suffix = info.filename[:-4], info.filename[-4:]
        if suffix != ".npy" or name in entries:
            raise ValueError(f"it holds {info.filename!r}, expected arrays, each once")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"array {name!r} is compressed, expected plain bytes")
        # A long extra field or a comment can hide the entries behind it.
        if info.comment or len(info.extra) > 32:
            raise ValueError(f"array {name!r} has a comment, expected none")
        entries[name] = info
    declared = sum(info.file_size for info in infos)
    if declared > size:
        raise ValueError(f"it declares {declared} bytes, but the file has {size}")
    return entries


def _read_array(archive: zipfile.ZipFile, name: str, entries: dict[str, zipfile.ZipInfo]) -> Array:
    if name not in entries:
        raise ValueError(f"it has no array {name!r}")
    with archive.open(entries[name]) as entry:
        dtype, shape, header = _read_header(entry, name)
        # Sizes are Python integers: they cannot overflow.
        count = math.prod(shape) * dtype.itemsize
        if count + header != entries[name].file_size:
            raise ValueError(
                f"array {name!r} declares {count} bytes of data, "
                f"but has {entries[name].file_size - header}"
            )
        if math.prod(max(length, 1) for length in shape) * max(dtype.itemsize, 1) > 2**62:
            raise ValueError(f"array {name!r} has the shape {shape}, expected a smaller one")
        if dtype.kind == "U" and count > _MOST_TEXT:
            raise ValueError(f"array {name!r} has {count} bytes of text")
        array = np.empty(shape, dtype)
        _fill(entry, array.reshape(-1).view(np.uint8) if count else np.empty(0, np.uint8), name)
    _check_values(array, name)
    return array


def _read_header(entry: Any, name: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    start = entry.read(len(_MAGIC) + 2)
    length = int.from_bytes(start[len(_MAGIC) :], "little")
    if start[: len(_MAGIC)] != _MAGIC or length > _LONGEST_HEADER:
        raise ValueError(f"array {name!r} has no NumPy header of version 1.0")
    text = entry.read(length)
    match = _HEADER.fullmatch(text)
    if match is None or len(text) < length:
        raise ValueError(f"array {name!r} is not of plain numbers or text in C order")
    shape = tuple(int(part) for part in match["shape"].split(b",") if part.strip())
    if len(shape) > 32:
        raise ValueError(f"array {name!r} has {len(shape)} dimensions, expected at most 32")
    return np.dtype(match["dtype"].decode()), shape, len(start) + length


def _fill(entry: Any, memory: npt.NDArray[np.uint8], name: str) -> None:
    # The archive compares its checksum with the last piece.
    filled = 0
    while filled < len(memory):
        chunk = entry.read(min(_CHUNK, len(memory) - filled))
        if not chunk:
            raise ValueError(f"array {name!r} ends after {filled} of {len(memory)} bytes")
        memory[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)


def _check_values(array: Array, name: str) -> None:
    if array.dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise ValueError(f"array {name!r} has truth values other than 0 and 1")
    if array.dtype.kind == "U" and array.size:
        codes = array.reshape(-1).view(np.uint32)
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
            raise ValueError(f"array {name!r} has text that is not Unicode")
