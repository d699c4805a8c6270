"""The same bits for every number of threads, place in memory, load, process and pause."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from reference import Problem, random_problem, records

import lipgd
from lipgd import _descent
from lipgd._batches import SAMPLINGS

# Layers and samples: from one lane to many, with sums of lanes small and large, and with single
# samples, units, inputs and outputs, which take paths of their own.
SHAPES = [
    ((1, 1, 1), 1),
    ((2, 5, 1), 3),
    ((3, 50, 1), 1),
    ((3, 50, 1), 700),
    ((1, 33, 2), 501),
    ((5, 200, 1), 150),
    ((20, 64, 48, 3), 1000),
    ((7, 2), 5000),
    ((40, 1, 30, 1), 800),
    ((100, 300, 10), 257),
    ((250, 600, 2), 450),
    ((600, 1000, 1), 80),
]
LOSSES = ("mse", "huber(0.3)", "logistic", "cross_entropy(0.1)")


def placed(array: np.ndarray, by: int) -> np.ndarray:
    """The same array so many bytes after a multiple of 64."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + by
    copy = np.ndarray(array.shape, array.dtype, memory, offset=start)
    copy[...] = array
    return copy


def computed(problem: Problem, n_threads: int, by: int) -> dict[str, bytes]:
    """Everything that is computed, as bytes."""
    net, loss, weights = problem.net, problem.loss, problem.sample_weight
    X = placed(problem.X, by)
    y = placed(problem.y, 64 - by if by else 0)
    rest = (loss, weights, n_threads)
    risk, gradient = lipgd.risk_and_gradient(net, X, y, *rest)
    product = lipgd.hessian_vector_product(net, X, y, net, *rest)
    arrays = {
        "risk": np.array([risk, lipgd.risk(net, X, y, *rest)]),
        "gradient": gradient._flat,
        "hessian": product._flat,
        "outputs": net(X, n_threads=n_threads),
        "jacobian": net.jacobian(X[:200], n_threads=n_threads),
    }
    record = records(problem)
    for batch_size in (None, max(1, len(X) // 3)):
        run = lipgd.train(
            net,
            X,
            y,
            loss=loss,
            sample_weight=weights,
            rate=0.01,
            steps=4,
            batch_size=batch_size,
            momentum=0.5,
            record=record,
            record_every=2,
            points=X[:20],
            n_threads=n_threads,
        )
        arrays[f"network, batch {batch_size}"] = run.network._flat
        for name in run.history:
            arrays[f"{name}, batch {batch_size}"] = run.history[name]
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_threads_and_places_in_memory_do_not_change_a_bit(level, dtype, shape):
    sizes, n_samples = shape
    loss = LOSSES[(len(sizes) + n_samples) % 4]
    if loss.startswith("cross") and sizes[-1] == 1:
        loss = "mse"
    problem = random_problem(2, "silu", loss, dtype, n_samples, sizes)
    expected = computed(problem, 1, 0)
    size = np.dtype(dtype).itemsize
    ways = [(3, 3 * size), (1, 7 * size), (2, size), (8, 0), (None, 32)]
    for n_threads, by in ways[:2] if problem.net.n_parameters > 500_000 else ways:
        result = computed(problem, n_threads, by)
        assert [name for name in expected if result[name] != expected[name]] == []


def small_problem() -> Problem:
    problem = random_problem(6, "tanh", "mse", np.float64, 60, (4, 20, 12, 2))
    return replace(problem, sample_weight=np.linspace(0.5, 2.0, 60))


def train_with_everything(problem: Problem, steps: int = 60, **options) -> lipgd.Run:
    settings = {
        "rate": np.linspace(0.05, 0.01, 60),
        "momentum": 0.6,
        "record": records(problem),
        "record_every": 4,
        "n_threads": 2,
    } | options
    net, X, y, loss, weights = problem.data
    return lipgd.train(net, X, y, loss=loss, sample_weight=weights, steps=steps, **settings)


def assert_same(run: lipgd.Run, expected: lipgd.Run) -> None:
    assert run.network._flat.tobytes() == expected.network._flat.tobytes()
    assert run.history == expected.history
    assert (run.status, run.steps, run.message) == (
        expected.status,
        expected.steps,
        expected.message,
    )


@pytest.mark.parametrize("batch", [{}, *({"batch_size": 7, "sampling": s} for s in SAMPLINGS)])
def test_returns_to_python_cannot_be_seen(level, batch, monkeypatch):
    problem = small_problem()
    monkeypatch.setattr(_descent, "_STRETCH", 1e9)
    expected = train_with_everything(problem, **batch)
    monkeypatch.setattr(_descent, "_STRETCH", 0.0)
    steps = []
    run = train_with_everything(problem, callback=lambda s: steps.append(s.step) and None, **batch)
    assert steps == list(range(1, 61))
    assert_same(run, expected)


def test_long_runs_with_many_pauses_have_the_same_bits(monkeypatch):
    problem = small_problem()
    options = {"rate": 1e-3, "record": ("risk", "spectral_norm:W2"), "record_every": 100}
    run = train_with_everything(problem, 20_000, **options)
    assert run.seconds > 0.1
    monkeypatch.setattr(_descent, "_STRETCH", 1e9)
    assert_same(train_with_everything(problem, 20_000, **options | {"n_threads": 1}), run)


@pytest.mark.parametrize("batch", [{}, {"batch_size": 7, "sampling": "reshuffled"}])
def test_trainings_at_the_same_time_have_the_bits_of_one_alone(batch):
    problems = [
        random_problem(seed, "silu", "mse", dtype, 300, (5, 60, 1))
        for seed in range(4)
        for dtype in (np.float64, np.float32)
    ]

    def train(problem: Problem) -> lipgd.Run:
        return train_with_everything(problem, 40, n_threads=None, **batch)

    alone = [train(problem) for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for run, expected in zip(pool.map(train, problems), alone, strict=True):
                assert_same(run, expected)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_seeds_decide_the_batches(sampling):
    problem = small_problem()

    def network(**options) -> lipgd.Network:
        options = {"batch_size": 5, "sampling": sampling} | options
        return train_with_everything(problem, record=(), **options).network

    assert network(shuffle_seed=3) == network(shuffle_seed=3)
    assert network(shuffle_seed=3) != network(shuffle_seed=4)
    others = [s for s in SAMPLINGS if s != sampling]
    assert all(network() != network(sampling=other) for other in others)


FORKS = """
import hashlib, multiprocessing, os, signal, sys
import numpy as np, lipgd

rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 6)), rng.normal(size=2000)
net = lipgd.Network.create([6, 120, 1], "tanh", seed=1)

def digest(n_threads=4):
    run = lipgd.train(net, X, y, steps=20, rate=0.1, n_threads=n_threads)
    parts = [run.network._flat, run.history["risk"], net(X, n_threads=n_threads)]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
"""


def run_script(body: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FORKS + textwrap.dedent(body)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_forked_children_compute_the_same_bits_and_do_not_hang():
    run_script(
        """
        signal.alarm(30)
        expected = digest()
        for generation in range(2):  # a child of a child too
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                same = all(digest(n) == expected for n in (4, 1, 2))
                if not same:
                    os._exit(3)
            else:
                assert os.waitpid(child, 0)[1] == 0
                assert digest() == expected
                os._exit(0)
        os._exit(0)
        """
    )


def test_pools_of_forked_processes_compute_the_same_bits():
    run_script(
        """
        signal.alarm(30)
        expected = digest()
        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert pool.map(digest, [1, 2, 3, 4, 5, 6]) == 6 * [expected]
        """
    )


def test_a_child_forked_while_a_training_runs_can_train():
    run_script(
        """
        import threading
        signal.alarm(30)
        expected = digest()
        stop = threading.Event()
        busy = threading.Thread(target=lambda: lipgd.train(
            net, X, y, steps=10**9, record=(), n_threads=2, callback=lambda s: stop.is_set()))
        busy.start()
        for _ in range(3):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                os._exit(0 if digest() == expected else 3)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        busy.join()
        """
    )


def test_processes_agree():
    body = "print(digest(2), lipgd._core.level)"
    assert run_script(body) == run_script(body)
