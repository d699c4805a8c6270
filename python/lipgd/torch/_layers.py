"""Which layers of a module have coefficients, and why others have none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from lipgd.torch._geometry import Geometry
from lipgd.types import DoubleArray

__all__ = [
    "Layer",
    "coupling_layers",
    "is_batch_norm",
    "random_layers",
    "scale_of",
    "treated_layers",
    "untreated_parameters",
]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_DROPOUTS = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip


@dataclass
class Layer:
    """A weight that has coefficients, and what a first look at a forward found out about it.

    Attributes
    ----------
    name : str
        That of the first module that has the weight.
    weight : Parameter
        The weight.
    geometry : Geometry or None
        None for a dense layer.
    scale : ndarray (m,) or None
        What a batch normalization in evaluation behind the layer multiplies its outputs with.
    size : tuple of int or None
        The positions of the inputs of a convolution.
    used : bool
        Whether the forward calls it.
    plain : bool
        Whether it is a dense layer that is called once, at one position.
    norms_behind : list of str
        The normalization that ``scale`` is from.
    """

    name: str
    weight: nn.Parameter
    geometry: Geometry | None
    scale: DoubleArray | None = None
    size: tuple[int, ...] | None = None
    used: bool = False
    plain: bool = True
    norms_behind: list[str] = field(default_factory=list)

    @property
    def matrix(self) -> DoubleArray:
        """The weight as a matrix (m, n) of float64, with the scale of the normalization."""
        weight = self.weight.detach().cpu().double().numpy()
        matrix = weight.reshape(len(weight), -1)
        return np.asarray(matrix if self.scale is None else self.scale[:, None] * matrix)

    @property
    def factor(self) -> float:
        """How much larger than the norm of the matrix that of the map may be (8.1)."""
        return 1.0 if self.geometry is None else self.geometry.factor


def treated_layers(model: nn.Module) -> tuple[dict[nn.Module, Layer], dict[str, str]]:
    """Return the layers by module, and why others are left out by name."""
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((name or "itself", module))
    layers: dict[nn.Module, Layer] = {}
    by_weight: dict[int, Layer] = {}
    left_out: dict[str, str] = {}
    for name, module in model.named_modules():
        name = name or "itself"
        if not isinstance(module, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)):
            continue
        weight: Any = module.weight
        reason = _obstacle(module) or _shared(owners.get(id(weight), []), module)
        if reason is not None:
            left_out[_titled(name, module)] = reason
            continue
        geometry = None if isinstance(module, nn.Linear) else Geometry.of(module)
        layer = by_weight.setdefault(id(weight), Layer(name, weight, geometry))
        if layer.geometry != geometry:
            left_out[_titled(name, module)] = (
                f"shares the weight of {layer.name} with other strides"
            )
            continue
        layers[module] = layer
    return layers, left_out


def untreated_parameters(
    model: nn.Module, layers: dict[nn.Module, Layer], folded: set[nn.Module]
) -> Iterator[tuple[str, str]]:
    """Yield the modules whose own trained parameters no layer accounts for, and why."""
    for name, module in model.named_modules():
        if module in layers or isinstance(module, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)):
            continue
        if not any(p.requires_grad for p in module.parameters(recurse=False)):
            continue
        if isinstance(module, _BATCH_NORMS):
            where = "is folded into the layer before it" if module in folded else "scales values"
            reason = f"{where}, and its own training is not accounted for"
        else:
            reason = "has trained parameters of its own"
        yield _titled(name or "itself", module), reason


def coupling_layers(model: nn.Module) -> list[str]:
    """Return the batch normalizations that use the statistics of the batch."""
    return [
        _titled(name or "itself", module)
        for name, module in model.named_modules()
        if isinstance(module, _BATCH_NORMS) and (module.training or module.running_var is None)
    ]


def random_layers(model: nn.Module) -> list[str]:
    """Return the layers that draw at random for every sample."""
    return [
        _titled(name or "itself", module)
        for name, module in model.named_modules()
        if isinstance(module, _DROPOUTS) and module.training and module.p > 0
    ]


def scale_of(module: Any) -> DoubleArray:
    """Return what a batch normalization in evaluation multiplies its inputs with."""
    variance = module.running_var.detach().cpu().double().numpy()
    root = np.sqrt(variance + module.eps)
    weight = 1.0 if module.weight is None else module.weight.detach().cpu().double().numpy()
    return np.asarray(weight / root)


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a module normalizes by statistics of batches, now or before."""
    return isinstance(module, _BATCH_NORMS)


def _obstacle(module: Any) -> str | None:
    if isinstance(module, _TRANSPOSED):
        return "is a transposed convolution"
    if getattr(module, "groups", 1) != 1:
        return f"has {module.groups} groups, and only convolutions of all channels are treated"
    if nn.parameter.is_lazy(module.weight):
        return "has no weight before its first use"
    if "weight" not in module._parameters or not module.weight.is_floating_point():
        return "computes its weight from other parameters"
    return None


def _shared(owners: list[tuple[str, nn.Module]], module: nn.Module) -> str | None:
    """Return who else uses the weight in a way that is not known."""
    for name, owner in owners:
        dense, convolution = isinstance(owner, nn.Linear), isinstance(owner, _CONVOLUTIONS)
        same = dense if isinstance(module, nn.Linear) else convolution
        if owner is not module and not same:
            return f"shares its weight with {_titled(name, owner)}"
    return None


def _titled(name: str, module: nn.Module) -> str:
    return f"{name} ({type(module).__name__})"
