"""The operators' page in Chromium: opened by a key, live, on a desk and in the hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.support.axe import check_themes
from tests.support.browser import DESKTOP, PHONE, Person, Visit
from tests.support.daemon import Daemon

pytestmark = pytest.mark.browser

KEY = "a-key-for-administrators"
#: Everything that this browser remembers of the page.
KEPT = """() => JSON.stringify([
  Object.values(sessionStorage), Object.values(localStorage), document.cookie, location.href,
])"""


@pytest.fixture(scope="module")
def administered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A chatd that has administrators, and more rooms than are shown at a time."""
    key = Path(tmp_path_factory.mktemp("key")) / "key"
    key.write_text(KEY)
    names = ["kitchen", "lobby", *(f"room-{number}" for number in range(12))]
    rooms = [word for name in names for word in ("--room", name)]
    with Daemon("--admin-key", str(key), *rooms) as daemon:
        yield daemon
        assert "Traceback" not in daemon.log(), daemon.log()


@pytest.fixture
def operator(visit: Visit, administered: Daemon, device: dict[str, object]) -> Person:
    """Somebody in front of the page."""
    return visit("/admin", at=administered.http, **device)


def unlock(page: Page, key: str) -> None:
    """Type ``key`` in."""
    page.get_by_label("Admin key or token").fill(key)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_node_and_its_rooms(operator: Person, visit: Visit, administered: Daemon) -> None:
    page = operator.page
    expect(page.get_by_label("Admin key or token")).to_be_focused()
    check_themes(page)
    unlock(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("no admin key")
    assert "wrong" not in page.evaluate(KEPT)
    unlock(page, KEY)
    expect(page.locator("#state")).to_contain_text("Ready")
    assert page.evaluate(KEPT).count(KEY) == 1
    assert page.evaluate("Object.values(sessionStorage)") == [KEY]

    # what happens is seen by itself
    ann = visit("/?room=kitchen&user=ann", at=administered.http)
    ann.say("Soup is ready")
    kitchen = page.get_by_role("row", name="kitchen")
    expect(kitchen.get_by_role("cell").first).to_have_text("1")
    expect(kitchen.get_by_role("cell").nth(1)).not_to_have_text("–")
    expect(page.locator(".tile", has_text="Clients").locator(".value")).to_have_text("1")
    expect(page.get_by_role("row", name="unauthorized")).to_contain_text("GET /admin/state")
    check_themes(page)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)

    # at either end the focus goes where there is a way on
    further, back = (page.get_by_role("button", name=name) for name in ("Next", "First"))
    further.press("Enter")
    expect(back).to_be_focused()
    back.press("Enter")
    expect(further).to_be_focused()

    _look_after_a_room(page)
    page.reload()
    expect(page.locator("#state")).to_contain_text("Ready")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Admin key or token")).to_be_focused()
    assert KEY not in page.evaluate(KEPT)


def _look_after_a_room(page: Page) -> None:
    """Make a private one, by keys alone, give it a member, and delete it."""
    spoken = page.locator("#spoken")
    page.get_by_label("New room").fill("den")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(spoken).to_contain_text("The room den was made.")
    page.get_by_label("Find rooms").fill("de")
    opens = page.get_by_role("button", name="den", exact=True)
    expect(page.locator("#rooms tr")).to_have_count(1)
    opens.press("Enter")
    dialog = page.get_by_role("dialog", name="den")
    expect(dialog.get_by_role("checkbox")).to_be_checked()
    dialog.get_by_label("Add a member").fill("Ann Smith")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("list", name="Members").get_by_role("listitem")).to_have_count(1)
    check_themes(page)
    dialog.get_by_role("button", name="Remove Ann Smith").press("Enter")
    expect(dialog.get_by_role("list", name="Members").get_by_role("listitem")).to_have_count(0)
    longest = "🦊" * 50  # cut, it would let in somebody else
    dialog.get_by_label("Add a member").focus()
    page.keyboard.insert_text(longest)
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name=f"Remove {longest}", exact=True).press("Enter")
    expect(dialog.get_by_role("list", name="Members").get_by_role("listitem")).to_have_count(0)
    dialog.get_by_label("Add a member").fill("a\u200bb")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(opens).to_be_focused()
    opens.press("Enter")
    dialog.get_by_role("button", name="Delete this room").press("Enter")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("button", name="Delete it").press("Enter")
    expect(spoken).to_contain_text("The room den was deleted.")
    expect(page.get_by_label("Find rooms")).to_be_focused()
    expect(page.locator("#rooms-none")).to_be_visible()


@pytest.mark.parametrize("device", [DESKTOP])
class TestTwoOperators:
    """What one has in front of them is changed by another."""

    def test_a_room_that_is_deleted_while_it_is_open(
        self, operator: Person, administered: Daemon
    ) -> None:
        page = operator.page
        unlock(page, KEY)
        page.get_by_role("button", name="room-3", exact=True).click()
        dialog = page.get_by_role("dialog", name="room-3")
        alert = page.locator("#room-refusal")
        page.route("**/members", lambda route: route.abort())
        expect(alert).to_contain_text("cannot be reached")
        page.unroute("**/members")
        expect(alert).to_be_empty()
        looks: list[str] = []
        page.on("request", lambda request: looks.append(request.url))
        assert _admin(administered, "DELETE", "room-3") == 204
        expect(alert).not_to_be_empty()
        looks.clear()
        for _ in range(2):
            with page.expect_response("**/admin/state?**"):
                pass
        assert not any(url.endswith("/members") for url in looks)
        dialog.get_by_role("checkbox").click()
        expect(page.locator("#rooms tr", has_text="room-3")).to_have_count(0)
        page.keyboard.press("Escape")
        expect(page.get_by_label("Find rooms")).to_be_focused()
        assert _admin(administered, "GET", "room-3/members") == 404

    def test_the_focus_stays_where_a_room_was(self, operator: Person, administered: Daemon) -> None:
        page = operator.page
        unlock(page, KEY)
        page.get_by_role("button", name="room-4", exact=True).focus()
        assert _admin(administered, "DELETE", "room-4") == 204
        expect(page.locator("#rooms")).to_be_focused()

    def test_a_page_of_rooms_that_are_all_deleted(
        self, operator: Person, administered: Daemon
    ) -> None:
        page = operator.page
        names = [f"z-{number:02}" for number in range(13)]
        for name in names:
            assert _admin(administered, "PUT", name) == 201
        unlock(page, KEY)
        page.get_by_label("Find rooms").fill("z-")
        expect(page.locator("#rooms tr").first).to_contain_text("z-00")
        page.get_by_role("button", name="Next").click()
        expect(page.locator("#rooms tr")).to_have_count(1)
        assert _admin(administered, "DELETE", names[-1]) == 204
        expect(page.locator("#rooms tr")).to_have_count(12)
        for name in names[:-1]:
            assert _admin(administered, "DELETE", name) == 204


def _admin(daemon: Daemon, method: str, path: str) -> int:
    """The status of what an administrator asks for."""
    headers = {"Authorization": f"Bearer {KEY}"}
    request = Request(daemon.url(f"/rooms/{path}"), method=method, headers=headers)
    try:
        with urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
