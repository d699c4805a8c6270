"""Numbers that enclose Lipschitz constants, each with its proof."""

from __future__ import annotations

from lipgd.lipschitz.spectral import Bracket, spectral_norm

__all__ = ["Bracket", "spectral_norm"]
