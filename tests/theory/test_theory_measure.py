from __future__ import annotations

import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from reference import LOSSES, _torch_losses, random_problem, torch_gradient
from theory_cases import ROUNDING, random_case, scalar_case

import lipgd
from lipgd.theory import rate_constraints as rc
from lipgd.theory.rate_constraints import _measure


def close_above(value: float, exact: float, accuracy: float = 1e-6) -> bool:
    return exact <= value * (1 + 1e-13) and value <= exact * (1 + accuracy) + 1e-12


@pytest.mark.parametrize("seed", range(60))
def test_norms_are_those_of_numpy(seed: int) -> None:
    case = random_case(seed)
    found, net, root = case.quantities, case.net, math.sqrt(len(case.X))
    scale = np.sqrt(case.weights)[:, None]
    for layer, rows in enumerate(case.features):
        wide = np.column_stack([rows, np.full(len(rows), float(net.biases[layer] is not None))])
        assert close_above(found.feature_norms[layer], np.linalg.norm(scale * rows, 2) / root)
        assert close_above(
            found.augmented_feature_norms[layer], np.linalg.norm(scale * wide, 2) / root
        )
        assert close_above(found.feature_frobenius[layer], np.linalg.norm(scale * rows) / root)
        assert close_above(found.feature_maxima[layer], np.linalg.norm(rows, axis=1).max())
        assert close_above(
            found.augmented_feature_maxima[layer], np.linalg.norm(wide, axis=1).max()
        )
        assert close_above(found.weight_norms[layer], np.linalg.norm(net.weights[layer], 2))
        assert close_above(found.weight_frobenius[layer], np.linalg.norm(net.weights[layer]))
    assert close_above(found.outer_row_norm, np.linalg.norm(net.weights[-1], axis=0).max())
    assert found.risk == pytest.approx(case.risk, rel=1e-12)
    assert found.largest_weight == pytest.approx(case.weights.max())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(4))
def test_loss_gradients_are_those_of_pytorch(loss: str, seed: int) -> None:
    """A last layer with a bias per sample would do; here the outputs themselves are parameters."""
    rng = np.random.default_rng(seed)
    n_outputs = 3
    outputs = 3.0 * rng.normal(size=(7, n_outputs))
    net = lipgd.Network([np.eye(n_outputs)], None, "identity", -0.5)
    y = (
        rng.integers(0, n_outputs, 7)
        if loss.startswith("cross")
        else rng.choice([-1.0, 1.0], (7, n_outputs))
    )
    weights = rng.random(7)
    found = rc.measure(net, outputs, y, loss, weights)
    leaf = torch.tensor(outputs, requires_grad=True)
    each = _torch_losses(loss, -0.5 * leaf, torch.tensor(y))
    q = torch.autograd.grad(each.sum(), leaf)[0].numpy()
    scaled = np.sqrt(weights / weights.mean())[:, None] * q
    assert close_above(found.loss_gradient, np.linalg.norm(scaled) / math.sqrt(7))
    assert close_above(found.loss_gradient_spectral, np.linalg.norm(scaled, 2) / math.sqrt(7))
    assert close_above(found.loss_gradient_max, np.linalg.norm(q, axis=1).max())
    samples = rc.measure_samples(net, outputs, y, loss, weights)
    np.testing.assert_allclose(samples.loss_gradients, np.linalg.norm(q, axis=1), rtol=1e-12)
    np.testing.assert_allclose(samples.feature_norms[0], np.linalg.norm(outputs, axis=1))
    np.testing.assert_allclose(samples.weights, weights / weights.mean())


@pytest.mark.parametrize("seed", range(80))
def test_loss_gradients_keep_to_omega_and_lambda(seed: int) -> None:
    """Inequality (1), and the constants of section 1.2."""
    case = random_case(seed)
    found = case.quantities
    assert found.loss_gradient_max <= found.loss_lipschitz * ROUNDING
    limit = 2 * found.loss_smoothness * found.risk
    assert found.loss_gradient**2 <= limit * ROUNDING + 1e-300
    if case.loss == "mse":
        assert found.loss_gradient**2 == pytest.approx(limit, rel=1e-9)
    if lipgd.losses.get(case.loss).residual:
        outputs = np.linalg.norm(case.inner_outputs, axis=1).max()
        most = found.target_pull_max + found.loss_smoothness * outputs
        assert found.loss_gradient_max <= most * ROUNDING


def test_inequality_1_with_a_smaller_constant_fails() -> None:
    found = scalar_case([1.0], 1.0, 3.0).quantities
    assert found.loss_gradient**2 > 0.98 * 2 * found.loss_smoothness * found.risk


def test_blocks_give_the_same_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(5, depth=3, weighted=True)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, case.net.n_inputs))
    y = rng.normal(size=(150, case.net.n_outputs))
    weights = rng.random(150)
    whole = rc.measure(case.net, X, y, "mse", weights)
    samples = rc.measure_samples(case.net, X, y, "mse", weights)
    monkeypatch.setattr(_measure, "_BLOCK", 16)
    parts = rc.measure(case.net, X, y, "mse", weights)
    for name in ("feature_norms", "augmented_feature_norms", "feature_frobenius", "feature_maxima"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-5)
    for name in ("risk", "loss_gradient", "loss_gradient_spectral", "target_pull"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-5)
    again = rc.measure_samples(case.net, X, y, "mse", weights)
    np.testing.assert_allclose(again.feature_norms, samples.feature_norms, rtol=1e-12)
    rows = np.sqrt(weights / weights.mean())[:, None] * X
    assert parts.feature_norms[0] >= np.linalg.norm(rows, 2) / math.sqrt(150)


