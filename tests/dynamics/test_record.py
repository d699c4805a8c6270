"""The record of the dynamics: its columns against coefficients and exact singular pairs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import lipgd
from lipgd.dynamics import Recording, Triplets, coefficients

SETTINGS = {"loss": "cross_entropy", "rate": 0.1, "batch_size": 10, "steps": 12}
RULES = [
    {},
    {"sampling": "replacement", "weight_decay": 0.01},
    {"sampling": "reshuffled", "momentum": 0.8},
    {"momentum": 0.8, "nesterov": True, "weight_decay": {"W1": 0.02, "b2": 0.1}},
]


def problem(seed=0, n=64, sizes=(6, 9, 5, 3), dtype=np.float64):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, sizes[0])).astype(dtype)
    y = rng.integers(0, sizes[-1], n)
    net = lipgd.Network.create(list(sizes), activation="silu", init="torch", seed=seed, dtype=dtype)
    return net, X, y


def states(net, X, y, **settings):
    """Return the networks before every step and after the last, and the velocities before."""
    steps = settings.pop("steps")
    nets = [net]
    for k in range(1, steps + 1):
        nets.append(lipgd.train(net, X, y, steps=k, record=(), **settings).network)
    return nets


@pytest.mark.parametrize("rule", RULES)
def test_rows_hold_the_coefficients_of_their_states(level, rule):
    net, X, y = problem()
    settings = {**SETTINGS, **rule}
    run = lipgd.train(net, X, y, record=["lipschitz_dynamics"], record_every=4, **settings)
    nets = states(net, X, y, **settings)
    assert run.network == nets[-1]
    assert run.history.step.tolist() == [0, 4, 8, 12]
    beta, nesterov = rule.get("momentum", 0.0), rule.get("nesterov", False)
    velocity, decay = None, rule.get("weight_decay", 0.0)
    by_name = decay if isinstance(decay, dict) else dict.fromkeys(("W1", "W2", "W3"), decay)
    for row, step in enumerate(run.history.step):
        now = nets[step]
        if beta and step:  # theta' = theta - rate v, or theta - rate (v' + ...) by Nesterov
            velocity = velocities(nets, beta, nesterov, settings["rate"])[step]
        expected = coefficients(
            now, X, y, batch_size=10, rate=0.1, loss="cross_entropy", momentum=beta,
            nesterov=nesterov, velocity=velocity,
            sampling="replacement" if rule.get("sampling") == "replacement" else "independent",
        )  # fmt: skip
        for layer in range(3):
            part = f":W{layer + 1}"
            mu = expected.mu[layer] - (1 + beta * nesterov) * by_name.get(f"W{layer + 1}", 0.0)
            assert run.history[f"dynamics_mu{part}"][row] == pytest.approx(mu, rel=1e-8)
            for name in ("kappa", "lambda2", "kappa_diagonal", "gap", "degeneracy"):
                value = getattr(expected, name)[layer]
                near = pytest.approx(value, rel=1e-6 if name == "degeneracy" else 1e-9)
                assert run.history[f"dynamics_{name}{part}"][row] == near
        assert run.history["dynamics_lambda2"][row] == pytest.approx(
            expected.network.lambda2, rel=1e-9
        )
        logs = [np.log(np.linalg.norm(w, 2)) for w in now.weights]
        assert run.history["dynamics_log_norm"][row] == pytest.approx(sum(logs), rel=1e-12)


def velocities(nets, beta, nesterov, rate):
    """Return v before every step from the changes of the parameters."""
    v = np.zeros(nets[0].n_parameters)
    found = []
    for before, after in zip(nets, [*nets[1:], None], strict=True):
        found.append(lipgd.Gradient._from_flat(before._layout, v.copy()))
        if after is None:
            break
        change = (before._flat - after._flat) / rate
        # Nesterov: change = g + beta (beta v + g).
        v = beta * v + (change - beta**2 * v) / (1 + beta) if nesterov else change
    return found


@pytest.mark.parametrize("update", ["gradient", "adam"])
def test_the_first_order_is_that_of_exact_pairs(level, dtype, update):
    net, X, y = problem(1, sizes=(20, 43, 16, 3), dtype=dtype)
    settings = {"loss": "cross_entropy", "batch_size": 16, "steps": 25, "update": update}
    settings["rate"] = 0.1 if update == "gradient" else 1e-3
    layers = [f"dynamics_first_order:W{k}" for k in (1, 2, 3)]
    run = lipgd.train(
        net, X, y, record=["dynamics_first_order", *layers], record_every=5, **settings
    )
    nets = states(net, X, y, **settings)
    expected, sums = np.zeros(3), [np.zeros(3)]
    for before, after in pairwise(nets):
        for layer, (w, new) in enumerate(zip(before.weights, after.weights, strict=True)):
            top = Triplets.of(w)
            expected[layer] += (top.jacobian * (new.astype(float) - w)).sum() / top.norm
        sums.append(expected.copy())
    found = np.stack([run.history[name] for name in layers], axis=1)
    scale = np.abs(sums).max()
    # The pair is followed to a residual, not to the last digit.
    np.testing.assert_allclose(found, np.array(sums)[::5], atol=2e-3 * scale)
    np.testing.assert_allclose(run.history["dynamics_first_order"], found.sum(axis=1), rtol=1e-12)


def test_records_do_not_depend_on_stops(tmp_path):
    net, X, y = problem(2)
    how = {**SETTINGS, "record": ["risk", "lipschitz_dynamics"], "record_every": 3,
           "momentum": 0.5, "dynamics": Recording(movement=0.01, probe_size=40)}  # fmt: skip
    whole = lipgd.train(net, X, y, **how)
    path = tmp_path / "state.npz"
    lipgd.train(
        net, X, y, **how, checkpoint=path, checkpoint_every=5,
        callback=lambda s: s.step >= 5, callback_every=1,
    )  # fmt: skip
    resumed = lipgd.train(net, X, y, **how, resume=path)
    for name in whole.history.columns:
        np.testing.assert_array_equal(whole.history[name], resumed.history[name], err_msg=name)


def test_probes_are_fresh_and_seeded():
    net, X, y = problem(3)
    how = {**SETTINGS, "rate": 1e-12, "record": ["lipschitz_dynamics"]}
    runs = [
        lipgd.train(net, X, y, **how, dynamics=Recording(probe_size=20, seed=seed))
        for seed in (0, 0, 1)
    ]
    mu = [run.history["dynamics_mu"] for run in runs]
    np.testing.assert_array_equal(mu[0], mu[1])
    assert len({*mu[0], *mu[2]}) == 26  # the weights stand still, the probes do not


def test_layers_that_stand_still_are_not_measured_again():
    net, X, y = problem(4)
    settings = {**SETTINGS, "record": ["lipschitz_dynamics"], "steps": 40}
    run = lipgd.train(net, X, y, **settings, dynamics=Recording(movement=0.05))
    measured = np.flatnonzero(np.isfinite(run.history["dynamics_mu"]))
    assert measured[0] == 0
    assert measured[-1] == 40
    assert 3 < len(measured) < 30
    every = lipgd.train(net, X, y, **settings)
    np.testing.assert_array_equal(
        run.history["dynamics_mu"][measured], every.history["dynamics_mu"][measured]
    )
    assert np.isfinite(run.history["dynamics_first_order"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"update": "adam"}, "update is 'adam'"),
        ({"clip_norm": 1.0}, "clip_norm is given"),
        ({"proximal": {"W1": ("l1", 0.1)}}, "proximal is given"),
        ({"constraint": lipgd.LipschitzTarget(1e3)}, "constraint is given"),
        ({"sample_weight": np.arange(1.0, 65.0)}, "sample_weight is given"),
        ({"frozen": ("W1", "W2", "W3")}, "frozen names every weight matrix"),
        ({"dynamics": Recording(probe_size=65)}, "probe_size is 65, expected at most the 64"),
        ({"dynamics": 3}, "dynamics is 3"),
        ({"record": ["risk"], "dynamics": Recording()}, "record has no lipschitz_dynamics"),
        ({"record": ["dynamics_mu"]}, "record has 'dynamics_mu', expected some of"),
        (
            {"rate": {"W1": 0.1, "W2": 0.2, "W3": 0.1, "b1": 0.1, "b2": 0.1, "b3": 0.1}},
            "different rates",
        ),
    ],
)
def test_records_without_a_meaning_are_refused(change, message):
    net, X, y = problem()
    settings = {**SETTINGS, "record": ["lipschitz_dynamics"], **change}
    with pytest.raises((TypeError, ValueError), match=message):
        lipgd.train(net, X, y, **settings)


def test_recordings_are_checked():
    for bad in ({"movement": 0.0}, {"probe_size": 1}, {"seed": -1}, {"diagonal": 1}):
        with pytest.raises((TypeError, ValueError), match=next(iter(bad))):
            Recording(**bad)


def test_full_batches_and_a_rate_of_zero():
    net, X, y = problem(5)
    run = lipgd.train(
        net, X, y, loss="cross_entropy", rate=[0.1, 0.0, 0.1], steps=3,
        record=["lipschitz_dynamics"],
    )  # fmt: skip
    assert (run.history["dynamics_lambda2"] == 0).all()
    assert run.history["dynamics_psi"][1] == 0
    assert np.isfinite(run.history["dynamics_mu"]).all()
