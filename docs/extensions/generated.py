"""Tables made of the program itself: ``.. chatd-options::`` and ``.. chatd-metrics::``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from docutils import nodes
from docutils.statemachine import StringList
from prometheus_client import Metric
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from twisted.internet.task import Clock

from chatd.config.options import Options
from chatd.config.table import OPTIONS, Option
from chatd.tap import ChatService


def metrics() -> dict[str, Metric]:
    """All metrics of a node, on whichever broker, by the name that Prometheus shows."""
    found: dict[str, Metric] = {}
    with TemporaryDirectory() as folder:
        database = Path(folder) / "chatd.sqlite"
        database.touch()
        for broker in (f"sqlite:{database}", "amqp://localhost/"):
            options = Options({})
            options.parseOptions(["--broker", broker])
            node = ChatService(Clock(), options.config)
            found |= {_shown(metric): metric for metric in node.metrics.registry.collect()}
    return dict(sorted(found.items()))


def _shown(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels(metric: Metric) -> list[str]:
    """The labels that its samples have here; see `LABELS` for those that have no sample yet."""
    return sorted({label for sample in metric.samples for label in sample.labels} - {"le"})


#: Labels of metrics that have no sample before something has happened.
LABELS = {
    "chatd_bad_records_total": ["reason"],
    "chatd_connections": ["transport"],
    "chatd_errors_total": ["code"],
    "chatd_http_requests_total": ["status"],
}


def _metric(name: str, metric: Metric) -> list[str]:
    labels = _labels(metric) or LABELS.get(name, [])
    with_labels = f" {{{', '.join(labels)}}}" if labels else ""
    return [f"``{name}``{with_labels}", metric.type, metric.documentation]


def _option(option: Option) -> list[str]:
    notes = [
        "a list" if option.repeated else "",
        "" if option.live else "a change needs a restart",
    ]
    more = "; ".join(note for note in notes if note)
    text = option.help.replace("*", r"\*")
    return [
        f"``--{option.name}``",
        f"``{option.default}``" if option.default is not None else "none",
        f"{text}. {more[0].upper()}{more[1:]}." if more else f"{text}.",
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> list[str]:
    """The lines of a list table."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (head, *rows):
        lines += [f"   {'* -' if n == 0 else '  -'} {cell}" for n, cell in enumerate(row)]
    return lines


class _Generated(SphinxDirective):
    """A directive whose content is made up."""

    def made(self) -> list[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_content_to_nodes_of(self.made())

    def parse_content_to_nodes_of(self, lines: list[str]) -> list[nodes.Node]:
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source=type(self).__name__), 0, node)
        return list(node.children)


class OptionsTable(_Generated):
    """Every option: its name, its default, what it means."""

    def made(self) -> list[str]:
        return _table(("option", "default", "meaning"), map(_option, OPTIONS), "25 25 50")


class MetricsTable(_Generated):
    """Every metric: its name and labels, its type, what it means."""

    def made(self) -> list[str]:
        rows = [_metric(name, metric) for name, metric in metrics().items()]
        return _table(("metric", "type", "meaning"), rows, "45 15 40")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("chatd-options", OptionsTable)
    app.add_directive("chatd-metrics", MetricsTable)
    return {"parallel_read_safe": True}
