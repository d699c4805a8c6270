"""Guarantees of trainings: no measurement exceeds its bound, and what is not proved is not said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import lipgd
from lipgd import report, schedules
from lipgd.theory import convergence, generalization, rate_constraints
from lipgd.theory.initialization import Law

NAMES = ("W1", "b1", "W2", "b2")
SHAPE = schedules.hold_then_decay(1.0, 5, schedules.exponential(1.0, 0.1))
MODES = ("observed", "carry_over", "displacement", "plug_in", "tracked", "linear")
LOSSES = ("mse", "huber", "huber(0.2)", "logistic", "cross_entropy")
ACTIVATIONS = ("relu", "silu", "tanh", "gelu", "softplus", "identity", "sigmoid", "elu(1.0)")
INITS = ("he_normal", "torch", "lecun_normal", "glorot_uniform")
#: Every bound with the measurement that it is to exceed.
BOUNDS = {
    "lipschitz_theorem3": "lipschitz_upper",
    "lipschitz_drift": "lipschitz_lower",
    "lipschitz_before": "lipschitz_upper",
    "lipschitz_target": "lipschitz_upper",
    "gradient_norm_bound": "gradient_norm_min",
    "gap_wasserstein": "size of the gap",
    "gap_rademacher": "gap",
}


class Case:
    """A random training of any kind, what it recorded, and its other samples."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.rng, self.loss = rng, str(rng.choice(LOSSES))
        depth, outputs = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        outputs += self.loss == "cross_entropy"
        self.sizes = [int(rng.integers(1, 5)), *rng.integers(1, 20, depth - 1).tolist(), outputs]
        self.init = str(rng.choice(INITS))
        self.net = lipgd.Network.create(
            self.sizes,
            activation=str(rng.choice(ACTIVATIONS)),
            init=self.init,
            seed=seed,
            dtype=np.float32 if rng.random() < 0.3 else np.float64,
            biases=bool(rng.random() < 0.8),
            output_scale=float(rng.choice([1.0, 1.0, 0.5, -2.0])),
        )
        n = int(rng.integers(2, 40))
        self.X = rng.normal(size=(n, self.sizes[0])) * 10 ** rng.uniform(-1, 1)
        self.y = self.targets(n)
        self.test = (rng.normal(size=(30, self.sizes[0])), self.targets(30))
        self.sample_weight = rng.uniform(0, 2, n) if rng.random() < 0.2 else None
        self.settings = self.choose()

    def targets(self, n: int) -> np.ndarray:
        if self.loss == "cross_entropy":
            return self.rng.integers(0, self.sizes[-1], n)
        if self.loss == "logistic":
            return self.rng.choice([-1.0, 1.0], (n, self.sizes[-1]))
        return self.rng.normal(size=(n, self.sizes[-1]))

    def choose(self) -> dict[str, Any]:
        rng, names = self.rng, [name for name, _ in self.net.named()]
        frozen = tuple(name for name in names[1:] if rng.random() < 0.1)
        trained = [name for name in names if name not in frozen]
        update = str(rng.choice(["gradient"] * 6 + ["adam", "sign", "conjugate_gradient"]))
        settings: dict[str, Any] = {"update": update, "frozen": frozen}
        if update in ("gradient", "sign") and rng.random() < 0.2:
            settings |= {"momentum": 0.8, "nesterov": bool(rng.random() < 0.5)}
        if rng.random() < 0.2:
            sampling = str(rng.choice(["independent", "replacement", "reshuffled"]))
            settings |= {"batch_size": int(rng.integers(1, len(self.X) + 1)), "sampling": sampling}
        if rng.random() < 0.15:
            settings["weight_decay"] = float(rng.choice([0.01, 0.5]))
        if rng.random() < 0.1:
            settings["clip_norm"] = 0.5
        if rng.random() < 0.1:
            settings["proximal"] = {trained[0]: (str(rng.choice(["frobenius", "l1"])), 0.05)}
        settings["rate"] = 1e3 if rng.random() < 0.1 else 10 ** rng.uniform(-4, 0.3)
        settings["steps"] = int(rng.choice([0, 1, 2, 30, 60]))
        kind = rng.random()
        if kind < 0.4:
            settings["constraint"] = self.caps(trained)
        elif kind < 0.6:
            limit, method = float(10 ** rng.uniform(-1, 1)), str(rng.choice(["retract", "rates"]))
            settings["constraint"] = lipgd.LipschitzTarget(limit, method, rescale_initial=True)
        return settings

    def caps(self, trained: list[str]) -> lipgd.RateCaps:
        rng, mode = self.rng, str(self.rng.choice(MODES))
        share = 1.0 if mode == "linear" or rng.random() < 0.6 else 0.6
        budgets = {n: 10 ** rng.uniform(-1, 1.5) for n in trained if rng.random() < share}
        known = mode in ("tracked", "linear") and rng.random() < 0.5
        spectral = mode in MODES[:3] and rng.random() < 0.3
        norm = "spectral" if spectral else "frobenius"
        return lipgd.RateCaps(budgets, SHAPE, mode, Law(self.init) if known else "given", norm)

    def train(self, record: list[str], every: int) -> lipgd.Run:
        return lipgd.train(
            self.net,
            self.X,
            self.y,
            loss=self.loss,
            sample_weight=self.sample_weight,
            validation=self.test,
            record=record,
            record_every=every,
            **self.settings,
        )

    def records(self) -> list[str]:
        simple = ["risk", "gradient_norm", "lipschitz_upper", "lipschitz_lower", "validation_risk"]
        names = [name for name, _ in self.net.named()]
        chosen = [name for name in simple if self.rng.random() < 0.7]
        for quantity in ("rate", "path_length", "displacement", "parameter_norm"):
            if self.rng.random() < 0.4:
                chosen += [f"{quantity}:{name}" for name in names]
        return chosen


