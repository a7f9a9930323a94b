"""Going back in a conversation and to its end again, over a network that is slow or fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.support.backlog import publish
from tests.support.browser import Person, Visit
from tests.support.daemon import Daemon
from tests.support.proxy import Relay

pytestmark = pytest.mark.browser

#: The requests for older messages.
OLDER = re.compile(r"/messages\?before=")
#: The requests for messages.
PAGES = re.compile(r"/messages\?")
#: Whether the end of the conversation is in sight.
AT_END = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 50"


def come_in(visit: Visit, daemon: Daemon, room: str, **more: Any) -> Person:
    """One who has come to a room in which much was said."""
    publish(daemon, room, 1000)
    ann = visit(f"/?room={room}&user=ann", **more)
    ann.state("Online")
    expect(ann.messages.last).to_have_text("999")
    return ann


def look_back(person: Person, first: int) -> None:
    """Scroll up until ``first`` is there; perhaps more, if the browser tells of it twice."""
    go_up(person, lambda: is_there(person, first))


def is_there(person: Person, first: int) -> bool:
    return int(person.messages.first.text_content() or 0) <= first


def go_up(person: Person, done: Callable[[], bool]) -> None:
    """Scroll up, again and again: while the page fetches it takes no notice."""
    for _ in range(1500):
        if done():
            return
        person.log.evaluate("log => { log.scrollTop = 0; }")
        person.page.wait_for_timeout(20)
    raise AssertionError("that is not reached")


def down(person: Person) -> None:
    """Wait until the end is in sight."""
    expect(person.page.locator("#latest")).to_be_hidden()
    person.page.wait_for_function(f"() => ({AT_END})(document.querySelector('#log'))")


class Held:
    """Requests that are not answered until it is said."""

    def __init__(self, person: Person, which: re.Pattern[str]) -> None:
        self._page, self._which = person.page, which
        self._routes: list[Route] = []
        person.page.route(which, self._hold)

    def _hold(self, route: Route) -> None:
        self._routes.append(route)

    @property
    def asked(self) -> bool:
        return bool(self._routes)

    def end(self) -> None:
        for route in self._routes:
            route.continue_()
        self._page.unroute(self._which)


class Late:
    """What a page's WebSocket brings, kept back when that is asked for."""

    def __init__(self, page: Page) -> None:
        self._kept: list[str | bytes] | None = None
        page.route_web_socket(re.compile("/ws"), self._opened)

    def _opened(self, route: WebSocketRoute) -> None:
        self._route = route
        route.connect_to_server().on_message(self._brought)

    def _brought(self, frame: str | bytes) -> None:
        if self._kept is None:
            self._route.send(frame)
        else:
            self._kept.append(frame)

    def hold(self) -> None:
        self._kept = []

    def end(self) -> None:
        kept, self._kept = self._kept or [], None
        for frame in kept:
            self._route.send(frame)


def latest(person: Person) -> None:
    person.page.locator("#latest").click()


def say(person: Person) -> None:
    person.say("mine")
    expect(person.messages.last).to_have_text("mine")


class TestLatest:
    """The newest messages are there when they are asked for, whatever else is going on."""

    @pytest.mark.parametrize("depth", [2, 4])
    @pytest.mark.parametrize("want", [latest, say])
    def test_while_older_ones_are_fetched(
        self, visit: Visit, daemon: Daemon, room: str, want: Callable[[Person], None], depth: int
    ) -> None:
        """With the newest in the document still, and without."""
        ann = come_in(visit, daemon, room)
        for number in range(depth):
            look_back(ann, 850 - 100 * number)
        held = Held(ann, OLDER)
        go_up(ann, lambda: held.asked)
        want(ann)
        held.end()
        down(ann)
        publish(daemon, room, 1, first=1000)
        expect(ann.messages.last).to_have_text("1000")
        down(ann)

    def test_that_cannot_be_fetched(
        self, visit: Visit, daemon: Daemon, room: str, relay: Relay
    ) -> None:
        """What one writes is in sight all the same, and one can ask again."""
        ann = come_in(visit, daemon, room, at=("127.0.0.1", relay.port))
        for number in range(4):
            look_back(ann, 850 - 100 * number)
        relay.cut()
        ann.state("Offline")
        say(ann)
        expect(ann.log.locator(".fate").last).to_have_text("Waits for the connection")
        expect(ann.messages.last).to_be_in_viewport()
        expect(ann.log).not_to_have_attribute("aria-busy", "true")
        expect(ann.page.locator("#latest")).to_be_visible()
        relay.mend()
        ann.reconnect()
        latest(ann)
        down(ann)
        expect(ann.messages.last).to_have_text("mine")


