"""Networks as source code for machines without Python."""

from __future__ import annotations

import math
import os
import re
from typing import Any

import numpy as np

from lipgd._check import shown
from lipgd._files import atomic_writer
from lipgd.activations import Activation, names
from lipgd.lipschitz import upper
from lipgd.network import Network

__all__ = ["c_header"]

#: C keeps names that begin with an underscore and another one or a capital for itself.
_NAME = re.compile(r"(?!_[A-Z_])[A-Za-z_][A-Za-z0-9_]*")
#: Words of C99 and of C++ that look like identifiers, and the one function of every program.
_WORDS = """
    auto bool break case catch char class const continue default delete do double else enum explicit
    export extern false float for friend goto if inline int long main mutable namespace new operator
    private protected public register restrict return short signed sizeof static struct switch
    template this throw true try typedef typename union unsigned using virtual void volatile while
"""
#: What math.h declares: of numbers of three kinds, with the suffixes f and l, and others.
_FUNCTIONS = """
    acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh drem erf erfc exp exp10 exp2
    expm1 fabs fdim finite floor fma fmax fmin fmod frexp gamma hypot ilogb isinf isnan j0 j1 jn
    ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan nearbyint nextafter
    nexttoward pow remainder remquo rint round scalb scalbln scalbn significand sin sincos sinh sqrt
    tan tanh tgamma trunc y0 y1 yn
"""
_OTHERS = """
    HUGE_VAL HUGE_VALF HUGE_VALL INFINITY NAN NULL double_t float_t fpclassify isfinite isgreater
    isgreaterequal isless islessequal islessgreater isnormal isunordered math_errhandling signbit
    signgam
"""
_TAKEN = frozenset(
    [*_WORDS.split(), *_OTHERS.split()]
    + [name + suffix for name in _FUNCTIONS.split() for suffix in ("", "f", "l")]
)
_PER_LINE = 4

#: The activations in C99, of a number z: numerically stable where a textbook formula is not.
_C: dict[str, str] = {
    "identity": "z",
    "relu": "z > 0 ? z : 0",
    "leaky_relu": "z > 0 ? z : {p} * z",
    "relu6": "z < 0 ? 0 : (z > 6 ? 6 : z)",
    "elu": "z > 0 ? z : {p} * expm1{f}(z)",
    "tanh": "tanh{f}(z)",
    "sigmoid": "z < 0 ? exp{f}(z) / (1 + exp{f}(z)) : 1 / (1 + exp{f}(-z))",
    "silu": "z < 0 ? z * (exp{f}(z) / (1 + exp{f}(z))) : z / (1 + exp{f}(-z))",
    "gelu": "z * ({half} * erfc{f}(-z * {root_half}))",
    "gelu_tanh": ("z / (1 + exp{f}(-{twice_root} * (z + {cubic} * z * z * z)))"),
    "softplus": "z > 0 ? z + log1p{f}(exp{f}(-z)) : log1p{f}(exp{f}(z))",
    "sin": "sin{f}(z)",
}


def c_header(
    net: Network, name: str = "lipgd_net", path: str | os.PathLike[str] | None = None
) -> str:
    """Return a network as one header of C99 that needs the standard ``math.h`` alone.

    The header has the weights as exact hexadecimal constants, ``NAME_LIPSCHITZ`` (a proved upper
    bound of the Lipschitz constant of the network with these weights in exact arithmetic),
    ``NAME_INPUTS``, ``NAME_OUTPUTS``, ``NAME_SCALAR`` (double or float) and the function::

        static inline void NAME(const NAME_SCALAR *x, NAME_SCALAR *y);

    It takes its scratch memory, two layers of the largest width, from the stack, allocates nothing,
    keeps no state, and may be called from several threads and be included in several files.

    Parameters
    ----------
    net : Network
        The network; its dtype is that of the code.
    name : str
        An identifier of C that is no word of C or C++, nor one of ``math.h``.
    path : path-like, optional
        A file to write it to as well, which is replaced as a whole or not at all.

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        If the name cannot be that of a function, or the network has numbers that are not finite.

    Examples
    --------
    >>> import lipgd
    >>> text = lipgd.export.c_header(lipgd.Network([[[2.0]]]), "twice")
    >>> "static inline void twice(const twice_scalar *x, twice_scalar *y)" in text
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"net is {shown(net)}, expected a Network")
    if not _NAME.fullmatch(str(name)) or name in _TAKEN:
        raise ValueError(
            f"name is {shown(name)}, expected an identifier of C that neither the language nor "
            "math.h has"
        )
    if not all(np.isfinite(array).all() for _, array in net.named()):
        raise ValueError("net has a parameter that is not finite, expected finite numbers")
    bound = upper(net)
    if not math.isfinite(bound.value):
        raise ValueError(f"net has no certified Lipschitz constant: {bound.reason or bound.value}")
    text = _Writer(net, name, bound.value).text()
    if path is not None:
        with atomic_writer(path) as file:
            file.write(text.encode())
    return text


class _Writer:
    """Writes the parts of the header."""

    def __init__(self, net: Network, name: str, bound: float) -> None:
        self.net, self.name, self.macro, self.bound = net, name, name.upper(), bound
        self.float = net.dtype == np.float32
        self.scalar = f"{name}_scalar"

    def text(self) -> str:
        parts = [self._top(), self._arrays(), self._activation(), self._layers(), self._function()]
        return "\n\n".join([*(part for part in parts if part), "#endif"]) + "\n"

    def _top(self) -> str:
        net, bound = self.net, self.bound
        return f"""\
