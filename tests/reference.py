"""Random problems, and slow and plain versions of what the core computes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

import lipgd
from lipgd._batches import Batches
from lipgd._columns import DYNAMICS, column_names
from lipgd._margin_rule import MARGIN_RECORDS

torch.set_num_threads(1)

#: Accepted errors, relative to the norm of the exact result.
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}

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
    "gelu_tanh",
    "softplus",
    "sin",
    "leaky(softplus, 0.5)",
    "leaky(tanh, 0.25)",
    "leaky(sin, 0.75)",
    "leaky(elu(1.0), 0.3)",
)
SMOOTH = ("tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "softplus", "sin", "leaky(silu, 0.5)")
LOSSES = (
    "mse",
    "huber(1.0)",
    "huber(0.3)",
    "logistic",
    "cross_entropy(0.0)",
    "cross_entropy(0.1)",
)


@dataclass(frozen=True)
class Problem:
    """A network with data that it can be trained on."""

    net: lipgd.Network
    X: np.ndarray
    y: np.ndarray
    loss: str
    sample_weight: np.ndarray | None = None

    @property
    def data(self) -> tuple[lipgd.Network, np.ndarray, np.ndarray, str, np.ndarray | None]:
        """The leading arguments of lipgd.risk."""
        return self.net, self.X, self.y, self.loss, self.sample_weight


def targets(rng: np.random.Generator, loss: str, n_samples: int, n_outputs: int) -> np.ndarray:
    if loss.startswith("cross_entropy"):
        return rng.integers(0, n_outputs, n_samples)
    if loss == "logistic":
        return rng.choice([-1.0, 1.0], (n_samples, n_outputs))
    return rng.normal(size=(n_samples, n_outputs))


def random_network(
    rng: np.random.Generator,
    sizes: list[int],
    activation: str,
    dtype: type = np.float64,
    output_scale: float = 1.0,
    bias_share: float = 0.7,
) -> lipgd.Network:
    """Weights that keep the size of signals, and biases in some of the layers."""
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    weights = [rng.normal(0, 1.2 / math.sqrt(shape[1]), shape).astype(dtype) for shape in shapes]
    biases = [
        rng.normal(0, 0.3, shape[0]).astype(dtype) if rng.random() < bias_share else None
        for shape in shapes
    ]
    return lipgd.Network(weights, biases, activation, output_scale)


@functools.cache
def random_problem(
    seed: int,
    activation: str,
    loss: str,
    dtype: type = np.float64,
    n_samples: int | None = None,
    sizes: tuple[int, ...] = (),
) -> Problem:
    """A problem of one to five layers; X and y are exact in the dtype."""
    rng = np.random.default_rng([seed, len(activation), len(loss)])
    n = n_samples or int(np.exp(rng.uniform(np.log(4), np.log(400))))
    if not sizes:
        widths = np.exp(rng.uniform(0, np.log(90), rng.integers(1, 6))).astype(int).tolist()
        outputs = int(rng.integers(2, 7)) if loss.startswith("cross") else int(rng.choice([1, 4]))
        sizes = (*widths, outputs)
    scale = float(rng.choice([1.0, 0.25, -2.0]))
    net = random_network(rng, list(sizes), activation, dtype, scale)
    X = rng.normal(size=(n, sizes[0])).astype(dtype)
    y = targets(rng, loss, n, sizes[-1])
    y = y if loss.startswith("cross") else y.astype(dtype)
    weights = rng.exponential(size=n) if rng.random() < 0.5 else None
    return Problem(net, X, y, loss, weights)


def records(problem: Problem) -> list[str]:
    """Every record that a training on the problem may have, but for what takes long to measure."""
    net = problem.net
    without = {"validation_risk", DYNAMICS}  # of steps that have no weights of samples
    if problem.loss != "logistic" or net.n_outputs > 1 or problem.sample_weight is not None:
        without.update(MARGIN_RECORDS)
    without.add("modified_margin")  # of special networks alone
    if net.n_parameters > 5000:
        without.update(("sharpness", "sharpness_residual"))
    return [name for name in column_names(net._layout) if name not in without]


def flat(parameters: lipgd.Network | lipgd.Gradient) -> np.ndarray:
    """All parameters in float64, in the order of their names."""
    return np.concatenate([np.ravel(array) for _, array in parameters.named()]).astype(np.float64)


def relative_error(result: np.ndarray, expected: np.ndarray) -> float:
    """The norm of the error in units of the norm of what is expected."""
    scale = np.linalg.norm(np.ravel(expected))
    error = np.linalg.norm(np.ravel(np.asarray(result, np.float64) - expected))
    return float(error / scale) if scale > 0 else float(error)


# PyTorch in float64.

_TORCH: dict[str, Callable[..., torch.Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "relu6": torch.nn.functional.relu6,
    "elu": torch.nn.functional.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "softplus": lambda z: torch.nn.functional.softplus(z, threshold=1e9),
    "sin": torch.sin,
}


def torch_activation(activation: lipgd.activations.Activation) -> Callable[..., torch.Tensor]:
    base = _TORCH[lipgd.activations.names()[activation.kind]]
    if activation.name.split("(")[-2 if activation.mix else 0] in ("leaky_relu", "elu"):
        return _mixed(lambda z: base(z, activation.parameter), activation.mix)
    return _mixed(base, activation.mix)


def _mixed(base: Callable[..., torch.Tensor], mix: float) -> Callable[..., torch.Tensor]:
    return (lambda z: mix * z + (1 - mix) * base(z)) if mix else base


def torch_parameters(net: lipgd.Network | lipgd.Gradient) -> list[torch.Tensor]:
    return [torch.tensor(a, dtype=torch.float64, requires_grad=True) for _, a in net.named()]


def torch_outputs(
    net: lipgd.Network, parameters: list[torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    activation, rest = torch_activation(net.activation), iter(parameters)
    for layer, bias in enumerate(net.biases):
        x = (activation(x) if layer else x) @ next(rest).T
        if bias is not None:
            x = x + next(rest)
    return net.output_scale * x


def torch_risk(
    problem: Problem, parameters: list[torch.Tensor], rows: np.ndarray | slice = slice(None)
) -> torch.Tensor:
    """The risk over some of the samples."""
    x = torch.tensor(problem.X[rows], dtype=torch.float64)
    outputs = torch_outputs(problem.net, parameters, x)
    each = _torch_losses(problem.loss, outputs, torch.tensor(problem.y[rows]))
    if problem.sample_weight is None:
        return each.mean()
    weights = problem.sample_weight / problem.sample_weight.mean()
    return (torch.tensor(weights.astype(problem.net.dtype)[rows]) * each).mean()


def _torch_losses(loss: str, f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The losses of all samples."""
    kind = lipgd.losses.get(loss)
    if kind.kind == "cross_entropy":
        return torch.nn.functional.cross_entropy(
            f, y, reduction="none", label_smoothing=kind.parameter
        )
    y = y.to(torch.float64).reshape(f.shape)
    if kind.kind == "mse":
        each = (f - y) ** 2
    elif kind.kind == "huber":
        each = torch.nn.functional.huber_loss(f, y, reduction="none", delta=kind.parameter)
    else:
        each = torch.nn.functional.softplus(-y * f, threshold=1e9)
    return each.mean(dim=1)


