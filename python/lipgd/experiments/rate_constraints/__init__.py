"""Learning rates and the Lipschitz constant: the experiments of rate-constraints.md, section 14.

Each module here is a part: its trainings, and what their table says.
"""

from __future__ import annotations

from lipgd.experiments._study import Request, Study
from lipgd.experiments.rate_constraints import _schedules

__all__ = ["studies"]

_PARTS = (_schedules,)


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
