"""Checkpoints: resumed trainings have the bits of uninterrupted ones; bad files are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from reference import flat
from test_reproducible import assert_same, small_problem, train_with_everything

import lipgd
from lipgd import _descent
from lipgd._batches import SAMPLINGS
from lipgd._files import read_npz, write_npz

KIND = "lipgd checkpoint"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.npz"


@pytest.mark.parametrize("batch", [{}, *({"batch_size": 7, "sampling": s} for s in SAMPLINGS)])
def test_resumed_runs_have_the_bits_of_uninterrupted_ones(level, batch, path, monkeypatch):
    problem = small_problem()
    expected = train_with_everything(problem, **batch)
    monkeypatch.setattr(_descent, "_STRETCH", 0.0)
    for stop in np.random.default_rng(len(batch)).integers(1, 60, 8):
        part = train_with_everything(
            problem, checkpoint=path, callback=lambda s, stop=stop: s.step == stop, **batch
        )
        assert (part.status, part.steps) == ("interrupted", stop)
        assert_same(train_with_everything(problem, resume=path, **batch), expected)


@pytest.mark.parametrize("steps", [0, 1, 12, 13, 60])
def test_a_finished_training_can_be_prolonged(path, steps):
    problem = small_problem()
    short = train_with_everything(problem, steps, checkpoint=path)
    assert short.history.step[-1] == steps
    long = train_with_everything(problem, resume=path)
    assert_same(long, train_with_everything(problem))
    assert_same(train_with_everything(problem, steps, resume=path), short)


@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"nesterov": True}, {"record": ()}])
def test_resuming_twice_into_the_same_file(path, options):
    problem = small_problem()
    train_with_everything(problem, 11, checkpoint=path, **options)
    train_with_everything(problem, 37, resume=path, checkpoint=path, **options)
    run = train_with_everything(problem, resume=path, checkpoint=path, **options)
    assert_same(run, train_with_everything(problem, **options))
    assert run.seconds > 0


@pytest.mark.parametrize("every", [1, 7, 60, 1000])
def test_checkpoints_at_intervals_do_not_change_the_run(path, every, monkeypatch):
    problem = small_problem()
    written = []
    write = _descent.write_checkpoint
    monkeypatch.setattr(
        _descent,
        "write_checkpoint",
        lambda path, plan, state, *rest: (
            written.append(int(state["progress"][0])),
            write(path, plan, state, *rest),
        ),
    )
    run = train_with_everything(problem, checkpoint=path, checkpoint_every=every)
    assert_same(run, train_with_everything(problem))
    assert written == [*range(every, 61, every), 60]


@pytest.mark.parametrize("batch", [{}, {"batch_size": 7, "record_every": 1}])
def test_a_converged_training_can_be_resumed(path, batch):
    problem = small_problem()
    free = train_with_everything(problem, record="gradient_norm", **batch)
    options = {"tolerance": free.history["gradient_norm"][8], **batch}
    expected = train_with_everything(problem, checkpoint=path, **options)
    assert expected.status == "converged"
    assert_same(train_with_everything(problem, resume=path, **options), expected)


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from test_reproducible import small_problem, train_with_everything
train_with_everything(
    small_problem(), 10**9, rate=0.01, record_every=10**6, checkpoint={path!r},
    checkpoint_every=300, **{batch!r}
)
"""


@pytest.mark.parametrize("batch", [{}, {"batch_size": 7, "sampling": "independent"}])
def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(path, batch):
    script = CHILD.format(tests=os.path.dirname(__file__), path=str(path), batch=batch)
    child = subprocess.Popen([sys.executable, "-c", script])
    try:
        for _ in range(400):
            if path.exists():
                break
            time.sleep(0.05)
        time.sleep(0.123)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=30)
    assert child.returncode == -signal.SIGKILL
    done = int(read_npz(path, KIND, 1)["progress"][0])
    assert done % 300 == 0
    assert done > 0
    options = {"rate": 0.01, "record_every": 10**6, **batch}
    problem = small_problem()
    run = train_with_everything(problem, done + 50, resume=path, **options)
    assert_same(run, train_with_everything(problem, done + 50, **options))


def spoil(path: Path, **changes: object) -> None:
    """Exchange arrays of a checkpoint, or leave them out."""
    arrays = read_npz(path, KIND, 1) | changes
    kept = {name: array for name, array in arrays.items() if array is not None}
    write_npz(path, kept, KIND, 1)


