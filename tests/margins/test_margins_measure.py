"""Margins of a network, against mpmath and automatic differentiation."""

import math

import mpmath
import numpy as np
import pytest
import torch
from reference import random_network

import lipgd
from lipgd.margins import margins

mpmath.mp.dps = 60


def exact(q):
    """log risk, and the margin of a sample with the whole loss."""
    losses = [mpmath.log1p(mpmath.exp(-mpmath.mpf(float(value)))) for value in q]
    total = mpmath.fsum(losses)
    return mpmath.log(total / len(losses)), -mpmath.log(mpmath.expm1(total)), total


def identity_network(dtype=np.float64):
    return lipgd.Network([np.ones((1, 1), dtype)])


@pytest.mark.parametrize("n_samples", [1, 2, 7, 200])
def test_log_risk_and_smoothed_margin_agree_with_long_arithmetic(level, n_samples):
    rng = np.random.default_rng(n_samples)
    # Risks from 1 to 1e-300, at all the seams of the formulas.
    for smallest in [*np.linspace(-0.55, 30.0, 40), 19.999999, 20.0, 20.000001, 100, 345.0, 690.7]:
        q = smallest + rng.exponential(size=n_samples) * rng.choice([0.0, 0.1, 5.0, 100.0])
        q[0] = smallest
        log_risk, iota, total = exact(q)
        found = margins(identity_network(), q[:, None], np.ones(n_samples))
        allowed = 1e-13 * (1 + abs(iota) + total)
        assert abs(found.log_risk - log_risk) <= allowed
        assert abs(found.smoothed - iota) <= allowed
        assert found.margin == q.min() and found.smoothed <= q.min() + 1e-15 * abs(q.min())


def test_nothing_is_lost_where_the_risk_underflows(level, dtype):
    for q in ([1e3], [2e4, 2e4 + 1], [1e30, 1e31]):
        q = np.array(q, dtype)
        found = margins(identity_network(dtype), q[:, None], np.ones(len(q)))
        log_risk, iota, _ = exact(q)
        assert found.log_risk == pytest.approx(float(log_risk), rel=1e-15)
        assert found.smoothed == pytest.approx(float(iota), rel=1e-15)
        gradient = found.log_risk_gradient.weights[0].item()
        weights = np.exp(q.min() - q.astype(np.float64))
        assert gradient == pytest.approx(-float(weights @ q / weights.sum()), rel=1e-6)
    negative = margins(identity_network(dtype), [[-1e30]], [1])
    assert negative.log_risk == pytest.approx(math.log(1e30), rel=1e-6)
    assert negative.smoothed == pytest.approx(-1e30, rel=1e-6)


def torch_functions(net, X, frozen):
    """q's functions of the trained parameters, in float64."""
    names = dict(net.named())
    trained = [name for name in names if name not in frozen]
    kinds = {"gelu": torch.nn.functional.gelu, "softplus": torch.nn.functional.softplus}
    phi = kinds.get(net.activation.name, torch.relu)

    def outputs(*theta):
        given = {name: torch.tensor(array, dtype=torch.float64) for name, array in names.items()}
        given.update(zip(trained, theta, strict=True))
        h = torch.tensor(np.asarray(X), dtype=torch.float64)
        for layer in range(1, net.depth + 1):
            h = h @ given[f"W{layer}"].T + given.get(f"b{layer}", 0.0)
            h = phi(h) if layer < net.depth else h
        return net.output_scale * h[:, 0]

    theta = tuple(torch.tensor(names[name], dtype=torch.float64) for name in trained)
    return outputs, theta


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("activation", ["gelu", "softplus", "relu"])
def test_slopes_are_derivatives_along_the_trained_parameters(level, dtype, seed, activation):
    rng = np.random.default_rng(seed)
    depth = int(rng.integers(2, 5))
    sizes = [int(rng.integers(1, 20)) for _ in range(depth)] + [1]
    net = random_network(rng, sizes, activation, dtype, output_scale=0.5)
    X = rng.normal(size=(int(rng.integers(1, 300)), sizes[0])).astype(dtype)
    y = rng.choice([-1, 1], len(X))
    names = [name for name, _ in net.named()]
    frozen = [name for name in names[1:] if rng.random() < 0.3]
    outputs, theta = torch_functions(net, X, frozen)
    q, slopes = torch.autograd.functional.jvp(outputs, theta, theta)
    found = margins(net, X, y, frozen=frozen)
    size = float(abs(q).max() + abs(slopes).max())
    assert abs(found.values - y * q.numpy()).max() <= 1e-13 * size
    assert abs(found.slopes - y * slopes.numpy()).max() <= 1e-13 * size
    degree = max(1, sum(name.startswith("W") and name not in frozen for name in names))
    norm = math.sqrt(sum(float((t**2).sum()) for t in theta))
    assert found.degree == degree
    assert found.parameter_norm == pytest.approx(norm, rel=1e-14)
    errors = degree * found.values - found.slopes
    assert found.homogeneity_error == pytest.approx(max(0.0, errors.max()) / degree, abs=1e-15)
    assert found.normalized_margin == pytest.approx(found.margin / norm**degree, rel=1e-13)
    assert found.smoothed_margin == pytest.approx(found.smoothed / norm**degree, rel=1e-13)
    value = float(torch.log(torch.nn.functional.softplus(-torch.tensor(y) * q).mean()))
    assert found.log_risk == pytest.approx(value, abs=1e-13 * (1 + size))


