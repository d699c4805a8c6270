"""The order of the gallery: first what newcomers look for."""

from __future__ import annotations

ORDER = (
    "train_and_certify",
    "lipschitz_target",
    "audit_foreign_network",
    "estimator_in_a_pipeline",
    "local_bounds_and_radius",
    "exact_constant_in_the_plane",
    "schedules",
    "rate_caps",
    "guarantees_of_a_training",
    "large_stepsize_phases",
    "sharpness_edge",
    "layer_dynamics",
    "sweep_of_limits",
    "export_c_header",
)


class InTheOrderOfTheGuide:
    """A key for sorting file names; those that are not in the list come last, by name."""

    def __init__(self, src_dir: str) -> None:
        self.src_dir = src_dir

    def __call__(self, filename: str) -> tuple[int, str]:
        """Return the place of an example."""
        name = filename.removesuffix(".py")
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)
