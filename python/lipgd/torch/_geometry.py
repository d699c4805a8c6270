"""What a convolution does with positions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.nn import functional

__all__ = ["Geometry"]

_CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
)


@dataclass(frozen=True)
class Geometry:
    """Kernel, stride, dilation and padding of a convolution, one number per dimension.

    Attributes
    ----------
    kernel, stride, dilation : tuple of int
        As those of the layer.
    padding : tuple of (int, int)
        What is added before and after the values.
    mode : str
        ``"zeros"``, ``"circular"``, ``"reflect"`` or ``"replicate"``.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    mode: str

    @classmethod
    def of(cls, layer: Any) -> Geometry:
        """Return that of a Conv1d, Conv2d or Conv3d."""
        kernel, dilation = layer.kernel_size, layer.dilation
        if layer.padding == "valid":
            padding = [(0, 0)] * len(kernel)
        elif layer.padding == "same":
            totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            padding = [(total // 2, total - total // 2) for total in totals]
        else:
            padding = [(p, p) for p in layer.padding]
        return cls(kernel, layer.stride, dilation, tuple(padding), layer.padding_mode)

    def padded(self, x: Tensor) -> Tensor:
        """Return values (..., channels, *positions) with the padding around them."""
        sides = [side for pair in reversed(self.padding) for side in pair]
        if not any(sides):
            return x
        return functional.pad(x, sides, "constant" if self.mode == "zeros" else self.mode)

    def convolve(self, padded: Tensor, kernel: Tensor, groups: int = 1) -> Tensor:
        """Return the convolution of padded values (n, channels, *positions)."""
        apply = _CONVOLUTIONS[len(self.kernel) - 1]
        return apply(padded, kernel, None, self.stride, 0, self.dilation, groups)

    def patches(self, padded: Tensor, positions: Sequence[int]) -> Iterator[Tensor]:
        """Yield what each place of the kernel sees at all positions: (n, channels, S)."""
        for offset in self.places():
            window = tuple(
                slice(y * d, y * d + (size - 1) * s + 1, s)
                for y, d, s, size in zip(offset, self.dilation, self.stride, positions, strict=True)
            )
            yield padded[(slice(None), slice(None), *window)].flatten(2)

    def places(self) -> Iterator[tuple[int, ...]]:
        """Yield the places of the kernel in the order of its entries."""
        return itertools.product(*(range(k) for k in self.kernel))

    @property
    def factor(self) -> float:
        """How much larger than the norm of the reshaped kernel that on the grid may be (8.1).

        The root of the number of patches that cover a value: along a dimension those entries of the
        kernel meet it whose places are the same modulo the stride.
        """
        covering = 1
        for k, s, d in zip(self.kernel, self.stride, self.dilation, strict=True):
            covering *= -(-k // (s // math.gcd(s, d)))
        return math.sqrt(covering)

    def has_inner_patch(self, size: Sequence[int]) -> bool:
        """Return whether some patch lies inside the values: then 8.1 is a bound from below, too."""
        return all(
            -(-before // s) * s - before + d * (k - 1) < length
            for k, s, d, (before, _), length in zip(
                self.kernel, self.stride, self.dilation, self.padding, size, strict=True
            )
        )

    def without_dilation(self, size: tuple[int, ...]) -> tuple[Geometry, tuple[int, ...]]:
        """Return a convolution with the same norm that skips no values, where there is one.

        With zeros around them, and no stride, the values in every d-th place are a world of their
        own. Those that begin with the first are the most, and the others see a part of their map.
        """
        apart = [
            d > 1 and s == 1 and not before % d and not after % d
            for d, s, (before, after) in zip(self.dilation, self.stride, self.padding, strict=True)
        ]
        if self.mode != "zeros" or not any(apart):
            return self, size
        steps = [d if alone else 1 for d, alone in zip(self.dilation, apart, strict=True)]
        sides = zip(self.padding, steps, strict=True)
        geometry = replace(
            self,
            dilation=tuple(d // step for d, step in zip(self.dilation, steps, strict=True)),
            padding=tuple((before // step, after // step) for (before, after), step in sides),
        )
        return geometry, tuple(-(-n // step) for n, step in zip(size, steps, strict=True))

    def is_circular(self, size: Sequence[int]) -> bool:
        """Return whether the layer is a convolution on the torus of this size."""
        whole = all(
            sum(sides) == d * (k - 1) and length % s == 0
            for k, s, d, sides, length in zip(
                self.kernel, self.stride, self.dilation, self.padding, size, strict=True
            )
        )
        return whole and (self.mode == "circular" or not any(map(any, self.padding)))
