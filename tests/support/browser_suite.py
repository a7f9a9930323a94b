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

    def test_without_websocket_there_are_event_streams(self, visit: Visit, room: str) -> None:
        ann, bob = visit(script=NO_WEBSOCKET), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        ann.transport("sse")
        self._talk(ann, bob)
        expect(ann.page.locator("#members .name")).to_have_text(["ann", "bob"])

    def test_without_event_streams_too_there_is_polling(self, visit: Visit, room: str) -> None:
        ann, bob = visit(script=NO_WEBSOCKET + NO_EVENTSOURCE), visit()
        ann.join("ann", room)
        bob.join("bob", room)
        ann.transport("poll")
        self._talk(ann, bob)

    def _talk(self, ann: Person, bob: Person) -> None:
        said: list[str] = []
        for number in range(3):
            for person in (ann, bob):
                said.append(f"{number}")
                person.say(said[-1])
                ann.sees(*said)
                bob.sees(*said)

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

    def test_server_restarted(self, visit: Visit, room: str, daemon: Daemon) -> None:
        people = [visit(), visit(script=NO_WEBSOCKET), visit(script=NO_WEBSOCKET + NO_EVENTSOURCE)]
        for person, name in zip(people, ("ann", "bob", "cid"), strict=True):
            person.join(name, room)
        assert daemon.stop() == -SIGTERM
        for person in people:
            person.state("Offline")
        people[0].say("meanwhile")
        daemon.start()
        for person in people:
            person.state("Online")
            person.sees("meanwhile")
