"""Sharpness against a dense eigensolver."""

import numpy as np
import pytest
import torch
from reference import random_problem

import lipgd
from lipgd.margins import sharpness

PHI = {
    "tanh": torch.tanh,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "softplus": torch.nn.functional.softplus,
}


def dense_eigenvalues(net, X, y, loss, frozen=(), weight=None):
    """Eigenvalues of the Hessian by the trained parameters, from automatic differentiation."""
    groups = list(net.named())
    trained = [(name, array) for name, array in groups if name not in frozen]
    X = torch.tensor(np.asarray(X), dtype=torch.float64)
    target = torch.tensor(np.asarray(y))
    factor = torch.ones(len(X), dtype=torch.float64)
    if weight is not None:
        factor = torch.tensor(weight / np.mean(weight))

    def risk(theta):
        given = {name: torch.tensor(array, dtype=torch.float64) for name, array in groups}
        begin = 0
        for name, array in trained:
            given[name] = theta[begin : begin + array.size].reshape(array.shape)
            begin += array.size
        h = X
        for layer in range(1, net.depth + 1):
            h = h @ given[f"W{layer}"].T + given.get(f"b{layer}", 0.0)
            h = PHI[net.activation.name](h) if layer < net.depth else h
        h = net.output_scale * h
        if loss == "logistic":
            losses = torch.nn.functional.softplus(-target.reshape(h.shape) * h).mean(dim=1)
        elif loss == "mse":
            losses = ((h - target.reshape(h.shape)) ** 2).mean(dim=1)
        else:
            losses = torch.nn.functional.cross_entropy(h, target, reduction="none")
        return (losses * factor).mean()

    flat = np.concatenate([np.ravel(array) for _, array in trained]).astype(np.float64)
    hessian = torch.autograd.functional.hessian(risk, torch.tensor(flat)).numpy()
    return np.linalg.eigvalsh((hessian + hessian.T) / 2)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("activation", sorted(PHI))
@pytest.mark.parametrize("loss", ["logistic", "mse", "cross_entropy(0.0)"])
def test_the_largest_eigenvalue_is_that_of_the_dense_hessian(level, dtype, seed, activation, loss):
    rng = np.random.default_rng(seed)
    outputs = 3 if loss.startswith("cross") else 1
    sizes = (*(int(rng.integers(1, 7)) for _ in range(rng.integers(2, 4))), outputs)
    problem = random_problem(seed, activation, loss, dtype, int(rng.integers(1, 60)), sizes)
    names = [name for name, _ in problem.net.named()]
    frozen = [name for name in names[1:] if rng.random() < 0.4]
    if loss == "logistic":
        problem = problem.__class__(problem.net, problem.X, problem.y, loss)
    eigenvalues = dense_eigenvalues(
        problem.net, problem.X, problem.y, loss.split("(")[0], frozen, problem.sample_weight
    )
    found = sharpness(
        problem.net, problem.X, problem.y, loss, frozen, sample_weight=problem.sample_weight
    )
    size = max(abs(eigenvalues[-1]), 1e-6 * abs(eigenvalues).max())
    tolerance = 1e-8 if dtype == np.float64 or problem.sample_weight is None else 1e-6
    assert found.converged
    assert abs(found.value - eigenvalues[-1]) <= tolerance * size
    assert found.residual <= 1e-9 * abs(found.value) + 1e-13 * abs(eigenvalues).max()
    assert not any(array.any() for name, array in found.direction.named() if name in frozen)
    assert found.direction.norm() == pytest.approx(1.0, abs=1e-12)


def two_clusters(n_samples=500, width=500, inputs=10, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, inputs))
    y = np.where(X[:, 0] + 0.3 * rng.normal(size=n_samples) > 0, 1.0, -1.0)
    init = "mean_field_balanced"
    return lipgd.Network.create([inputs, width, 1], "gelu", init, seed), X, y


