"""Are predictions of the Lipschitz dynamics off by what they say, and no more?

Trains one network on the bundled digits with many orders of batches (rate 0.1, batches of 32, the
coefficients from the gradient over all samples at every step) and standardizes observed minus
predicted Z, the sum of the layers' log norms, by the predicted standard error (dynamics.md, 4.1).
The root mean square over the runs at the last step is to lie in [0.85, 1.15].

    python bench/zscores.py --runs 100
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import lipgd

RESULTS = Path(__file__).resolve().parent / "results" / "zscores.json"
SAMPLES = 1500
ALLOWED = (0.85, 1.15)


def digits() -> tuple[Any, Any]:
    """Return the first images of the bundled digits, standardized, and their labels."""
    data = lipgd.data.load("digits")
    X, y = data.X[:SAMPLES], data.y[:SAMPLES]
    return (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-8), y


def measure(runs: int, steps: int, activation: str, seed: int, threads: int) -> dict[str, Any]:
    """Train, predict, and return what is written."""
    X, y = digits()
    sizes = [64, 64, 32, 10]
    net = lipgd.Network.create(sizes, activation=activation, init="torch", seed=seed)

    def one(run: int) -> Any:
        trained = lipgd.train(
            net,
            X,
            y,
            loss="cross_entropy",
            rate=0.1,
            steps=steps,
            batch_size=32,
            shuffle_seed=1000 * (seed + 1) + run,
            record=["lipschitz_dynamics"],
            dynamics=lipgd.dynamics.Recording(diagonal=False),
            n_threads=1,
        )
        return lipgd.dynamics.predict(trained)

    begin = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(one, range(runs)))
    z = np.array([p.z[1:] for p in found])
    replay = np.array([p.error("replay")[1:] for p in found])
    root = float(np.sqrt(np.mean(z[:, -1] ** 2)))
    return {
        "activation": activation,
        "seed": seed,
        "runs": runs,
        "steps": steps,
        "rate": 0.1,
        "batch_size": 32,
        "root_mean_square_at_the_end": root,
        "sampling_error": float(1 / np.sqrt(2 * runs)),
        "root_mean_square_over_all_steps": float(np.sqrt(np.mean(z**2))),
        "mean_at_the_end": float(z[:, -1].mean()),
        "replay_error": {"mean": float(replay.mean()), "largest": float(replay.max())},
        "reached": ALLOWED[0] <= root <= ALLOWED[1],
        "z_at_the_end": z[:, -1].round(4).tolist(),
        "seconds": time.perf_counter() - begin,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--activation", default="silu")
    parser.add_argument("--seed", type=int, default=0, help="of the network and of the batches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = measure(options.runs, options.steps, options.activation, options.seed, options.threads)
    print(
        f"{result['runs']} runs of {result['steps']} steps, {result['activation']}: root mean "
        f"square z at the end {result['root_mean_square_at_the_end']:.3f} (sampling error "
        f"{result['sampling_error']:.3f}), to lie in {list(ALLOWED)}: "
        f"{'yes' if result['reached'] else 'NO'}"
    )
    print(
        f"over all steps {result['root_mean_square_over_all_steps']:.3f}; replay errs by "
        f"{100 * result['replay_error']['mean']:.3f} % of the change of Z on average, at most "
        f"{100 * result['replay_error']['largest']:.2f} %"
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
