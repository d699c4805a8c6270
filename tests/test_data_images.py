"""IDX and CIFAR files: good ones of every kind, and a refusal for every bad one."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from lipgd import data


def write(path, content, compressed=False):
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if compressed else content)
    return path


IDX_TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array):
    start = struct.pack(">BBBB", 0, 0, IDX_TYPES[array.dtype.str[1:]], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return start + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", IDX_TYPES)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 7)])
def test_idx_files_of_every_type_are_read(tmp_path, shape, kind, compressed):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(kind)
    found = data.read_idx(write(tmp_path / "a.idx", idx(array), compressed))
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.dtype.isnative


GOOD_IDX = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
BAD_IDX = [
    (b"", "it starts with , expected 00 00"),
    (b"\0\0\x08", "it starts with 00 00 08, expected"),
    (b"\1" + GOOD_IDX[1:], "it starts with 01 00 08 02"),
    (b"\0\0\x0a" + GOOD_IDX[3:], "it starts with 00 00 0a 02"),
    (b"\0\0\x08\0", "it starts with 00 00 08 00"),
    (b"\0\0\x08\x11" + GOOD_IDX[4:], "it declares 17 dimensions"),
    (GOOD_IDX[:9], "it ends within its header"),
    (GOOD_IDX[:-1], "it has 5 bytes of data, but declares 6"),
    (GOOD_IDX[:12], "it has 0 bytes of data, but declares 6"),
    (GOOD_IDX + b"\0", "it has more than the 6 bytes of data that it declares"),
    (b"\0\0\x0e\2" + b"\xff" * 8 + bytes(8), "it declares the shape"),
    (b"\0\0\x08\2" + bytes(4) + b"\xff" * 4 + b"x", "it has more than the 0 bytes"),
    (b"\0\0\x08\1\xf0\0\0\0" + bytes(100), "it has 100 bytes of data, but declares 4026531840"),
    (b"P6 28 28", "it starts with 50 36"),
]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("content", "message"), BAD_IDX)
def test_bad_idx_files_are_refused_before_they_take_memory(tmp_path, content, message, compressed):
    path = write(tmp_path / "bad.idx", content, compressed)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as caught:
        data.read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 3 * 2**20
    tracemalloc.stop()
    assert caught.match(r"bad\.idx is not a readable IDX file: ")


IMAGES = np.random.default_rng(1).integers(0, 256, (7, 4, 3)).astype(np.uint8)
LABELS = np.array([0, 9, 3, 3, 1, 5, 0], dtype=np.uint8)


def mnist(folder, images=IMAGES, labels=LABELS, prefix="train", dot="-", compressed=False):
    ending = ".gz" * compressed
    write(folder / f"{prefix}-images{dot}idx3-ubyte{ending}", idx(images), compressed)
    write(folder / f"{prefix}-labels{dot}idx1-ubyte{ending}", idx(labels), compressed)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_mnist_pairs_images_and_labels(tmp_path, dot, compressed):
    mnist(tmp_path, dot=dot, compressed=compressed)
    mnist(tmp_path, IMAGES[:2], LABELS[:2], "t10k", dot, compressed)
    train, test = data.read_mnist(tmp_path), data.read_mnist(tmp_path, "test", dtype="float32")
    assert np.array_equal(train.X, IMAGES.reshape(7, 12))
    assert train.X.dtype == np.float64
    assert train.X.flags.c_contiguous
    assert np.array_equal(train.y, LABELS)
    assert train.y.dtype == np.int64
    assert train.feature_names[:4] == ("pixel_0_0", "pixel_0_1", "pixel_0_2", "pixel_1_0")
    assert train.classes == tuple("0123456789")
    assert len(train.sha256) == 2
    assert test.X.dtype == np.float32
    assert np.array_equal(test.X, IMAGES[:2].reshape(2, 12))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": IMAGES[0]}, r"has uint8 data of shape \(4, 3\), expected bytes of shape"),
        ({"images": IMAGES[:0]}, r"has uint8 data of shape \(0, 4, 3\), expected bytes"),
        ({"images": IMAGES.astype("i2")}, "has int16 data of shape"),
        ({"labels": LABELS[:6]}, r"shape \(6,\), expected one byte for each of 7 images"),
        ({"labels": LABELS[:, None]}, r"shape \(7, 1\), expected one byte for each of 7 images"),
        ({"labels": LABELS.astype("f4")}, "has float32 data of shape"),
        ({"labels": LABELS + np.uint8(1)}, "has the label 10, expected 0 to 9"),
    ],
)
def test_mnist_files_that_do_not_belong_together_are_refused(tmp_path, arguments, message):
    mnist(tmp_path, **arguments)
    with pytest.raises(ValueError, match=message):
        data.read_mnist(tmp_path)


def test_mnist_messages(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no train-images-idx3-ubyte and no"):
        data.read_mnist(tmp_path)
    mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no t10k-images-idx3-ubyte"):
        data.read_mnist(tmp_path, "test")
    with pytest.raises(ValueError, match="split is 'valid', expected one of train, test"):
        data.read_mnist(tmp_path, "valid")
    with pytest.raises(ValueError, match="dtype is int64, expected float64 or float32"):
        data.read_mnist(tmp_path, dtype=int)


@pytest.mark.parametrize("kind", ["CSV", "IDX", "CIFAR-10"])
def test_damaged_compression_is_refused(tmp_path, kind):
    read = {"CSV": data.read_csv, "IDX": data.read_idx, "CIFAR-10": data.read_cifar}[kind]
    content = {
        "CSV": b"1,2\n" * 100,
        "IDX": bytes([0, 0, 8, 1, 0, 0, 1, 0]) + bytes(range(256)),
        "CIFAR-10": bytes(3073),
    }[kind]
    good = gzip.compress(content, mtime=0)
    read(write(tmp_path / "good", good))
    for bad in (good[:-9], good[:15], good[:-8] + b"\0\0\0\0" + good[-4:], b"\x1f\x8b" + good[5:]):
        with pytest.raises(ValueError, match=f"bad is not a readable {kind} file"):
            read(write(tmp_path / "bad", bad))


PIXELS = np.random.default_rng(2).integers(0, 256, (5, 3072)).astype(np.uint8)
FINE = [0, 9, 4, 4, 1]
COARSE = [0, 19, 3, 3, 1]


def records(images, *labels):
    columns = [np.array(column, dtype=np.uint8)[:, None] for column in labels]
    return np.hstack([*columns, images]).tobytes()


def is_cifar(dataset, images, labels, classes=10):
    assert np.array_equal(dataset.X, images)
    assert dataset.X.flags.c_contiguous
    assert np.array_equal(dataset.y, labels)
    assert dataset.y.dtype == np.int64
    assert dataset.classes == tuple(str(label) for label in range(classes))
    assert len(dataset.feature_names) == 3072
    return True


def test_binary_files_and_folders_are_read(tmp_path):
    for number in (1, 2, 10):
        batch = records(PIXELS[:2] + np.uint8(number), FINE[:2])
        write(tmp_path / f"data_batch_{number}.bin", batch)
    write(tmp_path / "test_batch.bin", records(PIXELS, FINE))
    write(tmp_path / "batches.meta.txt", "airplane\n")
    train = data.read_cifar(tmp_path, dtype=np.float32)
    images = np.vstack([PIXELS[:2] + np.uint8(number) for number in (1, 2, 10)])
    assert is_cifar(train, images, FINE[:2] * 3)
    assert train.X.dtype == np.float32
    assert list(train.sha256) == [f"data_batch_{number}.bin" for number in (1, 2, 10)]
    assert is_cifar(data.read_cifar(tmp_path, split="test"), PIXELS, FINE)
    one = data.read_cifar(tmp_path / "test_batch.bin")
    assert is_cifar(one, PIXELS, FINE)
    assert one.X.dtype == np.float64
    assert one.feature_names[1024 + 33] == "green_1_1"


def test_hundred_classes_have_fine_labels(tmp_path):
    fine = [0, 99, 55, 55, 1]
    write(tmp_path / "train.bin", records(PIXELS, COARSE, fine))
    write(tmp_path / "test.bin", records(PIXELS[:1], COARSE[:1], fine[:1]))
    assert is_cifar(data.read_cifar(tmp_path, 100), PIXELS, fine, 100)
    assert is_cifar(data.read_cifar(tmp_path, 100, split="test"), PIXELS[:1], fine[:1], 100)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_batches_are_read(tmp_path, protocol, order):
    images = np.asarray(PIXELS, order=order)
    batch = {b"data": images, b"labels": FINE, b"filenames": [b"a.png"] * 5, b"batch_label": b"1"}
    # Protocols from 5 on may keep an array in another way than batches do.
    content = pickle.dumps(batch, min(protocol, 4))
    write(tmp_path / "data_batch_1", content)
    assert is_cifar(data.read_cifar(tmp_path), PIXELS, FINE)
    batch = {"data": images, "fine_labels": [99, 0, 1, 2, 3], "coarse_labels": COARSE}
    write(tmp_path / "train", pickle.dumps(batch, min(protocol, 4)))
    assert is_cifar(data.read_cifar(tmp_path, 100), PIXELS, [99, 0, 1, 2, 3], 100)


BATCH_OF_PYTHON_2 = (
    b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87"
    b"R(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00"
    + PIXELS[0].tobytes()
    + b"tbU\x06labels]K\x07au."
)


def test_a_batch_of_python_2_is_read(tmp_path):
    path = write(tmp_path / "data_batch_1", BATCH_OF_PYTHON_2)
    assert is_cifar(data.read_cifar(path), PIXELS[:1], [7])


BAD_CIFAR = [
    (b"", 10, "it has 0 bytes, expected a multiple of 3073"),
    (records(PIXELS, FINE)[:-1], 10, "it has 15364 bytes, expected a multiple of 3073"),
    (records(PIXELS, FINE) + b"\0", 10, "it has 15366 bytes"),
    (records(PIXELS, FINE), 100, "it has 15365 bytes, expected a multiple of 3074"),
    (records(PIXELS, [0, 9, 10, 2, 3]), 10, "record 2 has the label 10, expected 0 to 9"),
    (records(PIXELS, [0, 1, 20, 2, 3], FINE), 100, "record 2 has the label 20, expected 0 to 19"),
    (records(PIXELS, COARSE, [0, 1, 2, 3, 100]), 100, "record 4 has the label 100"),
]


@pytest.mark.parametrize(("content", "classes", "message"), BAD_CIFAR)
def test_bad_binary_files_are_refused(tmp_path, content, classes, message):
    path = write(tmp_path / "bad.bin", content)
    with pytest.raises(ValueError, match=message) as caught:
        data.read_cifar(path, classes)
    assert caught.match(rf"bad\.bin is not a readable CIFAR-{classes} file: ")


class Call:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def batch(**changes):
    return pickle.dumps({"data": PIXELS, "labels": FINE, **changes}, 2)


HOSTILE = {
    "system": (pickle.dumps(Call(os.system, "touch hacked"), 2), "it names posix.system"),
    "eval": (batch(x=Call(eval, "1")), "it names __builtin__.eval, expected only NumPy"),
    "open": (b"\x80\x02cbuiltins\nopen\nU\x06hacked\x85R.", "it names builtins.open"),
    "dotted": (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "it names numpy.ndarray.dump"),
    "allocate": (batch(x=Call(np.ndarray, (10**12,))), "it makes an array by itself"),
    "change": (
        b"\x80\x02c_codecs\nencode\n}U\x0c__defaults__K\x01\x85sb.",
        "it changes a function",
    ),
    "new": (b"\x80\x02cnumpy\nndarray\n)\x81.", "not a pickled batch"),
    "encode": (
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        "encod",
    ),
    "memo": (b"\x80\x02Nr\xff\xff\xff\x7f.", "it is no dictionary"),
    "huge": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x3f.", "it is not a pickled batch"),
    "frame": (b"\x80\x04\x95" + b"\xff" * 7 + b"\x3f.", "it is not a pickled batch"),
    "extension": (b"\x80\x02\x82\x01.", "unregistered extension code"),
    "persistent": (b"\x80\x02U\x01aQ.", "it is not a pickled batch"),
    "cut": (batch()[:500], "it is not a pickled batch"),
    "stop": (b"\x80\x02.", "it is not a pickled batch"),
    "list": (pickle.dumps([1], 2), "it is no dictionary"),
    "no data": (pickle.dumps({"labels": FINE}, 2), "it has no array under 'data'"),
    "list of data": (batch(data=[1, 2]), "it has no array under 'data'"),
    "floats": (batch(data=PIXELS * 1.0), "it has no bytes under 'data'"),
    "objects": (batch(data=np.array([[None] * 3072])), "it has no bytes under 'data'"),
    "wide": (batch(data=PIXELS[:, :99]), r"495 bytes of shape \(5, 99\), expected \(n, 3072\)"),
    "flat": (batch(data=PIXELS.ravel()), r"15360 bytes of shape \(15360,\)"),
    "empty": (pickle.dumps({"data": PIXELS[:0], "labels": []}, 4), "it has 0 bytes of shape"),
    "no labels": (pickle.dumps({"data": PIXELS}, 2), "it has no list of 5 labels under 'labels'"),
    "few labels": (batch(labels=FINE[:4]), "it has no list of 5 labels under 'labels'"),
    "text": (batch(labels=["a"] * 5), "something else than labels"),
    "negative": (batch(labels=[-1] * 5), "something else than labels"),
    "large": (batch(labels=[10**30] * 5), "something else than labels"),
    "ten": (batch(labels=[0, 1, 2, 3, 10]), "record 4 has the label 10, expected 0 to 9"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_not_run(tmp_path, monkeypatch, name):
    content, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "data_batch_1", content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as caught:
        data.read_cifar(path)
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()
    assert caught.match("data_batch_1 is not a readable CIFAR-10 file: ")
    assert os.listdir(tmp_path) == ["data_batch_1"]


def test_cifar_messages(tmp_path):
    with pytest.raises(FileNotFoundError, match="which has no train files of CIFAR-10"):
        data.read_cifar(tmp_path)
    with pytest.raises(FileNotFoundError, match="which has no test files of CIFAR-100"):
        data.read_cifar(tmp_path, 100, split="test")
    with pytest.raises(FileNotFoundError):
        data.read_cifar(tmp_path / "none.bin")
    with pytest.raises(ValueError, match="classes is 20, expected 10 or 100"):
        data.read_cifar(tmp_path, 20)
    with pytest.raises(ValueError, match="split is 'all'"):
        data.read_cifar(tmp_path, split="all")
    with pytest.raises(ValueError, match="dtype is uint8"):
        data.read_cifar(tmp_path, dtype=np.uint8)
