"""A small client that loses nothing, over HTTP. It says what is typed, and prints what is said.

usage: python docs/examples/smallest.py ROOM USER [http://localhost:8081]
"""

import json
import os
import sys
import time
from http.client import HTTPException
from random import random
from threading import Thread
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen
from uuid import uuid4

JSON = {"Content-Type": "application/json"}  # in token mode also "Authorization": "Bearer ..."
room, user, base = [*sys.argv[1:], "http://localhost:8081"][:3]


def ask(body=None, **query):
    """One request, sent again as it is until chatd answers it for good."""
    url = f"{base}/rooms/{quote(room, '')}/messages?{urlencode({'username': user, **query})}"
    data = json.dumps(body).encode() if body else None
    while True:
        try:
            with urlopen(Request(url, data, JSON), timeout=90) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code not in (429, 502, 503, 504):
                print(error.read().decode(), file=sys.stderr)
                os._exit(1)  # another try would be refused, too; also where the other thread waits
            wait = int(error.headers.get("Retry-After", 1))
        except (OSError, HTTPException):
            wait = 1
        time.sleep(wait + random())


def read():
    global cursor
    while True:
        page = ask(after=cursor, wait=50)
        if page["gap"]:
            print("(messages are missing here)")
        for message in page["messages"]:
            print(f"{message['user']}: {message['text']}", flush=True)
        cursor = page["cursor"]


cursor = ask()["cursor"]
Thread(target=read, daemon=True).start()
for line in sys.stdin:
    ask({"text": line.rstrip("\n"), "id": uuid4().hex, "after": cursor})