def measured(case: Case, found: report.Guarantees) -> dict[str, np.ndarray]:
    """What happened at the rows of a report, from a run that recorded every step."""
    every = ["gradient_norm", "lipschitz_lower"]
    full = case.train(every, 1).history
    rows = np.minimum(found.history.step, len(full) - 1)
    return {
        "lipschitz_lower": full["lipschitz_lower"][rows],
        "lipschitz_upper": found["lipschitz_upper"],
        "gradient_norm_min": np.minimum.accumulate(full["gradient_norm"])[rows],
        "gap": found["gap"],
        "size of the gap": np.abs(found["gap"]),
    }


def test_no_measurement_of_any_training_exceeds_its_bound() -> None:
    counts = dict.fromkeys(BOUNDS, 0)
    for seed in range(220):
        case = Case(seed)
        try:
            run = case.train(case.records(), int(case.rng.choice([1, 1, 1, 7])))
        except ValueError:  # combinations that training refuses
            continue
        test = case.test if case.rng.random() < 0.7 else None
        law = case.init if case.rng.random() < 0.7 else None
        found = report.guarantees(
            run, case.X, case.y, test, sample_weight=case.sample_weight, law=law
        )
        assert str(found)
        room = 1e-9 if case.net.dtype == np.float64 else 1e-3
        truth = measured(case, found)
        for bound, name in BOUNDS.items():
            values, limits = truth[name], found[bound]
            known = np.isfinite(values) & ~np.isnan(limits)
            rounding = 1e-12 * np.nan_to_num(found["risk"]) + room**2
            excess = values[known] - limits[known] * (1 + room) - rounding[known]
            assert (excess <= 0).all(), (seed, bound)
            counts[bound] += bool((known & np.isfinite(limits)).any())
            explained = {bound, name} & found.reasons.keys()
            assert known.all() or explained or name.endswith("gap") or bound == "lipschitz_target"
    # Nothing is left out for convenience.
    assert counts["lipschitz_theorem3"] > 150
    assert min(counts.values()) >= 10, counts


