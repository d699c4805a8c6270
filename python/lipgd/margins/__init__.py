"""Margins of a classifier, phases of its training, and stepsizes: see large-stepsize.md."""

from __future__ import annotations

from lipgd.margins._phases import Phases, phases
from lipgd.margins._reasons import REASONS
from lipgd.margins._suggest import Stepsizes, suggest_stepsize

__all__ = ["REASONS", "Phases", "Stepsizes", "phases", "suggest_stepsize"]
