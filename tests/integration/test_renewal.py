"""SIGHUP on a running node: every key, secret, limit, origin and host is read again, or it is said
that it was not."""

from __future__ import annotations

import os
from json import dumps
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

from twisted.logger import LogLevel, capturedLogs, formatEvent

from chatd.config.options import Options
from chatd.config.renewal import renewed
from chatd.config.table import OPTIONS
from tests.support.keys import EC, RSA
from tests.support.serving import Node, ServingTests
from tests.support.waiting import until

KEY, OTHER = "the-first-key-long-enough", "another-key-just-as-long"
READ = "Read keys and certificates again, and all settings that may change."


class RenewalTests(ServingTests):
    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.folder = self.file.parent

    async def start(self, text: str, *options: str) -> Node:
        self.file.write_text(text)
        return await self.serve(f"--config={self.file}", *options)

    def reload(self, node: Node, text: str | None = None) -> list[str]:
        """What is said when the file says ``text``."""
        if text is not None:
            self.file.write_text(text)
        with capturedLogs() as events:
            node.service.reloader.reload()
        return [formatEvent(event) for event in events]

    def key(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content)
        path.chmod(0o600)
        return path

    async def rooms(self, node: Node, key: str) -> int:
        return (await node.get("/rooms", authorization=f"Bearer {key}")).status

    async def test_a_revoked_admin_key_opens_nothing(self) -> None:
        path = self.key("admin", KEY)
        node = await self.start(f'admin-key = "{path}"')
        self.assertEqual(await self.rooms(node, KEY), 200)
        path.write_text(OTHER)
        self.reload(node)
        self.assertEqual(await self.rooms(node, KEY), 401)
        self.assertEqual(await self.rooms(node, OTHER), 200)
        path.write_text("")
        (fault, _) = self.reload(node)
        self.assertEqual(fault.partition(f"{path} is empty")[0], "Not reloaded: --admin-key: ")
        self.assertEqual(await self.rooms(node, OTHER), 200)
        self.reload(node, "")
        self.assertEqual(await self.rooms(node, OTHER), 403)

    async def test_an_access_log_on_a_full_disk_keeps_no_key_alive(self) -> None:
        path = self.key("admin", KEY)
        node = await self.start(f'admin-key = "{path}"\naccess-log = "/dev/full"')
        with capturedLogs() as events:
            self.assertEqual(await self.rooms(node, KEY), 200)
            self.assertEqual(await self.rooms(node, KEY), 200)
        lost = [formatEvent(e) for e in events if e["log_level"] is LogLevel.error]
        self.assertEqual(lost, ["/dev/full: lines are lost: No space left on device"])
        path.write_text(OTHER)
        said = self.reload(node, f'admin-key = "{path}"\naccess-log = "/dev/full"\nrate = "7/s"')
        self.assertIn("Changed: rate", said)
        self.assertEqual(await self.rooms(node, KEY), 401)
        self.assertEqual(await self.rooms(node, OTHER), 200)
        away = self.folder / "away"
        away.mkdir()
        self.reload(node, f'admin-key = "{path}"\naccess-log = "{away}/log"')
        self.assertTrue((away / "log").exists())
        (away / "log").unlink()
        away.rmdir()
        with patch.object(node.service.settings, "read", return_value=node.service.settings.config):
            (fault, _) = self.reload(node)
        self.assertIn(f"the access log: cannot write {away}/log: No such file", fault)

    async def test_a_part_that_fails_keeps_no_other_from_being_read_again(self) -> None:
        path = self.key("admin", KEY)
        node = await self.start(f'admin-key = "{path}"')
        path.write_text(OTHER)

        def broken() -> list[str]:
            raise ZeroDivisionError

        node.service.reloader._sources.insert(0, broken)
        said = self.reload(node)
        self.assertIn("A part of the reload failed; the others are done", said)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(await self.rooms(node, KEY), 401)

    async def test_the_last_line_says_whether_all_was_read(self) -> None:
        """It is what the runbook says to look for, when a key has leaked."""
        path = self.key("admin", KEY)
        node = await self.start(f'admin-key = "{path}"')
        self.assertEqual(self.reload(node), [READ])
        path.write_text("")
        (_, last) = self.reload(node)
        self.assertRegex(last, "^Read .*, but for what the lines above name")

    async def test_a_key_that_only_root_may_read(self) -> None:
        """It was read before root became another user, and is not read again: that is said while
        there is time, not when a certificate has expired."""
        path = self.key("admin", KEY)
        node = await self.start(f'admin-key = "{path}"')
        path.chmod(0)
        if not os.geteuid():
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)
        with capturedLogs() as events:
            node.service.adviser.say()
        self.assertIn(
            f"{path}: the user that chatd runs as may not read it", formatEvent(events[0])
        )

    async def test_what_came_through_a_pipe_is_kept(self) -> None:
        """It is read once: it would be waited for, or count as an empty file."""
        path = self.key("admin", KEY)
        node = await self.start(f'admin-key = "{path}"\norigin = "https://a.example"')
        for pipe, option in ((path, "--admin-key"), (self.file, "--config")):
            pipe.unlink()
            os.mkfifo(pipe)
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            with open(pipe, "wb"):
                self.addCleanup(os.close, reader)  # like the shell's <(...): open, and used up
            why = f"{pipe} is a pipe, which is read at the start only"
            self.assertIn(f"Not reloaded: {option}: {why}", self.reload(node))
            pipe.unlink()
            if pipe == path:
                self.key("admin", KEY)
        self.assertEqual(await self.rooms(node, KEY), 200)
        self.assertEqual(node.service.settings.config.origins, ("https://a.example",))

    async def test_the_setup_secret(self) -> None:
        path = self.key("setup", KEY)
        node = await self.start(f'setup-secret = "{path}"')
        path.write_text(OTHER)
        self.reload(node)
        for secret, answer in ((KEY, b"401"), (OTHER, b"200")):
            raw = await node.raw("setup")
            raw.send(f'{{"roomname":"den","secret":"{secret}"}}\n'.encode())
            self.assertEqual((await raw.until(b"\n"))[:3], answer)

    async def test_origins_and_hosts(self) -> None:
        node = await self.start("")
        page = {"origin": "https://a.example"}
        self.assertEqual((await node.get("/rooms/lobby", **page)).status, 403)
        self.reload(node, 'origin = "https://a.example"\nhost = ["b.example"]')
        self.assertEqual((await node.get("/rooms/lobby", **page)).status, 403)
        page["host"] = "b.example"
        self.assertEqual((await node.get("/rooms/lobby", **page)).status, 200)
        socket = await node.websocket("/?username=ann", **page)
        self.assertEqual(socket.status, 101)

    async def test_limits(self) -> None:
        node = await self.start("")
        text = 'max-text = 5\nmax-frame = "1KB"\nmax-rooms = 1\nmax-connections = 1'
        said = self.reload(node, text)
        self.assertIn("Changed: max-text, max-frame, max-rooms, max-connections", said)
        post = "/rooms/lobby/messages?username=ann"
        self.assertEqual((await node.post(post, {"text": "123456"})).status, 413)
        self.assertEqual((await node.post(post, b"x" * 2000)).status, 413)
        self.reload(node, f'{text}\nrate = "1/m"')
        self.assertEqual((await node.post(post, {"text": "12345"})).status, 201)
        self.assertEqual((await node.post(post, {"text": "12345"})).status, 429)
        raw = await node.raw("setup")
        raw.send(b'{"roomname":"den"}\n')
        self.assertIn(b"--max-rooms", await raw.until(b"\n"))
        ann = await node.websocket("/?username=ann")
        self.assertEqual((await ann.receive())["limits"], {**self.LIMITS, "text": 5, "frame": 1024})
        self.assertEqual((await node.websocket("/?username=bob")).status, 503)
        self.assertIn(b'data-max-text="5"', (await node.get("/")).body)

    LIMITS: ClassVar[dict[str, Any]] = {"content": 65536, "rooms": 100}

    async def test_rooms(self) -> None:
        node = await self.start("")
        self.reload(node, 'room = ["lobby", "new"]')
        await until(lambda: node.service.chat.directory.find("new") is not None)

    async def test_what_is_valid_and_unwise_is_said_once(self) -> None:
        path = self.key("admin", KEY)
        node = await self.start(f'admin-key = "{path}"')
        short = f"--admin-key: {path} holds a secret of less than 16 bytes"
        short += "; anyone can try to guess it"
        for content, more in ((OTHER, []), ("short", [short]), ("brief", []), (KEY, [])):
            path.write_text(content)
            self.assertEqual(self.reload(node), [*more, READ])
        path.write_text("short")
        self.assertEqual(self.reload(node), [short, READ])

    async def test_a_key_that_is_skipped_is_said(self) -> None:
        """A set of keys in which tokens cannot be verified with all of them."""
        path = self.key("keys", dumps({"keys": [EC.as_dict(private=False)]}))
        node = await self.start(f'auth = "token"\ntoken-key = "{path}"')
        path.write_text(dumps({"keys": [EC.as_dict(private=False), RSA.as_dict(private=True)]}))
        skipped, read = self.reload(node)
        self.assertIn("key 2 of 2", skipped)
        self.assertIn("is a private key", skipped)
        self.assertEqual(read, READ)

    async def test_what_needs_a_restart_is_said(self) -> None:
        node = await self.start('retain = "1d"')
        (fault, _) = self.reload(node, 'retain = "2d"\nauth = "open"\nmetrics = "tcp:1"')
        self.assertEqual(fault, "Not reloaded: metrics, retain: changed, but needs a restart")

    async def test_a_bad_file_changes_nothing(self) -> None:
        node = await self.start('rate = "9/s"')
        for text in ('rate = "fast"', "[chatd]", "rate"):
            self.assertIn("Not reloaded: ", self.reload(node, text)[0])
            self.assertEqual(node.service.settings.config.rate, 9)
        self.file.unlink()
        self.assertIn("cannot read", self.reload(node)[0])

    async def test_a_file_that_is_missing_is_said_once(self) -> None:
        path = self.key("admin", KEY)
        node = await self.start(f'admin-key = "{path}"')
        path.unlink()
        (fault, _) = self.reload(node)
        self.assertIn(f"cannot read {path}: No such file", fault)
        self.assertEqual(await self.rooms(node, KEY), 200)

    async def test_tokens_are_never_switched_off(self) -> None:
        path = self.key("token", "a secret of more than thirty-two bytes")
        node = await self.start(f'auth = "token"\ntoken-key = "{path}"')
        (fault, _) = self.reload(node, "")
        self.assertIn("auth", fault)
        self.assertEqual((await node.get("/rooms/lobby?username=ann")).status, 401)

    def test_every_option_is_one_or_the_other(self) -> None:
        old, new = Options({}), Options({})
        old.parseOptions([])
        new.parseOptions(["--rate=1/s", "--retain=1d", "--trusted-proxy=unix", "--http=off"])
        config, live, rest = renewed(old.config, new.config)
        self.assertEqual((live, rest), (["rate", "trusted-proxy"], ["http", "retain"]))
        self.assertEqual((config.rate, config.trust_unix), (1.0, True))
        self.assertEqual(config.retain, old.config.retain)
        fixed = {option.name for option in OPTIONS if not option.live}
        self.assertEqual(
            fixed & {"admin-key", "setup-secret", "token-key", "origin", "host"}, set()
        )
