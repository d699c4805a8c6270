"""The verb of distributed training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lipgd._arguments import raw_weights, real_array
from lipgd._check import integer
from lipgd._checkpoint import check_target
from lipgd._descent import Descent
from lipgd._plan import Plan, make_plan
from lipgd.constraints import NORM_MODES, RateCaps
from lipgd.distributed._processes import agreed, communicator, meet, together
from lipgd.distributed._shards import Cut, Exchange
from lipgd.network import Network
from lipgd.run import Run, Snapshot
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["rows", "train"]

#: Samples that stand for all where Jacobians are taken, if the caller names none.
_MOST_POINTS = 1000
#: Records that every process can make: of parameters, or of the sums of all.
_RECORDS = (
    *("risk", "gradient_norm", "rate", "spectral_norm", "spectral_norm_lower", "lipschitz_upper"),
    *("lipschitz_upper_sdp", "lipschitz_lower", "validation_risk", "parameter_norm"),
    *("displacement", "path_length"),
)
#: Arguments of lipgd.train that have their defaults there.
_DEFAULTS: dict[str, Any] = {
    "loss": "mse",
    "rate": 0.01,
    "steps": 1000,
    "constraint": None,
    "update": "gradient",
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "clip_norm": None,
    "proximal": None,
    "frozen": (),
    "validation": None,
    "points": None,
    "record": ("risk",),
    "record_every": 1,
    "tolerance": 0.0,
    "n_threads": 1,
}


def rows(n_samples: int, comm: Any = None, shards: int = 64) -> slice:
    """Return which of all samples this process should hold.

    Processes that hold these rows train in place, without sending samples to each other.

    Parameters
    ----------
    n_samples : int
        The number of samples of all processes.
    comm : mpi4py communicator, optional
        By default that of all processes.
    shards : int
        As for :func:`train`.

    Returns
    -------
    slice

    Examples
    --------
    >>> from lipgd import distributed
    >>> class Two:  # what a communicator of two processes says to the second
    ...     rank, size = 1, 2
    >>> distributed.rows(1000, Two())
    slice(512, 1000, None)
    """
    cut = Cut(integer("n_samples", n_samples, at_least=1), shards, communicator(comm))
    return slice(*cut.owned(cut.comm.rank))


def train(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    comm: Any = None,
    shards: int = 64,
    sample_weight: ArrayLike | None = None,
    callback: Callable[[Snapshot], object] | None = None,
    callback_every: int | None = None,
    progress: bool = False,
    checkpoint: Any = None,
    checkpoint_every: int | None = None,
    resume: Any = None,
    **arguments: Any,
) -> Run:
    """Train a network on the samples of all processes; all of them call this and get the same run.

    The samples are cut into ``shards``, whose sums are added in one fixed order: the result has the
    same bits for every number of processes, but not those of :func:`lipgd.train`. Constraints,
    records and checkpoints work as there. Ctrl-C in any process, or a true answer of its callback,
    ends the training of all at the same step. A process that raises in the middle prints its error
    and aborts the program; if one is killed, one message says which. The last checkpoint is good,
    and may be resumed with another number of processes.

    Parameters
    ----------
    net : Network
        Where to start, the same in all processes.
    X, y, sample_weight
        The samples of this process, which follow those of the process before; see
        :func:`lipgd.train`. With the rows of :func:`rows` nothing is sent around.
    comm : mpi4py communicator, optional
        By default that of all processes.
    shards : int
        A power of two, at least the number of processes. It belongs to the problem: another number
        gives other bits.
    callback, callback_every, progress, checkpoint, checkpoint_every, resume
        As for :func:`lipgd.train`. Only the first process writes checkpoints, reads the one to
        resume, and shows progress.
    **arguments
        The others of :func:`lipgd.train`, the same in all processes, but ``batch_size`` and what
        belongs to it. ``validation`` and ``points`` are whole in every process; by default the
        points are the first 1000 samples. ``n_threads`` is 1 by default.

    Returns
    -------
    Run

    Raises
    ------
    TypeError, ValueError
        For bad arguments or data of any process, in all of them, before any work.

    References
    ----------
    Gradients are summed as the pairwise sums of N. J. Higham, "Accuracy and stability of numerical
    algorithms", section 4.1, with one leaf per shard.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> net = lipgd.Network.create([1, 16, 1], activation="tanh")
    >>> lipgd.distributed.train(net, X, np.sin(X), steps=10).status  # one process
    'finished'
    """
    channel = communicator(comm)
    meet(channel)
    first = channel.rank == 0
    with together(channel, (OSError, TypeError, ValueError)):
        plan, cut = _plan(net, X, y, sample_weight, channel, shards, arguments)
    exchange = Exchange(cut)
    plan.problem["shards"] = (*cut.position, exchange)
    agreed(channel, lambda: check_target(checkpoint) if first and checkpoint else None)

    def asked(snapshot: Snapshot) -> bool:
        # Not in one expression: Ctrl-C may set it while the callback is at work.
        if callback is not None and callback(snapshot):
            exchange.stop = True
        return False

    descent = Descent(
        plan,
        checkpoint if first else None,
        checkpoint_every,
        asked if callback is not None else None,
        callback_every,
    )
    if resume is not None:
        agreed(channel, lambda: descent.resume(resume) if first else None)
        _share(channel, descent)
    with exchange.signals(), together(channel):
        return descent.run(progress and first)


def _plan(
    net: Network,
    X: Any,
    y: Any,
    sample_weight: ArrayLike | None,
    comm: Any,
    shards: int,
    arguments: dict[str, Any],
) -> tuple[Plan, Cut]:
    """Check everything, here and in the other processes, and bring the samples into place."""
    given = {**_DEFAULTS, **arguments}

    def check() -> tuple[Any, Any, DoubleArray | None]:
        _check(arguments)
        inputs, targets = real_array("X", X), real_array("y", y)
        if inputs.ndim != 2 or targets.ndim not in (1, 2) or len(targets) != len(inputs):
            raise ValueError(
                f"X has shape {inputs.shape} and y {targets.shape}, expected (n_samples, "
                "n_inputs) and as many rows in y"
            )
        # A process may have only samples without weight, or none at all.
        return inputs, targets, _raw(sample_weight, len(inputs))

    X, y, weight = agreed(comm, check)
    _check_the_same(net, given, shards, X, y, weight is None, comm)
    cut = agreed(comm, lambda: Cut(sum(comm.allgather(len(X))), shards, comm))
    X, y, weight = cut.aligned(X, y, weight)
    if weight is not None:
        weight = _of_mean_one(weight, cut)
    if given["points"] is None:
        given["points"] = cut.first_rows(X, _MOST_POINTS)
    plan = agreed(
        comm,
        lambda: make_plan(
            net,
            X,
            y,
            **given,
            sample_weight=None,
            batch_size=None,
            sampling="independent",
            shuffle_seed=0,
            checkpoint_every=None,
            n_samples=cut.n_samples,
        ),
    )
    if weight is not None:
        values, labels, _ = plan.problem["targets"]
        plan.problem["targets"] = (values, labels, weight.astype(net.dtype))
    return replace(plan, data_digest=cut.digest(plan.problem)), cut


def _check(arguments: dict[str, Any]) -> None:
    unknown = sorted(set(arguments) - set(_DEFAULTS))
    if unknown:
        raise TypeError(
            f"{unknown[0]} is no argument of distributed.train, expected some of "
            f"{', '.join(_DEFAULTS)}"
        )
    constraint = arguments.get("constraint")
    if isinstance(constraint, RateCaps) and constraint.mode in NORM_MODES:
        raise ValueError(
            f"constraint has the mode {constraint.mode!r}, which needs all samples in one place, "
            "expected observed, carry_over or displacement"
        )
    for name in _names(arguments.get("record", ())):
        if name.split(":")[0] not in _RECORDS:
            raise ValueError(
                f"record has {name!r}, which needs all samples in one place, expected some of "
                f"{', '.join(_RECORDS)}"
            )


def _names(record: Any) -> list[str]:
    return [record] if isinstance(record, str) else [str(name) for name in record]


def _raw(sample_weight: ArrayLike | None, n_samples: int) -> DoubleArray | None:
    return None if sample_weight is None else raw_weights(sample_weight, n_samples)


def _of_mean_one(weight: DoubleArray, cut: Cut) -> DoubleArray:
    """Return weights whose mean over the samples of all processes is one."""
    largest = max(cut.comm.allgather(float(weight.max())))
    if largest == 0:
        raise ValueError("sample_weight is zero for every sample, expected a positive weight")
    weight = weight / largest  # so that the sum cannot overflow
    return weight * (cut.n_samples / cut.total(weight))


def _check_the_same(
    net: Network, given: dict[str, Any], shards: int, X: Any, y: Any, plain: bool, comm: Any
) -> None:
    """Raise in all processes if one was given other arguments than the first."""
    parts = {
        "net": hashlib.sha256(net._flat.tobytes()).hexdigest() + repr(net),
        "shards": shards,
        "X": (X.shape[1], str(X.dtype)),
        "y": (y.shape[1:], str(y.dtype)),
        "sample_weight": plain,
        **{name: repr(value) for name, value in given.items() if " at 0x" not in repr(value)},
    }
    everywhere = comm.allgather(parts)
    for process, other in enumerate(everywhere):
        for name, value in everywhere[0].items():
            if other.get(name) != value:
                raise ValueError(
                    f"{name} in process {process} is not that of process 0, expected the same "
                    "columns, types and arguments in all processes"
                )


def _share(comm: Any, descent: Descent) -> None:
    """Give the state of the first process to all."""
    state = comm.bcast((descent.state, descent.rows, descent.seconds_before))
    if comm.rank > 0:
        # The first weights are the plan's own; what changes takes its place in the same arrays.
        state[0]["initial"] = descent.state["initial"]
        descent.state, descent.rows, descent.seconds_before = state
        descent.follow()
