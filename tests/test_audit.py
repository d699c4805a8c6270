"""Audits, local bounds, other norms, certified radii, and the command that prints them."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lipgd
from lipgd.cli import main
from lipgd.lipschitz import Ball, Box, audit, certified_radius, lower, read, upper

RNG = np.random.default_rng(0)


def network(sizes: list[int], activation: str = "silu", seed: int = 1) -> lipgd.Network:
    return lipgd.Network.create(sizes, activation=activation, init="torch", seed=seed)


def norms(net: Any, X: Any) -> Any:
    return np.linalg.norm(read(net).jacobian(X), 2, axis=(1, 2))


@pytest.fixture(scope="module")
def found() -> Any:
    return audit(network([4, 20, 2]), effort="exact", seconds=0.2)


class TestAudit:
    def test_both_sides(self, found: Any) -> None:
        order = [found[name].value for name in ("exact", "sdp", "product")]
        assert found.lower.value <= order[0] <= order[1] * (1 + 1e-9) <= order[2] * (1 + 1e-9)
        assert found.upper.value == min(order) and 0 <= found.gap < 1
        assert list(found) == ["product", "closed_form", "sdp", "exact", "lower"]
        witness = found.lower.witness[0][None]
        assert norms(network([4, 20, 2]), witness)[0] == pytest.approx(found.lower.value, rel=1e-6)

    def test_the_table(self, found: Any) -> None:
        text = str(found)
        assert text.splitlines()[0].startswith("Lipschitz constant of Model(4-20-2, silu")
        for part in ("product of spectral norms", "certificate (LipSDP-Neuron)", "gap", "proved"):
            assert part in text
        assert f"{found.lower.value:.6g}" in text and f"{found['sdp'].value:.6g}" in text

    def test_json(self, found: Any) -> None:
        facts = json.loads(found.to_json())
        assert facts["upper"]["value"] == found.upper.value and facts["certified"] is True
        assert facts["ladder"]["sdp"]["rigorous"] is True
        assert facts["lower"]["witness"][0] == found.lower.witness[0].tolist()

    def test_sources_from_elsewhere(self) -> None:
        layers = torch.nn.Sequential(
            torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 5), torch.nn.Tanh()
        )
        found = audit(layers)
        assert found.lower.value <= found.upper.value and found.upper.rigorous
        assert upper(layers).value == found["sdp"].value
        assert lower(layers).value <= found["sdp"].value
        with pytest.raises(ValueError, match=r"Conv1d\), which is a convolution"):
            audit(torch.nn.Sequential(torch.nn.Conv1d(1, 1, 3)))

    def test_points_alone_when_fast(self) -> None:
        net, X = network([3, 10, 2]), RNG.normal(size=(30, 3))
        found = audit(net, X, effort="fast")
        assert found.lower.value == pytest.approx(norms(net, X).max(), rel=1e-9)
        assert set(found) == {"product", "closed_form", "lower"}

    def test_what_is_not_finite_is_not_certified(self) -> None:
        net = lipgd.Network([[[1e200]], [[1e200]]])
        found = audit(net)
        assert math.isnan(found.upper.value) and not found.to_dict()["certified"]
        assert "not certified" in str(found)

    def test_one_output_of_several(self) -> None:
        net = network([4, 12, 3])
        single = net.replace(weights=[net.weights[0], net.weights[1][1:2]], biases=None)
        expected = upper(single).value
        assert audit(net, output=1)["sdp"].value == pytest.approx(expected, rel=2e-4)
        with pytest.raises(ValueError, match="output is 3, expected"):
            audit(net, output=3)


class TestLocal:
    @pytest.mark.parametrize("activation", ["silu", "tanh", "relu"])
    @pytest.mark.parametrize("depth", [1, 2])
    def test_between_the_point_and_the_whole_space(self, activation: str, depth: int) -> None:
        net = network([3, *[12] * depth, 2], activation)
        x = np.array([0.3, -0.2, 0.5])
        values = [upper(net, domain=Ball(x, r)).value for r in (0.0, 0.05, 0.5, math.inf)]
        assert values[0] == pytest.approx(norms(net, x[None])[0], rel=1e-4)
        assert values == sorted(values)
        assert values[-1] == pytest.approx(upper(net).value, rel=2e-4)
        for radius, value in ((0.05, values[1]), (0.5, values[2])):
            ball = Ball(x, radius)
            assert norms(net, ball.sample(2000, RNG)).max() <= value
            found = lower(net, domain=ball)
            assert ball.contains(found.witness[0][None]).all()  # type: ignore[index]
            assert norms(net, x[None])[0] * (1 - 1e-6) <= found.value <= value

    def test_splitting_narrows_the_bracket(self) -> None:
        net = network([2, 10, 1], "tanh")
        for domain in (Ball([0.1, 0.2], 1.0), Box([-1.0, -1.0], [1.0, 0.5])):
            whole = upper(net, domain=domain).value
            parts = upper(net, "split", domain, tolerance=1e-2, seconds=2.0)
            sampled = norms(net, domain.sample(5000, RNG)).max()
            assert sampled <= parts.value < whole
            assert parts.value <= 1.1 * sampled
        with pytest.raises(ValueError, match="domain is None, but method is 'split'"):
            upper(net, "split")
        with pytest.raises(ValueError, match="domain is unbounded"):
            upper(net, "split", Ball([0.0, 0.0], math.inf))


class TestOtherNorm:
    @pytest.mark.parametrize("outputs", [1, 3])
    def test_against_all_slopes_and_signs(self, outputs: int) -> None:
        rng = np.random.default_rng(outputs)
        a, b = rng.normal(size=(6, 4)), rng.normal(size=(outputs, 6))
        net = lipgd.Network([a, b], activation="relu")
        largest = 0.0
        for slopes in itertools.product([0.0, 1.0], repeat=6):
            jacobian = (b * np.array(slopes)) @ a
            for signs in itertools.product([-1.0, 1.0], repeat=4):
                largest = max(largest, float(np.linalg.norm(jacobian @ np.array(signs))))
        value = upper(net, norm=math.inf).value
        assert largest <= value <= 1.26 * largest  # theorem 3, with the cube in place of the ball
        assert value <= 2.0 * upper(net).value * (1 + 1e-3)

    def test_norms_without_a_proof_are_refused(self) -> None:
        for norm in (1, 3, "l1", True):
            with pytest.raises(ValueError, match="no other has a proof"):
                upper(network([3, 4, 1]), norm=norm)  # type: ignore[arg-type]


class TestRadius:
    X = np.random.default_rng(5).normal(size=(12, 4))

    @pytest.mark.parametrize("norm", [2, math.inf])
    @pytest.mark.parametrize("outputs", [1, 3])
    def test_no_point_within_changes_the_decision(self, outputs: int, norm: float) -> None:
        net = network([4, 16, 8, outputs], "gelu")
        values = net(self.X)
        labels = (values[:, 0] > 0).astype(int) if outputs == 1 else values.argmax(axis=1)
        radii = certified_radius(net, self.X, labels, norm=norm)
        plain = certified_radius(net, self.X, labels, norm=norm, local=False)
        assert (radii >= plain).all() and (radii > plain).mean() > 0.5 and (plain > 0).all()
        for x, label, radius in zip(self.X, labels, radii, strict=True):
            points = Ball(x, radius, norm).sample(2000, RNG)
            found = net(points)
            decided = found[:, 0] > 0 if outputs == 1 else found.argmax(axis=1)
            assert (decided == label).all()

    def test_threads_do_not_change_the_radii(self) -> None:
        net = network([4, 16, 3], "silu")
        labels = net(self.X).argmax(axis=1)
        alone, shared = (certified_radius(net, self.X, labels, n_threads=n) for n in (1, 3))
        assert (alone == shared).all()
        with pytest.raises(ValueError, match="n_threads is 0"):
            certified_radius(net, self.X, labels, n_threads=0)

    def test_an_exact_case(self) -> None:
        net = lipgd.Network([[[3.0, 4.0]]], [[-1.0]])
        radii = certified_radius(net, [[1.0, 1.0], [0.0, 0.0]], [1, -1])
        assert radii == pytest.approx([6.0 / 5.0, 1.0 / 5.0], rel=1e-8)
        assert radii[0] <= 6.0 / 5.0 and radii[1] <= 1.0 / 5.0
        cube = certified_radius(net, [[1.0, 1.0]], [1], norm=math.inf)
        assert cube == pytest.approx([6.0 / 7.0], rel=1e-3) and cube[0] <= 6.0 / 7.0

    def test_misclassified_samples_have_none(self) -> None:
        net = network([4, 8, 3])
        labels = (net(self.X).argmax(axis=1) + 1) % 3
        assert (certified_radius(net, self.X, labels) == 0).all()

    def test_margins_below_rounding_are_no_margins(self) -> None:
        net = lipgd.Network([[[1e16, 1.0, -1e16]]])
        assert certified_radius(net, [[1.0, 1.0, 1.0]], [1])[0] == 0.0

    def test_pairs_are_better_than_the_whole_output(self) -> None:
        net = network([4, 30, 4], "relu")
        labels = net(self.X).argmax(axis=1)
        whole = certified_radius(net, self.X, labels, estimate=upper(net))
        pairs = certified_radius(net, self.X, labels, local=False)
        assert (whole <= pairs * (1 + 1e-9)).all() and whole.sum() < 0.95 * pairs.sum()

    def test_messages(self) -> None:
        net, single = network([4, 8, 3]), network([4, 8, 1])
        with pytest.raises(ValueError, match="labels has the class 3, expected 0 to 2"):
            certified_radius(net, self.X[:1], [3])
        with pytest.raises(ValueError, match=r"labels has \[2\], expected -1 and 1, or 0 and 1"):
            certified_radius(single, self.X[:1], [2])
        with pytest.raises(ValueError, match=r"labels has shape \(2,\), expected \(1,\)"):
            certified_radius(net, self.X[:1], [0, 1])
        with pytest.raises(ValueError, match="expected a global upper one"):
            certified_radius(net, self.X[:1], [0], estimate=lower(net))


class TestCommand:
    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        network([3, 8, 2]).save(tmp_path / "net.npz")
        return str(tmp_path / "net.npz")

    def test_exit_codes(self, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        value = audit(path).upper.value
        assert main(["certify", path, "--effort", "fast"]) == 0
        assert main(["certify", path, "--at-most", str(value * 1.001)]) == 0
        assert "proved" in capsys.readouterr().out
        assert main(["certify", path, "--at-most", str(value * 0.9)]) == 1
        assert "not proved" in capsys.readouterr().out
        assert main(["certify", path, "--norm", "1"]) == 2
        assert "no other has a proof" in capsys.readouterr().err
        assert main(["certify", path, "--at-most", "-1"]) == 2
        assert main(["certify", "none.onnx"]) == 2

    def test_json_and_options(self, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        options = ["--json", "--norm", "inf", "--output", "0", "--center", "0,0,0", "--radius", "1"]
        assert main(["certify", path, *options]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["norm"], facts["output"], facts["proved"]) == ("inf", 0, True)
        assert facts["domain"] == "linf ball of radius 1"
        assert main(["certify", path, "--json", "--method", "closed_form"]) == 0
        assert list(json.loads(capsys.readouterr().out)["ladder"]) == ["closed_form"]
        assert main(["certify", path, "--center", "0,0,0"]) == 2

    def test_certificates_again(
        self, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        saved = str(tmp_path / "c.json")
        assert main(["certify", path, "--save", saved]) == 0
        capsys.readouterr()
        assert main(["certify", path, "--check", saved]) == 0
        assert "Proved in exact arithmetic" in capsys.readouterr().out
        assert main(["certify", path, "--check", saved, "--at-most", "0.01"]) == 1
        text = Path(saved).read_text().replace('"value": "0x1', '"value": "0x0')
        Path(saved).write_text(text)
        assert main(["certify", path, "--check", saved, "--json"]) == 1

    def test_files_that_do_not_say_their_activation(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        np.savez(tmp_path / "w.npz", w1=RNG.normal(size=(5, 3)), w2=RNG.normal(size=(1, 5)))
        assert main(["certify", str(tmp_path / "w.npz")]) == 2
        assert "does not say it" in capsys.readouterr().err
        assert main(["certify", str(tmp_path / "w.npz"), "--activation", "relu"]) == 0
