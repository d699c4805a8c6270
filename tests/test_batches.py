"""Batches: what each sampling promises, for every step on its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from reference import batch_rows

from lipgd._batches import SAMPLINGS, Batches

SIZES = [(1, 1), (5, 2), (5, 5), (37, 4), (64, 64), (1000, 7), (3000, 2999), (200_000, 100_000)]


@pytest.mark.parametrize(("n_samples", "batch_size"), SIZES)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rounds_hold_whole_batches_of_known_sizes(sampling, n_samples, batch_size):
    batches = Batches(n_samples, batch_size, sampling, 3)
    drawn = batches.round_of(0)
    assert (drawn.begin, drawn.end) == (0, batches.steps_per_round)
    lengths = np.diff(drawn.offsets)
    assert drawn.offsets[0] == 0
    assert drawn.offsets[-1] == len(drawn.rows)
    assert len(lengths) == batches.steps_per_round
    assert set(lengths.tolist()) <= set(batches.sizes)
    assert batches.sizes[0] == batch_size
    assert drawn.rows.dtype == drawn.offsets.dtype == np.int64
    assert drawn.rows.min() >= 0
    assert drawn.rows.max() < n_samples


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_any_step_can_be_reached_alone(sampling):
    batches = Batches(37, 4, sampling, 11)
    rounds = batches.steps_per_round
    steps = [0, 1, rounds - 1, rounds, rounds + 1, 5 * rounds - 1, 5 * rounds + 3]
    forward = {s: batches.round_of(s).part(s, s + 1)[0].tolist() for s in steps}
    backward = {s: batches.round_of(s).part(s, s + 1)[0].tolist() for s in reversed(steps)}
    assert forward == backward
    drawn = batches.round_of(rounds)
    rows, offsets = drawn.part(rounds, rounds + 2)
    assert rows.tolist() == forward[rounds] + forward[rounds + 1]
    assert offsets.tolist() == [0, len(forward[rounds]), len(rows)]
    rows, offsets = drawn.part(rounds + 1, rounds + 2)
    assert rows.tolist() == forward[rounds + 1]
    assert offsets.tolist() == [0, len(rows)]
    assert len(drawn.part(rounds + 1, rounds + 1)[0]) == 0


def test_independent_batches_are_subsets_and_all_are_equally_likely():
    rows = batch_rows(Batches(5, 2, "independent", 0), 20_000)
    assert all(len(set(batch.tolist())) == 2 for batch in rows)
    pairs = [tuple(sorted(batch.tolist())) for batch in rows]
    counts = [pairs.count(pair) for pair in itertools.combinations(range(5), 2)]
    assert chi_squared(counts) < 27.9  # exceeded once in 1000 for 9 degrees of freedom


def test_batches_with_replacement_draw_every_position_alone():
    rows = batch_rows(Batches(4, 2, "replacement", 0), 20_000)
    pairs = [tuple(batch.tolist()) for batch in rows]
    counts = [pairs.count(pair) for pair in itertools.product(range(4), repeat=2)]
    assert chi_squared(counts) < 37.7  # 15 degrees of freedom


@pytest.mark.parametrize(
    ("n_samples", "batch_size"), [(6, 2), (7, 3), (5, 5), (3, 1), (2000, 1999)]
)
def test_reshuffled_epochs_take_every_sample_once(n_samples, batch_size):
    batches = Batches(n_samples, batch_size, "reshuffled", 0)
    per_epoch = batches.steps_per_epoch
    assert batches.steps_per_round % per_epoch == 0
    rows = batch_rows(batches, 40 * per_epoch)
    orders = set()
    for epoch in range(40):
        parts = rows[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert [len(part) for part in parts[:-1]] == [batch_size] * (per_epoch - 1)
        order = np.concatenate(parts)
        assert sorted(order.tolist()) == list(range(n_samples))
        orders.add(tuple(order.tolist()))
    assert len(orders) > (4 if n_samples == 3 else 20)


def test_all_orders_of_an_epoch_are_equally_likely():
    rows = batch_rows(Batches(3, 1, "reshuffled", 0), 3 * 6000)
    orders = np.concatenate(rows).reshape(-1, 3).tolist()
    counts = [orders.count(list(order)) for order in itertools.permutations(range(3))]
    assert chi_squared(counts) < 20.5  # 5 degrees of freedom


def chi_squared(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 for count in counts) / expected


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_seeds_and_rounds_differ(sampling):
    def rows(seed: int, step: int = 0) -> list[int]:
        return Batches(100, 10, sampling, seed).round_of(step).rows.tolist()

    later = Batches(100, 10, sampling, 0).steps_per_round
    assert rows(0) == rows(0)
    assert rows(0) != rows(1)
    assert rows(0) != rows(0, later)
    assert rows(0, later) != rows(1)
    assert rows(2**80) != rows(2**81)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("n_samples", "batch_size"), [(1000, 1), (100_000, 32)])
def test_no_more_is_drawn_than_is_needed_soon(sampling, n_samples, batch_size):
    step = 10**12  # whoever drew all that comes before would not come to an end
    drawn = Batches(n_samples, batch_size, sampling, 0).round_of(step)
    assert drawn.begin <= step < drawn.end
    assert len(drawn.rows) <= max(n_samples, 2**16)
