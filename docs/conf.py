"""The documentation site: `make docs` builds it into build/docs."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]

from tfface.version import __version__  # noqa: E402

project = "tfface"
author = "The tfface authors"
project_copyright = "the tfface authors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_reference",
    "docstrings",
    "math_in_mathml",
    "package_reference",
]
exclude_patterns = ["extensions"]
suppress_warnings = ["config.cache"]
nitpicky = False
default_role = "py:obj"
highlight_language = "text"

# Signatures and docstrings.
autodoc_inherit_docstrings = False  # Keras documents `call` and `build`; its text is not ours
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
add_module_names = False
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Pages.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"tfface {release}"
html_static_path = ["static"]
html_css_files = ["tfface.css"]
html_copy_source = False
html_show_sphinx = False
