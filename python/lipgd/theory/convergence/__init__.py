"""Smoothness of the risk, and what gradient descent with rates below its inverse achieves.

See rate-constraints.md, sections 9 and 10. Only smooth activations.
"""

from __future__ import annotations

from lipgd.theory.convergence._deep import deep_smoothness
from lipgd.theory.convergence._plans import (
    DecayGuarantee,
    EnergySchedule,
    HybridPlan,
    decay_guarantee,
    energy_schedule,
    hybrid_plan,
)
from lipgd.theory.convergence._sharpness import sharpness_rate
from lipgd.theory.convergence._smoothness import (
    Smoothness,
    ball_smoothness,
    region_smoothness,
    smoothness,
    smoothness_rate,
)
from lipgd.theory.convergence._theorem5 import (
    descent_decrease,
    energy_lipschitz_bound,
    energy_radius,
    gradient_bound,
    hybrid_gradient_bound,
    proximal_gradient_bound,
    stochastic_gradient_sum,
)

__all__ = [
    "DecayGuarantee",
    "EnergySchedule",
    "HybridPlan",
    "Smoothness",
    "ball_smoothness",
    "decay_guarantee",
    "deep_smoothness",
    "descent_decrease",
    "energy_lipschitz_bound",
    "energy_radius",
    "energy_schedule",
    "gradient_bound",
    "hybrid_gradient_bound",
    "hybrid_plan",
    "proximal_gradient_bound",
    "region_smoothness",
    "sharpness_rate",
    "smoothness",
    "smoothness_rate",
    "stochastic_gradient_sum",
]
