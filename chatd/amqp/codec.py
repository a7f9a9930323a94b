"""Encoding and decoding of AMQP values, with all types and exact lengths, unlike txAMQP's codec.

The type letters are RabbitMQ's (https://www.rabbitmq.com/amqp-0-9-1-errata.html, section 3).
Python's types are written as: ``str`` ``S``, ``bytes`` ``x``, ``bool`` ``t``, ``int`` ``l``,
``float`` ``d``, ``datetime`` ``T``, ``Decimal`` ``D``, ``dict`` ``F``, ``list`` ``A``, ``None``
``V``. Long strings that are not UTF-8 are read as ``bytes``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import txamqp.codec
from txamqp.connection import Method

from chatd.amqp.spec import SPEC

#: Levels of nested tables and arrays that are decoded, at most.
DEPTH = 16


class ProtocolError(Exception):
    """The peer has violated AMQP 0-9-1; the connection must be closed."""


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


class Codec(txamqp.codec.Codec):
    """txAMQP's codec with exact lengths and all types of tables. Raises `ProtocolError` for data
    that ends too early."""

    depth = 0

    def read(self, n: int) -> bytes:
        """Exactly ``n`` bytes (txAMQP returns fewer at the end of the data)."""
        data: bytes = self.stream.read(n)
        if len(data) < n:
            raise ProtocolError(f"{n} bytes were announced, {len(data)} came")
        self.nread += n
        return data

    def enc_str(self, fmt: str, s: str | bytes) -> None:
        data = s.encode("utf-8") if isinstance(s, str) else s
        self.pack(fmt, len(data))
        self.write(data)

    def encode_table(self, tbl: Mapping[str, Any]) -> None:
        inner = type(self)(BytesIO())
        for key, value in tbl.items():
            inner.encode_shortstr(key)
            inner.encode_value(value)
        self.enc_bytes("!L", inner.stream.getvalue())

    def decode_table(self) -> dict[str, Any]:
        inner = self._nested()
        size = len(inner.stream.getvalue())
        table: dict[str, Any] = {}
        while inner.nread < size:
            key = inner.decode_shortstr()
            table[key if isinstance(key, str) else key.decode("latin-1")] = inner.decode_value()
        return table

    def encode_array(self, values: list[Any]) -> None:
        inner = type(self)(BytesIO())
        for value in values:
            inner.encode_value(value)
        self.enc_bytes("!L", inner.stream.getvalue())

    def decode_array(self) -> list[Any]:
        inner = self._nested()
        size = len(inner.stream.getvalue())
        values = []
        while inner.nread < size:
            values.append(inner.decode_value())
        return values

    def _nested(self) -> Codec:
        inner = type(self)(BytesIO(self.dec_bytes("!L")))
        inner.depth = self.depth + 1
        if inner.depth > DEPTH:
            raise ProtocolError("a table nests too deeply")
        return inner

    def encode_value(self, value: object) -> None:
        """Write a field's type letter and value. Raises TypeError for other types."""
        for kind, letter, encode in _ENCODERS:
            if isinstance(value, kind):
                self.write(letter)
                encode(self, value)
                return
        raise TypeError(f"AMQP tables cannot hold {type(value).__name__}")

    def decode_value(self) -> Any:
        """Read a field's value. Raises `ProtocolError` for an unknown type letter."""
        letter = self.read(1)
        decode = _DECODERS.get(letter)
        if decode is None:
            raise ProtocolError(f"unknown table type {letter!r}")
        return decode(self)


def _number(fmt: str) -> Callable[[Codec], Any]:
    return lambda codec: codec.unpack(fmt)


def _time(codec: Codec) -> Any:
    seconds = codec.decode_timestamp()
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return seconds


def _decimal(codec: Codec) -> Decimal:
    scale, value = codec.unpack("!Bl")
    return Decimal(value).scaleb(-scale)


def _encode_decimal(codec: Codec, value: Any) -> None:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError("AMQP tables cannot hold NaN or infinity")
    number = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    codec.pack("!Bl", max(-exponent, 0), -number if sign else number)


# bool before int, of which it is a subclass
_ENCODERS: tuple[tuple[type, bytes, Callable[[Codec, Any], None]], ...] = (
    (str, b"S", lambda c, v: c.enc_str("!L", v)),
    (bool, b"t", lambda c, v: c.pack("!B", v)),
    (int, b"l", lambda c, v: c.pack("!q", v)),
    (bytes, b"x", lambda c, v: c.enc_bytes("!L", v)),
    (float, b"d", lambda c, v: c.pack("!d", v)),
    (datetime, b"T", lambda c, v: c.pack("!Q", int(v.timestamp()))),
    (Decimal, b"D", _encode_decimal),
    (dict, b"F", Codec.encode_table),
    (list, b"A", Codec.encode_array),
    (type(None), b"V", lambda c, v: None),
)

_DECODERS: dict[bytes, Callable[[Codec], Any]] = {
    b"t": lambda c: c.decode_octet() != 0,
    b"b": _number("!b"),
    b"B": _number("!B"),
    b"s": _number("!h"),
    b"u": _number("!H"),
    b"I": _number("!l"),
    b"i": _number("!L"),
    b"l": _number("!q"),
    b"L": _number("!q"),
    b"f": _number("!f"),
    b"d": _number("!d"),
    b"D": _decimal,
    b"S": lambda c: _text(c.dec_bytes("!L")),
    b"x": lambda c: c.dec_bytes("!L"),
    b"T": _time,
    b"F": Codec.decode_table,
    b"A": Codec.decode_array,
    b"V": lambda c: None,
}

_BASIC = SPEC.classes.byname["basic"]


def encode_method(payload: Method) -> bytes:
    """Encode the payload of a method frame."""
    codec = Codec(BytesIO())
    codec.pack("!HH", payload.method.klass.id, payload.method.id)
    for spec_field, value in zip(payload.method.fields, payload.args, strict=True):
        codec.encode(spec_field.type, value)
    codec.flush()
    encoded: bytes = codec.stream.getvalue()
    return encoded


def decode_method(payload: bytes) -> Method:
    """Decode the payload of a method frame. Raises `ProtocolError` for an unknown method."""
    codec = Codec(BytesIO(payload))
    class_id, method_id = codec.unpack("!HH")
    try:
        method = SPEC.classes.byid[class_id].methods.byid[method_id]
    except KeyError:
        raise ProtocolError(f"unknown method {class_id}.{method_id}") from None
    return Method(method, *[codec.decode(f.type) for f in method.fields])


def encode_properties(properties: Mapping[str, Any]) -> bytes:
    """Encode properties of a message, as they follow the body size in a header frame."""
    flags = 0
    codec = Codec(BytesIO())
    for bit, spec_field in zip(range(15, 0, -1), _BASIC.fields, strict=False):
        value = properties.get(spec_field.name)
        if value is not None:
            flags |= 1 << bit
            codec.encode(spec_field.type, value)
    encoded: bytes = struct.pack("!H", flags) + codec.stream.getvalue()
    return encoded


def decode_properties(data: bytes) -> dict[str, Any]:
    """Decode properties of a message, by their names in the spec, such as ``message-id``. Raises
    `ProtocolError`."""
    codec = Codec(BytesIO(data))
    flags = codec.decode_short()
    properties = {}
    for bit, spec_field in zip(range(15, 0, -1), _BASIC.fields, strict=False):
        if flags >> bit & 1:
            properties[spec_field.name] = codec.decode(spec_field.type)
    return properties