def problem(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(7).uniform(-1, 1, (n, 2))
    return X, np.sin(3 * X[:, 0]) + X[:, 1]


def small_run(**settings: Any) -> lipgd.Run:
    activation = settings.pop("activation", "tanh")
    net = lipgd.Network.create([2, 12, 1], activation=activation, init="lecun_normal", seed=1)
    given = {"loss": "huber", "rate": 0.05, "steps": 40, "record": ["risk"], **settings}
    return lipgd.train(net, *problem(), **given)


def caps(budget: float = 2.0, **settings: Any) -> lipgd.RateCaps:
    return lipgd.RateCaps(dict.fromkeys(NAMES, budget), SHAPE, **settings)


@pytest.mark.parametrize("mode", MODES)
def test_theorem_3_is_that_of_the_theory(mode: str) -> None:
    run = small_run(constraint=caps(mode=mode), record=["lipschitz_upper"], record_every=7)
    found = report.guarantees(run, *problem())
    quantities = rate_constraints.measure(run.initial, *problem(), "huber")
    total = SHAPE.total(40)[found.history.step]
    expected = rate_constraints.theorem3(quantities, dict.fromkeys(NAMES, 2.0), total)
    np.testing.assert_allclose(found["lipschitz_theorem3"], expected, rtol=1e-9)
    np.testing.assert_array_equal(found["lipschitz_caps"], found["lipschitz_theorem3"])
    start = rate_constraints.slope_box_bound(run.initial)
    sharper = rate_constraints.theorem3(quantities, dict.fromkeys(NAMES, 2.0), total, start)
    both = np.minimum(found["lipschitz_drift"], found["lipschitz_theorem3"])
    np.testing.assert_allclose(both, sharper, rtol=1e-9)
    norms = Law("lecun_normal", 0.05).norms([2, 12, 1])
    wider = rate_constraints.norm_only(quantities, *norms)
    before = rate_constraints.theorem3(wider, dict.fromkeys(NAMES, 2.0), total)
    np.testing.assert_allclose(found["lipschitz_before"], before, rtol=1e-9)


def test_the_gaps_are_those_of_the_theory() -> None:
    run = small_run(constraint=caps(), record=["lipschitz_upper"])
    X, y = problem()
    box = (([-1, -1], [1, 1]), (-2, 2))
    found = report.guarantees(run, X, y, delta=0.1, box=box)
    best = np.fmin(found["lipschitz_upper"], found["lipschitz_drift"])[-1]
    expected = generalization.wasserstein_gap("huber", best, [2, 2], [4], 60, 0.1)
    assert found["gap_wasserstein"][-1] == pytest.approx(expected, rel=1e-12)
    assert found["gap_rademacher"][0] < 0.3 * found["gap_rademacher"][-1]
    assert any("law within the box given" in words for words in found.conditions)
    assert "as if it had been known" in " ".join(report.guarantees(run, X, y).conditions)


def test_theorem_5_is_that_of_the_theory_for_a_small_rate() -> None:
    run = small_run(rate=0.002, steps=200, record=["risk", "gradient_norm"])
    X, y = problem()
    found = report.guarantees(run, X, y)
    quantities = rate_constraints.measure(run.initial, X, y, "huber")
    drop = found["risk"][0] - found["risk"][-1]
    # The least that any region could give, and that of a region that is far too large.
    least = convergence.gradient_bound(drop, 0.002 * 200, 1e-9)
    most = convergence.gradient_bound(
        drop, 0.002 * 200, 0.002 * convergence.ball_smoothness(quantities, 10.0)
    )
    assert least <= found["gradient_norm_bound"][-1] <= most
    assert math.isinf(found["gradient_norm_bound"][0])
    assert found.vacuous["gradient_norm_bound"][0]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"activation": "relu"}, "the slope of relu jumps"),
        ({"momentum": 0.5}, "the steps are those of momentum"),
        ({"update": "adam"}, "the steps are those of adam"),
        ({"batch_size": 10}, "the steps are those of mini-batches"),
        ({"clip_norm": 1.0}, "gradients are clipped"),
        ({"weight_decay": 0.1}, "weights decay"),
        ({"proximal": {"W1": ("l1", 0.1)}}, "steps are proximal"),
        ({"constraint": lipgd.LipschitzTarget(9.0)}, "weights are moved onto a limit after steps"),
        ({"constraint": caps()}, "record rate:W1, rate:b1, rate:W2, rate:b2 with record_every=1"),
        ({"rate": 30.0, "steps": 5}, "are not certified to stay below 2 / S"),
    ],
)
def test_where_theorem_5_does_not_apply_there_is_a_reason(
    settings: dict[str, Any], reason: str
) -> None:
    found = report.guarantees(small_run(**settings), *problem())
    assert reason in found.reasons["gradient_norm_bound"]
    assert np.isnan(found["gradient_norm_bound"][1:]).all()


