"""``chatd-client`` as npm's users get it: packed, installed, bundled, and under Node alone."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatd
from tests.support.daemon import ROOT, Daemon

BIN = ROOT / ".cache/js/node_modules/.bin"
#: What the client may weigh, minified and compressed, in bytes: what a page with WebSocket loads,
#: and with it what others load besides.
WEIGHT = 10_150
WHOLE = 14_540

TALK = """
import { Chat } from 'chatd-client';
const [, , url, ...transports] = process.argv;
const options = transports.length ? { transports } : {};
const [ann, bob] = ['ann', 'bob'].map((user) => new Chat(url, { user, ...options }));
const [here, there] = await Promise.all([ann.join('lobby'), bob.join('lobby')]);
const reading = there[Symbol.asyncIterator]().next();
await here.send('hello');
const { value } = await reading;
console.log(`${value.user} ${value.text} ${ann.state.transport}`);
ann.close();
bob.close();
"""

#: With npm's ws: it talks, and a refused connection, or a send nobody waits for, ends no process.
WITH_WS = """
import WebSocket from 'ws';
import { Chat } from 'chatd-client';
const [, , url] = process.argv;
const only = { WebSocket, transports: ['websocket'], backoff: 50, backoffMax: 50 };
const ann = new Chat(url, { user: 'ann', ...only });
const room = await ann.join('lobby');
const id = await room.send('hello');
const nowhere = await ann.join('nowhere').catch(({ code }) => code);
const large = await room.send('x'.repeat(200_000)).catch(({ code }) => code);
room.send('not waited for');
ann.close();
const refused = new Chat('http://127.0.0.1:9/', only);
const late = await refused.join('lobby', { timeout: 300 }).catch(({ code }) => code);
refused.close();
const barred = new Chat(url, { ...only, user: 'bad\\u0000name' });
const named = await barred.join('lobby', { timeout: 300 }).catch(({ code }) => code);
barred.close();
const hasty = new Chat(url, only);
hasty.join('lobby');
hasty.close();
console.log(JSON.stringify([typeof id, nowhere, large, late, named]));
"""

TYPED = """
import { Chat, ChatError, type Message, type Room } from 'chatd-client';

