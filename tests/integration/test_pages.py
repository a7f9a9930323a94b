"""The page's files: compressed, validated, cached (RFC 9110, sections 8.8.3, 12.5.3, 13.1.2)."""

from __future__ import annotations

import gzip
import re
from unittest import mock

import brotli

from chatd.transports.http import files
from chatd.transports.http.files import CODINGS
from tests.support.guarded import GuardedTests
from tests.support.serving import Node, ServingTests

CLIENT = "/chatd.js"
PAGE = "/"


async def kept(node: Node) -> str:
    """The path at which the page finds the client."""
    page = (await node.get(PAGE)).body.decode()
    match = re.search(r'href="(files/[^"]+/chatd\.js)"', page)
    assert match is not None, page
    return f"/{match[1]}"


class CodingTests(ServingTests):
    async def test_each_gets_what_it_takes(self) -> None:
        node = await self.serve()
        for path in (PAGE, CLIENT, "/chatd.css", await kept(node)):
            plain = (await node.get(path)).body
            for accepted, coding in (
                (None, None),
                ("", None),
                ("gzip", "gzip"),
                ("x-gzip", "gzip"),
                ("GZip", "gzip"),
                ("gzip, deflate, br, zstd", "br"),
                ("br;q=0.5, gzip;q=0.8", "gzip"),
                ("br;q=0, *", "gzip"),
                ("*", "br"),
                ("*;q=0", None),
                ("gzip;q=0", None),
                ("gzip; q=0.000, br; q=0", None),
                ("gzip;q=0.1, identity", None),
                ("gzip;q=0.1, identity;q=0", "gzip"),
                ("deflate", None),
                ("gzip;q=two", None),
                (", ,gzip,", "gzip"),
            ):
                headers = {} if accepted is None else {"accept_encoding": accepted}
                answer = await node.get(path, **headers)
                found = (answer.status, answer.header("content-encoding"))
                self.assertEqual(found, (200, coding), (path, accepted))
                decode = {"gzip": gzip.decompress, "br": brotli.decompress}.get(coding or "", bytes)
                self.assertEqual(decode(answer.body), plain, accepted)
                self.assertEqual(answer.header("vary"), "Accept-Encoding")
                self.assertEqual(coding is not None, len(answer.body) < len(plain))

    async def test_a_list_without_end(self) -> None:
        """Is looked through once, and not to its end."""
        node = await self.serve()
        parsed = mock.Mock(side_effect=files.qualities_of)
        self.patch(files, "qualities_of", parsed)
        for accepted, coding in (
            ("x, " * 99 + "gzip", "gzip"),
            ("x, " * 100 + "gzip", None),
            ("gzip;x;x;x;q=0", None),
            ("gzip, " + "," * 15_000, "gzip"),
            ("gzip, br" + ";" * 15_000 + "q=1", "gzip"),
        ):
            parsed.reset_mock()
            answer = await node.get(PAGE, accept_encoding=accepted)
            self.assertEqual(answer.header("content-encoding"), coding, accepted)
            self.assertEqual(parsed.call_count, 1)
            for what in (";", ","):
                self.assertLessEqual(len(files.qualities_of(accepted + what * 500)), CODINGS)

    async def test_head_tells_the_same_length(self) -> None:
        node = await self.serve()
        get = await node.get(CLIENT, accept_encoding="br")
        head = await node.request("HEAD", CLIENT, None, accept_encoding="br")
        for name in ("content-length", "content-encoding", "etag", "vary"):
            self.assertEqual(head.header(name), get.header(name))

    async def test_who_asks_from_elsewhere_varies_too(self) -> None:
        node = await self.serve("--origin=https://a.example")
        answer = await node.get(CLIENT, origin="https://a.example")
        self.assertEqual(answer.headers.getRawHeaders("vary"), ["Origin", "Accept-Encoding"])

    async def test_what_the_server_says_of_itself_is_not_coded(self) -> None:
        node = await self.serve()
        for path in ("/rooms/lobby", "/metrics", "/rooms/lobby/messages?last=10", "/nothing"):
            answer = await node.get(path, accept_encoding="gzip, br")
            self.assertIsNone(answer.header("content-encoding"))


