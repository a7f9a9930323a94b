"""The chat page for those who do not see it, or not well: by axe's rules, and beyond them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.axe import check_themes, devices
from tests.support.browser import LAX, PEOPLE, PHONE, Person, Visit
from tests.support.daemon import Daemon
from tests.support.proxy import Relay
from tests.support.tokens import Issuer

pytestmark = pytest.mark.browser

#: Notes every text that enters a live region, as a screen reader would be told it (ARIA 1.2, 6.3.4:
#: regions are live by `aria-live`, or by their role).
LISTEN = """() => {
  globalThis.spoken = [];
  const live = '[aria-live="polite"], [aria-live="assertive"],'
    + ':is([role=log], [role=status], [role=alert]):not([aria-live="off"])';
  new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) {
      const region = (target.closest ? target : target.parentElement)?.closest(live);
      const words = [...addedNodes].map((node) => node.textContent).join(' ').trim();
      if (region && words) spoken.push(words);
    }
  }).observe(document, { subtree: true, childList: true, characterData: true });
}"""


def check(page: Page) -> None:
    """No rule of axe's is broken; there is one main part, and one heading of the first level."""
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    check_themes(page)


class TestRules:
    """Every state, on a desk and in the hand."""

    def test_outside(self, visit: Visit) -> None:
        ann = visit()
        for _ in devices(ann.page):
            check(ann.page)
        ann.page.get_by_label("Your name").fill("ann")
        ann.page.get_by_label("Room").fill("nowhere")
        ann.page.get_by_role("button", name="Join").click()
        expect(ann.page.get_by_role("alert")).to_contain_text("nowhere")
        for _ in devices(ann.page):
            check(ann.page)

    def test_waiting_to_be_let_in(self, visit: Visit, room: str, relay: Relay) -> None:
        ann = visit(at=("127.0.0.1", relay.port))
        relay.cut()
        ann.page.get_by_label("Your name").fill("ann")
        ann.page.get_by_label("Room").fill(room)
        ann.page.get_by_role("button", name="Join").click()
        expect(ann.page.locator("#waiting")).to_contain_text("cannot be reached")
        for _ in devices(ann.page):
            check(ann.page)

    def test_talking(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann", script=LAX)
        ann.state("Online")
        for _ in devices(ann.page):
            check(ann.page)
        bob = visit(f"/?room={room}&user=bob")
        bob.state("Online")
        for text in ("One", "Two https://example.org/", "Long " * 600, "مرحبا", "👩‍👩‍👧"):
            bob.say(text)
        for text in ("Three", "Four", "x" * 17_000):
            ann.say(text)
        expect(ann.log.locator(".failed")).to_be_visible()
        expect(ann.messages).to_have_count(8)
        bob.page.get_by_label("Message").evaluate(TYPE_ON)
        expect(ann.page.locator("#typing")).to_contain_text("bob")
        ann.page.get_by_label("Message").fill("x" * 20_001)
        expect(ann.page.get_by_label("Message")).to_have_attribute("aria-invalid", "true")
        ann.log.evaluate("log => { log.scrollTop = 0; }")
        bob.say("News")
        expect(ann.page.get_by_role("button", name="1 new")).to_be_visible()
        for _ in devices(ann.page):
            check(ann.page)
            ann.log.locator(".message").nth(1).hover()
            check(ann.page)

    def test_namesakes(self, visit: Visit, room: str) -> None:
        first = visit(f"/?room={room}&user=ann")
        first.state("Online")
        first.say("I was first")
        ann = visit()
        ann.join("ann", room)
        expect(ann.page.locator("#notice")).to_be_visible()
        expect(ann.log.locator(".label")).to_have_count(1)
        for _ in devices(ann.page):
            check(ann.page)

    def test_offline(self, visit: Visit, room: str, relay: Relay) -> None:
        ann = visit(f"/?room={room}&user=ann", at=("127.0.0.1", relay.port))
        ann.state("Online")
        relay.cut()
        ann.state("Offline")
        ann.say("kept")
        expect(ann.log.locator(".fate")).to_have_text(["Waits for the connection"])
        for _ in devices(ann.page):
            ann.state("next try in")
            check(ann.page)

    def test_many_people(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        expect(ann.page.locator("#members li")).to_have_count(1)  # what is to come has come
        ann.page.evaluate(PEOPLE)
        for device in devices(ann.page):
            if device == "phone":
                ann.page.locator("#drawer").click()
                expect(ann.page.get_by_role("dialog")).to_be_visible()
                ann.page.wait_for_function("() => document.getAnimations().length === 0")
            check_themes(ann.page)

    def test_with_tokens(self, visit: Visit, guarded: Daemon, issuer: Issuer) -> None:
        """Without one, and when one has expired."""
        stranger = visit("/?room=lobby", at=guarded.http)
        expect(stranger.page.get_by_label("Access token")).to_be_visible()
        for _ in devices(stranger.page):
            check(stranger.page)
        token = issuer.token("ann", time.time() + 10)
        ann = visit(f"/?room=lobby#token={token}", at=guarded.http)
        ann.state("Online")
        ann.state("Signed out")
        expect(ann.page.locator("#notice")).to_contain_text("expired")
        for _ in devices(ann.page):
            check(ann.page)


#: Keeps on typing, however slow the machine.
TYPE_ON = """(box) => {
  box.value = 'Hm';
  setInterval(() => box.dispatchEvent(new InputEvent('input', { bubbles: true })), 500);
}"""


class TestSpoken:
    """What a screen reader says by itself: everything that matters, once."""

    def test_messages(self, visit: Visit, room: str) -> None:
        ann, bob = visit(clock=True), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        # what is said at first is what was said before
        ann.page.clock.run_for(2000)
        ann.page.evaluate(LISTEN)
        ann.say("Mine")
        ann.sees("Mine")
        expect(ann.log.locator(".fate")).to_have_text(["Sent"])
        bob.say("Theirs")
        expect(ann.page.locator("#spoken")).to_contain_text("bob: Theirs")
        assert ann.page.evaluate("spoken") == ["bob: Theirs"]

    def test_a_message_of_ours_is_one_element_from_the_moment_it_is_written(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann = visit(f"/?room={room}&user=ann", at=("127.0.0.1", relay.port))
        ann.state("Online")
        ann.page.evaluate(
            """() => {
              globalThis.added = [];
              new MutationObserver((changes) => {
                for (const { addedNodes } of changes) {
                  for (const node of addedNodes) added.push(node.className);
                }
              }).observe(document.querySelector('[role=log]'), { subtree: true, childList: true });
            }"""
        )
        ann.say("Mine")
        expect(ann.log.locator(".fate")).to_have_text(["Sent"])
        ann.say("Mine too")
        expect(ann.log.locator(".fate")).to_have_text(["Sent", "Sent"])
        added = [name for name in ann.page.evaluate("added") if name]
        assert added == ["message mine", "message mine together"]

    def test_a_text_that_is_refused(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann", script=LAX, clock=True)
        ann.state("Online")
        ann.page.evaluate(LISTEN)
        ann.say("x" * 17_000)
        expect(ann.log.locator(".failed")).to_have_count(1)
        ann.page.clock.run_for(1000)
        [words] = ann.page.evaluate("spoken")
        assert words.startswith("Not sent: A text is at most")
        ann.say("y" * 17_000)
        ann.say("z" * 17_000)
        expect(ann.log.locator(".failed")).to_have_count(3)
        ann.page.clock.run_for(1000)
        assert ann.page.evaluate("spoken.slice(1)") == ["2 messages were not sent."]

    def test_a_flood_is_only_counted(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        ann.page.evaluate(
            """async () => {
              const { Announcer } = await import('/page/announcer.js');
              const announcer = new Announcer(document.getElementById('spoken'));
              for (let i = 0; i < 200; i += 1) announcer.hear({ user: 'bob', text: `${i}` });
            }"""
        )
        expect(ann.page.locator("#spoken p")).to_have_text(["200 new messages."])

    def _listened_to(self, visit: Visit, room: str, relay: Relay) -> Person:
        """Someone who is online, and whose live regions are listened to."""
        ann = visit(f"/?room={room}&user=ann", at=("127.0.0.1", relay.port), clock=True)
        ann.state("Online")
        ann.page.evaluate(LISTEN)
        return ann

    def test_an_outage_is_told_once_and_its_end(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann = self._listened_to(visit, room, relay)
        relay.cut()
        ann.state("Offline")
        for _ in range(15):
            ann.page.clock.run_for(1000)
        [words] = ann.page.evaluate("spoken")
        assert words.startswith("Offline.")
        relay.mend()
        # no wait for the next try is longer
        ann.page.clock.run_for(30_000)
        ann.state("Online")
        expect(ann.page.locator("#spoken")).to_contain_text("Online again")
        assert ann.page.evaluate("spoken.length") == 2

    def test_why_one_waits_is_told_once_for_each_time_that_one_asks(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann = visit(at=("127.0.0.1", relay.port), clock=True)
        ann.page.evaluate(LISTEN)
        relay.cut()
        ann.page.get_by_label("Your name").fill("ann")
        ann.page.get_by_label("Room").fill(room)
        for times in (1, 2):
            ann.page.get_by_role("button", name="Join").click()
            words = "The server cannot be reached. It is tried again."
            ann.page.wait_for_function("times => spoken.length === times", arg=times)
            for _ in range(15):
                ann.page.clock.run_for(1000)
            assert ann.page.evaluate("spoken") == [words] * times

    def test_a_short_interruption_is_not_worth_a_word(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann = self._listened_to(visit, room, relay)
        ann.page.clock.pause_at(ann.page.evaluate("Date.now()") + 30_000)
        relay.cut()
        ann.state("Offline")
        relay.mend()
        # no first wait is longer
        ann.page.clock.run_for(500)
        ann.state("Online")
        ann.page.clock.run_for(4000)
        assert ann.page.evaluate("spoken") == []

    def test_every_message_has_its_author_and_time(self, visit: Visit, room: str) -> None:
        ann, bob = visit(), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        for text in ("One", "Two", "Three"):
            bob.say(text)
        bob.sees("One", "Two", "Three")
        ann.sees("One", "Two", "Three")
        expect(ann.log.locator(".together")).to_have_count(2)
        for article in ann.log.get_by_role("article").all():
            tree = article.aria_snapshot()
            assert "bob" in tree
            assert "time" in tree


class TestKeyboard:
    """By keys alone: where the focus is, and what a refusal says of a field."""

    def test_the_open_drawer_holds_the_focus(self, visit: Visit, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann", **PHONE)
        ann.state("Online")
        drawer = ann.page.get_by_role("button", name="here")
        drawer.focus()
        ann.page.keyboard.press("Enter")
        expect(ann.page.get_by_role("dialog")).to_be_visible()
        inside = "document.activeElement.closest('#side') !== null"
        seen = set()
        for key in ["Tab"] * 12 + ["Shift+Tab"] * 12:
            assert ann.page.evaluate(inside)
            seen.add(ann.page.evaluate("document.activeElement.id || document.activeElement.type"))
            ann.page.keyboard.press(key)
        assert {"close", "members", "name", "room", "submit", "leave"} <= seen
        expect(ann.page.locator("#conversation")).to_have_attribute("inert", "")
        ann.page.keyboard.press("Escape")
        expect(ann.page.get_by_role("dialog")).to_have_count(0)
        expect(drawer).to_be_focused()

    def test_a_button_that_goes_hands_on_the_focus(
        self, visit: Visit, room: str, relay: Relay
    ) -> None:
        ann = visit(script=LAX, at=("127.0.0.1", relay.port))
        visit(f"/?room={room}&user=ann").state("Online")
        ann.join("ann", room)
        ann.say("x" * 17_000)
        for name in ("Try again", "Discard", "Dismiss"):
            ann.page.get_by_role("button", name=name).press("Enter")
            expect(ann.log).to_be_focused()
        retry = ann.page.get_by_role("button", name="Try now")
        relay.cut()
        ann.state("Offline")
        retry.press("Enter")
        ann.state("Offline")
        expect(retry).to_be_focused()
        relay.mend()
        ann.reconnect()
        expect(ann.log).to_be_focused()

    @pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
    def test_a_refusal_is_about_a_field(self, visit: Visit, room: str, inside: bool) -> None:
        ann = visit()
        if inside:
            ann.join("ann", room)
        field = ann.page.get_by_label("Room")
        ann.page.get_by_label("Your name").fill("ann")
        self._refused(ann.page, field.fill, "nowhere")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description("There is no room called “nowhere” here.")
        expect(field).to_be_focused()
        field.fill(room)
        expect(field).not_to_have_attribute("aria-invalid", "true")
        expect(ann.page.get_by_role("alert")).to_have_count(0)
        name = ann.page.get_by_label("Your name")
        self._refused(ann.page, name.fill, "a\u200bb")
        expect(name).to_have_attribute("aria-invalid", "true")
        expect(name).to_be_focused()

    def _refused(self, page: Page, fill: Callable[[str], None], value: str) -> None:
        fill(value)
        page.get_by_role("button", name="Join").click()
        expect(page.get_by_role("alert")).not_to_be_empty()
