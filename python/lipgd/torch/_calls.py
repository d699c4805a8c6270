"""What a layer took in and the gradients by what it put out: section 7 of dynamics.md."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lipgd.torch._geometry import Geometry
from lipgd.types import DoubleArray

__all__ = ["Call", "ConvolutionCall", "DenseCall"]


class Call(ABC):
    """One use of a layer by n samples at S positions: the gradient of a sample is D_i A_i^T.

    Filters are columns: (n_inputs, f) for inputs, (m, f) for output gradients.
    """

    signals: Tensor  # (n, m, S)

    @abstractmethod
    def filtered(self, filters: npt.NDArray[np.float64]) -> Tensor:
        """Return z = A_i^T v for every filter: (n, S, f)."""

    @abstractmethod
    def inputs(self, t: Tensor) -> DoubleArray:
        """Return chi = A_i t, the inputs weighted by (n, S, f): (n, n_inputs, f)."""

    @abstractmethod
    def gradients(self) -> DoubleArray:
        """Return the gradients themselves: (n, m, n_inputs)."""

    @abstractmethod
    def part(self, rows: slice) -> Call:
        """Return the call of some of the samples."""

    def weighted(self, filters: npt.NDArray[np.float64]) -> Tensor:
        """Return t = D_i^T u for every filter: (n, S, f)."""
        return torch.matmul(self._tensor(filters).T, self.signals).transpose(1, 2)

    def outputs(self, z: Tensor) -> DoubleArray:
        """Return gamma = D_i z, the output gradients weighted by (n, S, f): (n, m, f)."""
        return _double(torch.matmul(self.signals, z))

    def inner(self, z: Tensor, t: Tensor) -> DoubleArray:
        """Return the sums over positions of products (n, S): (n,)."""
        return _double((z * t).sum(dim=1))

    def _tensor(self, array: npt.NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(array, dtype=self.signals.dtype, device=self.signals.device)


class DenseCall(Call):
    """A dense layer, at one position or at several: features (n, S, n_inputs)."""

    def __init__(self, features: Tensor, signals: Tensor) -> None:
        self.features, self.signals = features, signals

    def filtered(self, filters: npt.NDArray[np.float64]) -> Tensor:
        """Return z."""
        return torch.matmul(self.features, self._tensor(filters))

    def inputs(self, t: Tensor) -> DoubleArray:
        """Return chi."""
        return _double(torch.matmul(self.features.transpose(1, 2), t))

    def gradients(self) -> DoubleArray:
        """Return the gradients."""
        return _double(torch.matmul(self.signals, self.features))

    def part(self, rows: slice) -> DenseCall:
        """Return some of the samples."""
        return DenseCall(self.features[rows], self.signals[rows])


class ConvolutionCall(Call):
    """A convolution: padded features (n, channels, *positions), which are never unfolded."""

    def __init__(
        self, geometry: Geometry, padded: Tensor, signals: Tensor, positions: tuple[int, ...]
    ) -> None:
        self.geometry, self.padded = geometry, padded
        self.signals, self.positions = signals, positions

    def filtered(self, filters: npt.NDArray[np.float64]) -> Tensor:
        """Return z, the convolution with the filters."""
        shape = (-1, self.padded.shape[1], *self.geometry.kernel)
        kernel = self._tensor(np.ascontiguousarray(filters.T)).reshape(shape)
        return self.geometry.convolve(self.padded, kernel).flatten(2).transpose(1, 2)

    def inputs(self, t: Tensor) -> DoubleArray:
        """Return chi, place by place of the kernel.

        What a place sees is a part of the values in memory, from its offset on, if the weights lie
        as far apart as the patches: with zeros between them, nothing has to be copied.
        """
        sizes = self.padded.shape[2:]
        spread = t.new_zeros((len(t), *sizes, t.shape[2]))
        steps = zip(self.positions, self.geometry.stride, strict=True)
        spread[(slice(None), *(slice(0, (n - 1) * s + 1, s) for n, s in steps))] = t.reshape(
            len(t), *self.positions, t.shape[2]
        )
        offsets = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
        last = zip(self.positions, self.geometry.stride, offsets, strict=True)
        length = 1 + sum((n - 1) * s * offset for n, s, offset in last)
        values, weights = self.padded.flatten(2), spread.flatten(1, -2)[:, :length]
        places = []
        for place in self.geometry.places():
            at = zip(place, self.geometry.dilation, offsets, strict=True)
            first = sum(y * d * offset for y, d, offset in at)
            places.append(torch.matmul(values[:, :, first : first + length], weights))
        return _by_entry(places)

    def gradients(self) -> DoubleArray:
        """Return the gradients, place by place of the kernel."""
        signals = self.signals
        patches = self.geometry.patches(self.padded, self.positions)
        places = [torch.matmul(signals, patch.transpose(1, 2)) for patch in patches]
        return _double(torch.stack(places, dim=-1).flatten(2))

    def part(self, rows: slice) -> ConvolutionCall:
        """Return some of the samples."""
        return ConvolutionCall(self.geometry, self.padded[rows], self.signals[rows], self.positions)


def _by_entry(places: list[Tensor]) -> DoubleArray:
    """Return (n, channels, f) of every place as (n, channels * places, f)."""
    return _double(torch.stack(places, dim=2).flatten(1, 2))


def _double(tensor: Tensor) -> DoubleArray:
    return np.asarray(tensor.detach().cpu().double().numpy())
