"""What the log looks like, what is left out of it, and where it goes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread

from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatd.telemetry.log import FORMATS, OFTEN, PERIOD, Log, Output

#: Why a line is lost that there is no space for.
TOO_FAST = "it is a pipe or a terminal that is not read as fast as it is written"

#: A program that says something where its output goes, by the name of that.
SAY = "from chatd.telemetry.log import Output\nOutput('/dev/stdout').write('said\\n')"


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "log"
        self.use("text")

    def use(self, format: str) -> None:
        self.log = Log(Output(str(self.path)), FORMATS[format])
        self.addCleanup(self.log.output.close)

    def emit(
        self, text: str, level: LogLevel = LogLevel.info, at: float = 0, **more: object
    ) -> None:
        event: LogEvent = {
            "log_format": text,
            "log_level": level,
            "log_namespace": "chatd.some.module",
            "log_time": 1_700_000_000 + at,
            **more,
        }
        self.log(event)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def test_text(self) -> None:
        self.emit("{who} came", who="ann")
        self.emit("{what}", LogLevel.warn, what="a\nb\x1b[31m")
        self.assertEqual(
            self.lines(),
            ["2023-11-14 22:13:20Z ann came", r"2023-11-14 22:13:20Z warn: a\nb\x1b[31m"],
        )

    def test_failures(self) -> None:
        failure = Failure(ValueError("no"))
        self.emit("It failed", LogLevel.critical, log_failure=failure)
        first, *rest = self.lines()
        self.assertEqual(first, "2023-11-14 22:13:20Z critical: It failed")
        self.assertIn("ValueError: no", rest[-1])
        self.assertTrue(all(line.startswith("    ") for line in rest))

    def test_json(self) -> None:
        self.use("json")
        self.emit("{who} came {n}", who="ann", n=3, at=0.5)
        self.assertEqual(
            json.loads(self.lines()[0]),
            {
                "time": "2023-11-14T22:13:20.500Z",
                "level": "info",
                "part": "chatd.some.module",
                "text": "ann came 3",
                "who": "ann",
                "n": 3,
            },
        )

    def test_what_libraries_say_in_passing_is_left_out(self) -> None:
        for namespace in ("twisted.application.internet", "log_legacy", "autobahn.twisted", "-"):
            self.emit("Scheduling retry", log_namespace=namespace)
        self.emit("details", LogLevel.debug)
        self.assertEqual(self.lines(), [])
        self.emit("Unhandled error", LogLevel.critical, log_namespace="twisted.internet.defer")
        self.assertEqual(len(self.lines()), 1)

    def test_what_libraries_say_of_clients_is_left_out(self) -> None:
        namespace = "autobahn.twisted.websocket.WebSocketServerProtocol"
        self.emit("failing WebSocket connection", LogLevel.warn, log_namespace=namespace)
        self.assertEqual(self.lines(), [])
        self.emit("Firing signal failed", LogLevel.error, log_namespace=namespace)
        self.assertEqual(len(self.lines()), 1)

    def test_repeats_are_counted(self) -> None:
        for n in range(OFTEN + 5):
            self.emit("again {n}", n=n)
        self.emit("something else")
        self.assertEqual(len(self.lines()), OFTEN + 1)
        self.emit("again {n}", n=0, at=PERIOD)
        self.assertIn("5 lines like the next one were left out", self.lines()[-2])
        self.assertIn("again 0", self.lines()[-1])

    def test_a_file_that_is_moved_away(self) -> None:
        self.emit("one")
        moved = self.path.with_suffix(".1")
        self.path.rename(moved)
        self.emit("two")
        self.assertEqual(self.log.output.reopen(), [])
        self.emit("three")
        self.assertEqual([len(moved.read_text().splitlines()), len(self.lines())], [2, 1])

    def test_a_file_that_is_cut_off(self) -> None:
        """copytruncate leaves no hole behind."""
        self.emit("one")
        self.path.write_bytes(b"")
        self.emit("two")
        self.assertEqual(self.path.read_bytes(), b"2023-11-14 22:13:20Z two\n")

    def test_a_file_that_cannot_be_written(self) -> None:
        self.path.mkdir()
        self.emit("lost")
        (fault,) = self.log.output.reopen()
        self.assertIn(f"cannot write {self.path}", fault)

    def test_a_disk_that_is_full(self) -> None:
        output = Output("/dev/full")
        for _ in range(2):
            self.assertIn("No space left", output.write("lost\n"))
        output.close()
        self.assertIn("No space left", output.write("lost, too\n"))
        self.assertEqual(output.reopen(), [])
        output.path = str(self.path)
        output.close()
        self.assertEqual(output.write("kept\n"), "")
        output.close()
        self.assertEqual(self.lines(), ["kept"])

    def pipe(self) -> Output:
        os.mkfifo(self.path)
        output = Output(str(self.path))
        self.addCleanup(output.close)
        return output

    def read_by(self) -> int:
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        return reader

    def test_a_pipe_without_a_reader_is_not_waited_for(self) -> None:
        output = self.pipe()
        why = "it is a pipe that nobody reads"
        self.assertEqual(output.write("lost\n"), why)
        self.assertEqual(output.reopen(), [f"the log: cannot write {self.path}: {why}"])
        reader = self.read_by()
        self.assertEqual(output.write("read\n"), "")
        self.assertEqual(os.read(reader, 100), b"read\n")

    def test_a_pipe_that_is_full_is_not_waited_for(self) -> None:
        output = self.pipe()
        reader = self.read_by()
        lines = [f"{n} {'x' * 9000}\n" for n in range(20)]
        lost = [output.write(line) for line in lines]
        self.assertEqual(lost[0], "")
        self.assertEqual(lost[-1], TOO_FAST)
        taken = os.read(reader, 1_000_000)
        self.assertEqual(output.write("last\n"), "")
        taken += os.read(reader, 1_000_000)
        # whole lines, and those that were not said to be lost
        self.assertEqual(
            taken.decode(),
            "".join(line for line, why in zip(lines, lost, strict=True) if not why) + "last\n",
        )

    def standard_output(self, encoding: str, ends: tuple[int, int] | None = None) -> int:
        """Standard output becomes a pipe, or else the second of ``ends``. Returns the end to read
        from."""
        reader, writer = ends or os.pipe()
        stream = os.fdopen(writer, "w", encoding=encoding)
        self.addCleanup(os.close, reader)
        self.addCleanup(stream.close)
        self.patch(sys, "__stdout__", stream)
        return reader

    def test_standard_output_that_is_not_read_is_not_waited_for(self) -> None:
        """A collector of logs that hangs: the node goes on."""
        reader, output = self.standard_output("utf-8"), Output(None)
        lines = [f"{n} {'x' * 9000}\n" for n in range(20)]
        lost = [output.write(line) for line in lines]
        self.assertEqual((lost[0], lost[-1]), ("", TOO_FAST))
        taken = os.read(reader, 1_000_000)
        self.assertEqual(output.write("last\n"), "")
        taken += os.read(reader, 1_000_000)
        kept = [line for line, why in zip(lines, lost, strict=True) if not why]
        self.assertEqual(taken.decode(), "".join(kept) + "last\n")

    def test_a_terminal_that_is_not_read_is_not_waited_for(self) -> None:
        """That of a remote login whose line is down: the node goes on."""
        ends = os.openpty()
        terminal, output = self.standard_output("utf-8", ends), Output(None)
        self.addCleanup(output.close)
        lost: list[str] = []
        lines = [f"{n} {'x' * 90}\n" for n in range(2000)]
        writing = Thread(target=lambda: lost.extend(map(output.write, lines)), daemon=True)
        writing.start()
        writing.join(5)
        self.assertFalse(writing.is_alive())
        self.assertEqual((lost[0], lost[-1]), ("", TOO_FAST))
        self.assertTrue(os.get_blocking(ends[1]), "for others that write there")
        os.set_blocking(terminal, False)
        kept = [line for line, why in zip(lines, lost, strict=True) if not why]
        self.assertEqual(self.read_all(terminal, output), "".join(kept) + "last\n")

    def read_all(self, terminal: int, output: Output) -> str:
        """What was written to ``terminal``, and a last line that is written when there is space."""
        taken = b""
        while not taken.endswith(b"last\r\n"):
            with contextlib.suppress(BlockingIOError):
                taken += os.read(terminal, 1_000_000)
                continue
            output.write("last\n")
        return taken.decode().replace("\r\n", "\n")

    def test_standard_output_of_few_characters(self) -> None:
        """What it lacks is an escape, and the line is not lost."""
        reader = self.standard_output("ascii")
        self.assertEqual(Output(None).write("küche\n"), "")
        self.assertEqual(os.read(reader, 100), b"k\\xfcche\n")

    def test_the_output_that_was_inherited(self) -> None:
        """By its name, as a container's or a service's log: a pipe, or a socket."""
        for one, other in (os.pipe(), (socket.socketpair())):
            reader, writer = (end if isinstance(end, int) else end.detach() for end in (one, other))
            self.addCleanup(os.close, reader)
            subprocess.run([sys.executable, "-c", SAY], stdout=writer, check=True)
            os.close(writer)
            self.assertEqual(os.read(reader, 100), b"said\n")

    def test_the_output_of_another_user(self) -> None:
        """Who has become somebody else since then may write there, and not open it by its name."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.fchmod(writer, 0)
        become = "import os; os.geteuid() or os.seteuid(65534)\n"
        code = SAY.replace("\n", f"\n{become}", 1)
        subprocess.run([sys.executable, "-c", code], stdout=writer, check=True)
        os.close(writer)
        self.assertEqual(os.read(reader, 100), b"said\n")

    def test_what_is_no_text(self) -> None:
        self.emit("a name: {name}", name="\udcff")
        self.assertIn("a name: \\udcff", self.lines()[0])
        self.assertEqual(self.log.output.write("\udcff\n"), "")

    def test_it_takes_what_loggers_say(self) -> None:
        logger = Logger(namespace="chatd.x", observer=self.log)
        logger.warn("{what}", what="so")
        self.assertIn("warn: so", self.lines()[0])
