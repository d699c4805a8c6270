"""Does a killed sweep, or a training with a killed process, go on to the same result?

    python bench/kill_sweeps.py [--trials 20]

Each trial starts a sweep of short and long trainings in a session of its own, kills the whole
session with ``kill -9`` at a random moment, once to three times, lets the same program finish and
compares the table with that of an unbroken sweep, byte by byte. Then the same for a training on
three processes of MPI, of which one at random is killed, or raises at a random step: the others
must be gone within 10 s with one message (of MPI about the killed process, of lipgd about the one
that raised), and the training that goes on from the checkpoint, on two processes, must give
the bits of an unbroken one. Prints how often that held, and writes ``results/kill_sweeps.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "kill_sweeps.json"
SWEEP = """
import sys
import numpy as np, lipgd

X = np.random.default_rng(0).normal(size=(200, 3))
settings = {"X": X, "y": np.sin(X[:, 0]), "rate": 0.02}
grid = {"hidden": [4, 60], "steps": [5, 50, 1500], "lipschitz": [1.0, None],
        "momentum": [0.0, 0.5]}

def quick(a, seed):
    return {"square": a * a, "draw": float(np.random.default_rng(seed).normal())}

if __name__ == "__main__":
    lipgd.sweep(settings, grid, seeds=2, jobs=2, out=sys.argv[1] + "/trainings").save(
        sys.argv[1] + "/trainings.csv")
    lipgd.sweep(quick, {"a": list(range(800))}, seeds=2, jobs=2, out=sys.argv[1] + "/quick").save(
        sys.argv[1] + "/quick.csv")
"""
TRAINING = """
import hashlib, os, sys
import numpy as np, lipgd
from lipgd import distributed
from mpi4py import MPI

rows = distributed.rows(3000)
X = np.random.default_rng(0).normal(size=(3000, 5))
y = np.sin(X[:, 0])
net = lipgd.Network.create([5, 40, 1], activation="silu")
folder, steps, resume = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "resume"
victim, last = int(sys.argv[4]), int(sys.argv[5])
state = folder + "/state.npz"

def fail(snapshot):
    if MPI.COMM_WORLD.rank == victim and snapshot.step >= last:
        raise RuntimeError("something broke")

run = distributed.train(
    net, X[rows], y[rows], rate=0.05, steps=steps, momentum=0.5,
    constraint=lipgd.LipschitzTarget(2.0, rescale_initial=True), record=["risk"], record_every=50,
    checkpoint=state if sys.argv[3] != "whole" else None,
    checkpoint_every=40 if sys.argv[3] != "whole" else None,
    callback=fail if victim >= 0 else None, callback_every=10 if victim >= 0 else None,
    resume=state if resume else None)
content = run.network._flat.tobytes() + run.history.to_numpy().tobytes()
text = f"{run.status} {run.steps} {hashlib.sha256(content).hexdigest()}"
# Lines of processes that print at once may mix.
for line in MPI.COMM_WORLD.gather(text) or []:
    print(line)
