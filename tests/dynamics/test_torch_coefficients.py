"""Coefficients of PyTorch modules against gradients of every sample by torch.func."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import lipgd
from lipgd.dynamics import Triplets
from lipgd.torch import coefficients, operator_norm

torch.set_num_threads(1)  # the networks are small, and threads would wait for each other
CROSS_ENTROPY = nn.CrossEntropyLoss()


class Block(nn.Module):
    """A residual block; the shortcut is a convolution if the shape changes."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels, out, 1, stride) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.norm1(self.first(x)))
        y = self.norm2(self.second(y))
        y += self.shortcut(x)  # in place, behind layers that have hooks
        return self.relu(y)


def convnet():
    """Five layers: zero and circular padding, strides, dilation."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 3, stride=2, padding=1, padding_mode="circular"), nn.SiLU(),
        nn.Conv2d(5, 6, (3, 1), padding="same", dilation=(2, 1)), nn.Tanh(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 7), nn.ReLU(inplace=True), nn.Linear(7, 3),
    ).double()  # fmt: skip


def resnet():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        Block(4, 4, 1), Block(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    ).double()  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.normal_()
            module.requires_grad_(False)
    return model.eval()


def images(n=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 1, 8, 8, generator=generator, dtype=torch.float64)
    return X, torch.randint(3, (n,), generator=generator)


def weights_of(model):
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    return {name: m for name, m in model.named_modules() if isinstance(m, kinds)}


def sample_gradients(model, loss, X, y):
    """Return (n, m, n_inputs) per layer, from torch.func."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(values, x, target):
        output = torch.func.functional_call(model, values, (x[None],))
        return loss(output, target[None])

    found = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))(parameters, X, y)
    return {
        name: found[f"{name}.weight"].flatten(2).numpy()
        if found[f"{name}.weight"].ndim > 3
        else found[f"{name}.weight"].numpy()
        for name in weights_of(model)
    }


def oracle(norms, gradients, factor, rate):
    """Return mu, kappa, psi and the covariance by the formulas of section 2, sample by sample."""
    mu, kappa, psi, slopes = [], [], [], []
    for norm, each in zip(norms, gradients, strict=True):
        mean = each.mean(axis=0)
        trace = sum(norm.hessian(g - mean) for g in each) / (len(each) - 1)
        mu.append(-(norm.jacobian * mean).sum() / norm.norm)
        kappa.append(rate * factor * trace / (2 * norm.norm))
        psi.append(rate / 2 * (norm.hessian(mean) / norm.norm - mu[-1] ** 2))
        slopes.append((norm.jacobian * each).sum(axis=(1, 2)) / norm.norm)
    return mu, kappa, psi, rate * factor * np.cov(slopes)


def close(found, expected, tolerance=1e-12):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-13 * scale)


