from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from theory_cases import ROUNDING, SMOOTH, Case, random_case, scalar_case, with_parameters

import lipgd
from lipgd.theory import convergence as cv
from lipgd.theory import rate_constraints as rc

TINY = 1e-10


def hessian_norm(case: Case) -> float:
    hessian = case.hessian()
    return float(np.abs(np.linalg.eigvalsh((hessian + hessian.T) / 2)).max())


def random_smooth_case(seed: int, depth: int = 2, **options: object) -> Case:
    rng = np.random.default_rng(seed)
    activation = str(rng.choice(SMOOTH))
    return random_case(seed, depth=depth, activation=activation, largest=4, **options)  # type: ignore[arg-type]


def layer_masks(net: lipgd.Network) -> list[np.ndarray]:
    """Which parameters belong to each layer."""
    owners = np.concatenate([np.full(a.size, int(name[1:])) for name, a in net.named()])
    return [owners == layer for layer in range(1, net.depth + 1)]


def at_distance(
    case: Case, radii: list[float], rng: np.random.Generator
) -> Iterator[tuple[Case, np.ndarray]]:
    """Networks whose layers are at these joint distances, in several directions."""
    masks, start = layer_masks(case.net), np.concatenate([a.ravel() for _, a in case.net.named()])
    gradient = np.concatenate([a.ravel() for a in case.gradient.values()])
    for direction in (rng.normal(size=start.size), start, gradient, -gradient):
        moved = start.copy()
        for mask, radius in zip(masks, radii, strict=True):
            size = np.linalg.norm(direction[mask])
            if size > 0:
                moved[mask] += rng.choice([1.0, rng.random()]) * radius * direction[mask] / size
        yield case.at(with_parameters(case.net, moved)), moved


@pytest.mark.parametrize("seed", range(150))
def test_hessians_keep_to_lemma_s(seed: int) -> None:
    """The quadratic form by blocks, S, and the block-diagonal bound of (11)."""
    rng = np.random.default_rng(seed)
    case = random_smooth_case(seed)
    bound, hessian = cv.smoothness(case.quantities), case.hessian()
    first, second = layer_masks(case.net)
    assert hessian_norm(case) <= bound.value * ROUNDING + TINY
    leading = np.linalg.eigh((hessian + hessian.T) / 2)[1][:, [0, -1]].T
    for v in (*leading, *rng.normal(size=(5, len(hessian)))):
        x, y = np.linalg.norm(v[first]), np.linalg.norm(v[second])
        form = bound.hidden * x**2 + 2 * bound.coupling * x * y + bound.outer * y**2
        assert abs(v @ hessian @ v) <= form * ROUNDING + TINY
        for theta in (0.1, 1.0, 7.0):
            a, b = bound.blocks(theta)
            assert v @ hessian @ v <= (a * x**2 + b * y**2) * ROUNDING + TINY


def test_lemma_s_is_attained_by_a_chain() -> None:
    case = scalar_case([2.0, 3.0], 1.5, -4.0)
    bound, exact = cv.smoothness(case.quantities).value, hessian_norm(case)
    assert 0.98 * bound < exact <= bound
    hessian = case.hessian()
    found = cv.smoothness(case.quantities)
    expected = [[found.hidden, found.coupling], [found.coupling, found.outer]]
    np.testing.assert_allclose(hessian, expected, rtol=1e-9)


def test_lemma_s_is_attained_by_a_bent_neuron() -> None:
    """Far targets make the second derivative of tanh dominate, where it is largest."""
    bend = math.atanh(1 / math.sqrt(3))
    x = 100.0
    case = scalar_case([-bend / x, 50.0], x, 1e9, activation="tanh")
    found, exact = cv.smoothness(case.quantities), hessian_norm(case)
    assert 0.98 * found.value < exact <= found.value * ROUNDING
    samples = rc.measure_samples(case.net, case.X, case.y)
    deep = cv.deep_smoothness(case.quantities, samples, [0.0, 0.0])
    assert 0.98 * deep < exact <= deep * ROUNDING
    # Negative control: without the second derivative of the activation.
    quantities = case.quantities
    gauss_newton = quantities.loss_smoothness * (50.0 * x) ** 2
    assert cv.Smoothness(gauss_newton, found.outer, found.coupling).value < exact


def test_lemma_s_without_its_coupling_would_fail() -> None:
    """Negative controls: no L_sigma q_2 xi-bar in e; the diagonal alone."""
    case = scalar_case([0.1, 0.1], 1.0, 50.0)
    found, exact = cv.smoothness(case.quantities), hessian_norm(case)
    without = found.coupling - case.quantities.loss_gradient
    assert cv.Smoothness(found.hidden, found.outer, without).value < exact
    assert max(found.hidden, found.outer) < exact
    assert exact <= found.value * ROUNDING


@pytest.mark.parametrize("seed", range(150))
def test_hessians_over_a_region(seed: int) -> None:
    """Lemma S over a region and on the sublevel set."""
    rng = np.random.default_rng(seed)
    case = random_smooth_case(10_000 + seed)
    radii = [float(10.0 ** rng.uniform(-2, 0.5)) for _ in range(2)]
    bound = cv.region_smoothness(case.quantities, *radii)
    below = cv.region_smoothness(case.quantities, *radii, sublevel=True)
    ball = cv.ball_smoothness(case.quantities, max(radii))
    assert below.value <= bound.value
    for moved, _ in at_distance(case, radii, rng):
        exact = hessian_norm(moved)
        assert exact <= bound.value * ROUNDING + TINY
        if moved.risk <= case.risk:
            assert exact <= below.value * ROUNDING + TINY
            assert exact <= ball * ROUNDING + TINY