"""
STEPS = 1500
PARTS = ("sweeps", "killed", "raised")
#: How launchers, or the library of a survivor, tell that a process was killed.
KILLED = ("BAD TERMINATION", "exited on signal", "Fatal error in")
#: How lipgd tells that one raised.
RAISED = ("failed, and ends all",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    facts = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in [options.only] if options.only else PARTS:
        draw = random.Random(options.seed)
        with tempfile.TemporaryDirectory() as name:
            if part == "sweeps":
                trials = killed_sweeps(Path(name), options.trials, draw)
            else:
                trials = broken_trainings(Path(name), options.trials, draw, part == "raised")
        facts[part] = trials
        print(summary(part, trials))
    kept = {part: facts[part] for part in PARTS if part in facts}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def summary(part: str, trials: list[dict[str, Any]]) -> str:
    same = sum(trial["same"] for trial in trials)
    if part == "sweeps":
        return f"killed sweeps: {same} of {len(trials)} gave the table of an unbroken one"
    broken = [trial for trial in trials if trial["broken"]]
    slowest = max((trial["seconds_to_end"] for trial in broken), default=0.0)
    once = sum(trial["messages"] == 1 for trial in broken)
    return (
        f"trainings with a process {'that raises' if part == 'raised' else 'killed'}: {same} of "
        f"{len(trials)} gave the bits of an unbroken one; {len(broken)} ended early, after at most "
        f"{slowest:.2f} s, {once} of them with one message"
    )


def killed_sweeps(folder: Path, trials: int, draw: random.Random) -> list[dict[str, Any]]:
    program = folder / "sweep.py"
    program.write_text(SWEEP)

    def start(name: str) -> subprocess.Popen[bytes]:
        (folder / name).mkdir(exist_ok=True)
        command = [sys.executable, program, folder / name]
        return subprocess.Popen(command, start_new_session=True)

    begin = time.perf_counter()
    if start("whole").wait():
        raise SystemExit("the unbroken sweep failed")
    seconds = time.perf_counter() - begin
    found = []
    for trial in range(trials):
        name, moments = f"killed{trial}", []
        for _ in range(draw.randint(1, 3)):
            moments.append(draw.uniform(0.1, seconds))
            process = start(name)
            try:
                process.wait(moments[-1])
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        code = start(name).wait()
        same = code == 0 and all(
            (folder / name / table).read_bytes() == (folder / "whole" / table).read_bytes()
            for table in ("trainings.csv", "quick.csv")
        )
        found.append({"killed_after": moments, "same": same})
        print(f"sweep {trial + 1}: {same}", file=sys.stderr, flush=True)
    return found


def broken_trainings(
    folder: Path, trials: int, draw: random.Random, raising: bool
) -> list[dict[str, Any]]:
    program = folder / "training.py"
    program.write_text(TRAINING)
    beside = Path(sys.executable).parent / "mpiexec"
    launcher = str(beside) if beside.exists() else "mpiexec"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(
        processes: int, name: str, how: str, victim: int = -1, step: int = 0
    ) -> subprocess.Popen[str]:
        (folder / name).mkdir(exist_ok=True)
        arguments = [program, folder / name, STEPS, how, victim, step]
        return subprocess.Popen(
            [launcher, "-n", str(processes), sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )

    whole = set(start(1, "one", "whole").communicate()[0].splitlines())
    found = []
    for trial in range(trials):
        name, victim = f"{'raised' if raising else 'killed'}-{trial}", draw.randrange(3)
        if raising:
            process = start(3, name, "save", victim, draw.randrange(40, STEPS))
            begin = None
        else:
            process = start(3, name, "save")
            begin = killed_at_random(process, program, folder / name / "state.npz", victim, draw)
        said, seconds = watched(process, begin)
        resumed = set(start(2, name, "resume").communicate()[0].splitlines())
        same = resumed == whole and len(whole) == 1
        found.append(
            {
                "victim": victim,
                "broken": process.returncode != 0,
                "seconds_to_end": seconds,
                "messages": sum(said.count(words) for words in (RAISED if raising else KILLED)),
                "same": same,
            }
        )
        print(f"{name}: {found[-1]}", file=sys.stderr, flush=True)
    return found


def killed_at_random(
    process: subprocess.Popen[str], program: Path, state: Path, victim: int, draw: random.Random
) -> float:
    """Kill a process after the first checkpoint, and return when."""
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(draw.uniform(0.0, 0.6))
    ranks = below(process.pid, str(program))
    if len(ranks) == 3:
        os.kill(ranks[victim], signal.SIGKILL)
    return time.perf_counter()


def watched(process: subprocess.Popen[str], begin: float | None) -> tuple[str, float]:
    """Return what a program says, and how long it lives after it began to end, or to say it."""
    assert process.stderr is not None
    first = process.stderr.readline()
    begin = begin or time.perf_counter()
    said = first + "".join(process.communicate())
    return said, time.perf_counter() - begin


def below(pid: int, words: str) -> list[int]:
    """Return the processes below one whose command ends with certain arguments."""
    found: list[int] = []
    level = [pid]
    while level:
        paths = [Path(f"/proc/{one}/task/{one}/children") for one in level]
        level = [int(n) for path in paths if path.exists() for n in path.read_text().split()]
        for one in level:
            command = Path(f"/proc/{one}/cmdline").read_bytes().decode().split("\0")
            if words in command[:2]:
                found.append(one)
    return found


if __name__ == "__main__":
    main()
