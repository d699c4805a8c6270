"""Names of what a history can record."""

from __future__ import annotations

from collections.abc import Iterable

from lipgd._layout import Layout

__all__ = [
    "DYNAMICS",
    "FIRST_ORDER",
    "column_codes",
    "column_names",
    "column_patterns",
    "dynamics_columns",
    "expanded",
]

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
    "dynamics_first_order": "all or layer",
}
_ELSEWHERE = len(_QUANTITIES)
FIRST_ORDER = "dynamics_first_order"
#: The record that stands for a group of columns.
DYNAMICS = "lipschitz_dynamics"
#: Its columns: those of the whole network and of each layer, then those of layers alone.
_OF_ALL = (
    *("log_norm", "first_order", "pathwise", "mu", "kappa", "lambda2", "psi", "pair"),
    *("kappa_diagonal", "lambda2_diagonal", "epoch"),
)
_OF_LAYERS = ("gap", "degeneracy", "pair_share")


def dynamics_columns(layout: Layout) -> tuple[str, ...]:
    """Return the columns of the record of the dynamics."""
    layers = [name for name in layout.names if name.startswith("W")]
    names = [f"dynamics_{quantity}" for quantity in _OF_ALL]
    for quantity in (*_OF_ALL, *_OF_LAYERS):
        names.extend(f"dynamics_{quantity}:{layer}" for layer in layers)
    return tuple(names)


def expanded(record: Iterable[str], layout: Layout) -> tuple[str, ...]:
    """Return the columns that records stand for, each once."""
    columns: dict[str, None] = {}
    for name in record:
        columns.update(dict.fromkeys(dynamics_columns(layout) if name == DYNAMICS else (name,)))
    return tuple(columns)


def column_names(layout: Layout) -> tuple[str, ...]:
    """Return every name that a network with these parameters can record."""
    names = []
    for quantity, part in _QUANTITIES.items():
        if not part or part.startswith("all"):
            names.append(quantity)
        if part:
            groups = (n for n in layout.names if part.endswith("group") or n.startswith("W"))
            names.extend(f"{quantity}:{group}" for group in groups)
    return (*names, DYNAMICS)


def column_patterns(layout: Layout) -> tuple[str, ...]:
    """Return these names for messages: with one entry for all parts of a quantity.

    The record of the dynamics stands for its columns, the one that may be recorded alone too.
    """
    names, last = [], 0
    for quantity, part in _QUANTITIES.items():
        if quantity == FIRST_ORDER:
            continue
        if not part or part.startswith("all"):
            names.append(quantity)
        if part:
            last = len(names) if part.endswith("group") else last
            names.append(f"{quantity}:{'*' if part.endswith('group') else 'W*'}")
    names[last] += f" (with {', '.join(layout.names)})"
    return (*names, DYNAMICS)


def column_codes(columns: Iterable[str], layout: Layout) -> list[tuple[int, int]]:
    """Return quantity and part of each column as the core counts them."""
    return [_code(name, layout) for name in columns]


def _code(name: str, layout: Layout) -> tuple[int, int]:
    quantity, _, part = name.partition(":")
    if quantity not in _QUANTITIES:
        return _ELSEWHERE, -1
    code = list(_QUANTITIES).index(quantity)
    if not part:
        return code, -1
    if _QUANTITIES[quantity].endswith("layer"):
        return code, int(part[1:]) - 1
    return code, layout.names.index(part)
