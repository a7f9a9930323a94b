"""Windows of a Chromium that people who come and go use one after another."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Error, Page

#: Leaves nothing stored at the page's origin, whatever the page does until it is gone.
_FORGET = """() => {
  Storage.prototype.setItem = () => {};
  localStorage.clear();
  sessionStorage.clear();
}"""


class Windows:
    """Windows of one Chromium, each with cookies and storage of its own.

    One that is handed back is emptied for the next who asks for its like. To load the page in it
    costs a third of what a new one does, which needs a process that has yet to read and compile
    every module.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._idle: dict[str, list[Page]] = defaultdict(list)

    def new(self, script: str, **context: Any) -> BrowserContext:
        """What nobody has used; ``script`` runs in its pages before their own. ``context`` is
        Playwright's, such as viewport."""
        new = self._browser.new_context(**context)
        if script:
            new.add_init_script(script)
        return new

    def take(self, script: str, **context: Any) -> Page:
        """One with an empty page in it, that was handed back or is `new`."""
        idle = self._idle[_like(script, context)]
        return idle.pop() if idle else self.new(script, **context).new_page()

    def hand_back(self, page: Page, script: str, **context: Any) -> None:
        """``page`` is left, whose window was made so. A window whose page is closed or broken, or
        not the only one, is closed."""
        window = page.context
        if window.pages == [page]:
            try:
                _empty(page)
            except Error:  # the page is none that could forget
                pass
            else:
                self._idle[_like(script, context)].append(page)
                return
        window.close()


def _empty(page: Page) -> None:
    page.evaluate(_FORGET)
    page.goto("about:blank")
    page.context.clear_cookies()
    page.emulate_media(color_scheme="null")


def _like(script: str, context: dict[str, Any]) -> str:
    return json.dumps([script, context], sort_keys=True)
