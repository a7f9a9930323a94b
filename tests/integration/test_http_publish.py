"""Publishing over HTTP: bodies, sizes and rates (protocol, "HTTP")."""

from __future__ import annotations

import json

from chatd.directory.stream import DirectoryState
from tests.support.http_client import HTTP, Answer
from tests.support.serving import Node, ServingTests

SAY = "/rooms/lobby/messages?username=ann"
POLL = "/poll?username=ann&roomname=lobby"
FORM = "application/x-www-form-urlencoded"


async def last(node: Node, room: str = "lobby") -> dict[str, object]:
    """The newest message."""
    found = (await node.get(f"/rooms/{room}/messages?last=1")).json["messages"][0]
    assert isinstance(found, dict)
    return found


class PublishTests(ServingTests):
    async def test_json(self) -> None:
        node = await self.serve()
        answer = await node.post(SAY, {"text": "«hi»", "id": "k", "data": {"a": [1]}})
        self.assertEqual((answer.status, answer.json), (201, {"id": "k"}))
        message = await last(node)
        self.assertEqual((message["text"], message["data"]), ("«hi»", {"a": [1]}))
        self.assertEqual((message["user"], message["id"]), ("ann", "k"))

    async def test_json_whatever_it_is_called(self) -> None:
        node = await self.serve()
        for kind in ("application/json; charset=utf-8", "application/vnd.x+json", ""):
            answer = await node.post(SAY, b'{"text":"x"}', content_type=kind)
            self.assertEqual(answer.status, 201, kind)

    async def test_json_out_of_a_file_that_begins_with_a_byte_order_mark(self) -> None:
        """As editors of Windows write it."""
        node = await self.serve()
        answer = await node.post(SAY, b'\xef\xbb\xbf{"text":"x"}')
        self.assertEqual((answer.status, (await last(node))["text"]), (201, "x"))
        said = b'{"status":"message","message":"y","username":"u","roomname":"lobby"}'
        answer = await node.post("/poll", b"\xef\xbb\xbf" + said)
        self.assertEqual((answer.status, (await last(node))["text"]), (200, "y"))

    async def test_an_id_of_the_servers_own(self) -> None:
        node = await self.serve()
        ids = {(await node.post(SAY, {"text": "x"})).json["id"] for _ in range(5)}
        self.assertEqual(len(ids), 5)
        self.assertIn((await last(node))["id"], ids)
        for id in ids:
            self.assertRegex(id, r"^[\x21-\x7e]{1,64}$")

    async def test_a_form(self) -> None:
        node = await self.serve()
        answer = await node.post(SAY, "text=a+%C3%BC%26b&x=y", content_type=FORM)
        self.assertEqual(answer.status, 201)
        self.assertEqual((await last(node))["text"], "a ü&b")
        parts = '--B\r\nContent-Disposition: form-data; name="text"\r\n\r\nü in parts\r\n--B--\r\n'
        answer = await node.post(SAY, parts, content_type="multipart/form-data; boundary=B")
        self.assertEqual(answer.status, 201)
        self.assertEqual((await last(node))["text"], "ü in parts")

    async def test_plain_text(self) -> None:
        node = await self.serve()
        for text in ("hi", "", '{"text":"not JSON here"}', "text=a&b=c", "ü\n"):
            answer = await node.post(SAY, text, content_type="Text/Plain; charset=UTF-8")
            self.assertEqual(answer.status, 201)
            self.assertEqual((await last(node))["text"], text)

    async def test_a_text_that_ends_with_the_connection(self) -> None:
        """HTTP/1.0 has no such body: it would not be read, and is not taken for none."""
        node = await self.serve()
        raw = await node.raw("http")
        head = f"POST {SAY} HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/plain\r\n\r\n"
        raw.send(head.encode() + b"hi")
        self.assertEqual((await HTTP(raw, "POST").answer()).code, "bad_request")
        self.assertEqual((await node.get("/rooms/lobby/messages?last=1")).json["messages"], [])

    async def test_idempotency(self) -> None:
        node = await self.serve()
        for status in (201, 200, 200):
            answer = await node.post(SAY, {"text": "x"}, idempotency_key="k-1")
            self.assertEqual((answer.status, answer.json), (status, {"id": "k-1"}))
        answer = await node.post(SAY, {"text": "x", "id": "k-1"}, idempotency_key="k-1")
        self.assertEqual(answer.status, 200)
        answer = await node.post(SAY, "text=x&id=k-1", content_type=FORM)
        self.assertEqual(answer.status, 200)
        answer = await node.post(SAY, {"text": "x", "id": "k-1"}, idempotency_key="k-2")
        self.assertEqual((answer.status, answer.code), (400, "bad_request"))
        for key in ("", "a b", "é", "x" * 65):
            answer = await node.post(SAY, {"text": "x"}, idempotency_key=key)
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), key)
        self.assertEqual(len((await node.get("/rooms/lobby/messages?last=9")).json["messages"]), 1)

    async def test_bad_requests(self) -> None:
        node = await self.serve()
        nested = b'{"text":"x","data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001
        for body, kind in (
            (b"", "application/json"),
            (b"hello", "application/json"),
            (b"hello", ""),
            (b"[]", "application/json"),
            (b"{}", "application/json"),
            (b'{"text":7}', "application/json"),
            (b'{"text":"x","data":[]}', "application/json"),
            (b'{"text":"x","data":{"a":NaN}}', "application/json"),
            (b'{"text":"x","data":{"a":-1e999}}', "application/json"),
            (b'{"text":"x","data":{"a":' + b"1" * 5000 + b"}}", "application/json"),
            (b'{"text":"\\ud800"}', "application/json"),
            (b'{"text":"\xff"}', "application/json"),
            (b"\xff\xfe{\x00}\x00", "application/json"),
            (nested, "application/json"),
            (b"\xff", "text/plain"),
            (b"", FORM),
            (b"texts=x", FORM),
            (b"text=%ff", FORM),
            (b"text=x", "multipart/form-data; boundary=B"),
            (b"text=x", "multipart/form-data"),
            (b"--B\r\n\r\n\r\n", "multipart/form-data; boundary=B"),
        ):
            answer = await node.post(SAY, body, content_type=kind)
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), (body, kind))
        self.assertEqual((await node.get("/rooms/lobby/messages?last=9")).json["messages"], [])

    async def test_data_may_be_nested_but_not_without_end(self) -> None:
        """What is acknowledged can be read again, however deep the stack is then."""
        node = await self.serve("--rate=1000/s")
        reader = await node.chat("ben", "lobby")
        stored = 0
        for depth in (1, 10, 60, 100, 200, 300, 500, 700, 800, *range(850, 1000, 3)):
            data = '{"a":' * depth + "1" + "}" * depth
            answer = await node.post(SAY, f'{{"text":"{depth}","data":{data}}}')
            if answer.status == 201:
                stored += 1
                self.assertEqual((await reader.find("message"))["text"], str(depth))
            else:
                self.assertEqual((answer.status, answer.code), (400, "bad_request"))
                self.assertGreater(depth, 60)
        messages = (await node.get("/rooms/lobby/messages?last=1000")).json["messages"]
        self.assertEqual(len(messages), stored)

    async def test_who_speaks(self) -> None:
        node = await self.serve()
        answer = await node.post("/rooms/lobby/messages", {"text": "x"})
        self.assertEqual((answer.status, answer.code), (401, "unauthorized"))
        answer = await node.post("/rooms/lobby/messages?username=a%20%20b", {"text": "x"})
        self.assertEqual((answer.status, answer.code), (400, "bad_request"))
        answer = await node.post("/rooms/lobby/messages?username=a%2Bb", {"text": "x"})
        self.assertEqual(answer.status, 201)
        self.assertEqual((await last(node))["user"], "a+b")

    async def test_a_form_speaks_for_nobody_else(self) -> None:
        """The user in the URL may be a proxy's; a field may repeat it, not change it."""
        node = await self.serve()
        for query, field, status, user in (
            ("?username=ann", "", 201, "ann"),
            ("?username=ann", "&username=ann", 201, "ann"),
            ("?username=ann", "&username=ben", 400, "ann"),
            ("?username=ann", "&username=", 400, "ann"),
            ("", "&username=ben", 201, "ben"),
        ):
            path = f"/rooms/lobby/messages{query}"
            answer = await node.post(path, f"text=x{field}", content_type=FORM)
            self.assertEqual(answer.status, status, (query, field))
            self.assertEqual((await last(node))["user"], user)

    async def test_no_such_room(self) -> None:
        node = await self.serve()
        for answer in (
            await node.post("/rooms/nowhere/messages?username=ann", {"text": "x"}),
            await node.get("/rooms/nowhere/messages"),
            await node.get("/rooms/nowhere/events"),
            await node.get("/rooms/nowhere"),
            await node.get("/poll?roomname=nowhere"),
            await node.post(
                "/poll",
                {"status": "message", "message": "x", "username": "ann", "roomname": "nowhere"},
            ),
        ):
            self.assertEqual((answer.status, answer.code), (404, "unknown_room"))

    async def test_a_private_room(self) -> None:
        node = await self.serve()
        await node.service.chat.directory.create("den", private=True)
        await node.service.chat.directory.add_member("den", "ann")
        for path in ("/messages", "/events", ""):
            answer = await node.get(f"/rooms/den{path}?username=ben")
            self.assertEqual((answer.status, answer.code), (403, "forbidden"), path)
        answer = await node.post("/rooms/den/messages?username=ben", {"text": "x"})
        self.assertEqual((answer.status, answer.code), (403, "forbidden"))
        self.assertEqual((await node.get("/rooms/den?username=ann")).status, 200)
        answer = await node.post("/rooms/den/messages?username=ann", {"text": "x"})
        self.assertEqual(answer.status, 201)


