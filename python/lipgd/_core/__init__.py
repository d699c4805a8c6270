"""The compiled core: one module per instruction set, chosen once at import.

``LIPGD_ISA`` (base, v3 or v4) overrides the choice, which is else the best level that the CPU runs
and the build has.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

from . import _cpu

#: All levels, from the plainest: x86-64-v2 (or the platform's default), AVX2 with FMA, AVX-512.
LEVELS = ("base", "v3", "v4")


def built() -> tuple[str, ...]:
    """Return the levels that this installation has, from the plainest."""
    return tuple(level for level in LEVELS if importlib.util.find_spec(f"{__name__}._{level}"))


def available() -> tuple[str, ...]:
    """Return the levels that this installation has and this machine runs, from the plainest."""
    runs = _cpu.supported()
    return tuple(level for level in built() if level in runs)


def load(level: str) -> ModuleType:
    """Return the module of one level.

    Raises
    ------
    ImportError
        If the level is unknown, not built, or not for this machine.
    """
    levels = available()
    if level not in levels:
        here = ", ".join(levels) or "none"
        raise ImportError(f"level is {level!r}, expected one that is available here ({here})")
    return importlib.import_module(f"{__name__}._{level}")


def _choose() -> tuple[str, str]:
    levels = available()
    wanted = os.environ.get("LIPGD_ISA", "")
    here = ", ".join(levels) or "none"
    if wanted and wanted not in levels:
        raise ImportError(
            f"LIPGD_ISA is {wanted!r}, expected one of the levels that are available here ({here})"
        )
    if not levels:
        raise ImportError(
            f"no compiled level runs on this machine: built {', '.join(built()) or 'none'}, "
            f"the CPU runs {', '.join(_cpu.supported()) or 'none'}"
        )
    if wanted:
        return wanted, "set by LIPGD_ISA"
    if levels[-1] == LEVELS[-1]:
        return levels[-1], "the best level there is"
    if levels == built():
        return levels[-1], "the best level of this build"
    return levels[-1], "the best level that this CPU runs"


level, reason = _choose()
_module = load(level)

build_info = _module.build_info
activate = _module.activate
add_layer_rows = _module.add_layer_rows
add_network_rows = _module.add_network_rows
certificate = _module.certificate
certify = _module.certify
default_spectral_iterations = _module.default_spectral_iterations
default_spectral_tolerance = _module.default_spectral_tolerance
descend = _module.descend
find_nonfinite = _module.find_nonfinite
forward = _module.forward
hessian_vector_product = _module.hessian_vector_product
jacobian = _module.jacobian
jacobian_norms = _module.jacobian_norms
layer_rows = _module.layer_rows
margins = _module.margins
risk = _module.risk
risk_and_gradient = _module.risk_and_gradient
scaled_gradient = _module.scaled_gradient
sharpness = _module.sharpness
slopes_along = _module.slopes_along
spectral_norm = _module.spectral_norm
thin_svd = _module.thin_svd
write_last_row = _module.write_last_row
