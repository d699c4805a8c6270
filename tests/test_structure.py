"""The order of the house: who may include or import whom, and how long a file may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEADERS = ROOT / "cpp" / "include" / "lipgd"
PACKAGE = ROOT / "python" / "lipgd"

# A header includes only headers above it.
HEADER_ROWS = (
    "version types check reduce arena parallel elementwise activation samples loss network panel",
    "narrow strips product block sweep layer_pass strip_pass risk shards narrow_tangent tangent",
    "hessian margins sharpness tiles spectral certificate layer_norms constraint jacobian thin_svd",
    "dynamics few leading_pair singular proximal retraction update stepper recorder descent lipgd",
)
HEADER_ORDER = [name for row in HEADER_ROWS for name in row.split()]

# A module imports from its own row and the rows above it; a leaf from the rows above alone.
LAYERS = (
    "_core types _check _threads _paths _config _files",
    "activations losses schedules constraints history initialization _layout _arguments network"
    " _stored",
    "_batches _caps _columns _margin_rule _recording _dynamics_record _step_rule _plan _checkpoint"
    " _progress _risk run _descent training lipschitz theory margins dynamics",
    "__init__",
    "data plotting report sweeps distributed export",
    "sklearn torch onnx",
    "experiments",
    "cli __main__",
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer.split()}
MAY_IMPORT_THEIR_OWN_ROW = {"report", "cli", "__main__"}
OPTIONAL = {"IPython", "matplotlib", "mpi4py", "onnx", "pandas", "scipy", "sklearn", "torch"}
ADAPTERS = {"sklearn", "torch", "onnx"}


def headers() -> list[Path]:
    return sorted(HEADERS.rglob("*.hpp"))


def modules() -> list[Path]:
    built = {PACKAGE / "include", PACKAGE / "share"}
    return sorted(
        p
        for p in PACKAGE.rglob("*.py*")
        if p.suffix in (".py", ".pyi") and not built & set(p.parents)
    )


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def header_room(name: str) -> str:
    return name.removeprefix("lipgd/").split("/")[0].removesuffix(".hpp")


def module_room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removesuffix(".pyi")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported module as a dotted name, and whether import lipgd runs that line."""
    tree = ast.parse(path.read_text())
    lazy = {
        node
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_type_checking(f)
        for node in ast.walk(f)
    }
    folder = ("lipgd", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in lazy
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else ()
            name = ".".join((*base, *([node.module] if node.module else [])))
            for alias in node.names:
                yield f"{name}.{alias.name}", node not in lazy


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def room_of_import(name: str) -> str | None:
    """Return the room that a dotted name lies in, None outside lipgd."""
    parts = name.split(".")
    if parts[0] != "lipgd":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in RANK else "__init__"


def header_faults(name: str, included: list[str]) -> list[str]:
    """Return the includes of a header that run against the order."""
    here = HEADER_ORDER.index(header_room(name))
    ours = [i for i in included if i.startswith("lipgd/")]
    return [
        f"{name} includes {i}"
        for i in ours
        if not above(HEADER_ORDER.index(header_room(i)), here, i)
    ]


def above(there: int, here: int, name: str) -> bool:
    inside_a_folder = there == here and name.count("/") == 2
    return there < here or inside_a_folder


def module_fault(importer: str, imported: str) -> str | None:
    """Return why one room may not import another, None if it may."""
    there, here = RANK[imported], RANK[importer]
    own_row = there == here and (here < RANK["__init__"] or importer in MAY_IMPORT_THEIR_OWN_ROW)
    if importer == imported or there < here or own_row:
        return None
    return f"{importer} imports {imported}"


def test_headers_include_only_what_stands_above_them() -> None:
    faults = [
        f
        for p in headers()
        for f in header_faults(p.relative_to(HEADERS.parent).as_posix(), includes(p))
    ]
    assert not faults


def test_every_header_has_its_place_and_is_installed() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    listed = re.findall(r"cpp/include/(lipgd/\S+?\.hpp)(?=[\s)])", text)
    found = [p.relative_to(HEADERS.parent).as_posix() for p in headers()]
    assert set(listed) == set(found)
    assert [name for name in found if header_room(name) not in HEADER_ORDER] == []


def test_the_umbrella_header_includes_every_header() -> None:
    found = {p.relative_to(HEADERS.parent).as_posix() for p in headers()} - {"lipgd/lipgd.hpp"}
    assert set(includes(HEADERS / "lipgd.hpp")) == found


def test_headers_know_neither_python_nor_streams() -> None:
    banned = re.compile(r"pybind11|Python\.h|iostream|ostream|cstdio|stdio\.h")
    faults = [f"{p.name} includes {i}" for p in headers() for i in includes(p) if banned.search(i)]
    assert not faults


def test_pybind11_comes_in_by_one_door() -> None:
    sources = sorted((ROOT / "cpp" / "bindings").glob("*.?pp"))
    assert [p.name for p in sources if any("pybind11" in i for i in includes(p))] == [
        "bindings.hpp"
    ]


def test_modules_import_only_what_stands_above_them() -> None:
    faults = set()
    for path in modules():
        for name, _ in imports(path):
            room = room_of_import(name)
            if room is not None and module_room(path) != "__init__":
                faults.add(module_fault(module_room(path), room))
    assert sorted(f for f in faults if f) == []


def test_every_module_has_its_place() -> None:
    assert sorted({module_room(p) for p in modules()} - RANK.keys()) == []


def test_optional_libraries_are_imported_where_they_are_used() -> None:
    eager = [
        f"{module_room(p)} imports {name}"
        for p in modules()
        for name, at_import in imports(p)
        if at_import and name.split(".")[0] in OPTIONAL and module_room(p) not in ADAPTERS
    ]
    assert not eager


@pytest.mark.parametrize(
    ("importer", "imported", "fault"),
    [
        ("network", "_core", False),
        ("network", "losses", False),
        ("training", "lipschitz", False),
        ("cli", "data", False),
        ("report", "plotting", False),
        ("schedules", "training", True),
        ("_core", "network", True),
        ("plotting", "data", True),
        ("plotting", "sweeps", True),
        ("network", "__init__", True),
        ("data", "cli", True),
    ],
)
def test_the_order_of_modules(importer: str, imported: str, fault: bool) -> None:
    assert (module_fault(importer, imported) is not None) == fault


@pytest.mark.parametrize(
    ("header", "included", "fault"),
    [
        ("lipgd/risk.hpp", "lipgd/loss.hpp", False),
        ("lipgd/risk.hpp", "vector", False),
        ("lipgd/certificate/sdp.hpp", "lipgd/certificate/product.hpp", False),
        ("lipgd/loss.hpp", "lipgd/risk.hpp", True),
        ("lipgd/loss.hpp", "lipgd/loss.hpp", True),
    ],
)
def test_the_order_of_headers(header: str, included: str, fault: bool) -> None:
    assert bool(header_faults(header, [included])) == fault


def test_no_source_file_is_longer_than_400_lines() -> None:
    folders = [ROOT / "cpp", ROOT / "tests", ROOT / "bench", ROOT / "examples"]
    sources = modules() + [
        p for f in folders for p in f.rglob("*") if p.suffix in (".py", ".cpp", ".hpp")
    ]
    lengths = {p.relative_to(ROOT).as_posix(): len(p.read_text().splitlines()) for p in sources}
    assert len(lengths) > 20
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_import_needs_numpy_and_the_standard_library_alone() -> None:
    script = (
        "import sys, numpy\n"
        "before = set(sys.modules)\n"
        "import lipgd\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    strangers = set(run.stdout.split()) - sys.stdlib_module_names - {"lipgd", "numpy"}
    assert strangers == set()
