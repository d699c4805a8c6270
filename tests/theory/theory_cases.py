"""Random and adversarial networks and data, and plain versions of what bounds are compared with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

import lipgd
from lipgd.theory import rate_constraints as rc
from lipgd.theory.rate_constraints import Quantities

ACTIVATIONS = (
    "identity",
    "relu",
    "leaky_relu(0.2)",
    "relu6",
    "elu(1.0)",
    "elu(0.5)",
    "tanh",
    "sigmoid",
    "silu",
    "gelu",
    "softplus",
    "sin",
    "leaky(softplus, 0.5)",
)
SMOOTH = ("identity", "elu(1.0)", "tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "softplus", "sin")
LOSSES = ("mse", "huber(1.0)", "huber(0.2)", "logistic", "cross_entropy(0.0)", "cross_entropy(0.1)")
#: Of what is exact in real numbers, so that a bound may fail by rounding alone.
ROUNDING = 1.0 + 1e-10


@dataclass(frozen=True)
class Case:
    """A network with its data."""

    net: lipgd.Network
    X: np.ndarray
    y: np.ndarray
    loss: str
    sample_weight: np.ndarray | None = None

    @cached_property
    def quantities(self) -> Quantities:
        return rc.measure(self.net, self.X, self.y, self.loss, self.sample_weight)

    def at(self, net: lipgd.Network) -> Case:
        return Case(net, self.X, self.y, self.loss, self.sample_weight)

    def risk_and_gradient(self) -> tuple[float, dict[str, np.ndarray]]:
        value, found = lipgd.risk_and_gradient(
            self.net, self.X, self.y, self.loss, self.sample_weight
        )
        return value, dict(found.named())

    @cached_property
    def risk(self) -> float:
        return lipgd.risk(self.net, self.X, self.y, self.loss, self.sample_weight)

    @cached_property
    def gradient(self) -> dict[str, np.ndarray]:
        return self.risk_and_gradient()[1]

    @cached_property
    def weights(self) -> np.ndarray:
        given = self.sample_weight
        return np.ones(len(self.X)) if given is None else given / given.mean()

    @cached_property
    def features(self) -> list[np.ndarray]:
        rows = [self.X]
        for weight, bias in list(zip(self.net.weights, self.net.biases, strict=True))[:-1]:
            rows.append(self.net.activation(rows[-1] @ weight.T + (0 if bias is None else bias)))
        return rows

    @cached_property
    def inner_outputs(self) -> np.ndarray:
        bias = self.net.biases[-1]
        return self.features[-1] @ self.net.weights[-1].T + (0 if bias is None else bias)

    def hessian(self) -> np.ndarray:
        """All second derivatives, column by column."""
        sizes = [array.size for _, array in self.net.named()]
        columns = []
        for unit in np.eye(sum(sizes)):
            direction = with_parameters(self.net, unit)
            product = lipgd.hessian_vector_product(
                self.net, self.X, self.y, direction, self.loss, self.sample_weight
            )
            columns.append(flat(product))
        return np.stack(columns, axis=1)


def flat(parameters: lipgd.Network | lipgd.Gradient) -> np.ndarray:
    return np.concatenate([np.ravel(array) for _, array in parameters.named()])


def with_parameters(net: lipgd.Network, values: np.ndarray) -> lipgd.Network:
    """The same network with other parameters, in the order of their names."""
    parts, begin = {}, 0
    for name, array in net.named():
        parts[name] = values[begin : begin + array.size].reshape(array.shape)
        begin += array.size
    return with_groups(net, parts)


def with_groups(net: lipgd.Network, parts: Mapping[str, np.ndarray]) -> lipgd.Network:
    layers = range(1, net.depth + 1)
    return net.replace(
        weights=[parts[f"W{i}"] for i in layers], biases=[parts.get(f"b{i}") for i in layers]
    )


def data_of_kind(rng: np.random.Generator, kind: str, n: int, d: int) -> np.ndarray:
    if kind == "rank one":
        return np.outer(rng.normal(size=n), rng.normal(size=d))
    if kind == "duplicated":
        return np.repeat(rng.normal(size=(1, d)), n, axis=0)
    if kind == "sparse":
        return rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.2)
    if kind == "heavy":
        return np.clip(rng.standard_cauchy((n, d)), -50, 50)
    return rng.normal(size=(n, d))


def random_case(
    seed: int,
    *,
    depth: int | None = None,
    activation: str | None = None,
    loss: str | None = None,
    weighted: bool | None = None,
    biases: bool | None = None,
    largest: int = 12,
) -> Case:
    """A network of one to four layers, with data and sizes over orders of magnitude."""
    rng = np.random.default_rng(seed)
    depth = depth or int(rng.integers(1, 5))
    loss = loss or str(rng.choice(LOSSES))
    outputs = int(rng.integers(2, 5)) if loss.startswith("cross") else int(rng.integers(1, 4))
    sizes = [*rng.integers(1, largest + 1, depth).tolist(), outputs]
    n = int(rng.integers(1, 41))
    scale = 10.0 ** rng.uniform(-1, 1, depth)
    shapes = list(itertools.pairwise(sizes))
    weights = [
        s * data_of_kind(rng, str(rng.choice(["normal", "rank one", "sparse"])), b, a)
        for s, (a, b) in zip(scale / np.sqrt(sizes[:-1]), shapes, strict=True)
    ]
    share = 0.7 if biases is None else float(biases)
    offsets = [rng.normal(size=b) * 0.5 if rng.random() < share else None for _, b in shapes]
    name = activation or str(rng.choice(ACTIVATIONS))
    net = lipgd.Network(weights, offsets, name, float(rng.choice([1.0, 0.25, -2.0])))
    kind = str(rng.choice(["normal", "rank one", "duplicated", "sparse", "heavy"]))
    X = 10.0 ** rng.uniform(-1, 1) * data_of_kind(rng, kind, n, sizes[0])
    chosen = rng.random() < 0.3 if weighted is None else weighted
    return Case(net, X, targets(rng, loss, n, outputs), loss, _weights(rng, n) if chosen else None)


def targets(rng: np.random.Generator, loss: str, n: int, outputs: int) -> np.ndarray:
    if loss.startswith("cross"):
        return rng.integers(0, outputs, n)
    if loss == "logistic":
        return rng.choice([-1.0, 1.0], (n, outputs))
    return 10.0 ** rng.uniform(-1, 2) * rng.normal(size=(n, outputs))


def _weights(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.exponential(size=n) * (rng.random(n) < 0.8) + 1e-3


def scalar_case(
    weights: list[float],
    x: float = 1.0,
    y: float = 0.0,
    *,
    activation: str = "identity",
    loss: str = "mse",
    biases: list[float | None] | None = None,
    output_scale: float = 1.0,
) -> Case:
    """A chain of single neurons and one sample: there, most bounds are attained."""
    vectors = None if biases is None else [None if b is None else [b] for b in biases]
    net = lipgd.Network([[[w]] for w in weights], vectors, activation, output_scale)
    return Case(net, np.array([[x]]), np.array([y]), loss)


def random_radii(rng: np.random.Generator, case: Case) -> dict[str, float]:
    size = 10.0 ** rng.uniform(-2, 0.5)
    return {
        name: float(size * rng.choice([0.0, 0.3, 1.0, 2.0]) * rng.random())
        for name in case.quantities.names
    }


def within(
    case: Case, radii: Mapping[str, float], rng: np.random.Generator, norm: str = "frobenius"
) -> Iterator[Case]:
    """Networks at the radii: in random directions, along singular vectors, up the gradient."""
    gradient = case.gradient
    for kind in ("random", "grow", "up", "down"):
        parts = {}
        for name, array in case.net.named():
            move = rng.normal(size=array.shape)
            if kind == "grow" and array.ndim == 2:
                u, _, vt = np.linalg.svd(array)
                move = np.outer(u[:, 0], vt[0])
                if norm == "spectral":
                    k = min(array.shape)
                    move = u[:, :k] @ vt[:k]
            elif kind in ("up", "down") and np.abs(gradient[name]).max() > 0:
                move = gradient[name] * (1.0 if kind == "up" else -1.0)
            size = np.linalg.norm(move)
            if norm == "spectral" and array.ndim == 2:
                size = np.linalg.norm(move, 2)
            parts[name] = array + radii[name] / max(size, 1e-300) * move
        yield case.at(with_groups(case.net, parts))


def jacobian_norm(net: lipgd.Network, X: np.ndarray) -> float:
    """The largest spectral norm of the Jacobians at some points: a lower value of Lip(f)."""
    return float(np.linalg.norm(net.jacobian(X), 2, axis=(1, 2)).max())


def slope_vertices(net: lipgd.Network) -> float:
    """The slope-box constant K by all vertices of the box, for narrow two-layer networks."""
    inner, outer = net.weights
    low, high = net.activation.slope_range
    return abs(net.output_scale) * max(
        np.linalg.norm((outer * np.array(slopes)) @ inner, 2)
        for slopes in itertools.product((low, high), repeat=len(inner))
    )


def shrunk(quantities: Quantities, factor: float = 0.98) -> Quantities:
    """The same quantities with the loss gradients made too small."""
    return replace(
        quantities,
        loss_gradient=factor * quantities.loss_gradient,
        loss_gradient_spectral=factor * quantities.loss_gradient_spectral,
        loss_gradient_max=factor * quantities.loss_gradient_max,
    )


def root_mean(rows: np.ndarray, weights: np.ndarray) -> float:
    """The Frobenius norm of weighted rows over the root of their number."""
    return math.sqrt(float((weights[:, None] * np.square(rows)).sum()) / len(rows))