class TestMany:
    """More comes than the page can take at a time, or less than it asked for."""

    @pytest.fixture
    def back(self, visit: Visit, daemon: Daemon, room: str) -> Person:
        """One who looks back where messages are long: an answer holds thirty."""
        ann = come_in(visit, daemon, room)
        ann.page.route(PAGES, shortened)
        go_up(ann, lambda: is_there(ann, 600))
        return ann

    def test_what_one_said_is_passed_by_with_the_rest(
        self, visit: Visit, daemon: Daemon, room: str
    ) -> None:
        ann = come_in(visit, daemon, room)
        held = Held(ann, OLDER)
        go_up(ann, lambda: held.asked)
        ann.say("mine")
        expect(ann.log.locator(".fate").last).to_have_text("Sent")
        publish(daemon, room, 400, first=1000)
        visit(f"/?room={room}&user=bob")
        # he came after all that was said
        expect(ann.page.locator("#members")).to_contain_text("bob")
        held.end()
        expect(ann.messages.last).to_have_text("1399")
        expect(ann.messages).to_have_text([f"{number}" for number in range(1100, 1400)])

    def test_one_who_scrolls_down_meets_them_all(
        self, back: Person, daemon: Daemon, room: str
    ) -> None:
        publish(daemon, room, 3, first=1000)
        for _ in range(1500):
            reached = back.messages.last.text_content() == "1002"
            back.log.evaluate("log => { log.scrollTop = log.scrollHeight; }")
            if reached:
                break
            back.page.wait_for_timeout(20)
        expect(back.messages).to_have_text([f"{number}" for number in range(703, 1003)])
        publish(daemon, room, 1, first=1003)
        expect(back.messages.last).to_have_text("1003")
        down(back)

    def test_what_is_fetched_before_it_comes_in_is_there_once(
        self, visit: Visit, daemon: Daemon, room: str
    ) -> None:
        """The connection is slower than a request, or was away."""
        publish(daemon, room, 400)
        ann = visit("/healthz", fresh=True)
        late = Late(ann.page)
        ann.page.goto(daemon.url(f"/?room={room}&user=ann"))
        expect(ann.messages.last).to_have_text("399")
        look_back(ann, 50)
        late.hold()
        publish(daemon, room, 3, first=400)
        for _ in range(1500):
            ann.log.evaluate("log => { log.scrollTop = log.scrollHeight; }")
            if ann.page.locator("#latest").is_hidden():
                break
            ann.page.wait_for_timeout(20)
        late.end()
        publish(daemon, room, 1, first=403)
        expect(ann.messages.last).to_have_text("403")
        expect(ann.messages).to_have_text([f"{number}" for number in range(104, 404)])

    def test_what_is_no_longer_kept_is_told(self, back: Person, daemon: Daemon, room: str) -> None:
        """All that follows on what is shown was removed meanwhile."""
        publish(daemon, room, 3, first=1000)
        back.page.route(PAGES, removed)
        back.log.evaluate("log => { log.scrollTop = log.scrollHeight; }")
        expect(back.page.locator("#latest")).to_be_hidden()
        publish(daemon, room, 1, first=1003)
        expect(back.messages.last).to_have_text("1003")
        expect(back.log.locator(".rule").last).to_have_text("Some earlier ones are no longer kept")

    def test_a_node_that_is_behind_has_no_last_word(
        self, visit: Visit, daemon: Daemon, room: str
    ) -> None:
        """Nothing follows there yet on what is shown, though more has come in by another node."""
        ann = come_in(visit, daemon, room, clock=True)
        look_back(ann, 600)
        publish(daemon, room, 3, first=1000)
        ann.page.route(PAGES, behind)
        failed = ann.log.get_by_text("More cannot be fetched right now.")
        for _ in range(1500):
            if failed.is_visible():
                break
            ann.log.evaluate("log => { log.scrollTop = log.scrollHeight; }")
            ann.page.wait_for_timeout(20)
        ann.page.unroute(PAGES)
        ann.page.clock.run_for(6000)
        for _ in range(1500):
            if ann.messages.last.text_content() == "1002":
                break
            ann.log.evaluate("log => { log.scrollTop = log.scrollHeight; }")
            ann.page.wait_for_timeout(20)
        expect(ann.messages).to_have_text([f"{number}" for number in range(703, 1003)])

    def test_the_latest_are_the_latest(self, back: Person, daemon: Daemon, room: str) -> None:
        publish(daemon, room, 3, first=1000)
        latest(back)
        expect(back.messages.last).to_have_text("1002")
        down(back)


