"""JAX: one jitted function that runs all steps in ``lax.scan``; float64 through jax_enable_x64.

JAX sizes its thread pool by the CPUs that the process may use: the harness sets the affinity.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
}
LOSSES = {"mse": lambda outputs, y: jnp.mean((outputs - y) ** 2)}


def prepare(
    weights: list[Any],
    biases: list[Any],
    X: Any,
    y: Any,
    activation: str,
    loss: str,
    rate: float,
    dtype: str,
    threads: int,
) -> Callable[[int], list[Any]]:
    jax.config.update("jax_enable_x64", dtype == "float64")
    sigma, measure = ACTIVATIONS[activation], LOSSES[loss]
    inputs, targets = jnp.asarray(X), jnp.asarray(y)
    initial = [(jnp.asarray(W), jnp.asarray(b)) for W, b in zip(weights, biases, strict=True)]

    def risk(theta: list[Any], X: Any, y: Any) -> Any:
        h = X
        for W, b in theta[:-1]:
            h = sigma(h @ W.T + b)
        W, b = theta[-1]
        return measure(h @ W.T + b, y)

    @partial(jax.jit, static_argnums=3)
    def descend(theta: list[Any], X: Any, y: Any, steps: int) -> list[Any]:
        def step(theta: list[Any], _: None) -> tuple[list[Any], None]:
            gradient = jax.grad(risk)(theta, X, y)
            return jax.tree.map(lambda p, g: p - rate * g, theta, gradient), None

        return jax.lax.scan(step, theta, None, length=steps)[0]

    def train(steps: int) -> list[Any]:
        theta = jax.block_until_ready(descend(initial, inputs, targets, steps))
        return [np.asarray(array) for pair in theta for array in pair]

    return train
