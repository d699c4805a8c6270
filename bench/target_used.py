"""Does a Lipschitz limit leave the training as much as it can: is the target used, not wasted?

For each case: lipgd with ``LipschitzTarget(limit)`` (the method retract) against PyTorch loops that
keep each layer's spectral norm below its proportional share of the limit after every step, from the
same start at the same rate with ten times as many steps. A share is the norm at the start times one
factor for all layers. ``scaled`` multiplies a layer whose norm exceeds its share;
``projected`` cuts its singular values, the nearest matrix. Cases whose unlimited run ends below 1.2
limits ask nothing.

Asked is a certified constant of at least 0.95 limits at the end, and a risk of at most 1.05 times
that of either loop, in the median of the seeds. ``free`` is the risk without a limit after the
same steps: where it exceeds 1.05 times that of the peer, no limited run of so few steps can be
expected to do better, since ten times the steps is more training.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import lipgd
from tables import table

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "silu": functional.silu}
LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "mse": functional.mse_loss,
    "logistic": lambda f, y: functional.softplus(-y * f).mean(),
    "cross_entropy": functional.cross_entropy,
}
#: The peer takes so many times the steps.
LONGER = 10
RISK, USED, EXCEEDED = 1.05, 0.95, 1.2


@dataclass(frozen=True)
class Case:
    """One problem, its network and its limit."""

    data: str
    hidden: tuple[int, ...]
    activation: str
    rate: float
    limit: float
    steps: int

    @property
    def name(self) -> str:
        """The row's name in the table and in ``--only``."""
        widths = "-".join(map(str, self.hidden))
        return f"{self.data} {widths} {self.activation} rate {self.rate:g} limit {self.limit:g}"


CASES = (
    Case("diabetes", (50,), "relu", 0.05, 1.0, 2000),
    Case("diabetes", (100,), "silu", 0.05, 1.5, 1000),
    Case("diabetes", (50, 50), "tanh", 0.05, 1.0, 1000),
    Case("diabetes", (32, 32, 32), "relu", 0.02, 2.0, 1000),
    Case("digits_3_vs_8", (50,), "relu", 0.5, 3.0, 1000),
    Case("digits_3_vs_8", (50,), "silu", 0.2, 2.0, 500),
    Case("digits_3_vs_8", (50, 50), "tanh", 0.2, 3.0, 500),
    Case("digits_as_number", (50,), "relu", 0.05, 1.0, 300),
    Case("digits", (50,), "relu", 0.3, 3.0, 300),
)


def problem(case: Case) -> tuple[np.ndarray, np.ndarray, str, int]:
    """Return inputs, targets, the loss and the number of outputs."""
    data = lipgd.data.load("digits" if case.data == "digits_as_number" else case.data)
    X, y = np.asarray(data.X, np.float64), np.asarray(data.y)
    X = (X - X.mean(0)) / X.std(0) if case.data == "diabetes" else X / 16
    if case.data == "digits":
        return X, y.astype(np.int64), "cross_entropy", 10
    if case.data == "digits_3_vs_8":
        return X, y.astype(np.float64)[:, None], "logistic", 1
    return X, ((y - y.mean()) / y.std())[:, None], "mse", 1


def compare(case: Case, seed: int) -> dict[str, float]:
    """Return the risks and certified constants of all runs of one seed."""
    torch.set_num_threads(1)
    X, y, loss, n_outputs = problem(case)
    net = lipgd.Network.create(
        [X.shape[1], *case.hidden, n_outputs], activation=case.activation, seed=seed
    )
    target = lipgd.LipschitzTarget(case.limit, rescale_initial=True)
    settings: dict[str, Any] = {"loss": loss, "rate": case.rate, "steps": case.steps}
    settings |= {"record": ("risk", "lipschitz_upper"), "record_every": case.steps, "n_threads": 1}
    run = lipgd.train(net, X, y, constraint=target, **settings)
    free = lipgd.train(run.initial, X, y, **settings)
    result = {}
    for name, ended in (("retract", run), ("free", free)):
        result[name] = float(ended.history["risk"][-1])
        result[f"{name} constant"] = float(ended.history["lipschitz_upper"][-1])
    if result["free constant"] > EXCEEDED * case.limit:
        for name in ("scaled", "projected"):
            result[name] = peer(case, run.initial, X, y, loss, name == "projected")
    return result


