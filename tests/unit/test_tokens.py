"""Tokens, keys and secrets: what passes, what does not, and what is said about it."""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from twisted.trial.unittest import TestCase

from chatd.access.identity import Identity
from chatd.access.jwk import GOOD_SECRET_BYTES
from chatd.access.rights import check_entry, may_enter
from chatd.access.tokens import (
    TOKEN_CHARACTERS,
    TOKEN_ROOMS,
    Secret,
    TokenKeys,
    bearer,
    shown_token,
)
from chatd.brokers.interfaces import Stream
from chatd.directory.projection import RoomEntry
from chatd.errors import StartError
from chatd.protocol.errors import ChatError, Code

NOW = 1_800_000_000.0
SECRET = OctKey.import_key(b"a secret of more than thirty-two bytes")
RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")
ED = OKPKey.generate_key("Ed25519")


def sign(key: Key, alg: str, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token of ``ann`` that expires a minute from now, but for what is given."""
    claims = {"sub": "ann", "exp": NOW + 60, **claims}
    payload = json.dumps(claims).encode()
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    model = registry.algorithms[alg]
    head = {"alg": alg, **(header or {})}

    def b64(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = b64(json.dumps(head).encode()) + b"." + b64(payload)
    return (signed + b"." + b64(model.sign(signed, key))).decode()


class FileTests(TestCase):
    def file(self, content: bytes | str) -> str:
        """The path of a file with ``content``, removed after the test."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "key")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)


class KeyTests(FileTests):
    """Keys from files, and what they make of tokens."""

    def keys(self, content: bytes | str) -> TokenKeys:
        return TokenKeys.load(self.file(content))

    def jwks(self, *keys: dict[str, Any]) -> TokenKeys:
        return self.keys(json.dumps({"keys": keys}))

    def refused(self, keys: TokenKeys, token: str, now: float = NOW) -> str:
        """The text of the refusal, which never holds any of the token's parts."""
        error = self.assertRaises(ChatError, keys.verify, token, now)
        self.assertIs(error.code, Code.UNAUTHORIZED)
        for part in token.split("."):
            if len(part) > 8:
                self.assertNotIn(part, error.text)
        self.assertNotIn("\n", error.text)
        return str(error.text)

    def bad_file(self, content: bytes | str) -> str:
        error = str(self.assertRaises(StartError, self.keys, content))
        self.assertIn("--token-key", error)
        self.assertNotIn("\n", error)
        return error


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


class JWKSTests(KeyTests):
    def test_chosen_by_kid(self) -> None:
        one, two = (RSAKey.generate_key(2048) for _ in range(2))
        keys = self.jwks(one.as_dict(private=False, kid="1"), two.as_dict(private=False, kid="2"))
        self.assertEqual(keys.verify(sign(one, "RS256", {"kid": "1"}), NOW).user, "ann")
        self.assertEqual(keys.verify(sign(two, "RS256", {"kid": "2"}), NOW).user, "ann")
        self.refused(keys, sign(two, "RS256", {"kid": "1"}))
        self.assertIn("alg and kid", self.refused(keys, sign(two, "RS256", {"kid": "3"})))
        self.assertIn("alg and kid", self.refused(keys, sign(EC, "ES256")))
        self.assertIn("must name its key", self.refused(keys, sign(two, "RS256")))

    def test_one_key_needs_no_kid(self) -> None:
        keys = self.jwks(EC.as_dict(private=False, kid="1"))
        self.assertEqual(keys.verify(sign(EC, "ES256"), NOW).user, "ann")

    def test_space_around_it(self) -> None:
        keys = self.keys("\n " + json.dumps({"keys": [EC.as_dict(private=False)]}) + "\n ")
        self.assertEqual(keys.verify(sign(EC, "ES256"), NOW).user, "ann")

    def test_one_key_alone_in_the_file(self) -> None:
        keys = self.keys(json.dumps(EC.as_dict(private=False)))
        self.assertEqual(keys.verify(sign(EC, "ES256", {"kid": "any"}), NOW).user, "ann")

    def test_kinds_side_by_side(self) -> None:
        keys = self.jwks(EC.as_dict(private=False), ED.as_dict(private=False), SECRET.as_dict())
        for key, alg in ((EC, "ES256"), (ED, "EdDSA"), (SECRET, "HS256")):
            self.assertEqual(keys.verify(sign(key, alg), NOW).user, "ann")

    def test_its_own_alg(self) -> None:
        keys = self.jwks(RSA.as_dict(private=False, alg="PS256"))
        self.assertEqual(keys.verify(sign(RSA, "PS256"), NOW).user, "ann")
        self.refused(keys, sign(RSA, "RS256"))
        self.bad_file(json.dumps({"keys": [RSA.as_dict(private=False, alg="HS256")]}))
        self.bad_file(json.dumps({"keys": [SECRET.as_dict(alg="none")]}))

    def test_keys_for_something_else_are_ignored(self) -> None:
        strange = {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}
        encrypts = ECKey.generate_key("P-256").as_dict(private=False, use="enc")
        agrees = OKPKey.generate_key("X25519").as_dict(private=False)
        keys = self.jwks(strange, encrypts, agrees, EC.as_dict(private=False))
        self.assertEqual(keys.verify(sign(EC, "ES256"), NOW).user, "ann")

    def test_the_exact_kid_wins_whatever_the_order(self) -> None:
        named, nameless, third = (RSAKey.generate_key(2048) for _ in range(3))
        shown = [
            named.as_dict(private=False, kid="1"),
            nameless.as_dict(private=False),
            third.as_dict(private=False),
        ]
        for order in itertools.permutations(shown):
            keys = self.jwks(*order)
            self.assertEqual(keys.verify(sign(named, "RS256", {"kid": "1"}), NOW).user, "ann")
            for key in (nameless, third):
                self.assertEqual(keys.verify(sign(key, "RS256"), NOW).user, "ann")
                self.assertEqual(keys.verify(sign(key, "RS256", {"kid": "2"}), NOW).user, "ann")
                self.refused(keys, sign(key, "RS256", {"kid": "1"}))
            self.refused(keys, sign(RSA, "RS256"))

    def test_what_cannot_be_used_is_skipped_and_said(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            small = RSAKey.generate_key(1024)
        useless: list[Any] = [
            5,
            {},
            {"kty": ["RSA"]},
            {"kty": "EC", "crv": "P-256"},
            {"kty": "EC", "crv": "P-256", "x": 5, "y": "AA"},
            {"kty": "oct", "k": ""},
            {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
            RSA.as_dict(private=True),
            RSA.as_dict(private=False, kid=7),
            RSA.as_dict(private=False, alg="HS256"),
            ECKey.generate_key("P-256").as_dict(private=False, use="enc"),
            EC.as_dict(private=False, key_ops=["encrypt"]),
            small.as_dict(private=False),
        ]
        for one in useless:
            keys = self.jwks(one, ED.as_dict(private=False), one)
            self.assertEqual(keys.verify(sign(ED, "EdDSA"), NOW).user, "ann", one)
            self.assertEqual(len(keys.skipped), 2, one)
            self.assertRegex(keys.skipped[1], "^--token-key: key 3 of 3 in [^ ]+ (is|has|can)")
            self.bad_file(json.dumps({"keys": [one, one]}))

    def test_bad_files(self) -> None:
        for content in (
            "{}",
            '{"keys":5}',
            '{"keys":[5]}',
            '{"keys":[]}',
            "{",
            json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}),
            json.dumps({"keys": [{"kty": "EC", "crv": "P-256"}]}),
            json.dumps({"keys": [{"kty": "oct", "k": ""}]}),
            json.dumps({"keys": [{"kty": ["RSA"]}]}),
            json.dumps({"keys": [RSA.as_dict(private=True)]}),
        ):
            self.bad_file(content)


class KeyFileTests(KeyTests):
    def test_missing(self) -> None:
        error = str(self.assertRaises(StartError, TokenKeys.load, "/nowhere/key"))
        self.assertIn("/nowhere/key", error)

    def test_empty(self) -> None:
        for content in ("", "\n", " \n"):
            self.assertIn("empty", self.bad_file(content))

    def test_a_private_key_is_not_for_this_machine(self) -> None:
        for key in (RSA, EC, ED):
            self.assertIn("openssl pkey -pubout", self.bad_file(key.as_pem(private=True)))

    def test_what_is_no_key(self) -> None:
        self.bad_file(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
        self.bad_file(RSA.as_pem() + EC.as_pem())
        self.bad_file(b"x" * (256 * 1024 + 1))
        self.bad_file(OKPKey.generate_key("X25519").as_pem())
        self.bad_file(RSA.as_der())
        ssh = RSA.public_key.public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        self.assertIn("PEM", self.bad_file(ssh))

    def test_a_small_rsa_key(self) -> None:
        small = rsa.generate_private_key(65537, 1024).public_key()
        pem = small.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.assertIn("2048", self.bad_file(pem))

    def test_a_short_secret_works_with_a_warning(self) -> None:
        keys = self.keys("secret")
        short = OctKey(b"secret", b"secret", None)
        self.assertEqual(keys.verify(sign(short, "HS256"), NOW).user, "ann")
        self.assertIn("32", keys.weakness() or "")
        self.assertIsNone(self.keys(SECRET.raw_value).weakness())
        self.assertIsNone(self.keys("s" * GOOD_SECRET_BYTES).weakness())
        self.assertIsNotNone(self.keys("s" * (GOOD_SECRET_BYTES - 1)).weakness())
        self.assertIsNone(self.keys(RSA.as_pem()).weakness())

    def test_whether_a_token_would_still_pass(self) -> None:
        """Told from what it was verified with, whatever became of the file."""
        one, two = (RSAKey.generate_key(2048) for _ in range(2))

        def jwks(*keys: dict[str, Any]) -> str:
            return json.dumps({"keys": keys})

        old = jwks(one.as_dict(private=False, kid="1"), two.as_dict(private=False, kid="2"))
        path = self.file(old)
        keys = TokenKeys.load(path)
        identity = keys.verify(sign(one, "RS256", {"kid": "1"}), NOW)
        assert identity.proof is not None
        for content, passes in (
            (old, True),
            (jwks(one.as_dict(private=False)), True),
            (jwks(one.as_dict(private=False, kid="3"), two.as_dict(private=False)), False),
            (jwks(two.as_dict(private=False, kid="1")), False),
            (jwks(one.as_dict(private=False, kid="1", alg="PS256")), False),
            (SECRET.raw_value.decode(), False),
            (one.as_pem(private=False).decode(), True),
        ):
            Path(path).write_text(content)
            keys = TokenKeys.load(path)
            self.assertEqual(keys.still_verifies(identity.proof), passes, content)

    def test_keys_are_not_shown(self) -> None:
        self.assertNotIn("thirty", repr(self.keys(SECRET.raw_value)))


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
            [["a"]],
            many,
        ]
        for wrong in wrongs:
            self.bad('"rooms"', rooms=wrong)
        self.assertEqual(self.identity(rooms=["jose\u0301*"]).rooms, ("josé*",))
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


class SecretTests(FileTests):
    def load(self, content: bytes) -> Secret:
        return Secret.load(self.file(content), "--admin-key")

    def test_matches(self) -> None:
        for content in (b"s3cret", b"s3cret\n", b"s3cret\r\n"):
            secret = self.load(content)
            self.assertTrue(secret.matches("s3cret"))
            for wrong in ("s3cre", "s3crets", "S3cret", "s3cret\n", "", None, 5, ["s3cret"]):
                self.assertFalse(secret.matches(wrong), wrong)
        self.assertTrue(self.load("gehéim".encode()).matches("gehéim"))
        self.assertFalse(self.load(b"a").matches("\ud800"))

    def test_bad_files(self) -> None:
        for content in (b"", b"\n", b"  \r\n"):
            error = str(self.assertRaises(StartError, self.load, content))
            self.assertIn("--admin-key", error)
        self.assertRaises(StartError, Secret.load, "/nowhere", "--setup-secret")

    def test_no_difference_tells_where_it_is(self) -> None:
        """Whatever is compared is compared in constant time, as far as `hmac` can."""
        secret = self.load(b"s3cret")
        constant = mock.Mock(wraps=hmac.compare_digest)
        with mock.patch("chatd.access.tokens.hmac.compare_digest", constant):
            for given in ("s3cret", "x3cret", "s3crex", "", "s"):
                secret.matches(given)
        self.assertEqual(constant.call_count, 5)
        self.assertEqual(constant.call_args_list[1], mock.call(b"x3cret", b"s3cret"))

    def test_not_shown(self) -> None:
        self.assertNotIn("s3cret", repr(self.load(b"s3cret")))


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
