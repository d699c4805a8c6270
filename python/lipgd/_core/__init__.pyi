from types import ModuleType
from typing import Final, TypedDict

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

def built() -> tuple[str, ...]: ...
def available() -> tuple[str, ...]: ...
def load(level: str) -> ModuleType: ...
