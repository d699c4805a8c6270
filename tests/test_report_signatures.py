"""Signs of failure: each is provoked, and healthy trainings show none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lipgd
from lipgd import report, schedules
from lipgd.theory import convergence
from lipgd.theory.initialization import Law

NAMES = ("W1", "b1", "W2", "b2")
SHAPE = schedules.hold_then_decay(1.0, 50, schedules.exponential(1.0, 0.02))


def problem(n: int, seed: int, noise: float = 0.1, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, d))
    signal = np.sin(np.pi * X[:, 0]) + 0.5 * X[:, 1] * X[:, 2]
    return X, signal + noise * rng.normal(size=n)


DATA, TEST = problem(150, 0), problem(500, 1)
FEW, FEW_TEST = problem(20, 0, 0.5, 6), problem(500, 1, 0.5, 6)


def network(sizes: list[int], activation: str = "silu", init: str = "torch") -> lipgd.Network:
    return lipgd.Network.create(sizes, activation=activation, init=init, seed=0)


def train(net: lipgd.Network, data: tuple[np.ndarray, np.ndarray], **settings: Any) -> lipgd.Run:
    return lipgd.train(net, *data, **{"loss": "huber", "record": ["risk"], **settings})


def names(found: report.Guarantees) -> list[str]:
    return [signature.name for signature in found.signatures]


@pytest.mark.parametrize(
    "settings",
    [
        {"constraint": lipgd.RateCaps(dict.fromkeys(NAMES, 3.0), SHAPE)},
        {"constraint": lipgd.RateCaps(dict.fromkeys(NAMES, 3.0), SHAPE, "linear", Law("torch"))},
        {"constraint": lipgd.LipschitzTarget(3.0)},
        {"constraint": lipgd.LipschitzTarget(3.0, "rates")},
        {"rate": schedules.hold_then_decay(0.05, 100, schedules.exponential(1.0, 0.02))},
        {"batch_size": 15},
        {"momentum": 0.9, "rate": 0.02},
        {"update": "adam", "rate": 0.001},
        {},
    ],
)
def test_healthy_trainings_show_no_sign(settings: dict[str, Any]) -> None:
    run = train(network([4, 50, 1]), DATA, **{"rate": 0.05, "steps": 400, **settings})
    found = report.guarantees(run, *DATA, test=TEST)
    assert found.signatures == ()
    assert str(found).endswith("No sign of failure.")


def test_growth_past_caps_that_were_not_obeyed() -> None:
    run = train(network([4, 50, 1]), DATA, rate=0.5, record=["lipschitz_upper"], record_every=50)
    caps = lipgd.RateCaps(dict.fromkeys(NAMES, 0.5), SHAPE)
    found = report.guarantees(run, *DATA, test=TEST, caps=caps)
    assert names(found) == ["lipschitz_growth"]
    assert "from step 50 on" in found.signatures[0].text
    assert "Sign of failure, lipschitz_growth" in str(found)


def test_growth_past_caps_that_rest_on_another_law() -> None:
    net = network([4, 50, 1])
    large = net.replace(weights=[6 * weight for weight in net.weights])
    caps = lipgd.RateCaps(dict.fromkeys(NAMES, 0.5), SHAPE, "linear", Law("torch"))
    run = train(large, DATA, loss="mse", rate=0.05, steps=200, constraint=caps)
    found = report.guarantees(run, *DATA, test=TEST)
    assert "lipschitz_growth" in names(found)
    assert "outside of what torch allows" in found.signatures[0].text
    # The theorem is then not said to hold with these budgets.
    assert (found["lipschitz_theorem3"][1:] > found["lipschitz_caps"][1:]).all()


@pytest.mark.parametrize("recorded", [True, False])
def test_a_low_training_risk_with_a_high_test_risk(recorded: bool) -> None:
    record = ["risk", "validation_risk"] if recorded else ["risk"]
    net = network([6, 200, 1], "relu", "he_normal")
    settings = {"loss": "mse", "rate": 0.05, "steps": 2000, "record_every": 50}
    run = train(net, FEW, validation=FEW_TEST, record=record, **settings)
    found = report.guarantees(run, *FEW, test=FEW_TEST)
    assert names(found) == ["risk_gap"]
    words = "which was least at step" if recorded else "or decayed too strongly"
    assert words in found.signatures[0].text
    assert "held too long" in found.signatures[0].text


def test_the_reverse_of_a_risk_gap() -> None:
    rate = schedules.hold_then_decay(0.01, 5, schedules.exponential(1.0, 0.5))
    run = train(network([4, 50, 1]), DATA, rate=rate, steps=300)
    found = report.guarantees(run, *DATA, test=TEST)
    assert names(found) == ["risk_gap"]
    assert "the reverse" in found.signatures[0].text
    assert "the hold was too short, or the decay too strong" in found.signatures[0].text


@pytest.mark.parametrize(("rate", "status"), [(0.3, "the risk rose on"), (2.0, "diverged")])
def test_oscillation_with_an_underestimated_smoothness(rate: float, status: str) -> None:
    net = network([4, 50, 1], "tanh", "lecun_normal")
    run = train(net, DATA, loss="mse", rate=rate, steps=300)
    found = report.guarantees(run, *DATA, test=TEST)
    assert "oscillation" in names(found)
    text = next(one.text for one in found.signatures if one.name == "oscillation")
    assert status in text
    assert "1 / Lip(R)" in text


def test_a_training_that_diverges_at_once_has_too_large_a_rate() -> None:
    run = train(network([4, 50, 1], "tanh"), DATA, loss="mse", rate=1e200, steps=5)
    assert (run.status, run.steps) == ("diverged", 0)
    assert names(report.guarantees(run, *DATA, test=TEST)) == ["oscillation"]


def test_a_risk_that_rises_for_another_reason_is_no_oscillation() -> None:
    run = train(network([4, 50, 1]), DATA, rate=0.05, steps=300, weight_decay=0.3)
    assert (np.diff(run.history["risk"]) > 0).sum() > 100
    assert report.guarantees(run, *DATA, test=TEST).signatures == ()


def test_a_gap_within_the_noise_of_few_test_samples_is_no_sign() -> None:
    few = problem(4, 11, 1.5)
    run = train(network([4, 50, 1]), DATA, rate=0.05, steps=400)
    found = report.guarantees(run, *DATA, test=few)
    assert found["gap"][-1] > found["risk"][-1]
    assert found.signatures == ()


def test_the_measured_sharpness_gives_a_rate_without_oscillation() -> None:
    net = network([4, 50, 1], "tanh", "lecun_normal")
    rate = convergence.sharpness_rate(net, *DATA)
    run = train(net, DATA, loss="mse", rate=rate, steps=300)
    assert report.guarantees(run, *DATA, test=TEST).signatures == ()


def gaps_of(
    widths: tuple[int, ...], data: Any, test: Any, rate: float, steps: int
) -> list[report.Guarantees]:
    found = []
    for width in widths:
        for seed in range(2):
            net = lipgd.Network.create(
                [data[0].shape[1], width, 1], activation="relu", init="he_normal", seed=seed
            )
            run = train(net, data, loss="mse", rate=rate, steps=steps, record_every=steps)
            found.append(report.guarantees(run, *data, test=test))
    return found


def test_a_gap_that_grows_with_the_width() -> None:
    grown = report.compare_widths(gaps_of((4, 32, 256), FEW, FEW_TEST, 0.02, 500))
    assert [one.name for one in grown.signatures] == ["width_gap"]
    assert grown.widths == (4, 32, 256)
    assert grown.exponent > 0.1
    assert "Sign of failure, width_gap" in str(grown)
    many = problem(600, 3)
    level = report.compare_widths(gaps_of((8, 32, 128), many, TEST, 0.01, 200))
    assert level.signatures == ()
    assert str(level).endswith("No sign of failure.")


def test_messages_about_widths() -> None:
    found = gaps_of((4, 8), FEW, FEW_TEST, 0.02, 2)
    with pytest.raises(ValueError, match=r"^found has 2 widths, expected at least three$"):
        report.compare_widths(found)
    alone = report.guarantees(train(network([4, 5, 1]), DATA, steps=1), *DATA)
    with pytest.raises(ValueError, match=r"^found\[0\] has no finite gap"):
        report.compare_widths([alone])
    with pytest.raises(TypeError, match=r"^found\[0\] is int, expected Guarantees$"):
        report.compare_widths([3])  # type: ignore[list-item]
