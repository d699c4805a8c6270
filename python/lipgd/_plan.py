"""The arguments of a training, checked and resolved before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd import _core, losses
from lipgd._arguments import finite_inputs_of, targets_of, weights_of
from lipgd._batches import SAMPLINGS, Batches
from lipgd._caps import PlugInCaps, a_priori_rates, described_rule
from lipgd._check import choice, flag, integer, number, shown
from lipgd._columns import column_codes, column_names, column_patterns, expanded
from lipgd._dynamics_record import DynamicsRecord, dynamics_record
from lipgd._layout import Layout
from lipgd._margin_rule import degree_of, gap_of, refuse_records
from lipgd._recording import Recording
from lipgd._step_rule import StepRule, meet_target, step_rule
from lipgd._threads import thread_choice
from lipgd.constraints import NORM_MODES, LipschitzTarget, RateCaps
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.run import Settings
from lipgd.schedules import Schedule, ScheduleLike, resolve
from lipgd.schedules._kinds import Constant, FromArray
from lipgd.types import ArrayLike, DoubleArray, FloatArray

__all__ = ["Plan", "make_plan"]

#: Schedules know the step as a float64 too.
_MOST_STEPS = 2**53


@dataclass(frozen=True)
class Plan:
    """What a training needs beside its state."""

    net: Network
    settings: Settings
    batches: Batches | None
    rates: DoubleArray  #: (groups, steps)
    rule: StepRule
    plug_in: PlugInCaps | None
    problem: dict[str, Any]  #: the arguments of the core
    n_samples: int  #: of all processes
    dynamics: DynamicsRecord | None = None
    data_digest: str | None = None  #: tells the samples from others, where they are not all here

    @property
    def n_rows(self) -> int:
        """The most rows that the history can have."""
        return -(-self.settings.steps // self.settings.record_every) + 1

    def empty_rows(self) -> DoubleArray:
        """Return room for the history, (columns, rows)."""
        shape = (len(self.settings.record), self.n_rows)
        try:
            return np.empty(shape)
        except (MemoryError, ValueError) as error:
            raise ValueError(
                f"record_every is {self.settings.record_every}, which makes {shape[1]} rows of "
                f"{shape[0]} columns, expected fewer: they exceed the memory"
            ) from error

    def risk_of(self, parameters: FloatArray) -> float:
        """Return the risk over all samples."""
        problem = self.problem
        value: float = _core.risk(
            problem["net"],
            parameters,
            *(problem[name] for name in ("inputs", "targets", "loss", "threads", "shared")),
        )
        return value

    @property
    def meta(self) -> dict[str, Any]:
        """Facts for the history's file."""
        return {
            "lipgd": _core.build_info["version"],
            "level": _core.level,
            "network": repr(self.net),
            "dtype": str(self.net.dtype),
            "n_samples": self.n_samples,
            **self.settings.facts(),
        }

    def fresh_state(self) -> dict[str, Any]:
        """Return the arrays that change, as they are before the first step."""
        flat = self.net._flat
        path = any(name.startswith("path_length") for name in self.settings.record)
        memory = {
            name: np.zeros_like(flat) if name in self.rule.arrays else None
            for name in ("velocity", "squares", "last_gradient")
        }
        groups = len(self.net._layout.names)
        return {
            "parameters": flat.copy(),
            "previous": flat.copy(),
            "initial": flat,
            **memory,
            "path_length": np.zeros(2 * groups) if path else None,
            "spent": np.zeros(groups) if isinstance(self.settings.constraint, RateCaps) else None,
            "stalled": np.zeros(1, np.int64),
            "carried": np.zeros(1, np.int64),
            **({} if self.dynamics is None else self.dynamics.fresh_state()),
            "directions": [],
            "progress": np.zeros(2, np.int64),
            "scratch": np.empty(0, np.uint8),
        }


