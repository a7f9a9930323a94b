"""The sessions of one node by their ids; no other node knows them."""

from __future__ import annotations

from secrets import token_urlsafe

from chatd.transports.dialect import Serving
from chatd.transports.socketio.faults import BAD_REQUEST, UNKNOWN_SID, EngineFault
from chatd.transports.socketio.polling import PollingLink
from chatd.transports.socketio.session import Carrier, EngineSession
from chatd.transports.socketio.talk import ID_BYTES, Credentials


class Sessions:
    """All open sessions, over either transport."""

    def __init__(self) -> None:
        self._by_id: dict[str, EngineSession] = {}

    def add(self, factory: Serving, carrier: Carrier, credentials: Credentials) -> EngineSession:
        """A new session."""
        sid = token_urlsafe(ID_BYTES)
        session = EngineSession(factory, sid, carrier, credentials, self._forget)
        self._by_id[sid] = session
        return session

    def _forget(self, session: EngineSession) -> None:
        self._by_id.pop(session.sid, None)

    def polling(self, sid: str) -> PollingLink:
        """The polling transport of the session ``sid``. Raises `EngineFault` if there is no such
        session on this node, or it does not poll any more."""
        session = self._by_id.get(sid)
        if session is None:
            raise EngineFault(UNKNOWN_SID)
        if not isinstance(session.carrier, PollingLink):
            raise EngineFault(BAD_REQUEST)
        return session.carrier

    def all_polling(self) -> list[PollingLink]:
        """The polling transports of all sessions that poll."""
        carriers = [session.carrier for session in self._by_id.values()]
        return [one for one in carriers if isinstance(one, PollingLink)]
