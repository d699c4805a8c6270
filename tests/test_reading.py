"""Networks from anywhere become models that compute the same, and what cannot is named."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler
from torch import nn
from torch.nn import functional

import lipgd
from lipgd.lipschitz import Model, read

X = np.random.default_rng(0).normal(size=(9, 5))


def same(model: nn.Module, *, units: float = 64.0) -> Model:
    """Compare values and derivatives with PyTorch's in float64."""
    model = model.eval().double()
    found = read(model)
    x = torch.tensor(X)
    with torch.no_grad():
        assert np.allclose(found(X), model(x).numpy(), rtol=0, atol=units * 2.0**-52)
    jacobian = [torch.autograd.functional.jacobian(lambda v: model(v[None])[0], row) for row in x]
    expected = np.array([matrix.numpy() for matrix in jacobian])
    assert np.allclose(found.jacobian(X), expected, rtol=0, atol=units * 2.0**-52)
    return found


def normalized(width: int, seed: int = 1) -> nn.BatchNorm1d:
    layer = nn.BatchNorm1d(width)
    generator = torch.Generator().manual_seed(seed)
    for values in (layer.running_mean, layer.weight.data, layer.bias.data):
        assert values is not None
        values.normal_(generator=generator)
    assert layer.running_var is not None
    layer.running_var.uniform_(0.5, 2.0, generator=generator)
    return layer


ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky_relu(0.2)": nn.LeakyReLU(0.2),
    "leaky_relu(0.25)": nn.PReLU(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "softplus": nn.Softplus(beta=2.0),
    "elu(1.5)": nn.ELU(1.5),
    "elu(1.6732632423543772)": nn.SELU(),
    "relu6": nn.ReLU6(),
}


