"""Figures of the dynamics of the log norms: the numbers drawn are those of the objects."""

from __future__ import annotations

import dataclasses

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection

import lipgd
from lipgd import dynamics, plotting

mpl.use("agg")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 3))
Y = X[:, 0] * X[:, 1]
NET = lipgd.Network.create([3, 8, 6, 1], activation="tanh")
SETTINGS = {"loss": "mse", "rate": 0.1, "batch_size": 10}


@pytest.fixture(scope="module")
def run() -> lipgd.Run:
    more = {"record": ["lipschitz_dynamics"], "record_every": 2}
    return lipgd.train(NET, X, Y, steps=60, **SETTINGS, **more)


@pytest.fixture(scope="module")
def found(run) -> dynamics.Prediction:
    return dynamics.predict(run)


@pytest.fixture(scope="module")
def ensembles() -> dict[int, dynamics.Ensemble]:
    one = {"loss": "mse", "rate": 0.1, "steps": 20, "runs": 4}
    return {size: dynamics.ensemble(NET, X, Y, batch_size=size, **one) for size in (20, 5)}


@pytest.fixture
def ax():
    return plotting.panels(1)[1][0]


def edges(patch: FillBetweenPolyCollection) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper edge of what fill_between drew."""
    corners = patch.get_paths()[0].vertices
    count = (len(corners) - 3) // 2
    return corners[1 : count + 1, 1], corners[count + 2 : 2 * count + 2, 1][::-1]


def height(patch: FillBetweenPolyCollection) -> np.ndarray:
    lower, upper = edges(patch)
    return upper - lower


def test_predicted_and_observed_lines_with_the_band_of_two_standard_errors(found, ax):
    assert plotting.predicted_trajectory(found, ax=ax, label="run") is ax
    observed, predicted = ax.get_lines()
    assert observed.get_ydata() == pytest.approx(found.observed, rel=1e-15)
    assert predicted.get_ydata() == pytest.approx(found.predicted, rel=1e-15)
    assert observed.get_xdata().tolist() == found.step.tolist()
    assert height(ax.collections[0]) == pytest.approx(4 * found.standard_error, abs=1e-12)
    lower, _ = edges(ax.collections[0])
    assert lower == pytest.approx(found.predicted - 2 * found.standard_error, abs=1e-12)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["run, observed", "run, predicted"]
    assert observed.get_linestyle() != predicted.get_linestyle()


def test_the_inset_shows_what_is_left_of_prediction_and_replay(found, ax):
    plotting.predicted_trajectory(found, ax=ax)
    (small,) = ax.child_axes
    left, replayed = small.get_lines()
    assert left.get_ydata() == pytest.approx(found.observed - found.predicted, abs=1e-15)
    assert replayed.get_ydata() == pytest.approx(found.observed - found.replay, abs=1e-15)
    assert height(small.collections[0]) == pytest.approx(4 * found.standard_error, abs=1e-12)
    other = plotting.predicted_trajectory(found.layers[1], inset=False, ax=plotting.panels(1)[1][0])
    assert not other.child_axes and other.get_ylabel() == "log norm of W2"


@pytest.mark.parametrize("layer", [None, 0, 2])
def test_stacked_parts_sum_to_the_drawn_total(found, layer, ax):
    one = found if layer is None else found.layers[layer]
    plotting.contributions(one, ax=ax)
    total, observed = ax.get_lines()[-2:]
    # Stacked heights with the sign of the side of zero that they are on.
    stacked = sum(np.sign(sum(edges(p))) * height(p) for p in ax.collections)
    assert stacked == pytest.approx(total.get_ydata(), abs=1e-12)
    assert total.get_ydata() == pytest.approx(one.predicted - one.observed[0], abs=1e-14)
    assert observed.get_ydata() == pytest.approx(one.observed - one.observed[0], abs=1e-14)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    names = ["drift mu", "noise-curvature kappa", "finite step psi", "Ito term"]
    assert [word for word in words if word in names] == names and "earlier batches" not in words


def test_stacked_parts_do_not_cover_each_other(found, ax):
    plotting.contributions(found, inset=False, ax=ax)
    for sign in (1.0, -1.0):
        outer = np.zeros(found.rows)
        for patch in ax.collections:
            lower, upper = edges(patch)
            near, far = (lower, upper) if sign > 0 else (upper, lower)
            if (sign * far > 1e-12).any():
                assert near == pytest.approx(outer, abs=1e-12)
                outer = far


def test_the_inset_has_the_parts_without_the_drift(found, ax):
    plotting.contributions(found, ax=ax)
    (small,) = ax.child_axes
    rest = found.noise_curvature + found.ito + found.finite_step
    assert small.get_lines()[-1].get_ydata() == pytest.approx(rest, abs=1e-15)
    assert np.abs(rest).max() < np.abs(found.drift).max()


def test_parts_that_only_some_predictions_have_are_stacked_too(run, ax):
    paired = dynamics.predict(run, pair_term=True)
    plotting.contributions(paired, ax=ax)
    assert "pair term" in [text.get_text() for text in ax.get_legend().get_texts()]
    more = {"record": ["lipschitz_dynamics"], "record_every": 1, "sampling": "reshuffled"}
    epochs = dynamics.predict(lipgd.train(NET, X, Y, steps=25, **SETTINGS, **more))
    ax = plotting.contributions(epochs, ax=plotting.panels(1)[1][0])
    assert "earlier batches" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert ax.get_lines()[-2].get_ydata() == pytest.approx(epochs.predicted - epochs.predicted[0])


def test_variance_against_batch_size(ensembles, ax):
    plotting.variance_by_batch_size(ensembles, ax=ax)
    seen, told, inside = ax.get_lines()
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["between runs", "propagated noise (4.1)", "innovation alone"]
    assert list(seen.get_xdata()) == [5, 20]
    assert list(seen.get_ydata()) == [ensembles[size].variance[-1] for size in (5, 20)]
    assert list(told.get_ydata()) == [ensembles[size].propagated[-1] for size in (5, 20)]
    assert list(inside.get_ydata()) == [ensembles[size].innovation[-1] for size in (5, 20)]
    bars = np.array(ax.collections[0].get_segments())[:, :, 1]
    assert bars[:, 1] == pytest.approx(np.array(seen.get_ydata()) * (1 + np.sqrt(2 / 3)))
    early = plotting.variance_by_batch_size(ensembles, step=10, ax=plotting.panels(1)[1][0])
    assert list(early.get_lines()[0].get_ydata()) == [
        ensembles[size].variance[1] for size in (5, 20)
    ]
    assert early.get_ylabel().endswith("step 10")


def test_coefficients_with_their_parts_and_moving_averages(run, ax):
    history = run.history
    plotting.coefficient(run, "kappa", "W2", window=5, ax=ax)
    lines = ax.get_lines()
    total, diagonal, off = (lines[k].get_ydata() for k in (0, 2, 4))
    assert total == pytest.approx(history["dynamics_kappa:W2"])
    assert diagonal == pytest.approx(history["dynamics_kappa_diagonal:W2"])
    assert diagonal + off == pytest.approx(total, abs=1e-18)
    means = lines[1].get_ydata()
    middle = np.convolve(total, np.ones(5) / 5, "valid")
    assert means[2:-2] == pytest.approx(middle, rel=1e-10)
    assert means[[0, 1, -1]] == pytest.approx([total[0], total[:3].mean(), total[-1]])
    raw = plotting.coefficient(run, "mu", window=1, ax=plotting.panels(1)[1][0]).get_lines()
    assert raw[0].get_ydata() == pytest.approx(history["dynamics_mu"], rel=1e-10)


def test_panels_of_all_layers(run):
    figure = plotting.layer_dynamics(run, window=3)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:4] == ["network", "W1", "W2", "W3"] and len(titles) == 12
    drift, kappa = figure.axes[1], figure.axes[6]
    assert drift.get_lines()[0].get_ydata() == pytest.approx(run.history["dynamics_mu:W1"])
    assert kappa.get_lines()[0].get_ydata() == pytest.approx(run.history["dynamics_kappa:W2"])


def test_rows_that_were_not_measured_are_left_out(ax):
    more = {"record": ["lipschitz_dynamics"], "record_every": 1}
    how = dynamics.Recording(movement=0.05, diagonal=False)
    run = lipgd.train(NET, X, Y, steps=40, **SETTINGS, **more, dynamics=how)
    plotting.coefficient(run, "lambda2", window=1, ax=ax)
    (line,) = ax.get_lines()
    assert 2 <= len(line.get_xdata()) < 41 and np.isfinite(line.get_ydata()).all()
    assert ax.get_legend() is None


def test_landscapes_and_the_projected_path(ax):
    path = [NET, NET.replace(weights=[1.1 * w for w in NET.weights])]
    land = dynamics.landscape(NET, X, Y, loss="mse", path=path, points=5)
    for quantity in ("risk", "log_norm"):
        ax = plotting.landscape(land, quantity, ax=plotting.panels(1)[1][0])
        line = next(line for line in ax.get_lines() if "path" in line.get_label())
        assert np.column_stack(line.get_data()) == pytest.approx(land.path)
        share = f"({100 * np.sqrt(land.in_plane):.2g} % of its length)"
        assert line.get_label() == f"path, projected {share}"
        values, levels = getattr(land, quantity), ax.collections[0].levels
        assert levels[0] == pytest.approx(values.min()) and levels[-1] == pytest.approx(
            values.max()
        )
    flat = dataclasses.replace(land, risk=np.full((5, 5), 2.0))
    plotting.landscape(flat, ax=ax).figure.canvas.draw()
    wide = dataclasses.replace(land, risk=np.geomspace(1e-3, 1.0, 25).reshape(5, 5))
    levels = plotting.landscape(wide, ax=plotting.panels(1)[1][0]).collections[0].levels
    assert np.diff(np.log(levels)) == pytest.approx(np.log(1e3) / 14)


def test_everything_can_be_saved(found, ensembles, tmp_path):
    figure, axes = plotting.panels(3)
    plotting.predicted_trajectory(found, ax=axes[0])
    plotting.contributions(found, ax=axes[1])
    plotting.variance_by_batch_size(ensembles, ax=axes[2])
    png, svg = plotting.save(figure, tmp_path / "all")
    assert png.stat().st_size > 1000 and "noise-curvature kappa" in svg.read_text()


def test_messages(run, found, ensembles):
    with pytest.raises(TypeError, match="found is 3, expected a Prediction of lipgd"):
        plotting.predicted_trajectory(3)
    with pytest.raises(TypeError, match="inset is 1, expected True or False"):
        plotting.contributions(found, inset=1)
    with pytest.raises(ValueError, match="ensembles is empty, expected at least one"):
        plotting.variance_by_batch_size({})
    with pytest.raises(ValueError, match=r"step is 7, expected one of the shared targets \[10, 20"):
        plotting.variance_by_batch_size(ensembles, step=7)
    with pytest.raises(TypeError, match=r"ensembles\[5\] is None, expected an Ensemble"):
        plotting.variance_by_batch_size({5: None})
    with pytest.raises(ValueError, match="quantity is 'rho', expected one of mu, kappa"):
        plotting.coefficient(run, "rho")
    with pytest.raises(ValueError, match="part is 'W9', expected one of network, W1, W2, W3"):
        plotting.coefficient(run, "mu", "W9")
    with pytest.raises(ValueError, match="has recorded risk, expected lipschitz_dynamics"):
        plotting.layer_dynamics(lipgd.History([0], {"risk": [1.0]}))
    with pytest.raises(TypeError, match="found is 'x', expected a Landscape of lipgd"):
        plotting.landscape("x")
