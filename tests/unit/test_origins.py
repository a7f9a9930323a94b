"""Origins, hosts and proxies: every kind of request against every kind of set-up."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.hosts import host_name, normalise_origin
from chatd.access.origins import TOLD, OriginPolicy
from chatd.access.proxies import ENTRY, HOPS, UNIX, Caller, Headers, Proxies, is_direct
from chatd.protocol.errors import ChatError, Code

PROXIES = Proxies((ip_network("10.0.0.0/8"), ip_network("2001:db8:f::/48")))


def request(**headers: str) -> Headers:
    """Headers by their name with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return named.get


class PolicyTests(SynchronousTestCase):
    def passes(
        self, policy: OriginPolicy, secure: bool = False, peer: str = "192.0.2.9", **h: Any
    ) -> None:
        policy.check(peer, secure, request(**h))

    def refused(
        self, policy: OriginPolicy, secure: bool = False, peer: str = "192.0.2.9", **h: Any
    ) -> str:
        error = self.assertRaises(ChatError, policy.check, peer, secure, request(**h))
        self.assertIs(error.code, Code.FORBIDDEN, h)
        self.assertNotIn("\n", error.text)
        return str(error.text)


class SameOriginTests(PolicyTests):
    """Without --origin: the Origin's host and port equal the Host header's."""

    def test_no_origin_is_no_browser(self) -> None:
        self.passes(OriginPolicy())
        self.passes(OriginPolicy(), host="anything at all")

    def test_equal(self) -> None:
        for origin, host in (
            ("http://chat.example.org", "chat.example.org"),
            ("http://chat.example.org", "chat.example.org:80"),
            ("http://chat.example.org:80", "chat.example.org"),
            ("HTTP://Chat.Example.ORG", "chat.example.org"),
            ("http://chat.example.org", "CHAT.example.org."),
            ("http://chat.example.org:8081", "chat.example.org:8081"),
            ("https://chat.example.org", "chat.example.org:443"),
            ("http://127.0.0.1:8081", "127.0.0.1:8081"),
            ("http://[::1]:8081", "[::1]:8081"),
            ("http://[::1]:8081", "[0:0::1]:8081"),
            # TLS may have ended at a proxy that is not trusted
            ("https://chat.example.org", "chat.example.org"),
        ):
            self.passes(OriginPolicy(), origin=origin, host=host)

    def test_what_is_no_browser_names_the_address_that_it_connects_to(self) -> None:
        """As Starscream does, and Socket.IO's client for iOS with it."""
        for origin, host in (
            ("ws://chat.example.org", "chat.example.org"),
            ("ws://chat.example.org:9000", "chat.example.org:9000"),
            ("wss://chat.example.org", "chat.example.org:443"),
            ("wss://chat.example.org", "chat.example.org"),
        ):
            self.passes(OriginPolicy(), origin=origin, host=host)
        host = "chat.example.org"
        self.passes(OriginPolicy(), True, origin="wss://chat.example.org", host=host)
        self.refused(OriginPolicy(), True, origin="ws://chat.example.org", host=host)

    def test_not_equal(self) -> None:
        for origin, host in (
            ("null", "chat.example.org"),
            ("", "chat.example.org"),
            ("http://evil.example", "chat.example.org"),
            ("http://chat.example.org:8081", "chat.example.org"),
            ("http://chat.example.org", "chat.example.org:8081"),
            ("http://chat.example.org:8081", "chat.example.org:9000"),
            ("https://chat.example.org", "chat.example.org:80"),
            ("http://chat.example.org.evil.example", "chat.example.org"),
            ("http://chat.example.org@evil.example", "chat.example.org"),
            ("http://chat.example.org/", "chat.example.org"),
            ("http://evil.example, http://chat.example.org", "chat.example.org"),
            ("http://localhost:8081", "127.0.0.1:8081"),
            ("wss://chat.example.org", "chat.example.org:8081"),
            ("wss://evil.example", "chat.example.org"),
            ("file://", "chat.example.org"),
            ("chrome-extension://chat.example.org", "chat.example.org"),
            ("http://", "chat.example.org"),
            ("http://a b", "a b"),
            ("http://chat.example.org", "a,chat.example.org"),
            ("http://chat.example.org", ""),
            ("http://chat.example.org\x00", "chat.example.org"),
            ("http://" + "a" * 400, "a" * 400),
        ):
            self.refused(OriginPolicy(), origin=origin, host=host)
        self.refused(OriginPolicy(), origin="http://chat.example.org")

    def test_the_scheme_counts_where_it_is_known(self) -> None:
        host = "chat.example.org"
        self.passes(OriginPolicy(), True, origin="https://chat.example.org", host=host)
        self.refused(OriginPolicy(), True, origin="http://chat.example.org", host=host)
        behind = OriginPolicy(proxies=PROXIES)
        for claimed, right, wrong in (("https", "https", "http"), ("http", "http", "https")):
            proxied: dict[str, Any] = {"host": host, "x_forwarded_proto": claimed}
            self.passes(behind, peer="10.0.0.1", origin=f"{right}://{host}", **proxied)
            self.refused(behind, peer="10.0.0.1", origin=f"{wrong}://{host}", **proxied)

    def test_what_to_do_is_said(self) -> None:
        text = self.refused(OriginPolicy(), origin="https://App.example", host="chat.example.org")
        self.assertIn("--origin https://app.example", text)
        self.assertIn("--trusted-proxy", text)
        self.assertIn(
            "--origin", self.refused(OriginPolicy(), origin="null", host="chat.example.org")
        )

    def test_what_a_stranger_wrote_is_not_said_again(self) -> None:
        for origin in ("http://<script>", "http://a\r\nb", "x" * 1000):
            self.assertNotIn("script", self.refused(OriginPolicy(), origin=origin, host="h"))


