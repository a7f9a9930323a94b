"""Files with keys and secrets: which are taken, and what is said of the others."""

from __future__ import annotations

import hmac
import itertools
import json
import os
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from chatd.access.jwk import GOOD_SECRET_BYTES
from chatd.access.tokens import (
    Secret,
    TokenKeys,
)
from chatd.errors import StartError
from tests.support.keys import EC, ED, NOW, RSA, SECRET, FileTests, KeyTests, sign


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

    def test_a_pipe(self) -> None:
        """As of the shell's <(...): what is read from it is gone."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.write(writer, b"a secret that came through a pipe\n")
        os.close(writer)
        self.assertTrue(TokenKeys.load(f"/dev/fd/{reader}").secret)

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
