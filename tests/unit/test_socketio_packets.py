"""The codecs of Engine.IO and Socket.IO: what is read, what is refused, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.transports.encodings import text_frame, texts
from chatd.transports.socketio.engine_packets import (
    MAX_PACKETS,
    SEPARATOR,
    BadPacket,
    EngineKind,
    EnginePacket,
    read_payload,
)
from chatd.transports.socketio.packets import PacketKind, SocketPacket, event, written

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
#: The alphabet of packets, so that random texts get far.
PACKETISH = st.text('0123456789-/,[]{}":ab\x1e \ud800', max_size=40).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.integers(0, 70_000), max_size=4))
def test_frames_are_taken_apart_again(sizes: list[int]) -> None:
    payloads = [b"x" * size for size in sizes]
    assert texts(b"".join(map(text_frame, payloads))) == payloads


@given(st.one_of(st.binary(), PACKETISH))
def test_whatever_comes_is_packets_or_none(raw: bytes) -> None:
    try:
        packets = read_payload(raw)
    except BadPacket:
        return
    assert SEPARATOR.join(map(bytes, packets)) == raw
    for packet in packets:
        try:
            SocketPacket.read(packet.data)
        except BadPacket:
            continue


@given(st.lists(st.tuples(st.sampled_from(EngineKind), TEXT), min_size=1, max_size=5))
def test_payloads(said: list[tuple[EngineKind, str]]) -> None:
    packets = [EnginePacket(kind, text.replace("\x1e", "")) for kind, text in said]
    assert read_payload(SEPARATOR.join(map(bytes, packets))) == packets


@given(TEXT, st.lists(JSON, max_size=3), st.none() | st.integers(0, 10**15 - 1))
def test_events(name: str, arguments: list[Any], id: int | None) -> None:
    said = [name, *arguments]
    raw = written(PacketKind.EVENT, json.dumps(said).encode(), id)
    packet = EnginePacket.read(raw)
    assert packet.kind is EngineKind.MESSAGE
    assert SocketPacket.read(packet.data) == SocketPacket(PacketKind.EVENT, id=id, data=said)


#: Those of the protocol's page, "Packet encoding", and one.
EXAMPLES = {
    "0": SocketPacket(PacketKind.CONNECT),
    '0/admin,{"sid":"x"}': SocketPacket(PacketKind.CONNECT, "/admin", data={"sid": "x"}),
    "0/admin": SocketPacket(PacketKind.CONNECT, "/admin"),
    '4{"message":"no"}': SocketPacket(PacketKind.CONNECT_ERROR, data={"message": "no"}),
    '2["foo"]': SocketPacket(PacketKind.EVENT, data=["foo"]),
    "2[1]": SocketPacket(PacketKind.EVENT, data=[1]),
    '2/admin,["bar"]': SocketPacket(PacketKind.EVENT, "/admin", data=["bar"]),
    '212["foo"]': SocketPacket(PacketKind.EVENT, id=12, data=["foo"]),
    '3/admin,13["bar"]': SocketPacket(PacketKind.ACK, "/admin", 13, ["bar"]),
    "3[]": SocketPacket(PacketKind.ACK, data=[]),
    '52-/admin,["baz"]': SocketPacket(PacketKind.BINARY_EVENT, "/admin", None, ["baz"], 2),
    '61-15["bar"]': SocketPacket(PacketKind.BINARY_ACK, "/", 15, ["bar"], 1),
    # as many attachments as stock servers take
    '510-["foo"]': SocketPacket(PacketKind.BINARY_EVENT, "/", None, ["foo"], 10),
    "1": SocketPacket(PacketKind.DISCONNECT),
    "1/admin,": SocketPacket(PacketKind.DISCONNECT, "/admin"),
}


@pytest.mark.parametrize(("text", "packet"), EXAMPLES.items(), ids=EXAMPLES)
def test_the_protocols_examples(text: str, packet: SocketPacket) -> None:
    assert SocketPacket.read(text) == packet


@pytest.mark.parametrize(
    "text",
    [
        *("", "7", "a", "abc", "²", "٣", '²["x"]'),
        *("2", "2{}", "2[]", "2[{}]", "2[null]", "2[true]", '2"x"', "2[NaN]", '2abc["x"]', "2-"),
        *('21-["x"]', '5["x"]', '5-["x"]', '511-["x"]', '59999-["x"]', '51["x"]', '5²-["x"]'),
        *("3", "3{}", "0[]", "0x", '1{"x":1}', "1[]", "2" + "1" * 30, "0/" + "n" * 300),
        *("2[" + "[" * 100_000, '2["x",' + "1" * 5000 + "]", "0{", '2["x"] 2["x"]'),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadPacket):
        SocketPacket.read(text)


def test_payloads_are_bounded() -> None:
    assert len(read_payload(SEPARATOR.join([b"3"] * MAX_PACKETS))) == MAX_PACKETS
    for raw in (b"", b"\x1e", b"3\x1e", b"x", b"\xff", b"4\xff", SEPARATOR.join([b"3"] * 1001)):
        with pytest.raises(BadPacket):
            read_payload(raw)


def test_what_is_sent() -> None:
    assert event({"type": "left", "room": "é"}) == '42["left",{"type":"left","room":"é"}]'.encode()
    assert written(PacketKind.ACK, b"[]", 7) == b"437[]"
    refused = written(PacketKind.CONNECT_ERROR, b"{}", of="/random")
    assert refused == b"44/random,{}"
