"""One HTTP request at a time, for tests that block."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

_open = build_opener(ProxyHandler({})).open


def ask(url: str, body: Any = None, timeout: float = 30.0) -> tuple[int, Any]:
    """GET ``url``, or POST ``body`` as JSON; the status, and the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"} if data else {})
    try:
        with _open(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refused:
        return refused.code, json.load(refused)
