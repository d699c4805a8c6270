"""What bounds know about a network and its data, in one sweep over the samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lipgd import losses
from lipgd._arguments import finite_inputs_of, targets_of, weights_of
from lipgd.lipschitz import spectral_norm
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.theory._numbers import UP, raised
from lipgd.theory.rate_constraints._losses import losses_and_gradients
from lipgd.theory.rate_constraints._quantities import Quantities, SampleQuantities
from lipgd.types import ArrayLike, DoubleArray, FloatArray, IndexArray

__all__ = ["measure", "measure_samples"]

#: Rows that are held at once; up to so many, norms are those of the rows themselves.
_BLOCK = 4096
#: Of spectral norms. The default would do for bounds, but some are attained.
_TOLERANCE = 1e-10
_EPSILON = 2.0**-52


def measure(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss = "mse",
    sample_weight: ArrayLike | None = None,
) -> Quantities:
    """Measure all that the bounds need, for a network of any depth.

    One sweep over blocks of samples in float64: X may be a memory map. Norms are upper values that
    count the rounding of the norms themselves, but not that of the features and outputs (about
    1e-15 relative), nor entries whose squares underflow or overflow.

    Parameters
    ----------
    net : Network
        The network before training, or at the step that is looked at.
    X : array_like, shape (n_samples, n_inputs)
        Samples.
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        Values, signs or labels, as for :func:`lipgd.risk`.
    loss : str or Loss
        See :func:`lipgd.losses.get`.
    sample_weight : array_like, shape (n_samples,), optional
        Weights >= 0, scaled to mean one.

    Returns
    -------
    Quantities

    Raises
    ------
    TypeError, ValueError
        If shapes, dtypes, labels or weights do not fit, or a value is not finite.

    References
    ----------
    rate-constraints.md, section 1; section 10 for more layers, section 11 for maxima over samples.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0], [4.0]], [[1.0, 1.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0], [-1.0]]), [7.0, 0.0])
    >>> [round(norm, 6) for norm in found.weight_norms], found.risk
    ([5.0, 1.414214], 0.0)
    """
    data = _Data.of(net, X, y, loss, sample_weight)
    n_samples, depth = len(data.x), net.depth
    features = [_Norms(n_samples, width) for width in net.sizes[:-1]]
    augmented = [
        _Norms(n_samples, width + 1) if bias is not None else None
        for width, bias in zip(net.sizes[:-1], net.biases, strict=True)
    ]
    gradient, total = _Norms(n_samples, net.n_outputs), []
    for block in data.blocks():
        for layer, rows in enumerate(block.features):
            features[layer].add(rows, block.roots)
            if (wider := augmented[layer]) is not None:
                wider.add(np.column_stack([rows, np.ones(len(rows))]), block.roots)
        gradient.add(block.gradients, block.roots)
        total.append(float((np.square(block.roots[:, 0]) * block.losses).sum()))
    scale, n_outputs, root = abs(net.output_scale), net.n_outputs, math.sqrt(n_samples)
    pull, pull_max = _pulls(data, scale)
    weights = [matrix.astype(np.float64) for matrix in net.weights]
    plain = [norms.spectral() / root * UP for norms in features]
    wider_norms = [norms.spectral() / root * UP if norms else 0.0 for norms in augmented]
    return Quantities(
        n_samples=n_samples,
        sizes=net.sizes,
        biased=tuple(bias is not None for bias in net.biases),
        activation=net.activation,
        output_scale=net.output_scale,
        loss_lipschitz=raised(scale * data.loss.lipschitz(n_outputs)) if scale else 0.0,
        loss_smoothness=raised(scale * scale * data.loss.smoothness(n_outputs)),
        risk=raised(math.fsum(total) / n_samples),
        weight_norms=tuple(spectral_norm(matrix, _TOLERANCE).upper for matrix in weights),
        weight_frobenius=tuple(_length(matrix) for matrix in weights),
        bias_norms=tuple(0.0 if b is None else _length(b.astype(np.float64)) for b in net.biases),
        outer_row_norm=max(_length(column) for column in weights[-1].T),
        feature_norms=tuple(plain),
        augmented_feature_norms=tuple(wider_norms[i] or plain[i] for i in range(depth)),
        feature_frobenius=tuple(norms.frobenius() / root * UP for norms in features),
        feature_maxima=tuple(norms.largest for norms in features),
        loss_gradient=gradient.frobenius() / root * UP,
        loss_gradient_spectral=gradient.spectral() / root * UP,
        loss_gradient_max=gradient.largest,
        target_pull=pull,
        target_pull_max=pull_max,
        largest_weight=1.0 if data.weights is None else float(data.weights.max()),
    )


def measure_samples(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss = "mse",
    sample_weight: ArrayLike | None = None,
) -> SampleQuantities:
    """Measure the norms of features and loss gradients of every sample.

    Parameters
    ----------
    net, X, y, loss, sample_weight
        As for :func:`measure`.

    Returns
    -------
    SampleQuantities

    References
    ----------
    rate-constraints.md, section 10.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[2.0]], [[1.0]]], activation="tanh")
    >>> rate_constraints.measure_samples(net, np.array([[3.0]]), [1.0]).feature_norms.round(4)
    array([[3.],
           [1.]])
    """
    data = _Data.of(net, X, y, loss, sample_weight)
    blocks = [
        (np.stack([_row_norms(rows) for rows in block.features]), _row_norms(block.gradients))
        for block in data.blocks()
    ]
    weights = np.ones(len(data.x)) if data.weights is None else data.weights
    return SampleQuantities(
        np.concatenate([norms for norms, _ in blocks], axis=1),
        np.concatenate([gradients for _, gradients in blocks]),
        weights,
    )


@dataclass(frozen=True)
class _Block:
    features: list[DoubleArray]
    losses: DoubleArray
    gradients: DoubleArray
    roots: DoubleArray


@dataclass(frozen=True)
class _Data:
    """Checked data, as training sees it: rounded to the precision of the network."""

    net: Network
    x: FloatArray
    targets: FloatArray | IndexArray
    loss: Loss
    weights: DoubleArray | None

    @staticmethod
    def of(
        net: Network, X: ArrayLike, y: ArrayLike, loss: str | Loss, weight: ArrayLike | None
    ) -> _Data:
        if not isinstance(net, Network):
            raise TypeError(f"net is {net!r}, expected a Network")
        kind = losses.get(loss)
        x = finite_inputs_of("X", X, net.n_inputs, net.dtype)
        values, labels = targets_of("y", y, kind, len(x), net.n_outputs, net.dtype)
        targets = labels if values is None else values
        assert targets is not None
        weights = weights_of(weight, len(x), net.dtype)
        return _Data(net, x, targets, kind, None if weights is None else weights.astype(np.float64))

    def blocks(self) -> Iterator[_Block]:
        net, scale = self.net, self.net.output_scale
        layers = [
            (w.astype(np.float64).T, 0.0 if b is None else b.astype(np.float64))
            for w, b in zip(net.weights, net.biases, strict=True)
        ]
        for begin in range(0, len(self.x), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            features = [self.x[part].astype(net.dtype).astype(np.float64)]
            for weight, bias in layers[:-1]:
                features.append(net.activation(features[-1] @ weight + bias).astype(np.float64))
            weight, bias = layers[-1]
            targets: FloatArray | IndexArray = self.targets[part]
            values, gradients = losses_and_gradients(
                self.loss,
                scale * (features[-1] @ weight + bias),
                targets if self.loss.takes_labels else targets.astype(np.float64),
            )
            roots = np.ones(len(values)) if self.weights is None else np.sqrt(self.weights[part])
            yield _Block(features, values, scale * gradients, roots[:, None])


class _Norms:
    """Norms of a matrix whose rows come in blocks."""

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self.n_rows = n_rows
        self.largest = 0.0
        self._squares: list[float] = []
        self._rows: DoubleArray | None = None
        self._gram = np.zeros((n_columns, n_columns)) if n_rows > _BLOCK else None

    def add(self, rows: DoubleArray, roots: DoubleArray) -> None:
        """Add rows, each to be scaled by its root of a weight; the largest counts without."""
        self.largest = max(self.largest, float(_row_norms(rows).max()))
        scaled = np.ascontiguousarray(roots * rows)
        self._squares.append(float(np.square(scaled).sum()))
        if self._gram is None:
            self._rows = scaled
        else:
            self._gram += scaled.T @ scaled

    def frobenius(self) -> float:
        return raised(math.sqrt(math.fsum(self._squares)))

    def spectral(self) -> float:
        length = self.frobenius()
        if self._rows is not None:
            return min(length, spectral_norm(self._rows, _TOLERANCE).upper)
        # Sums of products err by at most their number of terms, here those of a block and the
        # number of blocks, in units of the sum of absolute values: below ||H||_F^2 as a norm.
        terms = _BLOCK + self.n_rows // _BLOCK + 8
        error = terms * _EPSILON * math.fsum(self._squares)
        assert self._gram is not None
        largest = spectral_norm((self._gram + self._gram.T) / 2, _TOLERANCE).upper
        return min(length, raised(math.sqrt(largest + error)))


def _row_norms(rows: DoubleArray) -> DoubleArray:
    norms: DoubleArray = np.sqrt(np.square(rows).sum(axis=1)) * UP
    return norms


def _length(array: DoubleArray) -> float:
    return raised(math.sqrt(float(np.square(array).sum())))


def _pulls(data: _Data, scale: float) -> tuple[float, float]:
    """Return what targets alone contribute to the loss gradients of a residual loss."""
    if not data.loss.residual:
        return math.inf, math.inf
    squares, largest = [], 0.0
    for begin in range(0, len(data.x), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        lengths = _row_norms(data.targets[part].astype(np.float64))
        largest = max(largest, float(lengths.max()))
        weights = 1.0 if data.weights is None else data.weights[part]
        squares.append(float((weights * np.square(lengths)).sum()))
    factor = scale * data.loss.smoothness(data.net.n_outputs)
    root_mean = math.sqrt(math.fsum(squares) / len(data.x))
    return raised(factor * root_mean), raised(factor * largest)
