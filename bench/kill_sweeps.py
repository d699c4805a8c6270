"""Does a killed sweep, or a training with a killed process, go on to the same result?

    python bench/kill_sweeps.py [--trials 20]

Each trial starts a sweep of short and long trainings in a session of its own, kills the whole
session with ``kill -9`` at a random moment, once to three times, lets the same program finish and
compares the table with that of an unbroken sweep, byte by byte. Then the same for a training on two
or three processes of MPI, of which one at random is killed, or raises at a random step: the others
must be gone within 10 s with one message of lipgd, and the training that goes on from the
checkpoint, on another number of processes, must give the bits of an unbroken one. Every library of
MPI that is installed has its turn. Prints how often all that held, and writes
``results/kill_sweeps.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
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

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import mpi_programs

RESULTS = Path(__file__).resolve().parent / "results" / "kill_sweeps.json"
SWEEP = """
import sys
import numpy as np, lipgd

X = np.random.default_rng(0).normal(size=(200, 3))
settings = {"X": X, "y": np.sin(X[:, 0]), "rate": 0.02}
grid = {"hidden": [4, 60], "steps": [5, 50, 1000], "lipschitz": [1.0, None]}

def quick(a, seed):
    return {"square": a * a, "draw": float(np.random.default_rng(seed).normal())}

if __name__ == "__main__":
    lipgd.sweep(settings, grid, seeds=2, jobs=2, out=sys.argv[1] + "/trainings").save(
        sys.argv[1] + "/trainings.csv")
    lipgd.sweep(quick, {"a": list(range(800))}, seeds=2, jobs=2, out=sys.argv[1] + "/quick").save(
        sys.argv[1] + "/quick.csv")
"""
TRAINING = """
import hashlib, os, sys, time
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
open(f"{folder}/{MPI.COMM_WORLD.rank}.pid", "w").write(str(os.getpid()))

def fail(snapshot):
    if MPI.COMM_WORLD.rank == victim and snapshot.step >= last:
        open(folder + "/when", "w").close()
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
STEPS = 4000
PARTS = ("sweeps", "killed", "raised")
#: Nothing here takes so long but what hangs.
_PATIENCE = 120


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
    libraries = " and ".join(sorted({trial["library"] for trial in trials}))
    return (
        f"trainings with a process {'that raises' if part == 'raised' else 'killed'}, {libraries}: "
        f"{same} of {len(trials)} gave the bits of an unbroken one; {len(broken)} ended early, "
        f"after at most {slowest:.2f} s, {once} of them with one message"
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

    def start(
        library: str, processes: int, place: Path, how: str, victim: int = -1, step: int = 0
    ) -> subprocess.Popen[str]:
        place.mkdir(exist_ok=True)
        arguments = [program, place, STEPS, how, victim, step]
        return mpi_programs.start(processes, *arguments, library=library)

    libraries = itertools.cycle(mpi_programs.LIBRARIES)
    process = start(next(libraries), 1, folder / "one", "whole")
    whole = set(mpi_programs.ended(process, _PATIENCE)[0].splitlines())
    found = []
    for trial, library in zip(range(trials), libraries, strict=False):
        processes = draw.choice([2, 3])
        victim, place = draw.randrange(processes), folder / f"{trial}"
        if raising:
            last = draw.randrange(40, STEPS)
            process = start(library, processes, place, "save", victim, last)
        else:
            process = start(library, processes, place, "save")
            killed_at_random(process, place, victim, draw)
        said = "".join(mpi_programs.ended(process, _PATIENCE))
        when = place / "when"
        seconds = time.time() - when.stat().st_mtime if when.exists() else 0.0
        resumed = start(library, 5 - processes, place, "resume")
        lines = set(mpi_programs.ended(resumed, _PATIENCE)[0].splitlines())
        found.append(
            {
                "library": library,
                "processes": processes,
                "victim": victim,
                "broken": process.returncode != 0,
                "seconds_to_end": round(seconds, 3),
                "messages": sum(line.startswith("lipgd: ") for line in said.splitlines()),
                "same": lines == whole and len(whole) == 1,
            }
        )
        print(f"{'raised' if raising else 'killed'}: {found[-1]}", file=sys.stderr, flush=True)
    return found


def killed_at_random(
    process: subprocess.Popen[str], place: Path, victim: int, draw: random.Random
) -> None:
    """Kill a process after the first checkpoint."""
    while not (place / "state.npz").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(draw.uniform(0.0, 0.4))
    if process.poll() is None:
        (place / "when").touch()
        with contextlib.suppress(ProcessLookupError):  # it had just come to its end
            os.kill(int((place / f"{victim}.pid").read_text()), signal.SIGKILL)


if __name__ == "__main__":
    main()
