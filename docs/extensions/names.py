"""The role of single backticks in docstrings: a Python name, wherever in chatd it is defined."""

from __future__ import annotations

from docutils.nodes import Element
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.environment import BuildEnvironment


class NameRole(PyXRefRole):
    """Looks in the class and module at hand first, then everywhere: docstrings name things as the
    code does, which has imported them."""

    def process_link(
        self,
        env: BuildEnvironment,
        refnode: Element,
        has_explicit_title: bool,
        title: str,
        target: str,
    ) -> tuple[str, str]:
        found = super().process_link(env, refnode, has_explicit_title, title, target)
        refnode["refdomain"], refnode["reftype"] = "py", "obj"
        refnode["refspecific"] = True
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_role("name", NameRole())
    return {"parallel_read_safe": True}
