"""``top``: what a node does, from its ``/metrics``."""

from __future__ import annotations

import time
from typing import Any

import click
from prometheus_client.parser import text_string_to_metric_families
from rich.live import Live
from rich.table import Table

from chatd.ctl.api import Failed
from chatd.ctl.output import plain, table
from chatd.ctl.setting import Setting, pass_setting

Sample = dict[str, float]


def read(setting: Setting) -> Sample:
    """The values of all of chatd's metrics by name and labels; buckets of histograms left out."""
    text = setting.api.ask("GET", "/metrics").decode("utf-8", "replace")
    found = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith(("chatd_", "process_")) and "le" not in sample.labels:
                    if sample.name.endswith("_created"):
                        continue
                    labels = ",".join(sample.labels.values())
                    found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    except ValueError as error:
        raise Failed(plain(f"what /metrics answers are no metrics: {error}")) from None
    return found


def rows(now: Sample, before: Sample, seconds: float) -> list[dict[str, Any]]:
    """A row for each metric: its value, and for what only grows how fast it does."""
    shown = []
    for name, value in sorted(now.items()):
        grows = name.partition("{")[0].endswith(("_total", "_count", "_sum"))
        rate = (value - before.get(name, value)) / seconds if grows and seconds else None
        shown.append({"metric": name, "value": value, "per second": "" if rate is None else rate})
    return shown


def fitting(found: list[dict[str, Any]], lines: int) -> list[dict[str, Any]]:
    """What ``lines`` have room for: first what grows, then what is not zero. The last line says how
    many are left out."""
    if len(found) <= lines:
        return found
    telling = sorted(
        range(len(found)), key=lambda n: (not found[n]["per second"], not found[n]["value"])
    )
    shown = sorted(telling[: max(lines - 1, 0)])
    more = f"and {len(found) - len(shown)} more: chatctl top --once"
    return [*(found[n] for n in shown), {"metric": more, "value": "", "per second": ""}]


@click.command()
@click.option("--interval", type=click.FloatRange(0.1), default=2.0, show_default=True)
@click.option("--once", is_flag=True, help="Print once; so it is where output is no terminal.")
@pass_setting
def top(setting: Setting, interval: float, once: bool) -> None:
    """Show a node's metrics, live. Elsewhere than on its machine it takes the admin key."""
    output = setting.output
    columns = ("metric", "value", "per second")

    def seen(found: list[dict[str, Any]]) -> Table:
        shown = fitting(found, output.console.size.height - 1)  # the head is one
        return table(columns, shown, "ellipsis")

    now, at = read(setting), time.monotonic()
    if once or output.as_json or not output.console.is_terminal:
        output.rows(columns[:2], rows(now, {}, 0))
        return
    try:
        with Live(seen(rows(now, {}, 0)), console=output.console, screen=True) as live:
            while True:
                time.sleep(interval)
                before, since = now, at
                now, at = read(setting), time.monotonic()
                live.update(seen(rows(now, before, at - since)))
    except KeyboardInterrupt:
        pass


COMMANDS = (top,)
