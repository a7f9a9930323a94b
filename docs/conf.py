"""Sphinx's settings. ``make docs`` builds all pages into ``.cache/docs``; ``make check`` reads the
written ones, without the Python API (the tag ``written``), which takes a minute to generate."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

#: Sphinx puts it here before this file is run.
tags: Any = globals()["tags"]

project = "chatd"
author = "The chatd maintainers"
version = release = version_of("chatd")
extensions = ["docs.extensions.links", "docs.extensions.generated"]
exclude_patterns = ["changes", "api/modules.rst"]
if tags.has("written"):
    exclude_patterns += ["api.rst", "api"]
    suppress_warnings = ["toc.excluded"]
else:
    extensions += [
        "docs.extensions.names",
        "sphinx.ext.apidoc",
        "sphinx.ext.autodoc",
        "repoze.sphinx.autointerface",
    ]
    default_role = "name"
apidoc_modules = [{"path": "../chatd", "destination": "api"}]
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_use_type_comments = False
# what documents zope's interfaces is written for it
autodoc_use_legacy_class_based = True
html_theme = "furo"
html_title = "chatd"
html_static_path = ["static"]
html_css_files = ["chatd.css"]
html_show_copyright = False
highlight_language = "none"
nitpicky = True
nitpick_ignore_regex = [
    # other projects' names, type variables, and what is private
    ("py:.*", r"(?!chatd\.).*"),
    ("py:.*", r"chatd\..*\.(_\w+|[A-Z])"),
]
