"""Names of what a history can record."""

from __future__ import annotations

from collections.abc import Iterable

from lipgd._layout import Layout

__all__ = ["column_codes", "column_names", "column_patterns"]

#: In the order of the C++ enumeration: the quantity, and what its part may be.
_QUANTITIES = {
    "risk": "",
    "gradient_norm": "all or group",
    "rate": "group",
    "spectral_norm": "layer",
    "spectral_norm_lower": "layer",
    "lipschitz_upper": "",
    "lipschitz_lower": "",
    "validation_risk": "",
    "parameter_norm": "all or group",
    "displacement": "all or group",
    "path_length": "group",
    "log_risk": "",
    "margin": "",
    "normalized_margin": "",
    "smoothed_margin": "",
    "modified_margin": "",
    "homogeneity_error": "",
    "margin_direction": "",
    "margin_scaling": "",
    "sharpness": "",
    "sharpness_residual": "",
    "lipschitz_upper_sdp": "",
}


def column_names(layout: Layout) -> tuple[str, ...]:
    """Return every name that a network with these parameters can record."""
    names = []
    for quantity, part in _QUANTITIES.items():
        if part in ("", "all or group"):
            names.append(quantity)
        if part:
            groups = (name for name in layout.names if part != "layer" or name.startswith("W"))
            names.extend(f"{quantity}:{group}" for group in groups)
    return tuple(names)


def column_patterns(layout: Layout) -> tuple[str, ...]:
    """Return these names for messages: with one entry for all parts of a quantity."""
    stars = {"group": "*", "all or group": "*", "layer": "W*"}
    names, last = [], 0
    for quantity, part in _QUANTITIES.items():
        if part in ("", "all or group"):
            names.append(quantity)
        if part:
            last = len(names)
            names.append(f"{quantity}:{stars[part]}")
    names[last] += f" (with {', '.join(layout.names)})"
    return tuple(names)


def column_codes(record: Iterable[str], layout: Layout) -> list[tuple[int, int]]:
    """Return quantity and part of each name as the core counts them."""
    return [_code(name, layout) for name in record]


def _code(name: str, layout: Layout) -> tuple[int, int]:
    quantity, _, part = name.partition(":")
    code = list(_QUANTITIES).index(quantity)
    if not part:
        return code, -1
    if _QUANTITIES[quantity] == "layer":
        return code, int(part[1:]) - 1
    return code, layout.names.index(part)