class SiteTests(PolicyTests):
    """What pages make browsers ask for without an Origin (Fetch Metadata)."""

    def test_pages_of_other_sites(self) -> None:
        for said in ("cross-site", "same-site", "Cross-Site", "none, cross-site", " same-site "):
            for policy in (OriginPolicy(), OriginPolicy(("*",)), OriginPolicy(hosts=("*",))):
                text = self.refused(policy, host="a", sec_fetch_site=said)
                self.assertIn("another site", text)

    def test_its_own_pages_and_people(self) -> None:
        for said in ("same-origin", "none", ""):
            self.passes(OriginPolicy(), host="a", sec_fetch_site=said)

    def test_an_origin_goes_before(self) -> None:
        policy = OriginPolicy(("https://b.example",))
        self.passes(policy, host="a", origin="https://b.example", sec_fetch_site="cross-site")
        self.refused(policy, host="a", origin="https://c.example", sec_fetch_site="same-origin")

    def test_what_any_page_may_have_or_lead_to(self) -> None:
        """What is public is for any page; what is linked is not for the scripts of any."""
        policy, peer = OriginPolicy(hosts=("a",)), "192.0.2.9"
        foreign = request(host="a", sec_fetch_site="cross-site")
        script = request(host="a", sec_fetch_site="cross-site", origin="https://c.example")
        elsewhere = request(host="b", sec_fetch_site="cross-site")
        for public, linked in ((True, False), (False, True), (True, True)):
            policy.check(peer, False, foreign, public=public, linked=linked)
            for headers in [elsewhere] if public else [elsewhere, script]:
                error = self.assertRaises(
                    ChatError, policy.check, peer, False, headers, public, linked
                )
                self.assertIs(error.code, Code.FORBIDDEN)
        policy.check(peer, False, script, public=True)

    def test_refused_origins_are_logged_once_each_and_not_without_bound(self) -> None:
        policy = OriginPolicy()
        with capturedLogs() as events:
            for n in range(TOLD + 10):
                for _ in range(2):
                    self.refused(policy, host="a", origin=f"https://b{n}.example")
        told = [event["origin"] for event in events if "origin" in event]
        self.assertEqual(told, [f"https://b{n}.example" for n in range(TOLD)])