class SizeTests(ServingTests):
    async def test_texts(self) -> None:
        node = await self.serve()
        for text, data, status in (
            ("x" * 16384, None, 201),
            ("ü" * 8192, None, 201),
            ("x" * 16385, None, 413),
            ("ü" * 8193, None, 413),
            ("x" * 16384, {"a": "y" * (49152 - 8)}, 201),
            ("x" * 16384, {"a": "y" * (49153 - 8)}, 413),
        ):
            answer = await node.post(SAY, {"text": text, "data": data})
            self.assertEqual(answer.status, status)
            if status == 413:
                self.assertEqual(answer.code, "too_large")
        answer = await node.post(SAY, "x" * 16385, content_type="text/plain")
        self.assertEqual((answer.status, answer.code), (413, "too_large"))

    async def test_a_body_is_refused_before_it_comes(self) -> None:
        """From its Content-Length alone, or as soon as more has come than may."""
        node = await self.serve("--max-frame", "32KB")
        begun = f"POST {SAY} HTTP/1.1\r\nHost: localhost\r\n"
        for more in (
            "Content-Length: 32769\r\n\r\n",
            "Content-Length: 32769\r\nExpect: 100-continue\r\n\r\n",
            "Content-Length: 999999999999\r\n\r\nxxx",
            "Transfer-Encoding: chunked\r\n\r\n"
            + ("4000\r\n" + "x" * 0x4000 + "\r\n") * 2
            + "1\r\nx\r\n",
        ):
            raw = await node.raw("http")
            raw.send((begun + more).encode())
            head, _, body = (await raw.rest()).partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 413 "), head)
            self.assertEqual(json.loads(body)["code"], "too_large")

    async def test_the_refusal_reaches_who_goes_on_sending(self) -> None:
        node = await self.serve()
        raw = await node.raw("http")
        raw.send(
            f"POST {SAY} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n".encode()
        )
        raw.send(b"x" * 9_000_000)
        self.assertTrue((await raw.until(b"\r\n")).startswith(b"HTTP/1.1 413 "))

    async def test_exactly_the_limit(self) -> None:
        node = await self.serve("--max-frame", "32KB")
        body = b'{"text":"x"}'.ljust(32768)
        self.assertEqual((await node.post(SAY, body, content_type="")).status, 201)


