"""How the documentation is built: ``make docs``. Nothing here needs a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
# Help texts and tables have the same width everywhere; figures need no screen.
os.environ["COLUMNS"] = "96"
os.environ.setdefault("MPLBACKEND", "agg")

import api_pages  # noqa: E402

import lipgd  # noqa: E402

project = "lipgd"
author = "lipgd authors"
copyright = "lipgd authors, BSD-3-Clause"
version = release = lipgd.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "offline_mathjax",
    "api_pages",
    "command_help",
    "support_matrix",
    "theory_links",
]
exclude_patterns = ["_build", "generated", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
root_doc = "index"
nitpicky = True
# Links that a reader without a network could not follow anyway, to objects of other projects.
nitpick_ignore_regex = [("py:.*", r"(numpy|np|sklearn|matplotlib|collections|os)\..*")]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

autosummary_generate = True
autosummary_filename_map = api_pages.file_names()
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_validation_checks: set[str] = set()

mathjax3_config = {
    "tex": {"macros": {"Lip": r"\operatorname{Lip}", "tr": r"\operatorname{tr}"}},
    "chtml": {"scale": 0.95},
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/[a-z0-9_]+\.py$",
    "within_subsection_order": "gallery_order.InTheOrderOfTheGuide",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 0,
    "write_computation_times": False,
    "remove_config_comments": True,
    "show_signature": False,
    "image_scrapers": ("matplotlib", "figure_scraper.scrape"),
    "capture_repr": (),
    "nested_sections": False,
    "plot_gallery": True,
}
# The configuration holds only what can be written down, but the gallery has a default that cannot.
suppress_warnings = ["config.cache"]

html_theme = "pydata_sphinx_theme"
html_title = f"lipgd {release}"
html_static_path = ["_static"]
html_css_files = ["lipgd.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": {"**": ["page-toc"], "guide/support": [], "guide/command-line": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_end": ["theme-switcher"],
    "article_header_start": ["breadcrumbs"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {"index": [], "changelog": []}