def test_missing_records_are_named_and_the_ends_computed() -> None:
    run = small_run(record=["gradient_norm"], record_every=10)
    found = report.guarantees(run, *problem(), test=problem(30))
    for name in ("risk", "lipschitz_upper", "lipschitz_lower"):
        assert np.isfinite(found[name][[0, -1]]).all()
        assert np.isnan(found[name][1:-1]).all()
        assert found.reasons[name] == f"known at both ends alone: record {name!r}"
    assert "record 'validation_risk'" in found.reasons["gap"]
    net = run.initial.replace()
    unknown = report.guarantees(lipgd.train(net, *problem(), loss="huber"), *problem())
    assert "give law=" in unknown.reasons["lipschitz_before"]
    empty = report.guarantees(small_run(record=[]), *problem())
    assert empty.history.step.tolist() == [0, 40]
    assert "give test=(X, y)" in empty.reasons["test_risk"]
    assert empty["risk"][-1] == lipgd.risk(small_run(record=[]).network, *problem(), "huber")


def test_recorded_validation_of_the_same_samples_fills_all_rows() -> None:
    other = problem(30)
    run = small_run(record=["risk", "validation_risk"], validation=other, record_every=10)
    with_test = report.guarantees(run, *problem(), test=other)
    without = report.guarantees(run, *problem())
    np.testing.assert_array_equal(with_test["test_risk"], run.history["validation_risk"])
    np.testing.assert_array_equal(without["gap"], with_test["gap"])
    foreign = report.guarantees(run, *problem(), test=(other[0], other[1] + 1.0))
    assert np.isnan(foreign["test_risk"][1:-1]).all()


def test_caps_that_were_not_obeyed_prove_nothing() -> None:
    run = small_run(record=["lipschitz_upper"], rate=0.3, steps=300)
    found = report.guarantees(run, *problem(), caps=caps(0.1))
    assert found["lipschitz_caps"][-1] < found["lipschitz_upper"][-1]
    assert (found["lipschitz_theorem3"] >= found["lipschitz_upper"]).all()
    assert "were not those of the training" in found.reasons["lipschitz_caps"]


def test_a_law_without_biases_is_not_that_of_a_network_with_some() -> None:
    net = small_run().network
    assert np.any(net.biases[0])
    run = lipgd.train(net, *problem(), loss="huber", rate=0.05, steps=40)
    found = report.guarantees(run, *problem(), law="normal(9.0)")
    assert "b1 has the norm" in found.reasons["lipschitz_before"]
    assert np.isnan(found["lipschitz_before"]).all()


def test_the_report_says_what_bounds_are_computed_from() -> None:
    run = small_run(rate=0.002, constraint=caps(), record=[f"rate:{name}" for name in NAMES])
    found = report.guarantees(run, *problem())
    assert found.sources["lipschitz_theorem3"] == "the budgets of the caps"
    assert "smoothness of at most" in found.sources["gradient_norm_bound"]
    assert ", from the budgets of the caps: not vacuous." in str(found)
    free = report.guarantees(small_run(rate=0.002), *problem())
    assert "recursion of tracked caps" in free.sources["lipschitz_theorem3"]


@pytest.mark.parametrize("method", ["retract", "rates"])
def test_a_target_is_kept_at_every_row(method: str) -> None:
    target = lipgd.LipschitzTarget(2.0, method, rescale_initial=True)
    run = small_run(constraint=target, rate=50.0, record=["lipschitz_upper"])
    found = report.guarantees(run, *problem())
    assert (found["lipschitz_target"] == 2.0).all()
    assert (found["lipschitz_upper"] <= 2.0).all()
    assert "The target of the training" in str(found)
    assert np.isnan(report.guarantees(small_run(), *problem())["lipschitz_target"]).all()


