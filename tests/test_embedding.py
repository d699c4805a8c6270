"""C++ programs of others, built against the headers and the CMake package of this installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import lipgd

SOURCE = Path(__file__).resolve().parents[1] / "cpp" / "tests" / "consume"
PURELIB = sysconfig.get_path("purelib")
TOOLS = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
TOLERANCE = {"float64": 1e-13, "float32": 1e-5}


def run(*command: str | Path) -> str:
    environment = {**os.environ, "PATH": TOOLS}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def tool(name: str) -> str:
    found = shutil.which(name, path=TOOLS)
    assert found is not None, f"{name} is needed to build C++ programs"
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outside project, moved away from the checkout and configured with lipgd_DIR alone."""
    folder = tmp_path_factory.mktemp("consume")
    shutil.copytree(SOURCE, folder / "source")
    build = folder / "build"
    run(
        *(tool("cmake"), "-S", folder / "source", "-B", build, "-G", "Ninja"),
        f"-Dlipgd_DIR={lipgd.get_cmake_dir()}",
        f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
    )
    run(tool("cmake"), "--build", build)
    return build / "print_outputs"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("sizes", "activation", "output_scale", "biases"),
    [
        ([3, 7, 2], "silu", 0.5, True),
        ([4, 5, 6, 1], "leaky(softplus, 0.25)", 1.0, True),
        ([2, 9, 1], "leaky_relu(0.1)", 1.0, False),
        ([5, 3], "relu", -2.0, True),
    ],
)
def test_a_program_reproduces_the_outputs_of_a_saved_network(
    program: Path,
    tmp_path: Path,
    sizes: list[int],
    activation: str,
    output_scale: float,
    biases: bool,
    dtype: str,
) -> None:
    net = lipgd.Network.create(
        sizes, activation=activation, seed=1, dtype=dtype, output_scale=output_scale, biases=biases
    )
    points = np.random.default_rng(2).normal(size=(50, sizes[0])).astype(dtype)
    net.save(tmp_path / "network.npz")
    np.savez(tmp_path / "points.npz", X=points)
    text = run(program, tmp_path / "network.npz", tmp_path / "points.npz")
    outputs = np.array([line.split() for line in text.splitlines()], dtype)
    expected = net(points).reshape(50, -1)
    np.testing.assert_allclose(
        outputs, expected, rtol=0, atol=TOLERANCE[dtype] * abs(expected).max()
    )


def test_cmake_finds_the_package_beside_its_eigen_from_the_folder_of_packages(
    tmp_path: Path,
) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\n"
        "project(outside LANGUAGES CXX)\n"
        f"find_package(lipgd {'.'.join(lipgd.__version__.split('.')[:2])} REQUIRED)\n"
        'message(STATUS "found version ${lipgd_VERSION}")\n'
    )
    text = run(
        *(tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja"),
        *(f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", f"-DCMAKE_PREFIX_PATH={PURELIB}"),
    )
    assert f"found version {lipgd.__version__}" in text


ROUNDED = r"""
#include <cstdio>
#include <lipgd/certificate/problem.hpp>
#include <lipgd/layer_norms.hpp>

int main() {
  double a = 0.0;
  double b = 0.0;
  while (std::scanf("%la %la", &a, &b) == 2)
    std::printf("%a %a\n", lipgd::detail::subtract_upward(a, b), lipgd::detail::times_upward(a, b));
}
"""


def test_a_compiler_needs_two_folders_and_rounding_goes_up(tmp_path: Path) -> None:
    (tmp_path / "rounded.cpp").write_text(ROUNDED)
    eigen = Path(PURELIB, "cmeel.prefix", "include", "eigen3")
    folders = (f"-I{lipgd.get_include()}", f"-I{eigen}")
    program = tmp_path / "rounded"
    run(tool("c++"), "-std=c++17", *folders, tmp_path / "rounded.cpp", "-o", program)
    rng = np.random.default_rng(0)
    pairs = np.ldexp(rng.uniform(0.5, 1.0, (20_000, 2)), rng.integers(-60, 60, (20_000, 2)))
    pairs[::4, 1] = np.nextafter(pairs[::4, 0], np.inf)
    pairs[1::4, 1] = pairs[1::4, 0] * rng.uniform(0.4, 2.5, 5000)
    pairs[:100] *= 2.0**-1000
    text = "".join(f"{a.hex()} {b.hex()}\n" for a, b in pairs.tolist())
    answer = subprocess.run(program, input=text, capture_output=True, text=True, check=True).stdout
    for (a, b), line in zip(pairs.tolist(), answer.splitlines(), strict=True):
        difference, product = map(float.fromhex, line.split())
        exact = Fraction(a) - Fraction(b)
        assert np.nextafter(difference, -np.inf) < exact <= difference, (a, b)
        assert Fraction(a) * Fraction(b) <= product <= a * b * (1 + 2**-51) + 1e-323, (a, b)