def quiet(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return coefficients(*arguments, **options)


def compare(found, norms, gradients, factor, rate, tolerance=1e-12):
    mu, kappa, psi, covariance = oracle(norms, gradients, factor, rate)
    close(found.norms, [norm.norm for norm in norms], tolerance)
    close(found.mu, mu, tolerance)
    close(found.kappa, kappa, tolerance)
    close(found.psi, psi, tolerance)
    close(found.covariance, covariance, tolerance)


def scales(model):
    """Return what the normalizations of the residual network multiply with, by layer."""
    pairs = {"0": "1", "3.first": "3.norm1", "3.second": "3.norm2"}
    pairs |= {"4.first": "4.norm1", "4.second": "4.norm2"}
    modules = dict(model.named_modules())
    found = {}
    for layer, name in pairs.items():
        norm = modules[name]
        found[layer] = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
    return found


@pytest.mark.parametrize("make", [convnet, resnet])
@pytest.mark.parametrize("block_size", [256, 17])
def test_kernels_as_matrices(make, block_size):
    model = make()
    X, y = images()
    found = quiet(
        model, CROSS_ENTROPY, X, y, batch_size=8, rate=0.2, block_size=block_size, diagonal=True
    )
    layers, gradients = weights_of(model), sample_gradients(model, CROSS_ENTROPY, X, y)
    folded = scales(model) if make is resnet else {}
    assert found.layers == tuple(layers)
    matrices, scaled = [], []
    for name, layer in layers.items():
        d = folded.get(name, np.ones(len(layer.weight)))[:, None]
        matrices.append(Triplets.of(d * layer.weight.detach().flatten(1).numpy()))
        scaled.append(d * gradients[name])
    factor = (1 - 8 / 24) / 8
    compare(found, matrices, scaled, factor, 0.2)
    close(
        found.lambda2_diagonal,
        [
            0.2 * factor * (top.jacobian**2 * g.var(axis=0, ddof=1)).sum() / top.norm**2
            for top, g in zip(matrices, scaled, strict=True)
        ],
    )
    curved = [
        0.1 * factor * (top.hessian_diagonal() * g.var(axis=0, ddof=1)).sum() / top.norm
        for top, g in zip(matrices, scaled, strict=True)
    ]
    close(found.kappa_diagonal, curved)
    degeneracy = []
    for top, each in zip(matrices, scaled, strict=True):
        u, v = top.left, top.right
        coupling = 0.5 * (u[:, 1] @ each @ v[:, 0] + u[:, 0] @ each @ v[:, 1])
        degeneracy.append(
            0.2 * np.sqrt(coupling.mean() ** 2 + factor * coupling.var(ddof=1)) / top.gap
        )
    close(found.degeneracy, degeneracy)
    assert found.estimator == "samples" and not found.left_out
    without = quiet(model, CROSS_ENTROPY, X, y, batch_size=8, rate=0.2)
    assert np.isnan(without.kappa_diagonal[0])


def test_a_normalization_behind_a_dense_layer_is_folded_everywhere():
    torch.manual_seed(3)
    norm = nn.BatchNorm1d(6)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    norm.weight.data.normal_()
    norm.requires_grad_(False)
    model = nn.Sequential(nn.Linear(4, 6), norm, nn.Tanh(), nn.Linear(6, 3)).double().eval()
    X, y = torch.randn(24, 4, dtype=torch.float64), torch.arange(24) % 3
    d = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()[:, None]
    gradients = sample_gradients(model, CROSS_ENTROPY, X, y)
    scaled = [d * gradients["0"], gradients["3"]]
    first = d * model[0].weight.detach().numpy()
    tops = [Triplets.of(first), Triplets.of(model[3].weight.detach().numpy())]
    found = coefficients(model, CROSS_ENTROPY, X, y, batch_size=8, rate=0.2)
    compare(found, tops, scaled, (1 - 8 / 24) / 8, 0.2)
    # Two batches of all samples, and what momentum has gathered.
    v = np.random.default_rng(3).normal(size=(6, 4))
    moving = {"momentum": 0.5, "velocity": {"0": v}}
    whole = coefficients(model, CROSS_ENTROPY, X, y, batch_size=24, rate=0.2, replicas=2, **moving)
    one = coefficients(model, CROSS_ENTROPY, X, y, batch_size=8, rate=0.2, **moving)
    expected = found.mu - [0.5 * (tops[0].jacobian * d * v).sum() / tops[0].norm, 0.0]
    close(whole.mu, expected)
    close(one.mu, expected)


def test_norms_on_the_grid():
    model = convnet()
    X, y = images(8)
    found = quiet(model, CROSS_ENTROPY, X, y, batch_size=4, rate=0.1, convolution="operator")
    layers, gradients = weights_of(model), sample_gradients(model, CROSS_ENTROPY, X, y)
    sizes = {"0": (8, 8), "2": (8, 8), "4": (4, 4)}
    norms = [operator_norm(layer, sizes.get(name, ())) for name, layer in layers.items()]
    compare(found, norms, [gradients[name] for name in layers], (1 - 4 / 8) / 4, 0.1)
    assert found.factors.tolist() == [1.0] * 5
    assert [n.pair for n in norms] == [2, 3, 2, 2, 2] and np.isnan(found.curvature_pair[1])
    assert np.isfinite(found.degeneracy).all() and np.isfinite(found.pair_share).all()


def test_a_multilayer_perceptron_is_that_of_the_core(dtype):
    net = lipgd.Network.create([5, 9, 7, 3], "tanh", seed=4, dtype=dtype)
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(150, 5)).astype(dtype), rng.integers(0, 3, 150)
    gradient = lipgd.Gradient(
        [rng.normal(size=w.shape).astype(dtype) for w in net.weights],
        [rng.normal(size=b.shape).astype(dtype) for b in net.biases],
    )
    settings = {
        "batch_size": 8, "rate": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01,
        "sampling": "reshuffled", "step_in_epoch": 2,
    }  # fmt: skip
    model = lipgd.torch.to_torch(net, method=None)
    expected = lipgd.dynamics.coefficients(
        net, X, y, loss="cross_entropy", velocity=gradient, frozen=["W2"], **settings
    )
    velocity = dict(zip(("0", "2", "4"), gradient.weights, strict=True))
    found = coefficients(
        model, CROSS_ENTROPY, X, y, velocity=velocity, frozen=["2"], diagonal=True, **settings
    )
    tolerance = 1e-12 if dtype == np.float64 else 2e-4
    for name in ("mu", "kappa", "lambda2", "psi", "covariance", "kappa_diagonal", "gap",
                 "lambda2_diagonal", "degeneracy", "pair_share", "curvature_pair"):  # fmt: skip
        size = np.abs(getattr(expected, name)).max()
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=tolerance, atol=tolerance * size
        )
    model[2].weight.requires_grad_(False)
    again = coefficients(model, CROSS_ENTROPY, X, y, velocity=velocity, **settings)
    assert again.mu[1] == 0 and (again.mu == found.mu).all()
    assert not model[2].weight.requires_grad


