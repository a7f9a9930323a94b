"""axe-core, the rules of accessible pages that a machine can check, run in a page of a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from playwright.sync_api import Page

from tests.support.daemon import ROOT

_SOURCE = ROOT / ".cache" / "js" / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """async (options) => {
  const { violations } = await axe.run(document, { resultTypes: ['violations'], ...options });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target}: ${failureSummary}`));
}"""
#: The rules whose outcome depends on colours (https://dequeuniversity.com/rules/axe/4.11).
_COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
#: Width and height in CSS pixels, and whether it is held in the hand and touched.
DEVICES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}


def source() -> str:
    """The library itself."""
    if not _SOURCE.exists():
        raise FileNotFoundError("Run the tests by `make test`, which installs axe-core.")
    return _SOURCE.read_text()


def script() -> str:
    """An expression whose promise brings what is wrong with the page that it is evaluated in, by
    any of axe's rules: for each element the rule, the element, and why."""
    return f"(() => {{ {source()}; return ({_RUN})(); }})()"


def violations(page: Page, colours: bool = False) -> list[str]:
    """What is wrong with ``page`` as it is now, or with its ``colours`` alone."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(source())
    found: list[str] = page.evaluate(_RUN, _COLOURS if colours else {})
    return found


def check_themes(page: Page) -> None:
    """No rule of axe's is broken in light, and none about colours in dark."""
    themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for theme in themes:
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("() => document.getAnimations().length === 0")
        assert violations(page, colours=theme == "dark") == [], theme


def devices(page: Page) -> Iterator[str]:
    """``page`` on each of `DEVICES`, one after the other, in the state that it is in; their names.

    (https://chromedevtools.github.io/devtools-protocol/tot/Emulation/)
    """
    session = page.context.new_cdp_session(page)
    for name, (width, height, touched) in DEVICES.items():
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touched}
        session.send("Emulation.setDeviceMetricsOverride", metrics)
        session.send("Emulation.setTouchEmulationEnabled", {"enabled": touched})
        yield name
    session.detach()
    # what Playwright had set went with it, which it sets again for another size only
    size = page.viewport_size
    assert size is not None
    page.set_viewport_size({**size, "height": size["height"] + 1})
    page.set_viewport_size(size)
