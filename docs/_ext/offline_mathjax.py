"""MathJax from a package on this machine, so that the pages need no network."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx

#: One component with input and output, and the fonts that it fetches from beside itself.
_NEEDED = ("tex-chtml.js", "output/chtml/fonts/woff-v2")


def setup(app: Sphinx) -> dict[str, bool]:
    """Point the pages at the copy, which is made when they are written."""
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _copy(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    spec = find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ImportError('MathJax is missing: pip install "lipgd[docs]"')
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = Path(app.outdir, "_static", "mathjax")
    for name in _NEEDED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
