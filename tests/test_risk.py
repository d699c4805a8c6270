"""Risk, gradient, Jacobian and Hessian products against PyTorch, mpmath and finite differences."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from reference import (
    ACTIVATIONS,
    LOSSES,
    SMOOTH,
    TOLERANCE,
    Problem,
    flat,
    random_network,
    random_problem,
    relative_error,
    targets,
    torch_gradient,
    torch_hessian_product,
    torch_jacobian,
)

import lipgd

# Layers of many shapes: single units, wide layers, blocks that end within a register or a tile.
SHAPES = {
    "linear": ((7, 1), 50),
    "linear, three outputs": ((7, 3), 50),
    "one of all": ((1, 1, 1), 1),
    "one sample": ((3, 40, 2), 1),
    "one input": ((1, 300, 1), 77),
    "wide": ((5, 300, 1), 513),
    "wide and deep": ((20, 300, 17, 300, 2), 129),
    "more inputs than units": ((300, 3, 2), 33),
    "many samples": ((4, 9, 1), 5000),
    "many samples, outputs": ((33, 31, 5), 3001),
    "five layers": ((6, 16, 15, 17, 8, 3), 400),
    "bottleneck": ((8, 64, 1, 64, 4), 211),
    "large gradient": ((700, 1200, 3), 150),
    # Panels of 48, 24 or 12 outputs, tiles of 8 or 4 samples, chunks of 128.
    "whole panels": ((64, 144, 1), 64),
    "a panel and one": ((17, 49, 1), 9),
    "ends within a register": ((50, 131, 2), 131),
    "ends within a tile": ((101, 130, 1), 263),
    "longest panel": ((128, 200, 129, 300, 1), 66),
    "panels shared by a team": ((64, 74, 1), 323),
    # One hidden layer and one output: strips of neurons, chunks of inputs, groups of strips.
    "a strip of one": ((40, 1, 1), 21),
    "less than a strip": ((19, 7, 1), 300),
    "few neurons of few inputs": ((10, 5, 1), 77),
    "more inputs than a chunk": ((261, 131, 1), 300),
    "several blocks of groups": ((130, 300, 1), 1200),
}


def direction_of(problem: Problem) -> lipgd.Gradient:
    rng = np.random.default_rng(5)
    net = problem.net
    return lipgd.Gradient(
        [rng.normal(size=w.shape).astype(net.dtype) for w in net.weights],
        [None if b is None else rng.normal(size=b.shape).astype(net.dtype) for b in net.biases],
    )


def check_against_torch(problem: Problem) -> None:
    tolerance = TOLERANCE[problem.net.dtype]
    risk, gradient = torch_gradient(problem)
    value, slopes = lipgd.risk_and_gradient(*problem.data)
    # Small residuals have lost digits: they are differences of numbers of the order of one.
    near = pytest.approx(risk, rel=tolerance, abs=0.1 * tolerance)
    assert value == near
    assert lipgd.risk(*problem.data) == near
    assert slopes.dtype == problem.net.dtype
    assert relative_error(flat(slopes), gradient) <= tolerance
    assert slopes.norm() == pytest.approx(np.linalg.norm(gradient), rel=tolerance)
    net, X, y, *rest = problem.data
    direction = direction_of(problem)
    product = lipgd.hessian_vector_product(net, X, y, direction, *rest)
    assert relative_error(flat(product), torch_hessian_product(problem, direction)) <= tolerance
    assert relative_error(net.jacobian(X), torch_jacobian(net, X)) <= tolerance


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_are_those_of_autograd(level, dtype, activation, loss):
    seed = ACTIVATIONS.index(activation) + 100 * LOSSES.index(loss)
    check_against_torch(random_problem(seed, activation, loss, dtype))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("activation", "loss"), [("silu", "mse"), ("tanh", "cross_entropy(0.1)")])
def test_derivatives_of_layers_of_many_shapes(level, dtype, activation, loss, shape):
    sizes, n_samples = SHAPES[shape]
    if loss.startswith("cross") and sizes[-1] == 1:
        loss = "huber(0.3)"
    check_against_torch(random_problem(3, activation, loss, dtype, n_samples, sizes))


def test_the_risk_of_a_small_network_has_all_digits(level):
    rng = np.random.default_rng(2)
    net = lipgd.Network(
        [rng.normal(size=(3, 2)), rng.normal(size=(2, 3))],
        [rng.normal(size=3), None],
        "tanh",
        0.7,
    )
    X, y = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    mpmath.mp.dps = 40
    total = mpmath.mpf(0)
    for x, goal in zip(X, y, strict=True):
        z = mpmath.matrix(net.weights[0].tolist()) * mpmath.matrix(x.tolist())
        h = [mpmath.tanh(z[i] + mpmath.mpf(float(net.biases[0][i]))) for i in range(3)]
        f = mpmath.mpf(0.7) * (mpmath.matrix(net.weights[1].tolist()) * mpmath.matrix(h))
        total += sum((f[j] - mpmath.mpf(float(goal[j]))) ** 2 for j in range(2)) / 2
    exact = float(total / 5)
    assert lipgd.risk(net, X, y) == pytest.approx(exact, rel=2e-15)


@pytest.mark.parametrize("loss", ["mse", "logistic", "cross_entropy(0.1)"])
@pytest.mark.parametrize("activation", SMOOTH)
def test_derivatives_are_limits_of_differences(activation, loss):
    problem = random_problem(7, activation, loss, np.float64, 60, (4, 12, 9, 3))
    net, X, y, *rest = problem.data
    direction, h = direction_of(problem), 1e-5

    def moved(t):
        biases = [
            None if b is None else b + t * d
            for b, d in zip(net.biases, direction.biases, strict=True)
        ]
        weights = [w + t * d for w, d in zip(net.weights, direction.weights, strict=True)]
        return net.replace(weights=weights, biases=biases)

    ahead, slope_ahead = lipgd.risk_and_gradient(moved(h), X, y, *rest)
    behind, slope_behind = lipgd.risk_and_gradient(moved(-h), X, y, *rest)
    slope = lipgd.risk_and_gradient(*problem.data)[1]
    along = flat(slope) @ flat(direction)
    assert (ahead - behind) / (2 * h) == pytest.approx(along, rel=1e-6, abs=1e-8)
    product = flat(lipgd.hessian_vector_product(net, X, y, direction, *rest))
    assert relative_error((flat(slope_ahead) - flat(slope_behind)) / (2 * h), product) < 1e-6
    x, step = X[:1], np.random.default_rng(0).normal(size=(1, 4))
    moved_outputs = (net(x + h * step) - net(x - h * step)) / (2 * h)
    assert relative_error(moved_outputs, net.jacobian(x)[0] @ step[0]) < 1e-6


def test_the_hessian_is_linear_and_symmetric():
    problem = random_problem(11, "gelu", "logistic", np.float64, 90, (5, 20, 10, 2))
    net, X, y, *rest = problem.data
    a, b = direction_of(problem), net
    product_a = flat(lipgd.hessian_vector_product(net, X, y, a, *rest))
    product_b = flat(lipgd.hessian_vector_product(net, X, y, b, *rest))
    assert product_a @ flat(b) == pytest.approx(product_b @ flat(a), rel=1e-12)
    both = lipgd.Gradient(
        [2 * v - w for v, w in zip(a.weights, b.weights, strict=True)],
        [None if v is None else 2 * v - w for v, w in zip(a.biases, b.biases, strict=True)],
    )
    product = flat(lipgd.hessian_vector_product(net, X, y, both, *rest))
    assert relative_error(product, 2 * product_a - product_b) < 1e-13


def bits(problem: Problem, X: object = None, y: object = None) -> list[bytes]:
    """Everything that is computed from a network and data, as bytes."""
    net, loss, weights = problem.net, problem.loss, problem.sample_weight
    X, y = problem.X if X is None else X, problem.y if y is None else y
    value, gradient = lipgd.risk_and_gradient(net, X, y, loss, weights)
    product = lipgd.hessian_vector_product(net, X, y, net, loss, weights)
    risk = np.float64(lipgd.risk(net, X, y, loss, weights))
    arrays = [np.float64(value), risk, gradient._flat, product._flat, net(X), net.jacobian(X)]
    return [array.tobytes() for array in arrays]


def shifted(array: np.ndarray, by: int) -> np.ndarray:
    """The same array so many bytes off."""
    memory = np.empty(array.nbytes + by, np.uint8)
    copy = np.ndarray(array.shape, array.dtype, memory, offset=by)
    copy[...] = array
    return copy


def spread(array: np.ndarray) -> np.ndarray:
    """The same array with gaps, backwards along the first axis."""
    memory = np.full(tuple(2 * n + 1 for n in array.shape), 99, array.dtype)
    view = memory[tuple(slice(1, None, 2) for _ in array.shape)][::-1]
    view[...] = array
    return view


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def packed(array: np.ndarray) -> np.ndarray:
    """The same array as a part of records, at strides that are no multiples of its items."""
    fields = [("gap", np.uint8), ("values", array.dtype, array.shape[1:])]
    records = np.empty(len(array), fields)
    records["values"] = array
    return records["values"]


LAYOUTS = {
    "packed records": packed,
    "F order": np.asfortranarray,
    "spread": spread,
    "unaligned": lambda array: shifted(array, 3),
    "off by one element": lambda array: shifted(array, array.itemsize),
    "read-only": read_only,
    "big endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "list": lambda array: array.tolist(),
    "columns of a table": lambda array: np.repeat(array, 3, axis=-1)[..., ::3],
    "float64": lambda array: array.astype(np.float64 if array.dtype.kind == "f" else np.uint8),
    "longdouble": lambda array: array.astype(np.longdouble if array.dtype.kind == "f" else "i2"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy(0.1)"])
@pytest.mark.parametrize("sizes", [(7, 20, 3), (1, 20, 1), (5, 1, 1, 4)])
def test_how_the_data_lie_in_memory_does_not_change_a_bit(dtype, sizes, loss, layout):
    if loss.startswith("cross") and sizes[-1] == 1:
        loss = "logistic"
    for n_samples in (1, 2, 37, 300):
        problem = random_problem(13, "silu", loss, dtype, n_samples, sizes)
        expected, change = bits(problem), LAYOUTS[layout]
        assert bits(problem, X=change(problem.X)) == expected
        assert bits(problem, y=change(problem.y)) == expected


def test_memory_mapped_files_are_read_in_place(tmp_path, dtype):
    problem = random_problem(17, "tanh", "mse", dtype, 500, (9, 30, 2))
    np.save(tmp_path / "X.npy", problem.X)
    np.save(tmp_path / "y.npy", problem.y)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    y = np.load(tmp_path / "y.npy", mmap_mode="r")
    assert bits(problem, X, y) == bits(problem)


def test_whole_numbers_and_truth_values_are_exact():
    problem = random_problem(19, "relu", "mse", np.float64, 64, (4, 8, 1))
    X = np.random.default_rng(0).integers(0, 2, (64, 4))
    expected = bits(problem, X.astype(float))
    for kind in (bool, np.int8, np.uint16, np.int64, np.float16, np.float32):
        assert bits(problem, X.astype(kind)) == expected
    for y in (problem.y, problem.y[:, 0], np.asfortranarray(problem.y)):
        assert bits(problem, y=y) == bits(problem)


def test_rows_of_a_broadcast_array_are_read():
    problem = random_problem(19, "relu", "mse", np.float64, 64, (4, 8, 1))
    row = problem.X[:1]
    assert bits(problem, np.broadcast_to(row, (64, 4))) == bits(problem, np.repeat(row, 64, axis=0))
    column = problem.X[:, :1]
    wide = np.broadcast_to(column, (64, 4))
    assert bits(problem, wide) == bits(problem, np.ascontiguousarray(wide))


def test_the_order_of_the_samples_does_not_matter(level):
    problem = random_problem(23, "silu", "huber(0.3)", np.float64, 777, (6, 50, 2))
    order = np.random.default_rng(0).permutation(777)
    weights = np.random.default_rng(1).exponential(size=777)
    net = problem.net
    value, gradient = lipgd.risk_and_gradient(net, problem.X, problem.y, "huber(0.3)", weights)
    mixed, turned = lipgd.risk_and_gradient(
        net, problem.X[order], problem.y[order], "huber(0.3)", weights[order]
    )
    assert mixed == pytest.approx(value, rel=1e-14)
    assert relative_error(flat(turned), flat(gradient)) < 1e-14
    assert relative_error(net(problem.X[order]), net(problem.X)[order]) < 1e-14
    assert relative_error(net.jacobian(problem.X[order]), net.jacobian(problem.X)[order]) < 1e-14


@pytest.mark.parametrize("loss", LOSSES)
def test_whole_sample_weights_are_repetitions(loss):
    rng = np.random.default_rng(29)
    n_outputs = 3
    net = random_network(rng, [4, 11, n_outputs], "tanh")
    X, y = rng.normal(size=(50, 4)), targets(rng, loss, 50, n_outputs)
    weights = rng.integers(0, 4, 50)
    repeated = np.repeat(np.arange(50), weights)
    value, gradient = lipgd.risk_and_gradient(net, X, y, loss, weights * 1e200)
    again, repetition = lipgd.risk_and_gradient(net, X[repeated], y[repeated], loss)
    assert value == pytest.approx(again, rel=1e-14)
    assert relative_error(flat(gradient), flat(repetition)) < 1e-14
    product = lipgd.hessian_vector_product(net, X, y, net, loss, weights)
    again = lipgd.hessian_vector_product(net, X[repeated], y[repeated], net, loss)
    assert relative_error(flat(product), flat(again)) < 1e-14


def test_gradients_are_immutable_values():
    gradient = lipgd.Gradient([np.eye(2)], [np.ones(2)])
    assert gradient == lipgd.Gradient([np.eye(2)], [np.ones(2)])
    assert gradient != lipgd.Gradient([np.eye(2)])
    assert gradient != lipgd.Gradient([np.eye(2)], [np.zeros(2)])
    assert gradient != lipgd.Network([np.eye(2)], [np.ones(2)])
    assert repr(gradient) == "Gradient(2-2, float64, norm 2)"
    with pytest.raises(ValueError, match="read-only"):
        gradient.weights[0][0, 0] = 1.0
    with pytest.raises(AttributeError, match="immutable"):
        gradient.weights = ()


def test_norms_of_single_precision_gradients_are_summed_in_double():
    big = np.full((1000, 1000), 1e19, np.float32)
    assert lipgd.Gradient([big]).norm() == pytest.approx(1e22, rel=1e-6)
    assert lipgd.Gradient([np.full((1, 10), 1e-30, np.float32)]).norm() > 0