def test_the_gradient_of_the_log_risk_is_that_of_the_risk_over_it(level, dtype):
    rng = np.random.default_rng(3)
    net = random_network(rng, [4, 6, 1], "silu", dtype)
    X, y = rng.normal(size=(50, 4)).astype(dtype), rng.choice([-1, 1], 50)
    found = margins(net, X, y, frozen=["W2"]).log_risk_gradient
    risk, gradient = lipgd.risk_and_gradient(net, X, y, "logistic")
    np.testing.assert_allclose(
        found.weights[0], gradient.weights[0] / risk, rtol=10 * np.finfo(dtype).eps, atol=1e-12
    )
    assert found.dtype == dtype and not found.weights[1].any()


def test_homogeneous_networks_have_no_gap_and_others_may_have_none():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.choice([-1, 1], 20)
    relu = lipgd.Network.create([3, 5, 4, 1], activation="relu", biases=False)
    found = margins(relu, X, y)
    assert found.homogeneity_gap == 0.0 and found.degree == 3
    assert found.modified_margin == found.smoothed_margin
    assert found.homogeneity_error <= 1e-15
    # A bias above a trained layer spoils it, unless it is in the first trained one.
    first = lipgd.Network([relu.weights[0], relu.weights[1]], [np.ones(5), None], "relu")
    first = lipgd.Network([*first.weights, np.ones((1, 4))], [np.ones(5), None, None], "relu")
    assert margins(first, X, y).homogeneity_gap == 0.0
    assert margins(first, X, y, frozen=["b1"]).homogeneity_gap is None
    assert found.relative_homogeneity_error in (found.homogeneity_error / found.smoothed, math.inf)
    deep = margins(relu.replace(activation="gelu"), X, y)
    assert deep.homogeneity_gap is None and deep.modified_margin is None


def test_the_network_of_zeros_has_margins_that_are_numbers():
    net = lipgd.Network([np.zeros((4, 2)), np.ones((1, 4))], None, "silu")
    found = margins(net, [[1.0, 2.0]], [1], frozen=["W2"])
    assert found.normalized_margin == 0.0 and found.parameter_norm == 0.0
    assert found.smoothed == 0.0 and found.smoothed_margin == 0.0
    two = margins(net, [[1.0, 2.0], [1.0, 0.0]], [1, -1], frozen=["W2"])
    assert two.smoothed_margin == -math.inf and two.normalized_margin == 0.0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"net": 3}, TypeError, "net is 3, expected a Network"),
        ({"net": lipgd.Network([[[1.0]], [[1.0], [2.0]]])}, ValueError, "net has 2 outputs"),
        ({"y": [1, 0]}, ValueError, "y has the label 0 for sample 1, expected -1 or \\+1"),
        ({"X": [[1.0], [math.nan]]}, ValueError, "X has nan in row 1"),
        ({"X": [[1.0, 2.0]] * 2}, ValueError, "X has 2 columns, but the network takes 1 input"),
        ({"frozen": ["W3"]}, ValueError, "frozen has 'W3', expected some of W1, W2"),
        ({"frozen": ["W1", "W2"]}, ValueError, "frozen names every parameter"),
        ({"frozen": 3}, TypeError, "frozen is 3, expected names"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    good = {"net": lipgd.Network([[[1.0]], [[1.0]]]), "X": [[1.0], [2.0]], "y": [1, -1]}
    arguments = {**good, **change}
    with pytest.raises(error, match=message):
        margins(arguments.pop("net"), arguments.pop("X"), arguments.pop("y"), **arguments)
