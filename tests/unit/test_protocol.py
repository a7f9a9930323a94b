"""The vocabulary of the wire: whatever comes in is refused with a `ChatError` or made valid."""

from __future__ import annotations

import json
import os
import re
import time
import unicodedata
from collections.abc import Callable
from typing import Any, TypeVar, cast
from unittest import mock

from attrs import astuple
from hypothesis import example, given
from hypothesis import strategies as st
from precis_i18n.unicode import UnicodeData
from twisted.trial.unittest import SynchronousTestCase

from chatd.protocol.cursors import Cursor, epoch
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.json import dump, load_object
from chatd.protocol.messages import (
    CONTENT_BYTES,
    DATA_DEPTH,
    BadRecord,
    Claim,
    Content,
    check_content,
    content_key,
    own_message,
    read_message,
)
from chatd.protocol.names import message_id, room_name, user_name
from chatd.protocol.timestamps import FIRST, LAST, format_time, parse_time

T = TypeVar("T")

#: Any text JSON can escape, lone surrogates included.
TEXT = st.text(st.characters(exclude_categories=()))
#: Whatever Python's JSON can hold, and some that JSON cannot.
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
#: What JSON in UTF-8 can carry.
VALID: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
DATA = st.none() | st.dictionaries(st.text(), VALID, max_size=4)
NAMES = st.text(st.sampled_from("abzÄß漢١_.:@-"), min_size=1, max_size=60).map(
    lambda name: unicodedata.normalize("NFC", name)
)
NAMES = NAMES.filter(lambda name: name not in (".", ".."))
JOINERS = "\u200c\u200d"
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)


def checked(check: Callable[..., T], *values: Any) -> T | None:
    """What ``check`` makes of ``values``; None if it refuses them as it should."""
    try:
        return check(*values)
    except ChatError as error:
        refusal = error
    assert refusal.code in (Code.BAD_REQUEST, Code.TOO_LARGE), refusal
    assert refusal.text
    return None


class ObjectTests(SynchronousTestCase):
    @given(st.binary())
    @example(b'{"a":NaN}')
    @example(b'{"a":-Infinity}')
    @example(b"\xef\xbb\xbf{}")
    @example(b"[" * 100_000)
    @example(b'{"a":' * 100_000)
    @example(b'{"a":' + b"1" * 5000 + b"}")
    def test_any_bytes(self, raw: bytes) -> None:
        found = checked(load_object, raw)
        self.assertIn(type(found), (dict, type(None)))

    @given(ANYTHING)
    def test_any_json(self, value: Any) -> None:
        found = checked(load_object, json.dumps(value))
        if not isinstance(value, dict):
            self.assertIsNone(found)

    @given(st.dictionaries(st.text(), VALID))
    def test_round_trip(self, value: dict[str, Any]) -> None:
        raw = dump(value)
        self.assertNotIn(b"\n", raw)
        self.assertEqual(load_object(raw), value)
        self.assertEqual(load_object(raw.decode()), value)

    def test_what_it_refuses(self) -> None:
        for raw in (b"", b" ", b"1", b"[]", b"null", b'"x"', b"{", b"{}{}", b'{"a":NaN}', b"\xff"):
            with self.assertRaises(ChatError) as caught:
                load_object(raw)
            # of no kind of request, for it may be a body, a frame or a record
            self.assertEqual(caught.exception.text, "Send one JSON object, in UTF-8.", raw)
        self.assertEqual(load_object(b' {"a":1}\n'), {"a": 1})


