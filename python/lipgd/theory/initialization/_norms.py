"""High-probability norms of random matrices and vectors, one line of the table each."""

from __future__ import annotations

import math

import numpy as np

from lipgd._check import integer, number
from lipgd.theory._numbers import raised, values_of
from lipgd.types import ArrayLike

__all__ = [
    "bounded_matrix_norm",
    "gaussian_matrix_norm",
    "gaussian_vector_norm",
    "slope_box_start",
    "sub_gaussian_matrix_norm",
    "uniform_matrix_norm",
    "uniform_vector_norm",
]


def gaussian_matrix_norm(rows: int, columns: int, deviation: float, delta: float) -> float:
    """Bound the spectral norm of a matrix of independent normal entries.

    ``s (sqrt(p) + sqrt(d) + sqrt(2 ln(1 / delta)))`` fails with probability at most delta; also for
    s times a normal variable truncated to any ``[-c, c]``.

    Parameters
    ----------
    rows, columns : int
        p and d.
    deviation : float
        s, the standard deviation.
    delta : float
        Above 0 and below 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 5, first line.

    Examples
    --------
    >>> from lipgd.theory import initialization
    >>> round(initialization.gaussian_matrix_norm(100, 25, 0.1, 0.01), 4)
    1.8035
    """
    rows, columns = _shape(rows, columns)
    deviation = number("deviation", deviation, at_least=0.0)
    return raised(deviation * (math.sqrt(rows) + math.sqrt(columns) + _tail(delta)))


def uniform_matrix_norm(rows: int, columns: int, bound: float, delta: float) -> float:
    """Bound the spectral norm of a matrix of independent entries that are uniform on [-a, a].

    ``a (sqrt(pi / 8) (sqrt(p) + sqrt(d)) + sqrt(2 / pi) sqrt(2 ln(1 / delta)))``.

    Parameters
    ----------
    rows, columns : int
        p and d.
    bound : float
        a.
    delta : float
        Above 0 and below 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 5, second line.

    Examples
    --------
    >>> from lipgd.theory import initialization
    >>> round(initialization.uniform_matrix_norm(100, 25, 0.1, 0.01), 4)
    1.1821
    """
    rows, columns = _shape(rows, columns)
    mean = math.sqrt(math.pi / 8.0) * (math.sqrt(rows) + math.sqrt(columns))
    deviation = math.sqrt(2.0 / math.pi) * _tail(delta)
    return raised(number("bound", bound, at_least=0.0) * (mean + deviation))


def bounded_matrix_norm(rows: int, columns: int, bound: float, delta: float) -> float:
    """Bound the spectral norm of a matrix of independent centred entries in [-a, a].

    ``a (sqrt(pi / 2) (sqrt(p) + sqrt(d)) + 2 sqrt(2 ln(1 / delta)))``.

    Parameters
    ----------
    rows, columns : int
        p and d.
    bound : float
        a.
    delta : float
        Above 0 and below 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 5, third line.

    Examples
    --------
    >>> from lipgd.theory import initialization
    >>> round(initialization.bounded_matrix_norm(100, 25, 0.1, 0.01), 4)
    2.4869
    """
    rows, columns = _shape(rows, columns)
    mean = math.sqrt(math.pi / 2.0) * (math.sqrt(rows) + math.sqrt(columns))
    return raised(number("bound", bound, at_least=0.0) * (mean + 2.0 * _tail(delta)))


def sub_gaussian_matrix_norm(rows: int, columns: int, proxy: float, delta: float) -> float:
    """Bound the spectral norm of a matrix of independent centred sub-Gaussian entries.

    The least over ``0 < e < sqrt(2)`` of ``a / (1 - e^2 / 2) sqrt(n + 2 sqrt(n t) + 2 t)`` with
    ``t = m ln(1 + 2 / e) + ln(1 / delta)``, the larger side n and the smaller side m.

    Parameters
    ----------
    rows, columns : int
        The sides.
    proxy : float
        a, with ``E exp(u w) <= exp(u^2 a^2 / 2)`` for all u: ``a / sqrt(3)`` for uniform on
        [-a, a], a for centred variables in [-a, a].
    delta : float
        Above 0 and below 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 5, fourth line.

    Examples
    --------
    >>> from lipgd.theory import initialization
    >>> ratio = initialization.sub_gaussian_matrix_norm(100, 100, 1.0, 0.05) / 20
    >>> round(ratio, 2)
    1.47
    """
    shape = _shape(rows, columns)
    n, m = max(shape), min(shape)
    # Any value in between is admissible: a fine grid is as good as the minimum.
    net = np.geomspace(1e-6, 1.41, 4000)
    t = m * np.log1p(2.0 / net) - math.log(number("delta", delta, above=0.0, below=1.0))
    values = np.sqrt(n + 2.0 * np.sqrt(n * t) + 2.0 * t) / (1.0 - np.square(net) / 2.0)
    return raised(number("proxy", proxy, at_least=0.0) * float(values.min()), 1024.0)


