"""Tokens: which pass, which do not, and whom they show."""

from __future__ import annotations

import base64
import json
import tempfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from twisted.trial.unittest import TestCase

from chatd.access.identity import Identity
from chatd.access.rights import check_entry, may_enter
from chatd.access.tokens import (
    TOKEN_CHARACTERS,
    TOKEN_ROOMS,
    TokenKeys,
    bearer,
    shown_token,
)
from chatd.brokers.interfaces import Stream
from chatd.directory.projection import RoomEntry
from chatd.protocol.errors import ChatError, Code
from tests.support.keys import EC, ED, NOW, RSA, SECRET, KeyTests, sign


class AlgorithmTests(KeyTests):
    """The key alone decides how it is used."""

    def test_each_kind_of_key(self) -> None:
        p384, p521 = ECKey.generate_key("P-384"), ECKey.generate_key("P-521")
        ed448 = OKPKey.generate_key("Ed448")
        kinds: list[tuple[Key, str]] = [
            *[(RSA, alg) for alg in ("RS256", "RS384", "RS512")],
            *[(EC, "ES256"), (p384, "ES384"), (p521, "ES512")],
            *[(ED, "EdDSA"), (ED, "Ed25519"), (ed448, "EdDSA"), (ed448, "Ed448")],
        ]
        for key, alg in kinds:
            assert not isinstance(key, OctKey)
            keys = self.keys(key.as_pem())
            self.assertEqual(keys.verify(sign(key, alg), NOW).user, "ann", alg)
        self.assertEqual(self.keys(SECRET.raw_value).verify(sign(SECRET, "HS256"), NOW).user, "ann")

    def test_one_line_end_is_not_part_of_the_secret(self) -> None:
        for end in (b"", b"\n", b"\r\n"):
            keys = self.keys(SECRET.raw_value + end)
            self.assertEqual(keys.verify(sign(SECRET, "HS256"), NOW).user, "ann")
        self.refused(self.keys(SECRET.raw_value + b"\n\n"), sign(SECRET, "HS256"))

    def test_other_algorithms_of_the_same_key(self) -> None:
        self.refused(self.keys(SECRET.raw_value), sign(SECRET, "HS512"))
        self.refused(self.keys(RSA.as_pem()), sign(RSA, "PS256"))

    def test_no_algorithm(self) -> None:
        head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        body = sign(SECRET, "HS256").split(".")[1]
        for content in (SECRET.raw_value, RSA.as_pem(), json.dumps({"keys": [EC.as_dict()]})):
            self.refused(self.keys(content), f"{head}.{body}.AAAA")
            self.refused(self.keys(content), f"{head}.{body}.")

    def test_a_public_key_is_never_a_secret(self) -> None:
        """The classic confusion: the attacker signs with HS256 and the public key's text."""
        pem = RSA.as_pem()
        fake = OctKey(pem, pem, None)
        for keys in (self.keys(pem), self.jwks(RSA.as_dict(private=False))):
            self.refused(keys, sign(fake, "HS256"))

    def test_a_signature_by_another_key(self) -> None:
        other = OctKey.import_key(b"another secret of more than 32 bytes!")
        self.refused(self.keys(SECRET.raw_value), sign(other, "HS256"))
        self.refused(self.keys(RSA.as_pem()), sign(RSAKey.generate_key(2048), "RS256"))

    def test_changed_claims(self) -> None:
        head, _, signature = sign(SECRET, "HS256").split(".")
        other = sign(SECRET, "HS256", sub="bob").split(".")[1]
        self.refused(self.keys(SECRET.raw_value), f"{head}.{other}.{signature}")

    def test_headers_nobody_knows_are_ignored_unless_critical(self) -> None:
        keys = self.keys(SECRET.raw_value)
        self.assertEqual(keys.verify(sign(SECRET, "HS256", {"zz": 1, "kid": "a"}), NOW).user, "ann")
        crits: list[Any] = [["zz"], [], "zz", ["alg"], None, [5], {}]
        for crit in crits:
            self.refused(keys, sign(SECRET, "HS256", {"zz": 1, "crit": crit}))


