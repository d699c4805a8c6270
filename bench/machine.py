"""What the machine is, and what it can do at best."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

GEMM_SIZE = 2000
PACKAGES = ("lipgd", "numpy", "torch", "jax", "jaxlib")
BENCH = Path(__file__).resolve().parent


def facts(threads: int) -> dict[str, Any]:
    """Describe the machine and the libraries."""
    return {
        "processor": _processor(),
        "processors_allowed": len(os.sched_getaffinity(0)),
        "threads": threads,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "load_at_start": os.getloadavg()[0],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def gemm_peaks(dtypes: list[str], threads: int) -> dict[str, dict[str, float]]:
    """Return operations per second of square matrix products, by dtype and library."""
    return {
        dtype: {library: _in_process(_gemm, library, dtype, threads) for library in _GEMM}
        for dtype in dtypes
    }


def _in_process(function: Any, *arguments: Any) -> Any:
    """Run in a process of its own, so that no thread pool is left behind in this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _gemm(library: str, dtype: str, threads: int) -> float:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, GEMM_SIZE, GEMM_SIZE)).astype(dtype)
    product = _GEMM[library](a, b, threads)
    product()
    best = min(_timed(product) for _ in range(10))
    return 2 * GEMM_SIZE**3 / best


def _timed(function: Any) -> float:
    begin = perf_counter()
    function()
    return perf_counter() - begin


def _numpy_product(a: Any, b: Any, threads: int) -> Any:
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def _torch_product(a: Any, b: Any, threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    out = torch.empty_like(left)
    return lambda: torch.matmul(left, right, out=out)


_GEMM = {"numpy": _numpy_product, "torch": _torch_product}

FLAGS = {
    "base": ["-march=x86-64-v2"],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}


def activation_times(names: list[str]) -> dict[str, dict[str, float]]:
    """Return seconds per element of value and slope in lipgd's kernels: one thread, in cache."""
    import lipgd
    from lipgd import _core, activations

    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise SystemExit(f"the roofline needs a C++ compiler: {compiler} was not found, set CXX")
    flags = ["-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
    flags += FLAGS[_core.level]
    flags += [f"-I{lipgd.get_include()}", f"-I{_eigen()}"]
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "kernel")
        source = str(BENCH / "activation_kernel.cpp")
        subprocess.run([compiler, *flags, source, "-o", program], check=True)
        times: dict[str, dict[str, float]] = {}
        for name in names:
            kind = str(int(activations.get(name).kind))
            runs = [subprocess.check_output([program, kind], text=True) for _ in range(3)]
            columns = zip(*(map(float, run.split()) for run in runs), strict=True)
            float32, float64 = (statistics.median(column) for column in columns)
            times[name] = {"float32": float32, "float64": float64}
    return times


def _eigen() -> Path:
    for folder in (*map(Path, sys.path), Path("/usr")):
        for place in ("cmeel.prefix/include/eigen3", "include/eigen3"):
            if (folder / place / "Eigen" / "Core").exists():
                return folder / place
    raise SystemExit("the roofline needs Eigen's headers: pip install 'lipgd[cpp]'")
