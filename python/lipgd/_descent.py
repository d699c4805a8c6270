"""The loop of a training: stretches of steps in the core, and what happens between them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lipgd import _core
from lipgd._batches import Round
from lipgd._checkpoint import read_checkpoint, write_checkpoint
from lipgd._plan import Plan
from lipgd._progress import ProgressBar
from lipgd.history import History
from lipgd.run import Run, Snapshot

__all__ = ["Descent"]

#: In the order of the C++ enumeration.
_REACHED, _PAUSED, _CONVERGED, _DIVERGED, _CANCELLED = range(5)
#: Seconds between returns to Python, for progress, callbacks and a fair share of the threads.
_STRETCH = 0.05
#: Seconds between checkpoints if no number of steps is given.
_CHECKPOINT_SECONDS = 60.0
#: Steps without movement that make a standstill.
_STANDSTILL = 10


class Descent:
    """The state of one training, in arrays that the core changes."""

    def __init__(
        self,
        plan: Plan,
        checkpoint: str | os.PathLike[str] | None,
        checkpoint_every: int | None,
        callback: Callable[[Snapshot], object] | None,
        callback_every: int | None,
    ) -> None:
        self.plan = plan
        self.state = plan.fresh_state()
        self.rows = plan.empty_rows()
        self.round: Round | None = None
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.callback = callback
        self.callback_every = callback_every
        self._next_call = self._call_after(0)
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
        self.follow()

    def follow(self) -> None:
        """Go on from where the state is now."""
        self._next_call = self._call_after(self.step)

    def save(self) -> None:
        if self.checkpoint is not None:
            write_checkpoint(self.checkpoint, self.plan, self.state, self.rows, self.seconds)
            self.saved_at = time.monotonic()

    def run(self, progress: bool) -> Run:
        bar = ProgressBar(self.plan.settings.steps, done=self.step) if progress else None
        in_haste = False
        try:
            status, message = self._descend(bar)
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

    def _descend(self, bar: ProgressBar | None) -> tuple[str, str]:
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
            on_time = self.step == steps or time.monotonic() - called_at >= _STRETCH
            if on_time:
                if bar is not None:
                    bar.show(self.step, self._last("risk"))
                called_at = time.monotonic()
            if self._call_back(on_time) and self.step < steps:
                return "interrupted", f"stopped by the callback at step {self.step}"
            self._save_if_due()
        return "finished", f"took all {steps} steps" + self._standstill() + self._immobile()

    def _immobile(self) -> str:
        """Say that the last step moved nothing, where the logistic loss has come to that."""
        plan, settings = self.plan, self.plan.settings
        names = ("net", "inputs", "targets", "trained", "threads", "shared")
        net, inputs, targets, trained, *threads = (plan.problem[name] for name in names)
        judged = settings.loss.kind == "logistic" and plan.net.n_outputs == 1
        if not judged or targets[2] is not None or settings.batch_size is not None:
            return ""
        rates = plan.rates[np.flatnonzero(trained), self.step - 1] if self.step else np.zeros(1)
        if not rates.any() or not np.array_equal(self.state["parameters"], self.state["previous"]):
            return ""
        data = (net, self.state["parameters"], inputs, targets)
        _, gradient, _ = _core.scaled_gradient(*data, plan.problem["loss"], trained, *threads)
        if not gradient.any():
            return "; the last step moved no parameter: the gradient is zero"
        log_risk = _core.margins(*data, trained, 1.0, 0.0, *threads)[2]
        return (
            "; the last step moved no parameter: it is below their rounding, at a risk of "
            f"exp({log_risk:.6g})"
        )

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
        if self.callback_every is not None:
            end = min(end, self._next_call)
        if self.plan.dynamics is not None:
            end = min(end, self._measure())
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

    def _measure(self) -> int:
        """Fill in what Python measures for a row that is due; return the step of the next one."""
        every, row = self.plan.settings.record_every, self.n_rows
        if self.plan.dynamics is not None and self.step == row * every:
            self.plan.dynamics.write(self.rows, row, self.step, self.state)
        return (self.step // every + 1) * every

    def _write_last_row(self) -> None:
        every = self.plan.settings.record_every
        written = self.step % every == 0 and self.n_rows == self.step // every + 1
        if not written:
            if self.plan.dynamics is not None:
                self.plan.dynamics.write(self.rows, self.n_rows, self.step, self.state, last=True)
            _core.write_last_row(self.state["parameters"], self.plan.problem, self.state, self.rows)

    def _call_after(self, step: int) -> int:
        """Return the next step at which the callback is due by count; 0 where the clock decides."""
        every = self.callback_every
        return 0 if every is None else (step // every + 1) * every

    def _call_back(self, on_time: bool) -> bool:
        """Ask the callback, where it is due, whether this is enough."""
        if self.callback is None:
            return False
        if self.callback_every is not None:
            on_time = self.step in (self._next_call, self.plan.settings.steps)
            self._next_call = self._call_after(self.step)
        return on_time and bool(self.callback(self._snapshot()))

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
