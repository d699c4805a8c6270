"""Networks to and from PyTorch modules, with the weights as they are."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lipgd import activations
from lipgd._check import choice, number, shown
from lipgd._stored import stored
from lipgd.activations import Activation
from lipgd.lipschitz import Model, read, upper
from lipgd.lipschitz.reading import _files
from lipgd.lipschitz.reading import _torch as reading
from lipgd.network import Network

__all__ = ["Elementwise", "Scale", "from_torch", "to_torch"]

#: PyTorch leaves softplus for its asymptote at 20, where it is still 2e-9 away from it.
_SOFTPLUS_THRESHOLD = 40.0
_NATIVE: dict[str, Callable[[Activation], nn.Module]] = {
    "identity": lambda _: nn.Identity(),
    "relu": lambda _: nn.ReLU(),
    "leaky_relu": lambda activation: nn.LeakyReLU(activation.parameter),
    "relu6": lambda _: nn.ReLU6(),
    "elu": lambda activation: nn.ELU(activation.parameter),
    "tanh": lambda _: nn.Tanh(),
    "sigmoid": lambda _: nn.Sigmoid(),
    "silu": lambda _: nn.SiLU(),
    "gelu": lambda _: nn.GELU(),
    "gelu_tanh": lambda _: nn.GELU("tanh"),
    "softplus": lambda _: nn.Softplus(threshold=_SOFTPLUS_THRESHOLD),
}


class Elementwise(nn.Module):
    """An activation of lipgd for which PyTorch has no module: sin, and all leaky variants.

    Parameters
    ----------
    activation : str or Activation
        See :func:`lipgd.activations.get`.

    Examples
    --------
    >>> import torch
    >>> from lipgd.torch import Elementwise
    >>> Elementwise("leaky(softplus, 0.5)")(torch.tensor([0.0]))
    tensor([0.3466])
    """

    def __init__(self, activation: str | Activation) -> None:
        super().__init__()
        self.activation = activations.get(activation)
        kind = activations.names()[self.activation.kind]
        self._base = None if kind == "sin" else _NATIVE[kind](self.activation)

    def forward(self, z: Tensor) -> Tensor:
        """Return the function of every element."""
        value: Tensor = torch.sin(z) if self._base is None else self._base(z)
        c = self.activation.mix
        return value if c == 0.0 else c * z + (1.0 - c) * value

    def extra_repr(self) -> str:
        """Return the name for ``repr``."""
        return self.activation.name


class Scale(nn.Module):
    """The output scale of a network: a constant, not a parameter.

    Parameters
    ----------
    factor : float
        What outputs are multiplied by.

    Examples
    --------
    >>> import torch
    >>> from lipgd.torch import Scale
    >>> Scale(0.5)(torch.tensor([3.0]))
    tensor([1.5000])
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = number("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        """Return the multiple."""
        return x * self.factor

    def extra_repr(self) -> str:
        """Return the factor for ``repr``."""
        return repr(self.factor)


def to_torch(
    net: Network, *, dtype: npt.DTypeLike | torch.dtype | None = None, method: str | None = "auto"
) -> nn.Sequential:
    """Return a network as a chain of PyTorch layers, and prove a bound of what it holds.

    The keys of its ``state_dict`` are ``0.weight``, ``0.bias``, ``2.weight``, ...: a layer every
    two places, an activation between them, and a :class:`Scale` at the end if the output scale is
    not one. Weights are copies, bit for bit. The attribute ``lipschitz_upper`` is the
    :class:`lipgd.lipschitz.Estimate` of the weights as they are stored; training the module leaves
    it as it is.

    Parameters
    ----------
    net : Network
        The network.
    dtype : float64 or float32, optional
        The type of the parameters; by default that of the network. Weights that become float32 are
        rounded to the nearest, and the bound is that of the rounded ones.
    method : str, optional
        How to prove the bound, see :func:`lipgd.lipschitz.upper`: ``"closed_form"`` is quick. None
        leaves the attribute None.

    Returns
    -------
    torch.nn.Sequential
        Predictions agree with those of the network to rounding.

    Raises
    ------
    TypeError, ValueError
        If an argument is not accepted, or a parameter is not finite in this dtype.

    References
    ----------
    certificates.md, section 9: bounds of stored weights.

    Examples
    --------
    >>> import lipgd
    >>> net = lipgd.Network.create([3, 20, 1], activation="silu", seed=0)
    >>> model = lipgd.torch.to_torch(net)
    >>> list(model.state_dict()), lipgd.torch.from_torch(model) == net
    (['0.weight', '0.bias', '2.weight', '2.bias'], True)
    >>> model.lipschitz_upper.rigorous
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {shown(net)}, expected a Network")
    if isinstance(dtype, torch.dtype):
        dtype = choice("dtype", str(dtype).removeprefix("torch."), ("float64", "float32"))
    net = stored(net, dtype)
    bound = None if method is None else upper(net, method)
    layers: list[nn.Module] = []
    for matrix, bias in zip(net.weights, net.biases, strict=True):
        if layers:
            layers.append(_module(net.activation))
        layers.append(_linear(matrix, bias))
    if net.output_scale != 1.0:
        layers.append(Scale(net.output_scale))
    model = nn.Sequential(*layers)
    model.lipschitz_upper = bound  # type: ignore[assignment]  # Module has no such declaration
    return model


def from_torch(
    source: nn.Module | Mapping[str, Any] | str | os.PathLike[str],
    activation: str | Activation | None = None,
    *,
    output_scale: float = 1.0,
) -> Network:
    """Return the network that a PyTorch module or its ``state_dict`` holds.

    Parameters
    ----------
    source : torch.nn.Module, mapping or path-like
        A module whose forward is a chain of dense layers with the same activation behind all
        hidden ones; a ``state_dict``; a file that ``torch.save`` wrote of one, of which nothing is
        executed.
    activation : str or Activation, optional
        Needed for a ``state_dict``, which does not say it. A module says its own.
    output_scale : float
        A factor behind the last layer that the source does not have itself.

    Returns
    -------
    Network
        Matrices and biases are those of the source, bit for bit, and biases that it has not are
        missing. What lies between matrices and activations, such as a batch normalization, is
        merged into matrices of float64, and a warning says so. The dtype is float32 unless the
        source has a float64 or something was merged.

    Raises
    ------
    ValueError
        If there is a layer that a network cannot hold: the message names it and says why.
    TypeError
        If the source is of no such kind.

    Warns
    -----
    UserWarning
        With what was decided in reading: layers that were merged, a module in training mode that
        was taken as in evaluation.

    Examples
    --------
    >>> import lipgd
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 1, bias=False))
    >>> lipgd.torch.from_torch(model)
    Network(3-20-1, tanh, float32, 100 parameters)
    >>> net = lipgd.torch.from_torch(model.state_dict(), "tanh")
    >>> net == lipgd.torch.from_torch(model), net.biases[1] is None
    (True, True)
    """
    if isinstance(source, (str, os.PathLike)):
        source = _files.load_state(os.fspath(source))
    if not isinstance(source, (nn.Module, Mapping)):
        raise TypeError(f"source is {shown(source)}, expected a torch.nn.Module or a state_dict")
    scale = number("output_scale", output_scale)
    if isinstance(source, nn.Sequential) and len(source) > 1 and isinstance(source[-1], Scale):
        scale *= source[-1].factor
        whole, source = source, nn.Sequential(*list(source)[:-1])
        source.training = whole.training
    model = read(source, activation)
    if any("taken up to its logits" in note for note in model.notes):
        raise ValueError(
            f"{model.source} ends with a softmax, which a Network cannot hold; "
            "lipgd.lipschitz.read(source).network() is the network up to its logits"
        )
    for note in model.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return _faithful(model, source, activation, scale)


def _faithful(model: Model, source: Any, activation: Any, scale: float) -> Network:
    """Return the network of a model with the dtype and the missing biases of its source."""
    tensors = source if isinstance(source, Mapping) else source.state_dict()
    single = model.exact and not any(_is_double(value) for value in tensors.values())
    dtype = np.dtype(np.float32 if single else np.float64)
    biased = reading.biased_layers(source)
    if len(biased) != len(model.weights):  # matrices that no layer has, such as an identity
        biased = [True] * len(model.weights)
    kept = [there or bool(bias.any()) for there, bias in zip(biased, model.biases, strict=True)]
    net = model.network()
    return Network(
        [matrix.astype(dtype) for matrix in model.weights],
        [b.astype(dtype) if keep else None for b, keep in zip(model.biases, kept, strict=True)],
        net.activation if model.activations or activation is None else activation,
        scale,
    )


def _is_double(value: Any) -> bool:
    return getattr(value, "dtype", None) in (torch.float64, np.dtype(np.float64))


def _module(activation: Activation) -> nn.Module:
    kind = activations.names()[activation.kind]
    native = kind in _NATIVE and activation.mix == 0.0
    return _NATIVE[kind](activation) if native else Elementwise(activation)


def _linear(matrix: npt.NDArray[Any], bias: npt.NDArray[Any] | None) -> nn.Linear:
    dtype = torch.float32 if matrix.dtype == np.float32 else torch.float64
    rows, columns = matrix.shape
    # On the device "meta" nothing is drawn at random, which would move the user's generator.
    layer = nn.Linear(columns, rows, bias=bias is not None, dtype=dtype, device="meta")
    layer = layer.to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(matrix))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer
