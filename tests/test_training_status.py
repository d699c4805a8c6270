"""How trainings end: divergence, tolerance, callbacks, progress, signals."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from reference import flat, random_problem

import lipgd


def linear_problem(dtype=np.float64, n_samples=40):
    """Descent on it grows by a factor in every step if the rate is too large."""
    rng = np.random.default_rng(0)
    net = lipgd.Network(
        [rng.normal(size=(8, 3)).astype(dtype), rng.normal(size=(1, 8)).astype(dtype)],
        activation="identity",
    )
    X = rng.normal(size=(n_samples, 3)).astype(dtype)
    return net, X, np.sin(X[:, 0])


@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("loss", ["mse", "logistic"])
@pytest.mark.parametrize("rate", [5.0, 1e3, 1e30])
def test_divergence_keeps_the_last_good_network(level, dtype, rate, loss, batch_size):
    net, X, y = linear_problem(dtype)
    if loss == "logistic":
        y, rate = np.sign(y), rate * 1e9
    options = {"loss": loss, "rate": rate, "batch_size": batch_size}
    run = lipgd.train(net, X, y, steps=5000, **options)
    assert run.status == "diverged"
    assert f"step {run.steps + 1} " in run.message
    assert f"the network is that of step {run.steps}" in run.message
    assert str(np.dtype(dtype)) in run.message
    assert run.network.dtype == dtype
    assert np.isfinite(flat(run.network)).all()
    assert np.isfinite(run.history["risk"]).all()
    assert run.history.step.tolist() == list(range(run.steps + 1))
    assert lipgd.risk(run.network, X, y, loss) == run.history["risk"][-1]
    shorter = lipgd.train(net, X, y, steps=run.steps, **options)
    assert shorter.status == "finished"
    assert shorter.network == run.network
    longer = lipgd.train(net, X, y, steps=run.steps + 1, **options)
    # Without a further step nobody looks at the risk of the last network.
    if longer.status == "finished":
        assert not np.isfinite(lipgd.risk(longer.network, X, y, loss))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("record_every", [1, 3, 1000])
def test_the_last_row_of_a_diverged_run_is_that_of_its_network(record_every, momentum):
    net, X, y = linear_problem()
    run = lipgd.train(
        net,
        X,
        y,
        rate=5.0,
        steps=5000,
        momentum=momentum,
        record=("risk", "parameter_norm", "displacement"),
        record_every=record_every,
    )
    assert run.status == "diverged"
    assert run.history.step[-1] == run.steps
    last = {name: run.history[name][-1] for name in run.history}
    assert last == pytest.approx(
        {
            "risk": lipgd.risk(run.network, X, y),
            "parameter_norm": np.linalg.norm(flat(run.network)),
            "displacement": np.linalg.norm(flat(run.network) - flat(net)),
        }
    )


@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("record_every", [1, 2, 3, 1000])
def test_columns_without_the_risk_end_with_the_last_good_network(record_every, batch_size):
    net, X, y = linear_problem()
    record = ("displacement", "path_length:W1", "path_length:W2", "spectral_norm:W1")
    options = {"rate": 5.0, "batch_size": batch_size, "record": record}
    run = lipgd.train(net, X, y, steps=5000, record_every=record_every, **options)
    assert run.status == "diverged"
    assert run.history.step.tolist() == sorted({*range(0, run.steps, record_every), run.steps})
    expected = lipgd.train(net, X, y, steps=run.steps, record_every=record_every, **options)
    assert run.network == expected.network
    for name in record:
        np.testing.assert_array_equal(run.history[name], expected.history[name])


@pytest.mark.parametrize("record", [(), ("parameter_norm",), ("risk",)])
@pytest.mark.parametrize("batch_size", [None, 8])
def test_an_initial_risk_that_is_not_finite_is_told(batch_size, record):
    net, X, y = linear_problem()
    run = lipgd.train(net, X, y * 1e200, batch_size=batch_size, steps=10, record=record)
    assert (run.status, run.steps) == ("diverged", 0)
    assert run.message == "the risk of the initial network is not finite"
    assert run.network == net
    assert set(run.history.step.tolist()) <= {0}


def test_differences_of_infinities_are_seen():
    net = lipgd.Network([[[1e200], [1e200]], [[1e200, -1e200]]], activation="identity")
    run = lipgd.train(net, [[1.0], [2.0]], [0.0, 1.0], steps=10)
    assert (run.status, run.steps) == ("diverged", 0)
    huge = lipgd.Network([[[1e160], [1e160]], [[1.0, -1.0]]], activation="identity")
    run = lipgd.train(huge, [[1.0], [2.0]], [0.0, 1.0], steps=10)
    assert run.status == "diverged"
    assert np.isfinite(flat(run.network)).all()


@pytest.mark.parametrize("record_every", [1, 10])
@pytest.mark.parametrize("batch_size", [None, 10])
def test_a_small_gradient_ends_the_training(level, record_every, batch_size):
    net, X, y = linear_problem()
    options = {"rate": 0.02, "steps": 3000, "batch_size": batch_size, "record_every": record_every}
    record = ("gradient_norm", "risk")
    free = lipgd.train(net, X, y, record=record, **options)
    every = 1 if batch_size is None else record_every
    norms = lipgd.train(net, X, y, record=record, **(options | {"record_every": every})).history
    tolerance = 2 * norms["gradient_norm"].min()
    first = int(norms.step[np.argmax(norms["gradient_norm"] <= tolerance)])
    run = lipgd.train(net, X, y, record=record, tolerance=tolerance, **options)
    assert (run.status, run.steps) == ("converged", first)
    assert run.message == f"the gradient's norm is at most {tolerance:g} at step {first}"
    assert lipgd.risk_and_gradient(run.network, X, y)[1].norm() <= tolerance
    assert run.history.step.tolist() == sorted({*range(0, first, record_every), first})
    count = len(run.history) - (first % record_every > 0)
    np.testing.assert_array_equal(run.history["risk"][:count], free.history["risk"][:count])
    without = lipgd.train(net, X, y, record=(), tolerance=tolerance, **options)
    assert (without.status, without.steps) == ("converged", first)
    assert without.network == run.network


def test_a_start_at_a_minimum_has_converged():
    net = lipgd.Network([[[2.0]]])
    run = lipgd.train(net, [[1.0], [3.0]], [2.0, 6.0], tolerance=1e-12)
    assert (run.status, run.steps, run.network) == ("converged", 0, net)
    run = lipgd.train(net, [[1.0], [3.0]], [2.0, 6.0], tolerance=0.0, steps=5)
    assert (run.status, run.steps) == ("finished", 5)


SETTINGS = {"rate": 1e-3, "steps": 10**9, "record": ("risk", "path_length:W1"), "record_every": 7}


@pytest.mark.parametrize("batch", [{}, {"batch_size": 3, "sampling": "reshuffled"}])
def test_callbacks_see_the_state_every_50_ms_and_stop_it(batch):
    problem = random_problem(3, "silu", "mse", np.float64, 20, (3, 10, 1))
    seen = []

    def callback(snapshot):
        seen.append((time.perf_counter(), snapshot))
        return len(seen) == 6

    run = lipgd.train(*problem.data[:3], callback=callback, **SETTINGS, **batch)
    assert run.status == "interrupted"
    assert run.message == f"stopped by the callback at step {run.steps}"
    assert np.diff([at for at, _ in seen]).min() > 0.04
    steps = [snapshot.step for _, snapshot in seen]
    assert steps == sorted(set(steps))
    last = seen[-1][1]
    assert (last.step, last.steps, last.network) == (run.steps, 10**9, run.network)
    assert run.history.step[-1] == run.steps
    again = lipgd.train(*problem.data[:3], **(SETTINGS | {"steps": steps[2]}), **batch)
    assert seen[2][1].network == again.network
    for name in SETTINGS["record"]:
        rows = seen[2][1].history[name]
        np.testing.assert_array_equal(rows, again.history[name][: len(rows)])
        np.testing.assert_array_equal(rows, run.history[name][: len(rows)])


def test_a_short_training_calls_back_once_at_its_end():
    problem = random_problem(3, "silu", "mse", np.float64, 20, (3, 10, 1))
    seen = []
    run = lipgd.train(
        *problem.data[:3], steps=20, callback=lambda snapshot: seen.append(snapshot) or True
    )
    assert [snapshot.step for snapshot in seen] == [20]
    assert (run.status, run.steps) == ("finished", 20)


def test_the_exception_of_a_callback_comes_out_and_the_state_is_saved(tmp_path):
    problem = random_problem(3, "silu", "mse", np.float64, 20, (3, 10, 1))

    def callback(snapshot):
        raise KeyError(snapshot.step)

    path = tmp_path / "state.npz"
    with pytest.raises(KeyError) as error:
        lipgd.train(*problem.data[:3], callback=callback, checkpoint=path, **SETTINGS)
    step = error.value.args[0]
    settings = SETTINGS | {"steps": step + 10}
    run = lipgd.train(*problem.data[:3], resume=path, **settings)
    assert run.network == lipgd.train(*problem.data[:3], **settings).network


def test_ctrl_c_in_a_callback_returns_the_run():
    problem = random_problem(3, "silu", "mse", np.float64, 20, (3, 10, 1))

    def callback(snapshot):
        raise KeyboardInterrupt

    run = lipgd.train(*problem.data[:3], callback=callback, **SETTINGS)
    assert run.status == "interrupted"
    assert run.message == f"interrupted at step {run.steps}"


def test_progress_is_one_line_on_stderr(capsys):
    problem = random_problem(3, "silu", "mse", np.float64, 20, (3, 10, 1))
    lipgd.train(*problem.data[:3], steps=50, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "50/50" in err
    assert "risk" in err


SIGNALS = """
import os, signal, sys, threading, time
import numpy as np, lipgd

