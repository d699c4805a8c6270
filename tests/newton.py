"""LipSDP-Neuron by Newton's method (certificates.md, section 11): slow, dense, its own code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def lipsdp_neuron(
    weights: list[Doubles], low: list[Doubles], high: list[Doubles], gap: float = 1e-9
) -> float:
    """Return the optimum, at most that relative gap too large; every slope interval has a length.

    In logarithms of rho and tau the function ``t log rho - log det(I - M^T M)`` is convex.
    """
    inputs = weights[0].shape[1]
    Z, Y = _as_functions_of_deviations(weights, low, high)
    log_tau, log_rho = _closed_form(weights, low, high)
    order = inputs + len(weights[-1])
    t = 1.0
    while True:
        log_rho, log_tau = _centre(t, log_rho, log_tau, Z, Y, inputs)
        if order / t < gap:
            return float(np.exp(0.5 * log_rho))
        t *= 20.0


def _as_functions_of_deviations(
    weights: list[Doubles], low: list[Doubles], high: list[Doubles]
) -> tuple[Doubles, Doubles]:
    """Return h z and the output as matrices that act on (x_0, e_1, ..., e_H)."""
    widths = [matrix.shape[0] for matrix in weights[:-1]]
    inputs = weights[0].shape[1]
    size = inputs + sum(widths)
    x = np.eye(inputs, size)
    rows, begin = [], inputs
    for matrix, a, b, width in zip(weights, low, high, widths, strict=False):
        z = matrix @ x
        rows.append(0.5 * (b - a)[:, None] * z)
        x = 0.5 * (a + b)[:, None] * z
        x[np.arange(width), begin + np.arange(width)] += 1.0
        begin += width
    return np.vstack(rows), weights[-1] @ x


def _closed_form(
    weights: list[Doubles], low: list[Doubles], high: list[Doubles]
) -> tuple[Doubles, float]:
    S = np.eye(weights[0].shape[1])
    numbers = []
    for matrix, a, b in zip(weights, low, high, strict=False):
        m, h = 0.5 * (a + b), 0.5 * (b - a)
        Y = matrix @ S @ matrix.T
        N = 1.1 * h * (h + np.maximum(np.abs(m), 0.1 * h)) * np.linalg.norm(Y, 2)
        E = h / np.sqrt(N)
        EY = E[:, None] * Y
        grown = EY.T @ np.linalg.solve(np.eye(len(E)) - EY * E, EY)
        S = np.diag(N) + m[:, None] * (Y + grown) * m
        numbers.append(N)
    rho = 1.5 * np.linalg.norm(weights[-1] @ S @ weights[-1].T, 2)
    return np.log(rho / (2.0 * np.concatenate(numbers))), float(np.log(rho))


def _slack(log_rho: float, log_tau: Doubles, Z: Doubles, Y: Doubles, inputs: int) -> Doubles:
    twice = 2.0 * np.exp(log_tau)
    diagonal = np.concatenate([np.full(inputs, np.exp(log_rho)), twice])
    return np.diag(diagonal) - Y.T @ Y - Z.T @ (twice[:, None] * Z)


def _centre(
    t: float, log_rho: float, log_tau: Doubles, Z: Doubles, Y: Doubles, inputs: int
) -> tuple[float, Doubles]:
    for _ in range(60):
        F = _slack(log_rho, log_tau, Z, Y, inputs)
        pivot = np.diag(np.linalg.cholesky(F)).min() ** 2
        step = _newton_step(t, log_rho, log_tau, F, Z, inputs)
        length = 1.0
        while True:
            moved = log_rho + length * step[-1], log_tau + length * step[:-1]
            try:
                factor = np.linalg.cholesky(_slack(*moved, Z, Y, inputs))
                if np.diag(factor).min() ** 2 >= pivot / np.sqrt(10.0):
                    break
            except np.linalg.LinAlgError:
                pass
            length *= 0.5
            if length < 1e-8:
                return log_rho, log_tau
        log_rho, log_tau = float(moved[0]), moved[1]
        if np.abs(step).max() < 1e-9:
            break
    return log_rho, log_tau


def _newton_step(
    t: float, log_rho: float, log_tau: Doubles, F: Doubles, Z: Doubles, inputs: int
) -> Doubles:
    rho, twice = np.exp(log_rho), 2.0 * np.exp(log_tau)
    R = np.linalg.inv(F)
    ZR = Z @ R
    zz, ze, ee = ZR @ Z.T, ZR[:, inputs:], R[inputs:, inputs:]
    own = twice * np.diag(zz - ee)
    trace = rho * np.trace(R[:inputs, :inputs])
    gradient = np.append(1.0 + own, t + inputs - trace)
    n = len(twice)
    H = np.empty((n + 1, n + 1))
    H[:n, :n] = np.outer(twice, twice) * (zz**2 + ee**2 - ze**2 - ze.T**2) + np.diag(own)
    mixed = R[inputs:, :inputs], ZR[:, :inputs]
    H[:n, n] = H[n, :n] = rho * twice * ((mixed[0] ** 2).sum(1) - (mixed[1] ** 2).sum(1))
    H[n, n] = rho**2 * (R[:inputs, :inputs] ** 2).sum() - trace
    return -np.linalg.solve(H, gradient)
