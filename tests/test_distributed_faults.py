"""Processes of MPI that raise or die: the others end, one message comes, the checkpoint is good."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mpi_programs import LIBRARIES, ended, start

import lipgd
from lipgd.distributed import _guard

pytest.importorskip("mpi4py")
needs_mpi = pytest.mark.skipif(not LIBRARIES, reason="no launcher of MPI programs")

PROGRAM = """
import os, signal, sys
import numpy as np, lipgd
from lipgd import distributed

how, victims, folder = sys.argv[1], sys.argv[2].split(), sys.argv[3]
rank = os.environ.get("PMI_RANK", os.environ.get("PMIX_RANK"))
open(f"{folder}/{rank}.pid", "w").write(str(os.getpid()))

def fail():
    if "killed" in how:
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError(f"the disk of {rank} is full")

def callback(snapshot):
    if rank in victims and snapshot.step >= 20:
        fail()

if "early" in how and rank in victims:
    fail()
X = np.random.default_rng(0).normal(size=(1003, 4))
mine = distributed.rows(len(X))
net = lipgd.Network.create([4, 30, 1], activation="silu")
distributed.train(
    net, X[mine], X[mine, 0], steps=10**8, callback=callback, callback_every=10, record_every=10,
    checkpoint=folder + "/state.npz", checkpoint_every=10)
"""
CASES = [
    (3, "killed", "2", "lipgd: process 2 of 3 was killed or ended without a word"),
    (2, "killed", "0", "lipgd: process 0 of 2 was killed or ended without a word"),
    (2, "killed early", "1", "lipgd: a process was killed or ended without a word"),
    (2, "raised early", "0", "failed, and ends all"),
    (2, "raised", "1", "lipgd: process 1 of 2 failed, and ends all"),
    (2, "raised", "0 1", "failed, and ends all"),
]


@needs_mpi
@pytest.mark.parametrize(
    ("library", "processes", "how", "victims", "message"),
    [(library, *case) for library, case in zip(itertools.cycle(LIBRARIES), CASES, strict=False)],
)
def test_one_message_comes_and_the_others_end(library, processes, how, victims, message, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    process = start(processes, tmp_path / "program.py", how, victims, tmp_path, library=library)
    _, err = ended(process)
    assert process.returncode != 0
    said = [line for line in err.splitlines() if line.startswith("lipgd: ")]
    assert len(said) == 1 and message in said[0], err
    assert err.count("RuntimeError: the disk of") == ("raised" in how)
    deadline = time.monotonic() + 5
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if "early" not in how:
        X = np.random.default_rng(0).normal(size=(1003, 4))
        arguments = {"record_every": 10, "steps": 25}
        net = lipgd.Network.create([4, 30, 1], activation="silu")
        train = lipgd.distributed.train
        resumed = train(net, X, X[:, 0], resume=tmp_path / "state.npz", **arguments)
        assert resumed.network == train(net, X, X[:, 0], **arguments).network


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def guard(path):
    return subprocess.Popen(
        [sys.executable, _guard.__file__, path],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def heard(one):
    assert one.wait() == 0  # its child goes on
    with one.stderr:
        return one.stderr.read()


def test_the_first_guard_to_lose_its_process_speaks_for_all(tmp_path):
    guards = [guard(tmp_path / "spoken") for _ in range(3)]
    for one in guards:
        one.stdin.close()
    said = [heard(one) for one in guards]
    assert sorted(map(len, said))[:2] == [0, 0]
    assert "".join(said).startswith("\nlipgd: a process was killed")


@pytest.mark.parametrize("told", [".\n", "!\n"])
def test_a_guard_is_silent_when_all_is_said(tmp_path, told):
    one = guard(tmp_path / "spoken")
    one.stdin.write(told)
    one.stdin.close()
    assert heard(one) == ""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells who died first")
def test_the_first_to_die_is_named_however_late_somebody_looks():
    processes = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    numbers = [number for rank, one in enumerate(processes) for number in (one.pid, rank)]
    family = _guard._Family(3, 2, *numbers)
    assert family.first_to_die() == "process 2 of 3"  # no other end was seen
    for rank in (1, 0, 2):
        processes[rank].send_signal(signal.SIGKILL)
        processes[rank].wait()
    assert family.first_to_die() == "process 1 of 3"


def test_processes_that_are_alone_have_no_guard():
    assert _guard.named({}) is None
    assert _guard.named({"PMI_RANK": "0", "PMI_SIZE": "1"}) is None
    assert _guard.named({"PMI_RANK": "2", "PMI_SIZE": "3"}) == "process 2 of 3"
    assert _guard.named({"PMIX_RANK": "2"}) == "process 2"


def test_an_error_that_nobody_catches_is_told_as_ever_without_a_launcher(tmp_path):
    body = "from lipgd import distributed\nraise RuntimeError('mine')"
    environment = {k: v for k, v in os.environ.items() if "PMI" not in k and "MPI" not in k}
    done = subprocess.run(
        [sys.executable, "-c", body], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1 and "lipgd:" not in done.stderr