const chat = new Chat('http://localhost:8081/', { user: 'ann' });
chat.on('state', ({ state, retry }) => { const now: string = state; void [now, retry]; });
const room: Room = await chat.join('lobby', { last: 50, timeout: 1000 });
room.on('message', (message: Message) => { message.text.trim(); });
room.once('recovered', ({ count }) => { count.toFixed(); });
for await (const { user } of room) user.trim();
const id: string = await room.send('x', { data: { a: 1 }, signal: AbortSignal.timeout(5) });
void [id, chat.rooms[0].state.state === 'joined', new ChatError('closed', 'x').temporary];
// @ts-expect-error: no such event
room.on('mesage', () => {});
// @ts-expect-error: no such option
new Chat('/', { usr: 'ann' });
"""


def run(*command: str | Path, folder: Path) -> str:
    """Run ``command`` in ``folder``; what it writes to standard output. It must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application that has installed the packed client."""
    app = tmp_path_factory.mktemp("app")
    (app / "package.json").write_text('{"type":"module","private":true}')
    # a folder is packed as it would be for the registry, and installed from that, not linked to
    options = ["--install-links", "--offline", "--no-audit", "--no-fund", "--silent"]
    run("npm", "install", *options, ROOT, folder=app)
    shutil.copytree(BIN.parent / "ws", app / "node_modules/ws")
    for name, script in (("talk.js", TALK), ("ws.js", WITH_WS), ("typed.ts", TYPED)):
        (app / name).write_text(script)
    return app


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


def test_it_is_the_same_release_and_the_same_files(app: Path) -> None:
    package = app / "node_modules/chatd-client"
    assert json.loads((package / "package.json").read_text())["version"] == chatd.__version__
    ours = {p.relative_to(ROOT) for p in (ROOT / "chatd/web/client").rglob("*.js")}
    ours.add(Path("chatd/web/chatd.js"))
    packed = {p.relative_to(package) for p in package.rglob("*.js")}
    assert packed == ours
    for path in ours:
        assert (package / path).read_bytes() == (ROOT / path).read_bytes()


def test_its_types_are_those_of_its_files(tmp_path: Path) -> None:
    """``npm run types`` makes them anew; whether the files fit together is for ``make check``."""
    made_so = ("-p", ROOT / "types/tsconfig.json", "--noCheck", "--outDir", tmp_path)
    run(BIN / "tsc", *made_so, folder=ROOT)
    made = {p.relative_to(tmp_path): p.read_text() for p in tmp_path.rglob("*.d.ts")}
    kept = {p.relative_to(ROOT / "types"): p.read_text() for p in (ROOT / "types").rglob("*.d.ts")}
    assert made == kept


def test_types_tell_right_from_wrong(app: Path) -> None:
    options = {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "module": "nodenext",
        "lib": ["es2022", "dom", "dom.iterable", "dom.asynciterable"],
        "types": [],
        "skipDefaultLibCheck": True,  # TypeScript's own
    }
    config = {"compilerOptions": options, "files": ["typed.ts"]}
    (app / "tsconfig.json").write_text(json.dumps(config))
    run(BIN / "tsc", "-p", app, folder=app)


@pytest.mark.parametrize(
    ("transports", "used"), [([], "poll"), (["sse"], "sse"), (["poll"], "poll")]
)
def test_node_alone(app: Path, daemon: Daemon, transports: list[str], used: str) -> None:
    if not transports and run("node", "-p", "typeof WebSocket", folder=app).strip() != "undefined":
        used = "websocket"
    said = run("node", "talk.js", daemon.url(), *transports, folder=app)
    assert said == f"ann hello {used}\n"


def test_node_with_ws(app: Path, daemon: Daemon) -> None:
    said = json.loads(run("node", "ws.js", daemon.url(), folder=app))
    assert said == ["string", "unknown_room", "too_large", "timeout", "timeout"]


MINIFIED = ["--bundle", "--minify", "--format=esm"]


@pytest.mark.parametrize("options", [[], ["--splitting"]], ids=["one file", "split"])
def test_bundled_with_esbuild(app: Path, daemon: Daemon, options: list[str]) -> None:
    options = [*MINIFIED, *options, "--outdir=out/talk"]
    run(BIN / "esbuild", "talk.js", *options, folder=app)
    assert run("node", "out/talk/talk.js", daemon.url(), "sse", folder=app) == "ann hello sse\n"


def test_it_weighs_little(app: Path) -> None:
    """Where links over HTTP are loaded when they are needed, as bundlers do it that split."""
    entry = "node_modules/chatd-client/chatd/web/chatd.js"
    options = [*MINIFIED, "--splitting", "--outdir=out/client", "--metafile=out/made.json"]
    run(BIN / "esbuild", entry, *options, folder=app)
    made = json.loads((app / "out/made.json").read_text())["outputs"]
    weights = {path: len(gzip.compress((app / path).read_bytes(), mtime=0)) for path in made}
    [first] = [path for path in made if made[path].get("entryPoint") == entry]
    assert {one["kind"] for one in made[first]["imports"]} == {"dynamic-import"}
    assert weights[first] < WEIGHT
    assert sum(weights.values()) < WHOLE


def test_bundled_with_vite(app: Path, daemon: Daemon) -> None:
    (app / "index.html").write_text('<script type="module" src="page.js"></script>')
    (app / "page.js").write_text(TALK.replace("process.argv", "globalThis.argv"))
    run(BIN / "vite", "build", "--target", "es2022", "--logLevel", "error", folder=app)
    [bundle] = (app / "dist/assets").glob("index-*.js")
    # What vite adds for browsers, a polyfill of modulepreload, looks for a document.
    start = f"globalThis.argv = ['', '', '{daemon.url()}', 'poll'];"
    start += "globalThis.document = { createElement: () => ({ relList: { supports: () => true } }),"
    start += " addEventListener() {} };"
    (app / "start.js").write_text(f"{start} await import('./dist/assets/{bundle.name}');")
    assert run("node", "start.js", folder=app) == "ann hello poll\n"
