"""Hooks on a module: what its layers take in, and gradients by what they put out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from lipgd._check import shown
from lipgd.torch._calls import Call, ConvolutionCall, DenseCall
from lipgd.torch._layers import Layer, coupling_layers, is_batch_norm, scale_of

__all__ = ["Capture", "first_look", "undisturbed"]


@dataclass
class Capture:
    """Records every call of the layers of a module while it is open.

    A gradient edge is the place in the graph right behind a layer: what happens to its output in
    place afterwards, as by ``ReLU(inplace=True)``, does not move it.
    """

    model: nn.Module
    layers: dict[nn.Module, Layer]
    calls: list[tuple[Layer, Tensor, int, GradientEdge, torch.Size]] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Record the calls of the layers."""
        self.calls.clear()
        with ExitStack() as stack:
            for module in self.layers:
                stack.enter_context(_hook(module, self._record))
            yield

    def _record(self, module: nn.Module, inputs: Tensor, output: Tensor) -> None:
        edge = get_gradient_edge(output)
        self.calls.append((self.layers[module], inputs, inputs._version, edge, output.shape))

    def gradients(self, total: Tensor) -> dict[int, list[Call]]:
        """Return the calls of every layer, by its identity, with gradients of a sum of losses."""
        for layer, inputs, version, *_ in self.calls:
            if inputs._version != version:
                raise ValueError(
                    f"model changes the inputs of its layer {layer.name} in place after its use, "
                    "expected an operation that makes a new tensor"
                )
        edges = [edge for *_, edge, _ in self.calls]
        signals = torch.autograd.grad(total, edges, allow_unused=True)
        found: dict[int, list[Call]] = {}
        for (layer, inputs, _, _, shape), signal in zip(self.calls, signals, strict=True):
            # What a layer puts out may never meet the loss.
            known: Tensor | None = signal
            full = inputs.new_zeros(shape) if known is None else known
            found.setdefault(id(layer), []).append(_call(layer, inputs.detach(), full))
        return found


def first_look(
    model: nn.Module, layers: dict[nn.Module, Layer], count: int, run: Callable[[], Any]
) -> set[Any]:
    """Run a forward of some samples to learn sizes, and which normalizations follow which layer.

    Returns the normalizations in evaluation that were folded into layers.
    """
    # Outputs are kept: the identity of an object that is gone may be given to another.
    outputs: dict[int, tuple[Tensor, int, Layer]] = {}
    folded: set[Any] = set()

    def look(module: nn.Module, inputs: Tensor, output: Tensor) -> None:
        layer = layers[module]
        size = None if layer.geometry is None else tuple(inputs.shape[2:])
        if layer.used and layer.size != size:
            raise ValueError(
                f"model uses its layer {layer.name} with inputs of sizes {layer.size} and {size}, "
                "expected one size"
            )
        _check_samples(layer, inputs, count)
        layer.plain = not layer.used and layer.geometry is None and inputs.ndim == 2
        layer.used, layer.size = True, size
        outputs[id(output)] = output, output._version, layer

    def fold(module: nn.Module, inputs: Tensor, _: Tensor) -> None:
        known = outputs.get(id(inputs))
        if known is None or known[0]._version != known[1]:
            return
        layer = known[2]
        name = next(name for name, each in model.named_modules() if each is module)
        if layer.norms_behind and layer.norms_behind != [name]:
            raise ValueError(
                f"model has the normalizations {layer.norms_behind[0]} and {name} behind its layer "
                f"{layer.name}, expected one"
            )
        layer.norms_behind, layer.scale = [name], scale_of(module)
        folded.add(module)

    with ExitStack() as stack:
        for module in layers:
            stack.enter_context(_hook(module, look))
        if not coupling_layers(model):
            for module in filter(is_batch_norm, model.modules()):
                stack.enter_context(_hook(module, fold))
        run()
    return folded


@contextmanager
def undisturbed(model: nn.Module, weights: list[nn.Parameter], seed: int) -> Iterator[None]:
    """Leave buffers, the random numbers of the user and what is trained as they were."""
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    trained = [weight.requires_grad for weight in weights]
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        try:
            for weight in weights:
                weight.requires_grad_()
            yield
        finally:
            for weight, was in zip(weights, trained, strict=True):
                weight.requires_grad_(was)
            with torch.no_grad():
                for buffer, value in kept:
                    buffer.copy_(value)


@contextmanager
def _hook(module: nn.Module, use: Callable[[nn.Module, Tensor, Tensor], None]) -> Iterator[None]:
    def hook(caller: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        use(caller, args[0] if args else kwargs["input"], output)

    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _call(layer: Layer, inputs: Tensor, signal: Tensor) -> Call:
    if layer.geometry is None:
        features = inputs.reshape(len(inputs), -1, inputs.shape[-1])
        return DenseCall(features, signal.reshape(*features.shape[:2], -1).transpose(1, 2))
    padded = layer.geometry.padded(inputs)
    return ConvolutionCall(layer.geometry, padded, signal.flatten(2), tuple(signal.shape[2:]))


def _check_samples(layer: Layer, inputs: Tensor, count: int) -> None:
    """Raise unless the first dimension of what a layer takes in is that of the samples."""
    dimensions = 2 if layer.geometry is None else 2 + len(layer.geometry.kernel)
    enough = inputs.ndim >= dimensions if layer.geometry is None else inputs.ndim == dimensions
    if not enough or len(inputs) != count:
        raise ValueError(
            f"model gives its layer {layer.name} inputs of shape {shown(tuple(inputs.shape))} for "
            f"{count} samples, expected one entry of the first dimension per sample"
        )
