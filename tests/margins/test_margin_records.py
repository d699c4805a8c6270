"""Margins and sharpness as records of a training."""

import math

import numpy as np
import pytest

import lipgd
from lipgd.margins import margins, sharpness

RECORDS = (
    "log_risk",
    "margin",
    "normalized_margin",
    "smoothed_margin",
    "modified_margin",
    "homogeneity_error",
    "parameter_norm",
    "margin_direction",
    "margin_scaling",
    "sharpness",
    "sharpness_residual",
)


def lifted(dtype=np.float64, n_samples=40):
    dataset = lipgd.data.xor(n_samples, noise=0.1, lift=0.5)
    return dataset.X.astype(dtype), dataset.y


def mean_field(dtype=np.float64, width=20, activation="leaky(softplus, 0.5)", seed=0, b=1.0):
    return lipgd.Network.create(
        [3, width, 1], activation, "mean_field_balanced", seed, dtype, b / width
    )


FROZEN = ("W2", "b2")


def networks_of(net, X, y, steps, **settings):
    """The network at every step."""
    found = []
    lipgd.train(
        net,
        X,
        y,
        steps=steps,
        record=(),
        callback=lambda snapshot: found.append(snapshot.network) and False,
        callback_every=1,
        **settings,
    )
    return [net, *found]


@pytest.mark.parametrize("batch", [None, 8])
def test_a_row_holds_what_the_functions_say_of_its_network(level, dtype, batch):
    X, y = lifted(dtype)
    net = mean_field(dtype)
    settings = dict(loss="logistic", rate=30.0, frozen=FROZEN, batch_size=batch)
    run = lipgd.train(net, X, y, steps=9, record=RECORDS, record_every=2, **settings)
    networks = networks_of(net, X, y, 9, **settings)
    assert run.history.step.tolist() == [0, 2, 4, 6, 8, 9]
    for row, step in enumerate(run.history.step):
        found = margins(networks[step], X, y, frozen=FROZEN)
        for name in RECORDS[:7]:
            assert run.history[name][row] == getattr(found, name), name
        top = sharpness(networks[step], X, y, frozen=FROZEN)
        assert run.history["sharpness"][row] == pytest.approx(top.value, rel=1e-3)
        assert run.history["sharpness"][row] <= top.value * (1 + 1e-12)
        assert run.history["sharpness_residual"][row] <= 1e-3 * abs(top.value)


def smoothed(net, X, y, frozen):
    found = margins(net, X, y, frozen=frozen)
    return found.smoothed, found.parameter_norm, found.degree


def test_the_parts_of_a_step_are_those_of_the_pulled_back_network(level, dtype):
    X, y = lifted(dtype)
    net = mean_field(dtype, b=8.0)
    settings = dict(loss="logistic", rate=3.0, frozen=FROZEN)
    steps = 60
    run = lipgd.train(net, X, y, steps=steps, record=RECORDS, **settings)
    networks = networks_of(net, X, y, steps, **settings)
    checked = 0
    for step in range(steps):
        before, after = networks[step], networks[step + 1]
        old, old_norm, degree = smoothed(before, X, y, FROZEN)
        new, new_norm, _ = smoothed(after, X, y, FROZEN)
        wide = lipgd.Network(
            [w.astype(np.float64) for w in after.weights],
            [b.astype(np.float64) for b in after.biases],
            net.activation,
            net.output_scale,
        )
        factor = old_norm / new_norm
        back = wide.replace(
            weights=[wide.weights[0] * factor, wide.weights[1]],
            biases=[wide.biases[0] * factor, wide.biases[1]],
        )
        middle, _, _ = smoothed(back, X, y, FROZEN)
        direction = run.history["margin_direction"][step]
        scaling = run.history["margin_scaling"][step]
        if min(old, middle, new) <= 0:
            assert math.isnan(direction) and math.isnan(scaling)
            continue
        checked += 1
        assert direction == pytest.approx(math.log(middle / old), abs=1e-12)
        expected = math.log(new / middle) - degree * math.log(new_norm / old_norm)
        assert scaling == pytest.approx(expected, abs=1e-12)
        change = run.history["smoothed_margin"][[step, step + 1]]
        assert direction + scaling == pytest.approx(math.log(change[1] / change[0]), abs=1e-12)
    assert checked > 15
    assert math.isnan(run.history["margin_direction"][-1])


def test_scaling_is_nothing_for_exactly_linear_networks():
    # A linear network is homogeneous, and so is its smoothed margin where the loss is a power.
    X, y = lifted()
    net = lipgd.Network.create([3, 1], biases=False, init="normal(3.0)")
    run = lipgd.train(net, X[:1], y[:1], loss="logistic", rate=1.0, steps=20, record=RECORDS)
    scaling = run.history["margin_scaling"][:-1]
    positive = run.history["margin"][:-1] > 0
    assert positive.any() and abs(scaling[positive]).max() <= 1e-14


@pytest.mark.parametrize("threads", [1, 2])
def test_pauses_and_resumes_leave_the_bits(level, tmp_path, threads):
    X, y = lifted(n_samples=400)
    net = mean_field(width=64)
    settings = dict(loss="logistic", rate=20.0, frozen=FROZEN, record=RECORDS, record_every=3)
    whole = lipgd.train(net, X, y, steps=40, n_threads=2, **settings)
    path = tmp_path / "run.npz"
    for steps in (7, 13, 40):  # ends before, at and after a row
        resume = path if path.exists() else None
        part = lipgd.train(
            net, X, y, steps=steps, checkpoint=path, resume=resume, n_threads=threads, **settings
        )
        if steps < 40:
            continue
        for name in RECORDS:
            np.testing.assert_array_equal(part.history[name], whole.history[name], name)
    # A callback at every step returns to Python after each.
    stops = lipgd.train(net, X, y, steps=40, callback=lambda _: False, callback_every=1, **settings)
    for name in RECORDS:
        np.testing.assert_array_equal(stops.history[name], whole.history[name], name)


def test_what_is_recorded_does_not_change_the_run_nor_another_record(level):
    X, y = lifted()
    net = mean_field()
    settings = dict(loss="logistic", rate=30.0, steps=12, frozen=FROZEN)
    plain = lipgd.train(net, X, y, record=(), **settings)
    everything = lipgd.train(net, X, y, record=RECORDS, **settings)
    assert plain.network == everything.network
    for name in RECORDS:
        alone = lipgd.train(net, X, y, record=[name], **settings)
        np.testing.assert_array_equal(alone.history[name], everything.history[name], name)


def test_a_deep_network_records_all_but_the_modified_margin(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5)).astype(dtype)
    y = np.where(X[:, 0] > 0, 1, -1)
    net = lipgd.Network.create([5, 16, 16, 16, 1], "gelu", "he_normal", 1, dtype)
    record = [name for name in RECORDS if name != "modified_margin"]
    run = lipgd.train(net, X, y, loss="logistic", rate=0.5, steps=300, record=record)
    found = margins(run.network, X, y)
    assert found.degree == 4
    last = {name: run.history[name][-1] for name in record}
    assert last["margin"] > 0
    assert last["smoothed_margin"] == pytest.approx(found.smoothed / found.parameter_norm**4)
    assert last["homogeneity_error"] == found.homogeneity_error
    with pytest.raises(ValueError, match="record has modified_margin, but no bound of the homog"):
        lipgd.train(net, X, y, loss="logistic", record=["modified_margin"])


def test_a_diverged_run_keeps_the_rows_that_are_good():
    # The weights overflow in the third step.
    X, y = lifted(np.float32)
    net = lipgd.Network.create([3, 8, 1], "relu", "normal(1.0)", 0, np.float32)
    run = lipgd.train(net, X, -y, loss="mse", rate=10.0, steps=50, record=["risk", "sharpness"])
    assert run.status == "diverged"
    rates = np.full(6, 0.1)
    rates[4] = 1e39
    net = mean_field(np.float32)
    record = ["log_risk", "margin_direction"]
    run = lipgd.train(net, X, y, loss="logistic", rate=rates, steps=6, frozen=FROZEN, record=record)
    assert run.status == "diverged" and run.steps == 4
    assert run.history.step.tolist() == [0, 1, 2, 3, 4]
    good = lipgd.train(net, X, y, loss="logistic", rate=0.1, steps=4, frozen=FROZEN, record=record)
    for name in record:
        np.testing.assert_array_equal(run.history[name], good.history[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "mse"}, "record has margin, but loss is mse, expected the logistic loss"),
        ({"sample_weight": np.ones(40)}, "record has margin, but sample_weight is given"),
        ({"record": ["margins"]}, "record has 'margins', expected some of"),
    ],
)
def test_records_without_meaning_are_refused(change, message):
    X, y = lifted()
    with pytest.raises(ValueError, match=message):
        lipgd.train(mean_field(), X, y, **{"loss": "logistic", "record": ["margin"], **change})


def test_margins_are_those_of_one_output():
    X, y = lifted()
    net = lipgd.Network.create([3, 4, 2])
    labels = np.column_stack([y, y])
    with pytest.raises(ValueError, match="record has margin, but the network has 2 outputs"):
        lipgd.train(net, X, labels, loss="logistic", record=["margin"])


def test_the_norm_of_all_parameters_leaves_out_what_is_frozen():
    X, y = lifted()
    net = mean_field()
    record = ["parameter_norm", "parameter_norm:W1", "parameter_norm:b1", "parameter_norm:W2"]
    run = lipgd.train(net, X, y, loss="logistic", steps=3, frozen=FROZEN, record=record)
    total = np.hypot(run.history["parameter_norm:W1"], run.history["parameter_norm:b1"])
    np.testing.assert_allclose(run.history["parameter_norm"], total, rtol=1e-15)
    assert run.history["parameter_norm:W2"][0] == pytest.approx(math.sqrt(20))