def shortened(route: Route) -> None:
    """Answered as where messages are long: with the first thirty of what was asked for; of what is
    read backwards, with the last."""
    answer = route.fetch()
    page = answer.json()
    backwards = OLDER.search(route.request.url)
    page["messages"] = page["messages"][-30:] if backwards else page["messages"][:30]
    page["cursor"] = (
        page["messages"][0 if backwards else -1]["cursor"] if page["messages"] else page["cursor"]
    )
    route.fulfill(response=answer, json=page)


def removed(route: Route) -> None:
    """Answered as where retention has removed all that was asked for."""
    answer = route.fetch()
    route.fulfill(response=answer, json={**answer.json(), "messages": [], "gap": True})


def behind(route: Route) -> None:
    """Answered by a node that has nothing more."""
    answer = route.fetch()
    route.fulfill(response=answer, json={**answer.json(), "messages": []})


class TestOlder:
    """A fetch that fails is made again, without anything being done."""

    @pytest.mark.parametrize("back", ["in a while", "online"])
    def test_that_could_not_be_fetched(
        self, visit: Visit, daemon: Daemon, room: str, relay: Relay, back: str
    ) -> None:
        ann = come_in(visit, daemon, room, at=("127.0.0.1", relay.port), clock=True)
        look_back(ann, 850)
        ann.page.route(OLDER, lambda route: route.abort())
        failed = ann.log.get_by_text("More cannot be fetched right now.")
        go_up(ann, failed.is_visible)
        if back == "online":
            relay.cut()
            ann.state("Offline")
        ann.page.unroute(OLDER)
        if back == "online":
            relay.mend()
            ann.reconnect()
        else:
            ann.page.clock.run_for(6000)
        ann.page.wait_for_function(
            "() => Number(document.querySelector('#log .text').textContent) <= 750"
        )
        expect(ann.log).not_to_contain_text("More cannot be fetched right now.")

    def test_of_a_room_that_was_left(self, visit: Visit, daemon: Daemon, room: str) -> None:
        ann = come_in(visit, daemon, room, clock=True)
        look_back(ann, 850)
        held: list[Route] = []
        ann.page.route(OLDER, lambda route: held.append(route))
        go_up(ann, lambda: bool(held))
        ann.page.get_by_role("button", name="Leave").click()
        expect(ann.page.locator("body")).to_have_class("outside")
        asked = len(held)
        for route in held:
            route.abort()
        for _ in range(3):
            ann.page.clock.run_for(6000)
        assert len(held) == asked
