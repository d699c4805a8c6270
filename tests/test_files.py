"""Files: round trips, what survives an interrupted write, and what hostile files meet."""

from __future__ import annotations

import io
import os
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from lipgd._files import atomic_writer, read_npz, write_npz

ARRAYS = {
    "float64": np.array([[1.5, np.nan], [np.inf, -0.0]]),
    "float32": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "uint8": np.arange(256, dtype=np.uint8),
    "truth": np.array([True, False]),
    "scalar": np.array(7.25),
    "empty": np.zeros((0, 3)),
    "text": np.array(["", "W1", "größe ∂ \U0001d6fc"]),
    "json": np.array('{"a": [1, 2]}'),
    "no_text": np.array(""),
    "rate:W1": np.array([0.1]),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.npz"


def same(arrays, others):
    assert list(arrays) == list(others)
    for name, array in arrays.items():
        other = np.asarray(others[name])
        assert array.dtype == other.dtype
        assert array.shape == other.shape
        assert array.tobytes() == other.tobytes()


def test_arrays_come_back_bit_for_bit(path):
    write_npz(path, ARRAYS, "kind", 1)
    same(read_npz(path, "kind", 1), ARRAYS)


def test_numpy_reads_the_file_without_pickle(path):
    write_npz(path, ARRAYS, "kind", 3)
    with np.load(path, allow_pickle=False) as file:
        assert file["format"] == "kind"
        assert file["format_version"] == 3
        same({name: file[name] for name in ARRAYS}, ARRAYS)


def test_layout_and_byte_order_are_made_plain(path):
    array = np.arange(6.0).reshape(2, 3)
    write_npz(path, {"T": array.T, "big": array.astype(">f8"), "list": [1, 2]}, "kind", 1)
    same(read_npz(path, "kind", 1), {"T": array.T.copy(), "big": array, "list": np.array([1, 2])})


def test_the_bytes_depend_on_the_arrays_alone(path, tmp_path):
    write_npz(path, ARRAYS, "kind", 1)
    other = tmp_path / "other.npz"
    write_npz(other, ARRAYS, "kind", 1)
    assert path.read_bytes() == other.read_bytes()


def test_large_arrays_are_read_in_pieces(path):
    large = np.random.default_rng(0).normal(size=400_001)
    write_npz(path, {"large": large}, "kind", 1)
    same(read_npz(path, "kind", 1), {"large": large})


def test_a_failed_write_leaves_the_old_file(path):
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="halfway"), atomic_writer(path) as file:
        file.write(b"new")
        raise RuntimeError("halfway")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_a_write_replaces_the_target_of_a_link_with_usual_permissions(path, tmp_path):
    link = tmp_path / "latest.npz"
    link.symlink_to(path)
    with atomic_writer(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_killed_writer_never_leaves_half_a_file(path):
    array = np.zeros(200_000)
    write_npz(path, {"array": array}, "kind", 1)
    program = (
        "import sys, numpy as np\n"
        "from lipgd._files import write_npz\n"
        "print(flush=True)\n"
        "for i in range(100_000):\n"
        "    write_npz(sys.argv[1], {'array': np.full(200_000, float(i))}, 'kind', 1)\n"
    )
    for wait in (0.0, 0.013, 0.04, 0.1):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE
        ) as writer:
            writer.stdout.readline()
            time.sleep(wait)
            writer.send_signal(signal.SIGKILL)
        array = read_npz(path, "kind", 1)["array"]
        assert (array == array[0]).all()


def entry(name, data, **changes):
    info = zipfile.ZipInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def header(text, size=182):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", size) + text.ljust(size - 1).encode() + b"\n"


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version=(1, 0))
    return file.getvalue()


def archive(path, *entries, kind="kind", version=1):
    with zipfile.ZipFile(path, "w") as file:
        if kind is not None:
            file.writestr("format.npy", npy(kind))
        if version is not None:
            file.writestr("format_version.npy", npy(version))
        for info, data in entries:
            file.writestr(info, data)


