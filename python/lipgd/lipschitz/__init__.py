"""Numbers that enclose Lipschitz constants, each with its proof."""

from __future__ import annotations

from lipgd.lipschitz._audit import Audit, audit
from lipgd.lipschitz._certificate_file import Checked, check_certificate
from lipgd.lipschitz._estimate import Estimate
from lipgd.lipschitz._lower import lower
from lipgd.lipschitz._model import Model
from lipgd.lipschitz._radius import certified_radius
from lipgd.lipschitz._upper import upper
from lipgd.lipschitz.domains import Ball, Box
from lipgd.lipschitz.reading import read
from lipgd.lipschitz.spectral import Bracket, spectral_norm

__all__ = [
    "Audit",
    "Ball",
    "Box",
    "Bracket",
    "Checked",
    "Estimate",
    "Model",
    "audit",
    "certified_radius",
    "check_certificate",
    "lower",
    "read",
    "spectral_norm",
    "upper",
]
