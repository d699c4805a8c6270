"""C headers: compiled and compared with the network, for everything that a network can have."""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess

import numpy as np
import pytest

import lipgd
from lipgd.export import c_header

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def network(activation, dtype, sizes=(3, 7, 12, 2), scale=0.3):
    rng = np.random.default_rng(4)
    weights = [rng.normal(size=(n, m)).astype(dtype) for m, n in itertools.pairwise(sizes)]
    biases = [rng.normal(size=n).astype(dtype) if n != 12 else None for n in sizes[1:]]
    return lipgd.Network(weights, biases, activation, scale)


def compiled(net, folder, name="lipgd_net"):
    """Return the function of the header, on arrays."""
    c_header(net, name, folder / "net.h")
    (folder / "net.c").write_text(
        f'#include "net.h"\n#include "net.h"\n'
        f"void evaluate(int n, const {name}_scalar *x, {name}_scalar *y) {{\n"
        f"  for (int i = 0; i < n; ++i)\n"
        f"    {name}(x + i * {name.upper()}_INPUTS, y + i * {name.upper()}_OUTPUTS);\n}}\n"
        f"double lipschitz(void) {{ return {name.upper()}_LIPSCHITZ; }}\n"
    )
    library = folder / "net.so"
    subprocess.run(
        [COMPILER, *FLAGS, "-shared", "-fPIC", folder / "net.c", "-o", library, "-lm"], check=True
    )
    loaded = ctypes.CDLL(str(library))
    loaded.lipschitz.restype = ctypes.c_double

    def evaluate(X):
        X = np.ascontiguousarray(X, net.dtype)
        y = np.empty((len(X), net.n_outputs), net.dtype)
        loaded.evaluate(
            len(X), X.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p)
        )
        return y

    return evaluate, loaded.lipschitz()


ACTIVATIONS = [
    *(n for n in lipgd.activations.names()),
    "leaky_relu(0.3)",
    "elu(0.7)",
    lipgd.activations.leaky("softplus", 0.5),
    lipgd.activations.leaky("gelu", 0.25),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_compiled_headers_agree_with_the_network(activation, dtype, tmp_path):
    net = network(activation, dtype)
    evaluate, bound = compiled(net, tmp_path)
    rng = np.random.default_rng(1)
    X = np.vstack([rng.normal(size=(200, 3)), 30 * rng.normal(size=(100, 3)), np.zeros((1, 3))])
    expected = net(X.astype(dtype))
    size = np.abs(expected).max(axis=1, keepdims=True) + 1
    tolerance = 1e-13 if dtype == np.float64 else 2e-4 if "sin" in str(activation) else 2e-5
    assert (np.abs(evaluate(X) - expected) <= tolerance * size).all()
    assert bound == float(lipgd.lipschitz.upper(net))


@pytest.mark.parametrize("sizes", [(2, 3), (1, 5, 1), (4, 3, 3, 3, 3, 1)])
def test_networks_of_every_depth(sizes, tmp_path):
    net = network("tanh", np.float64, sizes, 1.0)
    evaluate, _ = compiled(net, tmp_path, "controller")
    X = np.random.default_rng(0).normal(size=(50, sizes[0]))
    np.testing.assert_allclose(evaluate(X), net(X), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "softplus", "sigmoid", "elu"])
def test_huge_inputs_give_numbers(activation, dtype, tmp_path):
    net = lipgd.Network([np.eye(2, dtype=dtype), np.eye(2, dtype=dtype)], None, activation)
    evaluate, _ = compiled(net, tmp_path)
    huge = 1e30 if dtype == np.float32 else 1e200
    X = np.array([[huge, -huge], [-800.0, 800.0], [-90.0, 90.0]])
    y = evaluate(X)
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y, net(X.astype(dtype)), rtol=1e-5, atol=1e-36)


def test_the_header_is_self_contained_and_exact():
    net = network("silu", np.float64)
    text = c_header(net)
    assert re.findall(r"#include (.*)", text) == ["<math.h>"]
    assert not re.search(r"malloc|calloc|free|static [a-z_]+ [a-z_]+;", text)
    stored = re.search(r"lipgd_net_W1\[21\] = \{(.*?)\}", text, re.DOTALL)[1]
    numbers = [float.fromhex(number) for number in stored.split(",")]
    np.testing.assert_array_equal(numbers, net.weights[0].ravel())


def test_bad_arguments_are_refused_by_name():
    net = network("silu", np.float64)
    with pytest.raises(ValueError, match="name is '2net', expected an identifier of C"):
        c_header(net, "2net")
    for word in ("double", "class", "for", "main", "sin", "tanhf", "y1", "_Bool", "__net", "NAN"):
        with pytest.raises(ValueError, match=f"name is '{word}', expected an identifier of C"):
            c_header(net, word)
    with pytest.raises(ValueError, match="name is 3, expected an identifier of C"):
        c_header(net, 3)
    with pytest.raises(TypeError, match="net is 3, expected a Network"):
        c_header(3)
    with pytest.raises(ValueError, match="net has a parameter that is not finite"):
        c_header(net.replace(biases=[np.full(7, np.inf), None, None]))
