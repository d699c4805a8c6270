"""Samples that are random or coupled, and layers that have no coefficients."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lipgd.dynamics import Triplets
from lipgd.torch import coefficients

torch.set_num_threads(1)
CROSS_ENTROPY = nn.CrossEntropyLoss()
NAMES = ("mu", "kappa", "psi", "lambda2")


def problem(n=6, normalized=False, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4, affine=False) if normalized else nn.Identity(),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Linear(4, 2),
    ).double()
    return model, torch.randn(n, 3, dtype=torch.float64), torch.randint(2, (n,))


def gradients_of(model, x, y):
    weights = [model[0].weight, model[4].weight]
    found = torch.autograd.grad(CROSS_ENTROPY(model(x), y), weights)
    return [gradient.numpy() for gradient in found]


def exact(model, batches, rate):
    """Return the coefficients from the gradients of all batches, each as likely as another."""
    tops = [Triplets.of(model[i].weight.detach().numpy()) for i in (0, 4)]
    result = {name: [] for name in NAMES}
    slopes = []
    for top, each in zip(tops, (np.array(g) for g in zip(*batches, strict=True)), strict=True):
        mean = each.mean(axis=0)
        mu = -(top.jacobian * mean).sum() / top.norm
        slopes.append((top.jacobian * each).sum(axis=(1, 2)) / top.norm)
        trace = np.mean([top.hessian(g - mean) for g in each])
        result["mu"].append(mu)
        result["kappa"].append(rate * trace / (2 * top.norm))
        result["psi"].append(rate / 2 * (top.hessian(mean) / top.norm - mu**2))
        result["lambda2"].append(rate * slopes[-1].var())
    return result, rate * np.var(sum(slopes))


def check_unbiased(estimates, expected, network):
    for name in NAMES:
        values = np.array([getattr(found, name) for found in estimates])
        error = values.std(axis=0) / np.sqrt(len(values))
        assert (np.abs(values.mean(axis=0) - expected[name]) < 4 * error).all(), name
    values = np.array([found.network.lambda2 for found in estimates])
    assert abs(values.mean() - network) < 4 * values.std() / np.sqrt(len(values))


def test_batch_normalization_in_training_by_replicated_batches():
    model, X, y = problem(normalized=True)
    settings = {"batch_size": 3, "rate": 0.5}
    with pytest.raises(ValueError, match=r"the layer 1 \(BatchNorm1d\), which normalizes by"):
        coefficients(model, CROSS_ENTROPY, X, y, **settings)
    batches = [
        gradients_of(model, X[list(rows)], y[list(rows)])
        for rows in itertools.combinations(range(6), 3)
    ]
    estimates = [
        coefficients(model, CROSS_ENTROPY, X, y, replicas=8, seed=seed, **settings)
        for seed in range(100)
    ]
    check_unbiased(estimates, *exact(model, batches, 0.5))
    assert estimates[0].estimator == "batches" and estimates[0].layers == ("0", "4")
    again = coefficients(model, CROSS_ENTROPY, X, y, replicas=8, seed=3, **settings)
    assert (again.kappa == estimates[3].kappa).all()


def test_in_batch_mixup_by_replicated_batches():
    model, X, y = problem(n=5)

    def mixup(x, target):
        share = 0.25 + 0.5 * torch.randint(2, (1,), dtype=x.dtype)
        order = torch.roll(torch.arange(len(x)), 1)
        return share * x + (1 - share) * x[order], (target, target[order], share)

    def loss(output, target):
        if isinstance(target, tuple):
            first, second, share = target
            return share * CROSS_ENTROPY(output, first) + (1 - share) * CROSS_ENTROPY(
                output, second
            )
        return CROSS_ENTROPY(output, target)

    weights = [model[0].weight, model[4].weight]
    batches = []
    for rows in itertools.permutations(range(5), 3):
        x, target = X[list(rows)], y[list(rows)]
        order = [2, 0, 1]
        for share in (0.25, 0.75):
            value = loss(model(share * x + (1 - share) * x[order]), (target, target[order], share))
            batches.append([g.numpy() for g in torch.autograd.grad(value, weights)])
    estimates = [
        coefficients(
            model, loss, X, y, batch_size=3, rate=0.5, transform=mixup, replicas=6, seed=seed
        )
        for seed in range(120)
    ]
    expected, network = exact(model, batches, 0.5)
    check_unbiased(estimates, expected, network)
    plain = coefficients(model, CROSS_ENTROPY, X, y, batch_size=3, rate=0.5)
    assert not np.isclose(plain.network.lambda2, network, rtol=0.1)


@pytest.mark.parametrize("sampling", ["independent", "replacement"])
def test_augmentation_is_the_formula_of_pairs(sampling):
    """Every sample may be mirrored: all batches and all mirrors are enumerated."""
    model, X, y = problem(n=4)

    def mirror(x, target):
        sign = 2.0 * torch.randint(2, (len(x), 1), dtype=x.dtype) - 1.0
        return sign * x, target

    ways = (
        itertools.combinations(range(4), 2)
        if sampling == "independent"
        else itertools.product(range(4), repeat=2)
    )
    batches = [
        gradients_of(model, torch.tensor(signs)[:, None] * X[list(rows)], y[list(rows)])
        for rows in ways
        for signs in itertools.product((-1.0, 1.0), repeat=2)
    ]
    estimates = [
        coefficients(
            model, CROSS_ENTROPY, X, y, batch_size=2, rate=0.5, sampling=sampling,
            transform=mirror, seed=seed, draws=2 + seed % 2,
        )
        for seed in range(120)
    ]  # fmt: skip
    check_unbiased(estimates, *exact(model, batches, 0.5))
    assert estimates[0].estimator == "draws"


def test_dropout_is_drawn_twice_and_once_is_an_upper_estimate():
    model, X, y = problem(n=30, dropout=0.4)
    settings = {"batch_size": 10, "rate": 0.5, "diagonal": True}
    two = coefficients(model, CROSS_ENTROPY, X, y, **settings)
    assert two.estimator == "draws"
    same = coefficients(model, CROSS_ENTROPY, X, y, draws=2, block_size=30, **settings)
    assert (two.kappa == same.kappa).all()
    ones, twos = (
        [
            coefficients(model, CROSS_ENTROPY, X, y, draws=draws, seed=seed, **settings)
            for seed in range(20)
        ]
        for draws in (1, 2)
    )
    mean_one, mean_two = (
        np.mean([found.network.lambda2 for found in each]) for each in (ones, twos)
    )
    assert mean_two < mean_one < mean_two / (1 - 10 / 30) * 1.05
    assert np.mean([f.network.kappa_diagonal for f in twos]) < np.mean(
        [f.network.kappa_diagonal for f in ones]
    )
    quiet = coefficients(model.eval(), CROSS_ENTROPY, X, y, **settings)
    assert quiet.estimator == "samples"

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return functional.dropout(self.inner(x), 0.5)

    with pytest.raises(ValueError, match="other outputs for a sample alone than among others"):
        coefficients(Hidden(), CROSS_ENTROPY, X, y, **settings)
    assert coefficients(Hidden(), CROSS_ENTROPY, X, y, draws=2, **settings).layers[0] == "inner.0"


class Zoo(nn.Module):
    """Every layer that has no coefficients, and one that has."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.grouped = nn.Conv1d(4, 4, 1, groups=2)
        self.back = nn.ConvTranspose1d(4, 4, 1)
        self.norm, self.batch = nn.LayerNorm(4), nn.BatchNorm1d(4)
        self.recurrent = nn.LSTM(4, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.unused = nn.Linear(4, 4)
        self.embedding, self.head = nn.Embedding(4, 4), nn.Linear(4, 4, bias=False)
        self.head.weight = self.embedding.weight
        self.free = nn.Parameter(torch.ones(4))

    def forward(self, x):
        x = self.batch(self.dense(x)) * self.free
        x = self.back(self.grouped(x[..., None]))[..., 0]
        x = self.recurrent(self.norm(x)[:, None])[0]
        x = self.attention(x, x, x)[0][:, 0]
        return self.head(self.spectral(x) + self.embedding(torch.zeros(1, dtype=torch.long)))


def test_layers_without_coefficients_are_named():
    torch.manual_seed(0)
    X, y = torch.randn(8, 4), torch.randint(4, (8,))
    model = Zoo().eval()
    with pytest.warns(UserWarning, match="Without coefficients: ") as caught:
        found = coefficients(model, CROSS_ENTROPY, X, y, batch_size=2, rate=0.1)
    assert len(caught) == 1
    assert found.layers == ("dense",)
    assert {name: reason[:22] for name, reason in found.left_out.items()} == {
        "grouped (Conv1d)": "has 2 groups, and only",
        "back (ConvTranspose1d)": "is a transposed convol",
        "spectral (ParametrizedLinear)": "computes its weight fr",
        "attention.out_proj (NonDynamicallyQuantizableLinear)": "is not called by the f",
        "unused (Linear)": "is not called by the f",
        "head (Linear)": "shares its weight with",
        "itself (Zoo)": "has trained parameters",
        "norm (LayerNorm)": "has trained parameters",
        "batch (BatchNorm1d)": "is folded into the lay",
        "recurrent (LSTM)": "has trained parameters",
        "attention (MultiheadAttention)": "has trained parameters",
        "spectral.parametrizations.weight (ParametrizationList)": "has trained parameters",
        "embedding (Embedding)": "has trained parameters",
    }
    text = str(caught[0].message)
    assert all(name in text for name in found.left_out)


def test_norms_of_kernels_are_no_bound():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 5, stride=2), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip
    X, y = torch.randn(6, 1, 8, 8), torch.randint(2, (6,))
    settings = {"batch_size": 2, "rate": 0.1}
    with pytest.warns(UserWarning, match="no bound of the Lipschitz constant.* 9 times larger"):
        found = coefficients(model, CROSS_ENTROPY, X, y, **settings)
    assert found.factors.tolist() == [3.0, 3.0, 1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on_grid = coefficients(model, CROSS_ENTROPY, X, y, convolution="operator", **settings)
    assert (on_grid.norms[:2] > found.norms[:2]).all()
    assert (on_grid.norms <= found.norms * found.factors * (1 + 1e-6)).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": 3}, r"model is 3, expected a torch\.nn\.Module"),
        ({"model": nn.ReLU()}, "model has no parameters"),
        ({"model": nn.LSTM(3, 3)}, "model has no layer that has coefficients"),
        ({"loss": "mse"}, "loss is 'mse', expected a callable"),
        ({"loss": lambda output, target: 1.0}, "loss returns 1.0, expected a tensor"),
        ({"loss": lambda output, target: output[:3]}, r"loss returns shape \(3, 2\) for 6 samples"),
        ({"loss": nn.CrossEntropyLoss(reduction="sum")}, "loss is a sum over samples"),
        ({"loss": nn.CrossEntropyLoss(torch.tensor([1.0, 3.0]).double())}, "is not the mean"),
        ({"loss": lambda output, target: output.var()}, "replicas= for losses that couple"),
        ({"loss": lambda output, target: output.mean() * np.nan}, "loss is nan on some samples"),
        ({"X": torch.zeros(6)}, r"X has shape \(6,\), expected at least 2 samples"),
        ({"X": torch.full((6, 3), np.nan)}, "X has a value that is not finite"),
        ({"y": torch.zeros(5, dtype=torch.long)}, "y has 5 samples, but X has 6"),
        ({"convolution": "fft"}, "convolution is 'fft', expected one of reshaped, operator"),
        ({"batch_size": 7}, "batch_size is 7, expected at most the 6 samples"),
        ({"frozen": ["1"]}, "frozen has '1', expected names among 0, 4"),
        ({"frozen": "0"}, "frozen is '0', expected names"),
        ({"velocity": {"1": 0}}, "velocity has '1', expected names among 0, 4"),
        ({"velocity": {"0": torch.zeros(2)}}, r"velocity of 0 has shape \(2,\), expected \(4, 3\)"),
        ({"replicas": 2, "draws": 2}, "draws is given with replicas"),
        ({"replicas": 1}, "replicas is 1, expected an integer >= 2|replicas is 1"),
        ({"replicas": 2, "population_size": 9}, "population_size is given with replicas"),
        (
            {"replicas": 2, "sampling": "reshuffled", "step_in_epoch": 0},
            "expected independent batches with replicas",
        ),
        ({"rate": 0.0}, "rate is 0.0"),
    ],
)
def test_arguments(changes, words):
    model, X, y = problem()
    arguments = {"model": model, "loss": CROSS_ENTROPY, "X": X, "y": y, "batch_size": 2,
                 "rate": 0.1, **changes}  # fmt: skip
    arguments["y"][:2] = torch.tensor([0, 1])  # of both classes
    with pytest.raises((TypeError, ValueError), match=words):
        coefficients(**arguments)


def test_shapes_and_places_that_cannot_be_read():
    class Folded(nn.Module):
        def __init__(self, change):
            super().__init__()
            self.first, self.layer, self.change = nn.Linear(3, 3), nn.Linear(3, 3), change

        def forward(self, x):
            if self.change:
                x = torch.relu(self.first(x))
                out = self.layer(x)
                x.add_(1.0)
                return out
            return self.layer(x.reshape(-1, 3)).reshape(len(x), -1)

    X, y = torch.randn(6, 2, 3), torch.randint(3, (6,))
    with pytest.raises(ValueError, match=r"layer layer inputs of shape \(4, 3\) for 2 samples"):
        coefficients(Folded(False), CROSS_ENTROPY, X, y, batch_size=2, rate=0.1)
    with pytest.raises(ValueError, match="changes the inputs of its layer layer in place"):
        coefficients(Folded(True), CROSS_ENTROPY, X[:, 0], y, batch_size=2, rate=0.1)
    sizes = nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU())
    both = nn.Sequential(sizes, sizes, nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"layer 0\.0 with inputs of sizes \(8,\) and \(6,\)"):
        coefficients(both, CROSS_ENTROPY, torch.randn(6, 1, 8), y, batch_size=2, rate=0.1)
