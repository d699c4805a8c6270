"""Odd inputs of the certificates: a clear error before any work, or a correct result."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lipgd
from lipgd.cli import main
from lipgd.lipschitz import read

NET = lipgd.Network.create([3, 5, 2], activation="tanh", seed=1)
WEIGHTS = [np.asarray(w) for w in NET.weights]
X = np.random.default_rng(0).normal(size=(6, 3))
LABELS = np.array([0, 1, 0, 1, 0, 1])


def test_the_layout_and_the_byte_order_of_arrays_change_no_bit() -> None:
    expected = lipgd.lipschitz.upper(read(WEIGHTS, "tanh")).value
    ways: list[Callable[[Any], Any]] = [
        np.asfortranarray,
        lambda w: w.astype(">f8"),
        lambda w: np.repeat(np.repeat(w, 2, 0), 2, 1)[::2, ::2],
        lambda w: w.tolist(),
    ]
    for way in ways:
        assert lipgd.lipschitz.upper(read([way(w) for w in WEIGHTS], "tanh")).value == expected
    radius = lipgd.lipschitz.certified_radius
    odd = radius(NET, np.asfortranarray(X.astype(">f8")), LABELS.astype(">i2"))
    assert np.array_equal(odd, radius(NET, X, LABELS))


def test_integers_are_weights_as_long_as_float64_holds_them() -> None:
    whole = [np.rint(10 * w).astype(np.int64) for w in WEIGHTS]
    same = [w.astype(np.float64) for w in whole]
    assert lipgd.lipschitz.upper(read(whole, "relu")).value == (
        lipgd.lipschitz.upper(read(same, "relu")).value
    )
    whole[0][1, 2] = 2**53 + 1
    with pytest.raises(ValueError, match=r"weights\[0\] has an integer beyond 2\*\*53"):
        read(whole, "relu")


@pytest.mark.parametrize("scale", [1e155, 1e300])
@pytest.mark.filterwarnings("error")
def test_weights_whose_products_overflow_warn_of_nothing(scale: float) -> None:
    model = read([w * scale for w in WEIGHTS], "tanh")
    for domain in (None, lipgd.lipschitz.Ball([0.0] * 3, 1.0)):
        bound = lipgd.lipschitz.upper(model, domain=domain)
        low = lipgd.lipschitz.lower(model, domain=domain)
        assert bound.reason is not None or low.value <= bound.value
    assert (lipgd.lipschitz.certified_radius(model, X, LABELS) >= 0.0).all()


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".npz", ".mat", ".pt"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str, part: float) -> None:
    from scipy.io import savemat

    whole, damaged = tmp_path / f"whole{suffix}", tmp_path / f"damaged{suffix}"
    cells = np.empty((1, 2), object)
    cells[0, :] = WEIGHTS
    if suffix == ".npz":
        NET.save(whole)
    elif suffix == ".mat":
        savemat(whole, {"weights": cells})
    else:
        torch.save({"0.weight": torch.tensor(WEIGHTS[0])}, whole)
    content = whole.read_bytes()
    damaged.write_bytes(content[: int(part * len(content))])
    # A plain file does not say its activation: that must not be what the message is about.
    with pytest.raises(ValueError, match=rf"damaged\{suffix} is not a readable"):
        read(str(damaged), None if suffix == ".npz" else "relu")


def test_a_file_of_objects_is_not_run(tmp_path: Path) -> None:
    path = str(tmp_path / "module.pt")
    torch.save(nn.Sequential(nn.Linear(3, 2)), path)
    with pytest.raises(ValueError, match=r"module.pt is not a readable state_dict: it has objects"):
        read(path, "relu")


def test_a_file_that_leaves_out_a_matrix_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "weights.npz")
    square = np.eye(3)
    np.savez(path, W1=square, W3=square)
    with pytest.raises(ValueError, match=r"\['W1', 'W3'\], but none with the number 2"):
        read(path, "relu")
    np.savez(path, W1=square, W2=square, W10=square)
    with pytest.raises(ValueError, match="none with the number 3"):
        read(path, "relu")
    np.savez(path, W0=square, W1=square, W2=square)
    assert len(read(path, "relu").weights) == 3
    np.savez(path, **{"0.weight": square, "2.weight": square})  # of a Sequential
    assert len(read(path, "relu").weights) == 2


def test_layers_out_of_range_or_without_numbers_are_named() -> None:
    layers: dict[str, nn.Module] = {
        r"1 \(LeakyReLU\), whose slope is -2.0": nn.LeakyReLU(-2.0),
        r"1 \(ELU\), whose alpha": nn.ELU(-1.0),
    }
    for words, layer in layers.items():
        with pytest.raises(ValueError, match=f"the module Sequential has the layer {words}"):
            read(nn.Sequential(nn.Linear(3, 5), layer, nn.Linear(5, 2)))
    empty = nn.Sequential(nn.Linear(3, 5, device="meta"), nn.ReLU())
    with pytest.raises(ValueError, match=r"has 0.weight on the device meta"):
        read(empty)
    with pytest.raises(ValueError, match=r"has 0.weight on the device meta"):
        read(empty.state_dict(), "relu")


def test_the_command_fails_with_a_message_and_succeeds_only_with_a_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = str(tmp_path / "net.npz"), str(tmp_path / "huge.npz")
    NET.save(path)
    np.savez(other, W1=WEIGHTS[0] * 1e200, W2=WEIGHTS[1] * 1e200)
    bound = lipgd.lipschitz.upper(NET).value

    def code(*options: str, file: str = path) -> int:
        try:
            return main(["certify", file, *options])
        except SystemExit as stop:
            return int(str(stop.code))

    assert code("--at-most", repr(bound)) == 0
    assert code("--at-most", repr(bound * (1 - 1e-12))) == 1
    # The number that was asked is not rounded to one that was not proved.
    assert f"at most {bound * (1 - 1e-12)!r}: not proved" in capsys.readouterr().out
    assert code("--at-most", "1e308", "--activation", "tanh", file=other) == 1
    assert code("--activation", "tanh", file=other) == 1
    capsys.readouterr()
    text = tmp_path / "text.npz"
    text.write_text("hello")
    refused = {
        ("--at-most", "nan"): "--at-most is nan",
        ("--at-most", "-1"): "--at-most is -1.0",
        ("--seconds", "0"): "seconds is 0.0",
        ("--seconds", "nan"): "seconds is nan",
        ("--norm", "1"): "norm is '1', expected 2 or inf",
        ("--output", "2"): "output is 2",
        ("--points", str(text)): "--points is ",
        ("--center", str(tmp_path / "no.npy"), "--radius", "1"): "No such file",
        ("--center", "0,0,0", "--radius", "nan"): "radius is nan",
        ("--check", str(text)): "text.npz is not a readable lipgd certificate",
    }
    for options, message in refused.items():
        assert code(*options) == 2
        assert message in capsys.readouterr().err
    assert code(file=str(text)) == 2
    assert re.search(r"text.npz is not a readable .npz file", capsys.readouterr().err)
