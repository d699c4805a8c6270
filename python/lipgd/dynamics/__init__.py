"""What moves the Lipschitz constant of a network under mini-batch gradient descent: dynamics.md."""

from __future__ import annotations

from lipgd.dynamics._coefficients import coefficients
from lipgd.dynamics._moments import Moments
from lipgd.dynamics._terms import Coefficients, Totals, coefficients_of
from lipgd.dynamics._triplets import Triplets

__all__ = ["Coefficients", "Moments", "Totals", "Triplets", "coefficients", "coefficients_of"]
