"""Certified radii of classifiers (certificates.md, section 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd._arguments import real_array
from lipgd._check import flag, shown
from lipgd._threads import thread_choice
from lipgd.types import ArrayLike, DoubleArray

from ._certificate import certify
from ._estimate import Estimate
from ._input_norm import input_scales
from ._local import Regions, slopes_on
from ._model import Model, gamma, rounding_of
from ._question import Question, above
from ._ranges import value_range
from .domains import input_norm
from .reading import read

__all__ = ["certified_radius"]

#: More pairs of classes than this share one certificate.
_MOST_PAIRS = 400
#: Steps of the integral of local bounds, each a quarter of the radius by the global one.
_STEPS = 16
_SAFELY = 1.0 + 1e-12
_ROOT = math.sqrt(2.0) * _SAFELY


def certified_radius(
    net: Any,
    X: ArrayLike,
    labels: ArrayLike,
    estimate: Estimate | None = None,
    *,
    norm: float = 2,
    local: bool = True,
    activation: Any = None,
    n_threads: int | None = None,
) -> DoubleArray:
    """Return radii around samples within which a classifier keeps its decision.

    The margin between the class and each rival, less the error of computing it, is divided by a
    proved bound of how fast the difference of the two outputs can change. The bound is that of the
    pair, and with ``local`` it is found anew on growing balls: the radius is where the integral of
    the bound has used up the margin, never less than margin over global bound.

    Parameters
    ----------
    net : object
        A classifier as :func:`read` takes it: one output whose sign decides, or one per class.
    X : array_like (n_samples, n_inputs)
        Samples.
    labels : array_like (n_samples,)
        Classes 0, 1, ...; for one output -1 and 1, or 0 and 1.
    estimate : Estimate, optional
        A global upper bound of the Lipschitz constant of the whole output in Euclidean norms: it
        takes the place of all certificates, and no local ones are made.
    norm : 2 or inf
        The norm in which the radius is measured.
    local : bool
        Whether to use bounds on balls too, some ten certificates per sample.
    activation : str, optional
        Where the source does not say it.
    n_threads : int, optional
        How many samples have their local certificates made at a time, by default as many as there
        are processors. The radii do not depend on it.

    Returns
    -------
    ndarray (n_samples,) of float64
        Zero for samples that are not classified as their label says, or not surely so; infinite if
        the decision is the same everywhere. All rounding is counted.

    Raises
    ------
    ValueError, TypeError
        If labels or arguments do not fit.

    References
    ----------
    certificates.md, sections 4 and 10.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> net = lipgd.Network([[[1.0, 0.0], [0.0, 1.0]]])
    >>> radii = lipgd.lipschitz.certified_radius(net, [[3.0, 1.0], [0.0, 1.0]], [0, 0])
    >>> bool(1.41421 < radii[0] <= 2**0.5), radii[1]
    (True, np.float64(0.0))
    """
    model = read(net, activation)
    x = model.inputs("X", X)
    classes = _labels(labels, len(x), model.n_outputs)
    distance = input_norm(norm)
    flag("local", local)
    workers, _ = thread_choice(n_threads)
    given = _given(estimate, distance, model.n_outputs)
    value, error = _outputs(model, x)
    if model.n_outputs == 1:
        model = _two_outputs(model)
        half = 0.5 * value
        value, error = np.hstack([-half, half]), np.hstack([0.5 * error] * 2)
    margins = _margins(value, error, classes)
    pairs = _Pairs(model, distance, given, set(classes.tolist()))
    with np.errstate(divide="ignore", invalid="ignore"):
        radii = np.where(margins > 0, margins / pairs.bounds(classes), 0.0)
    radii = np.where(np.isnan(radii), 0.0, radii) * (1.0 - 2.0**-50)
    if local and not pairs.shared and len(x):
        # Most of the work is outside of Python's lock; the pairs it needs exist by now.
        with ThreadPoolExecutor(min(workers, len(x))) as pool:
            radii = _refined(pairs, x, classes, margins, radii, pool)
    return np.asarray(radii.min(axis=1))


def _labels(labels: ArrayLike, count: int, n_outputs: int) -> npt.NDArray[np.int64]:
    array = real_array("labels", labels, "integer labels")
    if array.shape != (count,):
        raise ValueError(f"labels has shape {array.shape}, expected ({count},)")
    whole = array.astype(np.int64)
    if (whole != array).any():
        raise ValueError("labels has a number that is not whole, expected classes")
    if n_outputs == 1:
        known = set(whole.tolist())
        if not (known <= {-1, 1} or known <= {0, 1}):
            raise ValueError(f"labels has {shown(sorted(known))}, expected -1 and 1, or 0 and 1")
        return (whole > 0).astype(np.int64)
    if count and not 0 <= whole.min() <= whole.max() < n_outputs:
        bad = int(whole.min() if whole.min() < 0 else whole.max())
        raise ValueError(f"labels has the class {bad}, expected 0 to {n_outputs - 1}")
    return whole


def _given(estimate: Any, norm: float, n_outputs: int) -> float | None:
    """Return the bound of a pair that a bound of the whole output gives."""
    if estimate is None:
        return None
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate is {shown(estimate)}, expected an Estimate")
    if estimate.side != "upper" or estimate.scope != "global" or norm != 2:
        raise ValueError(
            f"estimate is a {estimate.scope} {estimate.side} one and norm is {norm:g}, "
            "expected a global upper one in Euclidean norms"
        )
    if math.isnan(estimate.value):
        return math.inf
    # |f_c - f_j| changes by at most the root of two times the change of f.
    return estimate.value if n_outputs == 1 else above(estimate.value * _ROOT)


def _two_outputs(model: Model) -> Model:
    """Return the model with the outputs -f / 2 and f / 2, whose difference is f; exactly."""
    last, bias = 0.5 * model.weights[-1], 0.5 * model.biases[-1]
    exact = bool((2.0 * last == model.weights[-1]).all())
    error = model.weight_errors[-1] + (0.0 if exact else last.size * 2.0**-1074)
    return replace(
        model,
        weights=(*model.weights[:-1], np.vstack([-last, last])),
        biases=(*model.biases[:-1], np.concatenate([-bias, bias])),
        weight_errors=(*model.weight_errors[:-1], error),
    )


def _outputs(model: Model, x: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return the outputs for all samples, and how far rounding may have moved each of them."""
    value, error = x, np.zeros_like(x)
    with np.errstate(all="ignore"):
        for layer, (matrix, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
            sizes = np.abs(matrix).T
            far = np.abs(value)
            z = value @ matrix.T + bias
            off = gamma(matrix.shape[1] + 2) * (far @ sizes + np.abs(bias)) + error @ sizes
            reach = np.linalg.norm(far + error, axis=1, keepdims=True)
            off = (off + model.weight_errors[layer] * reach + model.bias_errors[layer]) * _SAFELY
            value, error = z, off + 2.0**-1000
            if layer < len(model.activations):
                low, high = value_range(model.activations[layer], z - error, z + error)
                value = np.clip(np.asarray(model.activations[layer](z), np.float64), low, high)
                error = np.maximum(high - value, value - low) * _SAFELY
    return value, np.where(np.isfinite(error), error, np.inf)


def _margins(value: DoubleArray, error: DoubleArray, classes: npt.NDArray[np.int64]) -> DoubleArray:
    """Return lower bounds of the differences to every rival, infinite for the class itself."""
    rows = np.arange(len(value))
    own, own_error = value[rows, classes][:, None], error[rows, classes][:, None]
    with np.errstate(all="ignore"):
        margins = own - value
        margins = margins - (own_error + error) * _SAFELY
        margins = margins - 4.0 * 2.0**-53 * (np.abs(own) + np.abs(value))
    margins = np.where(np.isnan(margins), -np.inf, margins)
    margins[rows, classes] = np.inf
    # A sample that is not surely right has no radius, whatever the other rivals are.
    return np.where((margins <= 0).any(axis=1, keepdims=True), -1.0, margins)


class _Pair:
    """The difference of two outputs, or all of them: a model and its bounds."""

    def __init__(self, model: Model, norm: float) -> None:
        slopes = model.slopes()
        self._weights, errors = list(model.weights), list(model.weight_errors)
        if norm == math.inf:
            scales = input_scales(model.weights, *slopes)
            self._weights[0] = self._weights[0] * scales
            errors[0] *= float(scales.max()) * _SAFELY
            errors[0] += rounding_of(self._weights[0])
        asked = Question(
            self._weights,
            list(model.biases),
            *slopes,
            1.0,
            tuple(errors),
            model.activations,
            False,
        )
        # What merging layers and subtracting rows may have cost, with the steepest slopes.
        self._slack = asked.answer(2.0**-1000)
        self.bound = math.inf
        self.bound = self.local(slopes, tolerance=1e-4, max_sweeps=1000)

    def local(
        self,
        slopes: tuple[Sequence[DoubleArray], Sequence[DoubleArray]],
        tolerance: float = 1e-2,
        max_sweeps: int = 60,
    ) -> float:
        """Return a proved bound with these slopes, at most the global one."""
        found = certify(self._weights, *slopes, tolerance=tolerance, max_sweeps=max_sweeps)
        bound = above(found.value + self._slack)
        return min(bound, self.bound) if math.isfinite(bound) else self.bound


class _Pairs:
    """Bounds of the differences of outputs, made when they are needed."""

    def __init__(self, model: Model, norm: float, given: float | None, classes: set[int]) -> None:
        self.model, self.norm = model, norm
        self._pairs: dict[tuple[int, int], _Pair] = {}
        self._shared = given
        if given is None and len(classes) * (model.n_outputs - 1) > _MOST_PAIRS:
            self._shared = above(_Pair(model, norm).bound * _ROOT)

    @property
    def samples_at_a_time(self) -> int:
        """How many samples are stacked, whatever the threads; their ranges fit into some 100 MB."""
        widths = [len(matrix) for matrix in self.model.weights[:-1]]
        most = max((n * (self.model.n_inputs + 12 * n) for n in widths), default=1)
        return min(16, max(1, 2**23 // most))

    @property
    def shared(self) -> bool:
        """Whether all pairs have the bound of the whole output."""
        return self._shared is not None

    def bounds(self, classes: npt.NDArray[np.int64]) -> DoubleArray:
        """Return the bound for each sample and rival."""
        n = self.model.n_outputs
        if self._shared is not None:
            return np.full((len(classes), n), self._shared)
        table = np.zeros((n, n))
        for c in set(classes.tolist()):
            for j in range(n):
                table[c, j] = 0.0 if j == c else self.pair(c, j).bound
        return np.asarray(table[classes])

    def pair(self, c: int, j: int) -> _Pair:
        """Return the difference of outputs c and j; its sign does not matter."""
        key = (min(c, j), max(c, j))
        if key not in self._pairs:
            row = np.zeros((1, self.model.n_outputs))
            row[0, key[0]], row[0, key[1]] = 1.0, -1.0
            self._pairs[key] = _Pair(self.model.outputs(row), self.norm)
        return self._pairs[key]


def _refined(
    pairs: _Pairs,
    x: DoubleArray,
    classes: npt.NDArray[np.int64],
    margins: DoubleArray,
    radii: DoubleArray,
    pool: Executor,
) -> DoubleArray:
    """Return larger radii where local bounds give them, for the rivals that decide."""
    best = radii.copy()
    done = np.zeros(best.shape, bool)
    open_ = np.flatnonzero((margins > 0).all(axis=1))
    size = pairs.samples_at_a_time
    while True:
        rivals = best[open_].argmin(axis=1)
        ahead = ~done[open_, rivals] & np.isfinite(best[open_, rivals])
        open_, rivals = open_[ahead], rivals[ahead]
        if not len(open_):
            return best
        of = [pairs.pair(int(classes[i]), int(j)) for i, j in zip(open_, rivals, strict=True)]
        near, left = x[open_], margins[open_, rivals]
        parts = [slice(i, i + size) for i in range(0, len(open_), size)]
        found = pool.map(
            _integrated,
            [of[part] for part in parts],
            [near[part] for part in parts],
            [left[part] for part in parts],
            [pairs] * len(parts),
        )
        best[open_, rivals] = np.maximum(best[open_, rivals], np.concatenate(list(found)))
        done[open_, rivals] = True


def _integrated(
    of: list[_Pair], x: DoubleArray, margins: DoubleArray, pairs: _Pairs
) -> DoubleArray:
    """Return how far the integrals of local bounds stay within the margins: upper sums."""
    bounds = np.array([pair.bound for pair in of])
    radii = np.zeros(len(x))
    open_ = np.flatnonzero((bounds > 0.0) & (bounds < math.inf))
    steps, left = margins / (4.0 * np.where(bounds > 0.0, bounds, 1.0)), margins.copy()
    for _ in range(_STEPS):
        if not len(open_):
            break
        reach = np.nextafter(radii[open_] + steps[open_], math.inf)
        low, high = slopes_on(pairs.model, Regions.balls(x[open_], reach, pairs.norm))
        rates = np.array(
            [
                of[sample].local(([rows[i] for rows in low], [rows[i] for rows in high]))
                for i, sample in enumerate(open_)
            ]
        )
        used = rates * steps[open_] * _SAFELY
        ends = used >= left[open_]
        last = open_[ends]
        rest = left[last] / np.where(rates[ends] > 0.0, rates[ends], math.inf)
        radii[last] = (radii[last] + rest) * (1.0 - 2.0**-48)
        open_, used = open_[~ends], used[~ends]
        radii[open_] = (radii[open_] + steps[open_]) * (1.0 - 2.0**-50)
        left[open_] = (left[open_] - used) * (1.0 - 2.0**-50)
    return radii
