"""Sphinx configuration; `make docs` builds the pages into docs/_build/html."""

from pathlib import Path

from skyloom import __version__

project = "Skyloom"
author = "The Skyloom developers"
copyright = "2026, The Skyloom developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build", "examples", "*_table.md"]  # tables are included in pages

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the numpydoc sections give types, shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"Skyloom {__version__}"
html_copy_source = False


def leave_out_unwritten_pages(app, docname, source):
    """Drop the entries of the front page's table of contents (bare words) that have no page yet."""
    if docname == "index":
        lines = source[0].split("\n")
        here = Path(app.srcdir)
        source[0] = "\n".join(line for line in lines if not line.isidentifier() or (here / f"{line}.md").exists())


def setup(app):
    app.connect("source-read", leave_out_unwritten_pages)
