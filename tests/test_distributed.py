"""Training over the processes of MPI: the same bits, one end for all, errors in all."""

from __future__ import annotations

import math

import mpi_programs
import numpy as np
import pytest
from mpi_programs import LIBRARIES, ended

import lipgd
from lipgd import distributed
from lipgd.distributed._shards import Cut, Exchange

pytest.importorskip("mpi4py")
needs_mpi = pytest.mark.skipif(not LIBRARIES, reason="no launcher of MPI programs")

PROGRAM = """
import hashlib, os, sys, time
import numpy as np, lipgd
from lipgd import distributed
from mpi4py import MPI

comm = MPI.COMM_WORLD
rng = np.random.default_rng(0)
N = 1003
X = rng.normal(size=(N, 4))
y = np.sin(X[:, 0]) + X[:, 1]
weight = rng.uniform(size=N)
net = lipgd.Network.create([4, 30, 1], activation="silu", dtype=os.environ.get("DTYPE", "float64"))
# One process has only samples that do not count, and one has none.
cuts = [0, 17, 17, 999, N][: comm.size] + [N]
counted = weight * (np.arange(N) >= 17)
uneven = slice(cuts[comm.rank], cuts[comm.rank + 1])

def told(run):
    content = run.network._flat.tobytes() + run.history.to_numpy().tobytes()
    say(f"{hashlib.sha256(content).hexdigest()} {run.status} {run.steps}")

def say(text):
    # The lines of processes that print at once may mix.
    for line in comm.gather(text) or []:
        print(line, flush=True)
"""
CASES = {
    "target": """
rows = distributed.rows(N)
told(distributed.train(
    net, X[rows], y[rows], rate=0.1, steps=60, momentum=0.5, sample_weight=weight[rows],
    constraint=lipgd.LipschitzTarget(3.0, rescale_initial=True),
    record=["risk", "lipschitz_upper", "lipschitz_lower", "gradient_norm"], record_every=7))
""",
    "caps, rows that must move": """
told(distributed.train(
    net, X[uneven], y[uneven], rate=0.3, steps=60, update="adam", sample_weight=counted[uneven],
    constraint=lipgd.RateCaps({"W1": 50.0, "W2": 50.0}, mode="carry_over"),
    record=["risk", "rate:W1", "displacement:W1"], validation=(X[:50], y[:50])))
""",
}


def start(tmp_path, processes, body, *arguments, library=None, **environment):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + body)
    return mpi_programs.start(processes, program, *arguments, library=library, **environment)


def lines(process):
    out, err = ended(process)
    assert process.returncode == 0, err
    return out.splitlines()


@needs_mpi
def test_every_library_gives_the_same_bits(tmp_path):
    seen = {
        line
        for library in LIBRARIES
        for processes in (1, 4)
        for line in lines(start(tmp_path, processes, CASES["target"], library=library))
    }
    assert len(seen) == 1


@needs_mpi
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_any_number_of_processes_gives_the_same_bits(tmp_path, case, dtype):
    seen = set()
    for processes in (1, 2, 3, 4):
        found = lines(start(tmp_path, processes, CASES[case], DTYPE=dtype))
        assert len(found) == processes
        seen |= set(found)
    assert len(seen) == 1
    assert seen.pop().endswith("finished 60")


