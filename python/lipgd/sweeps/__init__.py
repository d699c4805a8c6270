"""Many small runs: a grid of settings, in parallel, kept on disk cell by cell."""

from lipgd.sweeps._result import SweepResult
from lipgd.sweeps._settings import SETTINGS
from lipgd.sweeps._sweep import sweep

__all__ = ["SETTINGS", "SweepResult", "sweep"]