class RateTests(ServingTests):
    async def test_per_user(self) -> None:
        node = await self.serve("--rate=2/s")
        node.clock.hold()
        for _ in range(4):
            self.assertEqual((await node.post(SAY, {"text": "x"})).status, 201)
        for path, body in (
            (SAY, {"text": "x"}),
            (
                "/poll",
                {"status": "message", "message": "x", "username": "ann", "roomname": "lobby"},
            ),
        ):
            answer = await node.post(path, body)
            self.assertEqual((answer.status, answer.code), (429, "rate_limited"))
            self.assertGreaterEqual(int(answer.header("retry-after") or 0), 1)
        other = await node.post("/rooms/lobby/messages?username=ben", {"text": "x"})
        self.assertEqual(other.status, 201)
        node.clock.advance(1)
        self.assertEqual((await node.post(SAY, {"text": "x"})).status, 201)

    async def test_in_open_mode_per_address_too(self) -> None:
        node = await self.serve("--rate=1/s", "--trusted-proxy", "127.0.0.1")
        node.clock.hold()

        async def say(address: str) -> int:
            return (await node.post(SAY, {"text": "x"}, x_forwarded_for=address)).status

        self.assertEqual([await say("192.0.2.1") for _ in range(3)], [201, 201, 429])
        self.assertEqual(await say("192.0.2.2"), 201)


