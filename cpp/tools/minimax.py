"""Prints the polynomial coefficients of lipgd/elementwise.hpp: `python minimax.py` (needs mpmath).

Polynomials come from the Remez exchange, the rational function of the normal tail from reweighted
least squares (Lawson); both minimize the largest relative error of the function that uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mpmath import mp, mpf

Function = Callable[[mpf], mpf]

mp.dps = 60


def evaluate(coefficients: Sequence[mpf], x: mpf) -> mpf:
    """Return the polynomial at x, constant term first."""
    return mp.polyval(list(coefficients)[::-1], x)


def remez(f: Function, degree: int, low: mpf, high: mpf, weight: Function) -> tuple[list[mpf], mpf]:
    """Return the polynomial with the smallest max |(p - f) weight|, and that maximum."""
    count = degree + 2

    def place(angle: mpf) -> mpf:
        return (low + high) / 2 - (high - low) / 2 * mp.cos(angle)

    grid = [place(mp.pi * i / (30 * count)) for i in range(30 * count + 1)]
    values = [f(x) for x in grid]
    weights = [max(weight(x), mpf("1e-3")) for x in grid]
    chosen = [30 * i for i in range(count)]
    worst = mpf(0)
    while True:
        rows = mp.matrix(count, count)
        right = mp.matrix(count, 1)
        for row, i in enumerate(chosen):
            for k in range(degree + 1):
                rows[row, k] = grid[i] ** k
            rows[row, count - 1] = (-1) ** row / weights[i]
            right[row] = values[i]
        solution = mp.lu_solve(rows, right)
        p = [solution[k] for k in range(degree + 1)]
        error = [(evaluate(p, x) - v) * w for x, v, w in zip(grid, values, weights, strict=True)]
        chosen = extrema(error, count)
        worst = max(abs(e) for e in error)
        if worst < abs(solution[count - 1]) * mpf("1.005"):
            return p, worst


def extrema(error: Sequence[mpf], count: int) -> list[int]:
    """Return the places of the largest errors of alternating sign."""
    places: list[int] = []
    for i, e in enumerate(error):
        if not places or (e > 0) != (error[places[-1]] > 0):
            places.append(i)
        elif abs(e) > abs(error[places[-1]]):
            places[-1] = i
    while len(places) > count:
        places.pop(0 if abs(error[places[0]]) < abs(error[places[-1]]) else -1)
    return places


def mills(degree: int, limit: mpf) -> tuple[list[mpf], list[mpf], mpf]:
    """Fit 2 e^(x^2/2) Q(x) = g / (g + x g - x h), with g(0) = 1, on 0 <= x <= limit."""
    count = 8 * (2 * degree + 1)
    end = (limit - 5) / (limit + 5)
    nodes = [
        (end - 1) / 2 - (end + 1) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count))
        for i in range(count)
    ]
    xs = [5 * (1 + y) / (1 - y) for y in nodes]
    fs = [mp.exp(x * x / 2) * mp.erfc(x / mp.sqrt(mpf(2))) for x in xs]
    weights, denominators = [mpf(1)] * count, [mpf(1)] * count
    best: tuple[list[mpf], list[mpf], mpf] = ([], [], mpf(1))
    for step in range(70):
        rows = mp.matrix(count, 2 * degree + 1)
        right = mp.matrix(count, 1)
        for i, (x, f) in enumerate(zip(xs, fs, strict=True)):
            scale = mp.sqrt(weights[i]) / (f * denominators[i])
            rest = 1 - f * (1 + x)
            for j in range(1, degree + 1):
                rows[i, j - 1] = rest * x**j * scale
            for j in range(degree + 1):
                rows[i, degree + j] = f * x ** (j + 1) * scale
            right[i] = -rest * scale
        solution = mp.qr_solve(rows, right)[0]
        g = [mpf(1), *(solution[j] for j in range(degree))]
        h = [solution[degree + j] for j in range(degree + 1)]
        denominators = [evaluate(g, x) * (1 + x) - x * evaluate(h, x) for x in xs]
        error = [
            abs(evaluate(g, x) / d / f - 1) for x, d, f in zip(xs, denominators, fs, strict=True)
        ]
        worst = max(error)
        if worst < best[2]:
            best = g, h, worst
        if step >= 3:
            weights = [w * (e / worst + mpf("1e-3")) for w, e in zip(weights, error, strict=True)]
            mean = sum(weights) / count
            weights = [w / mean for w in weights]
    return best


def expm1_rest(r: mpf) -> mpf:
    """Return w with expm1(r) = r + r^2 w."""
    return (mp.expm1(r) - r) / r**2 if abs(r) > 1e-9 else mpf(1) / 2 + r / 6 + r**2 / 24


def log1p_rest(t: mpf) -> mpf:
    """Return w with log1p(t) = t + t^2 w."""
    return (mp.log1p(t) - t) / t**2 if t > 1e-12 else -mpf(1) / 2 + t / 3


def sin_rest(s: mpf) -> mpf:
    """Return w with sin(r) = r + r^3 w at r^2 = s."""
    r = mp.sqrt(s)
    return (mp.sin(r) - r) / r**3 if s > 1e-18 else -mpf(1) / 6


def cos_rest(s: mpf) -> mpf:
    """Return w with cos(r) = 1 - r^2 / 2 + r^4 w at r^2 = s."""
    return (mp.cos(mp.sqrt(s)) - 1 + s / 2) / s**2 if s > 1e-12 else mpf(1) / 24


def show(name: str, digits: int, coefficients: Sequence[mpf], worst: mpf) -> None:
    """Print the largest error and the coefficients, rounded to a double or to nine digits."""
    numbers = (repr(float(c)) if digits > 9 else f"{float(c):.9g}" for c in coefficients)
    print(f"{name} (2^{mp.nstr(mp.log(worst, 2), 4)}): {', '.join(numbers)}")


def main() -> None:
    """Fit everything."""
    log2 = mpf("0.694")
    eighth = (mp.pi / 4 * mpf("1.001")) ** 2

    def expm1_weight(r: mpf) -> mpf:
        return abs(r**2 / mp.expm1(r)) if r else mpf(0)

    def log1p_weight(t: mpf) -> mpf:
        return t**2 / mp.log1p(t) if t else mpf(0)

    def sin_weight(s: mpf) -> mpf:
        return mp.sqrt(s) ** 3 / mp.sin(mp.sqrt(s)) if s else mpf(0)

    for kind, digits, degrees in (("double", 17, (9, 19, 5, 5)), ("float", 9, (5, 8, 2, 2))):
        fits = (
            ("expm1", expm1_rest, -log2 / 2, log2 / 2, expm1_weight),
            ("log1p", log1p_rest, mpf(0), mpf(1), log1p_weight),
            ("sin", sin_rest, mpf(0), eighth, sin_weight),
            ("cos", cos_rest, mpf(0), eighth, lambda s: s**2),
        )
        for (name, f, low, high, weight), degree in zip(fits, degrees, strict=True):
            show(f"{name} {kind}", digits, *remez(f, degree, low, high, weight))
    for kind, digits, degree, limit in (("double", 17, 9, "37.7"), ("float", 9, 4, "13.3")):
        g, h, worst = mills(degree, mpf(limit))
        show(f"mills_leading {kind}", digits, g, worst)
        show(f"mills_rest {kind}", digits, h, worst)


if __name__ == "__main__":
    main()
