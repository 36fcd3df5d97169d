"""How Sphinx builds the handbook from the pages that ``staging`` lays out."""

from importlib.metadata import version as installed
from typing import Any

from numpy.typing import ArrayLike
from sphinx.util.typing import stringify_annotation

project = "nmsim"
author = "The nmsim maintainers"
project_copyright = "The nmsim maintainers, Apache-2.0"
version = release = installed("nmsim")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # the names that a repository's browser gives headings
suppress_warnings = [
    "myst.header"
]  # a page that is included elsewhere may start at its second level

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True  # as the source writes them
napoleon_google_docstring = False

html_theme = "furo"
html_title = f"nmsim {version}"
html_static_path = ["static"]
html_css_files = ["handbook.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#332288", "color-brand-content": "#332288"},
    "dark_css_variables": {"color-brand-primary": "#88CCEE", "color-brand-content": "#88CCEE"},
}
pygments_style = "default"
pygments_dark_style = "github-dark"


def _shortened(*event: Any) -> tuple[str | None, str | None]:
    """A signature with ``ArrayLike`` where NumPy's type has been spelled out."""
    *_, arguments, returned = event
    for mode in ("fully-qualified-except-typing", "fully-qualified", "smart"):
        spelled = stringify_annotation(ArrayLike, mode)
        arguments = arguments.replace(spelled, "ArrayLike") if arguments else arguments
    return arguments, returned


def _reachable(*event: Any) -> None:
    """Captions of the contents have a level, and code that scrolls is reached by the keyboard."""
    context = event[3]
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )
    context["body"] = context.get("body", "").replace("<pre>", '<pre tabindex="0">')


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _shortened)
    app.connect("html-page-context", _reachable, priority=1000)  # behind the theme's own