# Where tests run in the background, shells have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sent = []

def send(number):
    sent.append(time.monotonic())
    os.kill(os.getpid(), number)

def later(number, seconds=0.3):
    threading.Timer(seconds, send, [number]).start()

def waited():
    return time.monotonic() - sent[-1]

rng = np.random.default_rng(0)
X, y = rng.normal(size=(50, 3)), rng.normal(size=50)
net = lipgd.Network.create([3, 20, 1], "tanh")
"""


def run_script(folder: Path, body: str) -> None:
    script = SIGNALS + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr


def test_ctrl_c_returns_the_run_so_far(tmp_path):
    run_script(
        tmp_path,
        """
        for options in ({}, {"batch_size": 4, "sampling": "reshuffled"}, {"n_threads": 1}):
            later(signal.SIGINT)
            run = lipgd.train(net, X, y, steps=10**9, record_every=1000, **options)
            assert run.status == "interrupted", run
            assert run.message == f"interrupted at step {run.steps}"
            assert run.steps > 100
            assert len(run.history) == -(-run.steps // 1000) or run.steps % 1000 == 0
            again = lipgd.train(net, X, y, steps=run.steps, record_every=1000, **options)
            assert again.network == run.network
            for row, risk in enumerate(run.history["risk"]):
                assert risk == again.history["risk"][row]
        """,
    )


def test_ctrl_c_is_answered_within_a_step(tmp_path):
    run_script(
        tmp_path,
        """
        X, y = rng.normal(size=(60_000, 64)), rng.normal(size=60_000)
        net = lipgd.Network.create([64, 800, 800, 1], "tanh")

        def train():
            run = lipgd.train(net, X, y, steps=1000, n_threads=1)
            assert (run.status, run.steps, len(run.history)) == ("interrupted", 0, 0), run
            assert run.network == net

        def raising(work):
            try:
                work()
            except KeyboardInterrupt:
                return
            raise SystemExit("not interrupted")

        def seconds(work):
            later(signal.SIGINT, 0.3)
            work()
            return waited()

        for work in (
            train,
            lambda: raising(lambda: lipgd.risk(net, X, y, n_threads=1)),
            lambda: raising(lambda: lipgd.risk_and_gradient(net, X, y, n_threads=1)),
            lambda: raising(lambda: net.jacobian(X, n_threads=1)),
        ):
            # The machine may be busy: one good answer of three will do.
            assert any(seconds(work) < 0.5 for _ in range(3))
        """,
    )


def test_ctrl_c_that_comes_late_in_a_step_is_not_lost(tmp_path):
    run_script(
        tmp_path,
        """
        X, y = rng.normal(size=(32, 2500)), rng.normal(size=32)
        net = lipgd.Network.create([2500, 2500, 1], "relu")
        begin = time.perf_counter()
        lipgd.train(net, X, y, steps=1, rate=1e-9, record=())
        prepared = 2 * (time.perf_counter() - begin)  # on a busy machine too
        for attempt in range(4):
            later(signal.SIGINT, prepared + 0.06 * attempt)
            run = lipgd.train(net, X, y, steps=3000, rate=1e-9, record=())
            assert run.status == "interrupted", (attempt, run)
        """,
    )


def test_the_exception_of_another_signal_comes_out(tmp_path):
    run_script(
        tmp_path,
        """
        class Stop(Exception):
            pass
        def handler(number, frame):
            raise Stop(number)
        signal.signal(signal.SIGTERM, handler)
        later(signal.SIGTERM)
        try:
            lipgd.train(net, X, y, steps=10**9, record=(), checkpoint="state.npz")
            raise SystemExit("not stopped")
        except Stop as error:
            assert error.args == (signal.SIGTERM,)
        os.remove("state.npz")
        calls = []
        signal.signal(signal.SIGUSR1, lambda *_: calls.append(1))
        later(signal.SIGUSR1)
        run = lipgd.train(net, X, y, steps=10**9, record=(),
                          callback=lambda snapshot: snapshot.seconds > 0.6)
        assert calls == [1]
        assert run.message.startswith("stopped by the callback")
        """,
    )


def test_trainings_in_other_threads_go_on_after_ctrl_c(tmp_path):
    run_script(
        tmp_path,
        """
        runs = []
        def work():
            runs.append(lipgd.train(net, X, y, steps=30_000, record=(), n_threads=2))
        thread = threading.Thread(target=work)
        later(signal.SIGINT, 0.1)
        thread.start()
        run = lipgd.train(net, X, y, steps=10**9, record=(), n_threads=2)
        thread.join()
        assert run.status == "interrupted"
        assert runs[0].status == "finished", runs
        assert runs[0].network == lipgd.train(net, X, y, steps=30_000, record=()).network
        """,
    )