def test_one_process_agrees_with_train_to_rounding():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    y, weight = np.sin(X.sum(axis=1)), rng.uniform(size=500)
    net = lipgd.Network.create([3, 20, 1], activation="tanh")
    options = {"rate": 0.1, "steps": 100, "sample_weight": weight, "momentum": 0.3}
    ours = distributed.train(net, X, y, **options)
    plain = lipgd.train(net, X, y, **options)
    np.testing.assert_allclose(ours.history["risk"], plain.history["risk"], rtol=1e-12)
    for one, other in zip(ours.network.weights, plain.network.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@needs_mpi
def test_a_checkpoint_is_resumed_by_another_number_of_processes(tmp_path):
    body = """
rows = distributed.rows(N)
arguments = dict(rate=0.1, momentum=0.5, record=["risk", "lipschitz_upper"])
path = sys.argv[1]
if len(sys.argv) > 2:
    told(distributed.train(net, X[rows], y[rows], steps=80, resume=path, **arguments))
else:
    distributed.train(net, X[rows], y[rows], steps=30, checkpoint=path, **arguments)
    told(distributed.train(net, X[rows], y[rows], steps=80, **arguments))
"""
    path = str(tmp_path / "state.npz")
    whole = set(lines(start(tmp_path, 2, body, path)))
    assert len(whole) == 1
    assert set(lines(start(tmp_path, 3, body, path, "resume"))) == whole


@needs_mpi
def test_bad_data_of_one_process_raise_in_all(tmp_path):
    body = """
rows = distributed.rows(N)
X[700, 2] = np.nan
try:
    distributed.train(net, X[rows], y[rows], steps=5)
except ValueError as error:
    say(f"{comm.rank} {error}")
try:
    distributed.train(net, X[rows], y[rows], steps=5 + comm.rank)
except ValueError as error:
    say(f"{comm.rank} {error}")
"""
    found = lines(start(tmp_path, 3, body))
    assert len(found) == 6
    assert all("nan" in line for line in found[:3])
    assert all("steps in process 1 is not that of process 0" in line for line in found[3:])


@needs_mpi
def test_ctrl_c_or_a_callback_of_one_process_ends_all_at_one_step(tmp_path):
    body = """
import signal
rows = distributed.rows(N)
def callback(snapshot):
    if comm.rank == 2 and snapshot.step >= 60:
        if len(sys.argv) > 1:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            return True
told(distributed.train(net, X[rows], y[rows], steps=10**8, record=(), callback=callback,
                       callback_every=20))
"""
    for arguments in ((), ("signal",)):
        found = lines(start(tmp_path, 3, body, *arguments))
        assert len(found) == 3 and len(set(found)) == 1
        assert found[0].split()[1] == "interrupted" and int(found[0].split()[2]) >= 60


class Fake:
    """A communicator of which only rank and size are asked."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    def allgather(self, value):
        return [value] * self.size


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 5, 7, 32, 64])
def test_the_tree_is_the_same_for_every_cut(processes):
    numbers = np.random.default_rng(0).normal(size=(64, 3)) * np.logspace(-8, 8, 64)[:, None]
    expected = numbers
    while len(expected) > 1:
        expected = expected[::2] + expected[1::2]
    parts = []
    for rank in range(processes):
        cut = Cut(1000, 64, Fake(rank, processes))
        assert processes & (processes - 1) or len(cut.subtrees(rank)) == 1
        for first, size in cut.subtrees(rank):
            part = numbers[first : first + size]
            while len(part) > 1:
                part = part[::2] + part[1::2]
            parts.append(part[0])

    class All(Fake):
        def Allgatherv(self, message, receive):
            receive[0][...] = np.column_stack([parts, np.zeros(len(parts))])

        def Sendrecv(self, message, partner, recvbuf, source):
            # Processes from the partner on, as many as are added here, have added theirs.
            theirs = np.array(parts[partner : 2 * partner])
            while len(theirs) > 1:
                theirs = theirs[::2] + theirs[1::2]
            recvbuf[...] = [*theirs[0], 0.0]

    exchange = Exchange(Cut(1000, 64, All(0, processes)))
    own = np.array(parts[: len(exchange._subtrees[0])])
    assert exchange(own, exchange._subtrees[0])
    np.testing.assert_array_equal(own[0], expected[0])


def test_sums_over_samples_do_not_depend_on_who_has_them():
    values = np.random.default_rng(0).uniform(size=777)

    class Holds(Fake):
        def allgather(self, mine):
            cuts = [Cut(777, 64, Fake(rank, self.size)) for rank in range(self.size)]
            sums = [cut.own_shards() for cut in cuts]
            owned = [cut.owned(rank)[0] for rank, cut in enumerate(cuts)]
            return [
                [math.fsum(values[first + b : first + e]) for b, e in parts]
                for first, parts in zip(owned, sums, strict=True)
            ]

    totals = set()
    for size in (1, 2, 3, 4, 5):
        cut = Cut(777, 64, Holds(size - 1, size))
        totals.add(cut.total(values[slice(*cut.owned(size - 1))]))
    assert len(totals) == 1 and totals.pop() == pytest.approx(values.sum(), rel=1e-13)


def test_rows_cover_all_samples_once():
    for n_samples in (64, 65, 1003):
        for size in (1, 2, 3, 5, 64):
            slices = [distributed.rows(n_samples, Fake(rank, size)) for rank in range(size)]
            covered = np.concatenate([np.arange(n_samples)[s] for s in slices])
            np.testing.assert_array_equal(covered, np.arange(n_samples))
            assert all(s.start < s.stop for s in slices)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 10}, TypeError, "batch_size is no argument of distributed.train"),
        ({"shards": 3}, ValueError, "shards is 3, expected a power of two"),
        ({"shards": 0}, ValueError, "shards is 0"),
        ({"comm": 3}, TypeError, "comm is 3, expected a communicator"),
        ({"rate": -1.0}, ValueError, "rate"),
        ({"record": ["margin"]}, ValueError, "record has 'margin', which needs all samples"),
        (
            {"constraint": lipgd.RateCaps({"W1": 1.0}, mode="tracked")},
            ValueError,
            "constraint has the mode 'tracked', which needs all samples in one place",
        ),
        ({"sample_weight": [-1.0] * 20}, ValueError, "sample_weight has -1"),
        ({"sample_weight": [0.0] * 20}, ValueError, "sample_weight is zero for every sample"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, error, message):
    net = lipgd.Network.create([1, 4, 1])
    X = np.linspace(-1, 1, 20)[:, None]
    with pytest.raises(error, match=message):
        distributed.train(net, X, X, **options)


def test_sums_of_weights_do_not_overflow():
    net = lipgd.Network.create([1, 4, 1])
    X = np.linspace(-1, 1, 20)[:, None]
    runs = [distributed.train(net, X, X, steps=5, sample_weight=[w] * 20) for w in (1.0, 1.5e308)]
    assert runs[0].network == runs[1].network
