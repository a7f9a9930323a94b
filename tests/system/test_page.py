"""The chat page as people meet it: coming in, being refused, writing, waiting, telling apart."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import Person
from tests.support.browser_suite import (
    LAX,
    Visit,
    browser,
    daemon,
    relay,
    room,
    rooms,
    visit,
)
from tests.support.daemon import Daemon
from tests.support.proxy import Relay
from tests.support.tokens import Issuer

__all__ = ["browser", "daemon", "relay", "room", "rooms", "visit"]

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def front(daemon: Daemon) -> tuple[str, int]:
    """Browsers come straight to chatd."""
    return daemon.http


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """Who signs tokens."""
    return Issuer(str(tmp_path / "key"))


@pytest.fixture
def guarded(issuer: Issuer) -> Iterator[Daemon]:
    """A server that asks for tokens."""
    with Daemon(*issuer.options, "--room", "kitchen") as daemon:
        yield daemon


class TestComingIn:
    """What the form offers, and what a refusal leaves as it was."""

    def test_the_form_offers_a_room_that_there_is(self, visit: Visit) -> None:
        with Daemon("--room", "kitchen", "--room", "garden") as daemon:
            ann = visit(at=daemon.http)
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

    def test_whoever_waits_to_be_let_in_sees_time_pass(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann = visit(at=("127.0.0.1", relay.port))
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
        ann = visit("/?room=kitchen&user=ann", at=guarded.http)
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
        ann = visit(f"/?room=kitchen#token={token}", at=guarded.http, **PHONE)
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
        ann.page.wait_for_timeout(4000)
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

    def test_too_long_is_told_before_it_is_sent(self, visit: Visit) -> None:
        with Daemon("--max-text", "1KB") as daemon:
            ann = visit("/?room=lobby&user=ann", at=daemon.http)
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
        ann = visit(f"/?room={room}&user=ann", at=("127.0.0.1", relay.port))
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
    """The seconds that ``place`` counts down while one looks, one after another."""
    seen: list[int] = person.page.evaluate(
        """place => new Promise((resolve) => {
          let seen = [];
          const look = setInterval(() => {
            const words = document.querySelector(place).textContent;
            const [, seconds] = /next try in (\\d+) s/.exec(words) ?? [];
            if (seconds === undefined || Number(seconds) > seen.at(-1)) seen = [];
            if (seconds && seen.at(-1) !== Number(seconds)) seen.push(Number(seconds));
            if (seen.length === 3) resolve((clearInterval(look), seen));
          }, 50);
        })""",
        place,
    )
    assert seen == [seen[0], seen[0] - 1, seen[0] - 2]
    return seen


class TestConversation:
    """Times, days, namesakes; and strangers' texts, whatever they consist of."""

    def test_every_group_has_its_time_and_every_message_on_hover(
        self, visit: Visit, room: str
    ) -> None:
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        # Eight hours of one person's messages.
        shown = ann.page.evaluate(
            _TIMELINE
            + """
            const { timeline, message } = await begin();
            const ms = 8 * 3600_000 / 116;
            timeline.append(Array.from({ length: 116 }, (_, i) => message(i, i * ms)));
            document.querySelector('[role=log]').replaceChildren(timeline.element);
            return [...timeline.element.querySelectorAll('time')]
              .filter((time) => getComputedStyle(time).opacity === '1')
              .map((time) => Date.parse(time.dateTime));
            }"""
        )
        assert max(later - sooner for sooner, later in pairwise(shown)) <= 600_000
        assert len(shown) >= 50
        together = ann.log.locator(".message.together").first
        expect(together.locator("time")).to_have_css("opacity", "0")
        together.hover()
        expect(together.locator("time")).to_have_css("opacity", "1")

    def test_groups_are_the_same_however_one_came_to_see_them(
        self, visit: Visit, room: str
    ) -> None:
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        differ = ann.page.evaluate(
            _TIMELINE
            + """
            const shape = ({ element }) => [...element.children].map((one) => one.className).join();
            const whole = await begin();
            const all = Array.from({ length: 120 }, (_, i) =>
              whole.message(i, i * 70_000 + (i % 7) * 9000, i % 40 > 30 ? 'bob' : 'cid'));
            whole.timeline.append(all);
            const differ = [];
            for (let cut = 1; cut < all.length; cut += 1) {
              const { timeline } = await begin();
              timeline.append(all.slice(cut));
              timeline.prepend(all.slice(Math.floor(cut / 2), cut));
              timeline.prepend(all.slice(0, Math.floor(cut / 2)));
              if (shape(timeline) !== shape(whole.timeline)) differ.push(cut);
            }
            return differ;
            }"""
        )
        assert differ == []

    def test_days_have_their_year_where_it_is_another(self, visit: Visit) -> None:
        ann = visit(locale="en-GB")
        names = ann.page.evaluate(
            """async () => {
              const { dayName } = await import('/page/times.js');
              const now = new Date(2026, 0, 3, 12);
              return [[2026, 0, 3], [2026, 0, 2], [2026, 0, 1], [2025, 11, 31]].map(
                ([year, month, day]) => dayName(new Date(year, month, day, 9), now));
            }"""
        )
        assert names == ["Today", "Yesterday", "Thursday 1 January", "Wednesday, 31 December 2025"]

    def test_two_people_of_one_name_are_told_apart(self, visit: Visit, room: str) -> None:
        first, other, bob = visit(), visit(), visit()
        first.join("ann", room)
        first.say("I am ann")
        first.sees("I am ann")
        expect(first.log.locator(".label")).to_have_count(0)
        bob.join("bob", room)
        other.join("ann", room)
        expect(other.page.locator("#notice")).to_contain_text("Someone called ann was here already")
        other.say("So am I")
        for person, ours in ((first, ["I am ann"]), (other, ["So am I"]), (bob, [])):
            person.sees("I am ann", "So am I")
            expect(person.log.locator(".mine .text")).to_have_text(ours)
        labels = bob.log.locator(".label")
        expect(labels).to_have_count(2)
        assert labels.nth(0).inner_text() != labels.nth(1).inner_text()
        other.page.get_by_role("button", name="Change name").click()
        expect(other.page.get_by_label("Your name")).to_be_focused()
        other.page.get_by_label("Your name").fill("anna")
        other.page.get_by_role("button", name="Join").click()
        expect(other.page.locator("#members .name")).to_have_text(["ann", "anna", "bob"])
        expect(other.page.locator("#notice")).to_be_hidden()

    def test_a_reload_is_no_namesake(self, visit: Visit, room: str) -> None:
        ann = visit()
        ann.join("ann", room)
        ann.say("mine")
        ann.sees("mine")
        ann.page.reload()
        ann.state("Online")
        expect(ann.log.locator(".mine .text")).to_have_text(["mine"])
        expect(ann.page.locator("#notice")).to_be_hidden()

    @pytest.mark.parametrize("size", [(1280, 800), (1280, 500), (390, 844)])
    def test_three_hundred_people_leave_the_form_in_sight(
        self, visit: Visit, room: str, size: tuple[int, int]
    ) -> None:
        ann = visit(viewport={"width": size[0], "height": size[1]})
        ann.join("ann", room)
        ann.page.evaluate(
            """async () => {
              const { People } = await import('/page/people.js');
              const names = Array.from({ length: 300 }, (_, i) => `person-${i}`);
              new People().show(names, 300, 'ann');
            }"""
        )
        if size[0] < 500:
            ann.page.get_by_role("button", name="300 here").click()
        expect(ann.page.locator("#members li")).to_have_count(300)
        for label in ("Your name", "Room"):
            expect(ann.page.get_by_label(label)).to_be_in_viewport(ratio=1)
        expect(ann.page.get_by_role("button", name="Join")).to_be_in_viewport(ratio=1)

    def test_strangers_texts_cost_what_they_are_long(self, visit: Visit) -> None:
        """Each shape at a length where anything worse than linear would take hours."""
        ann = visit()
        texts = [f"https://example.org/{c * 500_000}" for c in '.)]}([{!,;:?…"'] + [
            "http://" * 100_000,
            "https://a.b " * 60_000,
            "h" * 500_000,
            "http" * 200_000,
            "https://x/" + "(" * 250_000 + ")" * 250_000,
            "https://x/" + ".)" * 250_000,
            "\n" * 500_000,
            "e" + "\u0301" * 500_000,
            "\u202e" * 500_000,
        ]
        counts = ann.page.evaluate(
            """async (texts) => {
              const { draw } = await import('/page/message.js');
              return texts.map((text) => draw({ id: 'x', user: 'bob', text,
                time: '2026-01-01T00:00:00.000Z' }, false, '').querySelectorAll('a').length);
            }""",
            texts,
        )
        assert max(counts) <= 50

    def test_readers_are_not_frozen_by_links_with_dots(
        self, visit: Visit, daemon: Daemon, room: str
    ) -> None:
        ann, bob = visit(), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        for _ in range(50):
            bob.page.evaluate(_PUBLISH, [room, "http://x/" + "." * 16_000])
        expect(ann.messages).to_have_count(50)
        ann.say("still there")
        bob.sees(*["http://x/" + "." * 16_000] * 50, "still there")

    def test_a_long_text_is_folded(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        ann.say("\n".join(f"line {number}" for number in range(200)))
        box = ann.log.locator(".bubble").bounding_box()
        assert box is not None
        assert box["height"] < 500
        ann.log.get_by_role("button", name="Show all").click()
        box = ann.log.locator(".bubble").bounding_box()
        assert box is not None
        assert box["height"] > 2000

    def test_five_thousand_messages_live(self, visit: Visit, daemon: Daemon, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        ann.page.evaluate(_FLOOD, [room, 5000])
        expect(ann.messages.last).to_have_text("4999")
        assert ann.messages.count() <= 300
        assert ann.page.evaluate("document.querySelectorAll('*').length") < 4000
        assert ann.log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 50


#: Begins a function that makes a timeline of its own, and messages for it.
_TIMELINE = """async () => {
  const { Timeline } = await import('/page/timeline.js');
  const { Authors } = await import('/page/authors.js');
  const begin = async () => ({
    timeline: new Timeline(new Authors('ann', true)),
    message: (number, ms, user = 'bob') => ({ type: 'message', room: 'x', cursor: `x:${number}`,
      id: `${number}`, user, text: `${number}`,
      time: new Date(Date.UTC(2026, 0, 5, 8) + ms).toISOString() }),
  });
"""

_PUBLISH = """([room, text]) => fetch(`/rooms/${room}/messages?username=bob`, { method: 'POST',
  headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ text }) })"""

#: Publishes numbers as fast as the server takes them.
_FLOOD = """([room, count]) => new Promise((resolve) => {
  const socket = new WebSocket(`ws://${location.host}/ws?username=bot`, 'chatd.v1');
  let acks = 0;
  socket.onmessage = ({ data }) => {
    const { type } = JSON.parse(data);
    if (type === 'welcome') {
      for (let i = 0; i < count; i += 1) {
        socket.send(JSON.stringify({ type: 'message', room, text: `${i}` }));
      }
    }
    if (type === 'ack' && (acks += 1) === count) resolve(socket.close());
  };
})"""
