"""A small HTTP client: one request a connection, whole answers, chunks, event streams."""

from __future__ import annotations

import json
from typing import Any

from attrs import field, frozen
from twisted.web.http_headers import Headers

from tests.support.raw import Raw


@frozen
class Answer:
    """An HTTP answer."""

    status: int
    headers: Headers = field(repr=False)
    body: bytes = b""
    phrase: str = ""

    def header(self, name: str) -> str | None:
        """A header's value; several of one name joined by commas."""
        values = self.headers.getRawHeaders(name)
        return ", ".join(values) if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code in the body, which must be an error as the contract shapes it."""
        error = self.json
        assert {"type", "code", "text"} <= set(error) <= {"type", "code", "text", "id", "stored"}, (
            error
        )
        assert error["type"] == "error"
        assert error["text"]
        return str(error["code"])


class HTTP:
    """One request under way."""

    def __init__(self, raw: Raw, method: str) -> None:
        self.raw = raw
        self._method = method

    async def head(self) -> Answer:
        """Status and headers."""
        first, *lines = (await self.raw.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = Headers()
        for line in lines:
            name, _, value = line.partition(":")
            headers.addRawHeader(name, value.strip())
        _, status, phrase = first.split(" ", 2)
        return Answer(int(status), headers, phrase=phrase)

    async def answer(self) -> Answer:
        """The whole answer."""
        head = await self.head()
        return Answer(head.status, head.headers, await self.body(head))

    async def body(self, head: Answer) -> bytes:
        """The body after ``head``."""
        if self._method == "HEAD" or head.status in (204, 304):
            return await self.raw.rest()  # a body here would be a fault, and be seen
        length = head.header("content-length")
        if length is not None:
            return await self.raw.take(int(length))
        if head.header("transfer-encoding") == "chunked":
            body = b""
            while chunk := await self.chunk():
                body += chunk
            return body
        return await self.raw.rest()

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        size = int(await self.raw.until(b"\r\n"), 16)
        chunk = await self.raw.take(size)
        await self.raw.until(b"\r\n")
        return chunk


@frozen
class Event:
    """One server-sent event; ``raw`` is its data as it came."""

    name: str
    id: str | None
    raw: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.raw)


class EventStream:
    """A reader of ``text/event-stream`` (HTML standard, section 9.2)."""

    def __init__(self, http: HTTP, head: Answer) -> None:
        self.head = head
        #: Comment lines that have come.
        self.comments: list[bytes] = []
        #: What a client comes back with, and after how many milliseconds (section 9.2.6).
        self.last_id: str | None = None
        self.retry: int | None = None
        self._http = http
        self._text = b""

    async def next(self) -> Event:
        """The next event; EOFError at the end of the stream."""
        while True:
            block = await self.block()
            lines = block.split(b"\n")
            self.comments += [line for line in lines if line.startswith(b":")]
            fields = dict(line.split(b": ", 1) for line in lines if not line.startswith(b":"))
            id = fields[b"id"].decode() if b"id" in fields else None
            self.last_id = self.last_id if id is None else id
            if b"retry" in fields:
                self.retry = int(fields[b"retry"])
            if b"data" in fields:
                name = fields.get(b"event", b"message").decode()
                return Event(name, id, fields[b"data"])

    async def block(self) -> bytes:
        """The next block of lines, up to an empty one."""
        while b"\n\n" not in self._text:
            chunk = await self._http.chunk()
            if not chunk:
                raise EOFError
            self._text += chunk
        block, _, self._text = self._text.partition(b"\n\n")
        return block

    async def message(self) -> Event:
        """The next message, whatever presence is told before it."""
        while (event := await self.next()).name != "message":
            pass
        return event

    def close(self) -> None:
        self._http.raw.abort()
