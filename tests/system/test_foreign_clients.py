"""Clients that others wrote: browsers' and npm's EventSource, npm's WebSockets, all of Firefox."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from itertools import count
from typing import Any

import pytest

from tests.support import axe
from tests.support.daemon import Daemon
from tests.support.firefox import Firefox, Tab, firefox
from tests.support.listeners import MODULES, Listener, Script, everywhere, say, wait_for
from tests.support.proxy import Relay
from tests.support.windows import Windows

pytestmark = pytest.mark.browser

EVENTS = "/rooms/lobby/events"


@pytest.fixture(scope="module")
def fox() -> Iterator[Firefox]:
    """One Firefox for the module."""
    with firefox() as browser:
        yield browser


@contextmanager
def listening(windows: Windows, fox: Firefox, origin: str, events: str) -> Iterator[list[Listener]]:
    """A listener of every kind, in pages of ``origin``, each of them closed at the end."""
    page = windows.take("")
    page.goto(origin)
    tab = fox.open(origin)
    with ExitStack() as stack:
        stack.callback(windows.hand_back, page.context)
        listeners = everywhere(page, tab, events)
        for one in listeners:
            stack.callback(one.close)
        yield listeners


def texts(heard: list[tuple[str, Any]]) -> list[str]:
    return [data["text"] for kind, data in heard if kind == "message"]


def kinds(heard: list[tuple[str, Any]]) -> list[str]:
    return [kind for kind, _ in heard]


def test_nothing_is_missed_by_who_is_cut_off_before_the_first_message(
    windows: Windows, fox: Firefox
) -> None:
    with Daemon() as daemon, Relay(daemon.http) as relay:
        say(daemon, "before")
        url = relay.url(EVENTS)
        with listening(windows, fox, relay.url("/"), url) as listeners:
            wait_for(listeners, lambda heard: "open" in kinds(heard))
            relay.cut()
            wait_for(listeners, lambda heard: "error" in kinds(heard))
            say(daemon, "meanwhile")
            relay.mend()
            wait_for(listeners, texts)
            say(daemon, "after")
            heard = wait_for(listeners, lambda heard: len(texts(heard)) >= 2)
    for name, told in heard.items():
        assert texts(told) == ["meanwhile", "after"], name
        for kind, data in told:
            assert kind != "message" or data["lastEventId"] == data["cursor"], name


def test_a_refusal_for_now_is_not_the_end(windows: Windows, fox: Firefox) -> None:
    with Daemon("--max-connections", "4") as daemon, ExitStack() as stack:
        full = []
        for _ in range(4):
            connection = HTTPConnection(*daemon.http, timeout=30)
            stack.callback(connection.close)
            connection.request("GET", EVENTS)
            answer = connection.getresponse()
            assert answer.status == 200
            full.append(answer)
        url = daemon.url(EVENTS)
        with listening(windows, fox, daemon.url("/"), url) as listeners:
            heard = wait_for(listeners, lambda heard: "refused" in kinds(heard))
            for told in heard.values():
                [refusal, *_] = [data for kind, data in told if kind == "refused"]
                assert refusal["code"] == "unavailable"
            for answer in full:
                answer.close()
            stack.close()
            # each comes back at a time of its own, to what is said from then on
            for number in count():
                say(daemon, f"{number}")
                if all(texts(one.heard()) for one in listeners):
                    break
                assert number < 500, [one.heard() for one in listeners]
                time.sleep(0.1)


@pytest.mark.parametrize("port", ["websocket", "http"])
def test_ws(port: str, daemon: Daemon, room: str) -> None:
    host, number = getattr(daemon, port)
    script = Script("ws", "sockets.mjs", str(MODULES), f"ws://{host}:{number}/ws", room)
    try:
        heard = script.ended()
    finally:
        script.close()
    assert [kind for kind, _ in heard] == [
        *["extensions", "welcome", "joined", "answers", "pong", "closed"],
        *["text", "text", "closed", "refused"],
    ]
    said = dict(heard)
    assert said["extensions"] == ""
    assert said["answers"] == ["ack", "message"]
    assert said["pong"] == "are you there"
    assert [data for kind, data in heard if kind == "closed"] == [[4001, "tschüß"], [1000, ""]]
    assert [data for kind, data in heard if kind == "text"] == ["Connection open", "as ever"]
    assert said["refused"] == [400, "bad_request"]


def test_reconnecting_websocket() -> None:
    """Over a restart and a cut it hears everything once."""
    with Daemon() as daemon, Relay(daemon.websocket) as relay:
        url = f"ws://127.0.0.1:{relay.port}/?username=ann"
        script = Script("reconnecting-websocket", "reconnect.mjs", str(MODULES), url)
        try:
            wait_for([script], lambda heard: "joined" in kinds(heard))
            say(daemon, "1")
            wait_for([script], lambda heard: texts(heard) == ["1"])
            daemon.stop()
            daemon.start()
            say(daemon, "2")
            wait_for([script], lambda heard: texts(heard) == ["1", "2"])
            relay.cut()
            say(daemon, "3")
            relay.mend()
            heard = wait_for([script], lambda heard: len(texts(heard)) == 3)
        finally:
            script.close()
    told = heard["reconnecting-websocket"]
    assert texts(told) == ["1", "2", "3"]
    assert "bye" in kinds(told)
    assert next(data for kind, data in told if kind == "close") == 1012


#: Two who talk by ``chatd.js``; a function of the transport.
TALK = """async (transport) => {
  const { Chat } = await import(new URL('chatd.js', location));
  const chats = ['ann', 'bob'].map((user) =>
    new Chat(location.origin, { user, transports: [transport] }));
  const [here, there] = await Promise.all(chats.map((chat) => chat.join('lobby')));
  const heard = [];
  const reading = (async () => {
    for await (const { text } of there) if (heard.push(text) === 3) return;
  })();
  for (const text of ['1', '2', '3']) await here.send(`${transport} ${text}`);
  await reading;
  chats.forEach((chat) => chat.close());
  return [chats[0].state.transport ?? transport, heard];
}"""


def test_chatd_js_in_firefox(fox: Firefox, daemon: Daemon) -> None:
    tab = fox.open(daemon.url())
    for transport in ("websocket", "sse", "poll"):
        _, heard = tab.run(f"({TALK})({json.dumps(transport)})")
        assert heard == [f"{transport} {n}" for n in (1, 2, 3)]


def _fill(tab: Tab, field: str, text: str) -> None:
    """Write into a field as a person's keys do, as far as the page can tell."""
    tab.run(
        f"(() => {{ const field = document.getElementById({json.dumps(field)});"
        f" field.value = {json.dumps(text)};"
        " field.dispatchEvent(new InputEvent('input', { bubbles: true })); return true; })()"
    )


