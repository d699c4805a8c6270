"""How far the risk can be from the empirical risk.

See rate-constraints.md, section 7 (Wasserstein distances, for all networks at once) and section 8
(Rademacher complexities, for classes that are fixed before the sample).
"""

from __future__ import annotations

from lipgd.theory.generalization._rademacher import (
    ball_complexity,
    loss_complexity,
    norm_class_complexity,
    rademacher_gap,
    width_factor,
)
from lipgd.theory.generalization._wasserstein import (
    loss_slope,
    mean_wasserstein,
    sampling_deviation,
    tree_distance,
    wasserstein_gap,
)

__all__ = [
    "ball_complexity",
    "loss_complexity",
    "loss_slope",
    "mean_wasserstein",
    "norm_class_complexity",
    "rademacher_gap",
    "sampling_deviation",
    "tree_distance",
    "wasserstein_gap",
    "width_factor",
]
