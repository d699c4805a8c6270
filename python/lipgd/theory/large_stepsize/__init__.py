"""Gradient descent with a large constant stepsize on near-homogeneous networks.

Two-layer networks whose first layer is trained, or linear ones, on the logistic loss: when the
risk stops oscillating, how margins grow, how fast the risk falls. Every statement of
large-stepsize.md is a function here. Risks are given by their logarithm: nothing underflows.
"""

from __future__ import annotations

from lipgd.theory.large_stepsize._constants import (
    Constants,
    comparator,
    constants,
    homogeneity_gap,
    separation_rate,
    unsuited,
)
from lipgd.theory.large_stepsize._detector import (
    certified_row,
    margin_row,
    observed_row,
    paper_row,
    spectral_row,
)
from lipgd.theory.large_stepsize._fast import (
    fast_risk_bound,
    fast_stepsize,
    fast_stepsize_fault,
    monotone_example,
)
from lipgd.theory.large_stepsize._margin_steps import (
    gradient_norm_floor,
    margin_flow,
    margin_gain,
    margin_loss,
    margin_step,
    margin_threshold,
    rate_limits,
    stable_log_risk_bound,
)
from lipgd.theory.large_stepsize._margins import (
    alignment_bound,
    margin_bracket,
    modified_margin,
    sandwich,
    slope_sum_bound,
    smoothed_margin,
    weighted_slope_bound,
)
from lipgd.theory.large_stepsize._monotone import (
    monotone_stepsize,
    spectral_stability,
    spectral_stepsize,
    tight_growth,
)
from lipgd.theory.large_stepsize._oscillating import (
    average_risk_bound,
    average_slope_bound,
    log_risk_after,
    transition_slope,
    transition_time,
)
from lipgd.theory.large_stepsize._scalars import (
    iota,
    log_loss,
    log_risk,
    loss_slope,
    mean_slope_bound,
    omega,
    psi,
)
from lipgd.theory.large_stepsize._stable import (
    displacement_bound,
    log_monotone_risk_floor,
    log_risk_floor,
    log_step_floor,
    paper_risk,
    sharpness_bound,
    stability,
    stable_risk,
    step_bound,
)
from lipgd.theory.large_stepsize._table import (
    ActivationConstants,
    activation_constants,
)

__all__ = [
    "ActivationConstants",
    "Constants",
    "activation_constants",
    "alignment_bound",
    "average_risk_bound",
    "average_slope_bound",
    "certified_row",
    "comparator",
    "constants",
    "displacement_bound",
    "fast_risk_bound",
    "fast_stepsize",
    "fast_stepsize_fault",
    "gradient_norm_floor",
    "homogeneity_gap",
    "iota",
    "log_loss",
    "log_monotone_risk_floor",
    "log_risk",
    "log_risk_after",
    "log_risk_floor",
    "log_step_floor",
    "loss_slope",
    "margin_bracket",
    "margin_flow",
    "margin_gain",
    "margin_loss",
    "margin_row",
    "margin_step",
    "margin_threshold",
    "mean_slope_bound",
    "modified_margin",
    "monotone_example",
    "monotone_stepsize",
    "observed_row",
    "omega",
    "paper_risk",
    "paper_row",
    "psi",
    "rate_limits",
    "sandwich",
    "separation_rate",
    "sharpness_bound",
    "slope_sum_bound",
    "smoothed_margin",
    "spectral_row",
    "spectral_stability",
    "spectral_stepsize",
    "stability",
    "stable_log_risk_bound",
    "stable_risk",
    "step_bound",
    "tight_growth",
    "transition_slope",
    "transition_time",
    "unsuited",
    "weighted_slope_bound",
]
