"""Server-sent events (protocol, "HTTP"; HTML standard, section 9.2)."""

from __future__ import annotations

import gc
import json
import re
import struct

from chatd.net import tcp
from chatd.transports.http.sse import TYPES
from tests.support.http_client import EventStream
from tests.support.serving import Node, ServingTests
from tests.support.tokens import Issuer
from tests.support.waiting import until, until_of

EVENTS = "/rooms/lobby/events"


async def say(node: Node, *texts: str) -> list[str]:
    """Publish; the cursors."""
    for text in texts:
        answer = await node.post("/rooms/lobby/messages?username=ben", {"text": text})
        assert answer.status == 201, answer
    found = (await node.get(f"/rooms/lobby/messages?last={len(texts)}")).json["messages"]
    return [message["cursor"] for message in found]


async def texts(stream: EventStream, n: int) -> list[str]:
    return [(await stream.message()).data["text"] for _ in range(n)]


class EventTests(ServingTests):
    async def test_the_head(self) -> None:
        node = await self.serve()
        stream = await node.events(EVENTS)
        self.assertEqual(stream.head.status, 200)
        kind = str(stream.head.header("content-type"))
        self.assertTrue(kind.startswith("text/event-stream"), kind)
        self.assertEqual(stream.head.header("cache-control"), "no-store, no-transform")

    async def test_head(self) -> None:
        """The headers of GET, and nothing that says how long it would be."""
        node = await self.serve()
        stream = await node.events(EVENTS)
        head = await node.request("HEAD", EVENTS)
        self.assertEqual((head.status, head.body), (200, b""))
        for name in ("content-type", "cache-control", "content-length", "x-accel-buffering"):
            self.assertEqual(head.header(name), stream.head.header(name), name)
        self.assertEqual(node.service.ways.streams.leaving, 1)

    async def test_it_opens_with_where_it_continues(self) -> None:
        """And when to come back. Cut before its first message, a client has missed nothing."""
        node = await self.serve("--rate=1000/s")
        retries = set()
        for texts_so_far in range(10):
            cursor = (await node.get("/rooms/lobby")).json["cursor"]
            stream = await node.events(EVENTS)
            opening = re.fullmatch(rb"retry: (\d+)\nid: (\S+)", await stream.block())
            assert opening is not None
            retry, id = opening.groups()
            self.assertEqual(id.decode(), cursor)
            self.assertTrue(100 <= int(retry) <= 10_000, retry)
            retries.add(retry)
            stream.close()
            await say(node, str(texts_so_far))
            again = await node.events(EVENTS, last_event_id=id.decode())
            self.assertEqual(await texts(again, 1), [str(texts_so_far)])
        self.assertGreater(len(retries), 3)

    async def test_the_opening_is_where_what_was_asked_for_begins(self) -> None:
        node = await self.serve()
        one, two, three = await say(node, "1", "2", "3")
        for query, expected in (
            ("last=1", two),
            ("last=0", three),
            (f"after={one}", one),
            ("since=2999-01-01T00:00:00Z", three),
            ("since=2020-01-01T00:00:00Z", f"{one.partition(':')[0]}:-1"),
        ):
            stream = await node.events(f"{EVENTS}?{query}")
            self.assertIn(f"id: {expected}".encode(), await stream.block(), query)

    async def test_a_message_is_an_unnamed_event(self) -> None:
        node = await self.serve()
        stream = await node.events(EVENTS)
        [cursor] = await say(node, "«hi»\nthere\r")
        event = await stream.next()
        self.assertEqual((event.name, event.id), ("message", cursor))
        self.assertEqual(event.data["text"], "«hi»\nthere\r")
        self.assertEqual(event.data["cursor"], cursor)

    async def test_a_list_of_media_types_without_end(self) -> None:
        """Is not looked through to its end."""
        node = await self.serve()
        for others, name in ((TYPES - 1, "position"), (TYPES, "message")):
            accepted = "x/y, " * others + "text/event-stream"
            stream = await node.events(EVENTS, accept=accepted)
            await stream.block()
            await say(node, "on")
            self.assertEqual((await stream.next()).name, name)

    async def test_an_event_source_is_told_its_position_by_an_event_too(self) -> None:
        """Firefox, and npm's under Node, set no id without data (against 9.2.6)."""
        node = await self.serve()
        [one] = await say(node, "1")
        accept = "text/event-stream"
        stream = await node.events(EVENTS, accept=accept)
        event = await stream.next()
        self.assertEqual((event.name, event.id), ("position", one))
        self.assertEqual(event.data, {"type": "position", "room": "lobby", "cursor": one})
        # where an event says more, that is enough
        further = await node.events(f"{EVENTS}?last=1", accept=accept)
        self.assertEqual((await further.next()).name, "message")
        stream = await node.events(f"{EVENTS}?after=0:7", accept=accept)
        self.assertEqual((await stream.next()).name, "gap")
        # who reads bytes has it from the first block
        stream = await node.events(EVENTS, accept="*/*")
        await say(node, "2")
        self.assertEqual((await stream.next()).name, "message")
        self.assertEqual((await further.next()).name, "message")

    async def test_starts(self) -> None:
        node = await self.serve()
        cursors = await say(node, "1", "2", "3")
        for query, expected in (
            ("last=2", ["2", "3"]),
            ("since=2020-01-01T00:00:00Z", ["1", "2", "3"]),
            (f"after={cursors[1]}", ["3"]),
        ):
            stream = await node.events(f"{EVENTS}?{query}")
            self.assertEqual(await texts(stream, len(expected)), expected, query)
        live = await node.events(EVENTS)
        await say(node, "4")
        self.assertEqual(await texts(live, 1), ["4"])

    async def test_last_event_id_wins(self) -> None:
        """What a browser sends when it reconnects, with the old URL."""
        node = await self.serve()
        one, two, _ = await say(node, "1", "2", "3")
        stream = await node.events(f"{EVENTS}?after={one}", last_event_id=two)
        self.assertEqual(await texts(stream, 1), ["3"])
        stream = await node.events(f"{EVENTS}?last=3", last_event_id=two)
        self.assertEqual(await texts(stream, 1), ["3"])
        stream = await node.events(f"{EVENTS}?after={one}", last_event_id="")
        self.assertEqual(await texts(stream, 2), ["2", "3"])

    async def test_last_event_id_of_a_polyfill(self) -> None:
        """One that cannot set headers says it in the query."""
        node = await self.serve()
        one, two, three = await say(node, "1", "2", "3")
        for query in (
            f"lastEventId={two}",
            f"after={one}&lastEventId={two}",
            f"lastEventId={two}&last=3",
        ):
            self.assertEqual(await texts(await node.events(f"{EVENTS}?{query}"), 1), ["3"], query)
        stream = await node.events(f"{EVENTS}?lastEventId={three}", last_event_id=two)
        self.assertEqual(await texts(stream, 1), ["3"])
        stream = await node.events(f"{EVENTS}?lastEventId=&after={one}")
        self.assertEqual(await texts(stream, 2), ["2", "3"])

    async def test_bad_requests(self) -> None:
        node = await self.serve()
        for query in ("after=x", "last=1001", "since=x", "after=0:1&last=1", "lastEventId=x"):
            answer = await node.get(f"{EVENTS}?{query}")
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), query)
        answer = await node.get(EVENTS, last_event_id="x")
        self.assertEqual((answer.status, answer.code), (400, "bad_request"))
        self.assertEqual(node.service.admission.connections.total, 0)

    async def test_a_gap(self) -> None:
        node = await self.serve()
        [old] = await say(node, "lost")
        await node.service.chat.directory.delete("lobby")
        await node.service.chat.directory.create("lobby")
        [new] = await say(node, "found")
        stream = await node.events(f"{EVENTS}?after={old}")
        gap = await stream.next()
        epoch = new.partition(":")[0]
        self.assertEqual((gap.name, gap.id), ("gap", f"{epoch}:-1"))
        self.assertEqual(gap.data, {"type": "gap", "room": "lobby", "cursor": f"{epoch}:-1"})
        self.assertEqual(await texts(stream, 1), ["found"])
        self.assertFalse(
            (await node.get(f"/rooms/lobby/messages?after={gap.data['cursor']}")).json["gap"]
        )

    async def test_presence_and_typing(self) -> None:
        node = await self.serve()
        stream = await node.events(f"{EVENTS}?username=ann")
        ben = await node.chat("ben", "lobby")
        ben.send({"type": "typing", "room": "lobby"})
        typing = await stream.next()
        self.assertEqual((typing.name, typing.id), ("typing", None))
        self.assertEqual(typing.data, {"type": "typing", "room": "lobby", "user": "ben"})
        node.clock.advance(1)
        presence = await stream.next()
        self.assertEqual((presence.name, presence.id), ("presence", None))
        self.assertEqual(
            presence.data,
            {"type": "presence", "room": "lobby", "joined": ["ann", "ben"], "left": [], "count": 2},
        )

    async def test_a_named_stream_is_present_while_it_is_open(self) -> None:
        node = await self.serve()
        named = await node.events(f"{EVENTS}?username=ann")
        unnamed = await node.events(EVENTS)
        found = (await node.get("/rooms/lobby")).json
        self.assertEqual((found["members"], found["count"]), (["ann"], 1))
        named.close()
        await until(lambda: node.service.ways.streams.leaving == 1)
        found = (await node.get("/rooms/lobby")).json
        self.assertEqual((found["members"], found["count"]), ([], 0))
        unnamed.close()
        await until(lambda: node.service.ways.streams.leaving == 0)

    async def test_given_up_while_it_waits_for_the_broker(self) -> None:
        """A page that is closed while the broker is away: no traceback, nothing is kept."""
        node = await self.serve()
        await node.service.chat.directory.create("cold")
        node.service.broker.interrupt()
        waiting = [await node.ask("GET", f"/rooms/cold/events?username=u{n}") for n in range(5)]
        await until(lambda: node.service.ways.api.in_hand == 5)
        for http in waiting:
            http.raw.abort()
        await until(lambda: node.service.ways.api.in_hand == 0)
        self.assertEqual(node.service.admission.connections.total, 0)
        node.service.broker.resume()
        answer = await node.get("/rooms/cold")
        self.assertEqual((answer.status, answer.json["count"]), (200, 0))
        stream = await node.events("/rooms/cold/events?username=ann")
        self.assertEqual(stream.head.status, 200)
        del waiting, http
        gc.collect()  # a failure nobody looked at is logged when it is let go, and fails the test

    async def test_a_client_that_closes_its_side_before_it_begins(self) -> None:
        """The stream ends as soon as it begins, the connection with it, and nothing is kept."""
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        await node.service.chat.directory.create("cold")
        node.service.broker.interrupt()
        token = issuer.token("ann", node.clock.seconds() + 86400)
        http = await node.ask("GET", f"/rooms/cold/events?token={token}")
        await until(lambda: node.service.ways.api.in_hand == 1)
        http.raw.end()
        await node.get("/healthz")  # which the node reads after that
        node.service.broker.resume()
        self.assertIn(b"retry: ", await http.raw.rest())
        self.assertEqual(len(node.service.admission.standing), 0)
        self.assertEqual(node.service.admission.connections.total, 0)

    async def test_refused_and_then_closed(self) -> None:
        node = await self.serve()
        for _ in range(3):
            http = await node.ask("GET", "/rooms/nowhere/events", None, connection="keep-alive")
            self.assertEqual((await http.answer()).status, 404)
            http.raw.abort()
            await until_of(http.raw, lambda raw: raw.lost)
        gc.collect()

    async def test_a_comment_every_15_seconds(self) -> None:
        node = await self.serve()
        stream = await node.events(EVENTS)
        await stream.block()
        for _ in range(3):
            node.clock.advance(16)
            self.assertEqual(await stream.block(), b":")

    async def test_comments_keep_their_time(self) -> None:
        """None is later than the one before it by what its timer was late, up to a second."""
        node = await self.serve()
        stream = await node.events(EVENTS)
        await stream.block()
        node.clock.advance(15)
        self.assertEqual(await stream.block(), b":")
        first = node.clock.seconds()
        for _ in range(4):
            node.clock.advance(15)
            self.assertEqual(await stream.block(), b":")
        self.assertLess(node.clock.seconds() - first, 4 * 15 + 2)

    async def test_it_outlives_every_deadline(self) -> None:
        node = await self.serve()
        stream = await node.events(EVENTS)
        await stream.block()
        for _ in range(10):
            node.clock.advance(30)
            await stream.block()
        await say(node, "x")
        self.assertEqual(await texts(stream, 1), ["x"])

    async def test_a_client_whose_network_is_gone(self) -> None:
        """Nothing tells that its connection is gone but that it acknowledges nothing: it is not
        present, and holds no place, as over WebSocket."""
        node = await self.serve()
        await node.events(f"{EVENTS}?username=ann")
        other = await node.events(f"{EVENTS}?username=ben")
        await other.block()
        (gone,) = (s for s in node.service.ways.streams._open if s.identity.user == "ann")
        info = bytearray(tcp._INFO)
        struct.pack_into("I", info, 24, 1)
        struct.pack_into("I", info, 56, int(1000 * tcp.SILENCE) + 1)
        known, transport = tcp._tcp_info, gone._request.channel.transport
        self.patch(tcp, "_tcp_info", lambda t: bytes(info) if t is transport else known(t))
        node.clock.advance(16)
        await until(lambda: node.service.ways.streams.leaving == 1)
        self.assertEqual((await node.get("/rooms/lobby")).json["members"], ["ben"])
        self.assertEqual(node.service.admission.connections.total, 1)

    async def test_the_room_is_deleted(self) -> None:
        node = await self.serve()
        stream = await node.events(EVENTS)
        await node.service.chat.directory.delete("lobby")
        with self.assertRaises(EOFError):
            await stream.message()

    async def test_the_right_is_lost(self) -> None:
        node = await self.serve()
        directory = node.service.chat.directory
        await directory.create("den", private=True)
        await directory.add_member("den", "ann")
        stream = await node.events("/rooms/den/events?username=ann")
        await directory.remove_member("den", "ann")
        with self.assertRaises(EOFError):
            await stream.message()

    async def test_the_token_expires(self) -> None:
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        token = issuer.token("ann", node.clock.seconds() + 20)
        stream = await node.events(f"{EVENTS}?token={token}")
        self.assertEqual((await node.get(f"/rooms/lobby?token={token}")).json["members"], ["ann"])
        node.clock.advance(21)
        with self.assertRaises(EOFError):
            await stream.message()

    async def test_a_reader_that_stops_reading(self) -> None:
        """It falls behind, costs nothing, and reads on from where it was."""
        node = await self.serve("--rate=1000000/s")
        stream = await node.events(EVENTS)
        await stream.block()
        stream._http.raw.transport.pauseProducing()
        writer = await node.chat("ben")
        big = "x" * 16000
        for n in range(700):
            await writer.say("lobby", f"{n} {big}")
        stream._http.raw.transport.resumeProducing()
        seen = await texts(stream, 700)
        self.assertEqual([int(text.split()[0]) for text in seen], list(range(700)))

    async def test_what_comes_goes_past_the_transport(self) -> None:
        """Straight to the socket, once the head has left; again when a stalled client reads on."""
        node = await self.serve("--rate=1000000/s")
        stream = await node.events(EVENTS)
        await stream.block()
        (served,) = node.service.ways.streams._open
        transport = served._request.channel.transport
        written: list[bytes] = []
        write = transport.write

        def noted(data: bytes) -> None:
            written.append(data)
            write(data)

        self.patch(transport, "write", noted)
        await say(node, "a", "b", "c")
        self.assertEqual(await texts(stream, 3), ["a", "b", "c"])
        self.assertEqual(written, [])
        stream._http.raw.transport.pauseProducing()
        big = ["x" * 16000] * 300
        writer = await node.chat("ben")
        for text in big:
            await writer.say("lobby", text)
        stream._http.raw.transport.resumeProducing()
        self.assertEqual(await texts(stream, 300), big)
        self.assertNotEqual(written, [], "it never stalled")
        written.clear()
        await say(node, "d")
        self.assertEqual(await texts(stream, 1), ["d"])
        self.assertEqual(written, [])

    async def test_a_client_without_chunks(self) -> None:
        """HTTP/1.0 has none (RFC 9112, section 7.1)."""
        node = await self.serve()
        raw = await node.raw("http")
        raw.send(f"GET {EVENTS} HTTP/1.0\r\n\r\n".encode())
        head = await raw.until(b"\r\n\r\n")
        self.assertNotIn(b"chunked", head)
        await say(node, "a")
        opening = await raw.until(b"\n\n")
        message = await raw.until(b"\n\n")
        self.assertTrue(opening.startswith(b"retry: "), opening)
        self.assertTrue(message.startswith(b"id: "), message)


