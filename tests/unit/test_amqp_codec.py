"""The codec: every table type, exact strings and bytes, and nothing a peer sends can hurt."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from txamqp.connection import Method

from chatd.amqp.codec import (
    DEPTH,
    Codec,
    ProtocolError,
    decode_method,
    decode_properties,
    encode_method,
    encode_properties,
)
from chatd.amqp.spec import SPEC
from tests.support.amqp_server import method


def table(value: dict[str, Any]) -> bytes:
    codec = Codec(BytesIO())
    codec.encode_table(value)
    return bytes(codec.stream.getvalue())


def read_table(data: bytes) -> dict[str, Any]:
    return Codec(BytesIO(data)).decode_table()


def one(letter: bytes, value: bytes) -> Any:
    """What RabbitMQ's bytes for one field mean."""
    inner = b"\x01k" + letter + value
    return read_table(len(inner).to_bytes(4) + inner)["k"]


_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
_keys = st.text(max_size=60)
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=8,
)


class TableTests(SynchronousTestCase):
    def test_letters_sent(self) -> None:
        for value, letter in (
            ("x", b"S"),
            (True, b"t"),
            (7, b"l"),
            (-(2**40), b"l"),
            (b"x", b"x"),
            (1.5, b"d"),
            (datetime(2026, 1, 1, tzinfo=UTC), b"T"),
            (Decimal("1.25"), b"D"),
            ({"a": 1}, b"F"),
            ([1], b"A"),
            (None, b"V"),
        ):
            with self.subTest(value=value):
                encoded = table({"k": value})
                self.assertEqual(encoded[6:7], letter)
                self.assertEqual(read_table(encoded), {"k": value})

    def test_letters_received(self) -> None:
        for letter, data, value in (
            (b"t", b"\x01", True),
            (b"b", b"\xff", -1),
            (b"B", b"\xff", 255),
            (b"s", b"\xff\xfe", -2),
            (b"u", b"\xff\xfe", 65534),
            (b"I", b"\xff\xff\xff\xfd", -3),
            (b"i", b"\xff\xff\xff\xfd", 2**32 - 3),
            (b"l", b"\xff" * 7 + b"\xfc", -4),
            (b"L", b"\xff" * 7 + b"\xfc", -4),
            (b"f", b"\x3f\xc0\0\0", 1.5),
            (b"d", b"\x3f\xf8" + b"\0" * 6, 1.5),
            (b"D", b"\x02\xff\xff\xff\x83", Decimal("-1.25")),
            (b"S", b"\0\0\0\x02\xc3\xbc", "ü"),
            (b"S", b"\0\0\0\x02\xff\xfe", b"\xff\xfe"),
            (b"x", b"\0\0\0\x02\xc3\xbc", b"\xc3\xbc"),
            (b"T", b"\0" * 7 + b"\x01", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
            (b"T", b"\xff" * 8, 2**64 - 1),
            (b"A", b"\0\0\0\x02t\x01", [True]),
            (b"F", b"\0\0\0\x03\x01kV", {"k": None}),
            (b"V", b"", None),
        ):
            with self.subTest(letter=letter):
                self.assertEqual(one(letter, data), value)

    @given(st.dictionaries(_keys, _values, max_size=4))
    def test_round_trip(self, value: dict[str, Any]) -> None:
        self.assertEqual(read_table(table(value)), value)

    @given(st.binary(max_size=80))
    def test_any_bytes_give_a_table_or_a_protocol_error(self, data: bytes) -> None:
        with contextlib.suppress(ProtocolError):
            read_table(len(data).to_bytes(4) + data)

    def test_unknown_letter(self) -> None:
        with self.assertRaises(ProtocolError):
            one(b"?", b"")

    def test_nesting_is_bounded(self) -> None:
        value: dict[str, Any] = {}
        for _ in range(DEPTH + 1):
            value = {"k": value}
        with self.assertRaises(ProtocolError):
            read_table(table(value))

    def test_what_amqp_cannot_hold(self) -> None:
        for value in (object(), Decimal("NaN")):
            with self.assertRaises(TypeError):
                table({"k": value})


class StringTests(SynchronousTestCase):
    def test_lengths_are_in_bytes(self) -> None:
        codec = Codec(BytesIO())
        codec.encode_shortstr("größe")
        codec.encode_longstr("größe")
        codec.encode_longstr(b"\xff\0")
        data = codec.stream.getvalue()
        self.assertEqual(data[0], 7)
        again = Codec(BytesIO(data))
        self.assertEqual(
            [again.decode_shortstr(), again.decode_longstr(), again.decode_longstr()],
            ["größe", "größe", b"\xff\0"],
        )

    def test_short_reads_are_errors(self) -> None:
        for read in ("decode_octet", "decode_longlong", "decode_shortstr", "decode_table"):
            with self.assertRaises(ProtocolError):
                getattr(Codec(BytesIO(b"\x05ab"[: 3 if "str" in read else 0])), read)()


class MethodTests(SynchronousTestCase):
    def test_the_spec_knows_what_txamqp_s_own_do_not(self) -> None:
        for name in (
            "confirm.select",
            "basic.nack",
            "basic.cancel",
            "connection.blocked",
            "connection.unblocked",
        ):
            self.assertEqual(method(name).name, name.split(".")[1])
        self.assertEqual((SPEC.major, SPEC.minor), (9, 1))

    def test_every_method_survives(self) -> None:
        samples: dict[str, Any] = {
            "bit": True,
            "octet": 200,
            "short": 65_000,
            "long": 2**32 - 1,
            "longlong": 2**64 - 1,
            "shortstr": "größe",
            "longstr": "größe",
            "table": {"a": [True, {"b": "ü"}]},
        }
        for klass in SPEC.classes:
            for each in klass.methods:
                with self.subTest(method=f"{klass.name}.{each.name}"):
                    args = [samples[f.type] for f in each.fields]
                    again = decode_method(encode_method(Method(each, *args)))
                    self.assertIs(again.method, each)
                    self.assertEqual(list(again.args), args)

    def test_bits_are_packed(self) -> None:
        declare = Method(method("queue.declare"), 0, "q", False, True, False, True, False, {"a": 1})
        encoded = encode_method(declare)
        self.assertEqual(encoded[:9], b"\0\x32\0\x0a\0\0\x01q\x0a")

    def test_unknown_method(self) -> None:
        for data in (b"\0\x63\0\x01", b"\0\x0a\0\x63", b"\0"):
            with self.assertRaises(ProtocolError):
                decode_method(data)


class PropertyTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        properties = {
            "content-type": "text/plain",
            "headers": {"user": "jürgen", "n": -1},
            "delivery-mode": 2,
            "message-id": "1",
            "timestamp": 1_793_000_000,
            "type": "t",
            "app-id": "größe",
            "cluster-id": "",
        }
        self.assertEqual(decode_properties(encode_properties(properties)), properties)
        self.assertEqual(encode_properties({}), b"\0\0")
        self.assertEqual(decode_properties(b"\0\0"), {})