class RefusedTests(ServingTests):
    """Publishes that are refused before they are looked at say that nothing was stored."""

    async def prepared(self) -> Node:
        self.node = await self.serve()
        self.raw = await self.node.raw("http")
        return self.node

    async def ask(self, target: str, *lines: str, body: str = "{}") -> Answer:
        """The answer to a publish on the connection there is."""
        length = f"Content-Length: {len(body)}"
        sent = [f"POST {target} HTTP/1.1", "Host: localhost", length, *lines, "", body]
        self.raw.send("\r\n".join(sent).encode())
        return await HTTP(self.raw, "POST").answer()

    async def refused(self, target: str = SAY) -> None:
        for line, id in (
            ("Idempotency-Key: k-1", "k-1"),
            ("Idempotency-Key: a b", None),
            ("x: y", None),
        ):
            answer = await self.ask(target, line)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"))
            self.assertIs(answer.json["stored"], False)
            self.assertEqual(answer.json.get("id"), id, line)
            self.assertIsNotNone(answer.header("retry-after"))

    async def test_a_node_that_goes_down(self) -> None:
        node = await self.prepared()
        holder = await node.chat("holder")
        old, key = '{"status":"message","message":"x"}', "Idempotency-Key: k-1"
        cases = (
            (SAY, '{"text":"x","id":"k-2"}', "x: y", "k-2"),
            (SAY, '{"text":"x","id":"k-2","after":"0:1"}', "x: y", "k-2"),
            (SAY, '{"text":"x"}', "x: y", "[0-9a-f]{32}"),
            (SAY, '{"text":"x"}', key, "k-1"),
            (POLL, old, "x: y", "[0-9a-f]{32}"),
            (POLL, old, key, "k-1"),
            (POLL, '{"status":"status"}', "x: y", None),
        )
        connections = []  # each has one answer more
        for _ in cases:
            connections.append(await node.raw("http"))
            self.raw = connections[-1]
            await self.ask(SAY)
        node.drain()
        await holder.find("bye")
        for (target, body, line, id), self.raw in zip(cases, connections, strict=True):
            answer = await self.ask(target, line, body=body)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), body)
            if id is None:
                continue
            self.assertRegex(answer.json["id"], f"^{id}$")
            self.assertEqual(answer.json.get("stored"), None if "after" in body else False)
            self.assertIsNotNone(answer.header("retry-after"))

    async def test_too_many_requests_in_hand(self) -> None:
        node = await self.prepared()
        node.service.admission.requests.limit = 0
        await self.refused()
        await self.refused(POLL)

    async def test_which_rooms_there_are_is_not_known_yet(self) -> None:
        """Then every publish names its message, wherever its id is from."""
        node = await self.prepared()
        node.service.chat.directory.stream.state = DirectoryState.LOADING
        old = {"status": "message", "message": "x", "roomname": "lobby"}
        for path, body, id in (
            (SAY, {"text": "x", "id": "k-1"}, "k-1"),
            (SAY, {"text": "x", "id": "k-1", "after": "0:1"}, "k-1"),
            (SAY, {"text": "x"}, "[0-9a-f]{32}"),
            (POLL, old, "[0-9a-f]{32}"),
        ):
            answer = await node.post(path, body)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), body)
            self.assertRegex(answer.json["id"], f"^{id}$")
            self.assertEqual(answer.json.get("stored"), None if "after" in body else False)
            self.assertIsNotNone(answer.header("retry-after"))

    async def test_too_many_connections(self) -> None:
        node = await self.prepared()
        node.service.admission.sockets.limit = 0
        answer = await node.post(SAY, {"text": "x"}, idempotency_key="k")
        self.assertEqual(
            (answer.status, answer.json["id"], answer.json["stored"]), (503, "k", False)
        )

    async def test_other_refusals_do_not_say_it(self) -> None:
        node = await self.prepared()
        node.service.admission.requests.limit = 0
        for method, path in (("GET", "/rooms/lobby/messages"), ("PUT", "/rooms/lobby")):
            answer = await node.request(method, path, idempotency_key="k")
            self.assertEqual((answer.status, answer.code), (503, "unavailable"))
            self.assertFalse({"id", "stored"} & set(answer.json))
