"""How many threads this process may use."""

from __future__ import annotations

import functools
import math
import os
import sys
from pathlib import Path

from lipgd._check import integer

__all__ = ["thread_choice", "usable_threads"]

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_threads() -> int:
    """Return the number of CPUs by affinity, or a smaller limit.

    That may be the quota of the control group, or ``OMP_NUM_THREADS``, which users know and joblib
    and sweeps set in their workers, so that together they do not take more than the machine has.
    """
    cpus = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    return max(1, min(cpus, _quota(), _stated()))


def thread_choice(n_threads: int | None) -> tuple[int, bool]:
    """Return the number of threads, and whether the trainings of this process share them."""
    if n_threads is None:
        return usable_threads(), True
    return integer("n_threads", n_threads, at_least=1), False


def _stated() -> int:
    """Return the first number of OMP_NUM_THREADS, which may be a list by level."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else sys.maxsize


@functools.cache  # a process keeps its control group, and reading it takes 60 microseconds
def _quota() -> int:
    """Return the CPUs' worth of time that the control groups grant: the least along the path."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return sys.maxsize
    limits = [math.inf]
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _CGROUPS / "cpu" if controllers else _CGROUPS
        folder = root / group.lstrip("/")
        # Inside a container the path may be the host's: what is mounted at the root counts then.
        for place in (folder, *folder.parents):
            limits.append(_limit(place))
            if place == root:
                break
    least = min(limits)
    return sys.maxsize if math.isinf(least) else math.ceil(least)


def _limit(folder: Path) -> float:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return math.inf
    unlimited = quota in ("max", "-1")
    return math.inf if unlimited else int(quota) / int(period)