class NameTests(SynchronousTestCase):
    @given(ANYTHING)
    def test_anything(self, value: Any) -> None:
        for check in (room_name, user_name):
            for legacy in (False, True):
                name = checked(check, value, legacy)
                if name is not None:
                    self.valid(name, check is user_name)

    def valid(self, name: str, user: bool) -> None:
        self.assertTrue(unicodedata.is_normalized("NFC", name))
        self.assertTrue(1 <= len(name) <= (64 if user else 100))
        self.assertLessEqual(len(name.encode()), 200)
        for c in name:
            kind = unicodedata.category(c)
            others = kind[0] in "PS" or c == " " if user else c in "_.:@-"
            self.assertTrue(kind[0] in "LMN" or others or c in JOINERS, ascii(name))
            self.assertFalse(UnicodeData().default_ignorable(ord(c)) and c not in JOINERS)
        self.assertFalse("  " in name or name != name.strip(" "))

    def test_what_to_give_is_said(self) -> None:
        for check, what in ((room_name, "the room name"), (user_name, "the user name")):
            called = what.removeprefix("the ").removesuffix(" name")
            for value in (None, 5):
                error = self.assertRaises(ChatError, check, value, True)
                self.assertEqual(error.text, f'Give {what} as a string, called "{called}name".')
            error = self.assertRaises(ChatError, check, "")
            self.assertEqual(error.text, f"T{what[1:]} is empty.")

    def test_what_it_is_called_is_said(self) -> None:
        """As the original's clients call it, or as those of chatd.v1 do."""
        error = self.assertRaises(ChatError, room_name, None)
        self.assertEqual(error.text, 'Give the room name as a string, called "room".')

    def test_what_may_not_be_in_it_is_shown(self) -> None:
        """Itself where it can be seen, else by its name: who types a space knows no U+0020."""
        for check, name, shown in (
            (room_name, "a b", "not a space (U+0020)."),
            (room_name, "a\tb", "not a tab (U+0009)."),
            (room_name, "a\nb", "not a line end (U+000A)."),
            (room_name, "a/b", 'not "/" (U+002F).'),
            (room_name, "½", 'not "½" (U+00BD).'),
            (room_name, "a\xa0b", "not U+00A0 (NO-BREAK SPACE)."),
            (room_name, "a\u3164", "not U+3164 (HANGUL FILLER)."),
            (room_name, "a\u202eb", "not U+202E (RIGHT-TO-LEFT OVERRIDE)."),
            (room_name, "a\x00", "not U+0000."),
            (room_name, "a\ud800", "not U+D800."),
            (user_name, "a\nb", "may not hold a line end (U+000A)."),
            (user_name, "a\u200bb", "may not hold U+200B (ZERO WIDTH SPACE)."),
            (user_name, "a\u3000b", "may not hold U+3000 (IDEOGRAPHIC SPACE), only plain spaces."),
        ):
            error = self.assertRaises(ChatError, check, name)
            self.assertTrue(error.text.endswith(shown), error.text)

    @given(NAMES)
    def test_valid_names_stay(self, name: str) -> None:
        self.assertEqual(user_name(name), name)
        for form in ("NFC", "NFD"):
            self.assertEqual(room_name(unicodedata.normalize(form, name)), name)

    def test_limits(self) -> None:
        self.assertEqual(room_name("x" * 100), "x" * 100)
        self.assertEqual(room_name("ü" * 100), "ü" * 100)
        self.assertEqual(room_name("u\u0308" * 100), "ü" * 100)
        for name in (
            "x" * 101,
            "漢" * 67,
            "",
            "a b",
            "a+b",
            "a/b",
            "½",
            "²",
            "🙂",
            "\ud800",
            "\n",
            "\u200b",
            "O'Brien",
        ):
            self.assertIsNone(checked(room_name, name), ascii(name))
        self.assertEqual(user_name("a+b" + "x" * 61), "a+b" + "x" * 61)
        self.assertIsNone(checked(user_name, "x" * 65))
        self.assertIsNone(checked(user_name, "漢" * 64 + "ü"))
        self.assertEqual(user_name("漢" * 64), "漢" * 64)
        self.assertIsNone(checked(user_name, "\U0001f642" * 51))

    def test_every_script_has_its_vowels(self) -> None:
        for name in ("हिन्दी", "ไทย", "தமிழ்", "বাংলা", "සිංහල", "ខ្មែរ", "עִבְרִית", "한국어"):
            self.assertEqual((room_name(name), user_name(name)), (name, name))
        for name in ("\u0301a", "\u093fa"):
            self.assertIsNone(checked(room_name, name))

    def test_what_identity_providers_call_people(self) -> None:
        for name in (
            "Ann Smith",
            "O'Brien",
            "auth0|abc123",
            "google-oauth2|1098",
            "https://issuer.example/users/1?a=b#c",
            "CN=Ann,OU=People",
            "ann@example.org",
            "½ \U0001f642 €",
        ):
            self.assertEqual(user_name(name), name)
        for name in (" ann", "ann ", "Ann  Smith", "Ann\u00a0Smith", "Ann\u3000Smith", "a\tb", " "):
            self.assertIsNone(checked(user_name, name), ascii(name))

    def test_nobody_is_invisible(self) -> None:
        """No code point that is not seen, wherever it stands; joiners only where they show."""
        unicode = UnicodeData()
        ignorable = [chr(n) for n in range(0x110000) if unicode.default_ignorable(n)]
        self.assertGreater(len(ignorable), 4000)
        for c in ignorable:
            for name in (c, f"ann{c}", f"a{c}n"):
                self.assertIsNone(checked(room_name, name), ascii(name))
                self.assertIsNone(checked(user_name, name), ascii(name))
        for name in ("क्\u200dष", "می\u200cخواهم"):
            self.assertEqual((room_name(name), user_name(name)), (name, name))
        for c in ("\u202e", "\x1b", "\x7f", "\x9b", "\ue000", "\ufdd0", "\u0378", "\ud800"):
            self.assertIsNone(checked(user_name, f"ann{c}"), ascii(c))

    def test_parts_of_paths_are_no_rooms(self) -> None:
        for name in (".", ".."):
            self.assertIsNone(checked(room_name, name))
            self.assertIsNone(checked(room_name, name, True))
        self.assertEqual((room_name("..."), room_name(".a")), ("...", ".a"))

    def test_spaces_of_legacy_clients(self) -> None:
        self.assertEqual(room_name("Harry Potter", legacy=True), "Harry_Potter")
        self.assertIsNone(checked(room_name, "a\tb", True))

    @given(ANYTHING | IDS)
    def test_ids(self, value: Any) -> None:
        id = checked(message_id, value)
        good = isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]{1,64}", value, re.ASCII)
        self.assertEqual(id, value if good else None)