def plain(descr="'<f8'", order="False", shape="(1,)"):
    return header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}")


EIGHT = b"\0" * 8
HOSTILE = {
    "large_shape": (plain(shape="(200000000,)") + EIGHT, "declares 1600000000 bytes of data"),
    "overflow": (plain(shape="(4294967296, 4294967296, 4)") + EIGHT, "declares 59029581035870565"),
    "zero_overflow": (plain(shape="(0, 999999999999999999)"), "expected a smaller one"),
    "negative": (plain(shape="(-1,)") + EIGHT, "not of plain numbers or text"),
    "expression": (plain(shape="(2**3,)") + EIGHT, "not of plain numbers or text"),
    "objects": (plain("'|O'") + EIGHT, "not of plain numbers or text"),
    "record": (plain("[('a', '<f8')]") + EIGHT, "not of plain numbers or text"),
    "complex": (plain("'<c8'") + EIGHT, "not of plain numbers or text"),
    "big_endian": (plain("'>f8'") + EIGHT, "not of plain numbers or text"),
    "fortran": (plain(order="True") + EIGHT, "not of plain numbers or text"),
    "no_width": (plain("'<U0'"), "not of plain numbers or text"),
    "code": (header("__import__('os').abort()"), "not of plain numbers or text"),
    "dimensions": (plain(shape="(" + "1," * 33 + ")") + EIGHT, "33 dimensions"),
    "long_header": (header("{}", 5000), "no NumPy header of version 1.0"),
    "version_2": (b"\x93NUMPY\x02\x00" + plain()[8:] + EIGHT, "no NumPy header of version 1.0"),
    "no_magic": (b"1,2,3\n", "no NumPy header of version 1.0"),
    "nothing": (b"", "no NumPy header of version 1.0"),
    "cut_header": (plain()[:90], "not of plain numbers or text"),
    "cut": (plain() + EIGHT[:5], "declares 8 bytes of data, but has 5"),
    "trailing": (plain() + EIGHT + b"x", "declares 8 bytes of data, but has 9"),
    "truth": (plain("'|b1'") + b"\x02", "truth values other than 0 and 1"),
    "code_point": (plain("'<U1'") + b"\0\0\x11\0", "text that is not Unicode"),
    "surrogate": (plain("'<U1'") + b"\0\xd8\0\0", "text that is not Unicode"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_refused_before_they_take_memory(path, name):
    data, message = HOSTILE[name]
    archive(path, entry("x.npy", data))
    tracemalloc.start()
    with pytest.raises(ValueError, match="not a readable kind file: ") as caught:
        read_npz(path, "kind", 1)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_long_text_is_refused(path):
    with pytest.raises(ValueError, match="array 'x' has 67108868 bytes of text, expected at most"):
        write_npz(path, {"x": np.zeros(1, "U16777217")}, "kind", 1)
    archive(path, entry("x.npy", npy(np.zeros(1, "U16777217"))))
    with pytest.raises(ValueError, match="array 'x' has 67108868 bytes of text"):
        read_npz(path, "kind", 1)


def test_compressed_archives_are_refused(path):
    data = plain(shape="(10000000,)") + bytes(80_000_000)
    archive(path, entry("x.npy", data, compress_type=zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="array 'x' is compressed, expected plain bytes"):
        read_npz(path, "kind", 1)


def test_entries_that_share_their_bytes_are_refused(path):
    data = npy(np.zeros(100_000))
    archive(path, entry("x.npy", data))
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    last = content.rindex(b"PK\x01\x02")
    copies = b"".join(
        content[last:end].replace(b"x.npy", name) for name in (b"a.npy", b"b.npy", b"c.npy")
    )
    content[end + 8 : end + 16] = struct.pack("<HHI", 6, 6, end - start + len(copies))
    path.write_bytes(content[:end] + copies + content[end:])
    with pytest.raises(ValueError, match="it declares 3200"):
        read_npz(path, "kind", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "other"}, "its kind is 'other', expected 'kind'"),
        ({"kind": 3}, "its kind is 3, expected 'kind'"),
        ({"kind": ["kind"]}, r"its kind is \['kind'\], expected 'kind'"),
        ({"kind": None}, "it has no array 'format'"),
        ({"version": None}, "it has no array 'format_version'"),
        ({"version": 3}, "its version is 3, but this lipgd reads versions up to 2"),
        ({"version": 0}, "its version is 0"),
        ({"version": 1.0}, "its version is 1.0, expected an integer"),
    ],
)
def test_other_kinds_and_versions_are_refused(path, arguments, message):
    archive(path, **arguments)
    with pytest.raises(ValueError, match=message):
        read_npz(path, "kind", 2)


