"""Learning rates and the Lipschitz constant: the experiments of rate-constraints.md, section 14.

Each module here is a part: its trainings, and what their table says.
"""

from __future__ import annotations

from lipgd.experiments._study import Request, Study
from lipgd.experiments.rate_constraints import (
    _activations,
    _caps,
    _controller,
    _depth,
    _descent,
    _distribution,
    _front,
    _gap,
    _methods,
    _real,
    _samples,
    _schedules,
    _width,
)

__all__ = ["studies"]

#: In the order of the page.
_PARTS = (
    _samples,
    _width,
    _schedules,
    _distribution,
    _depth,
    _methods,
    _activations,
    _front,
    _caps,
    _controller,
    _descent,
    _gap,
    _real,
)


def studies(request: Request) -> list[Study]:
    """Return the parts in the order of the page.

    Parameters
    ----------
    request : Request
        What the user asks for.

    Returns
    -------
    list of Study
    """
    return [part.study(request) for part in _PARTS]