def make_plan(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | Loss,
    rate: ScheduleLike | Mapping[str, ScheduleLike],
    steps: int,
    constraint: LipschitzTarget | RateCaps | None,
    update: str,
    momentum: float,
    nesterov: bool,
    weight_decay: float | Mapping[str, float],
    clip_norm: float | Mapping[str, float] | None,
    proximal: Mapping[str, tuple[str, float]] | None,
    batch_size: int | None,
    sampling: str,
    shuffle_seed: int,
    frozen: Iterable[str],
    sample_weight: ArrayLike | None,
    validation: tuple[ArrayLike, ArrayLike] | None,
    points: ArrayLike | None,
    record: Iterable[str],
    record_every: int,
    tolerance: float,
    checkpoint_every: int | None,
    n_threads: int | None,
    dynamics: Recording | None = None,
    n_samples: int | None = None,
) -> Plan:
    """Check and resolve the arguments of :func:`lipgd.train`.

    ``n_samples`` is that of all processes, where X is a part of the samples.
    """
    _check_network(net)
    layout, kind = net._layout, losses.get(loss)
    fixed = _names("frozen", frozen, layout.names)
    trained = [name for name in layout.names if name not in fixed]
    if not trained:
        raise ValueError("frozen names every parameter, expected one that can be trained")
    recorded = _names("record", record, column_names(layout), column_patterns(layout))
    flags = [name in trained for name in layout.names]
    gap = gap_of(net, flags) if "modified_margin" in recorded else 0.0
    refuse_records(recorded, net, kind, sample_weight is not None, gap)
    if "validation_risk" in recorded and validation is None:
        raise ValueError("record has validation_risk, but validation is missing")
    if checkpoint_every is not None:
        integer("checkpoint_every", checkpoint_every, at_least=1)
    rates, by_name = _rates(rate, _steps(steps), layout, trained)
    threads, shared = thread_choice(n_threads)
    x = finite_inputs_of("X", X, net.n_inputs, net.dtype)
    total = len(x) if n_samples is None else n_samples
    rule = step_rule(
        net,
        trained,
        update=update,
        momentum=number("momentum", momentum, at_least=0, below=1),
        nesterov=_nesterov(nesterov, momentum),
        clip_norm=clip_norm,
        proximal=proximal,
        constraint=constraint,
        batch_size=batch_size,
        steps=int(steps),
        n_samples=total,
    )
    if isinstance(constraint, LipschitzTarget):
        net = meet_target(net, trained, constraint)
    targets = _targets(y, kind, x, net, sample_weight)
    weighted = targets[2] is not None and bool(np.ptp(targets[2]) > 0)
    measured = dynamics_record(
        recorded,
        dynamics,
        net,
        update=update,
        clip_norm=clip_norm,
        proximal=proximal,
        constraint=constraint,
        weighted=weighted,
        trained=flags,
        rates=rates,
        n_samples=len(x),
    )
    settings = Settings(
        loss=kind,
        steps=int(steps),
        rates=by_name,
        constraint=constraint,
        update=update,
        momentum=momentum,
        nesterov=nesterov,
        clip_norm=clip_norm,
        proximal=None if proximal is None else dict(proximal),
        weight_decay=_weight_decay(weight_decay, trained, layout),
        tolerance=number("tolerance", tolerance, at_least=0),
        frozen=fixed,
        record=expanded(recorded, layout),
        dynamics=measured,
        record_every=integer("record_every", record_every, at_least=1),
        batch_size=_batch_size(batch_size, len(x)),
        sampling=choice("sampling", sampling, SAMPLINGS),
        shuffle_seed=integer("shuffle_seed", shuffle_seed, at_least=0),
        weighted=weighted,
    )
    batches = None
    if settings.batch_size is not None:
        batches = Batches(len(x), settings.batch_size, settings.sampling, settings.shuffle_seed)
    problem = {
        "net": net._call,
        "loss": kind._code,
        "inputs": x,
        "targets": targets,
        "validation": _validation(validation, kind, net) if validation is not None else None,
        "points": x
        if points is None
        else finite_inputs_of("points", points, net.n_inputs, net.dtype),
        "trained": flags,
        "weight_decay": [settings.weight_decay.get(name, 0.0) for name in layout.names],
        "tolerance": settings.tolerance,
        **rule.entries,
        "columns": column_codes(settings.record, layout),
        "record_every": settings.record_every,
        "degree": float(degree_of(net, flags)),
        "homogeneity_gap": gap or 0.0,
        "batch_sizes": [] if batches is None else batches.sizes,
        "threads": threads,
        "shared": shared,
        "shards": None,
    }
    plug_in = None
    if isinstance(constraint, RateCaps) and constraint.mode in NORM_MODES:
        values, labels, weights = problem["targets"]
        data = (x, labels if values is None else values, weights)
        if constraint.mode == "plug_in":
            _refuse_plug_in(settings)
            plug_in = PlugInCaps(constraint, net, data, kind)
        else:
            described = described_rule(settings, None if batches is None else batches.sizes)
            rates = a_priori_rates(constraint, net, data, kind, rates, described)
    rows = DynamicsRecord.of(net, settings, problem, rates)
    return Plan(net, settings, batches, rates, rule, plug_in, problem, total, rows)


def _refuse_plug_in(settings: Settings) -> None:
    """Raise for steps along anything but the gradient over all samples, which (4) bounds."""
    plain = settings.update == "gradient" and settings.momentum == 0 and settings.batch_size is None
    if not plain or settings.proximal or any(settings.weight_decay.values()):
        raise ValueError(
            "mode is 'plug_in', which bounds the gradient over all samples alone, expected no "
            "batches, momentum, weight decay, penalties or other updates"
        )