class ClaimTests(KeyTests):
    def setUp(self) -> None:
        self.secret = self.keys(SECRET.raw_value)

    def identity(self, **claims: Any) -> Identity:
        return self.secret.verify(sign(SECRET, "HS256", **claims), NOW)

    def bad(self, text: str, **claims: Any) -> None:
        self.assertIn(text, self.refused(self.secret, sign(SECRET, "HS256", **claims)))

    def test_all_of_them(self) -> None:
        got = self.identity(sub="jose\u0301+1", rooms=["a", "team:*", "*"], admin=True, nbf=NOW)
        self.assertEqual(got, Identity("josé+1", ("a", "team:*", "*"), True, NOW + 60))

    def test_the_least(self) -> None:
        self.assertEqual(self.identity(), Identity("ann", None, False, NOW + 60))
        self.assertEqual(self.identity(rooms=None).rooms, None)
        self.assertEqual(self.identity(rooms=[]).rooms, ())

    def test_expiry(self) -> None:
        self.identity(exp=NOW + 0.5)
        for exp in (NOW, NOW - 1, 0, -5):
            self.bad("expired", exp=exp)
        wrongs: list[Any] = ["soon", str(int(NOW) + 60), True, None, [], 10**400, float("nan")]
        for wrong in wrongs:
            self.bad('"exp"', exp=wrong)
        self.bad('"exp"', exp=float("inf"))

    def test_not_yet_valid(self) -> None:
        self.bad("not valid yet", nbf=NOW + 1)
        wrongs: list[Any] = ["now", True, None, {}]
        for wrong in wrongs:
            self.bad('"nbf"', nbf=wrong)

    def test_required(self) -> None:
        for claims in ({"sub": "ann"}, {"exp": NOW + 60}, {}):
            token = jwt.encode({"alg": "HS256"}, claims, SECRET)
            self.assertIn('"sub"', self.refused(self.secret, token))

    def test_another_services_token(self) -> None:
        """Refused also where nobody said what ours are called (RFC 7519, section 4.1.3)."""
        ours = TokenKeys.load(self.secret.path, audiences=("chat", "https://chat.example"))
        token = sign(SECRET, "HS256", aud="chat")
        self.assertEqual(ours.verify(token, NOW).user, "ann")
        self.assertIn("--audience", self.refused(self.secret, token))
        listed = sign(SECRET, "HS256", aud=["other", "https://chat.example"])
        self.assertEqual(ours.verify(listed, NOW).user, "ann")
        wrongs: list[Any] = ["other", ["other"], [], "", "Chat", "chat ", ["chat", 5], 5, {}, None]
        for wrong in wrongs:
            for admin in (False, True):
                token = sign(SECRET, "HS256", aud=wrong, admin=admin)
                self.refused(ours, token)
                self.refused(self.secret, token)
        self.assertIn('"aud"', self.refused(ours, sign(SECRET, "HS256")))

    def test_another_issuers_token(self) -> None:
        ours = TokenKeys.load(self.secret.path, issuers=("https://a.example", "b"))
        for iss in ("https://a.example", "b"):
            self.assertEqual(ours.verify(sign(SECRET, "HS256", iss=iss), NOW).user, "ann")
        wrongs: list[Any] = ["c", "", ["b"], 5, None]
        for wrong in wrongs:
            self.refused(ours, sign(SECRET, "HS256", iss=wrong))
            self.assertEqual(self.identity(iss=wrong).user, "ann")
        self.assertIn('"iss"', self.refused(ours, sign(SECRET, "HS256")))

    def test_user_names(self) -> None:
        wrongs: list[Any] = ["", "a  b", "x" * 65, 5, None, ["ann"], {}]
        for wrong in wrongs:
            self.bad('"sub"', sub=wrong)

    def test_admin_is_true_or_false(self) -> None:
        wrongs: list[Any] = [1, "true", None, [], "yes"]
        for wrong in wrongs:
            self.bad('"admin"', admin=wrong)
        self.assertFalse(self.identity(admin=False).admin)

    def test_rooms_are_names_or_prefixes(self) -> None:
        many = ["r"] * (TOKEN_ROOMS + 1)
        wrongs: list[Any] = [
            "a",
            {"a": 1},
            5,
            True,
            [5],
            [""],
            ["a b"],
            ["a**"],
            ["*a"],
            ["."],
            [".."],
            [["a"]],
            many,
        ]
        for wrong in wrongs:
            self.bad('"rooms"', rooms=wrong)
        self.assertEqual(self.identity(rooms=["jose\u0301*"]).rooms, ("josé*",))
        for prefix in ("*", ".*", "..*", "...*"):
            self.assertEqual(self.identity(rooms=[prefix]).rooms, (prefix,))
        self.assertTrue(self.identity(rooms=[".*"]).names(".hidden"))
        self.assertEqual(self.identity(rooms=["r"] * TOKEN_ROOMS).rooms, ("r",) * TOKEN_ROOMS)

    def test_payloads_that_are_no_claims(self) -> None:
        for payload in (b"[]", b"5", b"x", b"\xff", b"", b"[" * 5000):
            token = jws.serialize_compact({"alg": "HS256"}, payload, SECRET)
            self.refused(self.secret, token)


