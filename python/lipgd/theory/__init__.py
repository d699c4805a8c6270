"""The papers' bounds as functions of numbers and arrays: one function, one statement."""

from __future__ import annotations

from lipgd.theory import (
    convergence,
    generalization,
    initialization,
    large_stepsize,
    rate_constraints,
)

__all__ = [
    "convergence",
    "generalization",
    "initialization",
    "large_stepsize",
    "rate_constraints",
]
