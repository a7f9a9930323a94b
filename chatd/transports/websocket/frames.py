"""Incomplete messages and close codes, where Autobahn does otherwise than it should."""

from __future__ import annotations

from chatd.transports.websocket.close_codes import BAD_GATEWAY, TRY_LATER
from chatd.transports.websocket.in_turn import InTurn

#: Pieces of an incomplete message that are kept separately, at most.
PIECES = 64


class Frames(InTurn):
    """The part of a connection that joins frames, and closes with any registered code."""

    frame_data: list[bytes]
    message_data: list[bytes]
    #: Bytes of the message that is not complete.
    _incomplete = 0
    _their_code: int | None = None

    def onMessageFrameData(self, payload: bytes) -> None:
        # Autobahn keeps all pieces of a message, and the sender chooses how many there are
        super().onMessageFrameData(payload)
        if self.failedByMe:
            return  # it was dropped
        self._incomplete += len(payload)
        if len(self.frame_data) > PIECES:
            self.frame_data = [b"".join(self.frame_data)]

    def onMessageFrame(self, payload: list[bytes]) -> None:
        super().onMessageFrame(payload)
        if len(self.message_data) > PIECES:
            self.message_data = [b"".join(self.message_data)]

    def onMessageEnd(self) -> None:
        self._incomplete = 0
        super().onMessageEnd()

    def consumeData(self) -> None:
        super().consumeData()
        if self.state != self.STATE_CLOSED:
            kept = len(self.data) + self._incomplete
            self.factory.admission.unfinished.count(self.transport, kept)

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        # Autobahn's own method refuses registered codes such as 1012
        self.sendCloseFrame(code, (reason or "").encode("utf-8")[:123])

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Begin or answer the closing handshake. The client's code is echoed in a reply (RFC 6455,
        section 5.5.1)."""
        super().sendCloseFrame(self._their_code if isReply else code, reasonUtf8, isReply)

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool | None:
        """The client closes the connection, or answers a close frame."""
        self._their_code = code
        # the only registered code that Autobahn does not know
        known = TRY_LATER if code == BAD_GATEWAY else code
        return bool(super().onCloseFrame(known, reasonRaw))
