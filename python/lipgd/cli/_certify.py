"""``lipgd certify``: the Lipschitz constant of a network in a file, proved."""

from __future__ import annotations

import argparse
import math
import zipfile
import zlib
from typing import Any

import numpy as np

from lipgd import lipschitz
from lipgd._check import number
from lipgd.lipschitz._audit import method_audit
from lipgd.lipschitz._upper import METHODS

from ._options import Commands, as_json, new_command

_DESCRIPTION = """\
Enclose the Lipschitz constant of a network from both sides: what is attained, with the point, and
what is proved, every rounding error counted. Reads .onnx, .npz, .mat and .pt files.

exit codes: 0 what was asked is proved, 1 it is not, 2 wrong usage or a network that cannot be
treated (the message names the layer)
"""
_EXAMPLES = """\
  lipgd certify model.onnx
  lipgd certify model.onnx --norm 2 --at-most 5.0 --json
  lipgd certify weights.mat --activation relu --effort exact --seconds 60
  lipgd certify model.npz --center 0,0,1 --radius 0.1 --norm inf --output 0
  lipgd certify model.onnx --save certificate.json
  lipgd certify model.onnx --check certificate.json
"""


def add(commands: Commands) -> None:
    """Add the command."""
    words = "prove bounds of the Lipschitz constant of a network"
    parser = new_command(commands, "certify", words, _DESCRIPTION, _EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="the network: .onnx, .npz, .mat or .pt")
    parser.add_argument("--activation", metavar="NAME", help="where the file does not say it: relu")
    parser.add_argument("--norm", default="2", help="norm of the inputs: 2 or inf (2)")
    parser.add_argument("--output", type=int, metavar="K", help="this output alone (all of them)")
    parser.add_argument(
        "--at-most", type=float, metavar="L", help="succeed only if the constant is proved to be"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--effort", choices=["fast", "tight", "exact"], default="tight")
    how.add_argument("--method", choices=METHODS, help="one upper bound instead of a ladder")
    how.add_argument("--check", metavar="FILE", help="prove a saved certificate again, exactly")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="time for what has no end (10)"
    )
    parser.add_argument("--points", metavar="FILE", help="samples, .npy or X of an .npz")
    parser.add_argument("--center", metavar="X,...", help="a ball: numbers, or a .npy file")
    parser.add_argument("--radius", type=float, metavar="R", help="its radius, in the norm")
    parser.add_argument("--save", metavar="FILE", help="write the certificate, for --check")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what is proved, and say by the exit code whether it is what was asked."""
    if arguments.at_most is not None:
        number("--at-most", arguments.at_most, at_least=0.0)
    if arguments.check is not None:
        return _check(arguments)
    found = _audited(arguments)
    if arguments.save is not None and math.isfinite(found.upper.value):
        found.save_certificate(arguments.save)
    good = found.upper.rigorous and math.isfinite(found.upper.value)
    if good and arguments.at_most is not None:
        good = found.upper.value <= arguments.at_most
    if arguments.json:
        asked = {"at_most": arguments.at_most, "proved": good}
        print(as_json({**found.to_dict(), **asked}))
    else:
        print(found)
        if arguments.at_most is not None:
            print(f"at most {arguments.at_most!r}: {'proved' if good else 'not proved'}")
    return 0 if good else 1


def _audited(arguments: argparse.Namespace) -> lipschitz.Audit:
    model = lipschitz.read(arguments.model, arguments.activation)
    options: dict[str, Any] = {
        "norm": arguments.norm,
        "output": arguments.output,
        "seconds": arguments.seconds,
    }
    points = None if arguments.points is None else _array("--points", arguments.points)
    domain = _domain(arguments)
    if arguments.method is not None:
        return method_audit(model, points, domain, arguments.method, **options)
    return lipschitz.audit(model, points, domain, arguments.effort, **options)


def _check(arguments: argparse.Namespace) -> int:
    found = lipschitz.check_certificate(arguments.check, arguments.model, arguments.activation)
    good = found.proved
    statement = found.statement
    if good and arguments.at_most is not None and found.value > arguments.at_most:
        good = False
        statement += f" It is not at most {arguments.at_most!r}."
    if arguments.json:
        print(as_json({"proved": good, "value": found.value, "statement": statement}))
    else:
        print(statement)
    return 0 if good else 1


def _domain(arguments: argparse.Namespace) -> lipschitz.Ball | None:
    if arguments.center is None and arguments.radius is None:
        return None
    if arguments.center is None or arguments.radius is None:
        raise ValueError("--center and --radius go together: a ball has both")
    if arguments.center.endswith(".npy"):
        center = _array("--center", arguments.center)
    else:
        try:
            center = [float(part) for part in arguments.center.split(",")]
        except ValueError as error:
            raise ValueError(
                f"--center is {arguments.center!r}, expected numbers with commas or a .npy file"
            ) from error
    return lipschitz.Ball(center, arguments.radius, arguments.norm)


def _array(option: str, path: str) -> Any:
    """Return the array of a file, or that of the name X of several."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            if "X" in found:
                return found["X"]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{option} is {path!r}, no readable file of numbers: {error}") from error
    raise ValueError(
        f"{option} is {path!r}, which has {', '.join(found.files)}, expected an array X"
    )
