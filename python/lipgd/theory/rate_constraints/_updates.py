"""Bounds of the updates of other optimisers than plain gradient descent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lipgd._check import choice, flag, integer, number
from lipgd.theory._numbers import UP, Numbers, groups_of, least, times, values_of
from lipgd.theory.rate_constraints._batches import batch_majorants, decay_majorants
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.theory.rate_constraints._reach import reach
from lipgd.types import ArrayLike, IndexArray

__all__ = ["UpdateRule", "adam_factor", "update_bounds"]


def adam_factor(beta1: float, beta2: float, t: int | ArrayLike) -> Numbers:
    """Return K_t, the largest size of an entry of Adam's update at its t-th step; it is attained.

    ``K_t = (1 - b1) / sqrt(1 - b2) sqrt((1 - r^t) / (1 - r)) sqrt(1 - b2^t) / (1 - b1^t)`` with
    ``r = b1^2 / b2 < 1``.

    Parameters
    ----------
    beta1, beta2 : float
        Decay rates of the moments, from 0 (beta2: above 0) to below 1.
    t : int or array_like
        At least 1.

    Returns
    -------
    float or ndarray
        For all entries at once times the root of their number.

    Raises
    ------
    ValueError
        If ``beta1**2 >= beta2``: then no bound holds for all t.

    References
    ----------
    rate-constraints.md, section 11.

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> rate_constraints.adam_factor(0.9, 0.999, [1, 10, 1000]).round(4)
    array([1.    , 1.0431, 5.7812])
    """
    beta1 = number("beta1", beta1, at_least=0.0, below=1.0)
    beta2 = number("beta2", beta2, above=0.0, below=1.0)
    ratio = beta1 * beta1 / beta2
    if ratio >= 1.0:
        raise ValueError(f"beta1 is {beta1}, expected its square to be below beta2, {beta2}")
    steps = values_of("t", t, at_least=1.0)
    left = {base: _one_minus_power(base, steps) for base in (beta1, beta2, ratio)}
    value = np.sqrt(left[ratio] / (1.0 - ratio) * (left[beta2] / (1.0 - beta2)))
    value = value * ((1.0 - beta1) / left[beta1]) * UP
    return float(value) if value.ndim == 0 else value


def _one_minus_power(base: float, steps: Numbers) -> Numbers:
    result: Numbers = -np.expm1(steps * math.log(base)) if base else np.ones_like(steps)
    return result


@dataclass(frozen=True)
class UpdateRule:
    """How gradients become updates ``Theta - rate U``.

    Attributes
    ----------
    method : str
        ``"gradient"``, ``"sign"`` (Lion too) or ``"adam"`` (AMSGrad too).
    momentum : float
        mu of heavy ball, Polyak's and Nesterov's form, from 0 to below 1.
    batch_size : int or None
        Samples per step, the least if it varies; None for all.
    replacement : bool
        Whether a batch may hold a sample twice.
    clip_norm : float or None
        The norm that the gradient of every group is clipped to, before weight decay.
    weight_decay : mapping of str to float
        Strengths by name, coupled to the gradient. Without momentum, the caps are on the data part
        of the update.
    shrinking_prox : bool
        Whether a proximal step that shrinks singular values follows (nuclear, Frobenius).
    l1 : mapping of str to float
        Strengths of an entrywise l1 proximal step by name.
    decay_rates : tuple of float
        beta_1 and beta_2 of Adam, with ``beta_1^2 < beta_2``.

    References
    ----------
    rate-constraints.md, section 11.
    """

    method: str = "gradient"
    momentum: float = 0.0
    batch_size: int | None = None
    replacement: bool = False
    clip_norm: float | None = None
    weight_decay: Mapping[str, float] = field(default_factory=dict)
    shrinking_prox: bool = False
    l1: Mapping[str, float] = field(default_factory=dict)
    decay_rates: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        choice("method", self.method, ("gradient", "sign", "adam"))
        number("momentum", self.momentum, at_least=0.0, below=1.0)
        if self.batch_size is not None:
            integer("batch_size", self.batch_size, at_least=1)
        flag("replacement", self.replacement)
        if self.clip_norm is not None:
            number("clip_norm", self.clip_norm, above=0.0)
        flag("shrinking_prox", self.shrinking_prox)
        adam_factor(*self.decay_rates, 1)

    @property
    def shrinks(self) -> bool:
        """Whether caps bound the norms of the parameters, but not their displacements."""
        decays = self.method == "gradient" and not self.momentum and any(self.weight_decay.values())
        return self.shrinking_prox or decays


#: Plain gradient descent over all samples.
GRADIENT = UpdateRule()


def update_bounds(
    quantities: Quantities,
    radii: Mapping[str, ArrayLike],
    rule: UpdateRule,
    *,
    step: int | IndexArray = 0,
    joint: bool = True,
    descent: bool = False,
) -> dict[str, Numbers]:
    """Bound the update of every group before training: an admissible u_k.

    The bound of the gradient is that of :func:`reach`, :func:`batch_majorants` or
    :func:`decay_majorants`, at most the clip norm; momentum divides it by ``1 - mu``; sign and Adam
    have ``sqrt(n_k)`` and ``K_t sqrt(n_k)`` with ``n_k`` entries, whatever the gradient; an l1
    proximal step of strength c adds ``c sqrt(n_k)``.

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    radii : mapping of str to float or array_like
        ``sum rate u`` over the steps before, for every group.
    rule : UpdateRule
        The optimiser.
    step : int or ndarray of int
        The step s (t = s + 1 of Adam); an array for radii that are arrays.
    joint, descent
        As for :func:`reach`; they count with the gradient over all samples alone.

    Returns
    -------
    dict of str to float or ndarray

    References
    ----------
    rate-constraints.md, section 11.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> rule = rate_constraints.UpdateRule(momentum=0.5)
    >>> bounds = rate_constraints.update_bounds(found, {"W1": 0.0, "W2": 0.0}, rule)
    >>> round(bounds["W1"], 6)
    8.0
    """
    by_name = groups_of("radii", radii, quantities.names)
    strengths = groups_of("l1", rule.l1, quantities.names, 0.0)
    roots = {name: math.sqrt(count) for name, count in quantities.group_sizes.items()}
    if rule.method == "gradient":
        bounds = _gradient_bounds(quantities, by_name, rule, joint, descent)
    else:
        adam = rule.method == "adam"
        factor = adam_factor(*rule.decay_rates, np.asarray(step) + 1) if adam else 1.0
        bounds = {name: times(root, factor) for name, root in roots.items()}
    return {
        name: (bound + times(strengths[name], roots[name])) * UP for name, bound in bounds.items()
    }


def _gradient_bounds(
    quantities: Quantities,
    radii: dict[str, Numbers],
    rule: UpdateRule,
    joint: bool,
    descent: bool,
) -> dict[str, Numbers]:
    batch, again = rule.batch_size, rule.replacement
    if rule.shrinks:
        bounds = decay_majorants(quantities, radii, batch, replacement=again)
    elif batch is not None:
        bounds = batch_majorants(quantities, radii, batch, replacement=again)
    else:
        bounds = reach(quantities, radii, joint=joint, descent=descent).majorants
    if (largest := rule.clip_norm) is not None:
        bounds = {name: least(bound, largest) for name, bound in bounds.items()}
    if not rule.momentum:
        return bounds
    carried = 1.0 / (1.0 - rule.momentum)
    pulls = _decay_pulls(quantities, radii, rule)
    return {name: times(bound + pulls[name], carried) for name, bound in bounds.items()}


def _decay_pulls(
    quantities: Quantities, radii: dict[str, Numbers], rule: UpdateRule
) -> dict[str, Numbers]:
    """Bound what coupled weight decay adds to a velocity, strength times ||theta||_F."""
    strengths = groups_of("weight_decay", rule.weight_decay, quantities.names, 0.0)
    start = {}
    for layer in range(1, quantities.depth + 1):
        start[f"W{layer}"] = quantities.weight_frobenius[layer - 1]
        start[f"b{layer}"] = quantities.bias_norms[layer - 1]
    return {name: times(strengths[name], start[name] + radii[name]) for name in quantities.names}
