"""Training on real data with a constant and with a decaying rate, and what it does to smoothness.

Three data sets that come with scikit-learn; for each, two trainings that differ in the rate alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lipgd
from lipgd import plotting, report
from lipgd._check import flag, integer
from lipgd._progress import ProgressBar
from lipgd.experiments._demo_page import page
from lipgd.experiments._demo_table import Demo, Row, write_table
from lipgd.experiments._prepare import Scaling, split, standardize
from lipgd.run import Snapshot

__all__ = ["Demo", "Row", "demo"]

_RECORD = ("risk", "validation_risk", "gradient_norm", "lipschitz_lower", "lipschitz_upper")
_TEST_FRACTION = 0.25
_ROWS = 200  #: of a history
_WIDTH = 100
#: The decaying rate is held for this part of the steps, and then falls by 1/e in every such part.
_HOLD = 0.1
_QUICK = 5  #: how many times fewer steps


@dataclass(frozen=True)
class _Case:
    name: str
    words: str
    loss: str
    rate: float
    steps: int


_CASES = (
    _Case("diabetes", "progression of diabetes after a year (regression)", "mse", 0.01, 1500),
    _Case("digits_3_vs_8", "handwritten digits, 3 or 8", "logistic", 0.1, 3000),
    _Case("breast_cancer", "breast tumours, malignant or benign", "logistic", 0.1, 2000),
)


@dataclass(frozen=True, eq=False)
class _Problem:
    case: _Case
    X: Any
    y: Any
    X_test: Any
    y_test: Any
    scaling: Scaling


def demo(
    folder: str | os.PathLike[str],
    *,
    quick: bool = False,
    seed: int = 0,
    progress: bool = True,
    n_threads: int | None = None,
) -> Demo:
    """Train on three real data sets with two rates each, and write all of it to a folder.

    The rates are constant, or held for a tenth of the steps and then decaying exponentially.
    Features are standardized on the training part by scikit-learn, and so is the target of the
    regression: risks and Lipschitz constants are in these units.

    Parameters
    ----------
    folder : path-like
        Made if it is not there. It gets ``report.html``, ``table.csv``, and the folders
        ``figures`` (PNG, SVG), ``histories`` (``.npz``, ``.csv``) and ``networks`` (``.npz``, with
        the means and scales of the data). Files of these names are replaced.
    quick : bool
        Take a fifth of the steps.
    seed : int
        Seed of the networks and of the split into training and test part.
    progress : bool
        Show progress bars on stderr.
    n_threads : int, optional
        Threads to use; by default what the process may use.

    Returns
    -------
    Demo
        After Ctrl-C too, with the trainings up to there.

    Raises
    ------
    ImportError
        If scikit-learn or matplotlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from lipgd.experiments.demo import demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = demo(folder, quick=True, progress=False)
    >>> len(result.rows), result.status
    (6, 'finished')
    """
    integer("seed", seed, at_least=0)
    flag("quick", quick)
    flag("progress", progress)
    problems = [_problem(case, seed) for case in _CASES]
    target = Path(folder)
    for name in ("figures", "histories", "networks"):
        (target / name).mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for problem in problems:
        runs = _trainings(problem, quick, seed, progress, n_threads)
        _write(target, problem, runs)
        rows.extend(_row(problem, name, run) for name, run in runs.items())
        if rows[-1].status == "interrupted":
            break
    result = Demo(target, tuple(rows), _status(rows))
    write_table(target / "table.csv", rows)
    command = f"lipgd demo{' --quick' if quick else ''} --seed {seed}"
    report.save(
        target / "report.html", page(result, {case.name: case.words for case in _CASES}, command)
    )
    return result


def _problem(case: _Case, seed: int) -> _Problem:
    data = lipgd.data.load(case.name)
    classify = data.task == "classification"
    X, y, X_test, y_test = split(
        data.X, data.y, fraction=_TEST_FRACTION, seed=seed, stratify=classify
    )
    scaling = standardize(X, y, targets=not classify)
    return _Problem(
        case,
        scaling.inputs(X),
        scaling.targets(y),
        scaling.inputs(X_test),
        scaling.targets(y_test),
        scaling,
    )


def _trainings(
    problem: _Problem, quick: bool, seed: int, progress: bool, n_threads: int | None
) -> dict[str, lipgd.Run]:
    """Return the runs by the name of their schedule, up to one that was interrupted."""
    case = problem.case
    steps = case.steps // (_QUICK if quick else 1)
    hold = round(_HOLD * steps)
    decay = lipgd.schedules.exponential(1.0, 1 / hold)
    schedules = {
        "constant": lipgd.schedules.constant(case.rate),
        "hold-then-decay": lipgd.schedules.hold_then_decay(case.rate, hold, decay),
    }
    net = lipgd.Network.create(
        [problem.X.shape[1], _WIDTH, 1], activation="silu", init="glorot_normal", seed=seed
    )
    runs = {}
    for name, rate in schedules.items():
        bar = ProgressBar(steps, f"{case.name}, {name}") if progress else None
        runs[name] = lipgd.train(
            net,
            problem.X,
            problem.y,
            loss=case.loss,
            rate=rate,
            steps=steps,
            validation=(problem.X_test, problem.y_test),
            record=_RECORD,
            record_every=max(1, steps // _ROWS),
            callback=partial(_show, bar),
            n_threads=n_threads,
        )
        if bar is not None:
            bar.close()
        if runs[name].status == "interrupted":
            break
    return runs


def _show(bar: ProgressBar | None, snapshot: Snapshot) -> None:
    if bar is not None:
        bar.show(snapshot.step, _at(snapshot.history, "risk", -1))


def _at(history: lipgd.History, column: str, row: int) -> float:
    return float(history[column][row]) if len(history) else float("nan")


def _row(problem: _Problem, schedule: str, run: lipgd.Run) -> Row:
    history = run.history
    accuracy = None
    if problem.case.loss == "logistic":
        accuracy = float(np.mean(np.sign(run.network(problem.X_test)[:, 0]) == problem.y_test))
    return Row(
        data_set=problem.case.name,
        schedule=schedule,
        loss=problem.case.loss,
        status=run.status,
        train_risk=_at(history, "risk", -1),
        test_risk=_at(history, "validation_risk", -1),
        test_accuracy=accuracy,
        lipschitz_lower_start=_at(history, "lipschitz_lower", 0),
        lipschitz_upper_start=_at(history, "lipschitz_upper", 0),
        lipschitz_lower_end=_at(history, "lipschitz_lower", -1),
        lipschitz_upper_end=_at(history, "lipschitz_upper", -1),
        steps=run.steps,
        seconds=run.seconds,
        steps_per_second=run.steps / run.seconds,
    )


def _status(rows: Sequence[Row]) -> str:
    found = [row.status for row in rows]
    return next((bad for bad in ("interrupted", "diverged") if bad in found), "finished")


def _write(folder: Path, problem: _Problem, runs: dict[str, lipgd.Run]) -> None:
    name = problem.case.name
    for schedule, run in runs.items():
        stem = f"{name}_{schedule.replace('-', '_')}"
        run.network.save(folder / "networks" / f"{stem}.npz")
        run.history.save(folder / "histories" / f"{stem}.npz")
        run.history.save(folder / "histories" / f"{stem}.csv")
    problem.scaling.save(folder / "networks" / f"{name}_scaling.npz")
    plotting.save(plotting.side_by_side(runs), folder / "figures" / name)