class TestTorch:
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_every_activation(self, name: str) -> None:
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(5, 8), ACTIVATIONS[name], nn.Dropout(), nn.Linear(8, 3)
        )
        assert [a.name for a in same(model).activations] == [name]

    def test_weights_of_float32_are_the_same_numbers(self) -> None:
        model = nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 3))
        found = read(model)
        assert found.exact
        for matrix, layer in zip(found.weights, (model[0], model[2]), strict=True):
            assert (matrix == layer.weight.detach().numpy().astype(np.float64)).all()
        assert found.network() == lipgd.Network(found.weights, found.biases, "relu")

    def test_batch_normalizations_everywhere(self) -> None:
        found = same(
            nn.Sequential(
                normalized(5),
                nn.Linear(5, 8),
                normalized(8),
                nn.ReLU(),
                nn.Linear(8, 8),
                nn.Linear(8, 8, bias=False),
                nn.Tanh(),
                normalized(8, 2),
                nn.Linear(8, 3),
                normalized(3, 3),
                nn.Sigmoid(),
            )
        )
        kinds = [a.name for a in found.activations]
        assert kinds == ["relu", "identity", "tanh", "sigmoid"]
        assert not found.exact and len(found.notes) == 4
        with pytest.raises(ValueError, match="has the activations identity, relu, sigmoid, tanh"):
            found.network()

    def test_errors_of_merged_layers_are_counted(self) -> None:
        dense = nn.Linear(5, 8).double()
        found = read(nn.Sequential(dense, normalized(8).double(), nn.ReLU(), nn.Linear(8, 1)))
        mpmath.mp.dps = 40
        norm = normalized(8).double()
        off = 0
        for i in range(8):
            scale = mpmath.mpf(norm.weight[i].item()) / mpmath.sqrt(
                mpmath.mpf(norm.running_var[i].item()) + mpmath.mpf(norm.eps)
            )
            for j in range(5):
                exact = scale * mpmath.mpf(dense.weight[i, j].item())
                off += (exact - mpmath.mpf(found.weights[0][i, j])) ** 2
        assert 0 < mpmath.sqrt(off) <= found.weight_errors[0] < 1e-14

    def test_modules_with_a_forward_of_their_own(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 2)
                self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = functional.leaky_relu(self.a(x.view(x.size(0), -1)), 0.1)
                x = functional.dropout(self.inner(x), 0.1, training=self.training)
                z = self.b(torch.flatten(x, 1)) * 2.0 - 1.0
                return z * torch.sigmoid(z)

        kinds = [a.name for a in same(Net()).activations]
        assert kinds == ["leaky_relu(0.1)", "relu", "silu"]

    def test_training_mode_and_softmax_are_noted(self) -> None:
        model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(), nn.Softmax(dim=1))
        found = read(model)
        assert found.sizes == (5, 4)
        assert "evaluation" in found.notes[0] and "before Softmax" in found.notes[1]

    def test_state_dicts(self, tmp_path: Path) -> None:
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2, bias=False))
        torch.save(model.state_dict(), tmp_path / "model.pt")
        for source in (model.state_dict(), tmp_path / "model.pt"):
            assert (read(source, activation="tanh")(X) == read(model)(X)).all()
        with pytest.raises(ValueError, match="a state_dict does not say it"):
            read(model.state_dict())
        with pytest.raises(ValueError, match=r"has 1\.running_mean of shape"):
            read(nn.Sequential(nn.Linear(5, 4), normalized(4)).state_dict(), activation="relu")
        torch.save(model, tmp_path / "whole.pt")
        with pytest.raises(ValueError, match=r"whole\.pt is not a readable state_dict"):
            read(tmp_path / "whole.pt", activation="relu")

    @pytest.mark.parametrize(
        ("layers", "words"),
        [
            ([nn.Linear(5, 8), nn.LayerNorm(8)], r"1 \(LayerNorm\), which divides by a deviation"),
            ([nn.Conv1d(1, 2, 3)], r"0 \(Conv1d\), which is a convolution"),
            ([nn.Linear(5, 8), nn.Mish()], r"1 \(Mish\), which is not treated"),
            ([nn.Linear(5, 5), nn.Softmax(1), nn.Linear(5, 5)], "after Softmax"),
            ([nn.LSTM(5, 5)], r"0 \(LSTM\), which is recurrent"),
            ([nn.Linear(5, 4), nn.Linear(5, 4)], r"gives 4 values to 1 \(Linear\), which takes 5"),
            ([nn.Linear(5, 4), nn.PReLU(4, 1.5)], r"slopes \[1.5\], expected one slope from 0"),
            ([nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False)], "no running stat"),
            ([nn.ReLU()], "begins with an activation"),
        ],
    )
    def test_what_cannot_be_treated_is_named(self, layers: list[nn.Module], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            read(nn.Sequential(*layers))

    def test_attention_and_skips_are_named(self) -> None:
        class Skip(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a = nn.Linear(5, 5)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + torch.relu(self.a(x))

        class Branch(Skip):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.a(x) if x.sum() > 0 else -self.a(x)

        class Mixed(Skip):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.a(x).reshape(-1, 2, 2)

        with pytest.raises(ValueError, match=r"the module Skip has at add .* skips layers"):
            read(Skip())
        with pytest.raises(ValueError, match="the module Branch cannot be traced"):
            read(Branch())
        with pytest.raises(ValueError, match="expected one row per sample"):
            read(Mixed())
        with pytest.raises(ValueError, match=r"MultiheadAttention\), which multiplies"):
            read(nn.MultiheadAttention(4, 2))

    def test_infinite_weights_are_refused(self) -> None:
        model = nn.Linear(5, 4)
        model.weight.data[0, 0] = float("nan")
        with pytest.raises(ValueError, match="not finite"):
            read(model)


class TestSklearn:
    Y = X[:, 0] + X[:, 1] ** 2

    @pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
    def test_regressors(self, activation: str) -> None:
        net = MLPRegressor(hidden_layer_sizes=(6, 4), activation=activation, max_iter=3)
        found = read(fitted(net, X, self.Y))
        assert np.allclose(found(X)[:, 0], net.predict(X), rtol=0, atol=1e-13)

    @pytest.mark.parametrize("classes", [2, 3])
    def test_classifiers_up_to_their_logits(self, classes: int) -> None:
        net = fitted(MLPClassifier(hidden_layer_sizes=(6,), max_iter=2), X, np.arange(9) % classes)
        found = read(net)
        probabilities = net.predict_proba(X)
        logits = found(X) if classes > 2 else np.column_stack([0 * found(X), found(X)])
        expected = np.log(probabilities) - np.log(probabilities[:, :1])
        assert np.allclose(logits - logits[:, :1], expected, atol=1e-10)
        assert "logits" in found.notes[0]

    @pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()])
    def test_scalers_in_front(self, scaler: Any) -> None:
        net = fitted(make_pipeline(scaler, small_regressor()), X, self.Y)
        assert np.allclose(read(net)(X)[:, 0], net.predict(X), rtol=0, atol=1e-13)

    def test_what_cannot_be_treated_is_named(self) -> None:
        with pytest.raises(ValueError, match="the MLPRegressor is not fitted"):
            read(MLPRegressor())
        net = make_pipeline(QuantileTransformer(n_quantiles=4), small_regressor())
        with pytest.raises(ValueError, match="QuantileTransformer, which is not treated"):
            read(fitted(net, X, self.Y))
        with pytest.raises(ValueError, match="the StandardScaler is not treated"):
            read(StandardScaler())


def small_regressor() -> MLPRegressor:
    return MLPRegressor(hidden_layer_sizes=(6,), max_iter=3)


