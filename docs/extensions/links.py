"""Links that hold in the repository, on a page that shows it, and in what Sphinx builds.

The pages name each other by their files, ```security.rst <security.rst>`_``, and files of the
repository by the way to them, ```etc/chatd.toml <../etc/chatd.toml>`_``. Sphinx would leave both
as they stand. Here the first become references, which Sphinx checks; of the second the text
remains.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.logging import getLogger

_PAGE = re.compile(r"(?P<page>[\w-]+)\.rst(?:#(?P<anchor>[\w-]+))?")


class LinkTransform(SphinxTransform):
    """Replaces links to files."""

    # before Sphinx resolves references, after docutils has joined links and their targets
    default_priority = 700

    def apply(self) -> None:
        here = Path(self.env.doc2path(self.env.docname)).parent
        for link in list(self.document.findall(nodes.reference)):
            uri = link.get("refuri", "")
            if not uri or re.match(r"[a-z]+:", uri):
                continue
            match = _PAGE.fullmatch(uri)
            if match is not None and match["anchor"]:
                continue  # within what is built: Sphinx makes the same anchors
            if match is not None:
                link.replace_self(self._reference(link, match["page"]))
            elif (here / uri).exists():
                link.replace_self(nodes.literal("", link.astext()))
            else:
                getLogger(__name__).warning("there is no file %s", uri, location=link)

    def _reference(self, link: nodes.reference, page: str) -> pending_xref:
        target = pending_xref(
            refdomain="std",
            reftype="doc",
            reftarget=page,
            refdoc=self.env.docname,
            # the title of the page in place of the name of its file
            refexplicit=link.astext() != f"{page}.rst",
            refwarn=True,
        )
        target.source, target.line = link.source, link.line
        target += nodes.inline("", link.astext(), classes=["std", "std-doc"])
        return target


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(LinkTransform)
    return {"parallel_read_safe": True}
