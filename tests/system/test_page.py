"""The chat page as people meet it: coming in, being refused, writing, waiting."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.support.browser import LAX, NO_WEBSOCKET, PHONE, Person, Visit
from tests.support.daemon import Daemon
from tests.support.proxy import Relay
from tests.support.tokens import Issuer

pytestmark = pytest.mark.browser

#: Scripts that take from a page what it could store things in.
FORBIDDEN = """for (const kind of ['localStorage', 'sessionStorage']) {
  const get = () => { throw new DOMException('', 'SecurityError'); };
  Object.defineProperty(globalThis, kind, { get });
}"""
#: As where the browser's file of it is damaged.
BROKEN = """for (const name of ['getItem', 'setItem', 'removeItem']) {
  Storage.prototype[name] = () => { throw new DOMException('', 'UnknownError'); };
}"""
FULL = "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); };"


@pytest.fixture(scope="module")
def own() -> Iterator[Daemon]:
    """A server with rooms of its own, which takes short texts."""
    with Daemon("--room", "kitchen", "--room", "garden", "--max-text", "1KB") as daemon:
        yield daemon


def away(socket: WebSocketRoute) -> None:
    """A chatd whose broker is away."""
    refusal = {"type": "error", "code": "unavailable", "text": "It is away."}

    def answer(frame: str | bytes) -> None:
        socket.send(json.dumps({**refusal, "room": json.loads(frame)["room"]}))

    socket.on_message(answer)
    socket.send(json.dumps({"type": "welcome", "user": "ann"}))


class TestComingIn:
    """What the form offers, and what a refusal leaves as it was."""

    def test_the_form_offers_a_room_that_there_is(self, visit: Visit, own: Daemon) -> None:
        ann = visit(at=own.http)
        expect(ann.page.get_by_label("Room")).to_have_value("kitchen")
        ann.page.get_by_label("Your name").fill("ann")
        ann.page.get_by_role("button", name="Join").click()
        ann.state("Online")
        expect(ann.page.get_by_role("heading", level=1)).to_have_text("kitchen")

    def test_an_empty_room_has_a_title(self, visit: Visit, room: str) -> None:
        ann = visit()
        assert ann.page.title() == "chatd"
        ann.join("ann", room)
        expect(ann.page).to_have_title(f"{room} · chatd")
        expect(ann.log).to_have_text("Nothing has been said here yet.")
        ann.page.get_by_role("button", name="Leave").click()
        expect(ann.page).to_have_title("chatd")
        ann.page.reload()
        expect(ann.page.get_by_label("Room")).to_be_visible()

    @pytest.mark.parametrize("field", ["Your name", "Room"])
    def test_spaces_are_no_name(self, visit: Visit, room: str, field: str) -> None:
        ann = visit()
        ann.page.get_by_label("Your name").fill("ann")
        ann.page.get_by_label("Room").fill(room)
        ann.page.get_by_label(field).fill("  ")
        ann.page.get_by_role("button", name="Join").click()
        assert ann.page.get_by_label(field).evaluate("input => input.validity.valueMissing")
        expect(ann.page.get_by_label(field)).to_be_focused()
        ann.page.get_by_label(field).fill(f" {room} ")
        ann.page.get_by_role("button", name="Join").click()
        ann.state("Online")

    def test_a_name_is_taken_or_refused_whole(self, visit: Visit, room: str) -> None:
        """Cut where it seems too long to the browser, which counts halves of pairs and marks, one
        would be somebody else."""
        ann = visit()
        longest, too_long = "🦊" * 50, "a" * 65
        for name in (too_long, longest):
            ann.page.get_by_label("Your name").fill("")
            ann.page.keyboard.insert_text(name)
            ann.page.get_by_label("Room").fill(room)
            ann.page.get_by_role("button", name="Join").click()
            if name is too_long:
                words = "The user name is longer than 64 characters."
                expect(ann.page.get_by_role("alert")).to_have_text(words)
        ann.state("Online")
        expect(ann.page.locator("#members .name")).to_have_text([longest])

    def test_a_room_that_is_refused_leaves_one_where_one_is(self, visit: Visit, room: str) -> None:
        ann, bob = visit(), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        ann.say("before")
        ann.page.get_by_label("Message").fill("half a sent")
        ann.page.get_by_label("Room").fill("nowhere")
        ann.page.get_by_role("button", name="Join").click()
        expect(ann.page.get_by_role("alert")).to_contain_text("nowhere")
        expect(ann.page.get_by_role("heading", level=1)).to_have_text(room)
        expect(ann.page.get_by_label("Message")).to_have_value("half a sent")
        assert ann.page.evaluate("new URLSearchParams(location.search).get('room')") == room
        ann.say("after")
        for person in (ann, bob):
            person.sees("before", "after")
        expect(bob.page.locator("#members .name")).to_have_text(["ann", "bob"])

    def test_going_to_another_room(self, visit: Visit, rooms: Iterator[str], room: str) -> None:
        ann = visit()
        ann.join("ann", room)
        ann.say("here")
        ann.sees("here")
        other = next(rooms)
        ann.page.get_by_label("Room").fill(other)
        ann.page.get_by_role("button", name="Join").click()
        expect(ann.page.get_by_role("heading", level=1)).to_have_text(other)
        ann.sees()
        ann.say("there")
        ann.sees("there")
        bob = visit(f"/?room={room}&user=bob")
        bob.sees("here")
        expect(bob.page.locator("#members .name")).to_have_text(["bob"])

    def test_under_a_path_of_another_site(self, visit: Visit, daemon: Daemon, room: str) -> None:
        ann = visit(script=NO_WEBSOCKET, fresh=True)
        asked: list[str] = []
        ann.page.on("request", lambda request: asked.append(request.url))
        below = re.compile("/chat/")
        ann.page.route(
            below, lambda route: route.continue_(url=below.sub("/", route.request.url, count=1))
        )
        ann.page.goto(daemon.url(f"/chat/?room={room}&user=ann"))
        ann.transport("sse")
        ann.say("here")
        ann.sees("here")
        expect(ann.log.locator(".fate")).to_have_text(["Sent"])
        assert [url for url in asked if not url.startswith((daemon.url("/chat/"), "data:"))] == []

    def test_whoever_writes_on_is_not_interrupted(
        self, visit: Visit, rooms: Iterator[str], room: str, relay: Relay
    ) -> None:
        ann = visit(at=("127.0.0.1", relay.port))
        ann.join("ann", room)
        relay.hold(True)
        field, there = ann.page.get_by_label("Room"), next(rooms)
        field.fill(there)
        field.press("Enter")
        field.press("x")
        relay.mend()
        expect(ann.page.locator("#title")).to_have_text(there)
        expect(field).to_be_focused()
        field.fill(room)
        field.press("Enter")
        expect(ann.page.locator("#title")).to_have_text(room)
        expect(ann.page.get_by_label("Message")).to_be_focused()

    def test_whoever_cannot_be_let_in_yet_is_told_to_wait(self, visit: Visit, room: str) -> None:
        ann = visit(fresh=True)
        ann.page.route_web_socket(re.compile("/ws"), away)
        ann.page.reload()
        ann.page.get_by_label("Your name").fill("ann")
        ann.page.get_by_label("Room").fill(room)
        ann.page.get_by_role("button", name="Join").click()
        expect(ann.page.get_by_text("Waiting to be let in…")).to_be_visible()

    def test_whoever_is_answered_not_now_is_told_so(self, visit: Visit, room: str) -> None:
        ann = visit(script=NO_WEBSOCKET, fresh=True)
        body = {"type": "error", "code": "unavailable", "text": "This node goes down."}
        ann.page.route(
            re.compile("/rooms/"),
            lambda route: route.fulfill(status=503, headers={"Retry-After": "50"}, json=body),
        )
        ann.page.get_by_label("Your name").fill("ann")
        ann.page.get_by_label("Room").fill(room)
        ann.page.get_by_role("button", name="Join").click()
        waiting = ann.page.locator("#waiting")
        expect(waiting).to_contain_text("The server says: This node goes down – next try in 5")

    def test_whoever_waits_to_be_let_in_sees_time_pass(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann = visit(at=("127.0.0.1", relay.port), clock=True)
        relay.cut()
        ann.page.get_by_label("Your name").fill("ann")
        ann.page.get_by_label("Room").fill(room)
        ann.page.get_by_role("button", name="Join").click()
        _watch_countdown(ann, "#waiting")
        relay.mend()
        ann.state("Online")


class TestTokens:
    """A server that asks for tokens, in the words of people."""

    def test_without_a_token(self, visit: Visit, guarded: Daemon, issuer: Issuer) -> None:
        ann = visit("/?room=lobby&user=ann", at=guarded.http)
        field = ann.page.get_by_label("Access token")
        expect(field).to_be_focused()
        expect(ann.page.get_by_role("alert")).to_contain_text("Open the link you were given")
        expect(field).not_to_have_attribute("aria-invalid", "true")
        expect(ann.page.get_by_label("Your name")).to_be_hidden()
        field.fill("nonsense")
        ann.page.get_by_role("button", name="Join").click()
        alert = ann.page.get_by_role("alert")
        expect(alert).to_contain_text("Your token has expired, or is not accepted")
        assert "Bearer" not in alert.inner_text()
        expect(field).to_have_attribute("aria-invalid", "true")
        field.fill(issuer.token("ann", time.time() + 600))
        ann.page.get_by_role("button", name="Join").click()
        ann.state("Online")
        ann.page.reload()
        ann.state("Online")

    def test_the_room_offered_is_the_tokens(
        self, visit: Visit, guarded: Daemon, issuer: Issuer
    ) -> None:
        token = issuer.token("ann", time.time() + 600, rooms=["team-*", "küche"])
        ann = visit(f"/#token={token}", at=guarded.http)
        expect(ann.page.get_by_label("Room")).to_have_value("küche")

    def test_a_token_that_expires(self, visit: Visit, guarded: Daemon, issuer: Issuer) -> None:
        token = issuer.token("ann", time.time() + 10)
        ann = visit(f"/?room=lobby#token={token}", at=guarded.http, **PHONE)
        ann.state("Online")
        ann.say("said")
        ann.sees("said")
        ann.state("Signed out")
        notice = ann.page.locator("#notice")
        expect(notice).to_contain_text("Your token has expired")
        expect(notice).to_be_in_viewport()
        # It is of no use to try again and again.
        tries = len(ann.sockets)
        ann.say("kept in hand")
        ann.page.wait_for_timeout(1500)
        assert len(ann.sockets) == tries
        ann.sees("said")
        expect(ann.page.get_by_label("Message")).to_have_value("kept in hand")
        notice.get_by_role("button", name="Enter a token").tap()
        expect(ann.page.get_by_label("Access token")).to_be_focused()
        ann.page.keyboard.press("Escape")
        fresh = issuer.token("ann", time.time() + 600)
        ann.page.evaluate("token => { location.hash = `token=${token}`; }", fresh)
        ann.state("Online")
        expect(notice).to_be_hidden()
        ann.page.get_by_role("button", name="Send").tap()
        ann.sees("said", "kept in hand")


class TestWriting:
    """Enter, input methods, and texts that are too long."""

    def test_enter_makes_a_line_on_a_phone(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann", **PHONE)
        ann.state("Online")
        box = ann.page.get_by_label("Message")
        expect(box).to_have_attribute("enterkeyhint", "enter")
        box.press_sequentially("one")
        box.press("Enter")
        box.press_sequentially("two")
        expect(box).to_have_value("one\ntwo")
        ann.page.get_by_role("button", name="Send").tap()
        expect(ann.messages).to_have_text(["one two"])
        assert ann.messages.inner_text() == "one\ntwo"

    @pytest.mark.parametrize("event", ["{ keyCode: 229 }", "{ isComposing: true }"])
    def test_an_input_method_takes_enter_for_itself(
        self, visit: Visit, room: str, event: str
    ) -> None:
        """Safari has ended the composition when it tells of the Enter that ended it."""
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        box = ann.page.get_by_label("Message")
        box.fill("にほ")
        press = (
            "(box) => box.dispatchEvent(new KeyboardEvent('keydown',"
            f" {{ key: 'Enter', bubbles: true, cancelable: true, ...{event} }}))"
        )
        assert box.evaluate(press) is True, "the page must leave this key alone"
        expect(box).to_have_value("にほ")
        box.press("Enter")
        ann.sees("にほ")

    def test_what_was_begun_is_there_again(
        self, visit: Visit, rooms: Iterator[str], room: str
    ) -> None:
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        text = ann.page.get_by_label("Message")
        text.fill("half a thought")
        ann.page.reload()
        expect(text).to_have_value("half a thought")
        ann.page.get_by_label("Room").fill(next(rooms))
        ann.page.get_by_role("button", name="Join").click()
        expect(text).to_have_value("")
        text.fill("another")
        ann.page.get_by_label("Room").fill(room)
        ann.page.get_by_role("button", name="Join").click()
        expect(text).to_have_value("half a thought")
        text.press("Enter")
        ann.sees("half a thought")
        ann.page.reload()
        ann.sees("half a thought")
        expect(text).to_have_value("")

    @pytest.mark.parametrize(
        "script", [FORBIDDEN, FULL, BROKEN], ids=["forbidden", "full", "broken"]
    )
    def test_what_cannot_be_stored_lasts_as_long_as_the_page(
        self, visit: Visit, rooms: Iterator[str], room: str, script: str
    ) -> None:
        ann = visit(f"/?room={room}&user=ann", script=script, fresh=True)
        ann.state("Online")
        ann.say("mine")
        text = ann.page.get_by_label("Message")
        text.fill("half a thought")
        for place in (next(rooms), room):
            ann.page.get_by_label("Room").fill(place)
            ann.page.get_by_role("button", name="Join").click()
            expect(ann.page.locator("#title")).to_have_text(place)
        ann.sees("mine")
        expect(ann.log.locator(".mine")).to_have_count(1)
        expect(text).to_have_value("half a thought")

    def test_too_long_is_told_before_it_is_sent(self, visit: Visit, own: Daemon) -> None:
        ann = visit("/?room=garden&user=ann", at=own.http)
        ann.state("Online")
        box, size = ann.page.get_by_label("Message"), ann.page.locator("#size")
        for text, words in (
            ("x" * 500, ""),
            ("x" * 1000, "24 characters left"),
            ("x" * 1025, "1 character too long – shorten it to send it"),
            ("😀" * 260, "4 characters too long – shorten it to send it"),
        ):
            box.fill(text)
            expect(size).to_have_text(words)
        expect(box).to_have_attribute("aria-invalid", "true")
        expect(box).to_have_accessible_description(re.compile("4 characters too long"))
        box.press("Enter")
        ann.page.get_by_role("button", name="Send").click()
        expect(box).to_have_value("😀" * 260)
        expect(ann.messages).to_have_count(0)
        box.fill("😀" * 256)
        expect(box).not_to_have_attribute("aria-invalid", "true")
        box.press("Enter")
        ann.sees("😀" * 256)

    def test_what_was_refused_can_be_changed(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann", script=LAX)
        ann.state("Online")
        ann.say("y" * 17_000)
        ann.page.get_by_label("Message").fill("being written")
        ann.log.get_by_role("button", name="Edit").click()
        expect(ann.page.get_by_label("Message")).to_have_value("y" * 17_000 + "\nbeing written")
        expect(ann.messages).to_have_count(0)


class TestConnection:
    """An outage, for who looks."""

    def test_the_countdown_counts_and_one_need_not_wait(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann = visit(f"/?room={room}&user=ann", at=("127.0.0.1", relay.port), clock=True)
        ann.state("Online")
        retry = ann.page.get_by_role("button", name="Try now")
        expect(retry).to_be_hidden()
        relay.cut()
        ann.state("Offline")
        ann.say("meanwhile")
        expect(ann.log.locator(".fate")).to_have_text(["Waits for the connection"])
        seconds = _watch_countdown(ann, "#state")
        relay.mend()
        ann.page.wait_for_function(
            "() => /[3-9]|\\d\\d/.test(document.querySelector('#state').textContent)"
            " || document.querySelector('#state').dataset.state === 'online'"
        )
        if retry.is_visible():
            retry.click()
        ann.state("Online")
        expect(ann.log.locator(".fate")).to_have_text(["Sent"])
        assert seconds


def _watch_countdown(person: Person, place: str) -> list[int]:
    """The seconds that ``place`` counts down while one looks, one after another; the page's
    clock goes fast meanwhile."""
    person.page.evaluate(
        """place => {
          globalThis.seen = [];
          globalThis.looking = setInterval(() => {
            const words = document.querySelector(place).textContent;
            const [, seconds] = /next try in (\\d+) s/.exec(words) ?? [];
            if (seconds === undefined || Number(seconds) > seen.at(-1)) seen = [];
            if (seconds && seen.at(-1) !== Number(seconds)) seen.push(Number(seconds));
            if (seen.length === 3) clearInterval(looking);
          }, 50);
        }""",
        place,
    )
    seen: list[int] = []
    while len(seen) < 3:
        person.page.clock.run_for(500)
        seen = person.page.evaluate("seen")
    assert seen == [seen[0], seen[0] - 1, seen[0] - 2]
    return seen
