"""What the operators' page shows, for administrators: ``/admin/state``."""

from __future__ import annotations

from chatd.protocol.errors import bad_request
from chatd.service.overview import Overview, RoomQuery
from chatd.transports.http.call import Call, Reply, Route
from chatd.transports.http.parameters import limit_of, name_of

#: Rooms of one answer: by default, and at most.
ROOMS, MOST = 50, 100
#: Characters of a part of a room's name.
NAME = 100


def routes(overview: Overview) -> list[Route]:
    """The route of this module."""

    async def state(call: Call) -> Reply:
        call.admission.rights.check_admin(call.token, call.caller.address)
        after, part = name_of(call, "after"), name_of(call, "part")
        if max(len(after), len(part)) > NAME:
            raise bad_request(f"A room's name has at most {NAME} characters.")
        limit = min(limit_of(call), MOST) if call.query("limit") is not None else ROOMS
        return Reply(200, await overview.state(RoomQuery(after, part, limit)))

    return [Route("/admin/state", {"GET": state})]
