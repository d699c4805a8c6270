"""C++ programs of others, built against the headers and the CMake package of this installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
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


def test_a_compiler_needs_two_folders(tmp_path: Path) -> None:
    (tmp_path / "one.cpp").write_text("#include <lipgd/spectral.hpp>\nint main() {}\n")
    eigen = Path(PURELIB, "cmeel.prefix", "include", "eigen3")
    run(
        tool("c++"),
        "-std=c++17",
        "-fsyntax-only",
        f"-I{lipgd.get_include()}",
        f"-I{eigen}",
        tmp_path / "one.cpp",
    )
