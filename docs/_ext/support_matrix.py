"""What works with what: tables that come from trying it with the installed library."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lipgd
import lipgd.onnx
import lipgd.torch
from lipgd import lipschitz
from lipgd.theory import large_stepsize

YES, NO = "✓", "·"
ACTIVATIONS = (*lipgd.activations.names(), "leaky(softplus, 0.5)")
CERTIFICATES = ("product", "closed_form", "balanced", "sdp", "branch_and_bound")
UPDATES = ("gradient", "sign", "adam", "conjugate_gradient")


def works(attempt: Callable[[], Any]) -> bool:
    """Return whether a call is accepted and gives a number that is not nan."""
    try:
        value = attempt()
    except (TypeError, ValueError):
        return False
    return not (isinstance(value, float) and math.isnan(value))


def mark(attempt: Callable[[], Any]) -> str:
    """Return how the outcome of a call is shown."""
    return YES if works(attempt) else NO


def network(activation: str, sizes: Sequence[int] = (3, 6, 1)) -> lipgd.Network:
    """Return a small network."""
    return lipgd.Network.create(list(sizes), activation=activation, seed=0)


def problem(loss: str) -> tuple[Any, Any, int]:
    """Return samples, targets of a loss and the number of outputs."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 3))
    if loss == "cross_entropy":
        return X, rng.integers(0, 2, 12), 2
    return X, np.sign(X[:, 0]), 1


def train(activation: str, loss: str, **arguments: Any) -> float:
    """Train a step, and return the risk."""
    X, y, outputs = problem(loss)
    net = network(activation, (3, 6, outputs))
    run = lipgd.train(net, X, y, loss=loss, steps=2, rate=1e-3, **arguments)
    return float(run.history["risk"][-1])


def bound(activation: str, method: str, **arguments: Any) -> float:
    """Return an upper bound of a small network."""
    return lipschitz.upper(network(activation), method, seconds=1.0, **arguments).value


def exact(activation: str) -> str:
    """Return what the method exact finds for two inputs."""
    found = lipschitz.upper(network(activation, (2, 6, 1)), "exact")
    return {"exact": "constant", "exact formal": "formal"}.get(found.method, NO)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---", *[":-:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def shown(value: float) -> str:
    """Return a constant, seven digits."""
    return "∞" if math.isinf(value) else f"{value:.7g}"


def constants() -> str:
    """Return the constants of the activations."""
    rows = []
    for name in ACTIVATIONS:
        found = lipgd.activations.get(name)
        low, high = found.slope_range
        rows.append(
            [
                f"`{name}`",
                shown(found.lipschitz),
                f"[{shown(low)}, {shown(high)}]",
                shown(found.curvature),
                shown(found.supremum),
                shown(found.at_zero),
            ]
        )
    head = ["activation", "Lipschitz", "slopes", "curvature", "supremum", "at zero"]
    return table(head, rows)


def losses() -> str:
    """Return which activation can be trained with which loss."""
    names = lipgd.losses.names()
    rows = [
        [f"`{name}`", *(mark(partial(train, name, loss)) for loss in names)] for name in ACTIVATIONS
    ]
    return table(["activation", *(f"`{name}`" for name in names)], rows)


def certificates() -> str:
    """Return which bounds, norms and regions work for which activation."""
    ball = lipschitz.Ball([0.0, 0.0, 0.0], 0.1)
    box = lipschitz.Box([-0.1, -0.1, -0.1], [0.1, 0.1, 0.1])
    rows = []
    for name in ACTIVATIONS:
        cells = [mark(partial(bound, name, method)) for method in CERTIFICATES]
        cells += [exact(name), mark(partial(bound, name, "sdp", norm=math.inf))]
        cells += [mark(partial(bound, name, "sdp", domain=region)) for region in (ball, box)]
        cells += [mark(partial(bound, name, "split", domain=box))]
        rows.append([f"`{name}`", *cells])
    head = ["activation", *(name.replace("_", " ") for name in CERTIFICATES)]
    return table([*head, "exact", "norm ∞", "Ball", "Box", "split"], rows)