def torch_gradient(
    problem: Problem, parameters: list[torch.Tensor] | None = None
) -> tuple[float, np.ndarray]:
    if parameters is None:
        parameters = torch_parameters(problem.net)
    risk = torch_risk(problem, parameters)
    parts = torch.autograd.grad(risk, parameters)
    return float(risk.detach()), np.concatenate([part.numpy().ravel() for part in parts])


def torch_hessian_product(problem: Problem, direction: lipgd.Gradient) -> np.ndarray:
    parameters, along = torch_parameters(problem.net), torch_parameters(direction)
    risk = torch_risk(problem, parameters)
    slopes = torch.autograd.grad(risk, parameters, create_graph=True)
    product = sum((g * d.detach()).sum() for g, d in zip(slopes, along, strict=True))
    parts = torch.autograd.grad(product, parameters, allow_unused=True, materialize_grads=True)
    return np.concatenate([part.numpy().ravel() for part in parts])


def torch_jacobian(net: lipgd.Network, X: np.ndarray) -> np.ndarray:
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    outputs = torch_outputs(net, [p.detach() for p in torch_parameters(net)], x)
    rows = [
        torch.autograd.grad(outputs[:, j].sum(), x, retain_graph=True)[0].numpy()
        for j in range(net.n_outputs)
    ]
    return np.stack(rows, axis=1)