def _click(tab: Tab, form: str) -> None:
    tab.run(f"(document.querySelector('#{form} .strong').click(), true)")


def test_the_page_in_firefox(fox: Firefox) -> None:
    """Coming in, talking, hearing and being refused."""
    with Daemon("--room", "kitchen") as daemon:
        tab = fox.open(daemon.url())
        assert tab.run("document.getElementById('room').value") == "kitchen"
        _fill(tab, "name", "ann")
        _click(tab, "join")
        tab.until("document.getElementById('state').textContent === 'Online'")
        assert tab.run("document.title") == "kitchen · chatd"
        for text in ("one https://example.org/.", "two"):
            _fill(tab, "text", text)
            _click(tab, "composer")
            tab.until("document.getElementById('text').value === ''")
        tab.until("document.querySelectorAll('.sent').length === 2")
        assert tab.run("document.querySelector('.text a').href") == "https://example.org/"
        assert tab.run("document.querySelectorAll('.mine.together').length") == 1
        say(daemon, "to Firefox", "kitchen")
        said = "[...document.querySelectorAll('[role=log] .text')].map((one) => one.textContent)"
        tab.until(f"({said}).at(-1) === 'to Firefox'")
        _fill(tab, "text", "x" * 17_000)
        assert tab.run("document.getElementById('text').ariaInvalid") == "true"
        _fill(tab, "room", "nowhere")
        _click(tab, "join")
        tab.until("document.getElementById('refusal').textContent.includes('nowhere')")
        assert tab.run("document.activeElement.id") == "room"
        assert tab.run("document.getElementById('title').textContent") == "kitchen"
        assert tab.run(axe.script()) == []