class ListedOriginTests(PolicyTests):
    def test_listed(self) -> None:
        policy = OriginPolicy(origins=("https://app.example", "http://localhost:3000"))
        self.passes(policy, origin="https://app.example", host="chat.example.org")
        self.passes(policy, origin="http://localhost:3000", host="chat.example.org")
        self.passes(policy, origin="http://chat.example.org", host="chat.example.org")
        for origin in (
            "http://app.example",
            "https://app.example:8443",
            "https://www.app.example",
            "http://localhost",
            "null",
        ):
            self.refused(policy, origin=origin, host="chat.example.org")

    def test_any(self) -> None:
        policy = OriginPolicy(origins=("*",))
        for origin in ("https://evil.example", "null", "", "what"):
            self.passes(policy, origin=origin, host="chat.example.org")

    def test_an_app_of_its_own_scheme(self) -> None:
        policy = OriginPolicy(origins=("capacitor://localhost",))
        self.passes(policy, origin="capacitor://localhost", host="chat.example.org")
        self.refused(policy, origin="ionic://localhost", host="chat.example.org")


class HostTests(PolicyTests):
    """Against DNS rebinding: a name of the attacker's that points here."""

    def test_only_loopback_is_listened_on(self) -> None:
        policy = OriginPolicy(loopback_only=True)
        for host in ("localhost", "LOCALHOST:8081", "127.0.0.1:8081", "[::1]:8081", "192.0.2.1"):
            self.passes(policy, host=host)
        for host in ("localhost:", "127.0.0.1:", "[::1]:"):
            self.passes(policy, host=host)
        self.passes(policy, host="localhost:", origin="http://localhost")
        self.refused(policy, host="localhost:", origin="http://localhost:8081")
        for host in (
            "evil.example",
            "evil.example:",
            ":",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "foo.localhost",
            "",
            "[::1",
            "a b",
            "localhost,evil.example",
            "localhost:0",
            "localhost:99999",
            "é",
            "user@localhost",
        ):
            self.refused(policy, host=host)
        self.passes(policy)

    def test_the_text_names_the_option(self) -> None:
        text = self.refused(OriginPolicy(loopback_only=True), host="Chat.example.org:81")
        self.assertIn("--host chat.example.org", text)
        self.assertIn("--host", self.refused(OriginPolicy(loopback_only=True), host="<b>"))

    def test_any_name_elsewhere(self) -> None:
        self.passes(OriginPolicy(), host="whatever.example")

    def test_listed(self) -> None:
        policy = OriginPolicy(hosts=("Chat.Example.org", "::1"), loopback_only=True)
        for host in ("chat.example.org", "chat.example.org:8081", "chat.example.org.", "[::1]:1"):
            self.passes(policy, host=host)
        for host in ("localhost", "127.0.0.1", "example.org", "a.chat.example.org"):
            self.refused(policy, host=host)
        self.refused(OriginPolicy(hosts=("a.example",)), host="b.example")

    def test_any(self) -> None:
        self.passes(OriginPolicy(hosts=("*",), loopback_only=True), host="whatever.example")

    def test_the_hosts_of_origins_are_accepted(self) -> None:
        policy = OriginPolicy(origins=("https://chat.example.org",), loopback_only=True)
        self.passes(policy, host="chat.example.org", origin="https://chat.example.org")
        self.passes(policy, host="localhost:8081")
        self.refused(policy, host="evil.example")

    def test_any_origin_is_not_any_host(self) -> None:
        self.refused(OriginPolicy(origins=("*",), loopback_only=True), host="evil.example")

    def test_refused_before_the_origin_is_looked_at(self) -> None:
        policy = OriginPolicy(loopback_only=True)
        text = self.refused(policy, host="evil.example", origin="http://evil.example")
        self.assertIn("--host", text)


