"""chatd.js in other people's pages: with tokens, and from another origin."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from attrs import frozen
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import NO_EVENTSOURCE, NO_WEBSOCKET, Person, Visit
from tests.support.daemon import ROOT, Daemon
from tests.support.site import site
from tests.support.tokens import Issuer
from tests.support.windows import Windows

pytestmark = pytest.mark.browser

ADDRESS = "http://localhost:8081/"


def page(own: str, address: str, room: str = "lobby") -> str:
    """The page of docs/browser.rst, with the module from ``own`` and chatd at ``address``."""
    text = (ROOT / "docs" / "browser.rst").read_text()
    start = text.index("    <!doctype html>")
    shown = dedent(text[start : text.index("</script>", start)] + "</script>\n")
    for written, meant in (
        (f'from "{ADDRESS}chatd.js"', f'from "{own}chatd.js"'),
        (f'new Chat("{ADDRESS}"', f'new Chat("{address}"'),
        ('join("lobby"', f'join("{room}"'),
    ):
        assert written in shown
        shown = shown.replace(written, meant)
    return shown + '<link rel="icon" href="data:,">\n'


#: Puts a sandboxed frame into a page.
SANDBOXED = """() => {
  const frame = document.createElement('iframe');
  frame.sandbox = 'allow-scripts';
  document.body.append(frame);
}"""
#: Says hello and hears it, or else what the connection's state says of why it cannot.
TALKING = """async ([url, transport]) => {
  const { Chat } = await import(`${url}chatd.js`);
  const chat = new Chat(url, { transports: [transport] });
  const refused = new Promise((resolve) => {
    chat.on('error', ({ message }) => resolve(message));
  });
  const talk = async () => {
    const room = await chat.join('lobby');
    await room.send('hello');
    for await (const { text } of room) return text;
  };
  return Promise.race([talk().catch(() => refused), refused]).finally(() => chat.close());
}"""
#: What a page must lack to use each transport.
SCRIPTS = {"websocket": "", "sse": NO_WEBSOCKET, "poll": NO_WEBSOCKET + NO_EVENTSOURCE}


@frozen
class Allowed:
    """A server, and a web site of another origin, from a folder, that its ``--origin`` names."""

    daemon: Daemon
    origin: str
    folder: Path


@pytest.fixture(scope="module")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Allowed]:
    folder = tmp_path_factory.mktemp("site")
    with site(folder) as origin, Daemon("--origin", origin) as daemon:
        yield Allowed(daemon, origin, folder)


class TestCrossOrigin:
    """A page of another origin may use chatd exactly if ``--origin`` names it."""

    @pytest.mark.parametrize(("transport", "script"), SCRIPTS.items(), ids=list(SCRIPTS))
    def test_allowed(self, windows: Windows, allowed: Allowed, transport: str, script: str) -> None:
        daemon = allowed.daemon
        room = daemon.create_room(transport)
        (allowed.folder / f"{room}.html").write_text(page(daemon.url(), daemon.url(), room))
        ann = Person(windows, f"{allowed.origin}/{room}.html", script=script)
        ann.say("from afar")  # before the room is joined
        expect(ann.page.locator("#log li")).to_have_text(["ann: from afar"])
        expect(ann.page.locator("#state")).to_have_text(f"online {transport}")
        ann.leave()

    @pytest.mark.parametrize("copied", [False, True], ids=["from chatd", "own copy"])
    def test_refused(
        self, windows: Windows, allowed: Allowed, tmp_path: Path, copied: bool
    ) -> None:
        """The page is told what to do, on its console and by the state; so is the server's log."""
        daemon = allowed.daemon
        with site(tmp_path) as origin:
            own = "./" if copied else daemon.url()
            shutil.copytree(ROOT / "chatd/web", tmp_path, dirs_exist_ok=True)
            shown = page(own, daemon.url()).replace(
                "const joining =", "globalThis.chat = chat; const joining ="
            )
            (tmp_path / "app.html").write_text(shown)
            ann = Person(windows, f"{origin}/app.html")
            ann.page.wait_for_function("() => globalThis.chat?.state.error?.code === 'forbidden'")
            advice = f"--origin {origin}"
            assert advice in ann.page.evaluate("chat.state.error.message")
            assert ann.page.evaluate("chat.state.state") == "offline"
            assert len(ann.sockets) >= 1
            expect(ann.page.locator("#log")).to_be_empty()
            assert any(advice in one for one in ann.complaints)
            assert sum(advice in line for line in daemon.log().splitlines()) == 1
            ann.complaints.clear()
            ann.leave()

    def test_without_an_origin(self, windows: Windows, allowed: Allowed) -> None:
        """A sandboxed frame has none, and is denied locks and storage: each transport works where
        any page is allowed; where it is not, what the page is told is no option to start with."""
        with Daemon("--origin", "*") as daemon:
            ann = Person(windows, daemon.url("/healthz"))
            ann.page.evaluate(SANDBOXED)
            frame = ann.page.frames[-1]
            for transport in SCRIPTS:
                assert frame.evaluate(TALKING, [daemon.url(), transport]) == "hello"
            assert frame.evaluate(TALKING, [allowed.daemon.url(), "poll"]) == (
                f"chatd at {allowed.daemon.url()} takes no pages without an origin:"
                " sandboxed, or local files"
            )
            ann.complaints.clear()
            ann.leave()


