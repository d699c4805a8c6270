"""Which samples belong to which shard and process, and the sums of all processes."""

from __future__ import annotations

import hashlib
import itertools
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lipgd._check import integer
from lipgd.types import DoubleArray

__all__ = ["Cut", "Exchange"]


class Cut:
    """Which samples belong to which shard and process."""

    def __init__(self, n_samples: int, shards: int, comm: Any) -> None:
        number = integer("shards", shards, at_least=1)
        if number & (number - 1):
            raise ValueError(f"shards is {shards}, expected a power of two")
        if n_samples < comm.size:
            raise ValueError(f"X has {n_samples} samples for {comm.size} processes, expected more")
        # As few samples as shards make shards of one sample; the number is that of the problem.
        self.shards = min(shards, 1 << (n_samples.bit_length() - 1))
        if self.shards < comm.size:
            raise ValueError(
                f"shards is {self.shards}, expected at least the number of processes, {comm.size}"
            )
        self.n_samples, self.comm = n_samples, comm

    def first_shard(self, process: int) -> int:
        """Return the first shard of a process."""
        return process * self.shards // int(self.comm.size)

    def begin(self, shard: int) -> int:
        """Return the first sample of a shard."""
        each, more = divmod(self.n_samples, self.shards)
        return each * shard + min(shard, more)

    def owned(self, process: int) -> tuple[int, int]:
        """Return the first sample of a process, and the first of the next one."""
        return self.begin(self.first_shard(process)), self.begin(self.first_shard(process + 1))

    @property
    def position(self) -> tuple[int, int, int, int]:
        """The shards of all, the first one here, how many are here, the samples of all."""
        first, end = (self.first_shard(self.comm.rank + i) for i in (0, 1))
        return self.shards, first, end - first, self.n_samples

    def subtrees(self, process: int) -> list[tuple[int, int]]:
        """Return the complete subtrees of a process, as the core cuts them."""
        stack: list[tuple[int, int]] = []
        for shard in range(self.first_shard(process), self.first_shard(process + 1)):
            stack.append((shard, 1))
            while len(stack) > 1 and are_siblings(stack[-2], stack[-1]):
                (first, size), _ = stack[-2:]
                stack[-2:] = [(first, 2 * size)]
        return stack

    def aligned(self, *arrays: Any) -> Any:
        """Return the rows of this process of arrays whose rows lie in the order of processes."""
        counts = self.comm.allgather(len(arrays[0]))
        here = sum(counts[: self.comm.rank])
        wanted = self.comm.allgather(self.owned(self.comm.rank) == (here, here + len(arrays[0])))
        if all(wanted):
            return arrays
        parcels = []
        for process in range(self.comm.size):
            begin, end = (min(max(row - here, 0), len(arrays[0])) for row in self.owned(process))
            parcels.append([None if a is None else np.array(a[begin:end]) for a in arrays])
        received = self.comm.alltoall(parcels)
        columns = zip(*received, strict=True)
        return [None if column[0] is None else np.concatenate(column) for column in columns]

    def first_rows(self, X: Any, count: int) -> Any:
        """Return the first rows of all processes."""
        begin, _ = self.owned(self.comm.rank)
        return np.concatenate(self.comm.allgather(np.array(X[: max(0, count - begin)])))

    def total(self, values: DoubleArray) -> float:
        """Return the sum of the values of all samples, of which those of this process are given."""
        # Every shard is in one process, so that rounding its sum does not depend on where.
        sums = [math.fsum(values[begin:end]) for begin, end in self.own_shards()]
        return math.fsum(one for part in self.comm.allgather(sums) for one in part)

    def digest(self, problem: dict[str, Any]) -> str:
        """Return what tells the samples from others: both ends of every shard."""
        arrays = [a for a in (problem["inputs"], *problem["targets"]) if a is not None]
        texts = [
            np.ascontiguousarray(array[[begin, end - 1]]).tobytes()
            for begin, end in self.own_shards()
            for array in arrays
        ]
        gathered = self.comm.allgather(b"".join(texts))
        return hashlib.sha256(b"".join(gathered)).hexdigest()

    def own_shards(self) -> list[tuple[int, int]]:
        """Return the shards of this process, as rows of what it has."""
        _, first, own, _ = self.position
        begins = [self.begin(shard) - self.begin(first) for shard in range(first, first + own + 1)]
        return list(itertools.pairwise(begins))


class Exchange:
    """The hook of the core: adds the parts of all processes in the tree.

    A power of two of processes, of which each has one subtree, exchange sums with ever more distant
    partners: two numbers per parameter and doubling of their number are sent. Any other number of
    processes gathers all parts.
    """

    def __init__(self, cut: Cut) -> None:
        self.stop = False
        self._comm = cut.comm
        self._subtrees = [cut.subtrees(process) for process in range(cut.comm.size)]
        self._buffers: tuple[DoubleArray, DoubleArray] | None = None

    def __call__(self, parts: DoubleArray, subtrees: list[tuple[int, int]]) -> bool:
        """Leave the total in the first part; False if a process asked for an end."""
        size = self._comm.size
        if size == 1:
            return not self.stop
        total = self._gathered(parts) if size & (size - 1) else self._doubled(parts[0])
        parts[0] = total[:-1]
        return bool(total[-1] == 0.0)

    def _doubled(self, part: DoubleArray) -> DoubleArray:
        mine, theirs = self._buffers or (np.empty(len(part) + 1), np.empty(len(part) + 1))
        self._buffers = mine, theirs
        # Whether this process wants to stop travels with its numbers: all learn it at one step.
        mine[:-1], mine[-1] = part, float(self.stop)
        distance = 1
        while distance < self._comm.size:
            partner = self._comm.rank ^ distance
            self._comm.Sendrecv(mine, partner, recvbuf=theirs, source=partner)
            mine += theirs
            distance *= 2
        return mine

    def _gathered(self, parts: DoubleArray) -> DoubleArray:
        message = np.column_stack([parts, np.full(len(parts), float(self.stop))])
        counts = [len(subtrees) * message.shape[1] for subtrees in self._subtrees]
        everything = np.empty((sum(map(len, self._subtrees)), message.shape[1]))
        self._comm.Allgatherv(message, [everything, counts])
        stack: list[tuple[tuple[int, int], DoubleArray]] = []
        order = [subtree for subtrees in self._subtrees for subtree in subtrees]
        for subtree, numbers in zip(order, everything, strict=True):
            stack.append((subtree, numbers))
            while len(stack) > 1 and are_siblings(stack[-2][0], stack[-1][0]):
                (first, size), left = stack[-2]
                stack[-2:] = [((first, 2 * size), left + stack[-1][1])]
        return stack[0][1]

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Let Ctrl-C end the training of all processes at one step."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(*_: object) -> None:
            self.stop = True

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def are_siblings(left: tuple[int, int], right: tuple[int, int]) -> bool:
    return left[1] == right[1] and left[0] % (2 * left[1]) == 0