class CursorTests(SynchronousTestCase):
    @given(ANYTHING)
    def test_anything(self, value: Any) -> None:
        cursor = checked(Cursor.parse, value)
        if cursor is not None:
            self.assertEqual(cursor, Cursor.parse(str(cursor)))

    @given(st.from_regex(r"[0-9a-f]{12}", fullmatch=True), st.integers(-1, 2**53))
    def test_round_trip(self, epoch: str, offset: int) -> None:
        cursor = Cursor(epoch, offset)
        self.assertEqual(Cursor.parse(str(cursor)), cursor)

    def test_what_it_refuses(self) -> None:
        for value in (
            "",
            "x",
            ":",
            "a:",
            ":1",
            "a:-2",
            "a:1 ",
            "a:1\n",
            "a:١",
            "a:" + "9" * 19,
            7,
            None,
        ):
            self.assertIsNone(checked(Cursor.parse, value), value)

    def test_epochs(self) -> None:
        for value in ("a", "0", "aZ09", "a" * 32):
            self.assertEqual(epoch(value), value)
        for wrong in ("", "a" * 33, "a:", "a-b", "ä", "١", "a\n", " a", None, 7, b"a"):
            error = self.assertRaises(ChatError, epoch, wrong)
            self.assertIs(error.code, Code.BAD_REQUEST)
            self.assertIn("32", error.text)


