"""Norms of convolutions on a grid against dense matrices, and their derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lipgd.dynamics import Triplets
from lipgd.torch import operator_norm
from lipgd.torch._calls import ConvolutionCall
from lipgd.torch._geometry import Geometry
from lipgd.torch._norms import MatrixNorm

torch.set_num_threads(1)
CIRCULAR = {"padding_mode": "circular"}
CASES = {
    "circular": (dict(kernel_size=3, padding=1, **CIRCULAR), (6, 8), "CircularNorm"),
    "circular, even kernel": (dict(kernel_size=(2, 4), padding="same", **CIRCULAR), (5, 6),
                              "CircularNorm"),
    "circular, stride": (dict(kernel_size=3, padding=1, stride=2, **CIRCULAR), (6, 8),
                         "CircularNorm"),
    "circular, strides": (dict(kernel_size=3, padding=1, stride=(1, 3), **CIRCULAR), (4, 6),
                          "CircularNorm"),
    "circular, dilation": (dict(kernel_size=3, padding=2, dilation=2, **CIRCULAR), (6, 6),
                           "CircularNorm"),
    "circular, stride of 7": (dict(kernel_size=3, padding=1, stride=2, **CIRCULAR),
                                                (7, 6), "GridNorm"),
    "zeros": (dict(kernel_size=3, padding=1), (5, 6), "GridNorm"),
    "no padding": (dict(kernel_size=(3, 2)), (6, 5), "GridNorm"),
    "zeros, stride": (dict(kernel_size=3, padding=1, stride=2), (7, 6), "GridNorm"),
    "zeros, dilation": (dict(kernel_size=3, padding="same", dilation=2), (6, 7), "GridNorm"),
    "reflect": (dict(kernel_size=3, padding=1, padding_mode="reflect"), (5, 4), "GridNorm"),
    "replicate": (dict(kernel_size=3, padding=1, stride=2, padding_mode="replicate"), (5, 4),
                  "GridNorm"),
    "patches": (dict(kernel_size=2, stride=2), (6, 6), "MatrixNorm"),
    "points": (dict(kernel_size=1), (3, 3), "MatrixNorm"),
}  # fmt: skip


def dense(layer, size):
    """Return the matrix of a layer without bias."""
    n = layer.in_channels * math.prod(size)
    eye = torch.eye(n, dtype=torch.float64).reshape(n, layer.in_channels, *size)
    with torch.no_grad():
        return layer(eye).flatten(1).T.numpy()


def layer_of(options, channels, seed=0):
    torch.manual_seed(seed)
    kind = (nn.Conv1d, nn.Conv2d)[options.pop("dimensions", 2) - 1]
    return kind(*channels, bias=False, **options).double()


@pytest.mark.parametrize("channels", [(3, 4), (4, 2), (1, 1)])
@pytest.mark.parametrize("case", CASES)
def test_norm_jacobian_and_hessian(case, channels):
    options, size, kind = CASES[case]
    layer = layer_of(dict(options), channels)
    found = operator_norm(layer, size)
    assert type(found).__name__ == kind
    values = np.linalg.svd(dense(layer, size), compute_uv=False)
    assert found.norm == pytest.approx(values[0], rel=1e-12)
    theta = layer.weight.detach().flatten(1).numpy().copy()
    direction = np.random.default_rng(1).normal(size=theta.shape)
    step = 0.01 * min(found.gap, 0.1) / np.linalg.norm(direction)

    def norm(t):
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(theta + t * direction).reshape(layer.weight.shape))
        return np.linalg.svd(dense(layer, size), compute_uv=False)[0]

    far, near, centre = (norm(-2 * step), norm(2 * step)), (norm(-step), norm(step)), norm(0)
    slope = (far[0] - 8 * near[0] + 8 * near[1] - far[1]) / (12 * step)
    curved = (-sum(far) + 16 * sum(near) - 30 * centre) / (12 * step**2)
    noise = 1e-15 * centre / step
    assert (found.jacobian * direction).sum() == pytest.approx(slope, rel=1e-8, abs=20 * noise)
    exact = found.hessian(direction)
    assert exact == pytest.approx(curved, rel=1e-5, abs=100 * noise / step)
    assert exact > -1e-12
    assert abs(found.hessian(theta)) < 1e-18 * found.norm**2 / found.gap + 1e-20
    assert (found.jacobian * theta).sum() == pytest.approx(found.norm, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_factor_of_reshaped_norms(case):
    options, size, _ = CASES[case]
    layer = layer_of(dict(options), (2, 3), seed=3)
    with torch.no_grad():
        layer.weight.abs_()  # the same sign: patches add up
    geometry = Geometry.of(layer)
    matrix = np.linalg.norm(layer.weight.detach().flatten(1).numpy(), 2)
    norm = operator_norm(layer, size).norm
    if geometry.mode in ("zeros", "circular"):
        assert norm <= geometry.factor * matrix * (1 + 1e-12)
    if geometry.has_inner_patch(size):
        assert norm >= matrix * (1 - 1e-12)


def test_sequences_and_a_constant_kernel():
    layer = layer_of({"kernel_size": 5, "stride": 2, "padding": 2, "dimensions": 1}, (2, 3))
    values = np.linalg.svd(dense(layer, (11,)), compute_uv=False)
    assert operator_norm(layer, 11).norm == pytest.approx(values[0], rel=1e-12)
    flat = nn.Conv2d(1, 1, 3, padding=1).double()
    nn.init.ones_(flat.weight)
    assert operator_norm(flat, (32, 32)).norm / 3 == pytest.approx(2.93, abs=0.1)
    assert Geometry.of(flat).factor == 3.0


@pytest.mark.parametrize("kind", ["matrix", "circular", "zeros"])
def test_rows_of_calls_are_those_of_gradients(kind):
    """Section 7 forms no gradient, and gives what projections of whole gradients give."""
    mode = "circular" if kind == "circular" else "zeros"
    layer = layer_of(
        {"kernel_size": (3, 2), "padding": "same", "dilation": (1, 2), "padding_mode": mode}, (3, 4)
    )
    geometry = Geometry.of(layer)
    theta = layer.weight.detach().flatten(1).numpy()
    norm = operator_norm(layer, (8, 6))
    if kind == "matrix":
        norm = MatrixNorm(Triplets.of(theta))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 3, 8, 6, generator=generator, dtype=torch.float64)
    d = torch.randn(7, 4, 8, 6, generator=generator, dtype=torch.float64)
    call = ConvolutionCall(geometry, geometry.padded(x), d.flatten(2), (8, 6))
    gradients = []
    for sample, signal in zip(x, d, strict=True):
        layer.zero_grad()
        layer(sample[None]).backward(signal[None])
        gradients.append(layer.weight.grad.flatten(1).numpy().copy())
    gradients = np.array(gradients)
    np.testing.assert_allclose(call.gradients(), gradients, atol=1e-12)
    scale = np.array([0.5, -1.0, 2.0, 1.0])
    gradients = scale[:, None] * gradients
    found, expected = norm.rows([call], scale), norm.rows_of(gradients)
    for name in ("alpha", "beta", "outside", "second"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)
    slopes = (norm.jacobian * gradients).sum(axis=(1, 2))
    np.testing.assert_allclose(found.slopes, slopes, atol=1e-12)
    halves = norm.rows([call.part(slice(0, 3)), call.part(slice(0, 3))], scale)
    np.testing.assert_allclose(halves.second, 2 * found.second[:3], atol=1e-12)
    if kind == "matrix":
        left, right = norm.top.left, norm.top.right
        second = left[:, 1] @ gradients @ right[:, 1]
        np.testing.assert_allclose(found.second, second, atol=1e-12)
        np.testing.assert_allclose(found.alpha, gradients @ right[:, 0] @ left, atol=1e-12)
        np.testing.assert_allclose(found.beta, left[:, 0] @ gradients @ right, atol=1e-12)


def test_what_has_no_such_norm():
    with pytest.raises(TypeError, match="layer is 3, expected a Linear, Conv1d"):
        operator_norm(3)
    with pytest.raises(ValueError, match="layer has 2 groups, expected one"):
        operator_norm(nn.Conv2d(2, 2, 3, groups=2), (5, 5))
    with pytest.raises(ValueError, match=r"size is \(\), expected one number per dimension"):
        operator_norm(nn.Conv2d(2, 2, 3))
    zero = nn.Conv2d(2, 2, 3)
    nn.init.zeros_(zero.weight)
    with pytest.raises(ValueError, match=r"layer\.weight is zero"):
        operator_norm(zero, (5, 5))
    assert operator_norm(nn.Linear(3, 2)).shape == (2, 3)
