"""Why a statement about large stepsizes does not apply to a training: fixed codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from lipgd.network import Network
from lipgd.run import Run, Settings
from lipgd.theory import large_stepsize
from lipgd.theory.large_stepsize import Constants

__all__ = ["REASONS", "constant_stepsize", "predictor_reasons", "step_reasons"]

#: Every code, and what it means as a sentence.
REASONS = {
    "loss": "the loss is not the logistic loss",
    "several outputs": "the network has more than one output",
    "several layers trained": "more than one layer of weights is trained",
    "first layer frozen": "the first layer is frozen",
    "not smooth": "the slope of the activation jumps, so there is no bound of the curvature",
    "not near-homogeneous": "phi(z) - z phi'(z) is unbounded, so kappa is infinite",
    "kappa too large for the margin": "the smoothed margin does not exceed kappa in the record",
    "alpha <= 0": "the slope of the activation is not bounded away from 0",
    "not separable": "no hyperplane through the origin separates the data strictly",
    "separability unknown": "whether the data are separable was not decided: install SciPy",
    "not reached in the record": "the risk is not low enough for the certificate at any row",
    "stepsize of another length": "the stepsize is not that of Theorem 7 for the steps taken",
    "too few steps": "there are too few steps for the conditions of Theorem 7",
    "unequal rates": "the parameters have different rates",
    "varying rates": "the rate varies from step to step",
    "no stepsize": "no step was taken, or with a rate of 0",
    "momentum": "there is momentum",
    "mini-batches": "the steps use batches",
    "sample weights": "the samples have weights",
    "weight decay": "there is weight decay",
    "clipped gradients": "gradients are clipped",
    "penalties": "there are proximal penalties",
    "constraint": "a constraint changes the steps",
    "update rule": "the update is not that of gradient descent",
}


def step_reasons(settings: Settings, steps: int) -> tuple[str, ...]:
    """Return why the steps of a training are not those of gradient descent at one stepsize."""
    rates = [rates[:steps] for rates in settings.rates.values()]
    first = rates[0]
    faults = {
        "unequal rates": any(not np.array_equal(first, other) for other in rates[1:]),
        "varying rates": bool(first.size) and any(np.ptp(other) > 0.0 for other in rates),
        "no stepsize": not first.size or not any(other.any() for other in rates),
        "momentum": settings.momentum != 0.0,
        "mini-batches": settings.batch_size is not None,
        "sample weights": settings.weighted,
        "weight decay": any(settings.weight_decay.values()),
        "clipped gradients": settings.clip_norm is not None,
        "penalties": bool(settings.proximal),
        "constraint": settings.constraint is not None,
        "update rule": settings.update != "gradient",
    }
    return tuple(code for code, fault in faults.items() if fault)


def constant_stepsize(settings: Settings) -> float:
    """Return the one stepsize of a training without :func:`step_reasons`."""
    return float(next(iter(settings.rates.values()))[0])


def predictor_reasons(run: Run) -> tuple[str, ...]:
    """Return why the loss or the network of a training have no constants."""
    faults: list[Any] = [None if run.settings.loss.kind == "logistic" else "loss"]
    faults.append(large_stepsize.unsuited(run.initial, run.settings.frozen))
    return tuple(code for code in faults if code)


def smooth_reasons(found: Constants) -> tuple[str, ...]:
    """Return why there is no stable phase: what Theorems 6 and 7 say of it is void."""
    return () if np.isfinite(found.curvature_bound) else ("not smooth",)


def separable_reasons(net: Network, found: Constants) -> tuple[str, ...]:
    """Return why Theorems 5 to 7 need not be asked about the data."""
    faults = {
        "not near-homogeneous": not np.isfinite(found.homogeneity_gap),
        "alpha <= 0": found.slope <= 0.0 or net.output_scale == 0.0,
    }
    return tuple(code for code, fault in faults.items() if fault)