class ProxyTests(PolicyTests):
    def caller(self, policy: OriginPolicy, peer: str | None, **headers: str) -> Caller:
        return policy.check(peer, False, request(**headers))

    def address(self, peer: str | None, forwarded: str, **more: Any) -> str:
        policy = OriginPolicy(proxies=evolve(PROXIES, **more))
        return self.caller(policy, peer, x_forwarded_for=forwarded).address

    def test_strangers_are_not_believed(self) -> None:
        lies: dict[str, Any] = {
            "x_forwarded_for": "198.51.100.7",
            "x_forwarded_proto": "https",
            "x_forwarded_host": "evil.example",
            "host": "chat.example.org",
        }
        expected = Caller("192.0.2.9", None, "chat.example.org")
        self.assertEqual(self.caller(OriginPolicy(proxies=PROXIES), "192.0.2.9", **lies), expected)
        self.assertEqual(self.caller(OriginPolicy(), "192.0.2.9", **lies), expected)
        text = self.refused(OriginPolicy(), origin="https://evil.example", **lies)
        self.assertIn("not allowed", text)

    def test_trusted_proxies_are(self) -> None:
        got = self.caller(
            OriginPolicy(proxies=PROXIES),
            "10.0.0.1",
            x_forwarded_for="198.51.100.7",
            x_forwarded_proto="HTTPS",
            x_forwarded_host="Chat.example.org",
            host="backend:8081",
            origin="https://chat.example.org",
        )
        self.assertEqual(got, Caller("198.51.100.7", "https", "chat.example.org"))

    def test_a_proxy_that_says_nothing(self) -> None:
        got = self.caller(OriginPolicy(proxies=PROXIES), "10.0.0.1", host="chat.example.org")
        self.assertEqual(got, Caller("10.0.0.1", None, "chat.example.org"))
        self.assertEqual(PROXIES.caller("10.0.0.1", True, request()).scheme, "https")

    def test_the_right_most_address_that_is_no_proxy(self) -> None:
        for forwarded, address in (
            ("198.51.100.7", "198.51.100.7"),
            ("1.2.3.4, 198.51.100.7", "198.51.100.7"),
            ("1.2.3.4, 198.51.100.7, 10.2.3.4", "198.51.100.7"),
            ("198.51.100.7,10.2.3.4,2001:db8:f::1", "198.51.100.7"),
            ("10.9.9.9, 10.2.3.4", "10.9.9.9"),
            ("198.51.100.7:5555", "198.51.100.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]:5555", "2001:db8::7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("fe80::1%eth0", "fe80::1"),
            ("unknown", "10.0.0.1"),
            ("198.51.100.7, unknown, 10.2.3.4", "10.2.3.4"),
            ("", "10.0.0.1"),
            (",", "10.0.0.1"),
            ("1.2.3.4," * 10_000 + "10.2.3.4", "1.2.3.4"),
        ):
            self.assertEqual(self.address("10.0.0.1", forwarded), address, forwarded[:50])

    def test_not_followed_for_ever(self) -> None:
        chain = ", ".join(["198.51.100.7", *(f"10.1.0.{n}" for n in range(100, 0, -1))])
        self.assertEqual(self.address("10.0.0.1", chain), f"10.1.0.{HOPS}")

    def test_peers_written_as_ipv6(self) -> None:
        self.assertEqual(self.address("::ffff:10.0.0.1", "198.51.100.7"), "198.51.100.7")
        self.assertEqual(self.address("::ffff:192.0.2.9", "198.51.100.7"), "192.0.2.9")
        self.assertEqual(self.address("2001:db8:f::1", "198.51.100.7"), "198.51.100.7")

    def test_unix_sockets(self) -> None:
        self.assertEqual(self.address(None, "198.51.100.7"), UNIX)
        self.assertEqual(self.address(None, "198.51.100.7", unix=True), "198.51.100.7")
        self.assertEqual(self.address(None, "", unix=True), UNIX)
        self.assertEqual(self.address("192.0.2.9", "1.2.3.4", unix=True), "192.0.2.9")

    def test_names_are_no_proxies(self) -> None:
        for name in ("proxy.example", "", "10.0.0", "10.0.0.1 "):
            self.assertFalse(PROXIES.trusts(name), name)
        self.assertFalse(Proxies(unix=True).trusts("10.0.0.1"))

    def test_an_entry_too_long_for_an_address_is_none(self) -> None:
        address = "198.51.100.7"
        self.assertEqual(self.address("10.0.0.1", address.rjust(ENTRY)), address)
        self.assertEqual(self.address("10.0.0.1", address.rjust(ENTRY + 1)), "10.0.0.1")

    def test_what_a_bare_connection_counts_for(self) -> None:
        """Its address, however it is written; nothing if it may be of many clients."""
        for peer, source in (
            ("192.0.2.9", "192.0.2.9"),
            ("::ffff:192.0.2.9", "192.0.2.9"),
            ("::FFFF:10.0.0.1", None),
            ("10.0.0.1", None),
            (None, UNIX),
        ):
            self.assertEqual(PROXIES.source(peer), source, peer)
        self.assertIsNone(evolve(PROXIES, unix=True).source(None))

    def test_a_program_of_this_machine(self) -> None:
        """From loopback or a Unix socket, and for nobody else: not with any header that a proxy
        adds, known or not."""
        for peer in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", None):
            self.assertTrue(is_direct(peer, ["host", "accept", "x-forwards", "a-via"]), peer)
            for name in (
                *("forwarded", "via", "Via", "x-real-ip", "x-forwarded", "x-forwarded-for"),
                *("x-forwarded-client-cert", "X-Forwarded-Path", "x-forwarded-whatever"),
            ):
                self.assertFalse(is_direct(peer, ["host", name]), name)
        for peer in ("192.0.2.9", "10.0.0.1", "2001:db8:f::1", "::ffff:192.0.2.9", "name"):
            self.assertFalse(is_direct(peer, ["host"]), peer)

    def test_what_the_nearest_proxy_said_counts(self) -> None:
        """Apache appends to what the client sent; the client's own words stand on the left."""
        got = self.caller(
            OriginPolicy(proxies=PROXIES),
            "10.0.0.1",
            x_forwarded_host="evil.example, chat.example.org",
            x_forwarded_proto="gopher, http",
        )
        self.assertEqual((got.host, got.scheme), ("chat.example.org", "http"))

    def test_schemes(self) -> None:
        for claimed, scheme in (
            ("https", "https"),
            ("wss", "https"),
            ("ws", "http"),
            ("", None),
            ("gopher", None),
        ):
            got = self.caller(OriginPolicy(proxies=PROXIES), "10.0.0.1", x_forwarded_proto=claimed)
            self.assertEqual(got.scheme, scheme)

    def test_the_forwarded_host_is_the_one_checked(self) -> None:
        policy = OriginPolicy(proxies=PROXIES, hosts=("chat.example.org",))
        self.caller(policy, "10.0.0.1", host="backend", x_forwarded_host="chat.example.org")
        self.refused(policy, peer="10.0.0.1", host="chat.example.org", x_forwarded_host="backend")

    @given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50), st.text(max_size=50))
    def test_any_header_is_answered(self, host: str, origin: str, forwarded: str, to: str) -> None:
        policy = OriginPolicy(proxies=PROXIES, loopback_only=True)
        headers = request(host=host, origin=origin, x_forwarded_for=forwarded, x_forwarded_host=to)
        self.assertRaises(ChatError, policy.check, "10.0.0.1", False, headers)
        policy.cors_headers(origin)


