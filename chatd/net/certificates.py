"""Certificates and keys of listening ports, which can be read again while the ports stay open."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.ssl import (
    AcceptableCiphers,
    CertificateOptions,
    DiffieHellmanParameters,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.filepath import FilePath
from zope.interface import implementer

from chatd.errors import StartError
from chatd.net.descriptions import Description
from chatd.net.handshakes import Handshakes, choose_protocol

#: For TLS 1.2: forward secrecy and authenticated encryption (RFC 9325, section 4.2), so neither
#: static RSA nor CBC. All ciphers of TLS 1.3 have both.
CIPHERS = AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")

#: Seconds before its end from which a certificate is said to be replaced, and the share of its time
#: if that is less: some are made for six days, or for hours.
IN_TIME, LAST = 14 * 86400, 1 / 5

_FILES = ("privateKey", "certKey", "extraCertChain", "dhParameters")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise StartError(f"cannot read {path}: {e.strerror}") from None


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise StartError(f"{path} holds no certificate in PEM form") from None


def _private_key(path: str) -> Any:
    try:
        # None: do not ask for a passphrase at the terminal, which a daemon does not have
        return load_pem_private_key(_read(path), None)
    except TypeError:
        raise StartError(f"{path} is encrypted; give a private key without passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise StartError(f"{path} holds no private key in PEM form") from None


def _chain(paths: list[str]) -> list[Any]:
    """The certificates in the files, in order, without duplicates: `x509.Certificate`, although
    Twisted's types only know pyOpenSSL's class, which is deprecated."""
    found = {c.public_bytes(Encoding.DER): c for path in paths for c in _certificates(path)}
    return list(found.values())


def _parameters(path: str | None) -> DiffieHellmanParameters | None:
    if path is None:
        return None
    _read(path)
    parameters: DiffieHellmanParameters = DiffieHellmanParameters.fromFile(FilePath(path))
    return parameters


def _load(files: dict[str, str]) -> CertificateOptions:
    """Options for TLS 1.2 and above with `CIPHERS`, without session tickets, so that no key
    outlives its certificate. As with nginx, intermediate certificates may follow the certificate in
    its file."""
    key_path = files["privateKey"]
    certificate_path = files.get("certKey", key_path)
    key = _private_key(key_path)
    certificate, *chain = _chain([certificate_path, *filter(None, [files.get("extraCertChain")])])
    if certificate.public_key() != key.public_key():
        raise StartError(f"the key in {key_path} is not of the certificate in {certificate_path}")
    options = CertificateOptions(
        privateKey=key,
        certificate=certificate,
        extraCertChain=chain,
        dhParameters=_parameters(files.get("dhParameters")),
        acceptableCiphers=CIPHERS,
    )
    try:
        context = options.getContext()
    except SSL.Error as e:
        why = ", ".join(error[-1] for error in e.args[0]) if e.args else "no reason given"
        raise StartError(f"OpenSSL refuses {certificate_path}: {why}") from None
    context.set_alpn_select_callback(choose_protocol)
    return options


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class Certificate:
    """The certificate of one ``ssl:`` endpoint. Open connections keep the one that they began
    with."""

    description: Description
    _files: dict[str, str] = field(init=False)
    _options: CertificateOptions = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        given = {"privateKey": "server.pem", **self.description.arguments}
        # absolute, because a daemon changes its directory before it reads them again
        self._files = {name: os.path.abspath(given[name]) for name in _FILES if name in given}
        self.reload()

    @property
    def files(self) -> Iterable[str]:
        """The paths of its files."""
        return self._files.values()

    def reload(self) -> None:
        """Read the files again. Raises `StartError` if they cannot be used; the old certificate
        stays in use then."""
        try:
            self._options = _load(self._files)
        except StartError as e:
            raise StartError(f"{self.description.text}: {e}") from None

    @property
    def expiry(self) -> tuple[str, float]:
        """The path of its file, and until when it is valid, in seconds since the epoch."""
        leaf: Any = self._options.certificate
        path = self._files.get("certKey", self._files["privateKey"])
        return path, leaf.not_valid_after_utc.timestamp()

    def due(self, now: float) -> str | None:
        """Why it is to be replaced ``now``, in seconds since the epoch; None if it need not be."""
        leaf: Any = self._options.certificate
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        lasts = (end - begin).total_seconds()
        path, until = self.expiry
        if now < begin.timestamp():
            return f"{path} is not valid before {begin}; clients will refuse it"
        if now > until:
            return f"{path} expired on {end}; clients will refuse it"
        if until - now < min(IN_TIME, lasts * LAST):
            return f"{path} expires on {end}; replace it, and reload (SIGHUP)"
        return None

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Begin a TLS connection with the present certificate."""
        return self._options.serverConnectionForTLS(protocol)


@define
class Certificates:
    """All certificates in use, to be read again together; ``handshakes`` is where connections wait
    for their turn to use one."""

    handshakes: Handshakes
    _all: list[Certificate] = field(factory=list, init=False)

    def add(self, certificate: Certificate) -> None:
        """Reload ``certificate`` with the others."""
        self._all.append(certificate)

    def reload(self) -> list[str]:
        """Read all files again. Returns a line for each certificate that could not be replaced."""
        faults = []
        for certificate in self._all:
            try:
                certificate.reload()
            except StartError as e:
                faults.append(str(e))
        return faults

    @property
    def files(self) -> Iterator[str]:
        """The path of each file that is read again."""
        for certificate in self._all:
            yield from certificate.files

    def due(self, now: float) -> list[str]:
        """A line for each certificate that is to be replaced ``now``, in seconds since the
        epoch."""
        found = (certificate.due(now) for certificate in self._all)
        return list(dict.fromkeys(line for line in found if line is not None))

    def expiries(self) -> dict[str, float]:
        """Until when the certificate in each file is valid, in seconds since the epoch."""
        return dict(certificate.expiry for certificate in self._all)