SIZE = small_problem().net.n_parameters
BAD = {
    "parameters": [np.zeros(3), np.zeros(SIZE + 1), "text", np.full(SIZE, np.nan)],
    "previous": [np.zeros(3), np.zeros((2, 2))],
    "initial": [np.zeros(3), np.ones(SIZE), "text"],
    "velocity": [np.zeros(3), np.zeros(SIZE, np.float32)],
    "path_length": [np.zeros(1), np.zeros((6, 1))],
    "progress": [np.zeros(3, int), np.zeros(2), np.array([-1, 0]), np.array([30, 99]), "x"],
    "rows": [np.zeros((1, 1)), np.zeros((30, 2)), np.zeros(3)],
    "direction1": [np.zeros((2, 2)), np.zeros(8, np.float32), "text"],
    "seconds": [np.zeros(2), "text"],
    "settings": ["{", "[1]", "{}", np.zeros(3), '{"steps": 1}'],
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_checkpoints_are_refused(path, name):
    problem = small_problem()
    train_with_everything(problem, 30, checkpoint=path)
    good = path.read_bytes()
    for bad in (None, *BAD[name]):
        path.write_bytes(good)
        spoil(path, **{name: bad})
        with pytest.raises(ValueError, match=r"state\.npz"):
            train_with_everything(problem, resume=path)
    path.write_bytes(good)
    assert train_with_everything(problem, resume=path).status == "finished"


@pytest.mark.parametrize(
    "direction", [np.zeros(0), np.ones(3), np.full(8, np.nan), np.ones(64) / 8]
)
def test_wrong_starts_of_spectral_norms_do_no_harm(path, direction):
    problem = small_problem()
    train_with_everything(problem, 30, checkpoint=path)
    spoil(path, direction1=direction)
    run = train_with_everything(problem, resume=path)
    expected = train_with_everything(problem)
    assert run.network == expected.network
    for name in ("spectral_norm:W1", "spectral_norm_lower:W1"):
        np.testing.assert_allclose(run.history[name], expected.history[name], rtol=1e-5)


OTHER = {
    "momentum": 0.5,
    "rate": 0.2,
    "record_every": 5,
    "record": ("risk",),
    "batch_size": 3,
    "tolerance": 1e-9,
    "frozen": "b1",
    "weight_decay": 0.1,
    "points": np.zeros((2, 4)),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_checkpoint_of_other_settings_is_refused(path, name):
    problem = small_problem()
    train_with_everything(problem, 30, checkpoint=path)
    with pytest.raises(ValueError, match=r"resume is .*state.npz', whose \w+ is .* here it is"):
        train_with_everything(problem, resume=path, **{name: OTHER[name]})


def test_a_checkpoint_of_other_data_or_another_network_is_refused(path):
    problem = small_problem()
    net, X, y, _, weights = problem.data

    def train(net=net, X=X, y=y, weights=weights, **options):
        return lipgd.train(net, X, y, sample_weight=weights, steps=20, **options)

    train(checkpoint=path)
    moved = X.copy()
    moved[-1, 0] += 1
    others = [{"X": moved}, {"y": y + 1}, {"weights": weights**2}, {"X": X.astype(np.float32)}]
    others.append({"X": X[:-1], "y": y[:-1], "weights": weights[:-1]})
    others.append({"net": net.replace(output_scale=net.output_scale * (1 + 1e-15))})
    others.append({"net": net.replace(activation="sin")})
    others.append({"net": net.replace(weights=[w * 1.001 for w in net.weights])})
    others.append({"validation": (X, y)})
    for other in others:
        with pytest.raises(ValueError, match="resume is"):
            train(resume=path, **other)
    assert train(resume=path, X=np.asfortranarray(X)).status == "finished"


def test_fewer_steps_than_the_checkpoint_has_are_refused(path):
    problem = small_problem()
    train_with_everything(problem, 30, checkpoint=path)
    with pytest.raises(ValueError, match="which has 30 steps, but steps is 29"):
        train_with_everything(problem, 29, resume=path)


def test_later_rates_may_change(path):
    problem = small_problem()
    rates = np.full(60, 0.02)
    train_with_everything(problem, 30, checkpoint=path, rate=0.02)
    later = np.concatenate([rates[:30], rates[30:] / 2])
    run = train_with_everything(problem, resume=path, rate=later)
    assert_same(run, train_with_everything(problem, rate=later))
    assert not np.array_equal(flat(run.network), flat(problem.net))


def test_bad_paths_are_refused_before_any_work(tmp_path):
    problem = small_problem()
    steps = 10**12  # too many for the test, if it began
    with pytest.raises(FileNotFoundError, match=r"checkpoint is .*its folder does not exist"):
        train_with_everything(problem, steps, record=(), rate=0.1, checkpoint=tmp_path / "a" / "b")
    with pytest.raises(IsADirectoryError, match="checkpoint is"):
        train_with_everything(problem, steps, record=(), rate=0.1, checkpoint=tmp_path)
    with pytest.raises(FileNotFoundError):
        train_with_everything(problem, steps, record=(), rate=0.1, resume=tmp_path / "none")
    with pytest.raises(ValueError, match="not a readable lipgd checkpoint file"):
        problem.net.save(tmp_path / "net.npz")
        train_with_everything(problem, steps, record=(), rate=0.1, resume=tmp_path / "net.npz")
