"""Update rules, clipping, penalties and constraints, resolved for the core."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd import _core
from lipgd._caps import increments_of
from lipgd._check import choice, number
from lipgd.constraints import (
    CAP_MODES,
    CERTIFICATES,
    CONTROLLERS,
    METHODS,
    LipschitzTarget,
    RateCaps,
)
from lipgd.network import Network
from lipgd.types import DoubleArray

__all__ = ["UPDATES", "StepRule", "accelerated", "certified", "meet_target", "step_rule"]

#: In the order of the C++ enumerations.
UPDATES = ("gradient", "sign", "adam", "conjugate_gradient")
_PENALTIES = ("none", "l1", "nuclear", "frobenius")
#: Decay rates and epsilon of adam (Kingma and Ba 2015).
_ADAM = (0.9, 0.999, 1e-8)


@dataclass(frozen=True)
class StepRule:
    """The entries of the core's problem that say what a step does, and the arrays it needs."""

    entries: dict[str, Any]
    arrays: tuple[str, ...]


def step_rule(
    net: Network,
    trained: list[str],
    *,
    update: str,
    momentum: float,
    nesterov: bool,
    clip_norm: float | Mapping[str, float] | None,
    proximal: Mapping[str, tuple[str, float]] | None,
    constraint: LipschitzTarget | RateCaps | None,
    batch_size: int | None,
    steps: int,
    n_samples: int,
) -> StepRule:
    """Check and resolve what a step does beside following its learning rates."""
    names = net._layout.names
    penalties = _penalties(proximal, trained)
    clip, clip_all = _clip(clip_norm, trained)
    _refuse_growing_penalties(constraint, penalties)
    caps, budgets = ("none", False, [0.0] * len(names)), None
    if isinstance(constraint, RateCaps):
        _known("budgets", constraint.budgets, trained)
    if isinstance(constraint, RateCaps) and constraint.mode in CAP_MODES:
        caps, budgets = _caps(constraint, net, penalties, steps, n_samples)
    entries = {
        "update": _update(update, momentum, nesterov),
        "clip": [clip.get(name, math.inf) for name in names],
        "clip_all": clip_all,
        "proximal": [_penalty_code(penalties.get(name)) for name in names],
        "caps": (CAP_MODES.index(caps[0]), caps[1], caps[2]),
        "budgets": budgets,
        "target": (
            *_target_code(constraint),
            accelerated(constraint, update, momentum, batch_size),
        ),
        "slopes": _slopes(net),
    }
    arrays = {
        "gradient": ("velocity",) if momentum else (),
        "sign": ("velocity",) if momentum else (),
        "adam": ("velocity", "squares"),
        "conjugate_gradient": ("velocity", "last_gradient"),
    }[update]
    return StepRule(entries, arrays)


def accelerated(constraint: object, update: str, momentum: float, batch_size: int | None) -> bool:
    """Whether movements are carried over at the limit: where steps are plain and without noise."""
    if not isinstance(constraint, LipschitzTarget) or constraint.method != "retract":
        return False
    return constraint.accelerate and update == "gradient" and not momentum and batch_size is None


def meet_target(net: Network, trained: list[str], target: LipschitzTarget) -> Network:
    """Return the network to start from: rescaled if it exceeds the limit and that is allowed."""
    bound = certified(net, target.certificate)
    if bound <= target.limit:
        return net
    matrices = [name for name in trained if name.startswith("W")]
    if not math.isfinite(bound):
        raise ValueError(
            "net has weights whose certified Lipschitz constant is not a finite number, expected "
            "smaller ones"
        )
    if not target.rescale_initial:
        raise ValueError(
            f"constraint has the limit {target.limit:g}, but the network begins with a certified "
            f"Lipschitz constant of {_rounded_up(bound)}, expected a limit of at least that, or "
            "rescale_initial=True"
        )
    if not matrices:
        raise ValueError(
            f"constraint has the limit {target.limit:g}, but the frozen weights have a certified "
            f"Lipschitz constant of {_rounded_up(bound)}, expected a limit of at least that"
        )
    factor = (target.theta * target.limit / bound) ** (1 / len(matrices))
    margin = 4 * float(np.finfo(net.dtype).eps)
    while True:
        scaled = _scaled(net, matrices, factor)
        # Where theta is close to 1, rounding and the brackets of norms may exceed the limit.
        if certified(scaled, target.certificate) <= target.limit:
            return scaled
        factor *= 1 - margin
        margin *= 4


def _scaled(net: Network, matrices: list[str], factor: float) -> Network:
    flat = net._flat.copy()
    for name, begin, end, _ in net._layout.groups:
        if name in matrices:
            flat[begin:end] *= factor
    return net._with_flat(flat)


def _rounded_up(bound: float) -> str:
    """Return six digits that are at least the bound: a limit that is possible."""
    digits = f"{bound:.6g}"
    if float(digits) < bound:
        step = 10.0 ** (math.floor(math.log10(bound)) - 5)
        digits = f"{float(digits) + step:.6g}"
    return digits


