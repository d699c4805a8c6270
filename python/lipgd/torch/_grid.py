"""The norm of a convolution on a grid with any padding and stride: section 8.3 of dynamics.md."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lipgd.dynamics._rows import Rows
from lipgd.torch._calls import Call
from lipgd.torch._geometry import Geometry
from lipgd.torch._krylov import leading_triplets, solve
from lipgd.torch._norms import KernelNorm
from lipgd.types import DoubleArray

__all__ = ["GridNorm"]

#: Triplets that are taken out before a system is solved.
_TRIPLETS = 12
#: Samples whose gradients are there at the same time.
_CHUNK = 32


class GridNorm(KernelNorm):
    """The norm of the linear map T(k) of a kernel k on a grid.

    The Hessian along E is x^T (sigma_1 - M)^+ x with x = (T(E) v_1, T(E)^T u_1): the leading
    triplets are taken out of it as in 1.2, and a system is solved for what is left.

    Parameters
    ----------
    geometry : Geometry
        Padding and stride.
    size : tuple of int
        The positions of the inputs.
    theta : ndarray, shape (m, n)
        The reshaped kernel.
    """

    def __init__(self, geometry: Geometry, size: tuple[int, ...], theta: DoubleArray) -> None:
        self._geometry, self._size = geometry, size
        self._kernel_shape = (-1, theta.shape[1] // _count(geometry.kernel), *geometry.kernel)
        self._shape = theta.shape
        self._theta = self._kernels(theta)
        blank = torch.zeros((1, self._theta.shape[1], *size), dtype=torch.float64)
        self._positions = tuple(geometry.convolve(geometry.padded(blank), self._theta).shape[2:])
        inputs = blank.numel()
        outputs = len(theta) * _count(self._positions)
        self._top = leading_triplets(self._apply, self._back, inputs, outputs, _TRIPLETS)
        self.values = self._top.values

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the reshaped kernel."""
        return self._shape[0], self._shape[1]

    @property
    def jacobian(self) -> DoubleArray:
        """The gradient of <u_1, T(k) v_1> by the reshaped kernel."""
        kernel = self._theta.clone().requires_grad_()
        padded = self._geometry.padded(self._images(self._top.v[:, :1].T))
        value = self._geometry.convolve(padded, kernel).flatten() @ torch.tensor(self._top.u[:, 0])
        (gradient,) = torch.autograd.grad(value, kernel)
        return np.asarray(gradient.reshape(self._shape).numpy())

    def project(self, direction: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return the columns of a direction; the outside part is one number."""
        rows = self.rows_of(direction[None])
        assert rows.dual is not None
        square = max(0.0, float(rows.outside[0] @ rows.dual[0]))
        return rows.alpha[0], rows.beta[0], np.array([np.sqrt(square)])

    def second(self, direction: DoubleArray) -> float:
        """Return u_2^T T(E) v_2."""
        return float(self.rows_of(direction[None]).second[0])

    def rows(self, calls: Sequence[Call], scale: DoubleArray | None) -> Rows:
        """Form the gradients of some samples at a time."""
        found = []
        for first in range(0, len(calls[0].signals), _CHUNK):
            part = slice(first, first + _CHUNK)
            gradients: DoubleArray = np.add.reduce([call.part(part).gradients() for call in calls])
            found.append(self.rows_of(gradients if scale is None else scale[:, None] * gradients))
        return _joined(found)

    def rows_of(self, gradients: DoubleArray) -> Rows:
        """Project gradients."""
        top, count = self._top, len(gradients)
        kernels = self._kernels(gradients.reshape(-1, self._shape[1]))
        images = self._geometry.padded(self._images(top.v[:, :2].T))
        images = self._geometry.convolve(images, kernels)
        forward: DoubleArray = images.reshape(len(images), count, -1).numpy()
        along, across = forward[0], self._transposed(kernels, count)
        second = forward[1] @ top.u[:, 1] if len(top.values) > 1 else np.zeros(count)
        a, b = along @ top.u, across @ top.v
        size = np.hypot(np.linalg.norm(along, axis=1), np.linalg.norm(across, axis=1))
        along, across = along - a @ top.u.T, across - b @ top.v.T
        p, q = solve(self._apply, self._back, top, along, across, size)
        sigma = top.values[0]  # which contract divides the outside part by
        outside = np.concatenate([along, across], axis=1)
        return Rows(a, b, outside, second, sigma * np.concatenate([p, q], axis=1))

    def _transposed(self, kernels: Tensor, count: int) -> DoubleArray:
        """Return T(E)^T u_1 of many directions: a convolution of as many groups."""
        channels = kernels.shape[1]
        blank = torch.zeros((1, count * channels, *self._size), dtype=torch.float64)
        blank.requires_grad_()
        result = self._geometry.convolve(self._geometry.padded(blank), kernels, count)
        signal = torch.tensor(self._top.u[:, 0]).reshape(1, -1, *self._positions)
        tiled = signal.repeat(1, count, *(1 for _ in self._positions))
        (images,) = torch.autograd.grad(result, blank, tiled)
        return np.asarray(images.reshape(count, -1).numpy())

    def _apply(self, rows: DoubleArray) -> DoubleArray:
        padded = self._geometry.padded(self._images(rows))
        return np.asarray(self._geometry.convolve(padded, self._theta).flatten(1).numpy())

    def _back(self, rows: DoubleArray) -> DoubleArray:
        blank = torch.zeros((len(rows), self._theta.shape[1], *self._size), dtype=torch.float64)
        blank.requires_grad_()
        result = self._geometry.convolve(self._geometry.padded(blank), self._theta)
        signal = torch.tensor(rows).reshape(result.shape)
        (images,) = torch.autograd.grad(result, blank, signal)
        return np.asarray(images.flatten(1).numpy())

    def _images(self, rows: DoubleArray) -> Tensor:
        shape = (len(rows), self._theta.shape[1], *self._size)
        return torch.tensor(np.ascontiguousarray(rows)).reshape(shape)

    def _kernels(self, matrix: DoubleArray) -> Tensor:
        return torch.tensor(np.ascontiguousarray(matrix)).reshape(self._kernel_shape)


def _joined(parts: Sequence[Rows]) -> Rows:
    duals = [rows.dual for rows in parts if rows.dual is not None]
    return Rows(
        np.concatenate([rows.alpha for rows in parts]),
        np.concatenate([rows.beta for rows in parts]),
        np.concatenate([rows.outside for rows in parts]),
        np.concatenate([rows.second for rows in parts]),
        np.concatenate(duals),
    )


def _count(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes))