class ShapeTests(KeyTests):
    """What a stranger may send in place of a token."""

    def test_size(self) -> None:
        self.assertIn("longer", self.refused(self.keys(SECRET.raw_value), "a" * 8193))
        self.assertIn("three base64url", self.refused(self.keys(SECRET.raw_value), "a" * 8192))
        long = sign(SECRET, "HS256", rooms=["r" * 100] * 70)
        self.assertGreater(len(long), TOKEN_CHARACTERS)
        self.refused(self.keys(SECRET.raw_value), long)

    def test_not_three_parts(self) -> None:
        keys = self.keys(SECRET.raw_value)
        for token in ("", ".", "..", "a.b", "a.b.c.d", "é.é.é", "a b.c.d", "a.b.c\n", "\ud800.a.b"):
            self.assertIn("three base64url parts", self.refused(keys, token))

    def test_headers_of_the_wrong_shape(self) -> None:
        keys = self.keys(SECRET.raw_value)
        for header in (
            b"[]",
            b'["alg"]',
            b"5",
            b"null",
            b"{}",
            b'{"alg":5}',
            b'{"alg":["HS256"]}',
            b'{"alg":"HS256","kid":5}',
            b'{"alg":"HS256","kid":["a"]}',
            b'{"alg":"HS256","crit":5}',
            b'{"alg":"HS256","b64":false}',
            b"[" * 3000,
            b"\xff",
        ):
            head = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
            self.refused(keys, f"{head}.e30.AAAA")

    @given(st.text(alphabet="abcHS256{}.-_ \n\x00é", max_size=60) | st.text(max_size=40))
    def test_any_text(self, token: str) -> None:
        self.assertRaises(ChatError, ANY_KEYS.verify, token, NOW)

    @given(st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists, max_leaves=5))
    def test_any_header(self, value: object) -> None:
        raw = json.dumps({"alg": "HS256", "kid": value, "crit": value, "b64": value}).encode()
        head = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        self.assertRaises(ChatError, ANY_KEYS.verify, f"{head}.e30.AAAA", NOW)


def _any_keys() -> TokenKeys:
    with tempfile.NamedTemporaryFile() as file:
        file.write(json.dumps({"keys": [SECRET.as_dict(), EC.as_dict(private=False)]}).encode())
        file.flush()
        return TokenKeys.load(file.name)


ANY_KEYS = _any_keys()


class IdentityTests(TestCase):
    def test_names(self) -> None:
        ann = Identity("ann", ("lobby", "team:*"))
        for room, named in (
            ("lobby", True),
            ("lobby2", False),
            ("lobb", False),
            ("team:", True),
            ("team:a", True),
            ("team", False),
            ("Team:a", False),
        ):
            self.assertEqual(ann.names(room), named, room)
        self.assertTrue(Identity("ann", ("*",)).names("any"))
        self.assertFalse(Identity("ann", ()).names("any"))
        self.assertFalse(Identity("ann").names("any"))

    def test_may_join(self) -> None:
        everyone, nobody = Identity("ann"), Identity("ann", ())
        some, other = Identity("ann", ("a",)), Identity("ann", ("b",))
        boss = Identity("ann", admin=True)
        for caller, private, member, allowed in (
            (everyone, False, False, True),
            (everyone, True, False, False),
            (everyone, True, True, True),
            (nobody, False, False, False),
            (nobody, True, True, True),
            (some, False, False, True),
            (some, True, False, True),
            (other, False, False, False),
            (other, True, False, False),
            (other, True, True, True),
            (boss, True, False, False),
        ):
            entry = RoomEntry(Stream("a", "0"), private, {"ann"} if member else set())
            self.assertEqual(may_enter(caller, entry), allowed, (caller, private))
            if allowed:
                check_entry(caller, entry)
            else:
                error = self.assertRaises(ChatError, check_entry, caller, entry)
                self.assertEqual((error.code, error.room), (Code.FORBIDDEN, "a"))
                self.assertIn("may not enter", error.text)


class BearerTests(TestCase):
    def test_bearer(self) -> None:
        for header, token in (
            ("Bearer abc", "abc"),
            ("bearer abc", "abc"),
            ("BEARER   a.b-c_d=", "a.b-c_d="),
            ("Bearer abc ", "abc"),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer a b", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
            (None, None),
        ):
            self.assertEqual(bearer(header), token, header)

    def test_the_header_goes_before_the_url(self) -> None:
        self.assertEqual(shown_token("Bearer abc", "def"), "abc")
        self.assertEqual(shown_token("Bearer abc", None), "abc")
        self.assertEqual(shown_token("Basic abc", "def"), "def")
        self.assertEqual(shown_token(None, "def"), "def")
        self.assertIsNone(shown_token(None, None))