def fitted(net: Any, x: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return net.fit(x, y)


class TestArrays:
    W = (np.arange(15.0).reshape(3, 5), np.ones((2, 3)))
    B = (np.arange(3.0), np.array([1.0, 2.0]))

    @pytest.fixture
    def expected(self) -> Any:
        return lipgd.Network(self.W, self.B, "tanh")(X)

    def test_lists(self, expected: Any) -> None:
        pair = (list(self.W), list(self.B))
        assert np.allclose(read(pair, activation="tanh")(X), expected, atol=1e-14)
        turned = read([w.T for w in self.W], activation=["tanh"])
        assert np.allclose(turned(X), read(list(self.W), activation="tanh")(X))

    def test_plain_npz(self, tmp_path: Path, expected: Any) -> None:
        path = tmp_path / "plain.npz"
        np.savez(path, W1=self.W[0], b1=self.B[0], W2=self.W[1], b2=self.B[1][None], note="x")
        assert np.allclose(read(path, activation="tanh")(X), expected, atol=1e-14)
        with pytest.raises(ValueError, match="does not say it, expected a name"):
            read(path)

    def test_layers_are_in_the_order_of_numbers(self, tmp_path: Path) -> None:
        matrices = {f"w{i}": np.eye(i + 1, i) for i in range(1, 12)}
        np.savez(tmp_path / "many.npz", **dict(reversed(matrices.items())))
        assert read(tmp_path / "many.npz", activation="relu").sizes == tuple(range(1, 13))

    def test_own_files(self, tmp_path: Path) -> None:
        net = lipgd.Network.create([5, 4, 2], activation="silu", dtype=np.float32)
        net = net.replace(output_scale=1 / 3)
        net.save(tmp_path / "net.npz")
        found = read(tmp_path / "net.npz")
        assert np.allclose(found(X), net(X), rtol=1e-5) and found.weight_errors[1] > 0
        assert read(net.replace(output_scale=1.0)).exact
        with pytest.raises(ValueError, match=r"activation is \['relu'\], but lipgd"):
            read(tmp_path / "net.npz", activation="relu")
        assert read(tmp_path / "net.npz", activation="silu").sizes == (5, 4, 2)

    def test_cells_of_matlab(self, tmp_path: Path, expected: Any) -> None:
        from scipy.io import savemat

        cells: dict[str, Any] = {}
        for name, arrays in (("weights", self.W), ("biases", self.B)):
            cells[name] = np.empty((1, 2), object)
            cells[name][0, :] = arrays
        savemat(tmp_path / "net.mat", cells)
        assert np.allclose(read(tmp_path / "net.mat", activation="tanh")(X), expected, atol=1e-14)
        savemat(tmp_path / "other.mat", {"A": np.eye(2)})
        with pytest.raises(ValueError, match=r"other\.mat has A, expected the cell weights"):
            read(tmp_path / "other.mat", activation="relu")

    def test_damaged_and_hostile_files(self, tmp_path: Path) -> None:
        for name in ("a.npz", "a.mat", "a.onnx", "a.pt"):
            (tmp_path / name).write_bytes(b"PK\x03\x04 nothing of that kind")
            with pytest.raises(ValueError, match=re.escape(name) + " is not a readable"):
                read(tmp_path / name, activation="relu")
        np.savez(tmp_path / "pickle.npz", np.array([{}, {}], object))
        with pytest.raises(ValueError, match="pickle"):
            read(tmp_path / "pickle.npz", activation="relu")
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.npz")
        with pytest.raises(ValueError, match=r"ends in \.npz"):
            read(tmp_path / "model.h5")

    def test_messages(self) -> None:
        with pytest.raises(ValueError, match="gives 3 values to weights"):
            read([np.ones((3, 5)), np.ones((2, 4))], activation="relu")
        with pytest.raises(ValueError, match=r"activation has 2 entries, but .* has 1 hidden"):
            read(list(self.W), activation=["relu", "relu"])
        with pytest.raises(TypeError, match="source is 3, expected a Network"):
            read(3)
        with pytest.raises(ValueError, match=r"weights\[0\] of shape"):
            read([np.ones(3), np.ones(3)], activation="relu")

    def test_a_missing_library_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for library, name in (("scipy.io", "a.mat"), ("onnx", "a.onnx"), ("torch", "a.pt")):
            (tmp_path / name).write_bytes(b"")
            monkeypatch.setitem(sys.modules, library, None)
            extra = library.partition(".")[0]
            with pytest.raises(ImportError, match=rf'pip install "lipgd\[{extra}\]"'):
                read(tmp_path / name, activation="relu")


def test_runs_are_sources() -> None:
    net = lipgd.Network.create([5, 4, 1])
    run = lipgd.train(net, X, X[:, 0], steps=2)
    assert (read(run)(X) == read(run.network)(X)).all()


def test_digests_tell_models_apart() -> None:
    net = lipgd.Network.create([5, 4, 1])
    assert read(net).digest() == read(net).digest()
    assert read(net).digest() != read(net.replace(activation="tanh")).digest()
    assert read(net).digest() != read(lipgd.Network.create([5, 4, 1], seed=1)).digest()


def test_rows_of_outputs() -> None:
    found = read(lipgd.Network.create([5, 4, 3]))
    row = found.outputs(np.array([[0.0, 1.0, 0.0]]))
    assert row.exact and np.allclose(row(X), found(X)[:, 1:2])
    difference = found.outputs(np.array([[1.0, -1.0, 0.0]]))
    assert np.allclose(difference(X), found(X)[:, :1] - found(X)[:, 1:2])
    assert 0 < difference.weight_errors[-1] < 1e-14
