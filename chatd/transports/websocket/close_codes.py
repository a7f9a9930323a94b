"""Why a WebSocket is closed (RFC 6455, section 11.7, and the registry there)."""

from __future__ import annotations

#: A rule was broken.
POLICY = 1008
#: The server restarts.
RESTART = 1012
#: Come back later.
TRY_LATER = 1013
#: What stands behind the server is away.
BAD_GATEWAY = 1014
