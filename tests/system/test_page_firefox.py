"""The chat page in a real Firefox: what it does there is what it does in Chromium."""

from __future__ import annotations

import json

import pytest

from tests.support.axe import script
from tests.support.daemon import Daemon
from tests.support.firefox import Tab, firefox

pytestmark = pytest.mark.browser


def _fill(tab: Tab, field: str, text: str) -> None:
    """Write into a field as a person's keys do, as far as the page can tell."""
    tab.run(
        f"(() => {{ const field = document.getElementById({json.dumps(field)});"
        f" field.value = {json.dumps(text)};"
        " field.dispatchEvent(new InputEvent('input', { bubbles: true })); return true; })()"
    )


def _click(tab: Tab, form: str) -> None:
    tab.run(f"(document.querySelector('#{form} .strong').click(), true)")


def test_coming_in_talking_and_being_refused() -> None:
    with Daemon("--room", "kitchen") as daemon, firefox() as fox:
        tab = fox.open(daemon.url())
        assert tab.run("document.getElementById('room').value") == "kitchen"
        _fill(tab, "name", "ann")
        _click(tab, "join")
        tab.until("document.getElementById('state').textContent === 'Online'")
        assert tab.run("document.title") == "kitchen · chatd"
        for text in ("one https://example.org/.", "two"):
            _fill(tab, "text", text)
            _click(tab, "composer")
            tab.until("document.getElementById('text').value === ''")
        tab.until("document.querySelectorAll('.sent').length === 2")
        assert tab.run("document.querySelector('.text a').href") == "https://example.org/"
        assert tab.run("document.querySelectorAll('.mine.together').length") == 1
        _fill(tab, "text", "x" * 17_000)
        assert tab.run("document.getElementById('text').ariaInvalid") == "true"
        _fill(tab, "room", "nowhere")
        _click(tab, "join")
        tab.until("document.getElementById('refusal').textContent.includes('nowhere')")
        assert tab.run("document.activeElement.id") == "room"
        assert tab.run("document.getElementById('title').textContent") == "kitchen"
        assert tab.run(script()) == []
