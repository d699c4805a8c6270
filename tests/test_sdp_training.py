"""The tight certificate along a training: recorded, steered by, and the same after a pause."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import lipgd
from lipgd import _descent

Data = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def waves(inputs: int = 3) -> Data:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (60, inputs))
    return X, np.sin(6 * X[:, :1])


@pytest.mark.parametrize("sizes", [[3, 40, 1], [3, 20, 15, 1], [3, 1]])
def test_the_recorded_bound_is_that_of_every_network(
    level: str, dtype: type[np.floating[Any]], sizes: list[int]
) -> None:
    net = lipgd.Network.create(sizes, activation="silu", dtype=dtype, output_scale=-1.5, seed=1)
    seen: list[lipgd.Network] = []
    run = lipgd.train(
        net,
        *waves(),
        rate=0.02,
        steps=20,
        record=["lipschitz_upper", "lipschitz_upper_sdp", "lipschitz_lower"],
        callback=lambda snapshot: seen.append(snapshot.network),
        callback_every=1,
    )
    bounds = run.history["lipschitz_upper_sdp"]
    assert (run.history["lipschitz_lower"] <= bounds * (1 + 1e-6)).all()
    assert (bounds <= run.history["lipschitz_upper"] * (1 + 1e-3)).all()
    for found, expected in ((bounds[0], run.initial), (bounds[-1], run.network)):
        tight = lipgd.lipschitz.upper(expected, tolerance=1e-6)
        assert tight.bracket is not None
        assert tight.bracket[0] * (1 - 1e-9) <= found <= tight.value * (1 + 1.1e-3)


def test_a_target_by_the_tight_bound_lets_the_network_use_all_of_it(level: str) -> None:
    X, y = waves()
    limit = 2.0
    losses = {}
    for certificate in ("product", "sdp"):
        net = lipgd.Network.create([3, 60, 1], activation="relu", seed=2)
        target = lipgd.LipschitzTarget(limit, certificate=certificate, rescale_initial=True)
        seen: list[lipgd.Network] = []
        run = lipgd.train(
            net,
            X,
            y,
            rate=0.05,
            steps=400,
            constraint=target,
            record=["risk", "lipschitz_upper_sdp"],
            callback=lambda snapshot, seen=seen: seen.append(snapshot.network),
            callback_every=40,
        )
        assert (run.history["lipschitz_upper_sdp"] <= limit * (1 + 2e-3)).all()
        for between in (*seen, run.network):
            assert lipgd.lipschitz.upper(between).value <= limit * (1 + 1e-4)
        losses[certificate] = run.history["risk"][-1]
        if certificate == "sdp":
            assert lipgd.lipschitz.upper(run.network).value >= 0.99 * limit
    assert losses["sdp"] < losses["product"]


def test_a_pause_does_not_move_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {
        "rate": 0.05,
        "steps": 40,
        "constraint": lipgd.LipschitzTarget(1.0, certificate="sdp", rescale_initial=True),
        "record": ["lipschitz_upper_sdp"],
    }
    for sizes in ([3, 30, 1], [3, 12, 10, 1]):
        net = lipgd.Network.create(sizes, activation="tanh", seed=3)
        through = lipgd.train(net, *waves(), **settings)
        with monkeypatch.context() as patch:
            patch.setattr(_descent, "_STRETCH", 0.0)
            paused = lipgd.train(net, *waves(), **settings)
        assert paused.network == through.network
        column = "lipschitz_upper_sdp"
        assert np.array_equal(paused.history[column], through.history[column])


def test_a_tight_target_at_any_depth_and_precision(dtype: type[np.floating[Any]]) -> None:
    for sizes in ([3, 20, 15, 1], [3, 10, 8, 6, 1]):
        net = lipgd.Network.create(sizes, activation="gelu", seed=4, dtype=dtype)
        target = lipgd.LipschitzTarget(0.7, certificate="sdp", rescale_initial=True)
        run = lipgd.train(net, *waves(), rate=0.1, steps=60, constraint=target)
        assert run.status in ("finished", "converged")
        assert lipgd.lipschitz.upper(run.network).value <= 0.7 * (1 + 1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_no_recorded_bound_is_above_the_limit_that_every_step_proves(
    dtype: type[np.floating[Any]], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    way = [
        ("retract", "sdp"),
        ("retract", "balanced"),
        ("retract", "product"),
        ("rates", "product"),
    ]
    method, certificate = way[seed % 4]
    limit = float(rng.uniform(0.3, 3.0))
    net = lipgd.Network.create(
        [3, int(rng.integers(1, 60)), 1],
        activation=str(rng.choice(["relu", "silu", "tanh"])),
        dtype=dtype,
        seed=seed,
    )
    target = lipgd.LipschitzTarget(
        limit, method, certificate, rescale_initial=True, theta=1.0 - 1e-9, accelerate=seed < 4
    )
    if seed == 5:  # the memory of the bound goes out and in at every step
        monkeypatch.setattr(_descent, "_STRETCH", 0.0)
    run = lipgd.train(
        net,
        *waves(),
        rate=0.3,
        steps=80,
        batch_size=None if seed % 2 else 20,
        constraint=target,
        record=["lipschitz_upper_sdp"],
    )
    bounds = run.history["lipschitz_upper_sdp"]
    assert (bounds <= limit).all()
    for found, expected in ((bounds[0], run.initial), (bounds[-1], run.network)):
        tight = lipgd.lipschitz.upper(expected, tolerance=1e-6)
        assert tight.bracket is not None
        assert found >= tight.bracket[0] * (1 - 1e-9)