def test_the_region_is_attained_by_a_chain() -> None:
    case = scalar_case([2.0, 3.0], 1.5, -4.0)
    moved = case.at(case.net.replace(weights=[[[2.5]], [[3.25]]]))
    bound = cv.region_smoothness(case.quantities, 0.5, 0.25).value
    assert 0.98 * bound < hessian_norm(moved) <= bound


def test_zero_radii_are_the_point() -> None:
    for seed in range(30):
        found = random_smooth_case(seed).quantities
        point, region = cv.smoothness(found), cv.region_smoothness(found, 0.0, 0.0)
        assert point.value <= region.value * (1 + 1e-9)
        assert region.outer == pytest.approx(point.outer)


def test_the_ball_grows_like_its_square() -> None:
    found = random_smooth_case(3, loss="mse").quantities
    values = [cv.ball_smoothness(found, radius) for radius in (0.0, 1.0, 10.0, 1e4, 2e4)]
    assert values == sorted(values)
    assert 1.9 < math.log2(values[4] / values[3]) < 2.1


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(40))
def test_hessians_of_deep_networks(depth: int, seed: int) -> None:
    """Section 10, at the centre and over a region."""
    rng = np.random.default_rng([depth, seed])
    case = random_smooth_case(20_000 + 100 * depth + seed, depth)
    samples = rc.measure_samples(case.net, case.X, case.y, case.loss, case.sample_weight)
    zero = cv.deep_smoothness(case.quantities, samples, [0.0] * depth)
    assert hessian_norm(case) <= zero * ROUNDING + TINY
    radii = [float(10.0 ** rng.uniform(-2, 0)) for _ in range(depth)]
    bound = cv.deep_smoothness(case.quantities, samples, radii)
    assert zero <= bound
    for moved, _ in at_distance(case, radii, rng):
        assert hessian_norm(moved) <= bound * ROUNDING + TINY


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_deep_bound_is_attained_by_a_chain(depth: int) -> None:
    case = scalar_case([2.0, 3.0, 0.5, 1.5][:depth], 1.5, -4.0)
    samples = rc.measure_samples(case.net, case.X, case.y)
    bound = cv.deep_smoothness(case.quantities, samples, [0.0] * depth)
    assert 0.98 * bound < hessian_norm(case) <= bound
    radii = [0.3, 0.2, 0.1, 0.4][:depth]
    grown = [[[w.item() + r]] for w, r in zip(case.net.weights, radii, strict=True)]
    moved = case.at(case.net.replace(weights=grown))
    bound = cv.deep_smoothness(case.quantities, samples, radii)
    assert 0.98 * bound < hessian_norm(moved) <= bound


def test_deep_blocks_of_samples_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from lipgd.theory.convergence import _deep

    case = random_smooth_case(7, 3, weighted=True)
    samples = rc.measure_samples(case.net, case.X, case.y, case.loss, case.sample_weight)
    whole = cv.deep_smoothness(case.quantities, samples, [0.1, 0.2, 0.3])
    monkeypatch.setattr(_deep, "_BLOCK", 3)
    parts = cv.deep_smoothness(case.quantities, samples, [0.1, 0.2, 0.3])
    assert parts == pytest.approx(whole, rel=1e-12)


def test_one_layer_is_a_quadratic() -> None:
    case = random_case(4, depth=1, loss="mse", activation="relu")
    bound = cv.smoothness(case.quantities)
    assert bound.hidden == bound.coupling == 0.0
    assert hessian_norm(case) == pytest.approx(bound.value, rel=1e-9)
    assert cv.region_smoothness(case.quantities, 9.0, 9.0).value == bound.value


def test_the_rate_of_a_smoothness() -> None:
    schedule = cv.smoothness_rate(4.0, 0.5)
    assert schedule(10) <= 0.125
    assert schedule(10) == pytest.approx(0.125)
    with pytest.raises(ValueError, match=r"eta is 2.0, expected .* below 2"):
        cv.smoothness_rate(4.0, 2.0)
    with pytest.raises(ValueError, match=r"bound is 0.0, expected a finite number above 0"):
        cv.smoothness_rate(0.0)


def test_bad_arguments_are_named() -> None:
    kink = random_case(0, depth=2, activation="relu")
    samples = rc.measure_samples(kink.net, kink.X, kink.y, kink.loss)
    with pytest.raises(
        ValueError, match=r"activation is relu, expected one with a Lipschitz slope"
    ):
        cv.smoothness(kink.quantities)
    with pytest.raises(
        ValueError, match=r"activation is relu, expected one with a Lipschitz slope"
    ):
        cv.deep_smoothness(kink.quantities, samples, [0.0, 0.0])
    deep = random_smooth_case(0, 3)
    with pytest.raises(ValueError, match=r"quantities is of 3 layers, expected at most 2"):
        cv.smoothness(deep.quantities)
    with pytest.raises(ValueError, match=r"radii is \[0.0\], expected 3 numbers, one per layer"):
        cv.deep_smoothness(deep.quantities, samples, [0.0])
    with pytest.raises(ValueError, match=r"samples has feature norms of shape"):
        cv.deep_smoothness(deep.quantities, samples, [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"hidden_radius is -1, expected .* at least 0"):
        cv.region_smoothness(deep.quantities, -1, 0)
    with pytest.raises(ValueError, match=r"theta is 0.0, expected .* above 0"):
        cv.Smoothness(1.0, 1.0, 1.0).blocks(0.0)
