"""``/metrics``: what it holds, by Prometheus's judgement; what alert rules and dashboard ask for
is there."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from prometheus_client.parser import text_string_to_metric_families

from chatd.service import survey
from chatd.timing.turn_queue import TurnQueue
from tests.support.daemon import ROOT
from tests.support.serving import Node, ServingTests
from tests.support.waiting import until

RULES = ROOT / "etc" / "prometheus" / "chatd.rules.yml"
DASHBOARD = ROOT / "etc" / "grafana" / "chatd.json"
#: Only on RabbitMQ, and only where Prometheus itself says them.
ELSEWHERE = {"chatd_broker_reconnects_total", "chatd_unconfirmed_publishes", "up"}
#: A disk of 100 GB that loses 0.2 GB a minute, after 100 minutes.
FILLING = """
rule_files: [{rules}]
tests:
  - interval: 1m
    input_series:
      - {{series: 'chatd_disk_free_bytes{{instance="a"}}', values: '100e9-2e8x100'}}
    alert_rule_test:
      - eval_time: 100m
        alertname: ChatdDiskFull
        exp_alerts:
          - exp_labels: {{instance: a, severity: page}}
            exp_annotations: {{summary: "a: 74.51GiB left for the database"}}
"""
#: A node that has just been started, when a backup of 20 GB is made on a disk of 100 GB.
BACKING_UP = """
rule_files: [{rules}]
tests:
  - interval: 1m
    input_series:
      - {{series: 'chatd_disk_free_bytes{{instance="a"}}', values: '100e9-1e9x20 80e9x100'}}
    alert_rule_test:
      - {{eval_time: 15m, alertname: ChatdDiskFull}}
      - {{eval_time: 30m, alertname: ChatdDiskFull}}
"""
#: RabbitMQ is lost six times, and both connections of a node with it.
LOSING = """
rule_files: [{rules}]
tests:
  - interval: 1m
    input_series:
      - {{series: 'chatd_broker_reconnects_total{{instance="a"}}', values: '0x14 2+2x5 12x30'}}
      - {{series: 'chatd_broker_reconnects_total{{instance="b"}}', values: '0x14 2+2x3 8x30'}}
    alert_rule_test:
      - eval_time: 24m
        alertname: ChatdReconnects
        exp_alerts:
          - exp_labels: {{instance: a, severity: ticket}}
            exp_annotations: {{summary: "a lost the broker 6 times in 15 minutes"}}
