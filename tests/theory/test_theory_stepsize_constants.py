"""rho, beta and kappa bound what they name, and are attained."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stepsize_cases import LEAKY, SMOOTH, random_model

import lipgd
from lipgd.theory import large_stepsize as ls

#: Extremes come as near as this; an error of one per cent is noticed.
NEAR = 0.999
GRID = np.concatenate([np.linspace(-12, 12, 200_001), [math.sqrt(2.0), -math.sqrt(2.0)]])


def extremes(activation: lipgd.activations.Activation) -> dict[str, float]:
    """Points at which the activation is extreme."""
    slope, second = np.abs(activation.slope(GRID)), np.abs(activation.second_derivative(GRID))
    rest = activation(GRID) - GRID * activation.slope(GRID)
    return {
        "slope": GRID[slope.argmax()],
        "second": GRID[second.argmax()],
        "low": GRID[rest.argmin()],
        "high": GRID[rest.argmax()],
    }


def test_constants_bound_thousands_of_networks():
    rng = np.random.default_rng(0)
    for _ in range(2500):
        model = random_model(rng)
        found = model.constants
        lengths = np.linalg.norm(model.jacobian, axis=1)
        assert lengths.max() <= found.gradient_bound * (1 + 1e-12)
        sample = int(rng.integers(len(model.X)))
        largest = np.abs(np.linalg.eigvalsh(model.hessian(sample))).max()
        assert largest <= found.curvature_bound * (1 + 1e-12) + 1e-15
        defect = np.abs(model.outputs - model.jacobian @ model.w).max()
        size = 1 + np.abs(model.outputs).max() + np.abs(model.w).max() * lengths.max()
        assert defect <= found.homogeneity_gap * (1 + 1e-12) + 1e-12 * size


@pytest.mark.parametrize("name", (*SMOOTH, *LEAKY))
@pytest.mark.parametrize("outer", [[1.0, -1.0, 1.0, -1.0], [2.0, -0.5, 1.0]])
def test_constants_are_attained(name, outer):
    activation = lipgd.activations.get(name)
    places = extremes(activation)
    a, scale = np.array(outer), 0.25
    x = np.array([[0.6, 0.8]]) * 2.0

    def outputs_at(z):
        z = np.broadcast_to(z, a.shape)
        W = np.outer(z, x[0]) / (x[0] @ x[0])
        net = lipgd.Network([W, a[None]], activation=activation, output_scale=scale)
        slope = activation.slope(z) * a * scale
        curved = activation.second_derivative(z) * a * scale
        rest = net(x)[0, 0] - (slope * z).sum()
        return net, np.linalg.norm(slope) * 2.0, np.abs(curved).max() * 4.0, rest

    net, gradient, _, _ = outputs_at(places["slope"])
    found = ls.constants(net, x)
    assert NEAR * found.gradient_bound <= gradient <= found.gradient_bound
    _, _, curved, _ = outputs_at(places["second"])
    assert NEAR * found.curvature_bound <= curved <= found.curvature_bound * (1 + 1e-14)
    choices = [
        np.where(a > 0, places[one], places[two]) for one, two in (("high", "low"), ("low", "high"))
    ]
    if name in ("tanh", "sigmoid"):  # not attained: the supremum is at infinity
        return
    rest = max(abs(outputs_at(z)[3]) for z in choices)
    assert NEAR * found.homogeneity_gap <= rest <= found.homogeneity_gap * (1 + 1e-13) + 1e-13


def test_the_gap_of_frozen_biases_and_of_bounded_activations_is_attained():
    # Large weights bring tanh to its ends, with all outer signs on one side.
    net = lipgd.Network([[[500.0]], [[2.0]]], activation="tanh")
    assert net([[1.0]])[0, 0] == pytest.approx(ls.homogeneity_gap(net), rel=1e-12)
    net = lipgd.Network([[[0.0]], [[-2.0]]], [[0.5], [-3.0]], "identity", output_scale=0.5)
    for frozen, gap in [((), 0.0), (("b1",), 0.5), (("b2",), 1.5), (("b1", "b2"), 2.0)]:
        found = ls.constants(net, [[1.0]], ("W2", *frozen)).homogeneity_gap
        assert found == pytest.approx(gap, rel=1e-12)


@pytest.mark.parametrize(
    ("frozen", "square"),
    [(("W2",), 2.0 * 26.0 + 0.25), (("W2", "b1"), 2.0 * 25.0 + 0.25), (("W2", "b2"), 2.0 * 26.0)],
)
def test_biases_of_identity(frozen, square):
    net = lipgd.Network(
        [[[0.0, 0.0]] * 2, [[2.0, -2.0]]], [[0.0, 0.0], [0.0]], "identity", output_scale=0.5
    )
    found = ls.constants(net, [[3.0, 4.0]], frozen)
    assert found.gradient_bound == pytest.approx(math.sqrt(square), rel=1e-12)
    assert found.bias_gradient_bound == (0.0 if "b2" in frozen else 0.5)


def test_linear_networks_have_constants():
    net = lipgd.Network([[[1.0, 2.0]]], [[3.0]], output_scale=2.0)
    found = ls.constants(net, [[3.0, 4.0]], ())
    assert found.gradient_bound == pytest.approx(2.0 * math.sqrt(26.0), rel=1e-12)
    assert (found.curvature_bound, found.homogeneity_gap, found.slope) == (0.0, 0.0, 1.0)
    found = ls.constants(net, [[3.0, 4.0]], ("b1",))
    assert found.gradient_bound == pytest.approx(10.0, rel=1e-12)
    assert found.homogeneity_gap == pytest.approx(6.0, rel=1e-12)


def test_the_table_has_the_numbers_of_the_page():
    rows = {row.name: row for row in ls.activation_constants()}
    page = {
        "gelu": (1.12890414518515, -0.12890414518515, 0.797884560802865, 0.293525326347480),
        "gelu_tanh": (1.12899306865877, -0.12899306865877, 0.797884560802865, 0.293882665649001),
        "silu": (1.09983932012887, -0.09983932012887, 0.5, 0.439228839890645),
        "softplus": (1.0, 0.0, 0.25, 0.693147180559945),
        "tanh": (1.0, 0.0, 0.769800358919501, 1.0),
        "sigmoid": (0.25, 0.0, 0.0962250448649376, 1.0),
        "relu": (1.0, 0.0, math.inf, 0.0),
        "identity": (1.0, 1.0, 0.0, 0.0),
    }
    for name, (gradient, slope, curved, gap) in page.items():
        row = rows[name]
        assert row.gradient_bound == pytest.approx(gradient, rel=1e-13)
        assert row.slope == pytest.approx(slope, rel=1e-13)
        assert row.curvature_bound == pytest.approx(curved, rel=1e-13)
        assert row.homogeneity_gap == pytest.approx(gap, rel=1e-13)
    applies = {name: (r.stable_phase, r.margins, r.oscillating_phase) for name, r in rows.items()}
    assert applies["gelu"] == applies["silu"] == applies["softplus"] == (True, True, False)
    assert applies["leaky(gelu, 0.5)"] == applies["identity"] == (True, True, True)
    assert applies["tanh"] == applies["sigmoid"] == (True, False, False)
    assert applies["relu"] == applies["leaky_relu(0.01)"] == (False, False, False)
    for name, least in [("gelu", 0.114185), ("gelu_tanh", 0.1142548), ("silu", 0.0907763)]:
        below, above = ls.activation_constants(
            [lipgd.activations.leaky(name, least * (1 + sign)) for sign in (-1e-5, 1e-5)]
        )
        assert (below.oscillating_phase, above.oscillating_phase) == (False, True)


def test_networks_without_constants_say_why():
    net = lipgd.Network.create([2, 3, 1], activation="silu")
    deep = lipgd.Network.create([2, 3, 3, 1], activation="silu")
    assert ls.unsuited(lipgd.Network.create([2, 3, 2]), ("W2",)) == "several outputs"
    assert ls.unsuited(net, ("W1",)) == "first layer frozen"
    assert ls.unsuited(net) == ls.unsuited(deep, ("W2",)) == "several layers trained"
    with pytest.raises(ValueError, match="more than one layer of weights is trained"):
        ls.constants(net, [[1.0, 2.0]], ())
    with pytest.raises(ValueError, match="frozen has 'W9', expected names among"):
        ls.constants(net, [[1.0, 2.0]], ("W2", "W9"))
    with pytest.raises(TypeError, match="frozen is 'W2', expected names such as"):
        ls.constants(net, [[1.0, 2.0]], "W2")
    with pytest.raises(ValueError, match="X has 1 column, but the network takes 2 inputs"):
        ls.constants(net, [[1.0]])
    with pytest.raises(ValueError, match=r"direction is \[1.0\], expected 2 or 3 numbers"):
        ls.comparator(net, [1.0])
