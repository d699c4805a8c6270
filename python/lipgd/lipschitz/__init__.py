"""Numbers that enclose Lipschitz constants, each with its proof."""

from __future__ import annotations

from lipgd.lipschitz._estimate import Estimate
from lipgd.lipschitz._lower import lower
from lipgd.lipschitz._model import Model
from lipgd.lipschitz._upper import upper
from lipgd.lipschitz.domains import Ball, Box
from lipgd.lipschitz.reading import read
from lipgd.lipschitz.spectral import Bracket, spectral_norm

__all__ = ["Ball", "Box", "Bracket", "Estimate", "Model", "lower", "read", "spectral_norm", "upper"]
