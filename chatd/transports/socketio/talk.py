"""A Socket.IO client: the main namespace, and events as requests of the protocol."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Any

from attrs import evolve, frozen

from chatd.access.rights import NOBODY
from chatd.protocol.errors import ChatError, bad_request
from chatd.protocol.json import dump
from chatd.rooms.interfaces import IEncoding
from chatd.timing.timer_wheel import Deadline
from chatd.transports.dialect import CLOSE_BAD_REQUEST, ClientLink, RoomEnd
from chatd.transports.encodings import text_frame
from chatd.transports.requests import RequestDialect, Respond, shown
from chatd.transports.socketio.encoding import SOCKET_IO
from chatd.transports.socketio.engine_packets import BadPacket
from chatd.transports.socketio.packets import MAIN, PacketKind, SocketPacket, event, written

#: Seconds within which a client must connect to the main namespace, as on stock servers.
CONNECT_WITHIN = 45.0
#: Random bytes of an id: 20 characters, as on stock servers.
ID_BYTES = 15

NO_BINARY = bad_request("Send text: binary is not taken here.")


@frozen
class Credentials:
    """The address of a client's first request, and the token or name that came with it, not checked
    yet."""

    address: str
    token: str | None
    username: str | None


class EventEnd(RoomEnd):
    """A session as a subscriber of a room; the transport of the session may change meanwhile."""

    encoding: IEncoding = SOCKET_IO


class Talk(RequestDialect):
    """Handles the messages of a session; see `chatd.transports.websocket.interfaces.Dialect`."""

    end = EventEnd

    def __init__(self, connection: ClientLink, credentials: Credentials) -> None:
        super().__init__(connection)
        # a token counts for nothing in open mode, however long it is
        known = self._admission.rights.tokens is not None
        self._credentials = credentials if known else evolve(credentials, token=None)
        #: The identity of the client, also after it has disconnected.
        self.identity = NOBODY
        #: The client is in the main namespace.
        self._connected = False
        #: The number of attachments still to come of a packet that was refused.
        self._attachments = 0
        self._due: Deadline
        self._await_connect()

    def _await_connect(self) -> None:
        self._due = self._admission.deadlines.after(CONNECT_WITHIN, self._never_connected)

    def _never_connected(self) -> None:
        self.connection.sendClose(CLOSE_BAD_REQUEST, "not connected to the namespace /")

    # -- what comes --------------------------------------------------------------------------------

    def received(self, text: str) -> None:
        """Handle an Engine.IO message. Raises `BadPacket`."""
        if self._attachments:
            raise BadPacket("Attachments are still to come.")
        packet = SocketPacket.read(text)
        if packet.kind is PacketKind.CONNECT:
            self._connect(packet)
        elif packet.kind is PacketKind.CONNECT_ERROR:
            raise BadPacket("A client sends no such packet.")
        elif not self._connected or packet.namespace != MAIN:
            raise BadPacket("Connect to the namespace first.")
        elif packet.kind is PacketKind.DISCONNECT:
            self._disconnect()
        elif packet.kind is PacketKind.EVENT:
            self._event(packet)
        else:
            self._attachments = packet.attachments
            if packet.kind is PacketKind.BINARY_EVENT:
                answer = self._answer(packet.id)
                self._refuse(NO_BINARY, lambda error: answer(shown(error)))
            # the server asks for no acknowledgements

    def received_binary(self) -> None:
        """Handle a binary message, which is never accepted."""
        if not self._connected:
            raise BadPacket("Connect to the namespace first.")
        if self._attachments:
            self._attachments -= 1
        else:
            self._refuse(NO_BINARY)

    def _connect(self, packet: SocketPacket) -> None:
        if packet.namespace == MAIN and self._connected:
            raise BadPacket("You are connected already.")
        try:
            self._others.check(self._admission.clock.seconds())
            if packet.namespace != MAIN:
                raise bad_request("Invalid namespace")
            self._identify(packet.data or {})
        except ChatError as error:
            self._refuse(error, lambda error: self._not_connected(packet.namespace, error))
            return
        self._connected = True
        self._due.cancel()
        sid = dump({"sid": token_urlsafe(ID_BYTES)})
        self._write(written(PacketKind.CONNECT, sid))
        self._say(self.welcome())

    def _identify(self, auth: dict[str, Any]) -> None:
        """Begin with the identity that ``auth`` proves, or else the first request."""
        token, before = auth.get("token"), self._credentials
        if not isinstance(token, str | None):
            raise bad_request("Give the token as a string.")
        token = before.token if token is None else token
        rights, named = self._admission.rights, auth.get("username")
        identity = rights.identify_or_guest(token, before.username, named=named)
        self.identity = identity.at(before.address)
        self.begin(self.identity)

    def _not_connected(self, namespace: str, error: ChatError) -> None:
        said = {"message": error.text}
        # the texts of stock servers, to the letter, where there are such
        told = said if namespace != MAIN else {**said, "data": shown(error)}
        self._write(written(PacketKind.CONNECT_ERROR, dump(told), of=namespace))

    def _disconnect(self) -> None:
        self._leave_all()
        self._await_connect()

    def _leave_all(self) -> None:
        if self._connected:
            self._connected = False
            super().closed()

    def _event(self, packet: SocketPacket) -> None:
        name, *arguments = packet.data
        answer = self._answer(packet.id)
        try:
            if not arguments or not isinstance(arguments[0], dict):
                raise bad_request('Give one object, such as emit("join", {room: "lobby"}).')
            self.handle({**arguments[0], "type": str(name)}, answer)
        except ChatError as error:
            self._refuse(error, lambda error: answer(shown(error)))

    # -- what goes ---------------------------------------------------------------------------------

    def _answer(self, id: int | None) -> Respond:
        """A function that sends the answer to an event: to its callback ``id``, or else as an
        event. It sends nothing once the client has left the namespace, also if it is there again,
        perhaps as somebody else."""
        asked = self.session

        def answer(frame: dict[str, Any] | None) -> None:
            if not self._connected or self.session is not asked:
                return
            if id is not None:
                said = [] if frame is None else [frame]
                self._write(written(PacketKind.ACK, dump(said), id))
            elif frame is not None:
                self._say(frame)

        return answer

    def _say(self, frame: dict[str, Any]) -> None:
        self._write(event(frame))

    def _write(self, packet: bytes) -> None:
        self.connection.outlet.write(text_frame(packet))

    def _send_away(self, code: int, reason: str) -> None:
        # a client that the server disconnects does not come back by itself
        self._write(written(PacketKind.DISCONNECT))
        super()._send_away(code, reason)

    def drain(self, retry: int) -> None:
        """See `chatd.transports.websocket.interfaces.Dialect`."""
        if self._connected:
            self._say({"type": "bye", "reason": "restart", "retry": retry})

    def writable(self) -> None:
        if self._connected:
            super().writable()

    def blocked(self) -> None:
        if self._connected:
            super().blocked()

    def closed(self) -> None:
        self._due.cancel()
        self._leave_all()
