"""Lipschitz dynamics of PyTorch modules: sections 5 to 9 of dynamics.md."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lipgd._check import choice, flag, integer, number, shown
from lipgd.dynamics import Triplets
from lipgd.torch._capture import first_look, undisturbed
from lipgd.torch._data import Problem, tensor_of
from lipgd.torch._estimators import Parts, Plan, of_batches, of_samples
from lipgd.torch._grid import GridNorm
from lipgd.torch._layers import (
    Layer,
    coupling_layers,
    treated_layers,
    untreated_parameters,
)
from lipgd.torch._norms import KernelNorm, MatrixNorm
from lipgd.torch._operator import norm_on_grid
from lipgd.torch._result import ModelCoefficients
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["coefficients"]


def coefficients(
    model: nn.Module,
    loss: Callable[[Any, Any], Tensor],
    X: Tensor | ArrayLike,
    y: Tensor | ArrayLike,
    *,
    batch_size: int,
    rate: float,
    convolution: str = "reshaped",
    sampling: str = "independent",
    step_in_epoch: int | None = None,
    population_size: float | None = None,
    transform: Callable[[Tensor, Any], tuple[Tensor, Any]] | None = None,
    draws: int | None = None,
    replicas: int | None = None,
    seed: int = 0,
    diagonal: bool = False,
    block_size: int = 256,
    frozen: Iterable[str] = (),
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
    velocity: Mapping[str, Tensor | ArrayLike] | None = None,
) -> ModelCoefficients:
    """Return what moves the log norms of the layers of a module in a step of mini-batch SGD.

    Linear and convolution layers are hooked; what they take in and the gradients by what they put
    out give the coefficients of the weights, and no gradient of a sample is formed (section 7). The
    module, its buffers, its gradients and the random numbers of the user stay as they are.

    A batch normalization in evaluation is folded into the layer right before it. Weights that two
    layers share are one layer. The sum over layers is log of the product of norms: for a network
    with skip connections that product is no bound, and section 3.5 says how blocks compose.

    Parameters
    ----------
    model : torch.nn.Module
        The module as it is before the step, in training or in evaluation mode.
    loss : callable
        Of an output and a target: ``torch.nn.CrossEntropyLoss()``, any function that returns the
        mean over the samples, or one value per sample.
    X : tensor or array_like, shape (n_samples, ...)
        The training set, or a uniform probe of it if ``population_size`` is given. Numbers get the
        type of the parameters.
    y : tensor or array_like, shape (n_samples, ...)
        What the loss compares with.
    batch_size : int
        Samples of a batch.
    rate : float
        The step size.
    convolution : {"reshaped", "operator"}
        The norm of a convolution: that of its kernel as a matrix (c_out, c_in h w), or that of its
        map on the grid (section 8; from a Krylov space unless the padding is circular). Products of
        the first are no Lipschitz bound, and a warning says by which factor they may fail.
    sampling : {"independent", "replacement", "reshuffled"}
        See :func:`lipgd.dynamics.coefficients`.
    step_in_epoch : int, optional
        Needed for "reshuffled".
    population_size : int or inf, optional
        The number of samples that batches are drawn from, if it is not that of X.
    transform : callable, optional
        Makes other samples and targets of those of a batch, ``transform(X, y) -> (X, y)``: random
        augmentation, or mixup with ``replicas``. What it returns as y goes to the loss as it is.
    draws : int, optional
        Random draws per sample, for dropout and augmentation (9.4); by default 2 if there are
        some, else 1. With one, the noise of random samples is too large by up to batch size over
        population.
    replicas : int, optional
        Estimate from so many independent batches instead of samples (9.5): for whatever couples the
        samples of a batch, such as batch normalization in training mode and mixup. Unbiased, with
        a relative error of about ``sqrt(2 / replicas)`` in lambda2. Normalizations in training mode
        are not folded.
    seed : int
        Of the random numbers of PyTorch during the call.
    diagonal : bool
        Whether to measure the diagonal parts of the noise: they need gradients of samples, some at
        a time, and exist for norms of matrices only. NaN otherwise.
    block_size : int
        Samples that go through the module at once.
    frozen : iterable of str
        Names of layers that are not trained; those whose weight has ``requires_grad=False`` are
        not anyhow.
    weight_decay, momentum, nesterov
        See :func:`lipgd.dynamics.coefficients`.
    velocity : mapping of str to tensor, optional
        By the name of the layer, the buffer of the optimizer before the step; zero if missing.

    Returns
    -------
    ModelCoefficients
        A :class:`lipgd.dynamics.Coefficients` with the names of the layers.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; if samples are coupled and ``replicas`` is not given; if the
        loss is not a mean; if a layer does not have one entry per sample in its first dimension.

    Warns
    -----
    UserWarning
        Names layers with trained weights that have no coefficients, such as embeddings, recurrent
        layers, grouped or transposed convolutions and trained normalizations; says that norms of
        reshaped kernels give no Lipschitz bound.

    References
    ----------
    dynamics.md, sections 6 to 9.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> import lipgd
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(
    ...     nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(4), nn.ReLU(),
    ...     nn.Conv2d(4, 8, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10),
    ... ).eval()
    >>> _ = model[1].requires_grad_(False)
    >>> X, y = torch.randn(100, 1, 8, 8), torch.randint(10, (100,))
    >>> found = lipgd.torch.coefficients(
    ...     model, nn.CrossEntropyLoss(), X, y, batch_size=10, rate=0.1, convolution="operator"
    ... )
    >>> found.layers, found.factors.tolist()
    (('0', '3', '6'), [1.0, 1.0, 1.0])
    >>> bool((found.kappa >= 0).all()), found.network.lambda2 > 0
    (True, True)
    """
    problem = Problem.checked(model, loss, X, y, transform)
    choice("convolution", convolution, ("reshaped", "operator"))
    plan = Plan(
        integer("batch_size", batch_size, at_least=1),
        number("rate", rate, above=0.0),
        sampling,
        step_in_epoch,
        population_size,
        number("momentum", momentum, at_least=0.0, below=1.0),
        flag("nesterov", nesterov),
        number("weight_decay", weight_decay, at_least=0.0),
        integer("seed", seed),
        integer("block_size", block_size, at_least=2),
        flag("diagonal", diagonal),
    )
    replicas = plan.checked_replicas(replicas, problem.count, draws)
    draws = _draws(problem, draws, replicas)
    hooks, left_out = treated_layers(model)
    trained = {id(layer): layer.weight.requires_grad for layer in hooks.values()}
    with undisturbed(model, [layer.weight for layer in hooks.values()], plan.seed):
        count = min(problem.count, 2 if replicas is None else plan.batch_size)
        folded = first_look(model, hooks, count, lambda: problem.forward(slice(0, count)))
        parts = _parts(hooks, left_out, convolution)
        if replicas is None and draws is None and problem.couples_samples():
            raise ValueError(
                "model gives other outputs for a sample alone than among others, expected "
                "replicas= if it couples samples, draws= if it is random"
            )
        off = _frozen(parts, frozen, trained)
        kept = _velocity(parts, velocity)
        if replicas is None:
            found = of_samples(problem, parts, plan, draws, off, kept)
        else:
            found = of_batches(problem, parts, plan, replicas, off, kept)
    left_out.update(untreated_parameters(model, hooks, folded))
    factors = _factors(parts)
    _warn(left_out, factors)
    estimator = "batches" if replicas is not None else "samples" if draws is None else "draws"
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    names = tuple(layer.name for layer in parts.layers)
    return ModelCoefficients(
        **fields, layers=names, factors=factors, left_out=left_out, estimator=estimator
    )


def _draws(problem: Problem, draws: int | None, replicas: int | None) -> int | None:
    """Return how often every sample is drawn, None if it is not random; look for what couples."""
    if replicas is not None:
        return None
    coupling = coupling_layers(problem.model)
    if coupling:
        raise ValueError(
            f"model has the layer {coupling[0]}, which normalizes by the batch and so couples its "
            "samples, expected model.eval() or replicas="
        )
    if draws is not None:
        return integer("draws", draws, at_least=1)
    return 2 if problem.is_random else None


def _parts(hooks: dict[nn.Module, Layer], left_out: dict[str, str], convolution: str) -> Parts:
    """Return the layers that the forward uses, with their norms."""
    used = list({id(layer): layer for layer in hooks.values() if layer.used}.values())
    for module, layer in hooks.items():
        if not layer.used:
            title = f"{layer.name} ({type(module).__name__})"
            left_out[title] = "is not called by the forward as a layer"
    if not used:
        reasons = "; ".join(f"{name} {why}" for name, why in left_out.items())
        raise ValueError(
            "model has no layer that has coefficients, expected a Linear, Conv1d, Conv2d or Conv3d"
            + (f" ({reasons})" if reasons else "")
        )
    norms: list[KernelNorm] = []
    for layer in used:
        name = f"the weight of {layer.name}"
        if convolution == "operator" and layer.geometry is not None and layer.size is not None:
            norms.append(norm_on_grid(layer.geometry, layer.matrix, layer.size, name))
        else:
            norms.append(MatrixNorm(Triplets.of(layer.matrix, name)))
    return Parts(hooks, used, norms, convolution == "operator")


def _factors(parts: Parts) -> DoubleArray:
    return np.array([1.0 if parts.on_grid else layer.factor for layer in parts.layers])


def _frozen(parts: Parts, frozen: Iterable[str], trained: Mapping[int, bool]) -> list[bool]:
    if isinstance(frozen, str):
        raise TypeError(f"frozen is {frozen!r}, expected names such as ('fc',)")
    fixed, names = set(frozen), [layer.name for layer in parts.layers]
    if not fixed <= set(names):
        unknown = min(str(name) for name in fixed.difference(names))
        raise ValueError(f"frozen has {unknown!r}, expected names among {', '.join(names)}")
    return [layer.name in fixed or not trained[id(layer)] for layer in parts.layers]


def _velocity(
    parts: Parts, velocity: Mapping[str, Tensor | ArrayLike] | None
) -> list[DoubleArray] | None:
    if velocity is None:
        return None
    if not isinstance(velocity, Mapping):
        raise TypeError(f"velocity is {shown(velocity)}, expected a mapping by names of layers")
    names = [layer.name for layer in parts.layers]
    unknown = sorted(str(name) for name in set(velocity).difference(names))
    if unknown:
        raise ValueError(f"velocity has {unknown[0]!r}, expected names among {', '.join(names)}")
    found = []
    for layer, norm in parts:
        weight = layer.weight
        if isinstance(norm, GridNorm):
            raise ValueError(
                f"velocity is given, but the norm of {layer.name} is from a Krylov space, which "
                "does not mix a velocity into its means: expected convolution='reshaped'"
            )
        given = velocity.get(layer.name, torch.zeros_like(weight))
        given = tensor_of(f"velocity of {layer.name}", given, weight)
        if given.shape != weight.shape:
            raise ValueError(
                f"velocity of {layer.name} has shape {tuple(given.shape)}, "
                f"expected {tuple(weight.shape)}"
            )
        matrix = given.detach().cpu().double().numpy().reshape(norm.shape)
        found.append(matrix if layer.scale is None else layer.scale[:, None] * matrix)
    return found


def _warn(left_out: Mapping[str, str], factors: DoubleArray) -> None:
    if left_out:
        reasons = "; ".join(f"{name} {why}" for name, why in left_out.items())
        warnings.warn(f"Without coefficients: {reasons}.", UserWarning, stacklevel=3)
    if (factors > 1.0).any():
        warnings.warn(
            "The product of norms of reshaped kernels is no bound of the Lipschitz constant: that "
            f"of the layers may be up to {factors.prod():.6g} times larger (see factors); "
            "convolution='operator' has the norms on the grid.",
            UserWarning,
            stacklevel=3,
        )
