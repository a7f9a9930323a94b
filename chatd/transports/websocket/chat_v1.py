"""The subprotocol ``chatd.v1``: one JSON object a frame (protocol, "WebSocket")."""

from __future__ import annotations

from typing import Any

from chatd.protocol.errors import ChatError, bad_request
from chatd.protocol.json import load_object, quoted
from chatd.service.outcomes import Receipt
from chatd.transports.encodings import text_frame
from chatd.transports.requests import RequestDialect, Respond
from chatd.transports.websocket.connection import WebSocketConnection


class ChatV1(RequestDialect):
    """What one ``chatd.v1`` connection says and hears."""

    connection: WebSocketConnection

    def __init__(self, connection: WebSocketConnection) -> None:
        super().__init__(connection)
        self.begin(connection.identity)

    def opened(self) -> None:
        self._say(self.welcome())
        try:
            room = self.connection.parameter("roomname")
        except ChatError as error:
            self._refuse(error)
            return
        if room is not None:
            self.handle({"type": "join", "room": room}, self._answer)

    def received(self, payload: bytes, binary: bool) -> None:
        try:
            if binary:
                raise bad_request("Send text frames.")
            self.handle(load_object(payload), self._answer)
        except ChatError as error:
            self._refuse(error)

    def drain(self, retry: int) -> None:
        self._say({"type": "bye", "reason": "restart", "retry": retry})

    def _say(self, frame: dict[str, Any]) -> None:
        self.connection.send(frame)

    def _published(self, receipt: Receipt, name: str, answer: Respond) -> None:
        # as `dump` would write it, without the search for what each part is
        said = f'{{"type":"ack","room":{quoted(name)},"id":{quoted(receipt.id)}}}'
        self.connection.outlet.write(text_frame(said.encode()))

    def _answer(self, frame: dict[str, Any] | None) -> None:
        if frame is not None:
            self._say(frame)