"""


def promtool(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", *arguments], input=given, capture_output=True)


class MetricsTests(ServingTests):
    async def sqlite(self) -> Node:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return await self.serve(f"--broker=sqlite:{folder.name}/chat.sqlite")

    async def text(self, node: Node) -> str:
        answer = await node.get("/metrics")
        self.assertEqual(answer.status, 200)
        return answer.body.decode()

    async def value(self, node: Node, name: str, **labels: str) -> float:
        """A sample; 0 if there is none."""
        for family in text_string_to_metric_families(await self.text(node)):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return 0.0

    async def test_prometheus_finds_nothing_to_object_to(self) -> None:
        node = await self.sqlite()
        ann = await node.chat("ann", "lobby")
        ann.send({"type": "message", "room": "lobby", "text": "hi"})
        await ann.receive()
        checked = promtool("check", "metrics", given=(await self.text(node)).encode())
        own = [line for line in checked.stdout.decode().splitlines() if line.startswith("chatd_")]
        self.assertEqual((own, checked.stderr), ([], b""))

    async def test_what_is_said_and_read(self) -> None:
        node = await self.sqlite()
        ann = await node.chat("ann", "lobby")
        await node.post("/rooms/lobby/messages?username=bob", {"text": "12345"})
        while (await ann.receive())["type"] != "message":
            pass
        await node.raw("setup")
        await node.get("/rooms/nowhere")
        for name, labels, expected in (
            ("chatd_messages_published_total", {}, 1),
            ("chatd_published_bytes_total", {}, 5),
            ("chatd_publish_duration_seconds_count", {}, 1),
            ("chatd_messages_delivered_total", {}, 1),
            ("chatd_delivery_latency_seconds_count", {}, 1),
            ("chatd_subscribers_live", {}, 1),
            ("chatd_subscribers_behind", {}, 0),
            ("chatd_members_present", {}, 1),
            ("chatd_connections", {"transport": "websocket"}, 1),
            ("chatd_connections", {"transport": "setup"}, 1),
            ("chatd_errors_total", {"code": "unknown_room"}, 1),
            ("chatd_rooms", {}, 1),
            ("chatd_broker_up", {}, 1),
            ("chatd_ready", {}, 1),
            ("chatd_broker_blocked", {"alarm": "disk"}, 0),
            ("chatd_rooms_not_level", {}, 0),
            ("chatd_build_info", {}, 1),
        ):
            self.assertEqual(await self.value(node, name, **labels), expected, name)
        self.assertGreater(await self.value(node, "chatd_disk_free_bytes"), 0)
        self.assertGreater(await self.value(node, "chatd_database_size_bytes"), 0)
        self.assertGreater(await self.value(node, "process_open_fds"), 0)

    async def test_connections_are_counted_as_long_as_they_are_open(self) -> None:
        node = await self.serve()
        kinds = ("websocket", "events", "setup")
        count = node.service.metrics.registry.get_sample_value

        def open() -> list[float | None]:
            return [count("chatd_connections", {"transport": kind}) or 0 for kind in kinds]

        ann = await node.chat("ann", "lobby")
        events = await node.events("/rooms/lobby/events?username=ben")
        setup = await node.raw("setup")
        await until(lambda: open() == [1, 1, 1])
        for raw, left in ((events._http.raw, [1, 0, 1]), (setup, [1, 0, 0]), (ann.raw, [0, 0, 0])):
            raw.abort()
            await until(partial(lambda left: open() == left, left))

    async def test_an_alarm_of_the_broker(self) -> None:
        node = await self.serve()
        node.service.broker.blocked = "low on memory"
        self.assertEqual(await self.value(node, "chatd_broker_blocked", alarm="memory"), 1)
        self.assertEqual(await self.value(node, "chatd_broker_blocked", alarm="disk"), 0)
        ready = await node.get("/readyz")
        self.assertEqual(ready.status, 200)
        self.assertEqual(json.loads(ready.body)["publishing"], "low on memory")

    async def test_how_far_followers_are_behind(self) -> None:
        node = await self.serve()
        await node.chat("ann", "lobby")
        self.assertEqual(await self.value(node, "chatd_follower_lag_seconds"), 0)
        node.service.broker.interrupt()
        node.clock.advance(7)
        self.assertGreaterEqual(await self.value(node, "chatd_follower_lag_seconds"), 7)
        self.assertEqual(await self.value(node, "chatd_rooms_not_level"), 1)
        node.service.broker.resume()
        await until(lambda: node.service.broker.ready)
        self.assertEqual(await self.value(node, "chatd_follower_lag_seconds"), 0)

    async def test_whoever_comes_back_too_late(self) -> None:
        """However they come back: the alert is about retention, not about a transport."""
        node = await self.serve()
        ann = await node.chat("ann")
        self.assertTrue((await ann.join("lobby", after="0:3"))["gap"])
        seen = [await self.value(node, "chatd_gaps_total")]
        for path in (
            "/rooms/lobby/messages?after=0:3",
            "/poll?roomname=lobby&after=0:3",
            "/rooms/lobby/messages",
        ):
            await node.get(path)
            seen.append(await self.value(node, "chatd_gaps_total"))
        stream = await node.events("/rooms/lobby/events?after=0:3")
        while b"event: gap" not in await stream.block():
            pass
        seen.append(await self.value(node, "chatd_gaps_total"))
        self.assertEqual(seen, [1, 2, 3, 3, 4])

    async def test_polls_that_wait(self) -> None:
        node = await self.serve("--room=den", "--room=lobby")
        for room in ("den", "lobby"):
            cursor = json.loads((await node.get(f"/rooms/{room}/messages")).body)["cursor"]
            await node.ask("GET", f"/rooms/{room}/messages?after={cursor}&wait=60")
        await until(lambda: all(len(room.waiting) == 1 for room in node.service.chat.rooms))
        self.assertEqual(await self.value(node, "chatd_polls_waiting"), 2)

    async def test_many_rooms_are_looked_at_in_slices(self) -> None:
        self.patch(survey, "SLICE", 2)
        node = await self.serve(*(f"--room=r{n}" for n in range(7)))
        for n in range(7):
            await node.chat(f"ann{n}", f"r{n}")
        wait = mock.patch.object(TurnQueue, "wait", autospec=True, side_effect=TurnQueue.wait)
        with wait as waited:
            self.assertEqual(await self.value(node, "chatd_subscribers_live"), 7)
        self.assertEqual(waited.call_count, 3)

    def test_the_rules_are_rules(self) -> None:
        checked = promtool("check", "rules", str(RULES))
        self.assertEqual((checked.returncode, checked.stderr), (0, b""), checked.stdout)

    def test_a_disk_that_fills_is_told_of_by_what_is_left(self) -> None:
        """Not by what is predicted to be left, which is less than nothing."""
        self.fires(FILLING)

    def test_a_disk_that_has_not_been_watched_for_long(self) -> None:
        self.fires(BACKING_UP)

    def test_a_broker_that_is_lost_again_and_again(self) -> None:
        """Both connections of a node are lost at a time, which is once."""
        self.fires(LOSING)

    def fires(self, tests: str) -> None:
        path = Path(self.mktemp())
        path.write_text(tests.format(rules=RULES))
        checked = promtool("test", "rules", str(path))
        self.assertEqual(checked.returncode, 0, checked.stdout.decode() + checked.stderr.decode())

    async def test_what_rules_and_dashboard_ask_for_is_there(self) -> None:
        text = await self.text(await self.sqlite())
        names = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
        for file, expressions in ((RULES, _rules()), (DASHBOARD, _panels())):
            self.assertGreater(len(expressions), 10)
            for name in re.findall(r"\b(?:chatd|process)_\w+", " ".join(expressions)):
                known = {name, name.removesuffix("_total"), name.removesuffix("_bucket")}
                self.assertTrue(known & (names | ELSEWHERE), f"{name} in {file.name}")

    async def test_the_dashboard_shows_all_that_there_is(self) -> None:
        text = await self.text(await self.sqlite())
        shown = " ".join(_panels())
        for name in re.findall(r"^# TYPE (chatd_\w+) (?!gauge\n\1_created)", text, re.MULTILINE):
            if not name.endswith(("_created", "_live")):
                self.assertIn(name, shown)


def _rules() -> list[str]:
    return re.findall(r"^ +expr: (.*)$", RULES.read_text(), re.MULTILINE)


def _panels() -> list[str]:
    dashboard: dict[str, Any] = json.loads(Path(DASHBOARD).read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
