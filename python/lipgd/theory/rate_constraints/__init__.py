"""Caps of learning rates from norms of data, weights and gradients, and what they guarantee.

:func:`measure` takes the numbers from a network and its data; all else is a function of them.
Bounds are upper values: constants are rounded outward, and the short formulas are raised by a few
hundred units in the last place. See rate-constraints.md, sections 1 to 6, 10 and 11.
"""

from __future__ import annotations

from lipgd.theory.rate_constraints._batches import batch_majorants, decay_majorants
from lipgd.theory.rate_constraints._budgets import (
    linear_budgets,
    linear_feasibility,
    observed_budgets,
    tracked_budgets,
    tracked_budgets_closed_form,
)
from lipgd.theory.rate_constraints._caps import (
    CapSchedule,
    cap,
    carry_over_cap,
    displacement_cap,
    linear_caps,
    tracked_caps,
)
from lipgd.theory.rate_constraints._lipschitz import lipschitz_product, slope_box_bound
from lipgd.theory.rate_constraints._majorants import gradient_majorants, joint_majorants
from lipgd.theory.rate_constraints._measure import measure, measure_samples
from lipgd.theory.rate_constraints._quantities import Quantities, SampleQuantities
from lipgd.theory.rate_constraints._rate_function import RateFunction, rate_function
from lipgd.theory.rate_constraints._reach import Reach, norm_only, reach
from lipgd.theory.rate_constraints._splits import (
    chord_step,
    conservative_step,
    equal_cap_split,
    proportional_split,
)
from lipgd.theory.rate_constraints._targets import (
    largest_uncapped_rate,
    rescaling,
    target_budgets,
)
from lipgd.theory.rate_constraints._theorem3 import (
    budget_radii,
    drift_bound,
    product_bound,
    theorem3,
)
from lipgd.theory.rate_constraints._updates import (
    UpdateRule,
    adam_factor,
    update_bounds,
)

__all__ = [
    "CapSchedule",
    "Quantities",
    "RateFunction",
    "Reach",
    "SampleQuantities",
    "UpdateRule",
    "adam_factor",
    "batch_majorants",
    "budget_radii",
    "cap",
    "carry_over_cap",
    "chord_step",
    "conservative_step",
    "decay_majorants",
    "displacement_cap",
    "drift_bound",
    "equal_cap_split",
    "gradient_majorants",
    "joint_majorants",
    "largest_uncapped_rate",
    "linear_budgets",
    "linear_caps",
    "linear_feasibility",
    "lipschitz_product",
    "measure",
    "measure_samples",
    "norm_only",
    "observed_budgets",
    "product_bound",
    "proportional_split",
    "rate_function",
    "reach",
    "rescaling",
    "slope_box_bound",
    "target_budgets",
    "theorem3",
    "tracked_budgets",
    "tracked_budgets_closed_form",
    "tracked_caps",
    "update_bounds",
]
