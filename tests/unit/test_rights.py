"""Rights, without a node: who a caller is, who administers, whose guesses count; what is held open
under a token; and the rates of publishes and new rooms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from chatd.access.admission import PER_ADDRESS, Admission
from chatd.access.budget import Unread
from chatd.access.fair_queue import FairQueue, allowance
from chatd.access.identity import Identity
from chatd.access.limits import Connections
from chatd.access.origins import OriginPolicy
from chatd.access.proxies import Proxies
from chatd.access.rate_limit import GUESSES, Rate
from chatd.access.rights import EXPIRED, NOBODY, WITHDRAWN, Rights
from chatd.access.standing import Standing
from chatd.access.tokens import Secret, TokenKeys
from chatd.protocol.errors import ChatError, Code
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.turn_queue import A_TURN
from chatd.timing.wall import WallClock
from chatd.transports.pairs import Pairs
from tests.support.tokens import Issuer

#: The time of day of a node that has just started.
NOW = 1_800_000_000.0
ADMIN_KEY = "the admin key of this node"
HERE, THERE = "192.0.2.1", "192.0.2.2"


class RightsTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name, "key"))
        self.issuer = Issuer(self.path)
        self.clock = Clock()
        self.wall = WallClock(self.clock, lambda: NOW + self.clock.seconds())

    def rights(
        self, tokens: bool = False, admin: str | None = None, setup: str | None = None
    ) -> Rights:
        """Of a node in token mode, or in open mode."""
        return Rights(
            self.clock,
            self.wall,
            TokenKeys.load(self.path) if tokens else None,
            Secret(admin.encode()) if admin is not None else None,
            Secret(setup.encode()) if setup is not None else None,
        )

    def token(self, user: str = "ann", lives: float = 60, **claims: Any) -> str:
        return self.issuer.token(user, NOW + lives, **claims)

    def refused(self, code: Code, call: Callable[..., object], *given: Any) -> ChatError:
        error: ChatError = self.assertRaises(ChatError, call, *given)
        self.assertIs(error.code, code, given)
        self.assertIsInstance(error.text, str)
        return error

    def guess(self, call: Callable[..., object], *given: Any, code: Code) -> None:
        """Refuse as many guesses as an address has, and not look at any further one, which comes
        from the same address."""
        for _ in range(int(GUESSES.burst)):
            self.refused(code, call, *given)
        self.assertGreaterEqual(self.refused(Code.RATE_LIMITED, call, *given).retry or 0, 1)


class IdentifyTests(RightsTests):
    def test_open_mode(self) -> None:
        rights = self.rights()
        self.assertIs(rights.identify(None, None), NOBODY)
        self.assertEqual(rights.identify(None, "ann"), Identity("ann"))
        self.assertEqual(rights.identify(None, None, named="ann"), Identity("ann"))
        self.assertEqual(rights.identify("any", "ann", named="ann"), Identity("ann"))
        for url, body in (("ann", "ben"), ("ann", ""), ("", None), (None, 5), ("ann", 5)):
            self.refused(Code.BAD_REQUEST, rights.identify, None, url, False, body)

    def test_names_of_the_originals_clients(self) -> None:
        rights = self.rights()
        self.assertEqual(rights.identify(None, "ann b", True).user, "ann_b")
        self.assertEqual(rights.identify(None, "ann b").user, "ann b")
        self.assertEqual(rights.identify(None, "a b", True, "a_b").user, "a_b")
        self.assertEqual(rights.identify_or_guest(None, "a b", True, "a_b").user, "a_b")
        self.assertEqual(rights.identify_or_guest(None, "a b").user, "a b")

    def test_only_the_token_counts(self) -> None:
        rights = self.rights(tokens=True)
        self.assertEqual(rights.identify(self.token(), "ben", named="ben").user, "ann")
        asked = Pairs.parse(b"username=%ff")
        self.assertIsNone(rights.username(asked.get))
        self.refused(Code.BAD_REQUEST, self.rights().username, asked.get)
        self.assertEqual(self.rights().username(Pairs.parse(b"username=ben").get), "ben")
        for call in (rights.identify, rights.identify_or_guest):
            self.refused(Code.UNAUTHORIZED, call, None, "ann")
            self.refused(Code.UNAUTHORIZED, call, self.token(lives=-1), "ann")
        self.clock.advance(60)
        self.refused(Code.UNAUTHORIZED, rights.identify, self.token(), "ann")

    def test_guests(self) -> None:
        rights = self.rights()
        names = {rights.identify_or_guest(None, None).user for _ in range(10)}
        self.assertGreater(len(names), 5)
        for name in names:
            self.assertRegex(name, "^guest-[0-9a-f]{6}$")
        self.assertEqual(rights.identify_or_guest(None, None, named="ann").user, "ann")
        token = self.token()
        self.assertEqual(self.rights(tokens=True).identify_or_guest(token, None).user, "ann")

    def test_renewal(self) -> None:
        rights = self.rights(tokens=True)
        first = rights.identify(self.token(), None).at(HERE)
        later = rights.renew(first, self.token(lives=90, rooms=["a"]))
        self.assertEqual((later.expires, later.rooms), (NOW + 90, ("a",)))
        self.assertEqual(later.network, HERE)
        self.refused(Code.FORBIDDEN, rights.renew, first, self.token("ben"))
        self.refused(Code.UNAUTHORIZED, rights.renew, first, self.token(lives=-1))
        self.refused(Code.BAD_REQUEST, self.rights().renew, first, self.token())

    def told(self, rights: Rights, identity: Identity) -> str:
        """Why ``identity`` is not valid any more."""
        why = rights.withdrawn(identity)
        assert why is not None
        return why.text

    def test_what_ends_it(self) -> None:
        rights = self.rights(tokens=True)
        everywhere = rights.identify(self.token(), None)
        somewhere = rights.identify(self.token(rooms=["a"]), None).at(HERE)
        renewed = rights.renew(everywhere, self.token(rooms=["b"]))
        self.assertIsNone(rights.withdrawn(Identity("ann")))
        self.clock.advance(59)
        for identity in (everywhere, somewhere, renewed):
            self.assertIsNone(rights.withdrawn(identity))
        Path(self.path).write_text("another secret of this node, of 32 bytes")
        rights.tokens = TokenKeys.load(self.path)
        for identity in (everywhere, somewhere, renewed):
            self.assertEqual(self.told(rights, identity), WITHDRAWN)
        self.clock.advance(1)
        for identity in (everywhere, somewhere, renewed):
            self.assertEqual(self.told(rights, identity), EXPIRED)
            self.assertEqual(self.told(self.rights(), identity), EXPIRED)


class AdministratorTests(RightsTests):
    def test_by_what_there_is(self) -> None:
        boss, ann = self.token(admin=True), self.token()
        unauthorized, forbidden = Code.UNAUTHORIZED, Code.FORBIDDEN
        shown = (None, "a guess", boss, ann, ADMIN_KEY)
        for tokens, key, outcomes in (
            (False, None, (forbidden, forbidden, forbidden, forbidden, forbidden)),
            (False, ADMIN_KEY, (unauthorized, unauthorized, unauthorized, unauthorized, None)),
            (True, None, (unauthorized, unauthorized, None, forbidden, unauthorized)),
            (True, ADMIN_KEY, (unauthorized, unauthorized, None, forbidden, None)),
        ):
            rights = self.rights(tokens, key)
            self.assertEqual(rights.administered, tokens or key is not None)
            for token, expected in zip(shown, outcomes, strict=True):
                if expected is None:
                    rights.check_admin(token, HERE)
                else:
                    self.refused(expected, rights.check_admin, token, HERE)
                self.assertIs(rights.administers(token, HERE), expected is None, token)

    def test_guesses_in_open_mode(self) -> None:
        rights = self.rights(admin=ADMIN_KEY)
        self.guess(rights.check_admin, "a guess", HERE, code=Code.UNAUTHORIZED)
        self.refused(Code.RATE_LIMITED, rights.check_admin, ADMIN_KEY, HERE)
        self.assertFalse(rights.administers(ADMIN_KEY, HERE))
        rights.check_admin(ADMIN_KEY, THERE)
        self.clock.advance(1)
        rights.check_admin(ADMIN_KEY, HERE)
        self.refused(Code.UNAUTHORIZED, rights.check_admin, "a guess", HERE)
        self.refused(Code.RATE_LIMITED, rights.check_admin, ADMIN_KEY, HERE)

    def test_guesses_where_others_are_told_less(self) -> None:
        rights = self.rights(admin=ADMIN_KEY)
        for _ in range(int(GUESSES.burst)):
            self.assertFalse(rights.administers("a guess", HERE))
        self.assertFalse(rights.administers(ADMIN_KEY, HERE))
        self.assertTrue(rights.administers(ADMIN_KEY, THERE))

    def test_what_can_only_be_a_guess(self) -> None:
        """A key that looks like no token makes no guess of a token that is not valid; one that
        does makes each wrong one a guess."""
        expired, boss = self.token(lives=-1), self.token(admin=True)
        rights = self.rights(True, ADMIN_KEY)
        for _ in range(2 * int(GUESSES.burst)):
            self.refused(Code.UNAUTHORIZED, rights.check_admin, expired, HERE)
            self.refused(Code.FORBIDDEN, rights.check_admin, self.token(), HERE)
        self.guess(rights.check_admin, "a guess", HERE, code=Code.UNAUTHORIZED)
        self.refused(Code.RATE_LIMITED, rights.check_admin, boss, HERE)
        rights.check_admin(boss, THERE)

        keyless = self.rights(True)
        for _ in range(2 * int(GUESSES.burst)):
            self.refused(Code.UNAUTHORIZED, keyless.check_admin, expired, HERE)
        self.guess(keyless.check_admin, "a guess", HERE, code=Code.UNAUTHORIZED)

        alike = self.rights(True, "a.b.c")
        self.guess(alike.check_admin, expired, HERE, code=Code.UNAUTHORIZED)


class SetupTests(RightsTests):
    def test_without_a_secret(self) -> None:
        rights = self.rights(admin=ADMIN_KEY)
        for secret in (None, "", "any", 5):
            rights.check_setup(secret, HERE)

    def test_guesses(self) -> None:
        rights = self.rights(setup="open sesame")
        rights.check_setup("open sesame", HERE)
        for nothing in (None, "", 5, ["open sesame"]):
            for _ in range(int(GUESSES.burst) // 2):
                self.refused(Code.UNAUTHORIZED, rights.check_setup, nothing, HERE)
        self.guess(rights.check_setup, "x", HERE, code=Code.UNAUTHORIZED)
        self.refused(Code.RATE_LIMITED, rights.check_setup, "open sesame", HERE)
        rights.check_setup("open sesame", THERE)
        self.clock.advance(1)
        rights.check_setup("open sesame", HERE)


class MetricsTests(RightsTests):
    def test_who_may_read_them(self) -> None:
        for rights in (self.rights(), self.rights(True), self.rights(True, ADMIN_KEY)):
            rights.check_metrics(True, None, HERE)
            self.refused(Code.FORBIDDEN, rights.check_metrics, False, None, HERE)
            boss = self.token(admin=True)
            self.refused(Code.FORBIDDEN, rights.check_metrics, False, boss, HERE)
        self.rights(admin=ADMIN_KEY).check_metrics(False, ADMIN_KEY, HERE)

    def test_guesses(self) -> None:
        rights = self.rights(admin=ADMIN_KEY)
        for _ in range(2 * int(GUESSES.burst)):
            self.refused(Code.FORBIDDEN, rights.check_metrics, False, None, HERE)
            rights.check_metrics(False, ADMIN_KEY, HERE)
        self.guess(rights.check_metrics, False, "x", HERE, code=Code.FORBIDDEN)
        self.refused(Code.RATE_LIMITED, rights.check_metrics, False, ADMIN_KEY, HERE)
        rights.check_metrics(True, None, HERE)
        rights.check_metrics(False, ADMIN_KEY, THERE)
        self.clock.advance(1)
        rights.check_metrics(False, ADMIN_KEY, HERE)


class StandingTests(RightsTests):
    def setUp(self) -> None:
        super().setUp()
        self.keys = self.rights(tokens=True)
        self.standing = Standing(self.keys, self.clock, TimerWheel(self.clock))
        #: What those were told that were ended.
        self.ended: list[str] = []

    def end(self, why: ChatError) -> None:
        self.assertIs(why.code, Code.UNAUTHORIZED)
        self.ended.append(why.text)

    def hold(self, **claims: Any) -> Any:
        identity = self.keys.identify(self.token(**claims), None)
        return self.standing.hold(identity, self.end)

    def withdraw(self) -> None:
        """The key goes."""
        Path(self.path).write_text("another secret of this node, of 32 bytes")
        self.keys.tokens = TokenKeys.load(self.path)

    def pump(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1)

    def test_until_it_expires(self) -> None:
        held = self.hold(lives=60)
        self.hold(lives=90)
        self.pump(59)
        self.assertEqual(self.ended, [])
        self.pump(2)
        self.assertEqual(self.ended, [EXPIRED])
        self.assertEqual(len(self.standing), 1)
        held.release()
        self.pump(60)
        self.assertEqual(self.ended, [EXPIRED, EXPIRED])
        self.assertEqual(len(self.standing), 0)

    def test_what_expired_while_the_process_stood_still_ends_at_once(self) -> None:
        for lives in (60, 600, 60):
            self.hold(lives=lives)
        self.clock.rightNow += 100  # no call is made yet
        self.standing.look()
        self.assertEqual((self.ended, len(self.standing)), ([EXPIRED] * 2, 1))
        self.pump(60)
        self.assertEqual(self.ended, [EXPIRED] * 2)

    def test_until_it_ends_by_itself(self) -> None:
        held = self.hold(lives=60)
        self.assertEqual(len(self.standing), 1)
        held.release()
        self.assertEqual(len(self.standing), 0)
        held.release()
        self.pump(90)
        self.withdraw()
        self.standing.recheck()
        self.assertEqual(self.ended, [])

    def test_open_mode_holds_nothing(self) -> None:
        self.standing.hold(Identity("ann"), self.end).release()
        self.standing.hold(Identity("ann"), self.end)
        self.assertEqual(len(self.standing), 0)

    def test_until_its_key_is_withdrawn(self) -> None:
        count = 2 * A_TURN + 1
        for _ in range(count):
            self.hold()
        self.clock.advance(0)
        self.standing.recheck()
        self.assertEqual(self.ended, [])
        self.withdraw()
        self.standing.recheck()
        self.assertEqual(self.ended, [WITHDRAWN] * A_TURN)
        self.clock.advance(0)
        self.assertEqual(self.ended, [WITHDRAWN] * count)
        self.assertEqual(len(self.standing), 0)
        self.pump(90)
        self.assertEqual(len(self.ended), count)

    def test_a_key_that_went_while_it_was_on_its_way(self) -> None:
        identity = self.keys.identify(self.token(), None)
        self.withdraw()
        self.standing.hold(identity, self.end)
        self.assertEqual(self.ended, [])
        self.clock.advance(0)
        self.assertEqual(self.ended, [WITHDRAWN])


class AdmissionTests(RightsTests):
    def admission(self, tokens: bool = False, trusted: Proxies | None = None) -> Admission:
        """Of a node that takes 2 publishes a second, at most 4 at once, and 1 room a second, at
        most 2 at once; and two sockets, one from each address."""
        rate = Rate(2)
        return Admission(
            clock=self.clock,
            origin_policy=OriginPolicy(proxies=trusted or Proxies()),
            rights=self.rights(tokens),
            connections=Connections(10, 10),
            sockets=Connections(2, 1),
            requests=Connections(10, 10),
            deadlines=TimerWheel(self.clock),
            turns=FairQueue(self.clock, rate),
            unread=Unread(1000, self.clock),
            rate=rate,
            room_rate=Rate(1, burst=2, what="rooms"),
        )

    def allowed(self, call: Callable[..., object], *given: Any) -> int:
        """How many times ``call`` can be made at once."""
        for count in range(1000):
            try:
                call(*given)
            except ChatError as e:
                self.assertIs(e.code, Code.RATE_LIMITED)
                return count
        raise AssertionError("without bounds")

    def test_publishes_by_token(self) -> None:
        """The user counts, from wherever it comes."""
        check = self.admission(tokens=True).check_rate
        self.assertEqual(self.allowed(check, Identity("ann"), HERE), 4)
        self.assertEqual(self.allowed(check, Identity("ann"), THERE), 0)
        users = [self.allowed(check, Identity(f"user{n}"), HERE) for n in range(5)]
        self.assertEqual(users, [4] * 5)
        self.clock.advance(1)
        self.assertEqual(self.allowed(check, Identity("ann"), HERE), 2)

    def test_publishes_in_open_mode(self) -> None:
        """The user at its address counts, and all of the address together."""
        check = self.admission().check_rate
        self.assertEqual(self.allowed(check, Identity("ann"), HERE), 4)
        self.assertEqual(self.allowed(check, Identity("ann"), THERE), 4)
        users = [self.allowed(check, Identity(f"user{n}"), HERE) for n in range(5)]
        self.assertEqual(sum(users), 4 * (PER_ADDRESS - 1))
        self.assertEqual(self.allowed(check, Identity("ben"), "192.0.2.3"), 4)
        self.clock.advance(1)
        users = [self.allowed(check, Identity(f"user{n}"), HERE) for n in range(5)]
        self.assertEqual(sum(users), 2 * PER_ADDRESS)

    def test_one_site_of_ipv6_is_one_address(self) -> None:
        admission = self.admission()
        for check in (admission.check_room_rate, lambda at: admission.check_rate(NOBODY, at)):
            self.assertGreater(self.allowed(check, "2001:db8::1"), 0)
            self.assertEqual(self.allowed(check, "2001:db8::2"), 0)
            self.assertGreater(self.allowed(check, "2001:db8:0:1::1"), 0)

    def test_rooms(self) -> None:
        admission = self.admission()
        self.assertEqual(self.allowed(admission.check_room_rate, HERE), 2)
        error = self.refused(Code.RATE_LIMITED, admission.check_room_rate, HERE)
        self.assertIn("rooms", error.text)
        self.assertEqual(self.allowed(admission.check_room_rate, THERE), 2)
        self.assertEqual(self.allowed(admission.check_rate, Identity("ann"), HERE), 4)

    def test_other_rates_from_now_on(self) -> None:
        admission = self.admission()
        admission.set_rates(Rate(5), Rate(3))
        self.assertEqual((admission.rate, admission.room_rate), (Rate(5), Rate(3)))
        self.assertEqual(self.allowed(admission.check_rate, Identity("ann"), HERE), 10)
        self.assertEqual(self.allowed(admission.check_rate, Identity("ben"), HERE), 10)
        self.assertEqual(self.allowed(admission.check_rate, Identity("eve"), HERE), 0)
        self.assertEqual(self.allowed(admission.check_room_rate, HERE), 6)
        self.assertEqual(admission.turns.rate, allowance(Rate(5)))

    def test_sockets(self) -> None:
        def peer(address: str) -> StringTransport:
            return StringTransport(peerAddress=IPv4Address("TCP", address, 5))

        unix = StringTransport()
        unix.peerAddr = UNIXAddress(b"/run/chatd")
        admission = self.admission()
        leave = admission.open(peer(HERE))
        self.assertRaisesRegex(ChatError, "your address", admission.open, peer(HERE))
        leave()
        admission.open(peer(HERE))
        admission.open(unix)
        self.assertRaises(ChatError, admission.open, unix)
        self.assertRaisesRegex(ChatError, "The server", admission.open, peer(THERE))

        behind = self.admission(trusted=Proxies((ip_network(HERE),)))
        behind.open(peer(HERE))
        behind.open(peer(HERE))
        self.assertRaises(ChatError, behind.open, peer(HERE))
