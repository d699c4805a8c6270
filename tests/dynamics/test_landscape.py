"""Risk and log norms over a plane: against NumPy at every point."""

from __future__ import annotations

import numpy as np
import pytest

import lipgd
from lipgd.dynamics import landscape

RNG = np.random.default_rng(4)
X = RNG.normal(size=(40, 3))
LABELS = RNG.integers(0, 4, 40)
NET = lipgd.Network.create([3, 9, 7, 4], activation="silu", seed=2)


def flat_of(net: lipgd.Network) -> np.ndarray:
    pairs = zip(net.weights, net.biases, strict=True)
    return np.concatenate([np.concatenate([w.ravel(), b]) for w, b in pairs])


def network_at(flat: np.ndarray) -> lipgd.Network:
    weights, biases, at = [], [], 0
    for w, b in zip(NET.weights, NET.biases, strict=True):
        weights.append(flat[at : at + w.size].reshape(w.shape))
        biases.append(flat[at + w.size : at + w.size + b.size])
        at += w.size + b.size
    return lipgd.Network(weights, biases, "silu")


def log_product(net: lipgd.Network) -> float:
    return sum(np.log(np.linalg.norm(w, 2)) for w in net.weights)


@pytest.fixture(scope="module")
def found() -> lipgd.dynamics.Landscape:
    run_path = []
    run = lipgd.train(
        NET,
        X,
        LABELS,
        loss="cross_entropy",
        rate=0.3,
        steps=30,
        batch_size=8,
        callback=lambda now: run_path.append(now.network),
        callback_every=6,
    )
    return landscape(
        run.network, X, LABELS, loss="cross_entropy", path=[NET, *run_path], points=4, seed=5
    )


def test_every_point_of_the_grid_against_numpy(found):
    center = flat_of(found.center)
    for i, second in enumerate(found.second):
        for j, first in enumerate(found.first):
            net = network_at(center + first * found.directions[0] + second * found.directions[1])
            risk = lipgd.risk(net, X, LABELS, "cross_entropy")
            assert found.risk[i, j] == pytest.approx(risk, rel=1e-13)
            assert found.log_norm[i, j] == pytest.approx(log_product(net), rel=1e-9)


def test_directions_are_orthonormal_and_of_the_seed(found):
    assert found.directions @ found.directions.T == pytest.approx(np.eye(2), abs=1e-14)
    again = landscape(found.center, X, LABELS, loss="cross_entropy", points=2, seed=5)
    assert np.array_equal(again.directions, found.directions)
    other = landscape(found.center, X, LABELS, loss="cross_entropy", points=2, seed=6)
    assert abs(other.directions[0] @ found.directions[0]) < 0.9


def test_the_path_is_projected_and_its_own_values_are_kept(found):
    moved = np.array([flat_of(NET) - flat_of(found.center)])
    assert found.path[0] == pytest.approx((moved @ found.directions.T)[0], abs=1e-13)
    assert found.path_risk[0] == pytest.approx(lipgd.risk(NET, X, LABELS, "cross_entropy"))
    assert found.path_log_norm[0] == pytest.approx(log_product(NET), rel=1e-9)
    assert found.path[-1] == pytest.approx([0.0, 0.0]) and len(found.path) == 6
    assert abs(found.path).max() == pytest.approx(0.8 * found.first[-1])
    assert found.project([NET]) == pytest.approx(found.path[:1])
    in_plane = network_at(flat_of(found.center) + 0.7 * found.directions[1])
    assert found.project([in_plane]) == pytest.approx(np.array([[0.0, 0.7]]), abs=1e-12)
    seen = landscape(
        found.center, X, LABELS, loss="cross_entropy", path=[in_plane], points=2, seed=5
    )
    assert seen.in_plane == pytest.approx(1.0) and 0 < found.in_plane < 0.5


def test_frozen_parameters_do_not_move():
    flat = landscape(NET, X, LABELS, loss="cross_entropy", points=2, frozen=["W1", "b3"])
    for direction in flat.directions:
        part = dict(network_at(direction + 0.0).named())
        moves = {name: bool(values.any()) for name, values in part.items()}
        frozen = {"W1", "b3"}
        assert moves == {name: name not in frozen for name in moves}


def test_without_a_path_the_plane_is_half_as_long_as_the_center():
    flat = landscape(NET, X, LABELS, loss="cross_entropy", points=3)
    assert flat.first[-1] == pytest.approx(0.5 * np.linalg.norm(flat_of(NET)))
    assert np.isnan(flat.in_plane) and flat.path.shape == (0, 2)
    given = landscape(NET, X, LABELS, loss="cross_entropy", points=3, extent=0.25)
    assert given.first.tolist() == given.second.tolist() == [-0.25, 0.0, 0.25]
    assert given.risk[1, 1] == pytest.approx(lipgd.risk(NET, X, LABELS, "cross_entropy"))


def test_messages():
    data = {"loss": "cross_entropy", "points": 2}
    with pytest.raises(ValueError, match="points is 1, expected an integer at least 2"):
        landscape(NET, X, LABELS, loss="cross_entropy", points=1)
    with pytest.raises(ValueError, match="extent is 0, expected a finite number above 0"):
        landscape(NET, X, LABELS, extent=0, **data)
    with pytest.raises(TypeError, match=r"path\[0\] is 3, expected a Network"):
        landscape(NET, X, LABELS, path=[3], **data)
    with pytest.raises(TypeError, match=r"path is Network.*, expected a sequence of networks"):
        landscape(NET, X, LABELS, path=NET, **data)
    other = lipgd.Network.create([3, 9, 4], activation="silu")
    with pytest.raises(ValueError, match=r"path\[1\] is Network\(3-9-4.*expected the shapes"):
        landscape(NET, X, LABELS, path=[NET, other], **data)
    line = lipgd.Network([[[2.0]], [[1.0]]])
    with pytest.raises(ValueError, match="frozen leaves less than two parameters"):
        landscape(line, X[:, :1], X[:, 1], loss="mse", points=2, frozen=["W2"])