class RefusedTests(ServingTests):
    """A browser's EventSource takes any status but 200 as final (HTML standard, 9.2.3)."""

    async def refused(self, node: Node, code: str, at_least: int, path: str = EVENTS) -> None:
        """An event stream is refused for now, with an event; everything else by its status."""
        for accept in ("text/event-stream", "Text/Event-Stream;q=0.9", "a/b, text/event-stream"):
            answer = await node.get(path, accept=accept)
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(answer.header("content-type"), "text/event-stream; charset=utf-8")
            self.assertEqual(answer.header("cache-control"), "no-store, no-transform")
            block = answer.body.decode()
            match = re.fullmatch(r"retry: (\d+)\nevent: refused\ndata: (.+)\n\n", block)
            assert match is not None, block
            self.assertTrue(at_least <= int(match[1]) < at_least + 6000, block)
            error = json.loads(match[2])
            self.assertEqual(set(error), {"type", "code", "text"})
            self.assertEqual((error["type"], error["code"]), ("error", code))
        for accept in ("*/*", "text/html", "application/json"):
            answer = await node.get(path, accept=accept)
            self.assertEqual((answer.status, answer.code), (503, code))
            self.assertIsNotNone(answer.header("retry-after"))

    async def test_too_many_connections(self) -> None:
        node = await self.serve("--max-connections=1")
        await node.events(EVENTS)
        await self.refused(node, "unavailable", 5000)
        answer = await node.get("/rooms/lobby/messages?last=0&wait=1", accept="text/event-stream")
        self.assertEqual(answer.status, 503, "a poll is no event stream")

    async def test_the_broker_is_away(self) -> None:
        node = await self.serve()
        await node.service.chat.directory.create("cold")
        node.service.broker.interrupt()
        asked = [
            await node.ask("GET", "/rooms/cold/events", None, accept=accept)
            for accept in ("text/event-stream", "*/*")
        ]
        await until(lambda: node.service.ways.api.in_hand == 2)
        node.clock.advance(11)
        statuses = [(await http.answer()).status for http in asked]
        self.assertEqual(statuses, [200, 503])
        node.service.broker.resume()

    async def test_the_node_drains(self) -> None:
        node = await self.serve()
        node.service.chat.draining = True
        await self.refused(node, "unavailable", 1000)

    async def test_what_is_final_keeps_its_status(self) -> None:
        node = await self.serve()
        await node.service.chat.directory.create("den", private=True)
        for path, status in (
            (f"{EVENTS}?after=x", 400),
            ("/rooms/den/events?username=ann", 403),
            ("/rooms/nowhere/events", 404),
        ):
            answer = await node.get(path, accept="text/event-stream")
            self.assertEqual(answer.status, status)

    async def test_a_page_of_another_origin_is_told_too(self) -> None:
        node = await self.serve("--origin=https://a.example", "--max-connections=1")
        await node.events(EVENTS)
        answer = await node.get(EVENTS, accept="text/event-stream", origin="https://a.example")
        self.assertEqual(answer.header("access-control-allow-origin"), "https://a.example")
        self.assertIn(b"event: refused", answer.body)
