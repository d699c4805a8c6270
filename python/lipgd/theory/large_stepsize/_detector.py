"""When phases begin in a recorded trajectory of risks: section 6."""

from __future__ import annotations

import numpy as np

from lipgd.theory.large_stepsize._constants import Constants
from lipgd.theory.large_stepsize._margin_steps import margin_threshold
from lipgd.theory.large_stepsize._monotone import spectral_stability
from lipgd.theory.large_stepsize._scalars import numbers_of
from lipgd.theory.large_stepsize._stable import paper_risk, stability
from lipgd.types import ArrayLike

__all__ = ["certified_row", "margin_row", "observed_row", "paper_row", "spectral_row"]


def observed_row(log_risk: ArrayLike, tolerance: float = 1e-12) -> int:
    """Return the first row after which the recorded risk never rises.

    Parameters
    ----------
    log_risk : array_like, shape (n_rows,)
        log L, at least one row.
    tolerance : float
        Rises of ``log L`` up to this are rounding.

    Returns
    -------
    int
        It says nothing about what comes after the record.

    References
    ----------
    large-stepsize.md, section 6 (s_obs).

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.observed_row([0.0, -1.0, -0.5, -0.7])
    2
    """
    logs = numbers_of("log_risk", log_risk)
    # A value of size 1e4 is rounded by 1e-12 itself.
    allowed = np.maximum(tolerance, 32.0 * 2.0**-52 * np.abs(logs[:-1]))
    with np.errstate(invalid="ignore"):
        rising = ~(np.diff(logs) <= allowed) & ~np.isneginf(logs[1:])
    return int(np.flatnonzero(rising)[-1]) + 1 if rising.any() else 0


def certified_row(found: Constants, stepsize: float, log_risk: ArrayLike) -> int | None:
    """Return the first row at which Theorem 1 proves the risk never to rise again.

    Parameters
    ----------
    found : Constants
        rho and beta.
    stepsize : float
        eta.
    log_risk : array_like, shape (n_rows,)
        log L.

    Returns
    -------
    int or None
        None if no row is certified.

    References
    ----------
    large-stepsize.md, section 6 (s_cert), Theorem 1, (3.1).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> large_stepsize.certified_row(found, 16.0, [-0.5, -2.0, -3.0])
    2
    """
    return _first(np.asarray(stability(found, stepsize, log_risk)) <= 1.0)


def spectral_row(found: Constants, stepsize: float, log_risk: ArrayLike) -> int | None:
    """Return the first row at which Theorem 2 proves the risk never to rise again.

    Parameters
    ----------
    found : Constants
        rho, rho_1, beta_1, R and Lambda.
    stepsize : float
        eta.
    log_risk : array_like, shape (n_rows,)
        log L.

    Returns
    -------
    int or None
        None if no row is certified.

    References
    ----------
    large-stepsize.md, section 6 (s_spec), Theorem 2, (3.2).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0, 0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0, 0.0], [0.0, 1.0]])
    >>> large_stepsize.spectral_row(found, 16.0, [-0.5, -2.0, -3.0])
    2
    """
    return _first(np.asarray(spectral_stability(found, stepsize, log_risk)) <= 1.0)


def margin_row(found: Constants, stepsize: float, log_risk: ArrayLike) -> int | None:
    """Return the first row from which on Theorem 3 proves the modified margin never to fall.

    Parameters
    ----------
    found : Constants
        All of them.
    stepsize : float
        eta.
    log_risk : array_like, shape (n_rows,)
        log L.

    Returns
    -------
    int or None
        None if no row is certified.

    References
    ----------
    large-stepsize.md, section 6 (s_marg), Theorem 3, (4.2) and remark (ii).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> large_stepsize.margin_row(found, 1.0, [-0.5, -2.0, -3.0])
    1
    """
    starts = [
        row
        for row in (
            certified_row(found, stepsize, log_risk),
            spectral_row(found, stepsize, log_risk),
        )
        if row is not None
    ]
    if not starts:
        return None
    logs = numbers_of("log_risk", log_risk)
    low = logs <= margin_threshold(found.homogeneity_gap, found.n_samples)
    return _first(low & (np.arange(len(logs)) >= min(starts)))


def paper_row(found: Constants, stepsize: float, log_risk: ArrayLike) -> int | None:
    """Return the first row at which the risk is at most ``1 / (eta (2 rho^2 + beta))``.

    Parameters
    ----------
    found : Constants
        rho and beta.
    stepsize : float
        eta.
    log_risk : array_like, shape (n_rows,)
        log L.

    Returns
    -------
    int or None
        Never earlier than :func:`certified_row`.

    References
    ----------
    large-stepsize.md, section 6; arXiv 2406.08654.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> large_stepsize.paper_row(found, 16.0, [-2.0, -3.0, -4.0])
    2
    """
    with np.errstate(divide="ignore"):
        return _first(numbers_of("log_risk", log_risk) <= np.log(paper_risk(found, stepsize)))


def _first(holds: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> int | None:
    return int(np.flatnonzero(holds)[0]) if holds.any() else None
