"""What has come on a WebSocket is worked off in turn."""

from __future__ import annotations

from chatd.access.turns import QueuePlace
from chatd.transports.websocket.handshake import OpeningHandshake, has_frame_head
from chatd.transports.writer import Writer

_END_OF_HEAD = b"\r\n\r\n"


class InTurn(OpeningHandshake):
    """The part of a connection that takes up one frame after the other, the handshake first: not
    while the client leaves answers unread, has too much under way, or has to stand in line. What
    has come waits meanwhile, and nothing more is read."""

    outlet: Writer
    place: QueuePlace
    _in_line = False

    def consumeData(self) -> None:
        """Work off what has come, as far as it may be."""
        if self.state == self.STATE_CONNECTING and _END_OF_HEAD in self.data and not self._may():
            return
        super().consumeData()

    def processData(self) -> bool:
        """Take up what has come of one frame; whether there may be more."""
        if self.current_frame is None and has_frame_head(self.data) and not self._may():
            return False
        return bool(super().processData())

    def _may(self) -> bool:
        if self.outlet.stops > self._in_line:
            return False
        if self.place.take():
            return True
        if not self._in_line:
            self._in_line = True
            self.outlet.stop_reading()
        return False

    def go(self) -> None:
        """It is this connection's turn."""
        self.consumeData()
        if not self.place.queued:
            self.leave_line()

    def leave_line(self) -> None:
        """Read from the client again, unless something else forbids it."""
        if self._in_line:
            self._in_line = False
            self.outlet.start_reading()
