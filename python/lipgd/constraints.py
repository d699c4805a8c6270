"""What limits the steps of a training: a Lipschitz constant to keep, or caps on the rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lipgd._check import choice, flag, number

__all__ = ["Constraint", "LipschitzTarget", "RateCaps"]

#: In the order of the C++ enumerations.
METHODS = ("none", "retract", "rates")
CERTIFICATES = ("product", "balanced", "sdp")
CONTROLLERS = ("conservative", "chord", "monotone_chord")
CAP_MODES = ("none", "observed", "carry_over", "displacement")
#: Modes that the core knows nothing of.
NORM_MODES = ("plug_in", "tracked", "linear")


@dataclass(frozen=True)
class LipschitzTarget:
    """Keep the certified Lipschitz constant of the network at most at a limit, at every step.

    Parameters
    ----------
    limit : float
        The Lipschitz constant that must not be exceeded, above 0.
    method : str
        ``"retract"``: full steps, and where the certificate then exceeds the limit the trained
        weight matrices move to the nearest ones, in the Euclidean norm of all entries, whose norms
        have a product that is small enough: of each matrix the singular values above a cap are
        lowered to it and the others stay, and one condition links the caps of all matrices. It
        goes on improving at the limit. After a step so large that no such caps are near, all norms
        are lowered by one factor. Of matrices with more than 256 rows and columns the largest
        singular values are found approximately; rounding, and what a cut has left, is taken off by
        one factor for all matrices, so that the certificate is met in any case.
        ``"rates"``: the rate of the weight matrices is lowered until the product of their norms
        stays below the limit. At the limit the weights then stand still at a point that is in
        general not stationary, and the run says so; biases go on moving.
    certificate : str
        ``"product"`` of spectral norms and activation constants, for any depth; ``"balanced"``, up
        to twice tighter, for two weight matrices and the method ``"retract"``; ``"sdp"``, the
        tightest, for any depth and the method ``"retract"``.
    controller : str
        How the method ``"rates"`` finds its rate: ``"conservative"`` (triangle inequality),
        ``"chord"`` (norms are convex, so it sees directions that shrink) or ``"monotone_chord"``
        (chords again and again, up to the first crossing).
    rescale_initial : bool
        Whether a network whose certificate exceeds the limit is rescaled before the first step, so
        that its certificate is ``theta * limit``; otherwise it is refused.
    theta : float
        Between 0 and 1.
    accelerate : bool
        Whether, with the method ``"retract"`` and plain gradient steps over all samples, the
        movement of the last step goes on at the limit (Polyak's heavy ball): its n-th step in a row
        adds the (n - 1) / (n + 2)-th part of the step before, which begins anew where that leads
        uphill. Along the limit plain steps are slow, since the steepest direction is the one that
        the constraint takes away. No convergence is proved for either. Before the limit is met,
        steps are the same with and without.

    References
    ----------
    rate-constraints.md, sections 2, 6.3 and 6.5

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> net = lipgd.Network.create([1, 32, 1], activation="tanh")
    >>> target = lipgd.LipschitzTarget(2.0, rescale_initial=True)
    >>> run = lipgd.train(
    ...     net, X, np.sin(9 * X), rate=0.2, constraint=target, record=["lipschitz_upper"]
    ... )
    >>> bool((run.history["lipschitz_upper"] <= 2.0).all())
    True
    """

    limit: float
    method: str = "retract"
    certificate: str = "product"
    controller: str = "chord"
    rescale_initial: bool = False
    theta: float = 0.25
    accelerate: bool = True

    def __post_init__(self) -> None:
        number("limit", self.limit, above=0)
        choice("method", self.method, METHODS[1:])
        choice("certificate", self.certificate, CERTIFICATES)
        choice("controller", self.controller, CONTROLLERS)
        flag("rescale_initial", self.rescale_initial)
        number("theta", self.theta, above=0, below=1)
        flag("accelerate", self.accelerate)
        if self.certificate != "product" and self.method == "rates":
            raise ValueError(
                f"certificate is {self.certificate!r}, but method is 'rates', which steers the "
                "product of norms, expected certificate='product' or method='retract'"
            )


@dataclass(frozen=True)
class RateCaps:
    """Cap the learning rates so that no parameter leaves its budget.

    At every step ``rate * length <= budget``, where the length is a norm of the step's direction
    and the budget is ``C / N * (G(s + 1) - G(s))`` with the number of samples N and a rate function
    G, the running sum of ``shape``. Then ``|W - W_0| <= C / N * G`` at every step, whatever the
    loss and the learning rates (Theorem 3).

    Parameters
    ----------
    budgets : mapping of str to float
        The constants C, above 0, by the names ``"W1"``, ``"b1"``, ...; a parameter without one is
        not capped.
    shape : Schedule, number, callable or array
        The increments of the rate function, such as
        ``schedules.hold_then_decay(1.0, 50, schedules.exponential(1.0, 0.02))``.
    mode : str
        ``"observed"``: the budget of each step by itself; ``"carry_over"``: what earlier steps left
        over may be used; ``"displacement"``: what counts is how far the parameter is from its
        start. The length of a direction is also bounded by norms of data, weights and features:
        ``"plug_in"`` with those of each step (slow: a sweep in Python per step), ``"tracked"`` with
        those before training and tracked radii, ``"linear"`` with the budgets as radii; the last
        two are known before training, and depend on nothing that happens in it.
    initial : str or Law
        What the modes tracked and linear know of the first weights: ``"given"``, or the law that
        they are drawn from: then the caps hold with its probability for any draw.
    norm : str
        ``"frobenius"`` or ``"spectral"`` norm of the directions of weight matrices.
    slack : float
        The part of the budgets that is kept back for rounding, from 0 to below 1; 0 for budgets
        that are the least of their kind, such as ``theory.rate_constraints.tracked_budgets``.

    References
    ----------
    rate-constraints.md, section 4

    Examples
    --------
    >>> import lipgd
    >>> caps = lipgd.RateCaps({"W1": 50.0, "W2": 50.0}, lipgd.schedules.exponential(1.0, 0.01))
    >>> caps.mode
    'observed'
    """

    budgets: Mapping[str, float]
    shape: Any = field(default=1.0)
    mode: str = "observed"
    initial: Any = "given"
    norm: str = "frobenius"
    slack: float = 1e-3

    def __post_init__(self) -> None:
        if not isinstance(self.budgets, Mapping):
            raise TypeError(
                f"budgets is {self.budgets!r}, expected a mapping from names to numbers"
            )
        for name, value in self.budgets.items():
            number(f"budgets[{name!r}]", value, above=0)
        choice("mode", self.mode, (*CAP_MODES[1:], *NORM_MODES))
        if self.initial != "given" and not hasattr(self.initial, "norms"):
            raise TypeError(f"initial is {self.initial!r}, expected 'given' or a Law")
        if self.initial != "given" and self.mode not in ("tracked", "linear"):
            raise ValueError(
                f"initial is a law, but mode is {self.mode!r}, expected tracked or linear"
            )
        if self.mode in NORM_MODES and self.norm == "spectral":
            raise ValueError(f"norm is 'spectral', but mode is {self.mode!r}, expected 'frobenius'")
        choice("norm", self.norm, ("frobenius", "spectral"))
        number("slack", self.slack, at_least=0, below=1)


Constraint = LipschitzTarget | RateCaps
