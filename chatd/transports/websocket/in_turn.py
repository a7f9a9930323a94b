"""Processing the frames of a WebSocket one at a time, when it is the connection's turn."""

from __future__ import annotations

from twisted.logger import Logger

from chatd.access.fair_queue import QueuePlace
from chatd.transports.websocket.common_frame import common_frame
from chatd.transports.websocket.handshake import OpeningHandshake, has_frame_head
from chatd.transports.writer import Writer

_END_OF_HEAD = b"\r\n\r\n"


class InTurn(OpeningHandshake):
    """Processes the handshake and then each frame in turn. While the client leaves answers unread,
    has too many requests under way, or has to wait for its turn, received bytes are kept, and
    nothing more is read."""

    outlet: Writer
    place: QueuePlace
    _log = Logger()
    _in_line = False

    def consumeData(self) -> None:
        """Process received bytes, as far as that is allowed now."""
        if self.state == self.STATE_CONNECTING and _END_OF_HEAD in self.data and not self._may():
            return
        super().consumeData()

    def processData(self) -> bool:
        """Take up what has come of one frame; whether there may be more."""
        if self.current_frame is None and has_frame_head(self.data):
            if not self._may():
                return False
            if self._take_common():
                return len(self.data) > 0
        return bool(super().processData())

    def _take_common(self) -> bool:
        """Take up the next frame if it is a `common_frame`."""
        if self.inside_message or self.state != self.STATE_OPEN:
            return False
        found = common_frame(self.data, self.maxFramePayloadSize)
        if found is None:
            return False
        text, end = found
        self.data = self.data[end:]
        self.onMessage(text, False)
        return True

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
        try:
            self.consumeData()
        except Exception:
            # as the reactor does where nothing has to wait for its turn; to give up would tell the
            # client that it asked too much
            self._log.failure("A frame in its turn failed; its connection is ended.")
            self.place.leave()
            self.transport.abortConnection()
            return
        if not self.place.queued:
            self.leave_line()

    def leave_line(self) -> None:
        """Resume reading from the client, unless there is another reason not to."""
        if self._in_line:
            self._in_line = False
            self.outlet.start_reading()