/* {net!r}
   written by lipgd; C99, no allocation, no state.
   For inputs x and z: |{self.name}(x) - {self.name}(z)| <= {self.macro}_LIPSCHITZ |x - z|
   with Euclidean norms, up to the rounding of the evaluation. */
#ifndef {self.macro}_H
#define {self.macro}_H

#include <math.h>

#define {self.macro}_INPUTS {net.n_inputs}
#define {self.macro}_OUTPUTS {net.n_outputs}
#define {self.macro}_LIPSCHITZ {bound.hex()} /* {bound!r} */
typedef {"float" if self.float else "double"} {self.scalar};"""

    def _arrays(self) -> str:
        return "\n".join(self._array(name, array) for name, array in self.net.named())

    def _array(self, name: str, array: Any) -> str:
        numbers = [self._number(value) for value in array.ravel()]
        lines = [
            "  " + ", ".join(numbers[i : i + _PER_LINE]) for i in range(0, len(numbers), _PER_LINE)
        ]
        head = f"static const {self.scalar} {self.name}_{name}[{array.size}] = {{"
        return "\n".join([head, ",\n".join(lines), "};"])

    def _number(self, value: Any) -> str:
        return float(value).hex() + ("f" if self.float else "")

    def _activation(self) -> str:
        if self.net.depth == 1:
            return ""
        return (
            f"static inline {self.scalar} {self.name}_activation({self.scalar} z) {{\n"
            f"  return {self._expression(self.net.activation)};\n}}"
        )

    def _expression(self, activation: Activation) -> str:
        base = _C[names()[activation.kind]].format(
            p=self._number(activation.parameter),
            f="f" if self.float else "",
            half=self._number(0.5),
            root_half=self._number(np.sqrt(0.5)),
            twice_root=self._number(2 * np.sqrt(2 / np.pi)),
            cubic=self._number(0.044715),
        )
        if activation.mix == 0.0:
            return base
        return f"{self._number(activation.mix)} * z + {self._number(1 - activation.mix)} * ({base})"

    def _layers(self) -> str:
        return f"""\
/* out = W in + b with W as rows; b may be null. */
static inline void {self.name}_affine(const {self.scalar} *W, const {self.scalar} *b, int inputs,
                               int outputs, const {self.scalar} *in, {self.scalar} *out) {{
  for (int i = 0; i < outputs; ++i) {{
    {self.scalar} sum = b ? b[i] : 0;
    for (int j = 0; j < inputs; ++j) sum += W[i * inputs + j] * in[j];
    out[i] = sum;
  }}
}}"""

    def _function(self) -> str:
        net, name = self.net, self.name
        lines = [f"static inline void {name}(const {self.scalar} *x, {self.scalar} *y) {{"]
        if net.depth > 1:
            widest = max(net.sizes[1:-1])
            lines.append(f"  {self.scalar} h[2][{widest}];")
        for layer in range(net.depth):
            inputs, outputs = net.sizes[layer], net.sizes[layer + 1]
            bias = "0" if net.biases[layer] is None else f"{name}_b{layer + 1}"
            source = "x" if layer == 0 else f"h[{(layer - 1) % 2}]"
            target = "y" if layer + 1 == net.depth else f"h[{layer % 2}]"
            lines.append(
                f"  {name}_affine({name}_W{layer + 1}, {bias}, {inputs}, {outputs}, "
                f"{source}, {target});"
            )
            if layer + 1 < net.depth:
                lines.append(
                    f"  for (int i = 0; i < {outputs}; ++i) "
                    f"{target}[i] = {name}_activation({target}[i]);"
                )
        if net.output_scale != 1.0:
            lines.append(
                f"  for (int i = 0; i < {net.n_outputs}; ++i) "
                f"y[i] *= {self._number(net.output_scale)};"
            )
        return "\n".join([*lines, "}"])
