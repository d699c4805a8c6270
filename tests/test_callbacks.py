"""Callbacks that are called by the count of steps."""

from __future__ import annotations

import numpy as np
import pytest
from reference import random_problem

import lipgd
from lipgd import _descent


@pytest.mark.parametrize("batch", [{}, {"batch_size": 16}], ids=["full", "batches"])
def test_callbacks_by_count_stop_at_the_same_step_every_time(batch, monkeypatch):
    problem = random_problem(2, "tanh", "mse", np.float64, 60, (3, 8, 1))
    outcomes = []
    for stretch in (1e9, 0.0):
        monkeypatch.setattr(_descent, "_STRETCH", stretch)
        seen = []

        def callback(snapshot, seen=seen):
            seen.append(snapshot.step)
            return snapshot.step >= 21

        run = lipgd.train(
            *problem.data[:3], steps=100, callback=callback, callback_every=7, **batch
        )
        assert seen == [7, 14, 21]
        assert run.status == "interrupted" and run.steps == 21
        outcomes.append(run.network)
    assert outcomes[0] == outcomes[1]
    seen = []
    lipgd.train(
        *problem.data[:3],
        steps=10,
        callback=lambda s: seen.append(s.step),
        callback_every=4,
        **batch,
    )
    assert seen == [4, 8, 10]


def test_callbacks_by_count_need_a_callback_and_a_count():
    problem = random_problem(2, "tanh", "mse", np.float64, 60, (3, 8, 1))
    with pytest.raises(ValueError, match="callback_every is 5, but callback is missing"):
        lipgd.train(*problem.data[:3], callback_every=5)
    with pytest.raises(ValueError, match="callback_every is 0"):
        lipgd.train(*problem.data[:3], callback=print, callback_every=0)