class TestLoading:
    """What speaks HTTP is loaded when it is needed."""

    JOIN = """async (options) => {
      const { Chat } = await import('/chatd.js');
      globalThis.failures = [];
      globalThis.chat = new Chat('/', { user: 'ann', backoff: 10, backoffMax: 10, ...options });
      chat.on('state', ({ error }) => error && failures.push(error.code));
      globalThis.room = await chat.join('lobby');
      return chat.state.transport;
    }"""

    def test_at_the_first_look_back(self, windows: Windows) -> None:
        with Daemon() as daemon:
            ann = Person(windows, daemon.url("/healthz"), fresh=True)
            asked: list[str] = []
            ann.page.on("request", lambda request: asked.append(request.url))
            assert ann.page.evaluate(self.JOIN, {}) == "websocket"
            ann.page.evaluate("room.send('hello')")
            late = daemon.url("/client/links/http.js")
            assert daemon.url("/client/links/socket.js") in asked
            assert late not in asked
            stored = ann.page.evaluate("room.history({ last: 1 })")
            assert [message["text"] for message in stored["messages"]] == ["hello"]
            assert late in asked
            ann.leave()

    def test_a_failure_is_a_try(self, windows: Windows) -> None:
        """Both a file and one that it imports in turn may be had later only."""
        with Daemon() as daemon:
            ann = Person(windows, daemon.url("/healthz"), fresh=True)
            for name in ("http", "reader"):
                address = f"**/links/{name}.js"
                ann.page.route(address, lambda route: route.abort(), times=1)
            assert ann.page.evaluate(self.JOIN, {"transports": ["poll"]}) == "poll"
            assert ann.page.evaluate("failures") == ["network", "network"]
            ann.complaints.clear()
            ann.leave()


#: Opens a chat over HTTP in a tab, and says when each of its messages was acknowledged.
TAB = """async ([name, user, transport]) => {
  const { Chat } = await import('/chatd.js');
  const chat = new Chat('/', { user, transports: [transport] });
  globalThis.texts = [];
  globalThis.room = await chat.join(name);
  room.on('message', ({ text }) => texts.push(text));
  globalThis.chat = chat;
  globalThis.say = async (text) => {
    const begun = performance.now();
    await room.send(text);
    return performance.now() - begun;
  };
}"""
NO_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined });"
NO_CHANNEL = "delete globalThis.BroadcastChannel;"
DENIED = """for (const what of ['query', 'request']) {
  const denied = new DOMException('Access is denied in this context.', 'SecurityError');
  LockManager.prototype[what] = () => Promise.reject(denied);
}"""
NO_STORAGE = "Object.defineProperty(globalThis, 'localStorage', { get() { throw 0; } });"


@pytest.fixture(scope="module")
def tabbed(windows: Windows) -> Iterator[BrowserContext]:
    """A window whose tabs stay for the next test: used ones cost much less than new ones."""
    window = windows.new("")
    yield window
    window.close()


@pytest.fixture
def tabs(tabbed: BrowserContext, daemon: Daemon) -> list[Page]:
    """Seven tabs, with nothing in them, and nothing stored at the server's origin."""
    tabs = tabbed.pages
    for tab in tabs:
        tab.goto("about:blank")
    tabs += [tabbed.new_page() for _ in range(7 - len(tabs))]
    tabs[0].goto(daemon.url("/healthz"))
    tabs[0].evaluate("localStorage.clear()")
    return tabs


