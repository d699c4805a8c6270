"""Norms of random initial weights that hold with high probability.

See rate-constraints.md, section 5. Every bound is a number that is known before drawing, so that
the least of several is a bound with the same probability. The rounding of weights to float32,
6e-8 of their Frobenius norm, is not counted.
"""

from __future__ import annotations

from lipgd.theory.initialization._law import Law
from lipgd.theory.initialization._norms import (
    bounded_matrix_norm,
    gaussian_matrix_norm,
    gaussian_vector_norm,
    slope_box_start,
    sub_gaussian_matrix_norm,
    uniform_matrix_norm,
    uniform_vector_norm,
)

__all__ = [
    "Law",
    "bounded_matrix_norm",
    "gaussian_matrix_norm",
    "gaussian_vector_norm",
    "slope_box_start",
    "sub_gaussian_matrix_norm",
    "uniform_matrix_norm",
    "uniform_vector_norm",
]
