"""Which norm a layer has: that of its matrix, or that of its map on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from lipgd._check import integer, shown
from lipgd.dynamics._triplets import Triplets
from lipgd.torch._geometry import Geometry
from lipgd.torch._grid import GridNorm
from lipgd.torch._norms import CircularNorm, KernelNorm, MatrixNorm
from lipgd.types import DoubleArray

__all__ = ["norm_on_grid", "operator_norm"]


def operator_norm(layer: nn.Module, size: Sequence[int] | int = ()) -> KernelNorm:
    """Return the norm of a layer as a linear map, with its derivatives by the weights.

    Parameters
    ----------
    layer : Linear, Conv1d, Conv2d or Conv3d
        The layer; a convolution without groups.
    size : sequence of int
        The positions of the inputs of a convolution, such as (32, 32): its norm depends on them.

    Returns
    -------
    KernelNorm
        ``norm``, ``gap`` (to the second singular value), ``jacobian`` (m, n) and
        ``hessian(direction)`` by the weights as a matrix (m, n), in float64. A dense layer has the
        spectral norm of its matrix. On a torus, that is with circular padding and strides that
        divide the size, the norm is the largest over blocks of frequencies, and ``gap`` is inside
        that block (8.2); else it is found by power iteration in a Krylov space with the
        convolution and its transpose (8.3).

    Raises
    ------
    TypeError, ValueError
        If the layer is of no such kind, has groups, or its weights are zero or not finite.

    References
    ----------
    dynamics.md, section 8.

    Examples
    --------
    >>> import torch
    >>> from lipgd.torch import operator_norm
    >>> layer = torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> found = operator_norm(layer, (8, 8))
    >>> round(found.norm, 12), found.jacobian.shape
    (9.0, (1, 9))
    """
    if isinstance(layer, nn.Linear):
        return MatrixNorm(Triplets.of(_matrix(layer), "layer.weight"))
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        raise TypeError(f"layer is {shown(layer)}, expected a Linear, Conv1d, Conv2d or Conv3d")
    if layer.groups != 1:
        raise ValueError(f"layer has {layer.groups} groups, expected one")
    sizes = (size,) if isinstance(size, int) else tuple(size)
    if len(sizes) != len(layer.kernel_size):
        raise ValueError(
            f"size is {shown(sizes)}, expected one number per dimension "
            f"({len(layer.kernel_size)}) of the layer"
        )
    lengths = tuple(integer("size", length, at_least=1) for length in sizes)
    return norm_on_grid(Geometry.of(layer), _matrix(layer), lengths, "layer.weight")


def norm_on_grid(
    geometry: Geometry, theta: DoubleArray, size: tuple[int, ...], name: str
) -> KernelNorm:
    """Return the norm of a reshaped kernel on a grid."""
    matrix = MatrixNorm(Triplets.of(theta, name))
    if geometry.factor == 1.0 and geometry.has_inner_patch(size):
        return matrix  # both sides of 8.1 are the same
    if geometry.is_circular(size):
        return CircularNorm(theta, _largest_block(geometry, theta, size))
    return GridNorm(*geometry.without_dilation(size), theta)


def _largest_block(
    geometry: Geometry, theta: DoubleArray, size: tuple[int, ...]
) -> npt.NDArray[np.complex128]:
    """Return phi of the block with the largest norm (8.2)."""
    places = np.array(list(geometry.places())) * geometry.dilation
    coarse = [length // s for length, s in zip(size, geometry.stride, strict=True)]
    halved = [*coarse[:-1], coarse[-1] // 2 + 1]  # the others are conjugate to these
    blocks = np.indices(halved).reshape(len(size), -1).T
    aliases = np.indices(geometry.stride).reshape(len(size), -1).T
    # Multiples of 2 pi / size of every alias of every block: (blocks, aliases, dimensions).
    waves = (blocks[:, None] + aliases[None] * np.array(coarse)) / np.array(size)
    phases = np.exp(-2j * np.pi * waves @ places.T) / np.sqrt(len(aliases))
    kernel = theta.reshape(len(theta), -1, len(places))
    best, largest = 0, -1.0
    for index, phase in enumerate(phases):
        block = np.einsum("mcy,ay->mac", kernel, phase).reshape(len(theta), -1)
        short = block if block.shape[0] <= block.shape[1] else block.conj().T
        value = float(np.linalg.eigvalsh(short @ short.conj().T)[-1])
        if value > largest * (1 + 1e-12):
            best, largest = index, value
    channels = kernel.shape[1]
    phi = np.einsum("qp,ay->qyap", np.eye(channels), phases[best])
    return np.asarray(phi.reshape(channels * len(places), -1))


def _matrix(layer: Any) -> DoubleArray:
    weight = layer.weight.detach().cpu().double().numpy()
    return np.asarray(weight.reshape(len(weight), -1))