class TimeTests(SynchronousTestCase):
    @given(ANYTHING)
    def test_anything(self, value: Any) -> None:
        self.assertIn(type(checked(parse_time, value)), (int, type(None)))

    @given(st.integers(0, 253402300799999))
    def test_round_trip(self, ms: int) -> None:
        text = format_time(ms)
        self.assertRegex(text, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(parse_time(text), ms)

    def test_wherever_the_node_stands(self) -> None:
        self.addCleanup(time.tzset)
        with mock.patch.dict(os.environ, TZ="Asia/Tokyo"):
            time.tzset()
            self.assertEqual(format_time(1793534400000), "2026-11-01T12:00:00.000Z")

    def test_forms(self) -> None:
        noon = 1793534400000
        for text in (
            "2026-11-01T12:00:00Z",
            "2026-11-01T12:00:00.000Z",
            "2026-11-01T13:00:00+01:00",
            "2026-11-01t12:00:00z",
            "2026-11-01T12:00:00.000000Z",
            "2026-11-01T12:00:00." + "0" * 500 + "Z",
            "2026-11-01T12:00:00-00:00",
            "2026-11-02T11:59:00+23:59",
        ):
            self.assertEqual(parse_time(text), noon, text)

    def test_what_is_no_date_time_of_rfc_3339(self) -> None:
        for text in (
            *("2026-11-01", "2026-11-01T12:00:00", "12:00:00Z", "now", "", "9" * 50),
            # what ISO 8601 allows beyond it: week dates, ordinal dates, basic forms, commas,
            # parts left out, the day's end, long years, any separator
            *("2026-W44-7T12:00:00Z", "2026-305T12:00:00Z", "20261101T120000Z"),
            *("2026-11-01T12:00:00,5Z", "2026-11-01T12:00Z", "2026-11-01T12Z"),
            *("2026-11-01T24:00:00Z", "+2026-11-01T12:00:00Z", "02026-11-01T12:00:00Z"),
            *("2026-11-01 12:00:00Z", "2026-11-01_12:00:00Z", "2026-11-01T12:00:00 01:00"),
            *("2026-11-01T12:00:00+0100", "2026-11-01T12:00:00+01", "2026-11-01T12:00:00.Z"),
            *("2026-11-01T12:00:00+24:00", "2026-11-01T12:00:00+01:60", "2026-11-01T12:60:00Z"),
            *("2026-11-01T12:00:61Z", "2026-13-01T12:00:00Z", "2026-02-29T12:00:00Z"),
            *(" 2026-11-01T12:00:00Z", "2026-11-01T12:00:00Z\n", "２026-11-01T12:00:00Z"),
        ):
            self.assertIsNone(checked(parse_time, text), text)

    def test_a_fraction_is_rounded_up(self) -> None:
        """So nothing from before the time is at or after it."""
        for fraction, ms in ((".5", 500), (".0001", 1), (".9999", 1000), (".12300", 123)):
            self.assertEqual(parse_time(f"1970-01-01T00:00:00{fraction}Z"), ms, fraction)

    def test_leap_seconds(self) -> None:
        """RFC 3339, section 5.8, and appendix D: whatever the zone, at the end of a UTC month."""
        midnight = parse_time("1991-01-01T00:00:00Z")
        for text in (
            *("1990-12-31T23:59:60Z", "1990-12-31T15:59:60-08:00", "1991-01-01T05:29:60+05:30"),
        ):
            self.assertEqual(parse_time(text), midnight, text)
        self.assertEqual(parse_time("1990-12-31T23:59:60.5Z"), midnight + 500)
        self.assertIsNotNone(checked(parse_time, "9999-12-31T23:59:60Z"))
        for text in ("1990-12-31T22:59:60Z", "1990-12-30T23:59:60Z", "1990-12-31T23:59:60-08:00"):
            self.assertIsNone(checked(parse_time, text), text)

    def test_the_first_and_the_last_year(self) -> None:
        self.assertEqual(parse_time("0000-03-01T00:00:00Z") - FIRST, -306 * 86_400_000)
        self.assertEqual(parse_time("0001-01-01T00:00:00Z"), FIRST)
        self.assertEqual(parse_time("9999-12-31T23:59:59.999Z"), LAST)


class ContentTests(SynchronousTestCase):
    @given(ANYTHING, ANYTHING)
    def test_anything(self, text: Any, data: Any) -> None:
        """What passes can be stored, and read again as it was."""
        found = checked(check_content, text, data, CONTENT_BYTES)
        if found is None:
            return
        self.assertEqual(found, (text, data))
        record = Content("ann", "k", *found).record(0)
        message = read_message("lobby", Cursor("e", 0), record)
        shown = json.loads(message.json)
        self.assertEqual((shown["text"], shown.get("data")), (text, data))

    @given(NAMES, NAMES, IDS, st.text(), DATA, st.integers(0, 2**41))
    def test_round_trip(
        self, room: str, user: str, id: str, text: str, data: dict[str, Any] | None, time: int
    ) -> None:
        content = Content(user, id, text, data)
        record = content.record(time)
        message = read_message(room, Cursor("e1", 7), record)
        own = own_message(room, Cursor("e1", 7), record, content, time)
        self.assertEqual(astuple(own), astuple(message), "its writer shows it otherwise")
        shown: dict[str, Any] = {
            "type": "message",
            "room": room,
            "cursor": "e1:7",
            "id": id,
            "user": user,
            "text": text,
            "time": format_time(time),
        }
        if data is not None:
            shown["data"] = data
        self.assertEqual(message.json, dump(shown))
        self.assertEqual((message.user, message.id, message.text), (user, id, text))
        self.assertEqual((message.time, message.offset), (time, 7))

    def test_however_it_was_written(self) -> None:
        """Another program may write the same in many ways; all show the same, in one line."""
        shown = (
            b'{"type":"message","room":"lobby","cursor":"e:0",'
            b'"id":"k","user":"ann","text":"A","time":"2026-11-01T12:00:00.000Z"}'
        )
        time = b'"time":"2026-11-01T12:00:00.000Z"'
        for body in (
            b'{"id":"k","user":"ann","text":"A",' + time + b"}",
            b'{"id":"k","user":"ann","text":"\\u0041",' + time + b"}",
            b'{ "id":"k",\n"user":"ann","text":"A",\r\n' + time + b"}\n",
            b'{"id":"k","user":"ann","text":"B","text":"A",' + time + b"}",
            b'{"id":"k","user":"ann","text":"A",' + time + b',"type":"left","cursor":"x:1"}',
            b'{"user":"ann","id":"k","text":"A",' + time + b"}",
            b'{"id":"k","user":"ann","text":"A","time":"2026-11-01T13:00:00+01:00"}',
            b'{"id":"k","user":"ann","text":"A","data":null,' + time + b"}",
        ):
            message = read_message("lobby", Cursor("e", 0), body)
            self.assertEqual(message.json, shown, body)

    def test_a_name_is_shown_in_nfc_however_long_it_was_written(self) -> None:
        """Also where NFC takes as many bytes: a singleton, and marks in another order."""
        for written, user in (
            ("\uf900", "\u8c48"),
            ("a\u0315\u0300\u05ae", "\xe0\u05ae\u0315"),
            ("q\u0307\u0323", "q\u0323\u0307"),
        ):
            body = Content(written, "k", "A").record(0)
            message = read_message("lobby", Cursor("e", 0), body, True)
            self.assertEqual((message.user, json.loads(message.json)["user"]), (user, user))

    @given(st.binary() | st.dictionaries(TEXT, ANYTHING).map(lambda v: json.dumps(v).encode()))
    @example(
        b'{"id":"k","user":"u","text":"t","time":"2026-11-01T12:00:00Z","data":'
        + b'{"a":' * 300
        + b"1"
        + b"}" * 301
    )
    def test_any_record(self, body: bytes) -> None:
        try:
            read_message("lobby", Cursor("e", 0), body)
        except BadRecord as fault:
            self.assertTrue(str(fault))

    def test_depth(self) -> None:
        """Exactly as deep as may be, of objects, of lists and of both in turn; one level more is
        too deep. Many beside each other are not."""

        def nested(levels: int, kind: Callable[[int], bool]) -> dict[str, Any]:
            value: Any = {} if kind(levels) or levels == 1 else []
            for level in range(levels - 1, 0, -1):
                value = {"a": value} if kind(level) or level == 1 else [value]
            return cast(dict[str, Any], value)

        for kind in (lambda n: True, lambda n: False, lambda n: n % 2 == 0):
            deep = nested(DATA_DEPTH, kind)
            self.assertEqual(check_content("", deep, 10), ("", deep))
            error = self.assertRaises(
                ChatError, check_content, "", nested(DATA_DEPTH + 1, kind), 10
            )
            self.assertIs(error.code, Code.BAD_REQUEST)
            self.assertIn(str(DATA_DEPTH), error.text)
        flats: list[dict[str, Any]] = [
            {"a": [[n] for n in range(1000)]},
            {str(n): {} for n in range(1000)},
        ]
        for flat in flats:
            self.assertIsNotNone(checked(check_content, "", flat, 10))

    def test_sizes(self) -> None:
        """In bytes of UTF-8: of the text, and of text and data together, as JSON."""
        room = CONTENT_BYTES - len('{"a":""}')
        for text, data, most, fits in (
            ("", None, 0, True),
            ("abc", None, 3, True),
            ("abcd", None, 3, False),
            ("äß", None, 4, True),
            ("äß", None, 3, False),
            ("a" * CONTENT_BYTES, None, CONTENT_BYTES, True),
            ("a", {"a": "b" * (room - 1)}, 10, True),
            ("a", {"a": "b" * room}, 10, False),
            ("", {"a": "b" * room}, 10, True),
            ("", {"a": "ä" * (room // 2 + 1)}, 10, False),
            ("a" * (CONTENT_BYTES + 1), None, CONTENT_BYTES + 1, False),
        ):
            if fits:
                self.assertEqual(check_content(text, data, most), (text, data))
                continue
            error = self.assertRaises(ChatError, check_content, text, data, most)
            self.assertIs(error.code, Code.TOO_LARGE)
            limit = most if len(text.encode()) > most else CONTENT_BYTES
            self.assertIn(f"at most {limit} bytes", error.text)

    def test_what_no_message_carries(self) -> None:
        for text, data in (
            (None, None),
            (b"a", None),
            ("a", []),
            ("a", "b"),
            ("\ud800", None),
            ("a", {"a": float("nan")}),
            ("a", {"a": "\ud800"}),
        ):
            error = self.assertRaises(ChatError, check_content, text, data, 10)
            self.assertIs(error.code, Code.BAD_REQUEST)
            self.assertIsInstance(error.text, str)

    def test_another_time(self) -> None:
        """A message is shown with the time it is given, which is that of its record or not."""
        hour = 3_600_000
        body = Content("ann", "k", "A", {"a": 1}).record(hour)
        message = read_message("lobby", Cursor("e", 0), body)
        self.assertIs(message.at(hour), message)
        self.assertEqual((message.claim, message.time, message.dated), (Claim(hour), hour, True))
        moved = message.at(0)
        self.assertEqual((moved.claim, moved.time, moved.dated), (None, 0, False))
        self.assertEqual(
            json.loads(moved.json),
            {**json.loads(message.json), "time": "1970-01-01T00:00:00.000Z"},
        )
        self.assertEqual((moved.cursor, moved.key, moved.text), (message.cursor, message.key, "A"))
        undated = read_message("lobby", Cursor("e", 0), b'{"id":"k","user":"ann","text":"A"}')
        self.assertIsNone(undated.claim)
        self.assertEqual(undated.at(0).time, 0)
        self.assertIn(b'"time":"1970-01-01T00:00:00.000Z"', undated.at(0).json)

    def test_expiry(self) -> None:
        """By the time in the record, up to the millisecond; without one not at all."""
        body = Content("ann", "k", "A").record(1000)
        message = read_message("lobby", Cursor("e", 0), body)
        self.assertEqual([message.expired(at) for at in (999, 1000, 1001)], [False, False, True])
        self.assertFalse(message.at(5).expired(1001))

    def test_what_is_the_same_message(self) -> None:
        def key(user: str, id: str) -> int:
            content = Content(user, id, "A")
            return read_message("lobby", Cursor("e", 0), content.record(0)).key

        self.assertEqual(key("ann", "k"), key("ann", "k"))
        self.assertEqual(key("ann", "k"), content_key("ann", "k"))
        self.assertEqual(len({key(*pair) for pair in ("ab", "aa", "ba", "bb")}), 4)


class ErrorTests(SynchronousTestCase):
    def test_the_table(self) -> None:
        """Code and HTTP status, as the contract pairs them."""
        self.assertEqual(
            {code.word: code.http for code in Code if code is not Code.NOT_JOINED},
            {
                "bad_request": 400,
                "unauthorized": 401,
                "forbidden": 403,
                "unknown_room": 404,
                "too_large": 413,
                "rate_limited": 429,
                "unavailable": 503,
            },
        )

    def test_frames(self) -> None:
        error = ChatError(Code.FORBIDDEN, "why")
        bare = {"type": "error", "code": "forbidden", "text": "why"}
        self.assertEqual(error.frame(), bare)
        self.assertEqual(error.about("r", "k").frame(), {**bare, "room": "r", "id": "k"})
        self.assertEqual(error.line(), "forbidden: why")

    def test_what_it_is_about_stays_until_it_is_said_anew(self) -> None:
        error = ChatError(Code.UNAVAILABLE, "why", room="r", id="k", retry=5)
        for about, room, id in (
            (error.about(), "r", "k"),
            (error.about("s"), "s", "k"),
            (error.about(id="l"), "r", "l"),
            (error.about("s", "l"), "s", "l"),
            (error.before_storing(), "r", "k"),
        ):
            self.assertIs(about.code, Code.UNAVAILABLE)
            self.assertEqual((about.room, about.id), (room, id))
            self.assertEqual((about.text, about.retry), ("why", 5))
        self.assertNotIn("stored", error.frame())
        self.assertIs(error.before_storing().frame()["stored"], False)
        self.assertIs(error.before_storing().about("s").stored, False)
