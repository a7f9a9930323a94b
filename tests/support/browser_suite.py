"""What people can do with the chat page, wherever it is served: directly or behind a proxy.

A subclass says where, by the fixture ``front``: a function from the daemon to the address that
browsers use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from signal import SIGTERM
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Person, chromium
from tests.support.daemon import Daemon
from tests.support.proxy import Relay

ROOMS = [f"room-{number}" for number in range(90)]
LONG_ROOM = "r" * 100
NO_WEBSOCKET = "delete globalThis.WebSocket;"
NO_EVENTSOURCE = "delete globalThis.EventSource;"
#: Lets the page think that the server takes any text.
LAX = """document.addEventListener('readystatechange', () => {
  document.documentElement.dataset.maxText = '1000000';
});"""

Visit = Callable[..., Person]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One chatd for a module, with a room for each test."""
    options = [part for room in [*ROOMS, LONG_ROOM] for part in ("--room", room)]
    with Daemon("--rate", "10000/s", "--trusted-proxy", "127.0.0.1/32", *options) as daemon:
        yield daemon
        assert "Traceback" not in daemon.log(), daemon.log()


@pytest.fixture(scope="module")
def rooms() -> Iterator[str]:
    """Names of rooms that nobody has used."""
    return iter(ROOMS)


@pytest.fixture
def room(rooms: Iterator[str]) -> str:
    """A room for this test alone."""
    return next(rooms)


@pytest.fixture
def visit(browser: Browser, front: tuple[str, int]) -> Iterator[Visit]:
    """Opens the chat page for one more person; they all leave at the end."""
    people: list[Person] = []

    def visit(path: str = "/", at: tuple[str, int] = front, **more: Any) -> Person:
        person = Person(browser, f"http://{at[0]}:{at[1]}{path}", **more)
        people.append(person)
        return person

    yield visit
    for person in people:
        person.leave()


@pytest.fixture
def relay(front: tuple[str, int]) -> Iterator[Relay]:
    """A network between the browser and ``front`` that can be spoilt."""
    with Relay(front) as relay:
        yield relay