class ValidatorTests(ServingTests):
    async def test_each_coding_has_its_own(self) -> None:
        node = await self.serve()
        tags = {
            (await node.get(CLIENT, accept_encoding=coding)).header("etag")
            for coding in ("", "gzip", "br")
        }
        self.assertEqual(len(tags), 3)
        for tag in tags:
            self.assertRegex(str(tag), r'^"[^"]+"$')  # strong

    async def test_if_none_match(self) -> None:
        node = await self.serve()
        for coding in ("", "gzip", "br"):
            tag = str((await node.get(CLIENT, accept_encoding=coding)).header("etag"))
            for given, status in (
                (tag, 304),
                (f"W/{tag}", 304),
                ("*", 304),
                (" * ", 304),
                (f'"other", {tag}', 304),
                (f'W/"other",W/{tag} , "a,b"', 304),
                ('"other"', 200),
                (tag.strip('"'), 200),
                (tag[:-1], 200),
                (f'"{tag[1:-1]}x"', 200),
                ("", 200),
            ):
                for method in ("GET", "HEAD"):
                    answer = await node.request(
                        method, CLIENT, None, accept_encoding=coding, if_none_match=given
                    )
                    self.assertEqual(answer.status, status, given)
                    self.assertEqual(answer.header("etag"), tag)
                    self.assertEqual(answer.header("vary"), "Accept-Encoding")
                    self.assertEqual(answer.header("cache-control"), "no-cache")

    async def test_a_tag_of_another_coding_is_not_what_was_asked_for(self) -> None:
        node = await self.serve()
        tag = str((await node.get(CLIENT, accept_encoding="gzip")).header("etag"))
        answer = await node.get(CLIENT, accept_encoding="br", if_none_match=tag)
        self.assertEqual(answer.status, 200)


class CacheTests(ServingTests):
    async def test_the_page_asks_again_and_its_files_are_kept(self) -> None:
        node = await self.serve()
        page = await node.get(PAGE)
        self.assertEqual(page.header("cache-control"), "no-cache")
        named = re.findall(r'(?:src|href)="([^":]+)"', page.body.decode())
        self.assertGreater(len(named), 5)
        for name in named:
            answer = await node.get(f"/{name}")
            self.assertEqual(answer.status, 200, name)
            cache = "public, max-age=31536000, immutable"
            self.assertEqual(answer.header("cache-control"), cache, name)
            plain = await node.get("/" + name.split("/", 2)[2])
            self.assertEqual(plain.body, answer.body)

    async def test_the_version_is_the_content_s_and_every_node_s(self) -> None:
        self.assertEqual(
            await kept(await self.serve()), await kept(await self.serve("--room=kitchen"))
        )

    async def test_a_file_of_another_version_is_not_kept(self) -> None:
        """While nodes are brought to a new version one by one, a page may come from another."""
        node = await self.serve()
        answer = await node.get("/files/0123456789ab/chatd.js")
        self.assertEqual((answer.status, answer.header("cache-control")), (200, "no-cache"))
        self.assertEqual(answer.body, (await node.get(CLIENT)).body)
        self.assertEqual((await node.get("/files/0123456789ab/nothing.js")).status, 404)


class PolicyTests(GuardedTests):
    async def test_no_page_frames_it_and_nothing_foreign_runs(self) -> None:
        """Content Security Policy Level 3."""
        node = await self.serve()
        policy = (await node.get(PAGE)).header("content-security-policy") or ""
        said = dict(one.strip().partition(" ")[::2] for one in policy.split(";"))
        self.assertEqual(said["frame-ancestors"], "'none'")
        self.assertEqual(said["default-src"], "'none'")
        self.assertEqual(said["script-src"], "'self'")
        self.assertEqual((said["base-uri"], said["form-action"]), ("'none'", "'none'"))
        self.assertNotIn("unsafe", policy)

    async def test_a_stricter_policy_than_its_own_takes_nothing_from_it(self) -> None:
        """A proxy may allow only what is of the server: no ``data:`` addresses."""
        node = await self.serve(*self.locks())
        for path in (PAGE, "/admin"):
            answer = await node.get(path)
            page = answer.body.decode()
            self.assertNotIn("data:", page + (answer.header("content-security-policy") or ""))
            [icon] = re.findall(r'rel="icon" href="([^"]+)"', page)
            found = await node.get(f"/{icon}")
            self.assertEqual((found.status, found.header("content-type")), (200, "image/svg+xml"))
