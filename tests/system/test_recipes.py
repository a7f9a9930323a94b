"""The recipes of docs/browser.rst for React and Vue, bundled and run in a browser."""

from __future__ import annotations

import subprocess
from pathlib import Path
from textwrap import dedent

import pytest
from playwright.sync_api import expect

from tests.support.browser import Person
from tests.support.daemon import ROOT, Daemon
from tests.support.site import site
from tests.support.windows import Windows

pytestmark = pytest.mark.browser

NODE_MODULES = ROOT / ".cache/js/node_modules"

APPS = {
    "React": """
import { createElement as h, StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { Chat } from 'chatd-client';
import { useRoom } from './recipe.js';

const chat = new Chat(URL_OF_CHATD, { user: 'ann' });
globalThis.chat = chat;
function Log({ name }) {
  const { room, messages } = useRoom(chat, name);
  return h('div', null,
    h('ul', null, messages.map(({ id, text }) => h('li', { key: id }, text))),
    h('button', { disabled: !room, onClick: () => room.send('said') }, 'Say'));
}
function App() {
  const [shown, show] = useState(true);
  return h('div', null, shown && h(Log, { name: 'lobby' }),
    h('button', { onClick: () => show(!shown) }, 'Toggle'));
}
createRoot(document.body.appendChild(document.createElement('div')))
  .render(h(StrictMode, null, h(App)));
""",
    "Vue": """
import { createApp, h, reactive, ref } from 'vue';
import { Chat } from 'chatd-client';
import { useRoom } from './recipe.js';

const { chat } = reactive({ chat: new Chat(URL_OF_CHATD, { user: 'ann' }) });
globalThis.chat = chat;
const Log = {
  setup() {
    const here = useRoom(chat, 'lobby');
    return () => h('div', [h('ul', here.messages.map(({ id, text }) => h('li', { key: id }, text))),
      h('button', { disabled: !here.room, onClick: () => here.room.send('said') }, 'Say')]);
  },
};
const App = {
  setup() {
    const shown = ref(true);
    return () => h('div', [shown.value ? h(Log) : null,
      h('button', { onClick: () => { shown.value = !shown.value; } }, 'Toggle')]);
  },
};
createApp(App).mount(document.body.appendChild(document.createElement('div')));
""",
}


def recipe(framework: str) -> str:
    """The code under the heading of ``framework``."""
    text = (ROOT / "docs/browser.rst").read_text()
    section = text[text.index(f"With {framework}\n") :]
    code = section[section.index(".. code:: javascript\n") :].partition("\n")[2]
    lines: list[str] = []
    for line in code.splitlines():
        if line and not line.startswith(" "):
            break
        lines.append(line)
    return dedent("\n".join(lines))


@pytest.mark.parametrize("framework", sorted(APPS))
def test_a_recipe(windows: Windows, tmp_path: Path, framework: str) -> None:
    with site(tmp_path) as origin, Daemon("--origin", origin) as daemon:
        (tmp_path / "recipe.js").write_text(recipe(framework))
        (tmp_path / "app.js").write_text(
            APPS[framework].replace("URL_OF_CHATD", repr(daemon.url()))
        )
        (tmp_path / "index.html").write_text(
            "<!doctype html><link rel=icon href=data:,><body>"
            "<script type=module src=bundle.js></script>"
        )
        command = [
            NODE_MODULES / ".bin/esbuild",
            "app.js",
            "--bundle",
            "--outfile=bundle.js",
            f"--alias:chatd-client={ROOT / 'chatd/web/chatd.js'}",
            "--define:process.env.NODE_ENV='development'",
            "--define:__VUE_OPTIONS_API__=true",
            "--define:__VUE_PROD_DEVTOOLS__=false",
            "--define:__VUE_PROD_HYDRATION_MISMATCH_DETAILS__=false",
            "--log-level=error",
        ]
        environment = {"NODE_PATH": str(NODE_MODULES), "PATH": "/usr/bin:/bin:/usr/local/bin"}
        subprocess.run([str(c) for c in command], cwd=tmp_path, env=environment, check=True)
        ann = Person(windows, f"{origin}/index.html")
        said = ann.page.locator("li")
        for number in range(1, 4):
            ann.page.get_by_role("button", name="Say").click()
            expect(said).to_have_text(["said"] * number)
        ann.page.wait_for_function("chat.rooms.length === 1")
        toggle = ann.page.get_by_role("button", name="Toggle")
        toggle.click()
        ann.page.wait_for_function("chat.rooms.length === 0")
        toggle.click()
        expect(said).to_have_text(["said"] * 3)
        ann.page.wait_for_function("chat.rooms.length === 1")
        assert ann.page.evaluate("chat.rooms[0].state.state") == "joined"
        ann.leave()
