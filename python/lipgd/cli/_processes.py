"""What ``lipgd train`` does by itself, or together with other processes of an MPI program."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

import lipgd
from lipgd.distributed._processes import agreed, communicator, is_launched, meet, together
from lipgd.distributed._shards import Cut

if TYPE_CHECKING:
    from lipgd.experiments._prepare import Scaling

__all__ = ["Alone", "Expected", "Several", "processes"]

Array = npt.NDArray[Any]
_Answer = TypeVar("_Answer")
#: What stands for bad input; anything else ends all processes at once.
Expected = (ImportError, OSError, TypeError, ValueError)


def processes(shards: int) -> Alone | Several:
    """Return those of the MPI program that this process was started in, if it was."""
    if not is_launched():
        return Alone()
    comm = communicator(None)
    meet(comm)
    return Several(comm, shards)


class Alone:
    """One process, which has all samples."""

    count, first = 1, True

    def guarded(self) -> AbstractContextManager[None]:
        """Return where nothing but what is expected may be raised."""
        return nullcontext()

    def agreed(self, action: Callable[[], _Answer]) -> _Answer:
        """Return what an action returns; if it raises in some process, raise in all."""
        return action()

    def rows(self, n_samples: int) -> slice:
        """Return which of all samples are here."""
        return slice(0, n_samples)

    def union(self, values: Array) -> Array:
        """Return the distinct values of all processes, in order."""
        return values

    def total(self, count: int) -> int:
        """Return a sum over all processes."""
        return count

    def average(self, n_samples: int, function: Callable[[slice], float]) -> float:
        """Return a mean over all samples, of a function of some that are here."""
        return function(slice(0, n_samples))

    def scaling(self, X: Array, y: Array, targets: bool) -> Scaling:
        """Return means and scales of all samples."""
        from lipgd.experiments._prepare import standardize

        return standardize(X, y, targets=targets)

    def train(self, net: lipgd.Network, X: Array, y: Array, settings: dict[str, Any]) -> lipgd.Run:
        """Train on the samples of all processes."""
        return lipgd.train(net, X, y, **settings)


class Several:
    """Processes that share the samples; what they find has the same bits for any number of them."""

    def __init__(self, comm: Any, shards: int) -> None:
        self._shards_of_all = shards
        self.count, self.first = int(comm.size), comm.rank == 0
        self._comm = comm
        self._cut: Cut | None = None

    @contextmanager
    def guarded(self) -> Iterator[None]:
        with together(self._comm, Expected):
            yield

    def agreed(self, action: Callable[[], _Answer]) -> _Answer:
        return agreed(self._comm, action)

    def rows(self, n_samples: int) -> slice:
        self._cut = Cut(n_samples, self._shards_of_all, self._comm)
        return slice(*self._cut.owned(self._comm.rank))

    def union(self, values: Array) -> Array:
        return np.unique(np.concatenate(self._comm.allgather(values)))

    def total(self, count: int) -> int:
        return int(sum(self._comm.allgather(count)))

    def average(self, n_samples: int, function: Callable[[slice], float]) -> float:
        sums = [(rows.stop - rows.start) * function(rows) for rows in self._shards()]
        return math.fsum(value for part in self._comm.allgather(sums) for value in part) / (
            self.total(n_samples)
        )

    def scaling(self, X: Array, y: Array, targets: bool) -> Scaling:
        from lipgd.experiments._prepare import Scaling

        mean, scale = self._moments(X)
        if not targets:
            return Scaling(mean, scale, None, None)
        return Scaling(mean, scale, *self._moments(y.reshape(len(y), -1)))

    def train(self, net: lipgd.Network, X: Array, y: Array, settings: dict[str, Any]) -> lipgd.Run:
        if settings.pop("batch_size") is not None:
            raise ValueError(
                "--batch-size is given, but processes that share the samples take all of them at "
                "every step, expected no batches"
            )
        for name in ("shuffle_seed", "points"):
            del settings[name]
        settings["n_threads"] = settings["n_threads"] or 1
        settings["shards"] = self._shards_of_all
        return lipgd.distributed.train(net, X, y, comm=self._comm, **settings)

    def _shards(self) -> list[slice]:
        """Return the shards of this process, as rows of what it has."""
        assert self._cut is not None
        return [slice(begin, end) for begin, end in self._cut.own_shards()]

    def _moments(self, values: Array) -> tuple[Array, Array]:
        """Return means and deviations, a constant column having the deviation 1."""
        mean = self._mean(values, lambda part: part)
        variance = self._mean(values, lambda part: (part - mean) ** 2)
        scale = np.sqrt(variance)
        constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        return mean, np.where(constant, 1.0, scale)

    def _mean(self, values: Array, function: Callable[[Array], Array]) -> Array:
        sums = [
            function(np.asarray(values[rows], np.float64)).sum(axis=0) for rows in self._shards()
        ]
        everywhere = np.array([one for part in self._comm.allgather(sums) for one in part])
        assert self._cut is not None
        return np.array([math.fsum(column) for column in everywhere.T]) / self._cut.n_samples
