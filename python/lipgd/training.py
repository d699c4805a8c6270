"""Gradient descent: the only verb that changes parameters."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from lipgd import _core
from lipgd._batches import Round
from lipgd._check import flag, shown
from lipgd._checkpoint import check_target, read_checkpoint, write_checkpoint
from lipgd._plan import Plan, make_plan
from lipgd._progress import ProgressBar
from lipgd.constraints import LipschitzTarget, RateCaps
from lipgd.history import History
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.run import Run, Snapshot
from lipgd.schedules import ScheduleLike
from lipgd.types import ArrayLike

__all__ = ["train"]

#: In the order of the C++ enumeration.
_REACHED, _PAUSED, _CONVERGED, _DIVERGED, _CANCELLED = range(5)
#: Seconds between returns to Python, for progress, callbacks and a fair share of the threads.
_STRETCH = 0.05
#: Seconds between checkpoints if no number of steps is given.
_CHECKPOINT_SECONDS = 60.0
#: Steps without movement that make a standstill.
_STANDSTILL = 10


def train(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | Loss = "mse",
    rate: ScheduleLike | Mapping[str, ScheduleLike] = 0.01,
    steps: int = 1000,
    constraint: LipschitzTarget | RateCaps | None = None,
    update: str = "gradient",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float | Mapping[str, float] = 0.0,
    clip_norm: float | Mapping[str, float] | None = None,
    proximal: Mapping[str, tuple[str, float]] | None = None,
    batch_size: int | None = None,
    sampling: str = "independent",
    shuffle_seed: int = 0,
    frozen: Iterable[str] = (),
    sample_weight: ArrayLike | None = None,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    points: ArrayLike | None = None,
    record: Iterable[str] = ("risk",),
    record_every: int = 1,
    tolerance: float = 0.0,
    callback: Callable[[Snapshot], object] | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: str | os.PathLike[str] | None = None,
    n_threads: int | None = None,
) -> Run:
    """Train a network by gradient descent.

    A step is ``v = momentum * v + g + weight_decay * theta; theta -= rate * v`` with the gradient g
    of the risk over the batch; with ``nesterov`` it is
    ``theta -= rate * (g + weight_decay * theta + momentum * v)``. The result does not depend on the
    number of threads, on the machine's load or on interruptions, bit for bit.

    Parameters
    ----------
    net : Network
        Where to start; it is not changed.
    X : array_like, shape (n_samples, n_inputs)
        Samples; float32 and float64 are read in place, from memory-mapped files too.
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        Values; -1 or +1 for the logistic loss; integer labels (n_samples,) for cross_entropy.
    loss : str or Loss
        See :func:`lipgd.losses.get`.
    rate : number, Schedule, callable, array of shape (steps,), or mapping of these
        The learning rate, a map from the step (0, 1, ...) to a number >= 0. A mapping gives every
        trained parameter its own, by the names ``"W1"``, ``"b1"``, ``"W2"``, ...
    steps : int
        The number of steps.
    constraint : LipschitzTarget or RateCaps, optional
        A Lipschitz constant to keep at every step, or caps on the learning rates.
    update : str
        ``"gradient"``; ``"sign"`` (of the gradient, with momentum of v); ``"adam"`` (decay rates
        0.9 and 0.999, epsilon 1e-8); ``"conjugate_gradient"`` (Polak-Ribiere, restarted where its
        factor would be negative).
    momentum : float
        From 0 to below 1 (heavy ball).
    nesterov : bool
        Look ahead; needs momentum.
    weight_decay : float or mapping of str to float
        Strength >= 0, coupled to the gradient; a mapping decays the parameters that it names.
    clip_norm : float or mapping of str to float, optional
        The largest norm of the gradient; a number clips the whole gradient, a mapping the
        parameters that it names. The clipped gradient enters momentum.
    proximal : mapping of str to (str, float), optional
        Penalties by parameter, applied after each step with the step's rate: ``("l1", strength)``,
        ``("nuclear", strength)`` or ``("frobenius", strength)``.
    batch_size : int, optional
        Samples per step; by default all of them.
    sampling : str
        ``"independent"`` (a fresh subset per step), ``"replacement"`` or ``"reshuffled"`` (epochs;
        the last batch of an epoch has what is left).
    shuffle_seed : int
        Seed of the batches.
    frozen : iterable of str
        Parameters that stay as they are: ``("W2", "b2")``.
    sample_weight : array_like, shape (n_samples,), optional
        Weights >= 0, scaled to mean one.
    validation : pair of array_like, optional
        ``(X, y)`` of the validation risk.
    points : array_like, shape (n_points, n_inputs), optional
        Where the Jacobians of ``lipschitz_lower`` are taken; by default the samples.
    record : iterable of str
        What the history holds: ``risk``, ``gradient_norm``, ``gradient_norm:W1``, ``rate:W1``,
        ``spectral_norm:W1`` (an upper bound), ``spectral_norm_lower:W1``, ``lipschitz_upper``
        (product of spectral norms and activation constants, an upper bound), ``lipschitz_lower``
        (largest Jacobian norm over the points), ``validation_risk``, ``parameter_norm``,
        ``displacement``, ``displacement:W1``, ``path_length:W1``. Risk and gradient norms are those
        over all samples, also with batches.
    record_every : int
        A row is the state before step 0, k, 2k, ...; one more is the state after the last step.
    tolerance : float
        Stop when the norm of the full gradient is at most this; 0 never stops. With batches it is
        checked where rows are written.
    callback : callable, optional
        Called with a :class:`Snapshot` about every 50 ms; a true answer stops the training.
    progress : bool
        Show a progress bar on stderr.
    checkpoint : path-like, optional
        A file that holds the state of the training, replaced at intervals and at the end.
    checkpoint_every : int, optional
        Steps between checkpoints; by default a minute.
    resume : path-like, optional
        A checkpoint of a training with the same arguments to go on from; ``steps`` may differ. The
        result has the same bits as a run without interruption.
    n_threads : int, optional
        Threads to use; by default what the process may use, shared fairly between trainings that
        run at the same time.

    Returns
    -------
    Run
        A training that diverges or is interrupted by Ctrl-C is returned too, with the last good
        network and the history up to there; its status tells.

    Raises
    ------
    TypeError, ValueError
        For bad arguments or data, before any work.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (50, 2))
    >>> y = np.sin(X[:, 0]) + X[:, 1]
    >>> net = lipgd.Network.create([2, 32, 1], activation="silu")
    >>> run = lipgd.train(net, X, y, rate=0.1, steps=500, record=["risk", "lipschitz_upper"])
    >>> run.status, bool(run.history["risk"][-1] < 0.1 * run.history["risk"][0])
    ('finished', True)
    """
    plan = make_plan(
        net,
        X,
        y,
        loss=loss,
        rate=rate,
        steps=steps,
        constraint=constraint,
        update=update,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        proximal=proximal,
        batch_size=batch_size,
        sampling=sampling,
        shuffle_seed=shuffle_seed,
        frozen=frozen,
        sample_weight=sample_weight,
        validation=validation,
        points=points,
        record=record,
        record_every=record_every,
        tolerance=tolerance,
        checkpoint_every=checkpoint_every,
        n_threads=n_threads,
    )
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {shown(callback)}, expected a function of a Snapshot")
    flag("progress", progress)
    if checkpoint is not None:
        check_target(checkpoint)
    elif checkpoint_every is not None:
        raise ValueError(f"checkpoint_every is {checkpoint_every}, but checkpoint is missing")
    training = _Training(plan, checkpoint, checkpoint_every)
    if resume is not None:
        training.resume(resume)
    return training.run(callback, progress)


class _Training:
    """The state of one training, in arrays that the core changes."""

    def __init__(
        self,
        plan: Plan,
        checkpoint: str | os.PathLike[str] | None,
        checkpoint_every: int | None,
    ) -> None:
        self.plan = plan
        self.state = plan.fresh_state()
        self.rows = plan.empty_rows()
        self.round: Round | None = None
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.saved_at = time.monotonic()
        self.started = time.perf_counter()
        self.seconds_before = 0.0

    @property
    def step(self) -> int:
        return int(self.state["progress"][0])

    @property
    def n_rows(self) -> int:
        return int(self.state["progress"][1])

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    def resume(self, path: str | os.PathLike[str]) -> None:
        self.seconds_before = read_checkpoint(path, self.plan, self.state, self.rows)

    def save(self) -> None:
        if self.checkpoint is not None:
            write_checkpoint(self.checkpoint, self.plan, self.state, self.rows, self.seconds)
            self.saved_at = time.monotonic()

    def run(self, callback: Callable[[Snapshot], object] | None, progress: bool) -> Run:
        bar = ProgressBar(self.plan.settings.steps) if progress else None
        in_haste = False
        try:
            status, message = self._descend(callback, bar)
        except KeyboardInterrupt:
            status, message, in_haste = "interrupted", f"interrupted at step {self.step}", True
        finally:
            # A further Ctrl-C costs the file or the row that it meets, but not the run.
            with contextlib.suppress(KeyboardInterrupt):
                self.save()
            if bar is not None:
                bar.close()
        if not in_haste:
            with contextlib.suppress(KeyboardInterrupt):
                self._write_last_row()
        return self._outcome(status, message)

    def _descend(
        self, callback: Callable[[Snapshot], object] | None, bar: ProgressBar | None
    ) -> tuple[str, str]:
        steps = self.plan.settings.steps
        called_at = time.monotonic()
        while self.step < steps:
            stop = self._stretch()
            if stop == _CONVERGED:
                tolerance = self.plan.settings.tolerance
                return (
                    "converged",
                    f"the gradient's norm is at most {tolerance:g} at step {self.step}",
                )
            if stop == _DIVERGED:
                return "diverged", self._divergence()
            if stop == _CANCELLED:
                raise KeyboardInterrupt
            # A stretch may also end early, with its batches or at a checkpoint.
            if self.step == steps or time.monotonic() - called_at >= _STRETCH:
                if bar is not None:
                    bar.show(self.step, self._last("risk"))
                enough = callback is not None and callback(self._snapshot())
                if enough and self.step < steps:
                    return "interrupted", f"stopped by the callback at step {self.step}"
                called_at = time.monotonic()
            self._save_if_due()
        return "finished", f"took all {steps} steps" + self._standstill()

    def _standstill(self) -> str:
        """Say that the weights no longer move, where the method "rates" has come to that."""
        stalled = int(self.state["stalled"][0])
        if stalled < _STANDSTILL:
            return ""
        return (
            f"; the weights have stood still at the Lipschitz limit since step "
            f"{self.step - stalled}: that point is in general not stationary, and "
            "method='retract' would go on improving"
        )

    def _stretch(self) -> int:
        """Take steps until the next round of batches, checkpoint or return by the clock."""
        end, rows, offsets = self.plan.settings.steps, None, None
        if self.checkpoint is not None and self.checkpoint_every is not None:
            end = min(end, (self.step // self.checkpoint_every + 1) * self.checkpoint_every)
        if self.plan.batches is not None:
            if self.round is None or not self.round.begin <= self.step < self.round.end:
                self.round = self.plan.batches.round_of(self.step)
            end = min(end, self.round.end)
            rows, offsets = self.round.part(self.step, end)
        rates = self.plan.rates
        if self.plan.plug_in is not None:
            end = self.step + 1
            now = self.plan.plug_in.at(self.step, self.state["parameters"], rates[:, self.step])
            rates = np.broadcast_to(now[:, None], (len(now), end))
        stop: int = _core.descend(
            self.state["parameters"],
            self.plan.problem,
            self.state,
            self.rows,
            end,
            rates,
            rows,
            offsets,
            _STRETCH,
        )
        return stop

    def _write_last_row(self) -> None:
        every = self.plan.settings.record_every
        written = self.step % every == 0 and self.n_rows == self.step // every + 1
        if not written:
            _core.write_last_row(self.state["parameters"], self.plan.problem, self.state, self.rows)

    def _save_if_due(self) -> None:
        if self.checkpoint is None:
            return
        if self.checkpoint_every is not None:
            due = self.step % self.checkpoint_every == 0
        else:
            due = time.monotonic() - self.saved_at > _CHECKPOINT_SECONDS
        if due:
            self.save()

    def _divergence(self) -> str:
        if self.step == 0 and not np.isfinite(self.plan.risk_of(self.state["parameters"])):
            return "the risk of the initial network is not finite"
        return (
            f"step {self.step + 1} left the range of {self.plan.net.dtype} numbers; the network is "
            f"that of step {self.step}; a smaller rate may help"
        )

    def _last(self, name: str) -> float | None:
        record = self.plan.settings.record
        if name not in record or self.n_rows == 0:
            return None
        return float(self.rows[record.index(name), self.n_rows - 1])

    def _history(self) -> History:
        settings, count = self.plan.settings, self.n_rows
        step: npt.NDArray[np.int64] = np.arange(count, dtype=np.int64) * settings.record_every
        if count and step[-1] > self.step:
            step[-1] = self.step
        columns = {name: self.rows[i, :count] for i, name in enumerate(settings.record)}
        return History(step if settings.record else [], columns, self.plan.meta)

    def _snapshot(self) -> Snapshot:
        net = self.plan.net._with_flat(self.state["parameters"].copy())
        return Snapshot(self.step, self.plan.settings.steps, self.seconds, net, self._history())

    def _outcome(self, status: str, message: str) -> Run:
        seconds = self.seconds
        return Run(
            network=self.plan.net._with_flat(self.state["parameters"]),
            initial=self.plan.net,
            settings=self.plan.settings,
            history=self._history(),
            status=status,
            steps=self.step,
            seconds=seconds,
            message=message,
        )