# NumPy.


def numpy_risk_and_gradient(
    problem: Problem, arrays: list[np.ndarray], rows: np.ndarray | slice = slice(None)
) -> tuple[float, list[np.ndarray]]:
    """The risk for mse and its gradient by the parameters, which are given as arrays."""
    net, places = problem.net, _places(problem.net)
    features, slopes = [problem.X[rows]], []
    for layer, (w, b) in enumerate(places):
        z = features[-1] @ arrays[w].T + (0.0 if b is None else arrays[b])
        if layer + 1 < net.depth:
            features.append(net.activation(z))
            slopes.append(net.activation.slope(z))
    residual = net.output_scale * z - problem.y[rows].reshape(z.shape)
    weights = np.ones(len(problem.X))
    if problem.sample_weight is not None:
        weights = problem.sample_weight / problem.sample_weight.mean()
    weighted = weights[rows][:, None] * residual
    delta = 2 * net.output_scale * weighted / residual.size
    gradient: list[np.ndarray] = [np.empty(0)] * len(arrays)
    for layer in range(net.depth - 1, -1, -1):
        w, b = places[layer]
        gradient[w] = delta.T @ features[layer]
        if b is not None:
            gradient[b] = delta.sum(axis=0)
        if layer:
            delta = (delta @ arrays[w]) * slopes[layer - 1]
    return float((weighted * residual).mean()), gradient


def _places(net: lipgd.Network) -> list[tuple[int, int | None]]:
    """The positions of the weights and of the bias of every layer among all parameters."""
    counter: Iterator[int] = iter(range(2 * net.depth))
    return [(next(counter), None if b is None else next(counter)) for b in net.biases]


def numpy_descent(
    problem: Problem,
    rates: dict[str, np.ndarray],
    *,
    batches: list[np.ndarray] | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: dict[str, float] | None = None,
) -> list[list[np.ndarray]]:
    """The parameters before every step and after the last; those without a rate stay."""
    names = [name for name, _ in problem.net.named()]
    states = [[array.astype(np.float64) for _, array in problem.net.named()]]
    velocity = [np.zeros_like(array) for array in states[0]]
    for step in range(len(next(iter(rates.values())))):
        rows = slice(None) if batches is None else batches[step]
        theta = list(states[-1])
        gradient = numpy_risk_and_gradient(problem, theta, rows)[1]
        for i, name in enumerate(names):
            if name not in rates:
                continue
            slope = gradient[i] + (weight_decay or {}).get(name, 0.0) * theta[i]
            velocity[i] = momentum * velocity[i] + slope
            move = slope + momentum * velocity[i] if nesterov else velocity[i]
            theta[i] = theta[i] - rates[name][step] * move
        states.append(theta)
    return states


def batch_rows(batches: Batches, steps: int) -> list[np.ndarray]:
    """The positions of the samples of the first steps."""
    result, drawn = [], batches.round_of(0)
    for step in range(steps):
        if step == drawn.end:
            drawn = batches.round_of(step)
        result.append(drawn.part(step, step + 1)[0])
    return result


def sharpness(problem: Problem) -> float:
    """The largest size of an eigenvalue of the Hessian."""
    net, X, y, *rest = problem.data
    rng, size = np.random.default_rng(0), 1.0
    direction = lipgd.Gradient(
        [rng.normal(size=w.shape) for w in net.weights],
        [None if b is None else rng.normal(size=b.shape) for b in net.biases],
    )
    for _ in range(60):
        direction = lipgd.hessian_vector_product(net, X, y, direction, *rest)
        size = direction.norm()
        direction = lipgd.Gradient(
            [w / size for w in direction.weights],
            [None if b is None else b / size for b in direction.biases],
        )
    return size
