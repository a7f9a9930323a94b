"""``chatd.js`` by itself, under Node: its own tests, and against a real chatd."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import ROOT, Daemon

TESTS = ROOT / "tests" / "js"


def node(*arguments: str) -> str:
    """Run Node and return what it writes; what it writes to standard error fails the test."""
    run = subprocess.run(
        ["node", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    return run.stdout


@pytest.mark.timeout(400)  # a hundred tests on a busy machine; each has a limit of its own
def test_its_own_tests() -> None:
    files = sorted(str(path) for path in TESTS.glob("*.test.js"))
    # they wait for most of their time
    output = node("--test", "--test-concurrency=4", "--test-reporter=tap", *files)
    passed = re.search(r"^# pass (\d+)$", output, re.MULTILINE)
    assert passed is not None, output
    assert int(passed[1]) >= 100
    assert "# fail 0\n# cancelled 0\n# skipped 0\n" in output


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("--room", "sse", "--room", "poll") as daemon:
        yield daemon


@pytest.mark.parametrize("transport", ["sse", "poll"])
def test_a_real_server(transport: str, daemon: Daemon, tmp_path: Path) -> None:
    script = tmp_path / "talk.mjs"
    script.write_text(
        f"import {{ Chat }} from {json.dumps((ROOT / 'chatd/web/chatd.js').as_uri())};"
        + """
const [, , url, transport] = process.argv;
const ann = new Chat(url, { user: 'ann', transports: [transport] });
const bob = new Chat(url, { user: 'bob', transports: [transport] });
const [here, there] = await Promise.all([ann, bob].map((chat) => chat.join(transport)));
const texts = [];
const reading = (async () => {
  for await (const { user, text } of there) if (texts.push(`${user} ${text}`) === 20) return;
})();
for (let i = 0; i < 10; i += 1) await Promise.all([here.send(`a${i}`), there.send(`b${i}`)]);
await reading;
const refusal = await here.send('x'.repeat(20000)).catch(({ code }) => code);
const nowhere = await ann.join('nowhere').catch(({ code }) => code);
const { messages } = await here.history({ last: 20 });
const older = await here.before(messages[19], 5);
console.log(JSON.stringify({ texts, refusal, nowhere, used: ann.state.transport,
  same: messages.map(({ user, text }) => `${user} ${text}`).join() === texts.join(),
  before: older.map(({ text }) => text).join() === texts.slice(14, 19).map((t) => t.split(' ')[1])
    .join() }));
ann.close();
bob.close();
"""
    )
    said = json.loads(node(str(script), daemon.url(), transport))
    texts = said.pop("texts")
    for name in "ab":
        mine = [text.split()[1] for text in texts if text.split()[1].startswith(name)]
        assert mine == [f"{name}{number}" for number in range(10)]
    assert said == {
        "refusal": "too_large",
        "nowhere": "unknown_room",
        "used": transport,
        "same": True,
        "before": True,
    }