def test_many_parameters_restart_and_agree_with_the_residual():
    net, X, y = two_clusters(100, 300, 8)
    found = sharpness(net, X, y, frozen=["W2", "b2"])
    assert found.converged and found.residual <= 1e-9 * found.value
    product = lipgd.hessian_vector_product(net, X, y, found.direction, "logistic")
    zero = [np.zeros((1, 300))], [np.zeros(1)]
    # The product of the Hessian by what is trained.
    rest = lipgd.Gradient([product.weights[0], *zero[0]], [product.biases[0], *zero[1]])
    gap = np.concatenate(
        [
            (a - found.value * b).ravel()
            for (_, a), (_, b) in zip(rest.named(), found.direction.named(), strict=True)
        ]
    )
    assert np.linalg.norm(gap) == pytest.approx(found.residual, abs=1e-12 * found.value)
    rough = sharpness(net, X, y, frozen=["W2", "b2"], tolerance=1e-2)
    assert rough.products < found.products and rough.value <= found.value * (1 + 1e-14)
    short = sharpness(net, X, y, frozen=["W2", "b2"], max_products=4)
    assert short.products == 4 and not short.converged


@pytest.mark.parametrize(
    ("activation", "init", "frozen", "rate"),
    [
        ("silu", "torch", (), 0.5),
        ("gelu", "he_normal", (), 0.1),
        ("leaky(softplus, 0.5)", "mean_field_balanced", ("W2", "b2"), 200.0),
    ],
)
def test_a_warm_start_costs_few_products(activation, init, frozen, rate):
    """At 500 samples, 500 neurons, 10 inputs, where a product costs about two gradients."""
    _, X, y = two_clusters()
    net = lipgd.Network.create([10, 500, 1], activation, init)
    settings = dict(loss="logistic", rate=rate, frozen=frozen, record=())
    net = lipgd.train(net, X, y, steps=100, **settings).network
    last, products = sharpness(net, X, y, frozen=frozen, tolerance=1e-3), []
    for _ in range(5):
        net = lipgd.train(net, X, y, steps=10, **settings).network
        last = sharpness(net, X, y, frozen=frozen, start=last, tolerance=1e-3)
        assert last.converged and last.residual <= 1e-3 * last.value
        products.append(last.products)
    cold = sharpness(net, X, y, frozen=frozen, tolerance=1e-7)
    assert last.value == pytest.approx(cold.value, rel=1e-4)
    assert max(products) <= 7 and np.mean(products) <= 6


def test_the_start_cannot_hide_a_larger_eigenvalue():
    # Two neurons that do not meet: the Hessian is diagonal, and the start is its smaller direction.
    X, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 1.0])
    one = lipgd.Network([np.array([[0.0, 5.0]])])
    other = lipgd.Network([np.array([[5.0, 0.0]])])
    first = sharpness(one, X, y)
    second = sharpness(other, X, y, start=first)
    assert first.value == pytest.approx(0.125, rel=1e-12)
    assert second.value == pytest.approx(0.125, rel=1e-12)
    assert abs(second.direction.weights[0][0]).tolist() == pytest.approx([0.0, 1.0], abs=1e-9)


@pytest.mark.parametrize("sizes", [(5, 50, 1), (20, 30, 30, 1)])
def test_the_result_does_not_depend_on_threads(level, sizes):
    _, X, y = two_clusters(2000, 1, sizes[0])
    net = lipgd.Network.create(sizes, "gelu", "torch")
    results = [sharpness(net, X, y, tolerance=1e-6, n_threads=n) for n in (1, 2, 4)]
    assert len({(r.value, r.residual, r.products) for r in results}) == 1


@pytest.mark.parametrize(
    ("n_samples", "sizes"),
    # Layers of all samples in 1, 72 and 75 MB: those beyond 64 are not kept between products.
    [(300, (5, 130, 1)), (5000, (5, 600, 1)), (900, (20, 40, 3400, 1))],
)
def test_layers_that_are_kept_change_nothing(level, n_samples, sizes):
    _, X, y = two_clusters(n_samples, 1, sizes[0])
    net = lipgd.Network.create(sizes, "gelu", "torch")
    found = sharpness(net, X, y, max_products=3)
    product = lipgd.hessian_vector_product(net, X, y, found.direction, "logistic")
    v, image = (
        np.concatenate([a.ravel() for _, a in g.named()]) for g in (found.direction, product)
    )
    assert v @ image == pytest.approx(found.value, rel=1e-12)
    gap = float(np.linalg.norm(image - found.value * v))
    assert gap == pytest.approx(found.residual, rel=1e-9)


