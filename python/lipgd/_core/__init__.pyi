from types import ModuleType
from typing import Any, Final, TypedDict

import numpy as np
import numpy.typing as npt

class _BuildInfo(TypedDict):
    version: str
    level: str
    compiler: str
    eigen: str
    alignment: int
    openmp: int

LEVELS: Final[tuple[str, ...]]
level: Final[str]
reason: Final[str]
build_info: Final[_BuildInfo]
default_spectral_iterations: Final[int]
default_spectral_tolerance: Final[float]

def built() -> tuple[str, ...]: ...
def available() -> tuple[str, ...]: ...
def load(level: str) -> ModuleType: ...
def spectral_norm(
    a: npt.NDArray[np.floating[Any]], tolerance: float, max_iterations: int
) -> tuple[float, float, int, bool]: ...
def activate(
    kind: int, parameter: float, mix: float, z: npt.NDArray[np.floating[Any]]
) -> tuple[
    npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]
]: ...
