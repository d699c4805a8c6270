"""What the records of margins count: the degree of homogeneity, and how far it is missed."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lipgd._check import shown
from lipgd.losses import Loss
from lipgd.network import Network

__all__ = ["MARGIN_RECORDS", "degree_of", "gap_of", "refuse_records", "trained_flags"]

#: The records that need margins: the logistic loss, one output, no sample weights.
MARGIN_RECORDS = (
    "log_risk",
    "margin",
    "normalized_margin",
    "smoothed_margin",
    "modified_margin",
    "homogeneity_error",
    "margin_direction",
    "margin_scaling",
)


def trained_flags(net: Network, frozen: Iterable[str]) -> list[bool]:
    """Return for every group of parameters whether it is trained; raise for unknown names."""
    names = net._layout.names
    if isinstance(frozen, str):
        frozen = (frozen,)
    if not isinstance(frozen, Iterable):
        raise TypeError(f"frozen is {shown(frozen)}, expected names such as ('W2', 'b2')")
    held = list(frozen)
    for name in held:
        if name not in names:
            raise ValueError(f"frozen has {shown(name)}, expected some of {', '.join(names)}")
    if set(held) == set(names):
        raise ValueError("frozen names every parameter, expected one that is trained")
    return [name not in held for name in names]


def degree_of(net: Network, trained: list[bool]) -> int:
    """Return the degree of homogeneity: the number of weight matrices that are trained."""
    names = net._layout.names
    matrices = sum(flag for name, flag in zip(names, trained, strict=True) if name.startswith("W"))
    return max(1, matrices)


def gap_of(net: Network, trained: list[bool]) -> float | None:
    """Return kappa of large-stepsize.md, (1.1) and section 4.1, or None where no bound is known."""
    if _is_homogeneous(net, trained):
        return 0.0
    from lipgd.theory import large_stepsize

    frozen = [name for name, flag in zip(net._layout.names, trained, strict=True) if not flag]
    if large_stepsize.unsuited(net, frozen) is not None:
        return None
    gap = large_stepsize.homogeneity_gap(net, frozen)
    return gap if math.isfinite(gap) else None


def refuse_records(
    record: Iterable[str], net: Network, loss: Loss, weighted: bool, gap: float | None
) -> None:
    """Raise for records that the training has no meaning for."""
    wanted = [name for name in record if name in MARGIN_RECORDS]
    if not wanted:
        return
    if loss.kind != "logistic":
        raise ValueError(
            f"record has {wanted[0]}, but loss is {loss.name}, expected the logistic loss"
        )
    if net.n_outputs != 1:
        raise ValueError(
            f"record has {wanted[0]}, but the network has {net.n_outputs} outputs, expected one"
        )
    if weighted:
        raise ValueError(
            f"record has {wanted[0]}, but sample_weight is given, expected samples that count alike"
        )
    if "modified_margin" in wanted and gap is None:
        raise ValueError(
            "record has modified_margin, but no bound of the homogeneity error is known for these "
            "trained parameters, expected one hidden layer with a frozen W2, or a network that is "
            "homogeneous; homogeneity_error measures the error"
        )


def _is_homogeneous(net: Network, trained: list[bool]) -> bool:
    """Return whether the outputs are homogeneous in the trained parameters.

    Every bias must scale as its products do: with no trained layer below, and trained as its
    weights are.
    """
    if net.depth > 1 and net.activation.homogeneity_range != (0.0, 0.0):
        return False
    flags = dict(zip(net._layout.names, trained, strict=True))
    above = False
    for layer in range(1, net.depth + 1):
        bias = flags.get(f"b{layer}")
        if bias is not None and (above or bias != flags[f"W{layer}"]):
            return False
        above = above or flags[f"W{layer}"]
    return above
