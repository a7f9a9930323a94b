"""Room set-up over raw TCP (protocol, "Room set-up")."""

from __future__ import annotations

import json
import re
from typing import Any
from unittest import mock

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from chatd.net.tcp import LINGER
from chatd.transports.setup import json_splitter
from chatd.transports.setup.json_splitter import (
    MAX_DELIMITERS,
    MAX_OBJECT,
    NotAnObject,
    Splitter,
)
from chatd.transports.setup.operations import SetupOperations
from tests.support.pieces import JSONISH, cut
from tests.support.raw import Raw
from tests.support.serving import Node, ServingTests
from tests.support.waiting import pause, until

ORIGINAL = b'{"roomname":"harry_potter","status":"status","op":"create_room"}'


async def ask(raw: Raw, request: Any, end: str = "\n") -> str:
    """One request with a newline after it, and the line that answers it."""
    raw.send((request if isinstance(request, str) else json.dumps(request)).encode() + end.encode())
    return (await raw.until(b"\n")).decode()


class RequestTests(ServingTests):
    async def test_the_original_form(self) -> None:
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(ORIGINAL)
        self.assertEqual(await raw.take(3), b"200")
        self.assertEqual((await node.get("/rooms/harry_potter")).status, 200)
        answer = await node.post("/rooms/harry_potter/messages?username=ann", {"text": "kept"})
        self.assertEqual(answer.status, 201)

    async def test_a_newline_for_a_newline(self) -> None:
        """The answer ends with one exactly if the request did."""
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(ORIGINAL + b"\n" + ORIGINAL + b" \r\n" + ORIGINAL + b"\n\n" + ORIGINAL)
        raw.end()
        self.assertEqual(await raw.rest(), b"200\n200\n200\n200")

    async def test_a_newline_that_comes_later(self) -> None:
        """Behind the answer, once, and before anything else is answered."""
        node = await self.serve()
        raw = await node.raw("setup")
        request, refused = b'{"roomname":"lobby"}', b'{"roomname":"a/b"}'
        for pieces in ([b"\n"], [b" \r\n"], [b" ", b"\t", b"\r", b"\n"]):
            raw.send(request)
            self.assertEqual(await raw.take(3), b"200")
            for piece in pieces:
                await pause(0.005)
                raw.send(piece)
            self.assertEqual(await raw.take(1), b"\n", pieces)
        raw.send(request)
        await raw.take(3)
        raw.send(b"\n" + request + request + b"\n\n\n")
        self.assertEqual(await raw.take(8), b"\n200200\n")
        raw.send(refused)
        await raw.until(b"400 bad_request: ")
        raw.send(b"\n")
        await raw.until(b"\n")
        raw.send(request)
        await raw.take(3)
        raw.send(b"\r")
        await pause(0.005)
        raw.send(request + b"\n")  # the newline is this one's
        self.assertEqual(await raw.take(4), b"200\n")
        raw.end()
        self.assertEqual(await raw.rest(), b"")

    async def test_in_single_bytes(self) -> None:
        node = await self.serve()
        raw = await node.raw("setup")
        for n in range(len(ORIGINAL)):
            raw.send(ORIGINAL[n : n + 1])
            if n % 10 == 0:
                await node.get("/healthz")
        self.assertEqual(await raw.take(3), b"200")

    async def test_as_netcat_sends_it(self) -> None:
        """With an end of file right after it."""
        node = await self.serve()
        for end in (b"", b"\n"):
            raw = await node.raw("setup")
            raw.send(ORIGINAL + end)
            raw.end()
            self.assertEqual(await raw.rest(), b"200" + end)

    async def test_a_byte_order_mark(self) -> None:
        """As .NET's writers and PowerShell send it, whole or in pieces, before any object."""
        node = await self.serve()
        raw = await node.raw("setup")
        for piece in (b"\xef", b"\xbb", b"\xbf" + ORIGINAL[:9]):
            raw.send(piece)
            await pause()
        raw.send(ORIGINAL[9:] + b"\xef\xbb\xbf" + ORIGINAL + b"\n")
        raw.end()
        self.assertEqual(await raw.rest(), b"200200\n")
        for part, said in ((b"\xef\xbb", b"400 bad_request: "), (b"\xef\xbb\xbf", b"")):
            raw = await node.raw("setup")
            raw.send(part)
            raw.end()
            self.assertEqual((await raw.rest())[:17], said)

    async def test_operations(self) -> None:
        node = await self.serve()
        raw = await node.raw("setup")
        directory = node.service.chat.directory

        def den() -> tuple[bool, set[str]]:
            entry = directory.get("den")
            return entry.private, entry.members

        for request, expected in (
            ({"op": "create_room", "private": True}, (True, set())),
            ({"op": "create_room"}, (True, set())),
            ({}, (True, set())),
            ({"op": "add_member", "username": "ann"}, (True, {"ann"})),
            ({"op": "add_member", "username": "ann"}, (True, {"ann"})),
            ({"status": "add_member", "username": "ben lee"}, (True, {"ann", "ben_lee"})),
            ({"op": "remove_member", "username": "ann"}, (True, {"ben_lee"})),
            ({"op": "remove_member", "username": "ann"}, (True, {"ben_lee"})),
            ({"status": "status", "private": False}, (True, {"ben_lee"})),
        ):
            self.assertEqual(await ask(raw, {"roomname": "den", **request}), "200", request)
            self.assertEqual(den(), expected, request)
        for request in ({"op": "delete_room"}, {"status": "delete_room"}):
            self.assertEqual(await ask(raw, {"roomname": "den", **request}), "200")
            self.assertIsNone(directory.find("den"))

    async def test_op_wins_over_status(self) -> None:
        node = await self.serve()
        raw = await node.raw("setup")
        request = {"roomname": "lobby", "op": "create_room", "status": "delete_room"}
        self.assertEqual(await ask(raw, request), "200")
        self.assertEqual((await node.get("/rooms/lobby")).status, 200)

    async def test_names(self) -> None:
        """Spaces become underscores, as in the original; compared after NFC."""
        node = await self.serve()
        raw = await node.raw("setup")
        for name in ("Harry Potter", "cafe\u0301", "r" * 100):
            self.assertEqual(await ask(raw, {"roomname": name}), "200")
        for name in ("Harry_Potter", "caf%C3%A9", "r" * 100):
            self.assertEqual((await node.get(f"/rooms/{name}")).status, 200)

    async def test_refusals(self) -> None:
        """A code and a reason; the connection stays open."""
        node = await self.serve()
        raw = await node.raw("setup")
        for request, answer in (
            ({}, "400 bad_request: "),
            ({"roomname": None}, "400 bad_request: "),
            ({"roomname": ["x"]}, "400 bad_request: "),
            ({"roomname": "a/b"}, "400 bad_request: "),
            ({"roomname": "\ud800"}, "400 bad_request: "),
            ({"roomname": "x" * 101}, "400 bad_request: "),
            ({"roomname": "x", "op": "nonsense"}, "400 bad_request: "),
            ({"roomname": "x", "op": None}, "400 bad_request: "),
            ({"roomname": "x", "op": {}}, "400 bad_request: "),
            ({"roomname": "x", "private": "yes"}, "400 bad_request: "),
            ({"roomname": "lobby", "op": "add_member"}, "400 bad_request: "),
            ({"roomname": "lobby", "op": "add_member", "username": "a\nb"}, "400 bad_request: "),
            ({"roomname": "x", "op": "add_member", "username": "a"}, "404 unknown_room: "),
            ({"roomname": "x", "op": "remove_member", "username": "a"}, "404 unknown_room: "),
        ):
            said = await ask(raw, request)
            self.assertTrue(said.startswith(answer), (request, said))
            self.assertEqual(await ask(raw, {"roomname": "lobby"}), "200")

    async def test_ten_refusals_in_a_row(self) -> None:
        """A client beyond help is told so ten times; what may be right later does not count."""
        node = await self.serve()
        raw = await node.raw("setup")
        for _ in range(9):
            self.assertRegex(await ask(raw, {}), r"\A400 bad_request: ")
        for _ in range(12):
            said = await ask(raw, {"roomname": "x", "op": "add_member", "username": "a"})
            self.assertTrue(said.startswith("404 unknown_room: "), said)
        for _ in range(9):
            self.assertRegex(await ask(raw, {}), r"\A400 bad_request: ")
        self.assertEqual(await ask(raw, {"roomname": "lobby"}), "200")
        raw.send(b"{}\n" * 10 + b'{"roomname":"never"}\n')
        lines = (await raw.rest()).splitlines()
        self.assertEqual([line[:3] for line in lines], [b"400"] * 10)
        self.assertEqual((await node.get("/rooms/never")).status, 404)

    async def test_the_broker_is_away(self) -> None:
        node = await self.serve()
        raw = await node.raw("setup")
        node.service.broker.interrupt()
        said = await ask(raw, {"roomname": "x"})
        self.assertTrue(said.startswith("503 unavailable: "), said)
        node.service.broker.resume()
        self.assertEqual(await ask(raw, {"roomname": "x"}), "200")

    async def test_a_secret(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("hush\n")
        node = await self.serve("--setup-secret", path)
        raw = await node.raw("setup")
        for secret in ({}, {"secret": "wrong"}, {"secret": 7}, {"secret": None}, {"secret": ""}):
            said = await ask(raw, {"roomname": "x", **secret})
            self.assertTrue(said.startswith("401 unauthorized: "), said)
        self.assertEqual(await ask(raw, {"roomname": "x", "secret": "hush"}), "200")
        said = await ask(raw, {"roomname": "y"})
        self.assertTrue(said.startswith("401 unauthorized: "), said)


class FaultTests(ServingTests):
    async def test_tls_where_there_is_none(self) -> None:
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32))
        said = await raw.rest()
        self.assertEqual(said, b"400 bad_request: This port speaks no TLS: send JSON as it is.")

    async def test_what_is_not_json(self) -> None:
        """400, and the connection is closed; what came before it is answered."""
        node = await self.serve()
        for junk in (
            b"hello",
            b"[]",
            b'"x"',
            b"null",
            b"{]",
            b"{x}",
            b'{"a":NaN}',
            b'{"roomname":"x",}',
            b'{"roomname":"\xff"}',
            b"\x00",
            b"\xef\xbb{}",
            b"\xff\xfe{\x00}\x00",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
            b'{"roomname":"x"',
        ):
            for end in (b"", b"\n"):
                raw = await node.raw("setup")
                raw.send(ORIGINAL + b"\n" + junk + end)
                raw.end()
                said = await raw.rest()
                self.assertRegex(said, rb"\A200\n400 bad_request: [^\n]+\n?\Z", repr(junk)[:40])
                self.assertEqual(said.endswith(b"\n"), (junk + end).endswith(b"\n"))

    async def test_a_quotation_mark_that_is_missing(self) -> None:
        """Told at the end of the line, though the braces do not end."""
        node = await self.serve()
        for line in (b'{"roomname":"lobby}\n', b'{"roomname: "lobby"}\r\n'):
            raw = await node.raw("setup")
            raw.send(line)
            self.assertRegex(
                await raw.rest(), rb"\A400 bad_request: [^\n]+ quotation mark [^\n]+\n\Z"
            )

    async def test_64_kib_without_an_object(self) -> None:
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(b'{"roomname":"' + b"x" * MAX_OBJECT)
        self.assertRegex(await raw.rest(), rb"\A400 bad_request: ")

    async def test_64_kib_with_one(self) -> None:
        node = await self.serve()
        padding = " " * (MAX_OBJECT - len('{"roomname":"x"}'))
        raw = await node.raw("setup")
        self.assertEqual(await ask(raw, f'{{"roomname":{padding}"x"}}'), "200")
        raw.send(f'{{"roomname":{padding} "x"}}'.encode())
        self.assertRegex(await raw.rest(), rb"\A400 bad_request: ")

    async def test_an_endless_number_of_requests(self) -> None:
        """All answered, in order, however many come at once."""
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(b"".join(b'{"roomname":"r%d"}\n{}\n' % (n % 3) for n in range(2000)))
        raw.end()
        lines = (await raw.rest()).split(b"\n")
        self.assertEqual(len(lines), 4001)
        self.assertEqual({line[:3] for line in lines[:-1:2]}, {b"200"})
        self.assertEqual({line[:3] for line in lines[1:-1:2]}, {b"400"})

    async def test_who_sends_on_while_a_request_is_done_is_not_read_on(self) -> None:
        node, done = await self.serve(), Deferred[None]()
        self.patch(SetupOperations, "perform", lambda *_: done)
        raw = await node.raw("setup")
        raw.send(b'{"roomname":"lobby"}\n' * 20_000)
        (connection,) = node.service.ways.setup.protocols
        await until(lambda: len(connection._splitter) > MAX_OBJECT)
        for _ in range(20):
            await node.get("/healthz")
        self.assertLess(len(connection._splitter), 3 * MAX_OBJECT)
        done.callback(None)
        self.assertEqual(await raw.take(4 * 20_000), b"200\n" * 20_000)

    async def test_idle(self) -> None:
        """Closed after a minute without a request, and not before."""
        node = await self.serve()
        raw = await node.raw("setup")
        for _ in range(2):
            node.clock.advance(50)
            raw.send(b'{"roomname":')
            await self.seen(node)
            node.clock.advance(50)
            self.assertEqual(await ask(raw, '"x"}'), "200")
        node.clock.advance(58)
        self.assertEqual(await ask(raw, {"roomname": "x"}), "200")
        node.clock.advance(62)
        self.assertEqual(await raw.rest(), b"")
        self.assertTrue(raw.why.check(ConnectionDone), raw.why)

    async def test_idle_in_the_middle_of_a_request(self) -> None:
        """Closed in order too."""
        node = await self.serve()
        raw = await node.raw("setup")
        raw.send(b'{"roomname":')
        await self.seen(node)
        node.clock.advance(62)
        self.assertEqual(await raw.rest(), b"")
        self.assertTrue(raw.why.check(ConnectionDone), raw.why)

    async def seen(self, node: Node) -> None:
        # a request on another connection comes after what was sent before
        await ask(await node.raw("setup"), {"roomname": "lobby"})

    async def test_too_many(self) -> None:
        node = await self.serve()
        factory = node.service.ways.setup
        factory.connections.per_address = 2
        one, two = [await node.raw("setup") for _ in range(2)]
        await until(lambda: factory.connections.total == 2)
        refused = await node.raw("setup")
        self.assertRegex(await refused.rest(), rb"\A503 unavailable: ")
        one.abort()
        await until(lambda: factory.connections.total == 1)
        self.assertEqual(await ask(await node.raw("setup"), {"roomname": "x"}), "200")
        self.assertEqual(await ask(two, {"roomname": "x"}), "200")

    async def test_too_many_behind_the_proxy_protocol(self) -> None:
        """The client's address counts, not the proxy's, also of those who have said nothing."""
        node = await self.serve("--setup=haproxy:tcp:0:interface=127.0.0.1")
        connections = node.service.ways.setup.connections
        connections.per_address = 2
        for _ in range(3):
            await node.raw("setup")
        await until(lambda: connections.total == 3)
        answers = []
        for client in (1, 2, 1, 3, 1):
            raw = await node.raw("setup")
            proxied = f"PROXY TCP4 192.0.2.{client} 127.0.0.1 1 80\r\n"
            raw.send(proxied.encode() + b'{"roomname":"x"}\n')
            answers.append((await raw.until(b"\n"))[:3])
        self.assertEqual(answers, [b"200", b"200", b"200", b"200", b"503"])

    async def test_one_too_many_that_reads_nothing_is_rid_of_soon(self) -> None:
        """Also where whose it is has come with its first request."""
        for endpoint, head in (("", b""), ("haproxy:", b"PROXY TCP4 192.0.2.1 127.0.0.1 1 80\r\n")):
            node = await self.serve(f"--setup={endpoint}tcp:0:interface=127.0.0.1")
            node.clock.hold()
            factory = node.service.ways.setup
            factory.connections.per_address = 0
            raw = await node.raw("setup")
            raw.transport.pauseProducing()
            raw.send(head + b'{"roomname":"x"}\n')
            count = node.service.metrics.registry.get_sample_value
            await until(lambda: count("chatd_errors_total", {"code": "unavailable"}) == 1)
            node.clock.advance(LINGER - 1)
            await pause(0.01)
            self.assertEqual(len(factory.protocols), 1)
            node.clock.advance(3)
            await until(lambda: not factory.protocols)


