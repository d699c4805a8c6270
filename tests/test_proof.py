"""Certificates proved again in exact arithmetic, and files of them."""

from __future__ import annotations

import ast
import itertools
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lipgd
from lipgd.lipschitz import Ball, audit, check_certificate
from lipgd.lipschitz import _proof as proof
from lipgd.lipschitz._certificate import certify

KINDS = [(0.0, 1.0), (-0.1, 1.1), (-1.0, 1.0), (0.5, 0.5)]


def exact(matrix: Any) -> list[list[Fraction]]:
    return [[Fraction(float(x)) for x in row] for row in matrix]


def multiplier(t: float, exponent: int) -> Fraction | None:
    return None if math.isinf(t) else Fraction(float(t)) * Fraction(2) ** int(exponent)


def proved(weights: Any, low: float, high: float, factor: float = 1.0) -> bool:
    widths = [len(matrix) for matrix in weights[:-1]]
    lo, hi = [np.full(n, low) for n in widths], [np.full(n, high) for n in widths]
    found = certify(weights, lo, hi)
    multipliers = [
        [
            None if math.isinf(t) else Fraction(float(t)) * Fraction(2) ** int(e)
            for t, e in zip(*p, strict=True)
        ]
        for p in zip(found.multipliers, found.exponents, strict=True)
    ]
    slopes = exact(lo), exact(hi)
    value = Fraction(found.value * factor)
    return proof.is_bound([exact(matrix) for matrix in weights], *slopes, multipliers, value)


@pytest.mark.parametrize(
    "sizes", [(3, 5, 1), (6, 10, 3), (4, 8, 8, 1), (3, 5, 5, 5, 2), (20, 4, 2)]
)
@pytest.mark.parametrize("slopes", KINDS)
def test_certificates_are_proved_and_smaller_values_are_not(
    sizes: tuple[int, ...], slopes: tuple[float, float]
) -> None:
    rng = np.random.default_rng(sum(sizes))
    weights = [rng.normal(size=(b, a)) for a, b in itertools.pairwise(sizes)]
    assert proved(weights, *slopes)
    assert not proved(weights, *slopes, factor=0.999)


@pytest.mark.parametrize("fixed", [0, 1])
def test_layers_of_known_slopes_are_proved_without_multipliers(fixed: int) -> None:
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=shape) for shape in ((5, 3), (4, 5), (2, 4))]
    lo, hi = [np.zeros(5), np.zeros(4)], [np.ones(5), np.ones(4)]
    lo[fixed] = hi[fixed] = rng.uniform(-1, 1, len(lo[fixed]))
    found = certify(weights, lo, hi)
    pairs = zip(found.multipliers, found.exponents, strict=True)
    multipliers = [[multiplier(*pair) for pair in zip(t, e, strict=True)] for t, e in pairs]
    statement = [exact(matrix) for matrix in weights], exact(lo), exact(hi), multipliers
    assert proof.is_bound(*statement, Fraction(found.value))
    assert not proof.is_bound(*statement, Fraction(0.999 * found.value))


def test_dead_and_zero_networks() -> None:
    rng = np.random.default_rng(0)
    w = [rng.normal(size=(6, 3)), rng.normal(size=(2, 6))]
    w[0][1] = 0.0
    w[1][:, 2] = 0.0
    assert proved(w, 0.0, 1.0) and not proved(w, 0.0, 1.0, factor=0.99)
    assert proved([w[0], 0.0 * w[1]], 0.0, 1.0)
    assert proved([w[0]], 0.0, 1.0)


def test_scales_of_any_size() -> None:
    rng = np.random.default_rng(1)
    w = [rng.normal(size=(5, 3)), rng.normal(size=(2, 5))]
    rows = 2.0 ** rng.integers(-60, 60, 5)
    assert proved([w[0] * rows[:, None] * 1e-100, w[1] / rows * 1e120], 0.0, 1.0)


def matrix(rows: Any) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in rows]


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        ([[1, 1], [1, 1]], True),
        ([[1, 2], [2, 1]], False),
        ([[0, 0], [0, 3]], True),
        ([[0, 1], [1, 3]], False),
        ([[2, -1, 0], [-1, 2, -1], [0, -1, 2]], True),
        ([[-1]], False),
        ([], True),
    ],
)
def test_positive_semidefinite(rows: Any, answer: bool) -> None:
    assert proof.is_positive_semidefinite(matrix(rows)) is answer


def test_it_decides_by_less_than_rounding() -> None:
    tiny = Fraction(1, 10**40)
    for change, answer in ((tiny, True), (-tiny, False)):
        rows = matrix([[1, 1], [1, 1]])
        rows[1][1] += change
        assert proof.is_positive_semidefinite(rows) is answer


def test_it_shares_no_code_with_what_it_checks() -> None:
    tree = ast.parse(Path(proof.__file__).read_text())
    names = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    names |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert names <= {"__future__", "collections.abc", "fractions", "math", "typing"}


class TestFiles:
    @pytest.fixture
    def net(self) -> lipgd.Network:
        return lipgd.Network.create([3, 8, 2], activation="silu", seed=3)

    @pytest.mark.parametrize("name", ["relu", "gelu", "leaky_relu(0.2)", "elu(1.5)", "sin", "tanh"])
    def test_of_every_activation(self, name: str, tmp_path: Path) -> None:
        net = lipgd.Network.create([3, 6, 4, 2], activation=name, dtype=np.float32)
        audit(net).save_certificate(tmp_path / "c.json")
        checked = check_certificate(tmp_path / "c.json", net)
        assert checked.proved and checked.value == audit(net)["sdp"].value
        assert "Proved in exact arithmetic" in str(checked)

    def test_of_a_domain_and_of_the_other_norm(self, net: lipgd.Network, tmp_path: Path) -> None:
        found = audit(net, domain=Ball(np.zeros(3), 0.2), norm=math.inf)
        found.save_certificate(tmp_path / "c.json")
        checked = check_certificate(tmp_path / "c.json", net)
        assert checked.proved and "on a l2 ball of radius 0.2" in checked.statement
        assert "largest-entry" in checked.statement

    def test_what_was_changed_is_found(self, net: lipgd.Network, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        audit(net).save_certificate(path)
        facts = json.loads(path.read_text())

        def changed(**entries: Any) -> bool:
            path.write_text(json.dumps({**facts, **entries}))
            return check_certificate(path, net).proved

        value = float.fromhex(facts["value"])
        assert changed() and changed(value=(2 * value).hex())
        assert not changed(value=(0.99 * value).hex())
        assert not changed(value="inf") and not changed(value=(-value).hex())
        assert not changed(low=[["0x0.0p+0"] * 8])  # silu has negative slopes
        assert not changed(multipliers=[["0x1.0p+0"] * 8])
        with pytest.raises(ValueError, match="is the certificate of another network"):
            check_certificate(path, net.replace(activation="relu"))
        for wrong in (
            {"version": 2},
            {"format": "x"},
            {"low": [[1]]},
            {"exponents": [[10**9] * 8]},
        ):
            with pytest.raises(ValueError):
                changed(**wrong)
        path.write_bytes(b"[" * 100_000)
        with pytest.raises(ValueError, match="is not a readable"):
            check_certificate(path, net)