def test_norms_from_blocks_are_upper_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_measure, "_BLOCK", 8)
    rng = np.random.default_rng(1)
    for _ in range(20):
        rows = np.outer(rng.normal(size=40), rng.normal(size=3))
        norms = _measure._Norms(40, 3)
        for begin in range(0, 40, 8):
            norms.add(rows[begin : begin + 8], np.ones((8, 1)))
        with mpmath.workdps(40):
            gram = mpmath.matrix(rows.tolist()).T * mpmath.matrix(rows.tolist())
            exact = mpmath.sqrt(mpmath.eigsy(gram, eigvals_only=True)[2])
            assert exact <= norms.spectral() <= exact * (1 + 1e-6)


def test_float32_networks_are_measured_on_the_data_as_they_are_trained_on() -> None:
    problem = random_problem(3, "tanh", "mse", np.float32)
    assert problem.net.dtype == np.float32
    found = rc.measure(problem.net, problem.X, problem.y, "mse", problem.sample_weight)
    assert found.risk == pytest.approx(torch_gradient(problem)[0], rel=1e-9)


def test_memory_maps_and_strides_are_read(tmp_path: Path) -> None:
    X = np.random.default_rng(2).normal(size=(50, 3))
    np.save(tmp_path / "X.npy", X)
    net = lipgd.Network.create([3, 4, 1])
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert rc.measure(net, mapped, X[:, 0]) == rc.measure(net, X, X[:, 0])
    assert rc.measure(net, np.asfortranarray(X), X[:, 0]) == rc.measure(net, X, X[:, 0])


@pytest.mark.parametrize("seed", range(60))
def test_norm_only_quantities_are_above_the_measured_ones(seed: int) -> None:
    found = random_case(seed).quantities
    loose = rc.norm_only(found)
    assert loose.risk == math.inf
    for name in ("feature_norms", "augmented_feature_norms", "feature_frobenius", "feature_maxima"):
        pairs = zip(getattr(found, name), getattr(loose, name), strict=True)
        assert all(exact <= bound * ROUNDING for exact, bound in pairs)
    for name in ("loss_gradient", "loss_gradient_spectral", "loss_gradient_max"):
        assert getattr(found, name) <= getattr(loose, name) * ROUNDING
    wide = rc.norm_only(found, [2 * w for w in found.weight_norms], found.bias_norms)
    assert wide.weight_norms[0] == 2 * found.weight_norms[0]
    assert wide.outer_row_norm >= found.outer_row_norm
    assert all(
        exact <= bound * ROUNDING
        for exact, bound in zip(found.weight_frobenius, wide.weight_frobenius, strict=True)
    )


def test_the_norm_only_version_is_attained() -> None:
    case = scalar_case([0.2, 0.3], 1.5, -50.0, biases=[0.5, 0.25])
    found, loose = case.quantities, rc.norm_only(case.quantities)
    assert found.feature_norms[1] > 0.98 * loose.feature_norms[1]
    for exact, bound in (
        (found.loss_gradient, loose.loss_gradient),
        (found.loss_gradient_max, loose.loss_gradient_max),
    ):
        assert 0.98 * bound < exact <= bound * ROUNDING


def test_without_the_value_at_zero_features_would_be_too_small() -> None:
    """Negative control: sigma(0) ignored."""
    net = lipgd.Network([np.zeros((9, 2)), np.ones((1, 9))], activation="sigmoid")
    found = rc.measure(net, np.ones((3, 2)), np.zeros(3))
    assert rc.norm_only(found).feature_norms[1] * ROUNDING >= found.feature_norms[1] > 1.0
    slope_alone = net.activation.lipschitz * found.weight_norms[0] * found.feature_frobenius[0]
    assert slope_alone < found.feature_norms[1]


def test_names_and_sizes_of_groups() -> None:
    net = lipgd.Network([np.ones((4, 3)), np.ones((2, 4))], [None, np.ones(2)])
    found = rc.measure(net, np.ones((1, 3)), np.zeros((1, 2)))
    assert found.names == ("W1", "W2", "b2")
    assert found.group_sizes == {"W1": 12, "W2": 8, "b2": 2}
    assert found.depth == 2
    assert found.augmented_feature_norms[0] == found.feature_norms[0]


def test_an_output_scale_of_zero_is_legal() -> None:
    found = scalar_case([2.0, 3.0], 1.0, 5.0, output_scale=0.0).quantities
    assert found.loss_gradient == found.loss_smoothness == found.slope_product == 0.0
    assert found.loss_lipschitz == 0.0
    assert rc.gradient_majorants(found) == {"W1": 0.0, "W2": 0.0}


def test_bad_arguments_are_named() -> None:
    net = lipgd.Network.create([3, 4, 1])
    with pytest.raises(ValueError, match=r"X has 2 columns, but the network takes 3 inputs"):
        rc.measure(net, np.ones((5, 2)), np.ones(5))
    with pytest.raises(TypeError, match=r"net is 3, expected a Network"):
        rc.measure(3, np.ones((5, 2)), np.ones(5))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"y has 4 samples, but X has 5"):
        rc.measure_samples(net, np.ones((5, 3)), np.ones(4))
    found = rc.measure(net, np.ones((5, 3)), np.ones(5))
    with pytest.raises(ValueError, match=r"weight_norms is .*, expected 2 numbers at least 0"):
        rc.norm_only(found, [1.0, -1.0])