def split(pieces: list[bytes]) -> list[bytes | str]:
    """What a `Splitter` finds in ``pieces``: objects, and at the end the fault if there is one."""
    splitter = Splitter()
    found: list[bytes | str] = []
    for piece in pieces:
        splitter.feed(piece)
        try:
            while (one := splitter.next()) is not None:
                found.append(one)
        except NotAnObject as fault:
            return [*found, str(fault)]
    return found


class SplitterTests(SynchronousTestCase):
    @given(JSONISH, st.lists(st.integers(0, 1000), max_size=20))
    @example(b"\x16\x03\x01", [])
    @example(b"\xef\xbb\xbf{}", [])
    def test_pieces_change_nothing(self, data: bytes, places: list[int]) -> None:
        whole = split([data])
        self.assertEqual(split(cut(data, places)), whole)
        self.assertEqual(split([data[n : n + 1] for n in range(len(data))]), whole)

    @given(st.lists(st.dictionaries(st.text(), st.text()), max_size=5), st.data())
    def test_objects_come_out_as_they_went_in(self, values: list[Any], data: st.DataObject) -> None:
        text = b""
        for value in values:
            ascii = data.draw(st.booleans())
            text += json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
            text += data.draw(st.sampled_from([b"", b"\n", b" \r\n\t"]))
        places = data.draw(st.lists(st.integers(0, 1000), max_size=9))
        found = split(cut(text, places))
        self.assertTrue(all(isinstance(one, bytes) for one in found))
        self.assertEqual(
            [
                json.loads(one.decode("utf-8", "surrogatepass"))
                for one in found
                if isinstance(one, bytes)
            ],
            values,
        )

    def test_a_newline_is_that_of_the_object_before_it(self) -> None:
        """Also where that one is found, and its answer has to wait."""
        splitter = Splitter()
        splitter.feed(b'{"a":1}')
        self.assertEqual((splitter.next(), splitter.newline()), (b'{"a":1}', False))
        splitter.feed(b'{"b":2}\n')
        self.assertFalse(splitter.late_newline())
        self.assertEqual(splitter.next(), b'{"b":2}')
        self.assertFalse(splitter.late_newline())
        self.assertTrue(splitter.newline())

    def test_the_braces_and_quotes_of_one_object_are_limited(self) -> None:
        """However it is cut, and whatever came before it."""
        inner = b'""' * ((MAX_DELIMITERS - 2) // 2)  # not JSON, which is for the caller to find
        whole = b"{%b}" % inner
        for pieces in ([whole], [b"{", inner, b"}"]):
            self.assertEqual(split(pieces * 3), [whole] * 3)
            *good, bad = split([*pieces, b"{", inner, b'""}'])
            self.assertEqual(good, [whole])
            self.assertRegex(str(bad), "^Too many")

    def test_many_objects_cost_what_their_bytes_do(self) -> None:
        """Taking one does not copy those after it."""
        splitter = Splitter()
        splitter.feed(b'{"a":"}"}' * 200_000)
        buffer = splitter._buffer
        taken = sum(1 for _ in iter(splitter.next, None))
        self.assertEqual((taken, len(splitter)), (200_000, 0))
        self.assertIs(splitter._buffer, buffer)

    def test_an_object_that_comes_a_byte_at_a_time_is_scanned_once(self) -> None:
        data = b'{"a":"' + b'\\"x{' * 2000 + b'"}'
        scanned = 0

        def counting(name: str) -> Any:
            known: re.Pattern[bytes] = getattr(json_splitter, name)

            def search(buffer: bytearray, at: int) -> re.Match[bytes] | None:
                nonlocal scanned
                found = known.search(buffer, at)
                scanned += (found.end() if found else len(buffer)) - at
                return found

            return mock.patch.object(json_splitter, name, mock.Mock(search=search))

        with counting("_OUTSIDE"), counting("_IN_STRING"):
            self.assertEqual(split([data[n : n + 1] for n in range(len(data))]), [data])
        self.assertLessEqual(scanned, 2 * len(data))

    @given(st.integers(-2, 2), st.lists(st.integers(0, MAX_OBJECT), max_size=3))
    def test_the_limit_is_the_same_in_pieces(self, more: int, places: list[int]) -> None:
        data = b'{"a":"' + b"x" * (MAX_OBJECT + more - 8) + b'"}'
        found = split(cut(data, places))
        self.assertEqual(found == [data], more <= 0)
        self.assertEqual(len(found), 1)
