"""The operations of the set-up port (protocol, "Room set-up")."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from chatd.access.rights import Rights
from chatd.protocol.errors import bad_request
from chatd.protocol.names import room_name, user_name
from chatd.service.administration import Administration


class SetupOperations:
    """Performs set-up requests."""

    def __init__(self, administration: Administration, rights: Rights) -> None:
        self._rights = rights
        self._administration = administration
        self._directory = administration.directory
        self._operations: dict[str, Callable[[dict[str, Any], str], Coroutine[Any, Any, Any]]] = {
            "create_room": self._create,
            "delete_room": self._delete,
            "add_member": self._add_member,
            "remove_member": self._remove_member,
        }

    async def perform(self, request: dict[str, Any], address: str) -> None:
        """Perform ``request`` of a client at ``address``. Raises `ChatError`."""
        self._rights.check_setup(request.get("secret"), address)
        status = request.get("status")
        named = isinstance(status, str) and status in self._operations
        op = request.get("op", status if named else "create_room")
        operation = self._operations.get(op) if isinstance(op, str) else None
        if operation is None:
            raise bad_request(f"The op is one of {', '.join(self._operations)}.")
        await operation(request, address)

    async def _create(self, request: dict[str, Any], address: str) -> None:
        private = request.get("private", False)
        if not isinstance(private, bool):
            raise bad_request("private is true or false.")
        await self._administration.create(_room(request), private, address)

    async def _delete(self, request: dict[str, Any], _: str) -> None:
        await self._directory.delete(_room(request))

    async def _add_member(self, request: dict[str, Any], _: str) -> None:
        await self._directory.add_member(_room(request), self._user(request))

    async def _remove_member(self, request: dict[str, Any], _: str) -> None:
        await self._directory.remove_member(_room(request), self._user(request))

    def _user(self, request: dict[str, Any]) -> str:
        # where tokens name users nobody has the name that an original client would get in open mode
        return user_name(request.get("username"), legacy=self._rights.tokens is None)


def _room(request: dict[str, Any]) -> str:
    return room_name(request.get("roomname"), legacy=True)
