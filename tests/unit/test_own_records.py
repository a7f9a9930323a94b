"""Records by their properties: chatd's own, and what only looks like them."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.codec import encode_properties
from chatd.amqp.deliveries import Delivery
from chatd.brokers.interfaces import DIRECTORY, Record, Stream
from chatd.brokers.rabbitmq import records
from chatd.protocol.json import dump
from chatd.protocol.messages import Content

LOBBY = Stream("lobby", "1")
AT = 1_800_000_000_000
TIME = "2027-01-15T08:00:00.000Z"


def read(body: bytes, stream: Stream = LOBBY, **more: Any) -> Record:
    """A record with chatd's properties, and ``more``."""
    given = {"content-type": "application/json", "delivery-mode": 2, "app-id": "chatd", **more}
    key = (stream.room or stream.name).encode()
    [record] = records.records([Delivery(7, body, encode_properties(given), key)], stream)
    return record


class OwnTests(SynchronousTestCase):
    @given(
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64),
        st.text(max_size=64),
        st.text(),
        st.none() | st.dictionaries(st.text(), st.text(), max_size=2),
    )
    def test_what_chatd_writes_is_used_as_it_is(
        self, id: str, user: str, text: str, data: dict[str, Any] | None
    ) -> None:
        body = Content(user, id, text, data).record(AT)
        with mock.patch.object(records, "load_object", side_effect=AssertionError("parsed")):
            record = read(body)
        self.assertEqual((record.body, record.foreign), (body, False))

    def test_so_are_events_of_the_directory(self) -> None:
        body = dump({"op": "delete", "room": "lobby", "epoch": "1", "event": "2"})
        self.assertEqual(read(body, DIRECTORY), Record(7, body))

    def test_complete_in_another_order(self) -> None:
        body = dump({"time": TIME, "text": "x", "user": "ann", "id": "i"})
        self.assertEqual(read(body), Record(7, body))


class OtherTests(SynchronousTestCase):
    """Another program whose app_id is chatd, too."""

    def test_what_the_body_lacks_comes_from_the_properties(self) -> None:
        whole = {"id": "mine", "user": "zed", "text": "hi", "time": "2027-01-15T07:00:00.000Z"}
        of_properties = {"id": "m1", "user": "hank", "time": TIME}
        for lacks in ("id", "user", "time", "id user", "id user time"):
            body = {name: value for name, value in whole.items() if name not in lacks.split()}
            more: dict[str, Any] = {"message-id": "m1", "timestamp": AT // 1000}
            more["headers"] = {"user": "hank"}
            record = read(dump(body), **more)
            expected = whole | {name: of_properties[name] for name in lacks.split()}
            self.assertTrue(record.foreign, lacks)
            self.assertEqual(json.loads(record.body), expected)

    def test_without_any(self) -> None:
        record = read(b'{"text":"hi"}')
        self.assertEqual(json.loads(record.body), {"id": "amqp-7", "user": "chatd", "text": "hi"})

    def test_what_cannot_be_read_stays(self) -> None:
        for body in (b"no JSON", b"[1]", b'{"id":"', b"\xff"):
            self.assertEqual(read(body).body, body)
