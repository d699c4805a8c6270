"""Norms of layers as functions of their kernels, and what their derivatives need of gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from lipgd.dynamics._rows import Rows
from lipgd.dynamics._triplets import NormDerivatives, Triplets
from lipgd.torch._calls import Call
from lipgd.types import DoubleArray

__all__ = ["CircularNorm", "KernelNorm", "MatrixNorm"]

_Complex = npt.NDArray[np.complex128]


class KernelNorm(NormDerivatives):
    """A norm of the matrix (m, n) of a layer that can be applied to many gradients at once."""

    @abstractmethod
    def rows(self, calls: Sequence[Call], scale: DoubleArray | None) -> Rows:
        """Return the rows of samples from the inputs and output gradients of a layer.

        ``scale`` (m,) is what a batch normalization multiplies the outputs with.
        """

    @abstractmethod
    def rows_of(self, gradients: DoubleArray) -> Rows:
        """Return the rows of gradients (n, m, n_inputs)."""


class MatrixNorm(KernelNorm):
    """The spectral norm of the matrix: dense layers, and kernels as reshaped matrices."""

    def __init__(self, top: Triplets) -> None:
        self.top = top
        self.values = top.values

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the matrix."""
        return self.top.shape

    @property
    def jacobian(self) -> DoubleArray:
        """The gradient of the norm."""
        return self.top.jacobian

    def project(self, direction: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return the columns of a direction."""
        return self.top.project(direction)

    def second(self, direction: DoubleArray) -> float:
        """Return u_2^T E v_2."""
        return self.top.second(direction)

    def rows(self, calls: Sequence[Call], scale: DoubleArray | None) -> Rows:
        """Follow section 7: z, t, gamma and chi, but no gradient."""
        left, right = self.top.left[:, :2], self.top.right[:, :2]
        scaled = left if scale is None else scale[:, None] * left
        along: DoubleArray = np.zeros(1)
        across, second = np.zeros(1), np.zeros(1)
        for call in calls:
            z, t = call.filtered(right), call.weighted(scaled)
            along = along + call.outputs(z[..., :1])[..., 0]
            across = across + call.inputs(t[..., :1])[..., 0]
            if left.shape[1] > 1:
                second = second + call.inner(z[..., 1], t[..., 1])
        if scale is not None:
            along = along * scale
        return self._rows(along, across, np.broadcast_to(second, len(along)))

    def rows_of(self, gradients: DoubleArray) -> Rows:
        """Project gradients."""
        left, right = self.top.left, self.top.right
        along, across = gradients @ right[:, 0], left[:, 0] @ gradients
        second = np.zeros(len(gradients))
        if len(self.values) > 1:
            second = (gradients @ right[:, 1]) @ left[:, 1]
        return self._rows(along, across, second)

    def _rows(self, along: DoubleArray, across: DoubleArray, second: DoubleArray) -> Rows:
        left, right = self.top.left, self.top.right
        a, b = _times(along, left), _times(across, right)
        outside = np.zeros((len(a), 0))
        if len(left) > len(right):
            outside = along - _times(a, left.T)
        elif len(right) > len(left):
            outside = across - _times(b, right.T)
        return Rows(a, b, outside, second)


class CircularNorm(KernelNorm):
    """The norm of a convolution on a torus: the largest over the blocks of section 8.2.

    A block is ``theta @ phi`` for a complex matrix phi (n, n'), which has the exponentials of the
    frequencies that the stride makes one. Columns of real and imaginary parts make the complex
    Hessian one of the form 1.2, with every value but the first twice; Im a_1 is outside.

    Parameters
    ----------
    theta : ndarray, shape (m, n)
        The reshaped kernel.
    phi : ndarray of complex128, shape (n, n')
        That of the frequency with the largest norm.
    """

    pair = 3

    def __init__(self, theta: DoubleArray, phi: _Complex) -> None:
        self._phi, self._shape = phi, theta.shape
        left, values, right = np.linalg.svd(theta @ phi, full_matrices=False)
        self._left: _Complex = np.asarray(left, np.complex128)
        self._right: _Complex = np.asarray(right.conj().T, np.complex128)
        self.values = np.concatenate([values[:1], np.repeat(values[1:], 2)])

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the reshaped kernel."""
        return self._shape[0], self._shape[1]

    @property
    def jacobian(self) -> DoubleArray:
        """The gradient of the norm by the reshaped kernel."""
        right = self._phi @ self._right[:, 0]
        return np.asarray(np.outer(self._left[:, 0].conj(), right).real)

    def project(self, direction: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return the columns of a direction."""
        rows = self.rows_of(direction[None])
        return rows.alpha[0], rows.beta[0], rows.outside[0]

    def second(self, direction: DoubleArray) -> float:
        """Return the real part of u_2^* E v_2."""
        return float(self.rows_of(direction[None]).second[0])

    def rows(self, calls: Sequence[Call], scale: DoubleArray | None) -> Rows:
        """Follow section 7 with complex filters (8.2)."""
        right = self._phi @ self._right[:, :2]
        left = self._left[:, :2].conj()
        scaled = left if scale is None else scale[:, None] * left
        along: _Complex = np.zeros(1, np.complex128)
        across, second = np.zeros(1, np.complex128), np.zeros(1)
        for call in calls:
            z, t = call.filtered(_parts(right)), call.weighted(_parts(scaled))
            along = along + _joined(call.outputs(z[..., :2]))[..., 0]
            across = across + _joined(call.inputs(t[..., :2]))[..., 0]
            if left.shape[1] > 1:
                second = second + call.inner(z[..., 2], t[..., 2])
                second = second - call.inner(z[..., 3], t[..., 3])
        if scale is not None:
            along = along * scale
        return self._rows(along, across, np.broadcast_to(second, len(along)))

    def rows_of(self, gradients: DoubleArray) -> Rows:
        """Project gradients."""
        right = self._phi @ self._right[:, :2]
        along: _Complex = gradients @ right[:, 0]
        across: _Complex = self._left[:, 0].conj() @ gradients
        second = np.zeros(len(gradients))
        if len(self.values) > 1:
            second = ((gradients @ right[:, 1]) @ self._left[:, 1].conj()).real
        return self._rows(along, across, second)

    def _rows(self, along: _Complex, across: _Complex, second: DoubleArray) -> Rows:
        across = across @ self._phi
        a, b = along @ self._left.conj(), across @ self._right
        outside = [a[:, :1].imag]
        m, n = len(self._left), len(self._right)
        if m != n:
            nulls = along - a @ self._left.T if m > n else across - b @ self._right.conj().T
            outside += [nulls.real, nulls.imag]
        return Rows(_columns(a), _columns(b.conj()), np.concatenate(outside, axis=1), second)


def _times(rows: DoubleArray, matrix: DoubleArray) -> DoubleArray:
    """Return a product on PyTorch's threads: with those of NumPy each would wait for the other."""
    return np.asarray(torch.as_tensor(rows) @ torch.as_tensor(matrix))


def _parts(vectors: _Complex) -> DoubleArray:
    """Return the real and imaginary parts of columns (n, k) as columns (n, 2 k)."""
    parts = np.stack([vectors.real, vectors.imag], axis=-1)
    return parts.reshape(len(vectors), -1)


def _joined(parts: DoubleArray) -> _Complex:
    """Return the complex numbers of such columns."""
    return np.asarray(parts[..., ::2] + 1j * parts[..., 1::2])


def _columns(values: _Complex) -> DoubleArray:
    """Return Re z_1, Re z_2, Im z_2, Re z_3, ..."""
    return np.concatenate([values[:, :1].real, _parts_of_rows(values[:, 1:])], axis=1)


def _parts_of_rows(values: _Complex) -> DoubleArray:
    parts = np.stack([values.real, values.imag], axis=-1)
    return parts.reshape(len(values), -1)
