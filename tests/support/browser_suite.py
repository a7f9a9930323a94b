"""What a proxy between browsers and chatd can spoil: the upgrade, streams, waiting polls, the end
of connections. The fixture ``front`` says where browsers go."""

from __future__ import annotations

from signal import SIGTERM

from playwright.sync_api import expect

from tests.support.browser import NO_EVENTSOURCE, NO_WEBSOCKET, Person, Visit
from tests.support.daemon import Daemon


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

    def test_each_transport_and_a_restart(self, visit: Visit, room: str, daemon: Daemon) -> None:
        """Without WebSocket there are event streams, without these too there is polling."""
        scripts = {"websocket": "", "sse": NO_WEBSOCKET, "poll": NO_WEBSOCKET + NO_EVENTSOURCE}
        people = [visit(script=script) for script in scripts.values()]
        for person, name, transport in zip(people, ("ann", "bob", "cid"), scripts, strict=True):
            person.join(name, room)
            person.transport(transport)
        said: list[str] = []
        for number in range(2):
            for person in people:
                said.append(f"{number}")
                person.say(said[-1])
                self._all_see(people, said)
        # who polls is told of others with what is said
        for person in people[:2]:
            expect(person.page.locator("#members .name")).to_have_text(["ann", "bob", "cid"])
        assert daemon.stop() == -SIGTERM
        for person in people:
            person.state("Offline")
        said.append("meanwhile")
        people[0].say(said[-1])
        daemon.start()
        for person in people:
            person.reconnect()
        self._all_see(people, said)

    def _all_see(self, people: list[Person], said: list[str]) -> None:
        for person in people:
            person.sees(*said)

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
