"""Data sets that are drawn at random."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .._check import choice, integer, number
from ._dataset import Dataset, labels, numbered

__all__ = ["Teacher", "gaussian_mixture", "regression", "xor"]

Floats = npt.NDArray[np.float64]
# A text, as numpy.random takes a tenth of the time to import lipgd.
Seed: TypeAlias = "int | np.random.Generator"

#: Waves of a smooth and of a rough teacher, and pieces of a Lipschitz teacher.
_WAVES = 16
_PIECES = 16
_OCTAVES = 8
#: Rows that a teacher computes at once, to bound its memory.
_BLOCK = 2**14


@dataclass(frozen=True, eq=False)
class Teacher:
    """A random function: what made the targets of :func:`regression`, without the noise.

    Parameters
    ----------
    shape : callable
        Maps the phases, shape (n_samples, n_directions), to features, shape (n_samples, n).
    directions : ndarray, shape (n_directions, n_inputs)
        The phases are ``X @ directions.T + offsets``.
    offsets : ndarray, shape (n_directions,)
        The phases at 0.
    amplitudes : ndarray, shape (n, n_outputs)
        The outputs are ``features @ amplitudes``.

    Examples
    --------
    >>> import numpy as np
    >>> from lipgd import data
    >>> dataset = data.regression(50, 2, noise=0.0)
    >>> bool(np.all(dataset.teacher(dataset.X) == dataset.y))
    True
    """

    shape: Callable[[Floats], Floats]
    directions: Floats
    offsets: Floats
    amplitudes: Floats

    def __call__(self, X: npt.ArrayLike) -> Floats:
        """Return the outputs.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_inputs)
            The inputs.

        Returns
        -------
        ndarray of float64, shape (n_samples,) or (n_samples, n_outputs)
            One number per sample if there is one output.
        """
        inputs = np.asarray(X, dtype=np.float64)
        wanted = self.directions.shape[1]
        if inputs.ndim != 2 or inputs.shape[1] != wanted:
            raise ValueError(f"X has shape {inputs.shape}, but the teacher takes {wanted} inputs")
        y = np.empty((len(inputs), self.amplitudes.shape[1]))
        for start in range(0, len(inputs), _BLOCK):
            rows = slice(start, start + _BLOCK)
            # Unlike a BLAS product, einsum gives the same bits for every number of threads.
            phases = np.einsum("ij,kj->ik", inputs[rows], self.directions) + self.offsets
            y[rows] = np.einsum("ik,kj->ij", self.shape(phases), self.amplitudes)
        return y[:, 0] if y.shape[1] == 1 else y


def regression(
    n_samples: int,
    n_inputs: int,
    *,
    teacher: Literal["smooth", "rough", "lipschitz"] = "smooth",
    noise: float = 0.1,
    lipschitz: float | None = None,
    n_outputs: int = 1,
    seed: Seed = 0,
) -> Dataset:
    """Return inputs, uniform on the cube [-1, 1]^n_inputs, and noisy outputs of a random function.

    Parameters
    ----------
    n_samples, n_inputs : int
        At least 1.
    teacher : {"smooth", "rough", "lipschitz"}
        "smooth" is a sum of a few slow sine waves in random directions; "rough" a sum of triangle
        waves over 8 octaves, whose kinks are everywhere; "lipschitz" has a known constant.
    noise : float
        Standard deviation of the Gaussian noise on the outputs, at least 0.
    lipschitz : float, optional
        The Lipschitz constant of the teacher "lipschitz", above 0, by default 1.
    n_outputs : int
        At least 1.
    seed : int or numpy.random.Generator
        Where the random numbers come from.

    Returns
    -------
    Dataset
        ``teacher`` is the function (a :class:`Teacher`), ``lipschitz`` its constant if known.

    Notes
    -----
    The teacher "lipschitz" is ``f(x) = L v max_i(u_i @ x + c_i)`` with unit vectors u_i and v. A
    maximum of functions with Lipschitz constant 1 has at most 1, so f has at most L. The sets where
    the i-th function is the largest are finitely many closed sets that cover the cube, so one of
    them has an interior, and there f is affine with slope L. So L is the constant, on the cube and
    on the whole space, up to the rounding of the unit vectors.

    Examples
    --------
    >>> from lipgd import data
    >>> dataset = data.regression(100, 3, teacher="lipschitz", lipschitz=2.0, seed=1)
    >>> dataset.X.shape, dataset.y.shape, dataset.lipschitz
    ((100, 3), (100,), 2.0)
    """
    n_samples, n_inputs = _sizes(n_samples, n_inputs)
    choice("teacher", teacher, ("smooth", "rough", "lipschitz"))
    noise = number("noise", noise, at_least=0)
    n_outputs = integer("n_outputs", n_outputs, at_least=1)
    if lipschitz is not None and teacher != "lipschitz":
        raise ValueError(f"lipschitz is {lipschitz!r}, but the teacher is {teacher!r}")
    constant = number("lipschitz", 1.0 if lipschitz is None else lipschitz, above=0)
    generator, said = _generator(seed)
    X = generator.uniform(-1.0, 1.0, (n_samples, n_inputs))
    if teacher == "smooth":
        function = _smooth(generator, n_inputs, n_outputs)
    elif teacher == "rough":
        function = _rough(generator, n_inputs, n_outputs)
    else:
        function = _maximum(generator, n_inputs, n_outputs, constant)
        lipschitz = constant
    clean = function(X)
    y = clean + noise * generator.standard_normal(clean.shape)
    source = (
        f"lipgd.data.regression({n_samples}, {n_inputs}, teacher={teacher!r}, noise={noise!r}, "
        f"lipschitz={lipschitz!r}, n_outputs={n_outputs}, seed={said})"
    )
    names = numbered(n_inputs)
    return Dataset(
        X, y, f"{teacher} teacher", "regression", names, source, (), {}, function, lipschitz
    )


def xor(
    n_samples: int = 4, *, noise: float = 0.0, lift: float | None = None, seed: Seed = 0
) -> Dataset:
    """Return the corners of the square [-1, 1]^2, labelled by the product of their coordinates.

    Parameters
    ----------
    n_samples : int
        At least 1; the four corners come in turn.
    noise : float
        Standard deviation of the Gaussian noise on the two coordinates, at least 0.
    lift : float, optional
        If given, a third coordinate ``lift * y`` makes the classes linearly separable with this
        margin (without noise).
    seed : int or numpy.random.Generator
        Where the noise comes from.

    Returns
    -------
    Dataset
        Inputs of shape (n_samples, 2) or (n_samples, 3), labels -1 and +1.

    References
    ----------
    large-stepsize.md, section 7.

    Examples
    --------
    >>> from lipgd import data
    >>> dataset = data.xor(lift=0.5)
    >>> dataset.X.tolist()
    [[1.0, 1.0, 0.5], [1.0, -1.0, -0.5], [-1.0, 1.0, -0.5], [-1.0, -1.0, 0.5]]
    >>> dataset.y.tolist()
    [1, -1, -1, 1]
    """
    n_samples = integer("n_samples", n_samples, at_least=1)
    noise = number("noise", noise, at_least=0)
    lift = None if lift is None else number("lift", lift)
    generator, said = _generator(seed)
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    X = corners[np.arange(n_samples) % 4]
    y = (X[:, 0] * X[:, 1]).astype(np.int64)
    X = X + noise * generator.standard_normal(X.shape)
    if lift is not None:
        X = np.column_stack([X, lift * y])
    source = f"lipgd.data.xor({n_samples}, noise={noise!r}, lift={lift!r}, seed={said})"
    names = numbered(X.shape[1])
    return Dataset(X, y, "xor", "classification", names, source, ("-1", "+1"))


def gaussian_mixture(
    n_samples: int,
    n_inputs: int,
    *,
    separation: float,
    label_noise: float = 0.0,
    classes: int = 2,
    seed: Seed = 0,
) -> Dataset:
    """Return samples of Gaussian classes of unit covariance, whose means are equally far apart.

    Parameters
    ----------
    n_samples, n_inputs : int
        At least 1; there must be at least ``classes - 1`` inputs.
    separation : float
        Distance between any two means, at least 0. The means add up to 0.
    label_noise : float
        Probability that the label of a sample is one of the other classes, from 0 to 1.
    classes : int
        At least 2; all are equally likely.
    seed : int or numpy.random.Generator
        Where the random numbers come from.

    Returns
    -------
    Dataset
        Labels are -1 and +1 for two classes, else 0, 1, 2, ...

    Examples
    --------
    >>> from lipgd import data
    >>> data.gaussian_mixture(100, 5, separation=3.0, classes=3, seed=1).classes
    ('0', '1', '2')
    """
    n_samples, n_inputs = _sizes(n_samples, n_inputs)
    separation = number("separation", separation, at_least=0)
    label_noise = number("label_noise", label_noise, at_least=0, at_most=1)
    classes = integer("classes", classes, at_least=2)
    if n_inputs < classes - 1:
        raise ValueError(f"n_inputs is {n_inputs}, but {classes} classes need {classes - 1}")
    generator, said = _generator(seed)
    frame = np.linalg.qr(generator.standard_normal((n_inputs, classes - 1)))[0]
    means = separation * _simplex(classes) @ frame.T
    found = generator.integers(classes, size=n_samples)
    X = means[found] + generator.standard_normal((n_samples, n_inputs))
    wrong = generator.random(n_samples) < label_noise
    shift = generator.integers(1, classes, size=n_samples)
    y = labels(np.where(wrong, (found + shift) % classes, found), classes)
    source = (
        f"lipgd.data.gaussian_mixture({n_samples}, {n_inputs}, separation={separation!r}, "
        f"label_noise={label_noise!r}, classes={classes}, seed={said})"
    )
    named = ("-1", "+1") if classes == 2 else tuple(map(str, range(classes)))
    names = numbered(n_inputs)
    return Dataset(X, y, "gaussian mixture", "classification", names, source, named)


def _smooth(generator: np.random.Generator, n_inputs: int, n_outputs: int) -> Teacher:
    # On the cube a phase has a standard deviation of about 2: a third of a wave each way.
    directions = 2.0 * math.sqrt(3.0) * _units(generator, _WAVES, n_inputs)
    return _waves(np.sin, generator, directions, np.ones(_WAVES), n_outputs)


def _rough(generator: np.random.Generator, n_inputs: int, n_outputs: int) -> Teacher:
    frequency = np.repeat(np.exp2(np.arange(_OCTAVES, dtype=np.float64)), 4)
    directions = np.pi * frequency[:, None] * _units(generator, len(frequency), n_inputs)
    return _waves(_triangle, generator, directions, 1.0 / np.sqrt(frequency), n_outputs)


def _waves(
    shape: Callable[[Floats], Floats],
    generator: np.random.Generator,
    directions: Floats,
    weights: Floats,
    n_outputs: int,
) -> Teacher:
    offsets = generator.uniform(0.0, 2.0 * np.pi, len(directions))
    amplitudes = weights[:, None] * generator.standard_normal((len(directions), n_outputs))
    # A wave has a mean square of about a half, so each output has one of about 1.
    amplitudes *= np.sqrt(2.0 / np.sum(amplitudes**2, axis=0))
    return Teacher(shape, directions, offsets, amplitudes)


def _maximum(
    generator: np.random.Generator, n_inputs: int, n_outputs: int, lipschitz: float
) -> Teacher:
    directions = _units(generator, _PIECES, n_inputs)
    offsets = generator.uniform(-0.5, 0.5, _PIECES)
    return Teacher(_largest, directions, offsets, lipschitz * _units(generator, 1, n_outputs))


def _triangle(phase: Floats) -> Floats:
    """Return the wave of period 2 pi that goes straight from -1 to 1 and back."""
    wave: Floats = np.abs(phase / np.pi % 2.0 - 1.0) * 2.0 - 1.0
    return wave


def _largest(phase: Floats) -> Floats:
    largest: Floats = np.max(phase, axis=1, keepdims=True)
    return largest


def _units(generator: np.random.Generator, count: int, size: int) -> Floats:
    vectors = generator.standard_normal((count, size))
    lengths: Floats = np.sqrt(np.sum(vectors**2, axis=1, keepdims=True))
    return vectors / lengths


def _simplex(count: int) -> Floats:
    """Return ``count`` points at distance 1 of each other, one per row, in one dimension less."""
    points = np.zeros((count, count - 1))
    for j in range(1, count):
        points[:j, j - 1] = 1.0
        points[j, j - 1] = -j
        points[:, j - 1] /= math.sqrt(2.0 * j * (j + 1))
    return points


def _sizes(n_samples: Any, n_inputs: Any) -> tuple[int, int]:
    return integer("n_samples", n_samples, at_least=1), integer("n_inputs", n_inputs, at_least=1)


def _generator(seed: Any) -> tuple[np.random.Generator, str]:
    if isinstance(seed, np.random.Generator):
        return seed, "a generator"
    return np.random.default_rng(integer("seed", seed, at_least=0)), repr(seed)