@pytest.mark.parametrize("inputs", [1, 3, 10, 16])
@pytest.mark.parametrize("width", [35, 64, 201])
def test_products_of_narrow_networks_are_differences_of_gradients(level, dtype, inputs, width):
    """Strips of 64 or 128 neurons, and what is left of the last one."""
    rng = np.random.default_rng(width + inputs)
    X = rng.normal(size=(77, inputs)).astype(dtype)
    y = np.where(X[:, 0] > 0, 1.0, -1.0).astype(dtype)
    net = lipgd.Network.create([inputs, width, 1], "silu", "torch", dtype=dtype)
    parts = [rng.normal(size=a.shape).astype(dtype) for _, a in net.named()]
    direction = lipgd.Gradient(parts[::2], parts[1::2])
    found = lipgd.hessian_vector_product(net, X, y, direction, "logistic")
    ends = []
    for step in (1e-5, -1e-5):
        moved = [
            a.astype(np.float64) + step * b for (_, a), b in zip(net.named(), parts, strict=True)
        ]
        there = lipgd.Network(moved[::2], moved[1::2], net.activation, net.output_scale)
        _, gradient = lipgd.risk_and_gradient(there, X.astype(np.float64), y, "logistic")
        ends.append(np.concatenate([a.ravel() for _, a in gradient.named()]))
    expected = (ends[0] - ends[1]) / 2e-5
    got = np.concatenate([a.ravel() for _, a in found.named()])
    tolerance = 1e-8 if dtype == np.float64 else 2e-5
    assert np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected)


def test_underflow_leaves_the_direction_right(level, dtype):
    X, y = np.array([[3.0, 4.0], [4.0, 3.0]], dtype), np.array([1, 1])
    near = lipgd.Network([np.array([[1.0, 1.0]], dtype)])
    far = lipgd.Network([np.array([[100.0, 100.0]], dtype)])
    beyond = lipgd.Network([np.array([[1e4, 1e4]], dtype)])
    # Of equal margins q: p (1 - p) times the largest eigenvalue of X^T X / n.
    top = 24.5
    for net, q in ((near, 7.0), (far, 700.0)):
        p = 1 / (1 + np.exp(q))
        assert sharpness(net, X, y).value == pytest.approx(p * (1 - p) * top, rel=1e-9)
    found = sharpness(beyond, X, y)
    assert found.value == 0.0 and found.residual == 0.0 and found.converged
    expected = np.array([1.0, 1.0]) / np.sqrt(2)
    np.testing.assert_allclose(abs(found.direction.weights[0][0]), expected, atol=1e-7)


def test_a_flat_risk_has_no_sharpness():
    net = lipgd.Network([np.zeros((3, 2)), np.zeros((1, 3))], None, "relu")
    found = sharpness(net, [[1.0, 2.0]], [1], "logistic")
    assert found.value == 0.0 and found.residual == 0.0 and found.converged
    assert float(found) == 0.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"tolerance": 0.0},
            ValueError,
            "tolerance is 0.0, expected a finite number at least 1e-14",
        ),
        ({"max_products": 0}, ValueError, "max_products is 0, expected an integer at least 1"),
        ({"start": 3}, TypeError, "start is 3, expected a Sharpness"),
        ({"frozen": ["W2"]}, ValueError, "frozen has 'W2', expected some of W1"),
        ({"loss": "hinge"}, ValueError, "loss is 'hinge'"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        sharpness(lipgd.Network([[[1.0]]]), [[1.0]], [1], **arguments)


def test_a_start_of_another_network_is_refused():
    found = sharpness(lipgd.Network([[[1.0]]]), [[1.0]], [1])
    with pytest.raises(ValueError, match="start is for a network of other sizes"):
        sharpness(lipgd.Network([[[1.0, 2.0]]]), [[1.0, 2.0]], [1], start=found)