def _check_network(net: Network) -> None:
    if not isinstance(net, Network):
        raise TypeError(f"net is {shown(net)}, expected a Network")
    if not np.isfinite(net._flat).all():
        raise ValueError("net has a parameter that is not finite, expected finite numbers")


def _steps(steps: int) -> int:
    if integer("steps", steps, at_least=0) > _MOST_STEPS:
        raise ValueError(f"steps is {steps}, expected at most {_MOST_STEPS}")
    return int(steps)


def _names(
    argument: str, names: Iterable[str], known: tuple[str, ...], patterns: tuple[str, ...] = ()
) -> tuple[str, ...]:
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Iterable):
        raise TypeError(f"{argument} is {shown(names)}, expected names such as ({known[0]!r},)")
    listed = list(names)
    for name in listed:
        if not isinstance(name, str):
            raise TypeError(f"{argument} has {shown(name)}, expected names such as {known[0]!r}")
        if name not in known:
            some = ", ".join(patterns or known)
            raise ValueError(f"{argument} has {shown(name)}, expected some of {some}")
    return tuple(dict.fromkeys(listed))


def _rates(
    rate: ScheduleLike | Mapping[str, ScheduleLike],
    steps: int,
    layout: Layout,
    trained: list[str],
) -> tuple[DoubleArray, dict[str, DoubleArray]]:
    """Return the rates of all groups, and those of the trained ones by name."""
    if not isinstance(rate, Mapping):
        one = _rate_array("rate", resolve(rate), steps)
        return (
            np.broadcast_to(one, (len(layout.names), steps)),
            dict.fromkeys(trained, one),
        )
    unknown = [name for name in rate if name not in trained]
    if unknown:
        raise ValueError(f"rate has the name {unknown[0]!r}, expected {', '.join(trained)}")
    missing = [name for name in trained if name not in rate]
    if missing:
        raise ValueError(f"rate has no entry for {missing[0]!r}, expected {', '.join(trained)}")
    by_name = {}
    for name in trained:
        label = f"rate[{name!r}]"
        by_name[name] = _rate_array(label, resolve(rate[name], label), steps)
    none = np.broadcast_to(np.float64(0.0), steps)
    return np.stack([by_name.get(name, none) for name in layout.names]), by_name


def _rate_array(name: str, schedule: Schedule, steps: int) -> DoubleArray:
    if isinstance(schedule, FromArray) and len(schedule.a) < steps:
        raise ValueError(f"{name} has {len(schedule.a)} entries, but steps is {steps}")
    if isinstance(schedule, Constant):  # one number serves any number of steps
        return np.broadcast_to(np.float64(schedule.rate), steps)
    rates = schedule.rates(steps)
    rates.flags.writeable = False
    return rates


def _nesterov(nesterov: bool, momentum: float) -> bool:
    if flag("nesterov", nesterov) and momentum == 0:
        raise ValueError("nesterov is True, but momentum is 0, expected a momentum above 0")
    return nesterov


def _weight_decay(
    weight_decay: float | Mapping[str, float], trained: list[str], layout: Layout
) -> dict[str, float]:
    if not isinstance(weight_decay, Mapping):
        return dict.fromkeys(trained, number("weight_decay", weight_decay, at_least=0))
    _names("weight_decay", weight_decay, tuple(trained))
    return {
        name: number(f"weight_decay[{name!r}]", value, at_least=0)
        for name, value in weight_decay.items()
    }


def _batch_size(batch_size: int | None, n_samples: int) -> int | None:
    if batch_size is None:
        return None
    size = integer("batch_size", batch_size, at_least=1)
    if size > n_samples:
        raise ValueError(f"batch_size is {size}, but there are {n_samples} samples")
    return size


def _targets(
    y: ArrayLike,
    loss: Loss,
    x: FloatArray,
    net: Network,
    sample_weight: ArrayLike | None = None,
) -> tuple[Any, ...]:
    values, labels = targets_of("y", y, loss, len(x), net.n_outputs, net.dtype)
    return values, labels, weights_of(sample_weight, len(x), net.dtype)


def _validation(validation: Sequence[ArrayLike], loss: Loss, net: Network) -> tuple[Any, ...]:
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        raise TypeError("validation is no pair, expected (X, y)")
    names = ("validation[0]", "validation[1]")
    x = finite_inputs_of(names[0], validation[0], net.n_inputs, net.dtype)
    values, labels = targets_of(
        names[1], validation[1], loss, len(x), net.n_outputs, net.dtype, names[0]
    )
    return x, (values, labels, None)
