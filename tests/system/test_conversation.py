"""What the page shows of a conversation: times, days, namesakes, strangers' texts, floods."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import expect

from tests.support.backlog import publish
from tests.support.browser import NO_EVENTSOURCE, NO_WEBSOCKET, OLD, PEOPLE, PHONE, Visit
from tests.support.daemon import Daemon

pytestmark = pytest.mark.browser


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

    def test_a_day_that_ends_is_not_called_today_any_more(self, visit: Visit) -> None:
        ann = visit()
        rules = ann.page.evaluate(
            _TIMELINE
            + """
            const { timeline, message } = await begin();
            const Real = Date;
            let now = Real.UTC(2026, 0, 5, 12);
            globalThis.Date = class extends Real {
              constructor(...given) {
                super(...given.length ? given : [now]);
              }
            };
            const rules = () =>
              [...timeline.element.querySelectorAll('.rule')].map((one) => one.textContent);
            const day = 24 * 3600_000;
            timeline.append([message(0, -day), message(1, 0), message(2, 1)]);
            const told = [rules()];
            now += day;
            timeline.append([message(3, day)]);
            told.push(rules());
            now += day;
            timeline.turn();
            told.push(rules());
            globalThis.Date = Real;
            return told;
            }"""
        )
        assert rules[:2] == [["Yesterday", "Today"], [rules[2][0], "Yesterday", "Today"]]
        assert rules[2][2] == "Yesterday"

    def test_times_are_those_of_where_the_reader_is(self, visit: Visit, room: str) -> None:
        """Also of one who travels while the page is open."""
        ann = visit(f"/?room={room}&user=ann", fresh=True)
        ann.say("at home")
        ann.sees("at home")
        session = ann.context.new_cdp_session(ann.page)
        session.send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kathmandu"})
        ann.say("abroad")
        ann.sees("at home", "abroad")
        wrong = ann.page.evaluate(
            """() => {
            const parts = { hour: 'numeric', minute: '2-digit' };
            const clock = new Intl.DateTimeFormat(undefined, parts);
            return [...document.querySelectorAll('time')].filter(({ dateTime, textContent }) =>
              clock.format(new Date(dateTime)) !== textContent).length;
            }"""
        )
        assert wrong == 0

    def test_an_address_looks_like_what_it_is(self, visit: Visit, room: str) -> None:
        """An override of the direction of writing would have it begin with its end."""
        ann = visit(f"/?room={room}&user=ann")
        ann.say("\u202ehttps://evil.example/moc.knab//:sptth \u202dhttps://a.example/\u202eb")
        links = ann.messages.locator("a")
        expect(links).to_have_text(["https://evil.example/moc.knab//:sptth", "https://a.example/"])
        first, last = links.first.evaluate(
            """(link) => [0, link.textContent.length - 1].map((at) => {
              const range = document.createRange();
              range.setStart(link.firstChild, at);
              range.setEnd(link.firstChild, at + 1);
              return range.getBoundingClientRect().left;
            })"""
        )
        assert first < last

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

    def test_whose_name_is_written_otherwise_is_no_namesake(self, visit: Visit, room: str) -> None:
        """An accent may be a character of its own."""
        ann = visit()
        ann.join("Jose\u0301", room)
        ann.page.get_by_role("button", name="Join").click()
        expect(ann.page.get_by_label("Message")).to_be_focused()
        expect(ann.page.locator("#notice")).to_be_hidden()

    def test_who_comes_back_is_no_namesake(self, visit: Visit, room: str) -> None:
        """Though who polls is present for a while after the last poll."""
        ann = visit(script=NO_WEBSOCKET + NO_EVENTSOURCE)
        ann.join("ann", room)
        ann.transport("poll")
        for _ in range(2):
            ann.page.get_by_role("button", name="Leave").click()
            ann.page.reload()
            ann.join("ann", room)
            expect(ann.page.locator("#notice")).to_be_hidden()
        bob = visit()
        bob.join("ann", room)
        expect(bob.page.locator("#notice")).to_contain_text("Someone called ann was here already")

    @pytest.mark.parametrize("size", [(1280, 800), (1280, 500), (390, 844)])
    def test_three_hundred_people_leave_the_form_in_sight(
        self, visit: Visit, room: str, size: tuple[int, int]
    ) -> None:
        ann = visit(viewport={"width": size[0], "height": size[1]})
        ann.join("ann", room)
        expect(ann.page.locator("#members li")).to_have_count(1)  # what is to come has come
        ann.page.evaluate(PEOPLE)
        if size[0] < 500:
            ann.page.get_by_role("button", name="300 here").click()
        expect(ann.page.locator("#members li")).to_have_count(300)
        for label in ("Your name", "Room"):
            expect(ann.page.get_by_label(label)).to_be_in_viewport(ratio=1)
        expect(ann.page.get_by_role("button", name="Join")).to_be_in_viewport(ratio=1)

    def test_addresses_end_where_chinese_and_japanese_go_on(self, visit: Visit) -> None:
        ann = visit()
        address = "https://例子.com/路径?a=1"
        quotes = ("「」", "『』", "（）", "《》", "【】", "“”")
        quoted = [f"{pair[0]}{address}{pair[1]}" for pair in quotes]
        ended = [f"见{address}{stop}谢谢" for stop in "、。，；：！？"]
        found = ann.page.evaluate(
            """async (texts) => {
              const { linked } = await import('/page/links.js');
              return texts.map((text) => linked(text).map((part) => part.textContent ?? '')
                .filter(Boolean));
            }""",
            [*quoted, *ended],
        )
        assert found == [[address]] * 13

    def test_strangers_texts_cost_what_they_are_long(self, visit: Visit) -> None:
        """Each shape at a length where anything worse than linear would take minutes."""
        ann = visit()
        texts = [f"https://example.org/{c * 200_000}" for c in '.)]}([{!,;:?…"'] + [
            "http://" * 40_000,
            "https://a.b " * 24_000,
            "h" * 200_000,
            "http" * 80_000,
            "https://x/" + "(" * 100_000 + ")" * 100_000,
            "https://x/" + ".)" * 100_000,
            "\n" * 200_000,
            "e" + "\u0301" * 200_000,
            "\u202e" * 200_000,
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
        bob.page.evaluate(_PUBLISH, [room, "http://x/" + "." * 16_000, 50])
        expect(ann.messages).to_have_count(50)
        ann.say("still there")
        expect(bob.messages).to_have_count(51)
        expect(bob.messages.last).to_have_text("still there")

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

    def test_older_browsers_show_it(self, visit: Visit, room: str) -> None:
        ann = visit(script=OLD, fresh=True, **PHONE)
        ann.join("ann", room)
        ann.say("See https://example.org/x, or http://[:: there.")
        ann.sees("See https://example.org/x, or http://[:: there.")
        expect(ann.log.get_by_role("link")).to_have_text(["https://example.org/x"])
        expect(ann.log.locator(".face")).to_have_text(["A"])
        ann.page.get_by_role("button", name="1 here").click()
        expect(ann.page.get_by_role("button", name="Close")).to_be_focused()

    def test_all_of_it_is_printed(self, visit: Visit, daemon: Daemon, room: str) -> None:
        publish(daemon, room, 40)
        ann = visit(f"/?room={room}&user=ann")
        expect(ann.messages).to_have_count(40)
        ann.say("mine")
        expect(ann.messages).to_have_count(41)
        ann.page.emulate_media(media="print")
        expect(ann.messages.first).to_be_visible()
        who = ann.log.locator(".mine .who").bounding_box()
        assert who is not None
        assert who["height"] > 10
        inside = ann.log.evaluate("log => log.scrollHeight - log.clientHeight")
        whole = ann.page.evaluate("document.documentElement.scrollHeight - innerHeight")
        ann.page.emulate_media(media="screen")
        assert inside == 0
        assert whole > 0
        expect(ann.page.get_by_label("Message")).to_be_visible()

    def test_thousands_of_messages_live(self, visit: Visit, daemon: Daemon, room: str) -> None:
        ann = visit(f"/?room={room}&user=ann")
        ann.state("Online")
        ann.page.evaluate(_FLOOD, [room, 2000])
        expect(ann.messages.last).to_have_text("1999")
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

#: Publishes a text so many times.
_PUBLISH = """([room, text, times]) => Promise.all(Array.from({ length: times }, () =>
  fetch(`/rooms/${room}/messages?username=bob`, { method: 'POST',
    headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ text }) })))"""

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
