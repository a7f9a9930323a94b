"""Tables made of the program itself: ``.. chatd-options::`` and ``.. chatd-metrics::``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from chatd.config.table import OPTIONS
from docs.extensions.program import metric_row, metrics, option_row


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> list[str]:
    """The lines of a list table."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (head, *rows):
        lines += [f"   {'* -' if n == 0 else '  -'} {cell}" for n, cell in enumerate(row)]
    return lines


class _Generated(SphinxDirective):
    """A directive that stands for the reStructuredText that `written` returns, by lines."""

    def written(self) -> list[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        node = nodes.container()
        lines = StringList(self.written(), source=type(self).__name__)
        self.state.nested_parse(lines, 0, node)
        return list(node.children)


class OptionsTable(_Generated):
    """Every option: its name, its default, what it means."""

    def written(self) -> list[str]:
        return _table(("option", "default", "meaning"), map(option_row, OPTIONS), "25 25 50")


class MetricsTable(_Generated):
    """Every metric: its name and labels, its type, what it means."""

    def written(self) -> list[str]:
        rows = [metric_row(name, metric) for name, metric in metrics().items()]
        return _table(("metric", "type", "meaning"), rows, "45 15 40")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("chatd-options", OptionsTable)
    app.add_directive("chatd-metrics", MetricsTable)
    return {"parallel_read_safe": True}
