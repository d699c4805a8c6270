"""Caps on learning rates that come from norms of data and weights, not from directions.

Those that are known before training become part of the learning rates; those of the plug-in mode
are found before every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lipgd.constraints import RateCaps
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.run import Settings
from lipgd.schedules import Schedule, resolve
from lipgd.types import DoubleArray, FloatArray

__all__ = ["PlugInCaps", "a_priori_rates", "described_rule", "increments_of"]


def increments_of(caps: RateCaps) -> Schedule:
    """Return the increments of the rate function as a schedule."""
    schedule = getattr(caps.shape, "schedule", None)
    return resolve(caps.shape if schedule is None else schedule(), "shape")


def described_rule(settings: Settings, batch_sizes: Sequence[int] | None) -> dict[str, Any]:
    """Return the update rule as arguments of ``theory.rate_constraints.UpdateRule``."""
    if settings.update == "conjugate_gradient":
        raise ValueError(
            "update is 'conjugate_gradient', whose directions have no bound before training, "
            "expected another mode of caps"
        )
    penalties = settings.proximal or {}
    clip = settings.clip_norm
    return {
        "method": settings.update,
        "momentum": settings.momentum,
        "batch_size": None if batch_sizes is None else min(batch_sizes),
        "replacement": settings.sampling == "replacement",
        "clip_norm": clip if isinstance(clip, (int, float)) else None,
        "weight_decay": {name: value for name, value in settings.weight_decay.items() if value},
        "shrinking_prox": any(kind != "l1" for kind, _ in penalties.values()),
        "l1": {name: value for name, (kind, value) in penalties.items() if kind == "l1"},
    }


def a_priori_rates(
    caps: RateCaps,
    net: Network,
    data: tuple[FloatArray, Any, FloatArray | None],
    loss: Loss,
    rates: DoubleArray,
    rule: dict[str, Any],
) -> DoubleArray:
    """Return the rates under the caps of the tracked or the linear mode.

    ``rule`` holds the arguments of ``theory.rate_constraints.UpdateRule``.
    """
    from lipgd.theory import rate_constraints as theory  # heavy, and only these modes need it

    quantities = theory.measure(net, data[0], data[1], loss, data[2])
    if caps.initial != "given":
        quantities = theory.norm_only(quantities, *caps.initial.norms(net.sizes, _biased(net)))
    budgets = {name: value * (1 - caps.slack) for name, value in caps.budgets.items()}
    update, shape, steps = theory.UpdateRule(**rule), increments_of(caps), rates.shape[1]
    names = net._layout.names
    if caps.mode == "linear":
        found = theory.linear_caps(quantities, budgets, shape, steps, rule=update)
    else:
        base = dict(zip(names, rates, strict=True))
        found = theory.tracked_caps(quantities, budgets, shape, base, steps, rule=update)
    return np.minimum(rates, np.stack([found.caps[name] for name in names]))


def _biased(net: Network) -> bool:
    return any(net._layout.has_bias)


class PlugInCaps:
    """Caps from the norms of weights, features and loss gradients at every step, (4)."""

    def __init__(
        self,
        caps: RateCaps,
        net: Network,
        data: tuple[FloatArray, Any, FloatArray | None],
        loss: Loss,
    ) -> None:
        self._caps, self._net, self._data, self._loss = caps, net, data, loss
        self._increments = increments_of(caps)

    def at(self, step: int, parameters: FloatArray, rates: DoubleArray) -> DoubleArray:
        """Return the rates of one step, (groups,), under the caps."""
        from lipgd.theory import rate_constraints as theory

        net = self._net._with_flat(parameters.copy())
        quantities = theory.measure(net, self._data[0], self._data[1], self._loss, self._data[2])
        majorants = theory.gradient_majorants(quantities)
        scale = self._increments(step) / len(self._data[0]) * (1 - self._caps.slack)
        limits = [
            scale * self._caps.budgets[name] / majorants[name]
            if name in self._caps.budgets and majorants[name] > 0
            else np.inf
            for name in net._layout.names
        ]
        return np.minimum(rates, limits)
