"""What moves the Lipschitz constant of a network under mini-batch gradient descent: dynamics.md."""

from __future__ import annotations

from lipgd._recording import Recording
from lipgd.dynamics._coefficients import coefficients
from lipgd.dynamics._ensemble import Ensemble, ensemble
from lipgd.dynamics._landscape import Landscape, landscape
from lipgd.dynamics._law import LogNormal
from lipgd.dynamics._moments import Moments
from lipgd.dynamics._noise_root import NoiseRoot, noise_root
from lipgd.dynamics._predict import predict
from lipgd.dynamics._prediction import Prediction
from lipgd.dynamics._simulate import Simulation, simulate
from lipgd.dynamics._terms import Coefficients, Totals, coefficients_of
from lipgd.dynamics._triplets import Triplets

__all__ = [
    "Coefficients",
    "Ensemble",
    "Landscape",
    "LogNormal",
    "Moments",
    "NoiseRoot",
    "Prediction",
    "Recording",
    "Simulation",
    "Totals",
    "Triplets",
    "coefficients",
    "coefficients_of",
    "ensemble",
    "landscape",
    "noise_root",
    "predict",
    "simulate",
]