class BrowserSuite:
    """The tests that every way to the page must pass."""

    def test_two_people_talk(self, visit: Visit, room: str) -> None:
        ann, bob = visit(), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        ann.transport("websocket")
        ann.say("Hello Bob")
        bob.sees("Hello Bob")
        bob.page.get_by_label("Message").press_sequentially("Hi")
        expect(ann.page.locator("#typing")).to_have_text("bob is typing…")
        bob.page.get_by_label("Message").press("Enter")
        for person in (ann, bob):
            person.sees("Hello Bob", "Hi")
            expect(person.page.locator("#members .name")).to_have_text(["ann", "bob"])
        expect(ann.page.locator("#typing")).to_be_empty()
        expect(ann.log.locator(".mine .fate")).to_have_text(["Sent"])
        bob.page.close()
        expect(ann.page.locator("#members .name")).to_have_text(["ann"])

    def test_without_websocket_there_are_event_streams(self, visit: Visit, room: str) -> None:
        ann, bob = visit(script=NO_WEBSOCKET), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        ann.transport("sse")
        self._talk(ann, bob)
        expect(ann.page.locator("#members .name")).to_have_text(["ann", "bob"])

    def test_without_event_streams_too_there_is_polling(self, visit: Visit, room: str) -> None:
        ann, bob = visit(script=NO_WEBSOCKET + NO_EVENTSOURCE), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        ann.transport("poll")
        self._talk(ann, bob)

    def _talk(self, ann: Person, bob: Person) -> None:
        said: list[str] = []
        for number in range(3):
            for person in (ann, bob):
                said.append(f"{number}")
                person.say(said[-1])
                ann.sees(*said)
                bob.sees(*said)

    def test_offline_and_back(self, visit: Visit, room: str, relay: Relay) -> None:
        ann, bob = visit(at=("127.0.0.1", relay.port)), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        ann.say("before")
        bob.sees("before")
        relay.cut()
        ann.context.set_offline(True)
        ann.state("Offline")
        ann.say("kept one")
        ann.say("kept two")
        expect(ann.log.locator(".fate").last).to_have_text("Waits for the connection")
        bob.say("missed")
        bob.sees("before", "missed")
        ann.context.set_offline(False)
        relay.mend()
        ann.state("Online")
        for person in (ann, bob):
            person.sees("before", "missed", "kept one", "kept two")
        expect(ann.log.locator(".fate").last).to_have_text("Sent")

    def test_server_killed_and_back(self, visit: Visit, room: str, daemon: Daemon) -> None:
        ann = visit()
        ann.join("ann", room)
        ann.say("before")
        ann.sees("before")
        expect(ann.log.locator(".fate")).to_have_text(["Sent"])
        daemon.kill()
        ann.state("Offline")
        ann.say("meanwhile")
        daemon.start()
        ann.state("Online")
        ann.say("after")
        ann.sees("before", "meanwhile", "after")
        bob = visit()
        bob.join("bob", room)
        bob.sees("before", "meanwhile", "after")

    def test_server_restarted(self, visit: Visit, room: str, daemon: Daemon) -> None:
        people = [visit(), visit(script=NO_WEBSOCKET), visit(script=NO_WEBSOCKET + NO_EVENTSOURCE)]
        for person, name in zip(people, ("ann", "bob", "cid"), strict=True):
            person.join(name, room)
        assert daemon.stop() == -SIGTERM
        for person in people:
            person.state("Offline")
        people[0].say("meanwhile")
        daemon.start()
        for person in people:
            person.state("Online")
            person.sees("meanwhile")

    def test_unsent_messages_outlive_the_window(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann, bob = visit(at=("127.0.0.1", relay.port)), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        relay.cut()
        ann.state("Offline")
        ann.say("kept")
        expect(ann.messages).to_have_text(["kept"])
        ann.page.close()
        relay.mend()
        ann.open(relay.url(f"/?room={room}&user=ann"))
        ann.sees("kept")
        bob.sees("kept")
        expect(ann.log.locator(".fate")).to_have_text(["Sent"])

    def test_an_upgrade_that_goes_silent(self, visit: Visit, room: str, relay: Relay) -> None:
        relay.silence = (b"HTTP/1.1 101",)
        ann = visit(at=("127.0.0.1", relay.port))
        ann.join("ann", room)
        ann.transport("sse")
        ann.say("through")
        ann.sees("through")
        expect(ann.log.locator(".fate")).to_have_text(["Sent"])

    def test_event_streams_that_are_held_back(self, visit: Visit, room: str, relay: Relay) -> None:
        relay.silence = (b"HTTP/1.1 101", b"Content-Type: text/event-stream")
        ann = visit(at=("127.0.0.1", relay.port))
        ann.join("ann", room)
        ann.transport("poll")
        ann.say("through")
        ann.sees("through")

    def test_markup_stays_text(self, visit: Visit, room: str) -> None:
        ann, bob = visit(), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        texts = [
            "<img src=x onerror=\"document.title='pwned'\">",
            "<script>document.title='pwned'</script>",
            "javascript:alert(1) data:text/html,<b>x</b>",
            "see https://example.org/a_(b)?q=1&r=2, or (http://example.org/).",
        ]
        for text in texts:
            ann.say(text)
        bob.sees(*texts)
        assert bob.log.locator("img, script, b:not(.name)").count() == 0
        links = bob.log.locator("a")
        addresses = [link.get_attribute("href") for link in links.all()]
        assert addresses == ["https://example.org/a_(b)?q=1&r=2", "http://example.org/"]
        for link in links.all():
            assert "noopener" in (link.get_attribute("rel") or "")
        assert re.match(r"(\(\d+\) )?room-", bob.page.title())

    def test_reload_and_deep_link(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}")
        ann.join("ann", room)
        ann.say("first")
        ann.page.reload()
        ann.state("Online")
        ann.sees("first")
        ann.say("second")
        ann.sees("first", "second")
        bob = visit(f"/?room={room}&user=bob")
        bob.state("Online")
        bob.sees("first", "second")
        expect(bob.page.locator("#members .name")).to_have_text(["ann", "bob"])
        cid = visit(f"/?room={room}")
        expect(cid.page.get_by_label("Room")).to_have_value(room)
        expect(cid.page.get_by_label("Your name")).to_be_focused()

    def test_a_room_that_does_not_exist(self, visit: Visit, room: str) -> None:
        ann = visit("/?room=nowhere&user=ann")
        expect(ann.page.get_by_role("alert")).to_contain_text("nowhere")
        ann.join("ann", room)
        expect(ann.page.get_by_role("alert")).to_have_count(0)

    def test_unread(self, visit: Visit, room: str) -> None:
        ann, bob = visit(), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        for number in range(40):
            ann.say(f"{number}")
        expect(bob.messages).to_have_count(40)
        assert bob.page.title() == f"{room} · chatd"
        bob.log.evaluate("log => { log.scrollTop = 0; }")
        expect(bob.page.get_by_role("button", name="Latest")).to_be_visible()
        ann.say("news")
        ann.say("more news")
        expect(bob.page).to_have_title(f"(2) {room} · chatd")
        bob.page.get_by_role("button", name="2 new").click()
        expect(bob.page).to_have_title(f"{room} · chatd")
        expect(bob.log.locator(".rule.new")).to_have_text("New")
        divided = bob.log.locator(".message", has=bob.page.locator(".rule.new"))
        expect(divided.locator(".text")).to_have_text("news")
        expect(bob.messages.last).to_be_in_viewport()

    def test_what_the_server_refuses(self, visit: Visit, room: str) -> None:
        ann = visit(script=LAX)
        ann.join("ann", room)
        ann.say("x" * 17_000)
        failed = ann.log.locator(".failed")
        expect(failed.locator(".fate")).to_contain_text("Not sent: A text is at most")
        ann.say("short")
        ann.sees("short", "x" * 17_000)
        failed.get_by_role("button", name="Try again").click()
        expect(failed.locator(".fate")).to_contain_text("Not sent")
        failed.get_by_role("button", name="Edit").click()
        ann.sees("short")
        box = ann.page.get_by_label("Message")
        expect(box).to_have_value("x" * 17_000)
        expect(box).to_be_focused()
        box.press("Enter")
        failed.get_by_role("button", name="Discard").click()
        ann.sees("short")

    def test_by_keyboard_alone(self, visit: Visit, room: str) -> None:
        ann = visit()
        keyboard = ann.page.keyboard
        keyboard.type("ann")
        keyboard.press("Tab")
        keyboard.press("Control+A")
        keyboard.type(room)
        keyboard.press("Enter")
        ann.state("Online")
        expect(ann.page.get_by_label("Message")).to_be_focused()
        keyboard.type("one")
        keyboard.press("Shift+Enter")
        keyboard.type("two")
        keyboard.press("Enter")
        expect(ann.messages).to_have_text(["one two"])
        assert ann.messages.inner_text() == "one\ntwo"
        expect(ann.page.get_by_label("Message")).to_be_focused()
        keyboard.press("Shift+Tab")
        expect(ann.log).to_be_focused()