class CorsTests(SynchronousTestCase):
    LISTED = "https://app.example"

    def test_none_configured(self) -> None:
        for origin in (None, "http://chat.example.org"):
            self.assertEqual(OriginPolicy().cors_headers(origin), {})
            self.assertEqual(OriginPolicy().preflight_headers(origin, ["GET"]), {})

    def test_listed_origins_may_use_cookies(self) -> None:
        headers = OriginPolicy(origins=(self.LISTED,)).cors_headers(self.LISTED)
        self.assertEqual(headers["Access-Control-Allow-Origin"], self.LISTED)
        self.assertEqual(headers["Access-Control-Allow-Credentials"], "true")
        self.assertEqual(headers["Vary"], "Origin")
        for name in ("Retry-After", "X-Request-Id"):
            self.assertIn(name, headers["Access-Control-Expose-Headers"])

    def test_answers_vary_even_where_nothing_is_allowed(self) -> None:
        policy = OriginPolicy(origins=(self.LISTED,))
        for origin in (None, "http://chat.example.org", "null", "what"):
            self.assertEqual(policy.cors_headers(origin), {"Vary": "Origin"})

    def test_any_origin_without_credentials(self) -> None:
        for origin in (None, "https://evil.example", "null"):
            headers = OriginPolicy(origins=("*",)).cors_headers(origin)
            self.assertEqual(headers["Access-Control-Allow-Origin"], "*")
            self.assertNotIn("Access-Control-Allow-Credentials", headers)

    def test_any_and_listed_is_any(self) -> None:
        headers = OriginPolicy(origins=("*", self.LISTED)).cors_headers(self.LISTED)
        self.assertEqual(headers["Access-Control-Allow-Origin"], "*")

    def test_preflight(self) -> None:
        policy = OriginPolicy(origins=(self.LISTED,))
        headers = policy.preflight_headers(self.LISTED, ["GET", "POST"])
        self.assertEqual(headers["Access-Control-Allow-Methods"], "GET, POST")
        for name in ("Authorization", "Content-Type", "Idempotency-Key", "Traceparent"):
            self.assertIn(name, headers["Access-Control-Allow-Headers"])
        self.assertGreater(int(headers["Access-Control-Max-Age"]), 0)
        self.assertEqual(headers["Access-Control-Allow-Origin"], self.LISTED)


