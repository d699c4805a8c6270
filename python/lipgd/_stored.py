"""Networks as other formats store them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lipgd._check import choice, shown
from lipgd.network import Network

__all__ = ["stored"]


def stored(net: Network, dtype: npt.DTypeLike | None) -> Network:
    """Return the network with its parameters rounded to a dtype, or as it is; all finite."""
    if dtype is not None:
        try:
            given = np.dtype(dtype).name
        except TypeError as error:
            raise TypeError(f"dtype is {shown(dtype)}, expected float64 or float32") from error
        kind = choice("dtype", given, ("float64", "float32"))
        with np.errstate(over="ignore"):  # infinity is looked for next
            net = net.replace(
                weights=[matrix.astype(kind) for matrix in net.weights],
                biases=[None if bias is None else bias.astype(kind) for bias in net.biases],
            )
    for parameter, array in net.named():
        if not np.isfinite(array).all():
            raise ValueError(
                f"net has an entry of {parameter} that is not finite in {net.dtype}, "
                "expected finite numbers"
            )
    return net
