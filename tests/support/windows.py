"""Windows of a Chromium that people who come and go use one after another."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import ExitStack
from typing import Any

from attrs import frozen
from playwright.sync_api import Browser, BrowserContext, Error, Page, ViewportSize

#: Leaves nothing stored at the page's origin, whatever the page does until it is gone.
_FORGET = """() => {
  Storage.prototype.setItem = () => {};
  localStorage.clear();
  sessionStorage.clear();
}"""
#: How large a window is if nothing else is asked for.
_SIZE: ViewportSize = {"width": 1280, "height": 720}


@frozen
class _Use:
    """Of what kind a window in use is, and what takes the script from its pages, if any."""

    kind: str
    undo: ExitStack


class Windows:
    """Windows of one Chromium, each with cookies and storage of its own.

    One that is handed back is emptied for the next who asks for its like. To load the page in it
    costs a third of what a new one does, which needs a process that has yet to read and compile
    every module. So windows differ as little as may be: size and script are changed in any.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._idle: dict[str, list[Page]] = defaultdict(list)
        self._uses: dict[BrowserContext, _Use] = {}

    def new(self, script: str, **context: Any) -> BrowserContext:
        """What nobody has used; ``script`` runs in its pages before their own. ``context`` is
        Playwright's, such as viewport."""
        new = self._browser.new_context(**context)
        if script:
            new.add_init_script(script)
        return new

    def take(self, script: str, viewport: ViewportSize = _SIZE, **context: Any) -> Page:
        """One with an empty page in it, that was handed back or is `new`."""
        kind = json.dumps(context, sort_keys=True)
        idle = self._idle[kind]
        page = idle.pop() if idle else self.new("", **context).new_page()
        page.set_viewport_size(viewport)
        undo = ExitStack()
        if script:
            undo.enter_context(page.context.add_init_script(script))
        self._uses[page.context] = _Use(kind, undo)
        return page

    def hand_back(self, window: BrowserContext) -> None:
        """``window``, which was taken, is left. If its pages are all closed, or broken, it is
        closed."""
        use = self._uses.pop(window)
        try:
            page = _emptied(window, use.undo)
        except Error:  # the page is none that could forget
            page = None
        if page is None:
            window.close()
        else:
            self._idle[use.kind].append(page)


def _emptied(window: BrowserContext, undo: ExitStack) -> Page | None:
    """The page of ``window`` that is left, with nothing in it; None if there is none."""
    if not window.pages:
        return None
    page, *others = window.pages
    for other in others:
        other.close()
    undo.close()
    page.evaluate(_FORGET)
    page.goto("about:blank")
    window.clear_cookies()
    page.emulate_media(color_scheme="null")
    return page
