"""JAX on lifted XOR: a jitted scan over rows of the record, with a scan of the steps within."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from problem import XorStart

MIX = 0.5
GAP = 0.5 * (1 - MIX) * float(np.log(2))


def prepare(given: XorStart, dtype: str, threads: int) -> Callable[[int], list[Any]]:
    jax.config.update("jax_enable_x64", dtype == "float64")
    X, y = jnp.asarray(given.X), jnp.asarray(given.y)
    outer = jnp.asarray(given.signs / len(given.signs))
    every = given.record_every

    def margins_of(W: Any) -> Any:
        z = X @ W.T
        return y * ((MIX * z + (1 - MIX) * jax.nn.softplus(z)) @ outer)

    def risk(W: Any) -> Any:
        return jax.nn.softplus(-margins_of(W)).mean()

    def record(W: Any) -> Any:
        q = margins_of(W)
        log_risk = jnp.log(jax.nn.softplus(-q).mean())
        norm, smallest = jnp.sqrt((W**2).sum()), q.min()
        smoothed = -jnp.log(jnp.expm1(len(q) * jnp.exp(log_risk)))
        values = [log_risk, smallest, smallest / norm, smoothed / norm, (smoothed - GAP) / norm]
        return jnp.stack(values)

    @partial(jax.jit, static_argnums=1)
    def descend(W: Any, steps: int) -> Any:
        def step(W: Any, _: None) -> tuple[Any, None]:
            return W - given.rate * jax.grad(risk)(W), None

        def row(W: Any, _: None) -> tuple[Any, Any]:
            return jax.lax.scan(step, W, None, length=every)[0], record(W)

        W, table = jax.lax.scan(row, W, None, length=steps // every)
        return jax.lax.scan(step, W, None, length=steps % every)[0], table

    def train(steps: int) -> list[Any]:
        W, table = jax.block_until_ready(descend(jnp.asarray(given.weights), steps))
        return [np.asarray(W), np.asarray(table)]

    return train
