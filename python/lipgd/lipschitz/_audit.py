"""All that can be said of a Lipschitz constant, from both sides."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lipgd._check import choice, integer, number
from lipgd.types import ArrayLike

from ._certificate_file import write_certificate
from ._estimate import Estimate
from ._lower import lower
from ._model import Model
from ._question import question
from ._upper import upper
from .domains import Domain, domain_of, input_norm
from .reading import read

__all__ = ["Audit", "audit"]

#: Upper bounds from cheap to tight.
_LADDERS = {
    "fast": ("product", "closed_form"),
    "tight": ("product", "closed_form", "sdp"),
    "exact": ("product", "closed_form", "sdp", "exact"),
}
#: Methods that use all the time they get.
_WITHOUT_END = {"exact", "branch_and_bound", "split"}
_WORDS = {
    "product": "product of spectral norms",
    "closed_form": "closed form",
    "sdp": "certificate (LipSDP-Neuron)",
    "exact": "exact",
    "exact formal": "exact, over all slopes",
    "branch_and_bound": "branch and bound",
    "split": "certificates of parts",
    "jacobian": "attained by a Jacobian",
}
_SHOWN = 6


@dataclass(frozen=True, eq=False)
class Audit(Mapping[str, Estimate]):
    """What :func:`audit` found: a mapping from names of methods to estimates.

    Attributes
    ----------
    model : Model
        The network as it was read.
    rungs : dict of str to Estimate
        Upper bounds from cheap to tight: ``"product"``, ``"closed_form"``, ``"sdp"``, ``"exact"``.
    lower : Estimate
        The best lower value, with the point that witnesses it.
    domain : Ball, Box or None
        Where it holds.
    norm : float
        2 or inf: the norm of the inputs. Outputs have the Euclidean one.
    output : int or None
        The only output that counts, or None for all of them.

    Examples
    --------
    >>> import lipgd
    >>> found = lipgd.lipschitz.audit(lipgd.Network.create([3, 20, 1], seed=0))
    >>> found.lower.value <= found.upper.value <= found["product"].value
    True
    """

    model: Model
    rungs: dict[str, Estimate]
    lower: Estimate
    domain: Domain | None
    norm: float
    output: int | None
    _asked: Model = field(repr=False)

    @property
    def upper(self) -> Estimate:
        """The smallest proved upper bound; one without a value if nothing was proved."""
        proved = [rung for rung in self.rungs.values() if math.isfinite(rung.value)]
        first = next(iter(self.rungs.values()))
        return min(proved, key=lambda rung: rung.value, default=first)

    @property
    def gap(self) -> float:
        """How much of the upper bound the lower value leaves open: from 0, closed, to 1."""
        high = self.upper.value
        if not math.isfinite(high):
            return math.inf
        return 0.0 if high == 0.0 else 1.0 - self.lower.value / high

    def __getitem__(self, name: str) -> Estimate:
        return self.lower if name == "lower" else self.rungs[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.rungs, "lower"])

    def __len__(self) -> int:
        return len(self.rungs) + 1

    def __str__(self) -> str:
        lines = [self._title(), ""]
        for name, rung in self.rungs.items():
            words = _WORDS.get(rung.method if name == "exact" else name, rung.method)
            lines.append(_line("upper", words, rung))
        lines += [_line("lower", _WORDS.get(self.lower.method, self.lower.method), self.lower), ""]
        lines += self._conclusion()
        return "\n".join(lines)

    def _title(self) -> str:
        where = "everywhere" if self.domain is None else f"on a {self.domain}"
        norm = "" if self.norm == 2 else ", inputs in the largest-entry norm"
        part = "" if self.output is None else f", output {self.output}"
        return f"Lipschitz constant of {self.model}{part}, {where}{norm}"

    def _conclusion(self) -> list[str]:
        best = self.upper
        if not math.isfinite(best.value):
            return [f"not certified: {best.reason}", *self.model.notes]
        lines = [f"between {self.lower.value:.6g} and {best.value:.6g} (gap {self.gap:.2%})"]
        if self.lower.witness:
            point = self.lower.witness[0]
            shown = ", ".join(f"{x:.6g}" for x in point[:_SHOWN])
            more = ", ..." if len(point) > _SHOWN else ""
            lines.append(f"the lower value is the norm of the Jacobian at [{shown}{more}]")
        for name, rung in self.rungs.items():
            if rung.reason:
                lines.append(f"{name}: {rung.reason}")
        return lines + list(self.model.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, texts and lists; None for what is not known.

        Examples
        --------
        >>> import lipgd
        >>> facts = lipgd.lipschitz.audit(lipgd.Network.create([3, 20, 1])).to_dict()
        >>> facts["sizes"], facts["upper"]["side"]
        ([3, 20, 1], 'upper')
        """
        best = self.upper
        return {
            "source": self.model.source,
            "sizes": list(self.model.sizes),
            "activations": [activation.name for activation in self.model.activations],
            "norm": "inf" if math.isinf(self.norm) else "2",
            "domain": None if self.domain is None else str(self.domain),
            "output": self.output,
            "certified": math.isfinite(best.value),
            "upper": _facts(best),
            "lower": _facts(self.lower),
            "gap": self.gap if math.isfinite(self.gap) else None,
            "ladder": {name: _facts(rung) for name, rung in self.rungs.items()},
            "notes": list(self.model.notes),
        }

    def to_json(self) -> str:
        """Return everything as JSON.

        Examples
        --------
        >>> import json, lipgd
        >>> found = lipgd.lipschitz.audit(lipgd.Network.create([3, 20, 1]), effort="fast")
        >>> json.loads(found.to_json())["certified"]
        True
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def save_certificate(self, path: str | os.PathLike[str]) -> None:
        """Write the multipliers of the tightest certificate, for :func:`check_certificate`.

        Parameters
        ----------
        path : path-like
            A JSON file; one that exists is replaced.

        Raises
        ------
        ValueError
            If no certificate was proved.

        Examples
        --------
        >>> import lipgd
        >>> found = lipgd.lipschitz.audit(lipgd.Network.create([3, 20, 1]))
        >>> found.save_certificate("network.json")
        """
        proved = [
            rung
            for rung in self.rungs.values()
            if rung.certificate is not None and math.isfinite(rung.value)
        ]
        if not proved:
            raise ValueError("audit has no certificate with multipliers, expected one to save")
        best = min(proved, key=lambda rung: rung.value)
        assert best.certificate is not None
        asked = question(self._asked, self.domain, self.norm)
        write_certificate(
            path,
            self._asked,
            best.certificate,
            (asked.lo, asked.hi),
            value=best.value,
            where="" if self.domain is None else str(self.domain),
            input_scales=asked.input_scales,
        )


def audit(
    net: Any,
    X: ArrayLike | None = None,
    domain: Domain | None = None,
    effort: str = "tight",
    *,
    norm: float = 2,
    output: int | None = None,
    activation: Any = None,
    seconds: float = 10.0,
    seed: int = 0,
) -> Audit:
    """Enclose the Lipschitz constant of a network from anywhere, from both sides.

    Parameters
    ----------
    net : object
        What :func:`read` takes: a network trained here, of scikit-learn or PyTorch, or a file.
    X : array_like (n_samples, n_inputs), optional
        Points at which the Jacobian is looked at; the search for a lower value starts there too.
    domain : Ball or Box, optional
        Where the constant is asked for; by default everywhere.
    effort : str
        ``"fast"``: closed forms, some ten eigenvalues; ``"tight"``: the certificate, which comes
        within 1e-4 of LipSDP-Neuron; ``"exact"``: enumeration where it is possible, else branch and
        bound as long as ``seconds`` says; on a domain, certificates of its parts.
    norm : 2 or inf
        The norm of the inputs. Another one is refused: there is no proof for it here.
    output : int, optional
        The constant of this output alone.
    activation : str, optional
        Where the source does not say it.
    seconds : float
        The time limit of ``"exact"``.
    seed : int
        Of the search for the lower value.

    Returns
    -------
    Audit
        Print it for a table.

    Raises
    ------
    ValueError, TypeError
        If an argument is not accepted, or the source has a layer that cannot be treated: the
        message says which one and why.

    References
    ----------
    certificates.md, section 13.

    Examples
    --------
    >>> import lipgd
    >>> net = lipgd.Network.create([3, 20, 1], activation="tanh", seed=0)
    >>> print(str(lipgd.lipschitz.audit(net)).splitlines()[0])
    Lipschitz constant of Model(3-20-1, tanh, from lipgd.Network), everywhere
    """
    effort = choice("effort", effort, _LADDERS)
    methods = _LADDERS[effort]
    if domain is not None and effort == "exact":
        methods = (*methods[:-1], "split")
    ascent = effort != "fast" or X is None
    return _climbed(read(net, activation), X, domain, methods, ascent, norm, output, seconds, seed)


def method_audit(
    model: Model,
    X: ArrayLike | None,
    domain: Domain | None,
    method: str,
    *,
    norm: float,
    output: int | None,
    seconds: float,
) -> Audit:
    """Return an audit whose ladder has one rung."""
    return _climbed(model, X, domain, (method,), True, norm, output, seconds, 0)


def _climbed(
    model: Model,
    X: ArrayLike | None,
    domain: Domain | None,
    methods: tuple[str, ...],
    ascent: bool,
    norm: float,
    output: int | None,
    seconds: float,
    seed: int,
) -> Audit:
    distance = input_norm(norm)
    seconds = number("seconds", seconds, above=0.0)
    region = domain_of(domain, model.n_inputs)
    asked = model if output is None else _only(model, output)
    rungs = {}
    for method in methods:
        limit = seconds if method in _WITHOUT_END else None
        rungs[method] = upper(asked, method, region, norm=distance, seconds=limit)
    with np.errstate(all="ignore"):  # where matrices are extreme, so are the points
        below = lower(asked, X, "auto" if ascent else "points", region, seed=seed)
    return Audit(model, rungs, below, region, distance, output, asked)


def _only(model: Model, output: Any) -> Model:
    place = integer("output", output, at_least=0, at_most=model.n_outputs - 1)
    row = np.zeros((1, model.n_outputs))
    row[0, place] = 1.0
    return model.outputs(row)


def _line(side: str, words: str, rung: Estimate) -> str:
    if math.isfinite(rung.value):
        value, proof = f"{rung.value:.6g}", "proved" if rung.rigorous else "up to rounding"
    else:
        value, proof = "-", "not certified"
    return f"  {side}  {words:<28} {value:>12}  {proof:<14} {_time(rung.seconds):>9}"


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1.0 else f"{seconds:.3g} s"


def _facts(rung: Estimate) -> dict[str, Any]:
    finite = math.isfinite(rung.value)
    return {
        "side": rung.side,
        "scope": rung.scope,
        "method": rung.method,
        "value": rung.value if finite else None,
        "rigorous": rung.rigorous and finite,
        "witness": None if rung.witness is None else [w.tolist() for w in rung.witness],
        "seconds": rung.seconds,
        "reason": rung.reason,
    }
