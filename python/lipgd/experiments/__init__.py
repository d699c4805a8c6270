"""Experiments that anyone can repeat: each is a function that fills a folder.

>>> from lipgd.experiments.demo import demo
>>> from lipgd import experiments
>>> experiments.names()
('rate-constraints', 'large-stepsize', 'dynamics')
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lipgd._check import choice, flag, integer, path_of
from lipgd._threads import usable_threads

if TYPE_CHECKING:
    from lipgd.experiments._reproduce import Reproduction

__all__ = ["names", "reproduce"]


@dataclass(frozen=True)
class _Experiment:
    """A package here whose function ``studies`` maps a request to its parts."""

    module: str
    title: str
    words: str
    takes_data: bool = False


_EXPERIMENTS = {
    "rate-constraints": _Experiment(
        "rate_constraints",
        "Learning rates and Lipschitz constants",
        "What learning rates do to the Lipschitz constant: trainings of small networks with "
        "constant and with decaying rates. Sentences with numbers are computed from the tables.",
    ),
    "large-stepsize": _Experiment(
        "large_stepsize",
        "Gradient descent with large stepsizes",
        "What large constant stepsizes do on the logistic loss: when the risk stops oscillating, "
        "what is certified, how fast it falls. Sentences with numbers are computed from the "
        "tables.",
        takes_data=True,
    ),
    "dynamics": _Experiment(
        "dynamics",
        "What moves the Lipschitz constant during SGD",
        "Predicted and observed norms of the layers along trainings by mini-batch SGD on the "
        "bundled digits. Z is the sum of the logarithms of the layers' spectral norms: its "
        "exponential bounds the Lipschitz constant, up to the constants of the activations. "
        "Sentences with numbers are computed from the tables.",
        takes_data=True,
    ),
}


def names() -> tuple[str, ...]:
    """Return the names that :func:`reproduce` knows.

    Examples
    --------
    >>> from lipgd import experiments
    >>> "rate-constraints" in experiments.names()
    True
    """
    return tuple(_EXPERIMENTS)


def reproduce(
    name: str,
    folder: str | os.PathLike[str],
    *,
    quick: bool = False,
    data: str | os.PathLike[str] | None = None,
    seeds: int | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> Reproduction:
    """Repeat an experiment, and write tables, figures and one page to a folder.

    The numbers depend on neither the machine's load nor the number of jobs.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    folder : path-like
        Made if it is not there. It gets ``report.html``, and the folders ``figures`` (PNG, SVG, and
        CSV of what they show), ``tables`` and ``rows`` (CSV). Files of these names are replaced.
    quick : bool
        Fewer and shorter trainings, in less than a minute.
    data : path-like, optional
        A folder with the data sets of an experiment that needs some.
    seeds : int, optional
        Seeds of whatever is repeated; by default each part has its own number.
    jobs : int, optional
        Trainings at the same time, a thread each; by default the threads that the process may use.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Reproduction
        What the tables say. After Ctrl-C too, with the parts that had ended.

    Raises
    ------
    ImportError
        If scikit-learn or matplotlib is not installed.
    TypeError, ValueError
        For bad arguments, before any work.

    Examples
    --------
    >>> from lipgd import experiments
    >>> result = experiments.reproduce("rate-constraints", "folder", quick=True)  # doctest: +SKIP
    """
    from lipgd.experiments._reproduce import reproduce_studies
    from lipgd.experiments._study import Request

    experiment = _EXPERIMENTS[choice("name", name, _EXPERIMENTS)]
    target = path_of("folder", folder)
    flag("quick", quick)
    flag("progress", progress)
    if data is not None and not experiment.takes_data:
        raise ValueError(f"data is {os.fspath(data)!r}, but {name} needs none, expected None")
    if seeds is not None:
        integer("seeds", seeds, at_least=1)
    workers = usable_threads() if jobs is None else integer("jobs", jobs, at_least=1)
    request = Request(quick, None if data is None else Path(path_of("data", data)), seeds)
    module = import_module(f"lipgd.experiments.{experiment.module}")
    command = f"lipgd reproduce {name}{' --quick' if quick else ''}"
    command += "" if seeds is None else f" --seeds {seeds}"
    command += "" if data is None else f" --data {os.fspath(data)}"
    return reproduce_studies(
        experiment.title,
        experiment.words,
        module.studies(request),
        target,
        command,
        workers,
        progress,
    )
