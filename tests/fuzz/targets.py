"""The table: all that reads what others send, and which errors it may raise."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_network
from typing import Any

from chatd.access.hosts import Origin, host_name
from chatd.access.origins import OriginPolicy
from chatd.access.proxies import Proxies
from chatd.amqp.url import BadURL, BrokerURL
from chatd.config import parsers
from chatd.protocol.cursors import Cursor, epoch
from chatd.protocol.errors import ChatError
from chatd.protocol.json import dump, load_object
from chatd.protocol.messages import BadRecord, read_message
from chatd.protocol.names import message_id, room_name, user_name
from chatd.protocol.publication import Publication
from chatd.protocol.timestamps import parse_time
from chatd.telemetry.log import one_line
from chatd.transports.pairs import Pairs
from chatd.transports.setup.json_splitter import NotAnObject, Splitter
from tests.fuzz import amqp, keys, nodes, polls, socketio
from tests.fuzz.database import damaged
from tests.fuzz.database import seed as damage
from tests.fuzz.ports import CHAT, LEGACY, FuzzedNode, frames
from tests.fuzz.target import Target

HTTP, WEBSOCKET, SETUP = 8081, 9000, 8082
_NODE, _COMPARED = FuzzedNode(), polls.ComparedNode()
_WORDS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"\\u0000",
    b"\xf0\x9f\x98\x80",
    b"\xcc\x81",
    b"\xe2\x80\x8d",
    b"-1",
)
_POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
_JSON = b'{"text":"hello","id":"m1","data":{"a":[1,2.5e3,null]}}'
_FORM = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nhello\r\n--b--\r\n'


def _text(check: Any) -> Any:
    """Feed ``check`` with text."""
    return lambda data: check(data.decode("utf-8", "surrogateescape"))


def _message(data: bytes) -> None:
    value = load_object(data)
    Publication.parse(
        "hall", "ann", *(value.get(k) for k in ("text", "data", "id", "after")), max_text=16384
    )


def _record(data: bytes) -> None:
    dump(load_object(read_message("hall", Cursor("e1", 7), data).json))


def _names(text: str) -> None:
    for check in (room_name, partial(room_name, legacy=True), user_name, message_id, epoch):
        try:
            checked = check(text)
        except ChatError:
            continue
        assert check(checked) == checked, "checked again it is another one"
        dump(checked)


def _splitter(data: bytes) -> None:
    splitter = Splitter()
    for start in range(0, len(data), 7):
        splitter.feed(data[start : start + 7])
        while splitter.next() is not None:
            splitter.newline()


def _headers(data: bytes) -> None:
    lines = data.decode("latin-1").split("\n")
    names = ("host", "origin", "sec-fetch-site", "x-forwarded-for", "x-forwarded-host", "forwarded")
    given = dict(zip(names, lines, strict=False))
    policy = OriginPolicy(["https://a.example"], proxies=Proxies([ip_network("127.0.0.0/8")]))
    policy.cors_headers(given.get("origin"))
    policy.check("127.0.0.1", False, given.get)


def _options(text: str) -> None:
    checks = (parsers.age, parsers.size, parsers.rate, parsers.count, parsers.room, parsers.origin)
    for check in (*checks, parsers.host, parsers.proxy, parsers.flag, one_line):
        try:
            check(text)
        except ValueError:
            continue


def _websocket(before: bytes, data: bytes) -> None:
    _NODE.feed(WEBSOCKET, frames(data), before)


TARGETS: dict[str, Target] = {
    "http": Target(
        partial(_NODE.feed, HTTP),
        (),
        (
            b"GET /rooms/lobby/messages?last=3&wait=0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /poll?roomname=lobby&username=a HTTP/1.1\r\nHost: [::1]:1\r\nCookie: a=b\r\n\r\n",
            b"GET /rooms/a%2Fb/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: e1:4\r\n\r\n",
            _POST % (b"/rooms/lobby/messages?username=a", b"application/json", len(_JSON), _JSON),
            _POST % (b"/poll", b"multipart/form-data; boundary=b", len(_FORM), _FORM),
            _POST % (b"/poll", b"application/x-www-form-urlencoded", 7, b"text=%C"),
            b"POST /poll HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
            b"\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n",
            CHAT,
        ),
        (b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"%00", b"%ff", b"Expect: 100-continue\r\n"),
    ),
    "polls": Target(lambda data: _COMPARED.compare(data, data), (), polls.SEEDS, polls.WORDS),
    "websocket": Target(
        partial(_websocket, CHAT),
        (),
        (
            b'\x81{"type":"join","room":"lobby","last":3}\n\x81{"type":"leave","room":"lobby"}',
            b'\x81{"type":"message","room":"lobby","text":"a","id":"i","after":"e:1"}\n\x89ping',
            b'\x81{"type":"typing","room":"lobby"}\n\x88\x03\xe8bye',
            b'\x01{"type":\n\x80"auth","token":"a.b.c"}\n\x82\x00\xff\n\xc1a\n\x83b',
        ),
        (*_WORDS, b"\n\x81", b"\n\x01", b"\n\x80", b'"type":', b'"room":'),
    ),
    "websocket_bytes": Target(
        lambda data: _NODE.feed(WEBSOCKET, data, CHAT),
        (),
        (frames(b"\x81{}\n\x89a"), b"\x81\xff" + b"\0" * 12, b"\x81\xfe\0\x05\0\0\0\0hello"),
    ),
    "legacy": Target(
        partial(_websocket, LEGACY),
        (),
        (
            b'\x81{"status":"message","message":"hi","username":"a","roomname":"lobby"}',
            b'\x81{"status":"status"}\n\x81x',
        ),
        _WORDS,
    ),
    "setup": Target(
        partial(_NODE.feed, SETUP),
        (),
        (
            b'{"roomname":"harry potter","status":"status","op":"create_room"}\n',
            b'{"op":"add_member","roomname":"lobby","username":"ann"}{"op":"delete_room"}',
        ),
        (*_WORDS, b'"op":', b'"private":true', b'"secret":1'),
    ),
    "splitter": Target(
        _splitter, (NotAnObject,), (b'{"a":"}\\""}\n {"b":{}}', b"{}{}\r\n"), _WORDS
    ),
    "message": Target(_message, (ChatError,), (_JSON, b'{"text":"a","after":"e:1"}'), _WORDS),
    "record": Target(
        _record,
        (BadRecord,),
        (b'{"id":"m1","user":"ann","text":"hi","time":"2026-11-01T12:00:00.000Z"}', _JSON),
        _WORDS,
    ),
    "names": Target(
        _text(_names), (), (b"harry_potter", "Zoë O'Brien".encode(), b"auth0|a"), _WORDS
    ),
    "cursors": Target(_text(Cursor.parse), (ChatError,), (b"3f09ab41c2d8:41", b"e:-1"), (b":",)),
    "times": Target(
        _text(parse_time), (ChatError,), (b"2026-11-01T12:00:00.5+01:30", b"1972-06-30T23:59:60Z")
    ),
    "pairs": Target(
        lambda data: Pairs.parse(data).get("a"),
        (ChatError,),
        (b"a=b&c=%20+", b"a=%ff"),
        (b"%", b"&"),
    ),
    "headers": Target(
        _headers,
        (ChatError,),
        (b"a.example:80\nhttps://a.example\nsame-site\n1.2.3.4, ::1", b"[::1]\nnull\nnone\nx"),
        (b"[", b"]", b"xn--", b"%", b"\n", b","),
    ),
    "origins": Target(
        _text(Origin.parse), (ValueError,), (b"https://a.example:8443", b"http://[::1]"), (b"xn--",)
    ),
    "hosts": Target(_text(host_name), (ValueError,), (b"a.example", "straße.de".encode())),
    "options": Target(_text(_options), (), (b"7d", b"16KB", b"20/s", b"10.0.0.0/8", b"yes")),
    "broker_urls": Target(
        _text(BrokerURL.parse),
        (BadURL,),
        (b"amqps://u:p%40@a:1,[::1]:2/v%2F?heartbeat=5&cacertfile=/x",),
        (b"%", b"@", b"&", b",", b"["),
    ),
    "tokens": Target(keys.verify, (ChatError,), keys.TOKENS, (b".", b"e30", b"=")),
    "key_files": Target(keys.load, (keys.StartError,), keys.FILES, (*_WORDS, b'"kty":', b"-----")),
    "amqp_frames": Target(amqp.feed, amqp.DECLARED, amqp.FRAMES, (b"\xce", b"\0\0\0\0")),
    "amqp_methods": Target(amqp.method, amqp.DECLARED, amqp.METHODS),
    "amqp_properties": Target(amqp.properties, amqp.DECLARED, amqp.PROPERTIES, amqp.LETTERS),
    "amqp_records": Target(amqp.record, (), amqp.RECORDS, amqp.LETTERS),
    **socketio.targets(_NODE),
    "directory": Target(nodes.directory, (), nodes.EVENTS, _WORDS),
    "presence": Target(nodes.presence, (), nodes.PAYLOADS, _WORDS),
    "database": Target(damaged, (), (damage(), b"\0\0\1\xff", b"\x0f\xa0\4abcd")),
}