def test_unweighted_bounds_are_not_given_for_weighted_samples() -> None:
    weights = np.linspace(0.5, 1.5, 60)
    run = small_run(sample_weight=weights)
    found = report.guarantees(run, *problem(), sample_weight=weights)
    assert np.isnan(found["gap_wasserstein"]).all()
    assert "samples are weighted" in found.reasons["gap_rademacher"]


def test_vacuous_is_what_tells_nothing_new() -> None:
    run = small_run(steps=400, rate=0.3, record=["risk", "lipschitz_upper"])
    found = report.guarantees(run, *problem())
    assert found.vacuous["lipschitz_theorem3"][-1]
    assert not found.vacuous["lipschitz_theorem3"][0]
    assert found.vacuous["gap_wasserstein"].all()
    assert "gap is" in str(found)
    assert ": vacuous." in str(found)
    n = 200_000
    X = np.random.default_rng(0).uniform(-1, 1, (n, 1))
    net = lipgd.Network.create([1, 4, 1], activation="tanh", seed=0)
    many = lipgd.train(net, X, np.sin(3 * X[:, 0]), rate=0.3, steps=40, loss="huber", record=[])
    assert not report.guarantees(many, X, np.sin(3 * X[:, 0])).vacuous["gap_wasserstein"][-1]


def test_rows_pandas_and_blocks_hold_the_same_numbers() -> None:
    found = report.guarantees(small_run(record_every=8), *problem())
    rows = found.rows()
    assert [row["step"] for row in rows] == found.history.step.tolist()
    assert rows[-1]["lipschitz_upper"] == found["lipschitz_upper"][-1]
    assert found.to_pandas()["risk"].iloc[0] == rows[0]["risk"]
    html = report.page("Guarantees", {"Run": found.blocks(command="python train.py")})
    assert "Theorem 3" in html
    assert "python train.py" in html


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"X": np.zeros((59, 2))}, "^X has 59 samples, but the run was trained on 60$"),
        ({"y": np.zeros(60)}, "^X, y and sample_weight give the initial network the risk"),
        ({"delta": 0.0}, "^delta is 0.0, expected"),
        ({"test": np.zeros(3)}, "^test is ndarray, expected a pair"),
        ({"test": (np.zeros((3, 1)), np.zeros(3))}, r"^test\[0\] has 1 column"),
        ({"law": 3}, "^law is 3, expected a Law or the name"),
        ({"law": "nothing"}, "nothing"),
        ({"caps": 3}, "^caps is 3, expected RateCaps"),
        ({"box": ((0, 1), (0, 1))}, "^box does not hold all of X"),
        ({"run": 3}, "^run is int, expected what lipgd.train returned"),
    ],
)
def test_messages(settings: dict[str, Any], message: str) -> None:
    X, y = problem()
    arguments: dict[str, Any] = {"run": small_run(), "X": X, "y": y, **settings}
    with pytest.raises((TypeError, ValueError), match=message):
        report.guarantees(**arguments)


@pytest.mark.parametrize(
    "settings",
    [
        {"constraint": lipgd.LipschitzTarget(9.0)},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "constraint": caps(mode="linear")},
        {"proximal": {"W1": ("nuclear", 0.1)}, "constraint": caps()},
    ],
)
def test_displacements_are_not_bounded_where_something_else_moves(settings: dict[str, Any]) -> None:
    found = report.guarantees(small_run(**settings), *problem())
    assert np.isnan(found["lipschitz_drift"]).all()
    assert "beyond radii" in found.reasons["lipschitz_drift"]
    assert np.isfinite(found["lipschitz_theorem3"]).all()


def test_large_decay_may_enlarge_weights() -> None:
    found = report.guarantees(small_run(weight_decay=30.0), *problem())
    assert "rate times weight decay of W1 reaches 1.5" in found.reasons["lipschitz_theorem3"]
