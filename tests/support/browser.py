"""A real Chromium, and people who use the chat page in it as a person does: by label and role."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    WebSocket,
    expect,
    sync_playwright,
)

from tests.support.windows import Windows

#: Milliseconds that anything on a page may take on a busy machine.
PATIENCE = 30_000

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: What the browser itself writes to the console when the network is away, which tests cause.
_NETWORK = ("WebSocket connection to", "Failed to load resource", "net::ERR_")

#: Scripts that take from a page what its browser has.
NO_WEBSOCKET = "delete globalThis.WebSocket;"
NO_EVENTSOURCE = "delete globalThis.EventSource;"
#: What older browsers than most have not.
OLD = """delete Intl.Segmenter; delete URL.canParse; delete Element.prototype.checkVisibility;
delete AbortSignal.timeout;"""
#: Lets the page think that the server takes longer texts than it does: 20,000 bytes.
LAX = """document.addEventListener('readystatechange', () => {
  document.documentElement.dataset.maxText = '20000';
});"""

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
#: What makes a window a phone's.
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
#: Three hundred people, in the list of the page, whoever the server says is there from now on.
PEOPLE = """async () => {
  const module = document.querySelector('link[href$="/page/people.js"]').href;
  const { People } = await import(module);
  const names = Array.from({ length: 300 }, (_, i) => `person-${i}`);
  new People().show(names, 300, 'ann');
  People.prototype.show = () => {};
}"""

expect.set_options(timeout=PATIENCE)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, in its build without windows, which needs a third of the other's time;
    fails if it is not installed."""
    path = shutil.which("chromium-headless-shell")
    if path is None:
        raise FileNotFoundError("Install chromium-headless-shell to run the browser tests.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """Someone with a browser window of their own, at ``url``."""

    def __init__(
        self,
        windows: Windows,
        url: str,
        script: str = "",
        clock: bool = False,
        fresh: bool = False,
        **context: Any,
    ) -> None:
        """``script`` runs before the page's own; ``context`` is Playwright's, such as viewport.

        With ``clock`` the test may turn the page's clock on, ``page.clock.run_for``. A ``fresh``
        window is one that nobody has used, nor will: a test may do to it what cannot be undone.
        """
        self._windows = windows
        self._made: dict[str, Any] = {"script": script, **context}
        self._fresh = fresh or clock
        #: What went wrong in the page: errors on its console, exceptions nobody caught.
        self.complaints: list[str] = []
        #: The addresses of the WebSockets it has opened.
        self.sockets: list[str] = []
        self.page: Page = self._page(clock)
        self.context: BrowserContext = self.page.context
        self.context.set_default_timeout(PATIENCE)
        self._go(url)

    def _page(self, clock: bool) -> Page:
        """An empty page in a window of the kind asked for."""
        if not self._fresh:
            return self._windows.take(**self._made)
        window = self._windows.new(**self._made)
        if clock:
            window.clock.install()
        return window.new_page()

    def open(self, url: str) -> None:
        """Go to ``url`` in a new page of the same window."""
        self.page = self.context.new_page()
        self._go(url)

    def _go(self, url: str) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", self._error)
        self.page.on("websocket", self._socket)
        self.page.goto(url)

    def _error(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(s in message.text for s in _NETWORK):
            self.complaints.append(message.text)

    def join(self, name: str, room: str) -> None:
        """Fill in the form and wait until inside."""
        self.page.get_by_label("Your name").fill(name)
        self.page.get_by_label("Room").fill(room)
        self.page.get_by_role("button", name="Join").click()
        self.state("Online")

    def say(self, text: str) -> None:
        """Write a message and send it."""
        self.page.get_by_label("Message").fill(text)
        self.page.get_by_role("button", name="Send").click()

    @property
    def log(self) -> Locator:
        """The conversation."""
        return self.page.get_by_role("log")

    @property
    def messages(self) -> Locator:
        """The texts in the conversation, oldest first."""
        return self.log.locator(".text")

    def sees(self, *texts: str) -> None:
        """Wait until the conversation consists of exactly these texts."""
        expect(self.messages).to_have_text(list(texts))

    def state(self, words: str) -> None:
        """Wait until the connection's state in words contains ``words``."""
        expect(self.page.locator("#state")).to_contain_text(words)

    def reconnect(self) -> None:
        """Wait until online again, but not for the next try: the browser says that it is time."""
        self.page.evaluate("dispatchEvent(new Event('online'))")
        self.state("Online")

    def transport(self, name: str) -> None:
        """Wait until connected by ``name``: websocket, sse or poll."""
        expect(self.page.locator("body")).to_have_attribute("data-transport", name)

    def leave(self) -> None:
        """Leave the window; whatever the page complained of fails the test."""
        self.page.remove_listener("console", self._console)
        self.page.remove_listener("pageerror", self._error)
        self.page.remove_listener("websocket", self._socket)
        if self._fresh:
            self.context.close()
        else:
            self._windows.hand_back(self.context)
        assert self.complaints == []


#: Opens the chat page for one more person, at a path, with what `Person` takes besides.
Visit = Callable[..., Person]
