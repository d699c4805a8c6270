"""The record of the Lipschitz dynamics: coefficients at the rows of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd._columns import DYNAMICS
from lipgd._recording import Recording
from lipgd.constraints import LipschitzTarget, RateCaps
from lipgd.dynamics._epochs import spread_slopes
from lipgd.dynamics._moments import Moments
from lipgd.dynamics._terms import Coefficients, coefficients_of
from lipgd.dynamics._triplets import Triplets
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.run import Settings
from lipgd.types import DoubleArray, FloatArray

__all__ = ["DynamicsRecord", "dynamics_record", "velocity_of"]


def dynamics_record(
    record: Sequence[str],
    how: Recording | None,
    net: Network,
    *,
    update: str,
    clip_norm: Any,
    proximal: Any,
    constraint: LipschitzTarget | RateCaps | None,
    weighted: bool,
    trained: Sequence[bool],
    rates: DoubleArray,
    n_samples: int,
) -> Recording | None:
    """Check that the coefficients have a meaning for these steps, before any work."""
    if how is not None and not isinstance(how, Recording):
        raise TypeError(f"dynamics is {how!r}, expected a lipgd.dynamics.Recording")
    if DYNAMICS not in record:
        if how is not None:
            raise ValueError(f"dynamics is given, but record has no {DYNAMICS}")
        return None
    matrices = [g for g, name in enumerate(net._layout.names) if name.startswith("W")]
    moving = [g for g in matrices if trained[g]]
    beside = {
        f"update is {update!r}": update != "gradient",
        "clip_norm is given": clip_norm is not None,
        "proximal is given": proximal is not None,
        "constraint is given": constraint is not None,
        "sample_weight is given": weighted,
        "frozen names every weight matrix": not moving,
        "the weight matrices have different rates": any(
            not np.array_equal(rates[moving[0]], rates[g])
            for g in moving[1:]
            if rates[g].strides != (0,) or rates[g][:1] != rates[moving[0]][:1]
        ),
    }
    for fact, refused in beside.items():
        if refused:
            raise ValueError(
                f"record has {DYNAMICS}, but {fact}, expected steps along the gradient of batches "
                "whose samples count alike, with one rate"
            )
    how = how or Recording()
    if how.probe_size is not None and how.probe_size > n_samples:
        raise ValueError(
            f"probe_size is {how.probe_size}, expected at most the {n_samples} samples"
        )
    for layer, matrix in enumerate(net.weights):
        if not matrix.any():
            raise ValueError(f"net has W{layer + 1} = 0, whose norm has no logarithm")
    return how


def velocity_of(net: Network, velocity: FloatArray | None) -> list[FloatArray] | None:
    """Return the part of the weight matrices of a flat array of parameters."""
    return None if velocity is None else list(net._with_flat(velocity.copy()).weights)


@dataclass
class DynamicsRecord:
    """Measures rows; everything it remembers is in the arrays of the training's state.

    ``anchor`` is the network where coefficients were measured last, ``anchor_facts`` the step and
    the sums of the pathwise predictor (9.1) of the layers up to there.
    """

    net: Network
    how: Recording
    columns: tuple[str, ...]
    inputs: FloatArray
    targets: tuple[Any, ...]
    loss: Loss
    rates: DoubleArray  #: (steps,)
    batch_size: int
    sampling: str
    decays: tuple[float, ...]
    momentum: float
    nesterov: bool
    trained: tuple[bool, ...]  #: per group of parameters

    @classmethod
    def of(
        cls, net: Network, settings: Settings, problem: dict[str, Any], rates: DoubleArray
    ) -> DynamicsRecord | None:
        """Return the record of a training, None if it has none."""
        if settings.dynamics is None:
            return None
        names, trained = net._layout.names, problem["trained"]
        matrices = [g for g, name in enumerate(names) if name.startswith("W")]
        return cls(
            net=net,
            how=settings.dynamics,
            columns=settings.record,
            inputs=problem["inputs"],
            targets=(*problem["targets"][:2], None),
            loss=settings.loss,
            rates=rates[next(g for g in matrices if trained[g])],
            batch_size=settings.batch_size or len(problem["inputs"]),
            sampling="independent" if settings.batch_size is None else settings.sampling,
            decays=tuple(problem["weight_decay"][g] for g in matrices),
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            trained=tuple(trained),
        )

    def __post_init__(self) -> None:
        self._numbers = {name: i for i, name in enumerate(self.columns) if "dynamics_" in name}
        self._tops: tuple[int, list[Triplets]] | None = None

    @property
    def _frozen(self) -> tuple[bool, ...]:
        names = self.net._layout.names
        flags = zip(names, self.trained, strict=True)
        return tuple(not flag for name, flag in flags if name.startswith("W"))

    def fresh_state(self) -> dict[str, Any]:
        """Return the arrays that change."""
        facts = np.zeros(1 + self.net.depth)
        facts[0] = -1.0
        return {"anchor": np.zeros_like(self.net._flat), "anchor_facts": facts}

    def write(
        self, rows: DoubleArray, row: int, step: int, state: dict[str, Any], last: bool = False
    ) -> None:
        """Fill in a row of the history, for the state before a step or after the last one."""
        for name, number in self._numbers.items():
            if not name.startswith("dynamics_first_order"):
                rows[number, row] = np.nan
        net = self.net._with_flat(state["parameters"].copy())
        if not last and not self._is_due(net, step, state):
            return
        with np.errstate(all="ignore"):
            self._measure(rows, row, step, net, state)

    def _is_due(self, net: Network, step: int, state: dict[str, Any]) -> bool:
        before = int(state["anchor_facts"][0])
        if self.how.movement is None or before < 0 or before == step:
            return True
        tops = self._anchor_tops(state)
        old = self.net._with_flat(state["anchor"].copy()).weights
        return any(
            np.linalg.norm(new - past) > self.how.movement * top.norm
            for new, past, top in zip(net.weights, old, tops, strict=True)
        )

    def _anchor_tops(self, state: dict[str, Any]) -> list[Triplets]:
        step = int(state["anchor_facts"][0])
        if self._tops is None or self._tops[0] != step:
            old = self.net._with_flat(state["anchor"].copy())
            self._tops = (step, [Triplets.of(w) for w in old.weights])
        return self._tops[1]

    def _measure(
        self, rows: DoubleArray, row: int, step: int, net: Network, state: dict[str, Any]
    ) -> None:
        if not all(matrix.any() for matrix in net.weights):
            return
        path = self._path(net, step, state)
        moments = Moments(net.weights, diagonal=self.how.diagonal)
        x, targets = self._probe(step)
        moments.add_network(net, x, targets, self.loss)
        rate = float(self.rates[min(step, len(self.rates) - 1)]) if len(self.rates) else 0.0
        found = coefficients_of(
            moments,
            batch_size=self.batch_size,
            rate=rate or 1.0,
            sampling="replacement" if self.sampling == "replacement" else "independent",
            population_size=len(self.inputs),
            frozen=self._frozen,
            weight_decay=self.decays,
            momentum=self.momentum,
            nesterov=self.nesterov,
            velocity=velocity_of(net, state["velocity"]),
        )
        epoch = np.zeros(net.depth)
        if self.sampling == "reshuffled":
            tops = [layer.top for layer in moments.layers]
            epoch = spread_slopes(net, x, targets, self.loss, tops, self.trained)
        columns = self._values(found, path, 1.0 if rate else 0.0) | {"epoch": epoch}
        for name, values in columns.items():
            for layer, value in enumerate(values):
                rows[self._numbers[f"dynamics_{name}:W{layer + 1}"], row] = value
        network = {
            "log_norm": np.log(found.norms).sum(),
            "pathwise": path.sum(),
            "epoch": epoch.sum(),
            "mu": found.network.mu,
            "kappa": found.network.kappa,
            "psi": found.network.psi,
            "lambda2": found.network.lambda2,
            "pair": (found.curvature_pair - found.curvature).sum(),
            "kappa_diagonal": found.network.kappa_diagonal,
            "lambda2_diagonal": found.network.lambda2_diagonal,
        }
        for name, value in network.items():
            steady = name in ("log_norm", "pathwise", "mu", "epoch")
            rows[self._numbers[f"dynamics_{name}"], row] = value if rate or steady else 0.0
        self._move_anchor(net, moments, step, path, state)

    @staticmethod
    def _values(found: Coefficients, path: DoubleArray, on: float) -> dict[str, DoubleArray]:
        """Return what columns hold of every layer; without a rate there is no second order."""
        return {
            "log_norm": np.log(found.norms),
            "pathwise": path,
            "mu": found.mu,
            "kappa": on * found.kappa,
            "lambda2": on * found.lambda2,
            "psi": on * found.psi,
            "pair": on * (found.curvature_pair - found.curvature),
            "kappa_diagonal": on * found.kappa_diagonal,
            "lambda2_diagonal": on * found.lambda2_diagonal,
            "gap": found.gap,
            "degeneracy": on * found.degeneracy,
            "pair_share": found.pair_share,
        }

    def _probe(self, step: int) -> tuple[FloatArray, tuple[Any, ...]]:
        if self.how.probe_size is None:
            return self.inputs, self.targets
        sequence = np.random.SeedSequence(self.how.seed, spawn_key=(step,))
        rows = np.random.default_rng(sequence).choice(
            len(self.inputs), self.how.probe_size, replace=False, shuffle=False
        )
        values, labels, weights = self.targets
        return self.inputs[rows], (
            None if values is None else values[rows],
            None if labels is None else labels[rows],
            weights,
        )

    def _path(self, net: Network, step: int, state: dict[str, Any]) -> DoubleArray:
        """Return the second order of the change since the anchor, added to the sums there."""
        before = int(state["anchor_facts"][0])
        sums: DoubleArray = state["anchor_facts"][1:].copy()
        if before < 0 or before == step:
            return sums
        if before > step:  # the steps in between were taken back
            return np.full(len(sums), np.nan)
        old = self.net._with_flat(state["anchor"].copy()).weights
        tops = self._anchor_tops(state)
        for layer, (new, past, top) in enumerate(zip(net.weights, old, tops, strict=True)):
            change = new.astype(np.float64) - past
            slope = float(top.left[:, 0] @ change @ top.right[:, 0]) / top.norm
            sums[layer] += slope + 0.5 * (top.hessian(change) / top.norm - slope**2)
        return sums

    def _move_anchor(
        self,
        net: Network,
        moments: Moments,
        step: int,
        path: DoubleArray,
        state: dict[str, Any],
    ) -> None:
        state["anchor"][...] = net._flat
        state["anchor_facts"][0] = step
        state["anchor_facts"][1:] = path
        self._tops = (step, [layer.top for layer in moments.layers])