def test_older_versions_are_read(path):
    write_npz(path, {"x": 1.0}, "kind", 1)
    assert read_npz(path, "kind", 2)["x"] == 1.0


def test_names_that_are_no_arrays_are_refused(path):
    archive(path, entry("evil.pkl", b"cos\nsystem\n(S'false'\ntR."))
    with pytest.raises(ValueError, match=r"it holds 'evil.pkl', expected arrays, each once"):
        read_npz(path, "kind", 1)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice_are_refused(path):
    archive(path, entry("x.npy", npy(1.0)), entry("x.npy", npy(2.0)))
    with pytest.raises(ValueError, match=r"it holds 'x.npy', expected arrays, each once"):
        read_npz(path, "kind", 1)


def test_files_over_the_limit_are_refused(path):
    write_npz(path, {"x": np.zeros(100)}, "kind", 1)
    with pytest.raises(ValueError, match=r"it has \d+ bytes, expected at most 1000"):
        read_npz(path, "kind", 1, max_bytes=1000)


def test_files_of_other_formats_are_refused(path):
    for content in (b"", b"PK\x03\x04", b"risk,step\n1,2\n", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"file.npz is not a readable kind file: "):
            read_npz(path, "kind", 1)


def test_damage_at_any_byte_is_found_or_harmless(path):
    arrays = {"x": np.array([1.0, 2.0]), "text": np.array("ab"), "truth": np.array([True])}
    write_npz(path, arrays, "kind", 1)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [content[:length] for length in range(0, len(content), 7)]
    for position in range(len(content)):
        for value in (content[position] ^ (1 << position % 8), rng.integers(256)):
            damaged.append(content[:position] + bytes([value]) + content[position + 1 :])
    refused = 0
    for bad in damaged:
        path.write_bytes(bad)
        try:
            found = read_npz(path, "kind", 1)
        except ValueError:
            refused += 1
        else:  # dates, attributes, or the name of an array in both of its places
            same(dict(zip(arrays, found.values(), strict=True)), arrays)
    assert refused > 0.7 * len(damaged)


@pytest.mark.parametrize("bad", [object(), [object()], 1j, np.datetime64("2020-01-01"), b"bytes"])
def test_only_plain_arrays_are_written(path, bad):
    with pytest.raises(TypeError, match=r"array 'x' has the dtype .*, expected numbers or text"):
        write_npz(path, {"x": bad}, "kind", 1)
    assert not path.exists()


def test_messages(path, tmp_path):
    with pytest.raises(ValueError, match="arrays has the name 'format', which is reserved"):
        write_npz(path, {"format": 1}, "kind", 1)
    with pytest.raises(FileNotFoundError, match="but its folder does not exist"):
        write_npz(tmp_path / "no" / "file.npz", {}, "kind", 1)
    with pytest.raises(IsADirectoryError, match="a folder, expected a file"):
        write_npz(tmp_path, {}, "kind", 1)
    with pytest.raises(FileNotFoundError):
        read_npz(path, "kind", 1)
