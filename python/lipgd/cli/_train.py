"""``lipgd train``: a network for a table."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

import lipgd
from lipgd._files import atomic_writer
from lipgd.constraints import CAP_MODES, METHODS

from ._options import Commands, add_common, as_json, new_command
from ._processes import Alone, Expected, Several, processes
from ._table import Problem, load_problem

_DESCRIPTION = """\
Train a network on a table and write it to a folder, with the history of the training and, if
matplotlib is installed, a figure.
"""
_EXAMPLES = """\
  lipgd train table.csv --label price --standardize --test-fraction 0.25
  lipgd train iris.csv --label species --hidden 50 50 --steps 5000
  lipgd train arrays.npz --loss huber --rate 0.1 --hold 200 --decay 0.01
  lipgd train table.csv --lipschitz 5 --rate 0.1
  lipgd train big.csv --batch-size 64 --checkpoint state.npz
  lipgd train big.csv --batch-size 64 --checkpoint state.npz --resume
  mpiexec -n 4 lipgd train shards/*.npy --checkpoint state.npz

The folder gets network.npz (lipgd.Network.load), history.npz (lipgd.History.load), history.csv,
summary.json, history.png and .svg, and with --standardize scaling.npz: the network then expects
(x - input_mean) / input_scale, and its Lipschitz constants are in these units.

Several .npy files are one table, in the order in which they are named. Started by mpiexec, every
process reads its own rows, and the result has the same bits for any number of processes.
"""
_CODES = {"finished": 0, "converged": 0, "diverged": 1, "interrupted": 130}
#: Rows of the history, and samples whose Jacobians give the lower Lipschitz value, by default.
_ROWS, _POINTS = 200, 1000


def add(commands: Commands) -> None:
    """Add the command."""
    parser = new_command(commands, "train", "train a network on a table", _DESCRIPTION, _EXAMPLES)
    _add_data(parser.add_argument_group("data"))
    _add_network(parser.add_argument_group("network"))
    _add_descent(parser.add_argument_group("gradient descent"))
    add_common(parser, "lipgd-train")
    parser.set_defaults(run=run)


def _add_data(group: Any) -> None:
    group.add_argument(
        "data",
        nargs="+",
        metavar="DATA",
        help="CSV (also .gz), .npz with X and y, or one or several .npy with a table",
    )
    group.add_argument(
        "--label", metavar="COLUMN", help="the target: name or position (the last; y in .npz)"
    )
    group.add_argument(
        "--shards",
        type=int,
        default=64,
        metavar="N",
        help="parts of the samples whose sums are added in one order, a power of two that is at "
        "least the number of processes of mpiexec; another number gives other last bits (64)",
    )
    tests = group.add_mutually_exclusive_group()
    tests.add_argument(
        "--test-fraction", type=float, default=0.0, metavar="F", help="part kept for testing (0)"
    )
    tests.add_argument("--test-file", metavar="FILE", help="test data of the same form")
    group.add_argument(
        "--standardize",
        action="store_true",
        help="features, and the target of a regression, to mean 0 and deviation 1",
    )


def _add_network(group: Any) -> None:
    group.add_argument(
        "--hidden", type=int, nargs="*", default=[100], metavar="WIDTH", help="hidden widths (100)"
    )
    group.add_argument("--activation", default="silu", metavar="NAME", help="(silu)")
    group.add_argument("--init", default="he_normal", metavar="LAW", help="(he_normal)")
    group.add_argument("--dtype", choices=("float64", "float32"), default="float64")


def _add_descent(group: Any) -> None:
    group.add_argument(
        "--loss",
        default="auto",
        metavar="NAME",
        help="mse, huber, huber(0.5), logistic, cross_entropy; auto: cross_entropy for classes, "
        "logistic for two of them, else mse",
    )
    group.add_argument("--rate", type=float, default=0.01, help="learning rate (0.01)")
    group.add_argument("--steps", type=int, default=1000, help="number of steps (1000)")
    group.add_argument(
        "--hold", type=int, default=0, metavar="N", help="steps before the rate decays (0)"
    )
    group.add_argument(
        "--decay", type=float, default=0.0, metavar="R", help="then it falls by exp(-R) a step (0)"
    )
    group.add_argument("--batch-size", type=int, metavar="N", help="samples per step (all)")
    group.add_argument("--momentum", type=float, default=0.0, help="from 0 to below 1 (0)")
    group.add_argument("--weight-decay", type=float, default=0.0, metavar="S", help="strength (0)")
    group.add_argument(
        "--lipschitz",
        type=float,
        metavar="L",
        help="keep the certified Lipschitz constant at most L at every step; weights that begin "
        "above it are scaled down",
    )
    group.add_argument(
        "--lipschitz-method",
        choices=METHODS[1:],
        help="move the weights onto the limit after a step, or lower the rates (retract)",
    )
    group.add_argument(
        "--caps",
        nargs="+",
        metavar="NAME=C",
        help="cap the rates so that |W - W_0| <= C / samples * steps: W1=50 b1=9 W2=50",
    )
    group.add_argument(
        "--caps-mode",
        choices=CAP_MODES[1:],
        help="what a step may use: its own budget, what earlier ones left, or the way to the start "
        "(observed)",
    )
    group.add_argument(
        "--record",
        nargs="+",
        metavar="NAME",
        help="what the history holds (risk, validation_risk with test data, gradient_norm, "
        "lipschitz_lower, lipschitz_upper)",
    )
    group.add_argument(
        "--record-every", type=int, metavar="K", help=f"steps per row (steps / {_ROWS})"
    )
    group.add_argument("--checkpoint", metavar="FILE", help="keep the state in this file")
    group.add_argument(
        "--checkpoint-every", type=int, metavar="K", help="steps between checkpoints (a minute)"
    )
    group.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint, with the same arguments"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, save, and print the outcome; of several processes one speaks for all."""
    together = processes(arguments.shards)
    try:
        with together.guarded():
            return _run(arguments, together)
    except Expected:
        if together.first:
            raise
        return 2


def _run(arguments: argparse.Namespace, together: Alone | Several) -> int:
    _check(arguments)
    problem = load_problem(arguments, together)
    if problem.note and together.first:
        print(f"lipgd train: {problem.note}", file=sys.stderr)
    net = lipgd.Network.create(
        [problem.X.shape[1], *arguments.hidden, problem.n_outputs],
        activation=arguments.activation,
        init=arguments.init,
        seed=arguments.seed,
        dtype=arguments.dtype,
    )
    folder = Path(arguments.out)
    together.agreed(lambda: folder.mkdir(parents=True, exist_ok=True) if together.first else None)
    outcome = together.train(net, problem.X, problem.y, _settings(arguments, problem))
    facts = _facts(outcome, problem, arguments, together)
    if together.first:
        _save(folder, outcome, problem, facts)
        print(as_json(facts) if arguments.json else _text(facts, folder))
        if outcome.status in ("diverged", "interrupted"):
            print(f"lipgd train: {outcome.status}: {outcome.message}", file=sys.stderr)
    return _CODES[outcome.status]


def _check(arguments: argparse.Namespace) -> None:
    needed = {
        "resume": "checkpoint",
        "checkpoint_every": "checkpoint",
        "hold": "decay",
        "lipschitz_method": "lipschitz",
        "caps_mode": "caps",
    }
    for name, other in needed.items():
        value = getattr(arguments, name)
        if value and not getattr(arguments, other):
            option, missing = (f"--{part.replace('_', '-')}" for part in (name, other))
            given = "given" if value is True else value
            raise ValueError(f"{option} is {given}, but {missing} is missing")
    if arguments.caps and arguments.lipschitz is not None:
        raise ValueError("--caps and --lipschitz are given, expected one of them")


def _settings(arguments: argparse.Namespace, problem: Problem) -> dict[str, Any]:
    """Return the arguments of :func:`lipgd.train`."""
    record = arguments.record
    if record is None:
        record = ["risk", "gradient_norm", "lipschitz_lower", "lipschitz_upper"]
        record[1:1] = ["validation_risk"] if problem.test else []
    every = arguments.record_every
    rate = lipgd.schedules.constant(arguments.rate)
    if arguments.decay:
        decay = lipgd.schedules.exponential(1.0, arguments.decay)
        rate = lipgd.schedules.hold_then_decay(arguments.rate, arguments.hold, decay)
    return {
        "loss": problem.loss,
        "rate": rate,
        "steps": arguments.steps,
        "constraint": _constraint(arguments),
        "momentum": arguments.momentum,
        "weight_decay": arguments.weight_decay,
        "batch_size": arguments.batch_size,
        "shuffle_seed": arguments.seed,
        "validation": problem.test,
        "points": problem.X[:: -(-len(problem.X) // _POINTS)],
        "record": record,
        "record_every": max(1, arguments.steps // _ROWS) if every is None else every,
        "progress": not arguments.no_progress,
        "checkpoint": arguments.checkpoint,
        "checkpoint_every": arguments.checkpoint_every,
        "resume": arguments.checkpoint if arguments.resume else None,
        "n_threads": arguments.threads,
    }


def _constraint(arguments: argparse.Namespace) -> lipgd.LipschitzTarget | lipgd.RateCaps | None:
    if arguments.caps:
        budgets = dict(_budget(text) for text in arguments.caps)
        return lipgd.RateCaps(budgets, mode=arguments.caps_mode or CAP_MODES[1])
    if arguments.lipschitz is None:
        return None
    method = arguments.lipschitz_method or METHODS[1]
    return lipgd.LipschitzTarget(arguments.lipschitz, method=method, rescale_initial=True)


def _budget(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        wanted = "a name and a number, such as W1=50"
        raise ValueError(f"--caps has {name + sign + value!r}, expected {wanted}") from None


def _facts(
    outcome: lipgd.Run,
    problem: Problem,
    arguments: argparse.Namespace,
    together: Alone | Several,
) -> dict[str, Any]:
    """Return the outcome as JSON can hold it."""
    given = {key: value for key, value in vars(arguments).items() if key != "run"}
    history = outcome.history
    ends = [0, -1] if len(history) else []
    return {
        "status": outcome.status,
        "message": outcome.message,
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "steps_per_second": outcome.steps / outcome.seconds,
        "samples": together.total(len(problem.X)),
        "test_samples": len(problem.test[0]) if problem.test else 0,
        "features": list(problem.features),
        "classes": list(problem.classes),
        "standardized": problem.scaling is not None,
        "network": repr(outcome.network),
        "loss": problem.loss.name,
        "train": _scores(
            outcome.network, problem.X, problem.y, problem, arguments.threads, together
        ),
        "test": _scores(outcome.network, *problem.test, problem, arguments.threads, Alone())
        if problem.test
        else None,
        "recorded_steps": [int(history.step[row]) for row in ends],
        "recorded": {name: [float(history[name][row]) for row in ends] for name in history},
        "processes": together.count,
        "lipgd": lipgd.__version__,
        "arguments": given,
    }


def _scores(
    net: lipgd.Network,
    X: Any,
    y: Any,
    problem: Problem,
    n_threads: int | None,
    together: Alone | Several,
) -> dict[str, float]:
    def risk(rows: slice) -> float:
        return lipgd.risk(net, X[rows], y[rows], loss=problem.loss, n_threads=n_threads)

    def accuracy(rows: slice) -> float:
        outputs = net(X[rows], n_threads=n_threads)
        labels = outputs.argmax(axis=1) if problem.loss.takes_labels else np.sign(outputs[:, 0])
        return float(np.mean(labels == y[rows]))

    scores = {"risk": together.average(len(X), risk)}
    if problem.classes:
        scores["accuracy"] = together.average(len(X), accuracy)
    return scores


def _save(folder: Path, outcome: lipgd.Run, problem: Problem, facts: dict[str, Any]) -> None:
    outcome.network.save(folder / "network.npz")
    outcome.history.save(folder / "history.npz")
    outcome.history.save(folder / "history.csv")
    scaling = folder / "scaling.npz"
    if problem.scaling is not None:
        problem.scaling.save(scaling)
    else:
        # That of an earlier training would give wrong predictions with this network.
        scaling.unlink(missing_ok=True)
    with atomic_writer(folder / "summary.json") as file:
        file.write(f"{as_json(facts)}\n".encode())
    if importlib.util.find_spec("matplotlib") is not None:
        from lipgd import plotting

        plotting.save(plotting.overview(outcome), folder / "history")


def _text(facts: dict[str, Any], folder: Path) -> str:
    """Return the outcome for people."""
    from lipgd import report

    classes = f"classes {', '.join(facts['classes'])}" if facts["classes"] else "regression"
    steps = [f"step {step:,}" for step in facts["recorded_steps"]]
    rows = [[name, *values] for name, values in facts["recorded"].items()]
    lines = [
        f"{facts['status']}: {facts['message']}",
        f"{facts['seconds']:.2f} s, {facts['steps_per_second']:,.0f} steps/s",
        "",
        f"data     {facts['samples']:,} samples, {facts['test_samples']:,} more for testing, "
        f"{len(facts['features'])} inputs; {classes}",
        f"network  {facts['network']}",
        f"loss     {facts['loss']}",
        *(["units    standardized: Lipschitz values too"] if facts["standardized"] else []),
        "",
        *([report.text_table(["recorded", *steps], rows), ""] if steps else []),
        *(_score_line(part, facts[part]) for part in ("train", "test") if facts[part]),
        "",
        f"files    {folder}",
    ]
    return "\n".join(lines)


def _score_line(part: str, scores: dict[str, float]) -> str:
    return f"{part:<8} " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
