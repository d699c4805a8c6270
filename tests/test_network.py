"""Networks: laws of creation, values that cannot change, files, and shapes."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest
from reference import random_network

import lipgd
from lipgd._files import read_npz, write_npz

KIND = "lipgd network"
FIXED = {
    "he_normal": lambda i, o: math.sqrt(2 / i),
    "he_uniform": lambda i, o: math.sqrt(2 / i),
    "glorot_normal": lambda i, o: math.sqrt(2 / (i + o)),
    "glorot_uniform": lambda i, o: math.sqrt(2 / (i + o)),
    "lecun_normal": lambda i, o: math.sqrt(1 / i),
    "lecun_uniform": lambda i, o: math.sqrt(1 / i),
    "torch": lambda i, o: math.sqrt(1 / (3 * i)),
    "normal(0.3)": lambda i, o: 0.3,
    "uniform(0.3)": lambda i, o: 0.3 / math.sqrt(3),
    "rademacher(0.3)": lambda i, o: 0.3,
}


@pytest.mark.parametrize("init", FIXED)
def test_weights_have_the_law_of_the_initialisation(init):
    sizes = [40, 300, 200, 60]
    net = lipgd.Network.create(sizes, init=init, seed=7)
    assert net.sizes == tuple(sizes)
    for weights, bias in zip(net.weights, net.biases, strict=True):
        fan_out, fan_in = weights.shape
        deviation = FIXED[init](fan_in, fan_out)
        count = weights.size
        assert abs(weights.mean()) < 4 * deviation / math.sqrt(count)
        assert weights.std() == pytest.approx(deviation, rel=4 / math.sqrt(2 * count))
        flatness = (weights**4).mean() / weights.var() ** 2
        family = init.split("(")[0].split("_")[-1]
        expected = {"normal": 3.0, "uniform": 1.8, "torch": 1.8, "rademacher": 1.0}[family]
        assert flatness == pytest.approx(expected, rel=0.1)
        if family != "normal":
            limit = deviation * (1 if family == "rademacher" else math.sqrt(3))
            assert abs(weights).max() <= limit * (1 + 1e-15)
        if init == "torch":
            assert 0 < abs(bias).max() <= 1 / math.sqrt(fan_in)
        else:
            assert not bias.any()
    assert net.output_scale == 1.0


def test_mean_field_networks_have_signs_outside_and_a_scale():
    for init in ("mean_field", " mean_field "):
        net = lipgd.Network.create([30, 500, 1], init=init, seed=1)
        assert net.output_scale == 1 / 500
        assert set(net.weights[1].ravel().tolist()) == {-1.0, 1.0}
        assert abs(net.weights[1].mean()) < 0.2
        assert net.weights[0].std() == pytest.approx(1 / math.sqrt(30), rel=0.05)
    assert lipgd.Network.create([30, 500, 1], init="mean_field", output_scale=2).output_scale == 2.0
    assert lipgd.Network.create([30, 1], init="mean_field").output_scale == 1.0


def test_balanced_mean_field_networks_have_as_many_signs_of_either_kind():
    net = lipgd.Network.create([30, 500, 2], init="mean_field_balanced", seed=1)
    assert net.output_scale == 1 / 500
    assert (net.weights[1] == np.where(np.arange(500) % 2 == 0, 1.0, -1.0)).all()
    assert net.weights[1].sum() == 0.0
    twin = lipgd.Network.create([30, 500, 2], init="mean_field", seed=1)
    assert (net.weights[0] == twin.weights[0]).all()
    odd = lipgd.Network.create([3, 7, 1], init="mean_field_balanced", output_scale=2 / 7)
    assert odd.weights[1].sum() == 1.0 and odd.output_scale == 2 / 7


@pytest.mark.parametrize("init", lipgd.initialization.names())
def test_seeds_decide_the_weights(init):
    init = f"{init}(0.5)" if init in ("normal", "uniform", "rademacher") else init

    def create(seed, **options):
        return lipgd.Network.create([6, 20, 2], init=init, seed=seed, **options)

    assert (
        create(0) == create(0) == create(np.int64(0)) == lipgd.Network.create([6, 20, 2], init=init)
    )
    assert create(0) != create(1)
    rng = np.random.default_rng(0)
    assert create(rng) == create(0)
    assert create(rng) != create(0)
    single = create(0, dtype=np.float32)
    assert single.dtype == np.float32
    for one, two in zip(single.weights, create(0).weights, strict=True):
        np.testing.assert_array_equal(one, two.astype(np.float32))
    without = create(0, biases=False)
    assert without.biases == (None, None)
    if init != "torch":
        np.testing.assert_array_equal(without.weights[1], create(0).weights[1])


def test_a_network_tells_what_it_is():
    net = lipgd.Network.create([10, 200, 30, 4], activation="leaky_relu(0.2)", output_scale=0.5)
    assert repr(net) == (
        "Network(10-200-30-4, leaky_relu(0.2), float64, 8354 parameters, output scale 0.5)"
    )
    assert (net.depth, net.n_inputs, net.n_outputs, net.n_parameters) == (3, 10, 4, 8354)
    assert [name for name, _ in net.named()] == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert net.activation == lipgd.activations.get("leaky_relu", slope=0.2)
    assert repr(lipgd.Network([[[1.0]]])) == "Network(1-1, relu, float64, 1 parameters)"


def test_networks_cannot_be_changed():
    given = np.ones((2, 3))
    net = lipgd.Network([given], [np.zeros(2)])
    given[:] = 5.0
    assert (net.weights[0] == 1.0).all()
    for array in (net.weights[0], net.biases[0], *(array for _, array in net.named())):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1.0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    for name in ("weights", "output_scale", "new", "_flat"):
        with pytest.raises(AttributeError, match="a Network is immutable"):
            setattr(net, name, 1)
    with pytest.raises(AttributeError, match="a Network is immutable"):
        del net._flat
    with pytest.raises(TypeError, match="unhashable"):
        hash(net)


def test_equality_is_by_value():
    net = random_network(np.random.default_rng(0), [3, 5, 2], "tanh")
    assert net == net.replace()
    assert net == lipgd.Network(list(net.weights), list(net.biases), "tanh")
    assert net != net.replace(activation="sin")
    assert net != net.replace(output_scale=2.0)
    assert net != net.replace(biases=None)
    assert net != net.replace(weights=[net.weights[0], -net.weights[1]])
    single = net.replace(
        weights=[w.astype(np.float32) for w in net.weights],
        biases=[None if b is None else b.astype(np.float32) for b in net.biases],
    )
    assert single != net
    assert lipgd.Network([[[1.0]]]) != lipgd.Network([np.ones((1, 1), np.float32)])
    assert net != 3
    nan = lipgd.Network([[[np.nan]]])
    assert nan == lipgd.Network([[[np.nan]]])


NETWORKS = {
    "plain": lambda: random_network(np.random.default_rng(1), [3, 5, 2], "tanh"),
    "float32": lambda: random_network(np.random.default_rng(1), [3, 5, 2], "silu", np.float32),
    "linear": lambda: lipgd.Network([np.eye(3)]),
    "deep": lambda: random_network(np.random.default_rng(1), [2, 3, 4, 5, 6, 7], "gelu"),
    "leaky": lambda: lipgd.Network.create([2, 3, 1], lipgd.activations.leaky("softplus", 1 / 3)),
    "elu": lambda: lipgd.Network.create([2, 3, 1], "elu(0.1)", output_scale=-1e-7 / 3),
    "not finite": lambda: lipgd.Network([[[np.nan, -np.inf]], [[-0.0]]], [[1e-310], None]),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_copies_and_files_hold_the_same_network(kind, tmp_path):
    net = NETWORKS[kind]()
    path = tmp_path / "net.npz"
    net.save(path)
    bits = path.read_bytes()
    net.save(str(path))
    assert path.read_bytes() == bits
    copies = [
        lipgd.Network.load(path),
        lipgd.Network.load(str(path)),
        pickle.loads(pickle.dumps(net)),
        copy.copy(net),
        copy.deepcopy(net),
        net.copy(),
        net.replace(),
    ]
    for other in copies:
        assert other == net
        assert other._flat.tobytes() == net._flat.tobytes()
        assert other.activation == net.activation
        assert other.output_scale == net.output_scale
        assert not other.weights[0].flags.writeable
    with np.load(path) as arrays:
        assert {*(name for name, _ in net.named()), "activation", "output_scale"} <= set(arrays)


def spoiled(net: lipgd.Network, **changes: object) -> dict[str, object]:
    arrays = dict(net.named()) | {"activation": "tanh", "output_scale": np.float64(1.0)} | changes
    return {name: array for name, array in arrays.items() if array is not None}


HOSTILE = {
    "no weights": {"W1": None, "W2": None},
    "a gap": {"W1": None},
    "no activation": {"activation": None},
    "no scale": {"output_scale": None},
    "unknown entry": {"W3x": np.ones((2, 2))},
    "another entry": {"extra": np.ones(3)},
    "bias too many": {"b3": np.ones(2)},
    "unknown activation": {"activation": "swoosh"},
    "code": {"activation": "__import__('os').system('true')"},
    "activation of bad parameter": {"activation": "elu(-1)"},
    "activation is a number": {"activation": np.float64(3)},
    "activations": {"activation": np.array(["tanh", "relu"])},
    "scales": {"output_scale": np.ones(1)},
    "many scales": {"output_scale": np.ones(2)},
    "scale is text": {"output_scale": "1"},
    "scale is infinite": {"output_scale": np.float64(np.inf)},
    "vector": {"W1": np.ones(3)},
    "empty": {"W1": np.ones((0, 3))},
    "shapes": {"W1": np.ones((4, 3))},
    "bias shape": {"b1": np.ones(4)},
    "text": {"W1": np.array([["a"]])},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(kind, tmp_path):
    net = lipgd.Network.create([3, 5, 2], "tanh")
    path = tmp_path / "net.npz"
    write_npz(path, spoiled(net), KIND, 1)
    assert lipgd.Network.load(path) == net
    write_npz(path, spoiled(net, **HOSTILE[kind]), KIND, 1)
    with pytest.raises(ValueError, match=r"net\.npz is not a readable lipgd network file: \S"):
        lipgd.Network.load(path)


def test_files_that_are_no_networks_are_refused(tmp_path):
    path = tmp_path / "net.npz"
    net = lipgd.Network.create([3, 5, 2])
    net.save(path)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"net\.npz is not a readable lipgd network file"):
            lipgd.Network.load(path)
    write_npz(path, read_npz_of(whole, tmp_path), KIND, 2)
    with pytest.raises(ValueError, match="its version is 2, but this lipgd reads versions up to 1"):
        lipgd.Network.load(path)
    np.savez(path, W1=np.eye(2))
    with pytest.raises(ValueError, match="not a readable lipgd network file"):
        lipgd.Network.load(path)
    path.write_text(json.dumps({"W1": [[1.0]]}))
    with pytest.raises(ValueError, match="not a readable lipgd network file"):
        lipgd.Network.load(path)
    with pytest.raises(FileNotFoundError):
        lipgd.Network.load(tmp_path / "none.npz")


def read_npz_of(content: bytes, folder) -> dict[str, np.ndarray]:
    path = folder / "copy.npz"
    path.write_bytes(content)
    return read_npz(path, KIND, 1)


def test_outputs_have_the_shape_and_dtype_of_the_network(level, dtype):
    net = random_network(np.random.default_rng(0), [3, 8, 2], "tanh", dtype)
    for n_samples in (0, 1, 5):
        X = np.ones((n_samples, 3))
        assert net(X).shape == (n_samples, 2)
        assert net.jacobian(X).shape == (n_samples, 2, 3)
        assert net(X).dtype == net.jacobian(X).dtype == dtype
    assert net(np.ones((1, 3)).tolist()).flags.writeable


def test_infinite_inputs_are_not_refused_by_a_call():
    net = lipgd.Network([[[1.0, 0.0]], [[2.0]]], activation="tanh")
    np.testing.assert_array_equal(net([[np.inf, 0.0], [-np.inf, 0.0]]), [[2.0], [-2.0]])
    assert np.isnan(net([[np.nan, 0.0]])).all()


def test_the_two_layer_network_of_the_papers():
    rng = np.random.default_rng(3)
    W, b, B, c = rng.normal(size=(9, 4)), rng.normal(size=9), rng.normal(size=(9, 2)), np.ones(2)
    net = lipgd.Network([W, B.T], [b, c], "tanh", 0.5)
    X = rng.normal(size=(6, 4))
    expected = 0.5 * (np.tanh(X @ W.T + b) @ B + c)
    np.testing.assert_allclose(net(X), expected, rtol=1e-13)
    slopes = 1 - np.tanh(X @ W.T + b) ** 2
    jacobian = 0.5 * np.einsum("np,pd,pi->ndi", slopes, B, W)
    np.testing.assert_allclose(net.jacobian(X), jacobian, rtol=1e-12, atol=1e-14)


def test_parts_are_exchanged():
    net = lipgd.Network.create([2, 3, 1], "tanh", output_scale=3.0)
    other = net.replace(output_scale=1.5, activation="relu")
    assert (other.output_scale, other.activation.name) == (1.5, "relu")
    assert other.weights[0] is not net.weights[0]
    np.testing.assert_array_equal(other.weights[0], net.weights[0])
    with pytest.raises(TypeError, match="scale is not a part of a network, expected"):
        net.replace(scale=2.0)


@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32)])
def test_mixed_precisions_become_double(dtypes):
    net = lipgd.Network([np.ones((1, 1), dtypes[0])], [np.ones(1, dtypes[1])])
    assert net.dtype == np.float64
    assert lipgd.Network([np.ones((1, 1), np.float32)], [None]).dtype == np.float32
    swapped = lipgd.Network([np.full((1, 1), 0.1, ">f4")])
    assert swapped == lipgd.Network([np.full((1, 1), 0.1, np.float32)])
    assert lipgd.Network([[[1]], [[True]]]).dtype == np.float64


def test_networks_know_the_law_that_they_were_drawn_from() -> None:
    net = lipgd.Network.create([2, 3, 1], init="uniform(0.1)")
    assert net.init == "uniform(0.1)"
    assert lipgd.Network(net.weights, net.biases).init is None
    assert net.replace(output_scale=2.0).init is None
    assert net == net.replace()
