"""TLS to the broker, whose certificate is verified for the host in the URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import ssl

from chatd.amqp.url import BadURL, BrokerURL

#: For TLS 1.2: forward secrecy and authenticated encryption (RFC 9325, section 4.2).
CIPHERS = ssl.AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")

#: How begins what `trouble_of` says.
TLS = "TLS: "
#: What is to be looked at, for what OpenSSL says where the operator can do something.
_ADVICE = {
    "certificate verify failed": "the broker's certificate is out of date, or not of an authority"
    " that is trusted; see cacertfile",
    "wrong version number": "what answers there does not speak it, is the port right?",
}


def trouble_of(error: SSL.Error) -> str:
    """Why there is no TLS to the broker, in a line."""
    said = error.args[0] if error.args else ()
    reasons = [str(one[-1]) for one in said] if isinstance(said, list) else []
    why = ", ".join(filter(None, reasons)) or str(error) or "no reason given"
    advice = _ADVICE.get(why)
    return f"{TLS}{why}: {advice}" if advice else f"{TLS}{why}"


def tls_options(url: BrokerURL, host: str) -> Any:
    """Options for `twisted.internet.endpoints.wrapClientTLS`, for one of the URL's hosts.

    Without ``cacertfile`` the system's certificate authorities are trusted. ``certfile`` may hold
    the chain after our own certificate. Raises `BadURL` for a file that cannot be read or used.
    """
    trust, own = None, {"acceptableCiphers": CIPHERS}
    if url.cacertfile:
        authorities = _certificates(url.cacertfile, "cacertfile")
        trust = ssl.trustRootFromCertificates(
            [ssl.Certificate(X509.from_cryptography(one)) for one in authorities]
        )
    if url.certfile:
        certificate, *chain = _certificates(url.certfile, "certfile")
        own |= {
            "privateKey": _key(url.keyfile, certificate),
            "certificate": certificate,
            "extraCertChain": chain,
        }
    return ssl.optionsForClientTLS(host, trustRoot=trust, extraCertificateOptions=own)


def _certificates(path: str, what: str) -> list[Certificate]:
    data = _read(path, what)
    try:
        return load_pem_x509_certificates(data)
    except ValueError:
        raise BadURL(f"{path} ({what}) holds no PEM certificate.") from None


def _key(path: str, certificate: Certificate) -> Any:
    data = _read(path, "keyfile")
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise BadURL(f"{path} (keyfile) is encrypted; give a key without a passphrase.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadURL(f"{path} (keyfile) holds no PEM private key.") from None
    if key.public_key() != certificate.public_key():
        raise BadURL(f"{path} (keyfile) is not the key of the certificate (certfile).")
    return key


def _read(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise BadURL(f"{path} ({what}) cannot be read: {e.strerror}.") from None
