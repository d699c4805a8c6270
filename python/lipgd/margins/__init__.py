"""Margins, phases of a training, stepsizes and sharpness: see large-stepsize.md."""

from __future__ import annotations

from lipgd.margins._measure import Margins, margins
from lipgd.margins._phases import Phases, phases
from lipgd.margins._reasons import REASONS
from lipgd.margins._separability import Separability, separability
from lipgd.margins._sharpness import Sharpness, sharpness
from lipgd.margins._suggest import Stepsizes, suggest_stepsize

__all__ = [
    "REASONS",
    "Margins",
    "Phases",
    "Separability",
    "Sharpness",
    "Stepsizes",
    "margins",
    "phases",
    "separability",
    "sharpness",
    "suggest_stepsize",
]