def peer(
    case: Case, start: lipgd.Network, X: np.ndarray, y: np.ndarray, loss: str, projected: bool
) -> float:
    """Return the risk after the loop in PyTorch."""
    theta = [
        torch.tensor(array).requires_grad_()
        for pair in zip(start.weights, start.biases, strict=True)
        for array in pair
    ]
    norms = [float(np.linalg.norm(w, 2)) for w in start.weights]
    product = case.limit / start.activation.lipschitz ** (start.depth - 1)
    growth = (product / math.prod(norms)) ** (1 / start.depth)
    shares = [growth * norm for norm in norms]
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    sigma, measure = ACTIVATIONS[case.activation], LOSSES[loss]

    def risk() -> torch.Tensor:
        h = inputs
        for layer in range(0, len(theta) - 2, 2):
            h = sigma(functional.linear(h, theta[layer], theta[layer + 1]))
        return measure(functional.linear(h, theta[-2], theta[-1]), targets)

    for _ in range(LONGER * case.steps):
        gradient = torch.autograd.grad(risk(), theta)
        with torch.no_grad():
            torch._foreach_add_(theta, gradient, alpha=-case.rate)
            for matrix, share in zip(theta[::2], shares, strict=True):
                clip(matrix, share, projected)
    return risk().item()


def clip(matrix: torch.Tensor, share: float, projected: bool) -> None:
    """Bring the spectral norm down to the share."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    values, vectors = torch.linalg.eigh(tall.T @ tall)
    norms = values.clamp(min=0).sqrt()
    if norms[-1] <= share:
        return
    if projected:
        over = norms > share
        top = vectors[:, over]
        tall.sub_((tall @ top) * (1 - share / norms[over]) @ top.T)
    else:
        matrix.mul_(share / norms[-1])


def summary(case: Case, seeds: list[dict[str, float]]) -> dict[str, Any]:
    """Return the medians of a case and what they say."""
    exceeding = [s for s in seeds if "scaled" in s]
    facts: dict[str, Any] = {"case": asdict(case), "seeds": seeds, "exceeding": len(exceeding)}
    if len(exceeding) < len(seeds):
        return facts | {"verdict": "asks nothing"}
    medians = {key: statistics.median(s[key] for s in seeds) for key in seeds[0]}
    least_used = min(s["retract constant"] for s in seeds) / case.limit
    ratio, projected = (medians["retract"] / medians[name] for name in ("scaled", "projected"))
    good = max(ratio, projected) <= RISK and least_used >= USED
    reason = ""
    if not good and medians["free"] > RISK * min(medians["scaled"], medians["projected"]):
        reason = ": so is the run without a limit"
    return facts | {
        "medians": medians,
        "least_used": least_used,
        "ratio_scaled": ratio,
        "ratio_projected": projected,
        "ratio_free": medians["free"] / medians["scaled"],
        "verdict": ("yes" if good else "NO") + reason,
    }


def line(case: Case, facts: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    if "medians" not in facts:
        return [case.name, str(case.steps), *["-"] * 5, facts["verdict"]]
    numbers = ("least_used", "ratio_scaled", "ratio_projected", "ratio_free")
    cells = [f"{facts[key]:.3f}" for key in numbers]
    return [
        case.name,
        str(case.steps),
        f"{facts['medians']['retract']:.4g}",
        *cells,
        facts["verdict"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name starts so")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    out = Path(__file__).parent / "results" / "target_used.json"
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args()
    header = ["case", "steps", "risk", "used", "/ scaled", "/ projected", "free / scaled", "asked"]
    lines, results = [], []
    with ProcessPoolExecutor(options.jobs) as pool:
        for case in CASES:
            if not case.name.startswith(options.only):
                continue
            seeds = list(pool.map(compare, [case] * options.seeds, range(options.seeds)))
            results.append(summary(case, seeds))
            lines.append(line(case, results[-1]))
            print("  ".join(lines[-1]), flush=True)
            options.out.write_text(json.dumps(results, indent=1) + "\n")
    print("\n" + table(header, lines))


if __name__ == "__main__":
    main()
