"""Gradient descent with large stepsizes: the experiments of large-stepsize.md.

Each module here is a part: its trainings, and what their table says.
"""

from __future__ import annotations

from lipgd.experiments._study import Request, Study
from lipgd.experiments.large_stepsize import (
    _activations,
    _images,
    _labels,
    _landscape,
    _scale,
    _scaling,
    _starts,
    _tuned,
    _xor,
)

__all__ = ["studies"]

_PARTS = (
    _xor,
    _scaling,
    _landscape,
    _tuned,
    _activations,
    _images,
    _labels,
    _starts,
    _scale,
)


def studies(request: Request) -> list[Study]:
    """Return the parts in the order of the page.

    Parameters
    ----------
    request : Request
        What the user asks for. A folder of data with the binary files of CIFAR-10, the IDX files
        of MNIST, or both, adds their trainings.

    Returns
    -------
    list of Study

    Raises
    ------
    ValueError
        If the folder has neither.
    """
    _images.check(request.data)
    return [part.study(request) for part in _PARTS]
