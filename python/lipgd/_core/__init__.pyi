from types import ModuleType
from typing import Any, Final, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

_Floats: TypeAlias = npt.NDArray[np.floating[Any]]  # float32 or float64, C order
_Doubles: TypeAlias = npt.NDArray[np.float64]
_Positions: TypeAlias = npt.NDArray[np.int64]
# sizes, which layers have a bias, activation (kind, parameter, mix), output_scale
_Net: TypeAlias = tuple[list[int], list[bool], int, float, float, float]
# values, labels, sample weights
_Targets: TypeAlias = tuple[_Floats | None, _Positions | None, _Floats | None]
_Loss: TypeAlias = tuple[int, float]  # kind, parameter

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
def activate(
    kind: int, parameter: float, mix: float, z: _Floats
) -> tuple[_Floats, _Floats, _Floats]: ...
def add_layer_rows(
    features: list[_Floats],
    signals: list[_Floats],
    like: _Floats,
    layers: list[tuple[_Doubles, _Doubles, _Doubles, _Doubles | None]],
    cross: _Doubles,
) -> None: ...
def add_network_rows(
    net: _Net,
    parameters: _Floats,
    x: _Floats,
    targets: _Targets,
    loss: _Loss,
    layers: list[tuple[_Doubles, _Doubles, _Doubles, _Doubles | None]],
    cross: _Doubles,
) -> None: ...
def thin_svd(a: _Doubles) -> tuple[_Doubles, _Doubles, _Doubles] | None: ...
def slopes_along(
    net: _Net,
    parameters: _Floats,
    direction: _Floats,
    x: _Floats,
    targets: _Targets,
    loss: _Loss,
) -> _Doubles: ...
def layer_rows(
    net: _Net, parameters: _Floats, x: _Floats, targets: _Targets, loss: _Loss
) -> tuple[list[_Floats], list[_Floats]]: ...
def spectral_norm(
    a: _Floats, tolerance: float, max_iterations: int
) -> tuple[float, float, int, bool]: ...
def certify(
    weights: list[_Doubles],
    lower: list[_Doubles],
    upper: list[_Doubles],
    tolerance: float,
    max_sweeps: int,
    rigorous: bool,
    seconds: float,
    start: tuple[int, _Doubles, list[_Doubles]] | None,
    projections: int,
) -> tuple[
    float,
    float,
    int,
    str,
    list[tuple[_Doubles, _Positions]],
    tuple[int, _Doubles, list[_Doubles]],
    list[tuple[_Doubles, _Doubles]],
]: ...
def find_nonfinite(x: _Floats) -> tuple[int, int] | None: ...
def forward(net: _Net, parameters: _Floats, x: _Floats, threads: int, shared: bool) -> _Floats: ...
def jacobian(net: _Net, parameters: _Floats, x: _Floats, threads: int, shared: bool) -> _Floats: ...
def jacobian_norms(
    net: _Net, parameters: _Floats, x: _Floats, threads: int, shared: bool
) -> _Doubles: ...
def risk(
    net: _Net,
    parameters: _Floats,
    x: _Floats,
    targets: _Targets,
    loss: _Loss,
    threads: int,
    shared: bool,
) -> float: ...
def risk_and_gradient(
    net: _Net,
    parameters: _Floats,
    x: _Floats,
    targets: _Targets,
    loss: _Loss,
    threads: int,
    shared: bool,
) -> tuple[float, _Floats]: ...
def hessian_vector_product(
    net: _Net,
    parameters: _Floats,
    direction: _Floats,
    x: _Floats,
    targets: _Targets,
    loss: _Loss,
    threads: int,
    shared: bool,
) -> _Floats: ...
def descend(
    parameters: _Floats,
    problem: dict[str, Any],
    state: dict[str, Any],
    history: _Doubles,
    end: int,
    rates: _Doubles,
    batch_rows: _Positions | None,
    batch_offsets: _Positions | None,
    seconds: float,
) -> int: ...
def certificate(
    net: _Net, parameters: _Floats, kind: int, slopes: tuple[float, float, float]
) -> float: ...
def write_last_row(
    parameters: _Floats, problem: dict[str, Any], state: dict[str, Any], history: _Doubles
) -> bool: ...
def margins(
    net: _Net,
    parameters: _Floats,
    x: _Floats,
    targets: _Targets,
    trained: list[bool],
    degree: float,
    homogeneity_gap: float,
    threads: int,
    shared: bool,
) -> tuple[_Doubles, _Doubles, float, float, float, float, float, float, float, float]: ...
def scaled_gradient(
    net: _Net,
    parameters: _Floats,
    x: _Floats,
    targets: _Targets,
    loss: _Loss,
    trained: list[bool],
    threads: int,
    shared: bool,
) -> tuple[float, _Floats, float]: ...
def sharpness(
    net: _Net,
    parameters: _Floats,
    x: _Floats,
    targets: _Targets,
    loss: _Loss,
    trained: list[bool],
    start: _Doubles,
    tolerance: float,
    max_products: int,
    threads: int,
    shared: bool,
) -> tuple[float, float, int, bool, _Doubles]: ...
