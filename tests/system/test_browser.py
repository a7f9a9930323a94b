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


#: Scroll to the end as with a wheel, noting each text when it comes in sight, the most messages
#: the document held, and how long each frame took (ms).
SCROLL = """async () => {
  const log = document.querySelector('[role=log]');
  const seen = new Set();
  const frames = [];
  let [most, still, last] = [0, 0, performance.now()];
  while (still < 90) {
    const before = `${log.scrollTop} ${log.scrollHeight}`;
    log.scrollTop += %d;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    frames.push(now - last);
    last = now;
    const texts = [...log.querySelectorAll('.text')];
    most = Math.max(most, texts.length);
    for (const text of texts%s) seen.add(text.textContent);
    still = before === `${log.scrollTop} ${log.scrollHeight}` ? still + 1 : 0;
  }
  return {texts: [...seen], most, frames};
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

    # In real time, as with a wheel: longer than other tests.
    @pytest.mark.timeout(400)
    def test_ten_thousand_messages(self, visit: Visit, daemon: Daemon, room: str) -> None:
        publish(daemon, room, 10_000)
        ann = visit()
        ann.join("ann", room)
        expect(ann.messages.last).to_have_text("9999")
        seen = ann.page.evaluate(SCROLL_UP)
        assert seen["texts"] == [f"{number}" for number in reversed(range(10_000))]
        assert seen["most"] <= 400
        # Half the frames come in time, and none keeps one waiting for long.
        frames = sorted(seen["frames"])
        assert frames[len(frames) // 2] < 100
        assert frames[-1] < 1500
        ann.page.get_by_role("button", name="Latest").click()
        expect(ann.messages.last).to_have_text("9999")
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
