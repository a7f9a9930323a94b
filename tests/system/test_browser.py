"""The chat page in a real Chromium, served by chatd itself."""

from __future__ import annotations

import http.client
import json

import pytest
from playwright.sync_api import expect

from tests.support.browser_suite import (
    LONG_ROOM,
    BrowserSuite,
    Visit,
    browser,
    daemon,
    relay,
    room,
    rooms,
    visit,
)
from tests.support.daemon import Daemon

__all__ = ["browser", "daemon", "relay", "room", "rooms", "visit"]

pytestmark = pytest.mark.browser


#: Scroll to the end as with a wheel, noting each text when it comes in sight, and the most
#: messages the document held.
SCROLL = """async () => {
  const log = document.querySelector('[role=log]');
  const seen = new Set();
  let [most, still] = [0, 0];
  while (still < 90) {
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
SCROLL_UP = SCROLL % (-400, ".reverse()")
SCROLL_DOWN = SCROLL % (400, "")


def publish(daemon: Daemon, room: str, count: int, first: int = 0) -> None:
    """Publish the numbers from ``first`` on as messages, on one connection."""
    connection = http.client.HTTPConnection(*daemon.http)
    for number in range(first, first + count):
        body = json.dumps({"text": f"{number}"})
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/rooms/{room}/messages?username=bot", body, headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 201
    connection.close()


@pytest.fixture(scope="module")
def front(daemon: Daemon) -> tuple[str, int]:
    """Browsers come straight to chatd."""
    return daemon.http


class TestDirect(BrowserSuite):
    """No proxy at all."""

    @pytest.mark.parametrize("width", [360, 1100])
    def test_long_names_and_words_stay_inside(self, visit: Visit, width: int) -> None:
        ann = visit(viewport={"width": width, "height": 640})
        ann.join("a" * 64, LONG_ROOM)
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

    def test_many_more_messages_than_the_document_holds(
        self, visit: Visit, daemon: Daemon, room: str
    ) -> None:
        publish(daemon, room, 1500)
        ann = visit()
        ann.join("ann", room)
        expect(ann.messages.last).to_have_text("1499")
        seen = ann.page.evaluate(SCROLL_UP)
        assert seen["texts"] == [f"{number}" for number in reversed(range(1500))]
        assert seen["most"] <= 400
        ann.page.get_by_role("button", name="Latest").click()
        expect(ann.messages.last).to_have_text("1499")
        ann.say("and on")
        expect(ann.messages.last).to_have_text("and on")
        assert ann.messages.count() <= 400

    def test_scrolling_down_again_misses_nothing(
        self, visit: Visit, daemon: Daemon, room: str
    ) -> None:
        publish(daemon, room, 1000)
        ann = visit()
        ann.join("ann", room)
        expect(ann.messages.last).to_have_text("999")
        ann.page.evaluate(SCROLL_UP)
        publish(daemon, room, 50, first=1000)
        seen = ann.page.evaluate(SCROLL_DOWN)
        assert seen["texts"] == [f"{number}" for number in range(1050)]
        publish(daemon, room, 1, first=1050)
        expect(ann.messages.last).to_have_text("1050")