def gaussian_vector_norm(size: int, deviation: float, delta: float) -> float:
    """Bound the norm of a vector of independent normal entries, ``s (sqrt(p) + t)``.

    Parameters
    ----------
    size : int
        p.
    deviation : float
        s, the standard deviation.
    delta : float
        Above 0 and below 1; ``t = sqrt(2 ln(1 / delta))``.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 5 ("Vectors").

    Examples
    --------
    >>> from lipgd.theory import initialization
    >>> round(initialization.gaussian_vector_norm(100, 0.1, 0.01), 4)
    1.3035
    """
    size, _ = _shape(size, 1)
    deviation = number("deviation", deviation, at_least=0.0)
    return raised(deviation * (math.sqrt(size) + _tail(delta)))


def uniform_vector_norm(size: int, bound: float, delta: float) -> float:
    """Bound the norm of a vector of independent entries that are uniform on [-a, a].

    ``min(a sqrt(p), a (sqrt(p / 3) + sqrt(2 / pi) sqrt(2 ln(1 / delta))))``.

    Parameters
    ----------
    size : int
        p.
    bound : float
        a.
    delta : float
        Above 0 and below 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 5 ("Vectors").

    Examples
    --------
    >>> from lipgd.theory import initialization
    >>> round(initialization.uniform_vector_norm(100, 0.1, 0.01), 4)
    0.8195
    """
    size, _ = _shape(size, 1)
    likely = math.sqrt(size / 3.0) + math.sqrt(2.0 / math.pi) * _tail(delta)
    return raised(number("bound", bound, at_least=0.0) * min(math.sqrt(size), likely))


def slope_box_start(
    deviation: float,
    lipschitz: float,
    slope_range: tuple[float, float],
    outer: ArrayLike,
    n_inputs: int,
    delta: float,
) -> float:
    """Bound the slope-box constant of a two-layer network with one output and Gaussian W.

    ``s (L_sigma ||beta|| (sqrt(d) + sqrt(2 ln(1 / delta))) + (u - l) / sqrt(2 pi) ||beta||_1)`` for
    a W that is independent of the outer weights beta: the start of (3+).

    Parameters
    ----------
    deviation : float
        s, the standard deviation of the entries of W.
    lipschitz : float
        L_sigma.
    slope_range : tuple of float
        l and u.
    outer : array_like, shape (width,)
        beta, the weights of the output; times the output scale.
    n_inputs : int
        d.
    delta : float
        Above 0 and below 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 5, (7).

    Examples
    --------
    >>> from lipgd.theory import initialization
    >>> round(initialization.slope_box_start(0.1, 1.0, (0.0, 1.0), [3.0, 4.0], 4, 0.01), 4)
    2.7967
    """
    beta = np.asarray(outer, dtype=np.float64)
    if beta.ndim != 1:
        raise ValueError(f"outer has shape {beta.shape}, expected one weight per hidden unit")
    low, high = slope_range
    spread = number("slope_range", high - low, at_least=0.0) / math.sqrt(2.0 * math.pi)
    sizes = values_of("outer", np.abs(beta))
    _, n_inputs = _shape(1, n_inputs)
    length = number("lipschitz", lipschitz, at_least=0.0) * float(np.linalg.norm(beta))
    bound = length * (math.sqrt(n_inputs) + _tail(delta)) + spread * math.fsum(sizes)
    return raised(number("deviation", deviation, at_least=0.0) * bound)


def _shape(rows: int, columns: int) -> tuple[int, int]:
    return integer("rows", rows, at_least=1), integer("columns", columns, at_least=1)


def _tail(delta: float) -> float:
    return math.sqrt(-2.0 * math.log(number("delta", delta, above=0.0, below=1.0)))
