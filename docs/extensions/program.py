"""What the program itself says of its options and metrics, as rows of tables."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import Metric
from twisted.internet.task import Clock

from chatd.config.options import Options
from chatd.config.table import Option
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
    "chatd_certificate_expiry_timestamp_seconds": ["file"],
    "chatd_connections": ["transport"],
    "chatd_errors_total": ["code"],
    "chatd_http_requests_total": ["status"],
}


def metric_row(name: str, metric: Metric) -> list[str]:
    labels = _labels(metric) or LABELS.get(name, [])
    with_labels = f" {{{', '.join(labels)}}}" if labels else ""
    return [f"``{name}``{with_labels}", metric.type, metric.documentation]


def option_row(option: Option) -> list[str]:
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