def limits() -> str:
    """Return which constraints work for which activation."""
    shapes = [("retract", name) for name in ("product", "balanced", "sdp")] + [("rates", "product")]
    modes = ("observed", "carry_over", "displacement", "plug_in", "tracked", "linear")
    rows = []
    for name in ACTIVATIONS:
        targets = [
            lipgd.LipschitzTarget(1.0, method, certificate, rescale_initial=True)
            for method, certificate in shapes
        ]
        caps = [lipgd.RateCaps({"W1": 1.0, "W2": 1.0}, mode=mode) for mode in modes]
        full = {"W1": 1.0, "b1": 1.0, "W2": 1.0, "b2": 1.0}
        caps[-2:] = [lipgd.RateCaps(full, mode=mode) for mode in modes[-2:]]
        cells = [mark(partial(train, name, "huber", constraint=c)) for c in (*targets, *caps)]
        rows.append([f"`{name}`", *cells])
    head = [f"{method}, {certificate}" for method, certificate in shapes]
    return table(["activation", *head, *(mode.replace("_", " ") for mode in modes)], rows)


def exports() -> str:
    """Return what networks can be written to and read from."""
    exporters = _exporters()
    rows = []
    for name in ACTIVATIONS:
        net = network(name)
        rows.append([f"`{name}`", *(mark(partial(attempt, net)) for _, attempt in exporters)])
    return table(["activation", *(title for title, _ in exporters)], rows)


def _exporters() -> list[tuple[str, Callable[[lipgd.Network], Any]]]:
    folder = Path(tempfile.mkdtemp())
    return [
        ("`.npz`", lambda net: net.save(folder / "net.npz")),
        ("ONNX, float64", lambda net: lipgd.onnx.save(net, folder / "net.onnx").value),
        ("ONNX, float32", lambda net: lipgd.onnx.save(net, folder / "n.onnx", dtype="f4").value),
        ("PyTorch", lambda net: lipgd.torch.to_torch(net).lipschitz_upper.value),
        ("C99 header", lipgd.export.c_header),
    ]


def theory() -> str:
    """Return which theorems are about networks with which activation."""
    rows = []
    for name in ACTIVATIONS:
        (found,) = large_stepsize.activation_constants([name])
        smooth = lipgd.activations.get(name).smooth
        rows.append(
            [
                f"`{name}`",
                YES,
                YES if smooth else NO,
                *(_theorems(found)),
            ]
        )
    head = ["activation", "Theorem 3, Corollary 4, Theorem R", "Theorem 5"]
    return table([*head, "1, 2 (stable phase)", "3, 4 (margins)", "5 to 7 (separable data)"], rows)


def _theorems(found: large_stepsize.ActivationConstants) -> list[str]:
    flags = (found.stable_phase, found.margins, found.oscillating_phase)
    return [YES if flag else NO for flag in flags]


def updates() -> str:
    """Return what goes with which update rule."""
    variants: dict[str, dict[str, Any]] = {
        "momentum": {"momentum": 0.9},
        "batches": {"batch_size": 4},
        "weight decay": {"weight_decay": 1e-3},
        "clipping": {"clip_norm": 1.0},
        "proximal": {"proximal": {"W1": ("l1", 1e-3)}},
        "target": {"constraint": lipgd.LipschitzTarget(1.0, rescale_initial=True)},
        "caps": {"constraint": lipgd.RateCaps({"W1": 1.0})},
    }
    rows = []
    for rule in UPDATES:
        cells = [
            mark(partial(train, "silu", "mse", update=rule, **variant))
            for variant in variants.values()
        ]
        rows.append([f"`{rule}`", *cells])
    return table(["update", *variants], rows)


def text() -> str:
    """Return the page."""
    sections = {
        "Constants of activations": (constants(), "Rounded outward, so that they hold as bounds."),
        "Losses": (losses(), "Training, with the gradient in closed form."),
        "Certificates": (
            certificates(),
            "Bounds are about the network alone, so the loss does not matter. Outputs have the "
            "Euclidean norm; inputs too, but in the column of norm ∞. `balanced` needs two weight "
            "matrices; the others take any depth. `exact` with one hidden layer and two inputs "
            "finds the Lipschitz constant itself, or the formal one.",
        ),
        "Limits on a training": (
            limits(),
            "`LipschitzTarget` by method and certificate, `RateCaps` by mode, with the Huber loss.",
        ),
        "Updates": (updates(), "With SiLU and the squared loss."),
        "Theory": (
            theory(),
            "Two columns are about {doc}`learning rates </theory/rate-constraints>`, three about "
            "{doc}`large stepsizes </theory/large-stepsize>`.",
        ),
        "Export": (
            exports(),
            "Networks of any depth, with a bound of what is stored but in `.npz`.",
        ),
    }
    return (
        "\n\n".join(
            f"## {title}\n\n{words}\n\n{cells}" for title, (cells, words) in sections.items()
        )
        + "\n"
    )


def setup(app: Any) -> dict[str, bool]:
    """Write the tables that the page includes."""
    path = Path(app.srcdir, "generated", "support-matrix.md")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
