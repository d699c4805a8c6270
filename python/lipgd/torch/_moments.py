"""Moments of gradients: of samples, of several draws of samples, of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lipgd import _core
from lipgd.dynamics._moments import LayerMoments
from lipgd.dynamics._rows import ModelMoments, RowMoments, Rows
from lipgd.torch._calls import Call, DenseCall
from lipgd.torch._capture import Capture
from lipgd.torch._data import Problem
from lipgd.torch._layers import Layer
from lipgd.torch._norms import KernelNorm, MatrixNorm
from lipgd.types import DoubleArray

__all__ = ["Parts", "moments_of_batches", "moments_of_samples"]

#: Samples whose gradients are there at the same time for the diagonal part.
_CHUNK = 32


class Parts:
    """The layers that have coefficients, with their norms."""

    def __init__(
        self,
        hooks: dict[nn.Module, Layer],
        layers: Sequence[Layer],
        norms: Sequence[KernelNorm],
        on_grid: bool,
    ) -> None:
        self.hooks, self.layers, self.norms = hooks, tuple(layers), tuple(norms)
        self.on_grid = on_grid

    def __iter__(self) -> Iterator[tuple[Layer, KernelNorm]]:
        return iter(zip(self.layers, self.norms, strict=True))


def moments_of_samples(
    problem: Problem, parts: Parts, draws: int, block_size: int, diagonal: bool
) -> tuple[list[ModelMoments], ModelMoments | None]:
    """Return the moments of every draw, and with several those of the means of the samples."""
    plain = [draws == 1 and layer.plain and isinstance(norm, MatrixNorm) for layer, norm in parts]
    every = [_empty(parts, diagonal, plain) for _ in range(draws)]
    means = _empty(parts, diagonal, plain) if draws > 1 else None
    capture = Capture(problem.model, parts.hooks)
    for first in range(0, problem.count, block_size):
        block = slice(first, min(first + block_size, problem.count))
        found: list[list[Rows]] = []
        entries: list[list[DoubleArray]] = []
        for moments in every:
            with capture.open():
                total = problem.sum_of_losses(block, check=first == 0)
            calls = capture.gradients(total)
            del total
            if draws == 1:
                _add_block(moments, parts, calls, block.stop - first)
                continue
            rows = [norm.rows(calls[id(layer)], layer.scale) for layer, norm in parts]
            found.append(rows)
            _add_rows(moments, rows)
            if diagonal:
                entries.append([_all_gradients(calls[id(each)], each) for each in parts.layers])
                _add_entries(moments, entries[-1])
        if means is not None:
            _add_rows(means, [Rows.mean(each) for each in zip(*found, strict=True)])
            if diagonal:
                _add_entries(means, [np.mean(each, axis=0) for each in zip(*entries, strict=True)])
    return every, means


def moments_of_batches(
    problem: Problem, parts: Parts, batches: Callable[[], Tensor], replicas: int, diagonal: bool
) -> ModelMoments:
    """Return the moments of the gradients of independent batches (9.5)."""
    moments = _empty(parts, diagonal, [False] * len(parts.layers))
    weights = [layer.weight for layer in parts.layers]
    for _ in range(replicas):
        loss = problem.batch_loss(batches())
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        gradients = [
            _matrix(gradient, layer) for gradient, layer in zip(found, parts.layers, strict=True)
        ]
        _add_rows(
            moments,
            [norm.rows_of(g) for norm, g in zip(parts.norms, gradients, strict=True)],
        )
        _add_entries(moments, gradients)
    return moments


def _empty(parts: Parts, diagonal: bool, plain: Sequence[bool]) -> ModelMoments:
    layers: list[LayerMoments] = []
    for (_, norm), compiled in zip(parts, plain, strict=True):
        if isinstance(norm, MatrixNorm):
            top = norm.top
            layers.append(
                LayerMoments(top, diagonal) if compiled else RowMoments(top, diagonal=diagonal)
            )
        else:
            layers.append(RowMoments(norm, diagonal=False))
    return ModelMoments(layers)


def _add_block(
    moments: ModelMoments, parts: Parts, calls: dict[int, list[Call]], count: int
) -> None:
    """Add samples: to the compiled core where a layer has one position, else row by row."""
    slopes = np.empty((count, len(parts.layers)))
    for place, ((layer, norm), kept) in enumerate(zip(parts, moments.layers, strict=True)):
        uses = calls[id(layer)]
        if isinstance(kept, RowMoments):
            rows = norm.rows(uses, layer.scale)
            kept.add(rows)
            slopes[:, place] = rows.slopes
            if kept.has_diagonal:
                _add_diagonal(kept, uses, layer)
        else:
            slopes[:, place] = _add_plain(kept, uses[0], layer)
    moments.add_slopes(slopes)


def _add_plain(kept: LayerMoments, call: Call, layer: Layer) -> DoubleArray:
    """Add samples of a dense layer to the compiled core, and return <J, g_i> of each."""
    assert isinstance(call, DenseCall)
    dtype = torch.float64 if call.signals.dtype == torch.float64 else torch.float32
    x = np.ascontiguousarray(call.features[:, 0].to("cpu", dtype).numpy())
    signals = call.signals[:, :, 0].to("cpu", dtype)
    if layer.scale is not None:
        signals = signals * torch.as_tensor(layer.scale, dtype=dtype)
    d = np.ascontiguousarray(signals.numpy())
    _core.add_layer_rows([x], [d], x, [kept._call()], np.zeros(2))
    return np.asarray((d @ kept.top.left[:, 0]) * (x @ kept.top.right[:, 0]), np.float64)


def _add_diagonal(kept: RowMoments, calls: Sequence[Call], layer: Layer) -> None:
    for first in range(0, len(calls[0].signals), _CHUNK):
        part = [call.part(slice(first, first + _CHUNK)) for call in calls]
        kept.add_gradients(_all_gradients(part, layer))


def _add_rows(moments: ModelMoments, rows: Sequence[Rows]) -> None:
    for kept, each in zip(moments.layers, rows, strict=True):
        assert isinstance(kept, RowMoments)
        kept.add(each)
    moments.add_slopes(np.stack([each.slopes for each in rows], axis=1))


def _add_entries(moments: ModelMoments, gradients: Sequence[DoubleArray]) -> None:
    for kept, each in zip(moments.layers, gradients, strict=True):
        if isinstance(kept, RowMoments) and kept.has_diagonal:
            kept.add_gradients(each)


def _all_gradients(calls: Sequence[Call], layer: Layer) -> DoubleArray:
    gradients: DoubleArray = np.add.reduce([call.gradients() for call in calls])
    return gradients if layer.scale is None else layer.scale[:, None] * gradients


def _matrix(gradient: Tensor | None, layer: Layer) -> DoubleArray:
    full = torch.zeros_like(layer.weight) if gradient is None else gradient
    matrix = full.detach().cpu().double().numpy().reshape(1, len(full), -1)
    return np.asarray(matrix if layer.scale is None else layer.scale[:, None] * matrix)
