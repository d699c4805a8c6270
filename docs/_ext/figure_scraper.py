"""Figures that examples make without pyplot, such as those of lipgd.plotting."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that a part of an example has bound to names, once each."""
    values = block_vars["example_globals"]
    seen = values.setdefault("__scraped__", [])
    paths = []
    for value in list(values.values()):
        if isinstance(value, Figure) and not _is_of_pyplot(value) and value not in seen:
            seen.append(value)
            paths.append(next(block_vars["image_path_iterator"]))
            value.savefig(paths[-1], dpi=100)
    return figure_rst(paths, gallery_conf["src_dir"])


def _is_of_pyplot(figure: Figure) -> bool:
    """Return whether the scraper of matplotlib takes it."""
    return hasattr(figure, "number")
