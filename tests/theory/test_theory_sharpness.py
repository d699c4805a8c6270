"""The measured sharpness: an estimate from below of what dense Hessians have."""

from __future__ import annotations

import numpy as np
import pytest
from theory_cases import SMOOTH, random_case

import lipgd
from lipgd.theory import convergence, rate_constraints
from lipgd.theory.convergence._sharpness import largest_curvature


@pytest.mark.parametrize("activation", [*SMOOTH, "relu"])
def test_it_is_the_largest_eigenvalue_of_a_dense_hessian(activation: str) -> None:
    for seed in range(6):
        case = random_case(seed, activation=activation, largest=5)
        exact = float(np.linalg.eigvalsh(case.hessian())[-1])
        found = largest_curvature(
            case.net, case.X, case.y, case.loss, case.sample_weight, iterations=200
        )
        assert found == pytest.approx(exact, rel=1e-6, abs=1e-9)
        few = largest_curvature(
            case.net, case.X, case.y, case.loss, case.sample_weight, iterations=2
        )
        assert few <= exact * (1 + 1e-9) + 1e-9


def test_the_bound_of_the_smoothness_is_not_below_it() -> None:
    for seed in range(20):
        case = random_case(seed, depth=2, activation="tanh", largest=8)
        found = largest_curvature(case.net, case.X, case.y, case.loss, case.sample_weight)
        assert found <= convergence.smoothness(case.quantities).value * (1 + 1e-9)


def test_frozen_parameters_do_not_count() -> None:
    case = random_case(3, depth=2, activation="silu", biases=True, largest=5)
    names = [name for name, _ in case.net.named()]
    kept = np.concatenate([np.full(a.size, name == "W2") for name, a in case.net.named()])
    exact = float(np.linalg.eigvalsh(case.hessian()[np.ix_(kept, kept)])[-1])
    frozen = [name for name in names if name != "W2"]
    found = largest_curvature(case.net, case.X, case.y, case.loss, case.sample_weight, frozen, 99)
    assert found == pytest.approx(exact, rel=1e-6)


def test_the_rate_is_its_inverse_and_descends() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)).astype(np.float32)
    y = np.sin(X[:, :1])
    net = lipgd.Network.create([3, 20, 1], activation="silu", dtype=np.float32, seed=0)
    rate = convergence.sharpness_rate(net, X, y, eta=0.5)
    assert rate(0) == rate(1000)
    assert rate(0) == pytest.approx(0.5 * convergence.sharpness_rate(net, X, y)(0), rel=1e-12)
    run = lipgd.train(net, X, y, rate=rate, steps=50)
    assert (np.diff(run.history["risk"]) < 0).all()
    quantities = rate_constraints.measure(net, X, y)
    certified = convergence.smoothness_rate(convergence.smoothness(quantities).value, 0.5)
    assert certified(0) <= rate(0)


def test_messages() -> None:
    net = lipgd.Network([[[0.0]]])
    X = np.array([[0.0]])
    with pytest.raises(ValueError, match=r"^net has the sharpness 0, expected one above 0$"):
        convergence.sharpness_rate(net, X, [0.0])
    with pytest.raises(ValueError, match=r"^frozen has 'W7', expected some of W1$"):
        convergence.sharpness_rate(net, X, [0.0], frozen=["W7"])
    with pytest.raises(ValueError, match=r"^eta is 2, expected"):
        convergence.sharpness_rate(net, X, [0.0], eta=2)
    with pytest.raises(ValueError, match=r"^iterations is 0, expected"):
        convergence.sharpness_rate(net, X, [0.0], iterations=0)
