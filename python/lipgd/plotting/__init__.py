"""Figures of what a training recorded.

Every function draws into Axes and returns them: ``name(history_or_run, *, ax=None, **line)``. They
change no global setting and never call ``show``. Colours can be told apart by colour-blind readers,
line styles and markers in black and white.

>>> import lipgd, numpy as np
>>> from lipgd import plotting
>>> history = lipgd.History([0, 10, 20], {"risk": [1.0, 0.5, 0.4]}, {"loss": "mse"})
>>> figure, axes = plotting.panels(1)
>>> plotting.risk(history, ax=axes[0]).get_ylabel()
'risk (mean squared error)'
"""

from __future__ import annotations

from ._bounds import gap_bounds, gradient_bounds, guarantees, lipschitz_bounds
from ._curves import column, gradient_norms, lipschitz, norms, rates, risk, spectral_norms
from ._dynamics import contributions, predicted_trajectory, variance_by_batch_size
from ._ladder import lipschitz_by_width, lipschitz_ladder
from ._landscape import landscape
from ._layers import coefficient, layer_dynamics
from ._phases import margins, phase_risk, phases, scaled_risk, sharpness
from ._several import compare, overview, side_by_side
from ._style import panels, save

__all__ = [
    "coefficient",
    "column",
    "compare",
    "contributions",
    "gap_bounds",
    "gradient_bounds",
    "gradient_norms",
    "guarantees",
    "landscape",
    "layer_dynamics",
    "lipschitz",
    "lipschitz_bounds",
    "lipschitz_by_width",
    "lipschitz_ladder",
    "margins",
    "norms",
    "overview",
    "panels",
    "phase_risk",
    "phases",
    "predicted_trajectory",
    "rates",
    "risk",
    "save",
    "scaled_risk",
    "sharpness",
    "side_by_side",
    "spectral_norms",
    "variance_by_batch_size",
]
