"""Every route of the API, and what it takes to ask it."""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen
class Ask:
    """An HTTP request, and the status it has when it is allowed."""

    method: str
    path: str
    body: Any = None
    allowed: int = 200

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


#: What any page may load.
CLIENT = [Ask("GET", "/chatd.js"), Ask("GET", "/client/chat.js"), Ask("HEAD", "/chatd.js")]
PAGES = [Ask("GET", path) for path in ("/", "/chatd.css", "/healthz", "/readyz", "/metrics")]


def reading(room: str) -> list[Ask]:
    """All ways to read a room, or to read about it."""
    return [
        Ask("GET", f"/rooms/{room}"),
        Ask("GET", f"/rooms/{room}/messages?last=1"),
        Ask("GET", f"/rooms/{room}/messages?last=1&wait=0.01"),
        Ask("GET", f"/rooms/{room}/events"),
        Ask("GET", f"/poll?roomname={room}"),
        Ask("HEAD", f"/rooms/{room}"),
        Ask("HEAD", f"/rooms/{room}/events"),
    ]


def writing(room: str) -> list[Ask]:
    """All ways to publish."""
    said = {"status": "message", "message": "x", "roomname": room}
    return [
        Ask("POST", f"/rooms/{room}/messages", {"text": "x"}, 201),
        Ask("POST", "/poll", said),
    ]


ADMINISTRATION = [
    Ask("GET", "/rooms"),
    Ask("PUT", "/rooms/made", {}, 201),
    Ask("PUT", "/rooms/den", {"private": False}),
    Ask("DELETE", "/rooms/doomed", None, 204),
    Ask("PUT", "/rooms/den/members/zoe", None, 204),
    Ask("DELETE", "/rooms/den/members/mia", None, 204),
]
