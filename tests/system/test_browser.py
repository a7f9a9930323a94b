"""The chat page in a real Chromium, served by chatd itself."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.support.backlog import publish
from tests.support.browser import LAX, Visit
from tests.support.browser_suite import BrowserSuite
from tests.support.daemon import Daemon
from tests.support.proxy import Relay

pytestmark = pytest.mark.browser

#: Scroll to the end as with a wheel, noting each text when it comes in sight, and the most
#: messages the document held.
SCROLL = """async () => {
  const log = document.querySelector('[role=log]');
  const seen = new Set();
  let [most, still] = [0, 0];
  while (still < 30) {
    const before = `${log.scrollTop} ${log.scrollHeight}`;
    log.scrollTop += %d;
    await new Promise(requestAnimationFrame);
    const texts = [...log.querySelectorAll('.text')];
    most = Math.max(most, texts.length);
    for (const text of texts%s) seen.add(text.textContent);
    still = before === `${log.scrollTop} ${log.scrollHeight}` ? still + 1 : 0;
  }
  return {texts: [...seen], most};
}"""
SCROLL_UP = SCROLL % (-1000, ".reverse()")
SCROLL_DOWN = SCROLL % (1000, "")


class TestDirect(BrowserSuite):
    """What a proxy can spoil, without one."""


class TestNetwork:
    """Connections that are cut, or let through and then say nothing."""

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


class TestPage:
    """What people do, and see."""

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

    def test_unread(self, visit: Visit, daemon: Daemon, room: str) -> None:
        ann, bob = visit(), visit(clock=True)
        ann.join("ann", room)
        bob.join("bob", room)
        # what is said at first is what was said before
        bob.page.clock.run_for(2000)
        # a clock that is set back does not make it so again
        bob.page.clock.set_system_time(0)
        publish(daemon, room, 40)
        expect(bob.messages).to_have_count(40)
        expect(bob.messages.last).to_be_in_viewport()
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

    @pytest.mark.parametrize("width", [360, 1100])
    def test_long_names_and_words_stay_inside(
        self, visit: Visit, daemon: Daemon, width: int
    ) -> None:
        ann = visit(viewport={"width": width, "height": 640})
        ann.join("a" * 64, daemon.create_room("r" * 100))
        ann.say("w" * 500)
        ann.say(f"https://example.org/{'x' * 500}")
        expect(ann.messages.last).to_contain_text("https:")
        sizes = ann.page.evaluate(
            """() => [...document.querySelectorAll('body, main, header, #log, #side, #composer')]
              .map(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)"""
        )
        assert sizes == [0] * 6
        send = ann.page.get_by_role("button", name="Send").bounding_box()
        assert send is not None
        assert send["x"] + send["width"] <= width

    @pytest.mark.parametrize(("width", "height"), [(844, 180), (320, 200)])
    def test_what_is_said_is_in_sight_on_a_low_screen(
        self, visit: Visit, room: str, width: int, height: int
    ) -> None:
        """A phone on its side above its keys; a page of 1280 by 800 at 400 %."""
        ann = visit(viewport={"width": width, "height": height})
        ann.page.goto(f"{ann.page.url}?room={room}&user=ann")
        ann.state("Online")
        ann.say("one\ntwo")
        ann.page.get_by_label("Message").fill("a\nb\nc\nd\ne\nf")
        # once the page has scrolled to what was said
        ann.page.wait_for_function(
            """() => {
              const [header, said, send] = ['header', '.text', '#composer button']
                .map((which) => document.querySelector(which).getBoundingClientRect());
              return header.bottom <= said.top && said.bottom <= send.top
                && send.bottom <= innerHeight;
            }"""
        )

    def test_all_of_it_is_within_reach_on_a_low_screen(self, visit: Visit, room: str) -> None:
        """A small phone above its keys, and a notice that takes its room."""
        visit(f"/?room={room}&user={'a' * 64}").state("Online")
        ann = visit(viewport={"width": 320, "height": 220})
        ann.join("a" * 64, room)
        expect(ann.page.locator("#notice")).to_be_visible()
        ann.page.mouse.move(20, 200)
        for which, turn in [("header", -1000), ("#below", 1000)]:
            ann.page.mouse.wheel(0, turn)
            ann.page.wait_for_function(
                """which => {
                  const [{ top, bottom }, send] = [which, '#composer button']
                    .map((one) => document.querySelector(one).getBoundingClientRect());
                  return top >= 0 && bottom <= send.top + 1 && send.bottom <= innerHeight;
                }""",
                arg=which,
            )

    def test_many_more_messages_than_the_document_holds(
        self, visit: Visit, daemon: Daemon, room: str
    ) -> None:
        """Scrolling up and down again misses nothing; at the end one is live again."""
        publish(daemon, room, 900)
        ann = visit()
        ann.join("ann", room)
        expect(ann.messages.last).to_have_text("899")
        seen = ann.page.evaluate(SCROLL_UP)
        assert seen["texts"] == [f"{number}" for number in reversed(range(900))]
        assert seen["most"] <= 400
        publish(daemon, room, 50, first=900)
        seen = ann.page.evaluate(SCROLL_DOWN)
        assert seen["texts"] == [f"{number}" for number in range(950)]
        publish(daemon, room, 1, first=950)
        expect(ann.messages.last).to_have_text("950")
        ann.log.evaluate("log => { log.scrollTop = 0; }")
        ann.page.get_by_role("button", name="Latest").click()
        expect(ann.messages.last).to_have_text("950")
        ann.say("and on")
        expect(ann.messages.last).to_have_text("and on")
        assert ann.messages.count() <= 400