class TestTabs:
    """Tabs of one browser, which has six connections to a server: sending gets through in each."""

    @pytest.mark.parametrize(
        ("transport", "users", "lacks"),
        [
            ("sse", "one", ""),
            ("poll", "many", ""),
            ("poll", "one", NO_LOCKS),
            ("sse", "many", NO_LOCKS + NO_CHANNEL),
            ("sse", "one", NO_CHANNEL),
            ("poll", "many", DENIED + NO_STORAGE),
        ],
        ids=["sharing", "slots", "no locks", "counting", "no channel", "in turn"],
    )
    def test_all_hear_and_all_speak(
        self, tabs: list[Page], daemon: Daemon, room: str, transport: str, users: str, lacks: str
    ) -> None:
        with tabs[0].context.add_init_script(f"{lacks};"):
            for number, tab in enumerate(tabs):
                tab.goto(daemon.url("/healthz"))
                user = "ann" if users == "one" else f"ann-{number}"
                tab.evaluate(TAB, [room, user, transport])
        said: list[str] = []
        self._all_speak(tabs, said)
        # The one that leads goes; another takes over, and nothing is lost.
        tabs.pop(0).close()
        self._all_speak(tabs, said)
        for tab in tabs:
            assert tab.evaluate("chat.state.state") == "online"

    def test_one_that_leads_tells_nothing(self, visit: Visit, room: str) -> None:
        """Browsers stop hidden tabs, and leave them their locks: then others read themselves."""
        ann = visit("/healthz", clock=True)
        asleep = ann.page
        asleep.evaluate("BroadcastChannel.prototype.postMessage = () => {}")
        asleep.evaluate(TAB, [room, "ann", "sse"])
        ann.open(asleep.url)
        ann.page.evaluate(TAB, [room, "ann", "sse"])

        def comes(what: str, seconds: int) -> None:
            """It is so in the other tab within so many seconds of its clock."""
            for _ in range(2 * seconds):
                if ann.page.evaluate(what):
                    return
                ann.page.clock.run_for(500)
            raise AssertionError(what)

        def hears(text: str, seconds: int) -> None:
            comes(f"texts.at(-1) === {text!r}", seconds)

        visit(f"/?room={room}&user=bob").state("Online")
        comes("room.members.includes('bob')", 45)
        asleep.evaluate("text => say(text)", "found by looking")
        hears("found by looking", 45)
        asleep.evaluate("text => say(text)", "read by itself")
        hears("read by itself", 20)
        asleep.evaluate("text => say(text)", "and so on")
        hears("and so on", 20)
        assert ann.page.evaluate("texts.length") == 3

    def _all_speak(self, tabs: list[Page], said: list[str]) -> None:
        """Something more in each of ``tabs``; afterwards each has heard all that was ``said``."""
        for tab in tabs:
            said.append(f"{len(said)}")
            assert tab.evaluate("text => say(text)", said[-1]) < 5000
        for tab in tabs:
            tab.wait_for_function("count => texts.length >= count", arg=len(said), polling=50)
            assert tab.evaluate("texts") == said


#: Joins a room with tokens from the test, and notes states, texts and how many tokens it took.
RENEWING = """async (name) => {
  const { Chat } = await import('/chatd.js');
  globalThis.states = [];
  globalThis.texts = [];
  globalThis.made = 0;
  const token = () => (made += 1, globalThis.token());
  globalThis.chat = new Chat('/', { token });
  chat.on('state', ({ state }) => states.push(state));
  globalThis.room = await chat.join(name);
  room.on('message', ({ text, user }) => texts.push(`${user} ${text}`));
}"""


class TestTokens:
    """A page whose tokens live for seconds stays connected."""

    def test_renewed(self, visit: Visit, guarded: Daemon, issuer: Issuer) -> None:
        """Three lives of a token later, it is still the same chat, over each transport."""
        people = {}
        for transport, script in SCRIPTS.items():
            room = guarded.create_room(f"renewed-{transport}")
            ann = people[transport] = visit("/healthz", at=guarded.http, script=script, fresh=True)
            ann.page.expose_function("token", lambda: issuer.token("ann", time.time() + 4))
            ann.page.evaluate(RENEWING, room)
            assert ann.page.evaluate("chat.state.transport") == transport
        said = 0
        while not all(ann.page.evaluate("made >= 4") for ann in people.values()):
            for ann in people.values():
                ann.page.evaluate("number => room.send(`${number}`)", said)
            ann.page.wait_for_timeout(500)
            said += 1
        for ann in people.values():
            ann.page.wait_for_function("count => texts.length >= count", arg=said, polling=50)
            assert ann.page.evaluate("texts") == [f"ann {number}" for number in range(said)]
            assert ann.page.evaluate("states") == ["connecting", "online"]
        assert len(people["websocket"].sockets) == 1

    def test_the_page_with_a_token(self, visit: Visit, guarded: Daemon, issuer: Issuer) -> None:
        room = guarded.create_room("with-a-token")
        stranger = visit(f"/?room={room}&user=ann", at=guarded.http)
        expect(stranger.page.get_by_role("alert")).not_to_be_empty()
        token = issuer.token("ann", time.time() + 600)
        ann = visit(f"/?room={room}#token={token}", at=guarded.http)
        ann.state("Online")
        ann.say("with a token")
        ann.sees("with a token")
        expect(ann.page.locator("#members .name")).to_have_text(["ann"])
