"""Which samples each step of mini-batch descent takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipgd.types import IndexArray

__all__ = ["SAMPLINGS", "Batches"]

SAMPLINGS = ("independent", "replacement", "reshuffled")
#: Positions drawn at once; a round is drawn from a generator of its own, so that any step can be
#: reached without the ones before it.
_ROUND_SIZE = 2**16


@dataclass(frozen=True)
class Batches:
    """Batches of a data set as a function of the step.

    Parameters
    ----------
    n_samples, batch_size : int
        The last batch of a reshuffled epoch has what is left.
    sampling : str
        ``"independent"``: every batch is a fresh subset; ``"replacement"``: every position is drawn
        alone; ``"reshuffled"``: a new permutation per epoch, cut into batches.
    seed : int
        The same seed gives the same batches.
    """

    n_samples: int
    batch_size: int
    sampling: str
    seed: int

    @property
    def sizes(self) -> list[int]:
        """All sizes that occur, the usual one first."""
        rest = self.n_samples % self.batch_size if self.sampling == "reshuffled" else 0
        return [self.batch_size, rest] if rest else [self.batch_size]

    @property
    def steps_per_round(self) -> int:
        """The number of steps whose batches are drawn together; an epoch if reshuffled."""
        if self.sampling == "reshuffled":
            return -(-self.n_samples // self.batch_size)
        return max(1, _ROUND_SIZE // self.batch_size)

    def round_of(self, step: int) -> tuple[int, IndexArray, IndexArray]:
        """Return the batches from ``step`` to the end of its round.

        Returns
        -------
        end : int
            The first step of the next round.
        rows : ndarray of int64
            The positions of all batches, one after the other.
        offsets : ndarray of int64, shape (end - step + 1,)
            Where each batch begins in ``rows``.
        """
        number, done = divmod(step, self.steps_per_round)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,)))
        rows = self._draw(rng)
        ends = np.minimum(np.arange(self.steps_per_round + 1) * self.batch_size, len(rows))
        rest = ends[done:]
        return step - done + self.steps_per_round, rows[rest[0] :], rest - rest[0]

    def _draw(self, rng: np.random.Generator) -> IndexArray:
        if self.sampling == "reshuffled":
            return rng.permutation(self.n_samples)
        shape = (self.steps_per_round, self.batch_size)
        if self.sampling == "replacement":
            return rng.integers(0, self.n_samples, shape).ravel()
        rows = np.empty(shape, np.int64)
        for batch in rows:
            batch[:] = rng.choice(self.n_samples, self.batch_size, replace=False, shuffle=False)
        return rows.ravel()
