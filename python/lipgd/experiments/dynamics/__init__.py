"""What moves the Lipschitz constant during SGD: the experiments of dynamics.md, section 15.

Each module here but the first two is a part: its trainings, and what their table says.
"""

from __future__ import annotations

from lipgd.experiments._study import Request, Study
from lipgd.experiments.dynamics import (
    _batches,
    _convergence,
    _convnet,
    _layers,
    _noise,
    _paths,
    _starts,
    _validation,
)

__all__ = ["studies"]

#: In the order of the page.
_PARTS = (_validation, _layers, _batches, _paths, _noise, _convergence, _starts, _convnet)


def studies(request: Request) -> list[Study]:
    """Return the parts in the order of the page.

    Parameters
    ----------
    request : Request
        What the user asks for. A folder of data with the binary files of CIFAR-10 or CIFAR-100
        adds their trainings.

    Returns
    -------
    list of Study

    Raises
    ------
    ValueError
        If the folder has neither.
    ImportError
        If there is a folder but no PyTorch.
    """
    _convnet.check(request.data)
    return [part.study(request) for part in _PARTS]