class ValueTests(SynchronousTestCase):
    def test_origins(self) -> None:
        for value, normal in (
            ("*", "*"),
            ("https://Chat.Example.org", "https://chat.example.org"),
            ("https://chat.example.org:443", "https://chat.example.org"),
            ("http://chat.example.org:443", "http://chat.example.org:443"),
            ("http://chat.example.org:80", "http://chat.example.org"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://a:1", "http://a:1"),
            ("http://a:65535", "http://a:65535"),
            ("http://[0:0:0::1]", "http://[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://STRAẞE.example", "https://xn--strae-oqa.example"),
            ("https://straße.example", "https://xn--strae-oqa.example"),
            ("capacitor://localhost", "capacitor://localhost"),
        ):
            self.assertEqual(normalise_origin(value), normal)
            self.assertEqual(normalise_origin(normal), normal)

    def test_what_is_no_origin(self) -> None:
        for value in (
            "",
            "null",
            "chat.example.org",
            "https://",
            "https://chat.example.org/",
            "https://chat.example.org/path",
            "https://*.example.org",
            "https://a:b@chat.example.org",
            "https://chat.example.org:0",
            "https://chat.example.org:65536",
            "https://chat.example.org:99999",
            "https://chat.example.org:https",
            "https://chat example",
            "//chat.example.org",
        ):
            self.assertRaises(ValueError, normalise_origin, value)

    def test_hosts(self) -> None:
        for value, normal in (
            ("LocalHost", "localhost"),
            ("chat.example.org.", "chat.example.org"),
            ("192.0.2.1", "192.0.2.1"),
            ("::1", "::1"),
            ("[0:0::1]", "::1"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            (".".join(["a" * 62] * 4)[:253], ".".join(["a" * 62] * 4)[:253]),
            ("my_host", "my_host"),
        ):
            self.assertEqual(host_name(value), normal)
        for value in ("", ".", "a b", "chat.example.org:80", "http://a", "*.a", "a..b", "a" * 300):
            self.assertRaises(ValueError, host_name, value)
