"""Which samples each step of mini-batch descent takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipgd.types import IndexArray

__all__ = ["SAMPLINGS", "Batches", "Round"]

SAMPLINGS = ("independent", "replacement", "reshuffled")
#: Positions and batches drawn at once. Each such round has a generator of its own, so that any step
#: can be reached without the ones before it.
_ROUND_SIZE, _ROUND_STEPS = 2**16, 2**10


@dataclass(frozen=True)
class Round:
    """The batches of the steps from ``begin`` to before ``end``.

    Batch s has the positions ``rows[offsets[s - begin] : offsets[s - begin + 1]]``.
    """

    begin: int
    end: int
    rows: IndexArray
    offsets: IndexArray

    def part(self, step: int, end: int) -> tuple[IndexArray, IndexArray]:
        """Return rows and offsets of the batches from ``step`` to before ``end``."""
        offsets = self.offsets[step - self.begin : end - self.begin + 1]
        return self.rows[offsets[0] : offsets[-1]], offsets - offsets[0]


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
    def steps_per_epoch(self) -> int:
        """The number of batches that a permutation is cut into."""
        return -(-self.n_samples // self.batch_size)

    @property
    def steps_per_round(self) -> int:
        """The number of steps whose batches are drawn together; whole epochs if reshuffled."""
        steps = max(1, min(_ROUND_SIZE // self.batch_size, _ROUND_STEPS))
        if self.sampling != "reshuffled":
            return steps
        return self.steps_per_epoch * max(1, steps // self.steps_per_epoch)

    def round_of(self, step: int) -> Round:
        """Draw the round that a step belongs to."""
        number, steps = step // self.steps_per_round, self.steps_per_round
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,)))
        if self.sampling == "reshuffled":
            epochs = steps // self.steps_per_epoch
            rows: IndexArray = np.concatenate(
                [rng.permutation(self.n_samples) for _ in range(epochs)]
            )
            lengths: IndexArray = np.full((epochs, self.steps_per_epoch), self.batch_size)
            lengths[:, -1] = self.sizes[-1]
        else:
            rows = self._draw(rng, steps).ravel()
            lengths = np.full(steps, self.batch_size)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Round(number * steps, (number + 1) * steps, rows, offsets)

    def _draw(self, rng: np.random.Generator, steps: int) -> IndexArray:
        if self.sampling == "replacement":
            return rng.integers(0, self.n_samples, (steps, self.batch_size))
        rows = np.empty((steps, self.batch_size), np.int64)
        for batch in rows:
            batch[:] = rng.choice(self.n_samples, self.batch_size, replace=False, shuffle=False)
        return rows