def test_weights_that_are_used_at_many_positions_and_twice():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.last = nn.Linear(3, 3), nn.Linear(3, 2)
            self.tied = nn.Linear(3, 3)
            self.tied.weight = self.token.weight
            self.conv = nn.Conv1d(3, 3, 2, padding=1, padding_mode="reflect")

        def forward(self, x):
            x = torch.tanh(self.token(x))
            x = torch.tanh(self.tied(input=torch.tanh(self.token(x))))
            return self.last(torch.relu(self.conv(x.transpose(1, 2))).mean(dim=2))

    torch.manual_seed(0)
    model = Net().double()
    X, y = torch.randn(30, 6, 3, dtype=torch.float64), torch.randint(2, (30,))
    found = quiet(model, nn.CrossEntropyLoss(reduction="none"), X, y, batch_size=5, rate=0.1)
    assert found.layers == ("token", "last", "conv")
    parameters = {n: p.detach() for n, p in model.named_parameters()}

    def one(values, x, target):
        output = torch.func.functional_call(model, values, (x[None],))
        return CROSS_ENTROPY(output, target[None])

    all_of = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))(parameters, X, y)
    gradients = [all_of[f"{n}.weight"].reshape(30, len(parameters[f"{n}.weight"]), -1).numpy()
                 for n in found.layers]  # fmt: skip
    norms = [Triplets.of(parameters[f"{n}.weight"].flatten(1).numpy()) for n in found.layers]
    compare(found, norms, gradients, (1 - 5 / 30) / 5, 0.1)


def test_probes_are_unbiased():
    model, (X, y) = convnet(), images(5)
    settings = {"batch_size": 2, "rate": 0.1}
    whole = quiet(model, CROSS_ENTROPY, X, y, **settings)
    probes = [
        quiet(model, CROSS_ENTROPY, X[list(rows)], y[list(rows)], population_size=5, **settings)
        for rows in itertools.combinations(range(5), 3)
    ]
    for name in ("mu", "kappa", "psi", "covariance"):
        close(np.mean([getattr(p, name) for p in probes], axis=0), getattr(whole, name), 1e-10)


def test_factors_of_float32():
    model, (X, y) = convnet(), images()
    settings = {"batch_size": 8, "rate": 0.1}
    whole = quiet(model, CROSS_ENTROPY, X, y, **settings)
    single = quiet(model.float(), CROSS_ENTROPY, X.numpy(), y.numpy(), **settings)
    for name in ("mu", "kappa", "covariance", "psi"):
        expected = getattr(whole, name)
        assert np.allclose(getattr(single, name), expected, atol=1e-5 * np.abs(expected).max())


def test_nothing_of_the_user_is_changed():
    model, (X, y) = resnet(), images(20)
    model.train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    quiet(model, CROSS_ENTROPY, X, y, batch_size=5, rate=0.1, replicas=3)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(before[name], v) for name, v in model.state_dict().items())
    assert (model[0].weight.grad == 1).all() and model[3].first.weight.grad is None
    assert not any(module._forward_hooks for module in model.modules())


def test_the_loss_of_functional_form():
    model, (X, y) = convnet(), images(20)
    one = quiet(model, functional.cross_entropy, X, y, batch_size=5, rate=0.1)
    targets = functional.one_hot(y, 3).double()

    def squares(output, target):
        return ((output - target) ** 2).mean()

    two = quiet(model, squares, X, targets, batch_size=5, rate=0.1)
    three = quiet(model, lambda output, t: (output - t) ** 2, X, targets, batch_size=5, rate=0.1)
    assert (two.mu == three.mu).all() and not np.allclose(one.mu, two.mu)


@pytest.mark.parametrize(("make", "kind"), [(resnet, "reshaped"), (convnet, "operator")])
def test_the_mean_step_over_all_batches(make, kind):
    """Section 2: what is left of the mean change of Z, and of its variance, is of third order."""
    model, (X, y) = make(), images(5, seed=3)
    batches = [list(rows) for rows in itertools.combinations(range(5), 2)]
    settings = {"batch_size": 2, "convolution": kind}
    parameters = [m.weight for m in weights_of(model).values()]
    start = [weight.detach().clone() for weight in parameters]
    errors, sizes = [], []
    for rate in (0.02, 0.01):
        found = quiet(model, CROSS_ENTROPY, X, y, rate=rate, **settings)
        changes = []
        for rows in batches:
            gradients = torch.autograd.grad(CROSS_ENTROPY(model(X[rows]), y[rows]), parameters)
            with torch.no_grad():
                for weight, gradient in zip(parameters, gradients, strict=True):
                    weight -= rate * gradient
            after = quiet(model, CROSS_ENTROPY, X, y, rate=rate, **settings)
            changes.append(np.log(after.norms / found.norms).sum())
            with torch.no_grad():
                for weight, value in zip(parameters, start, strict=True):
                    weight.copy_(value)
        errors.append(abs(np.mean(changes) - rate * found.network.drift))
        sizes.append(rate * abs(found.network.drift - found.network.mu))
        assert np.var(changes) == pytest.approx(rate * found.network.lambda2, rel=0.1)
    assert errors[1] < 0.1 * sizes[1]
    assert errors[1] < errors[0] / 6  # eight, but for higher orders
