"""Networks go to PyTorch and come back as they were."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import lipgd
from lipgd.torch import Elementwise, Scale, from_torch, to_torch

ACTIVATIONS = [
    *lipgd.activations.names(),
    "leaky_relu(0.0)",
    "leaky_relu(0.3)",
    "elu(1.7)",
    *(f"leaky({base}, 0.3)" for base in ("softplus", "silu", "gelu", "gelu_tanh", "sin", "tanh")),
    "leaky(elu(1.0), 0.25)",
    "leaky(sigmoid, 0.1)",
]


def network(activation="tanh", dtype=np.float64, sizes=(4, 9, 7, 2), scale=1.0, biases=True):
    net = lipgd.Network.create(
        list(sizes), activation, seed=3, dtype=dtype, output_scale=scale, biases=biases
    )
    rng = np.random.default_rng(1)  # biases that are not zero
    kept = [None if b is None else rng.normal(size=b.shape).astype(dtype) for b in net.biases]
    return net.replace(biases=kept)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_every_activation_comes_back(dtype, activation, scale):
    net = network(activation, dtype, scale=scale)
    model = to_torch(net, method=None)
    assert from_torch(model) == net
    back = from_torch(model.state_dict(), activation, output_scale=scale)
    assert back == net
    for array, other in zip(back.weights, net.weights, strict=True):
        assert array.tobytes() == other.tobytes()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_predictions_agree_to_rounding(dtype, activation):
    net = network(activation, dtype, scale=0.3)
    X = np.random.default_rng(2).normal(scale=8.0, size=(500, 4)).astype(dtype)
    with torch.no_grad():
        found = to_torch(net, method=None)(torch.tensor(X)).numpy()
    assert found.dtype == dtype
    size = [np.abs(w).sum(axis=1).max() for w in net.weights]
    reach = 0.3 * 8.0 * 4.0 * np.prod(size) * np.finfo(dtype).eps  # of one rounding of the largest
    assert np.abs(found - net(X)).max() <= reach


def test_softplus_is_exact_where_pytorch_cuts_it():
    net = lipgd.Network([[[1.0]], [[1.0]]], activation="softplus")
    X = np.linspace(-45.0, 45.0, 901)[:, None]
    found = to_torch(net, method=None)(torch.tensor(X)).detach().numpy()
    assert np.allclose(found, net(X), rtol=1e-15, atol=0)


def test_keys_and_order():
    model = to_torch(network("silu", scale=2.0))
    expected = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    assert list(model.state_dict()) == expected
    assert [type(layer) for layer in model[1::2]] == [nn.SiLU, nn.SiLU, Scale]
    assert list(to_torch(network("sin", biases=False)).state_dict()) == expected[::2]
    assert "leaky(silu, 0.5)" in repr(to_torch(network("leaky(silu, 0.5)")))


@pytest.mark.parametrize("missing", [(0,), (2,), (0, 1, 2)])
def test_missing_biases_stay_missing(missing):
    net = network("relu", np.float32)
    net = net.replace(biases=[None if i in missing else b for i, b in enumerate(net.biases)])
    model = to_torch(net)
    assert from_torch(model) == net == from_torch(model.state_dict(), "relu")
    zeros = network("relu").replace(biases=[np.zeros(9), np.zeros(7), np.zeros(2)])
    assert from_torch(to_torch(zeros)) == zeros  # and biases of zeros stay there


def test_one_layer_and_the_random_numbers_of_the_user():
    net = lipgd.Network([[[1.5, 2.0]]], [[0.25]], "identity", 3.0)
    state = torch.get_rng_state()
    assert from_torch(to_torch(net)) == net
    assert torch.equal(state, torch.get_rng_state())
    assert from_torch(nn.Linear(2, 1, bias=False)).biases == (None,)


def test_the_bound_is_of_what_is_stored():
    net = network("tanh")
    model = to_torch(net, dtype=torch.float32)
    assert model[0].weight.dtype == torch.float32
    stored = from_torch(model)
    assert stored.dtype == np.float32
    assert (stored.weights[0] == net.weights[0].astype(np.float32)).all()
    bound = model.lipschitz_upper
    assert bound.rigorous and bound.value == lipgd.lipschitz.upper(stored).value
    assert bound.value != lipgd.lipschitz.upper(net).value
    assert bound.value >= lipgd.lipschitz.lower(stored).value
    quick = to_torch(net, method="closed_form").lipschitz_upper
    assert quick.method == "closed_form" and quick.value >= to_torch(net).lipschitz_upper.value
    assert lipgd.lipschitz.upper(model).value == pytest.approx(bound.value, rel=1e-5)


def test_copies_files_and_processes():
    net = network("leaky(gelu, 0.5)", scale=0.7)
    model = to_torch(net)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert from_torch(other) == net
        assert other.lipschitz_upper.value == model.lipschitz_upper.value
    with torch.no_grad():
        model[0].weight.zero_()  # a copy: the network is as it was
    assert net.weights[0].any()


def test_a_file_of_a_state_dict(tmp_path):
    net = network("relu")
    torch.save(to_torch(net).state_dict(), tmp_path / "net.pt")
    assert from_torch(tmp_path / "net.pt", "relu") == net
    buffer = io.BytesIO()
    torch.save(to_torch(net), buffer)
    (tmp_path / "whole.pt").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="is not a readable state_dict"):
        from_torch(tmp_path / "whole.pt", "relu")


def test_modules_of_users():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Linear(6, 2, bias=False), nn.Linear(4, 6)

        def forward(self, x):
            return self.second(torch.nn.functional.silu(self.first(x)))

    model = Net().half()
    net = from_torch(model)
    assert net.sizes == (4, 6, 2) and net.activation.name == "silu" and net.dtype == np.float32
    assert (net.weights[0] == model.first.weight.detach().numpy()).all()
    assert net.biases[1] is None


def test_merged_layers_are_said_and_are_of_float64():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 1)).eval()
    with pytest.warns(UserWarning, match=r"1 \(BatchNorm1d\) is merged"):
        net = from_torch(model)
    assert net.dtype == np.float64
    X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    expected = model(torch.tensor(X)).detach().numpy()
    assert np.allclose(net(X), expected, rtol=1e-5, atol=1e-6)
    dropout = nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.ReLU(), nn.Linear(6, 1))
    with pytest.warns(UserWarning, match="taken as in evaluation"):
        from_torch(dropout)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Conv1d(1, 1, 3)), r"1 \(Conv1d\), which is a convolution"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), r"1 \(LayerNorm\), which divides"),
        (nn.Sequential(nn.Linear(2, 2), nn.Mish(), nn.Linear(2, 1)), r"1 \(Mish\)"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(dim=1)), "ends with a softmax"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)),
            "the same one in all hidden layers",
        ),
    ],
)
def test_what_a_network_cannot_hold_is_named(model, words):
    with pytest.raises(ValueError, match=words):
        from_torch(model)


def test_arguments():
    net = network()
    with pytest.raises(TypeError, match="net is 3, expected a Network"):
        to_torch(3)
    with pytest.raises(ValueError, match="dtype is 'float16', expected one of float64, float32"):
        to_torch(net, dtype=np.float16)
    with pytest.raises(ValueError, match="entry of W1 that is not finite in float32"):
        to_torch(net.replace(weights=[1e300 * w for w in net.weights]), dtype=torch.float32)
    with pytest.raises(TypeError, match=r"source is 3, expected a torch\.nn\.Module"):
        from_torch(3)
    with pytest.raises(ValueError, match="activation is None, but a state_dict does not say it"):
        from_torch(to_torch(net).state_dict())
    with pytest.raises(ValueError, match="activation is"):
        from_torch(to_torch(net), "relu")
    with pytest.raises(ValueError, match="expected one of"):
        Elementwise("mish")


def test_layers_whose_weights_are_computed_are_read_as_in_evaluation():
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))
    module = nn.Sequential(normed, nn.ReLU(), nn.Linear(4, 1)).double()
    with pytest.raises(ValueError, match=r"layer 0 \(ParametrizedLinear\) in training mode"):
        from_torch(module)
    X = np.random.default_rng(0).normal(size=(9, 3))
    expected = module.eval()(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(from_torch(module)(X), expected, rtol=1e-13)


def test_modules_that_do_not_compute_what_they_say_are_refused():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    handle = module[2].register_forward_hook(lambda layer, inputs, outputs: 3 * outputs)
    with pytest.raises(ValueError, match=r"layer 2 \(Linear\) with hooks"):
        from_torch(module)
    handle.remove()
    module.register_forward_pre_hook(lambda layer, inputs: (2 * inputs[0],))
    with pytest.raises(ValueError, match=r"layer itself \(Sequential\) with hooks"):
        from_torch(module)
    with pytest.raises(ValueError, match="on the device meta"):
        from_torch(nn.Sequential(nn.Linear(3, 1, device="meta")))