def certified(net: Network, certificate: str) -> float:
    """Return the certificate of the training loop for a network: a proved upper bound."""
    if certificate == "balanced" and net.depth != 2:
        raise ValueError(
            f"certificate is 'balanced', but the network has {net.depth} weight matrices, "
            "expected 2"
        )
    bound: float = _core.certificate(
        net._call, net._flat, CERTIFICATES.index(certificate), _slopes(net)
    )
    return bound


def _slopes(net: Network) -> tuple[float, float, float]:
    activation = net.activation
    if not math.isfinite(activation.lipschitz):
        raise ValueError(
            f"activation is {activation.name}, which is not Lipschitz, expected one that is"
        )
    return (activation.lipschitz, *activation.slope_range)


def _update(update: str, momentum: float, nesterov: bool) -> tuple[int, float, bool, float, float]:
    code = UPDATES.index(choice("update", update, UPDATES))
    if update in ("adam", "conjugate_gradient") and momentum:
        raise ValueError(
            f"momentum is {momentum:g}, but update is {update!r}, which has its own, expected 0"
        )
    first, second, epsilon = _ADAM
    return code, first if update == "adam" else momentum, nesterov, second, epsilon


def _clip(
    clip_norm: float | Mapping[str, float] | None, trained: list[str]
) -> tuple[dict[str, float], float]:
    if clip_norm is None:
        return {}, math.inf
    if not isinstance(clip_norm, Mapping):
        return {}, number("clip_norm", clip_norm, above=0)
    _known("clip_norm", clip_norm, trained)
    return {
        name: number(f"clip_norm[{name!r}]", value, above=0) for name, value in clip_norm.items()
    }, math.inf


def _penalties(
    proximal: Mapping[str, tuple[str, float]] | None, trained: list[str]
) -> dict[str, tuple[str, float]]:
    if proximal is None:
        return {}
    if not isinstance(proximal, Mapping):
        raise TypeError(f"proximal is {proximal!r}, expected a mapping from names to penalties")
    _known("proximal", proximal, trained)
    result = {}
    for name, penalty in proximal.items():
        pair: object = penalty
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                f"proximal[{name!r}] is {penalty!r}, expected a pair such as ('l1', 0.01)"
            )
        kind = choice(f"proximal[{name!r}][0]", penalty[0], _PENALTIES[1:])
        if kind == "nuclear" and not name.startswith("W"):
            raise ValueError(f"proximal[{name!r}] is 'nuclear', expected that for matrices only")
        result[name] = (kind, number(f"proximal[{name!r}][1]", penalty[1], at_least=0))
    return result


def _refuse_growing_penalties(
    constraint: LipschitzTarget | RateCaps | None, penalties: dict[str, tuple[str, float]]
) -> None:
    """Raise for thresholds of entries, which can raise a spectral norm (section 11)."""
    if not isinstance(constraint, LipschitzTarget) or constraint.method != "rates":
        return
    for name, (kind, _) in penalties.items():
        if kind == "l1" and name.startswith("W"):
            raise ValueError(
                f"proximal[{name!r}] is 'l1', which can raise the norm after a step that "
                "method='rates' has measured, expected another penalty or method='retract'"
            )


def _penalty_code(penalty: tuple[str, float] | None) -> tuple[int, float]:
    return (0, 0.0) if penalty is None else (_PENALTIES.index(penalty[0]), penalty[1])


def _target_code(constraint: LipschitzTarget | RateCaps | None) -> tuple[int, float, int, int]:
    if constraint is not None and not isinstance(constraint, (LipschitzTarget, RateCaps)):
        raise TypeError(f"constraint is {constraint!r}, expected a LipschitzTarget or RateCaps")
    if not isinstance(constraint, LipschitzTarget):
        return 0, 0.0, 0, 0
    return (
        METHODS.index(constraint.method),
        constraint.limit,
        CERTIFICATES.index(constraint.certificate),
        CONTROLLERS.index(constraint.controller),
    )


def _caps(
    caps: RateCaps,
    net: Network,
    penalties: dict[str, tuple[str, float]],
    steps: int,
    n_samples: int,
) -> tuple[tuple[str, bool, list[float]], DoubleArray]:
    """Return the caps as the core takes them, and the budget of every group and step."""
    shape = increments_of(caps)
    # Of the step alone, or the running sum with the step.
    increments = shape.rates(steps) if caps.mode == "observed" else shape.total(steps)[1:]
    scale = {name: value / n_samples * (1 - caps.slack) for name, value in caps.budgets.items()}
    unlimited = np.broadcast_to(math.inf, steps)
    budgets = np.stack(
        [increments * scale[name] if name in scale else unlimited for name in net._layout.names]
    )
    surcharge = []
    for name, begin, end, _ in net._layout.groups:
        kind, strength = penalties.get(name, ("none", 0.0))
        # An entrywise threshold moves every entry by the rate times the strength
        # (rate-constraints.md, section 11); the other penalties only shrink.
        surcharge.append(strength * math.sqrt(end - begin) if kind == "l1" else 0.0)
    return (caps.mode, caps.norm == "spectral", surcharge), budgets


def _known(argument: str, given: Mapping[str, Any], trained: list[str]) -> None:
    for name in given:
        if name not in trained:
            raise ValueError(
                f"{argument} has the name {name!r}, expected some of {', '.join(trained)}"
            )
