"""Listening: endpoint strings, and TLS whose certificates can be replaced while it serves.

Strings are Twisted's (`twisted.internet.endpoints.serverFromString`). Only ``ssl:`` is built here:
Twisted reads its files once, chatd again on SIGHUP.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any, cast

from attrs import define, field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import SSL
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
    IStreamServerEndpoint,
)
from twisted.internet.ssl import CertificateOptions, DiffieHellmanParameters
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.filepath import FilePath
from zope.interface import implementer

from chatd.errors import StartError

#: What stands without a name in an endpoint string, by kind and in order.
_POSITIONS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
    ),
    "tls": ("path", "port", "backlog", "interface"),
    "unix": ("address", "mode", "backlog", "lockfile"),
}
_FILES = ("privateKey", "certKey", "extraCertChain", "dhParameters")


# -- endpoint strings ------------------------------------------------------------------------------


@frozen
class Description:
    """An endpoint string taken apart: its kind, and its arguments by name."""

    text: str
    kind: str
    arguments: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Description:
        """Take ``kind:value:name=value`` apart; a backslash makes the next character plain.

        ValueError for what cannot be an endpoint, with a text that says why.
        """
        (kind, *rest) = _fields(text)
        if not rest or len(kind) != 1 or not kind[0].isidentifier():
            raise ValueError("give an endpoint such as tcp:8081:interface=127.0.0.1, or off")
        positions = _POSITIONS.get(kind[0])
        if positions is None:
            return cls(text, kind[0], {})
        plain = [part[0] for part in rest if len(part) == 1]
        if len(plain) > len(positions):
            raise ValueError(f"too many arguments for {kind[0]}:")
        arguments = dict(zip(positions, plain, strict=False))
        for name, value in (part for part in rest if len(part) == 2):
            if name not in positions:
                raise ValueError(f"{kind[0]}: knows no {name}=")
            arguments[name] = value
        _check_arguments(kind[0], arguments)
        return cls(text, kind[0], arguments)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect; False where that cannot be told."""
        if self.kind == "unix":
            return True
        interface = self.arguments.get("interface", "")
        try:
            return interface == "localhost" or ipaddress.ip_address(interface).is_loopback
        except ValueError:
            return False


def _fields(text: str) -> list[list[str]]:
    fields = [[""]]
    characters = iter(text)
    for c in characters:
        if c == "\\":
            fields[-1][-1] += next(characters, "")
        elif c == ":":
            fields.append([""])
        elif c == "=" and len(fields[-1]) == 1:
            fields[-1].append("")
        else:
            fields[-1][-1] += c
    return fields


def _check_arguments(kind: str, arguments: dict[str, str]) -> None:
    first = _POSITIONS[kind][0]
    if not arguments.get(first):
        raise ValueError(f"{kind}: needs a {first}")
    for name, most in (("port", 65535), ("backlog", 65535)):
        value = arguments.get(name, "0")
        if not (value.isascii() and value.isdigit() and int(value) <= most):
            raise ValueError(f"{value!r} is not a {name} (0 to {most})")
    mode = arguments.get("mode", "0")
    if not (mode.isdigit() and set(mode) <= set("01234567")):
        raise ValueError(f"{mode!r} is not an octal mode such as 660")
    if "sslmethod" in arguments:
        raise ValueError("ssl: takes no sslmethod; TLS 1.2 and above are spoken")


# -- certificates ----------------------------------------------------------------------------------


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
        # never ask at a terminal for a passphrase: a daemon has none
        return load_pem_private_key(_read(path), None)
    except TypeError:
        raise StartError(f"{path} is encrypted; give a private key without passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise StartError(f"{path} holds no private key in PEM form") from None


def _chain(paths: list[str]) -> list[x509.Certificate]:
    """All certificates of the files, in order, each once."""
    found = {c.public_bytes(Encoding.DER): c for path in paths for c in _certificates(path)}
    return list(found.values())


def _parameters(path: str | None) -> DiffieHellmanParameters | None:
    if path is None:
        return None
    _read(path)
    parameters: DiffieHellmanParameters = DiffieHellmanParameters.fromFile(FilePath(path))
    return parameters


def _load(files: dict[str, str]) -> CertificateOptions:
    """TLS 1.2 and above, Twisted's choice of ciphers, no session tickets (so that no key outlives
    its certificate). As with nginx, intermediates may follow the certificate in its own file."""
    key_path = files["privateKey"]
    certificate_path = files.get("certKey", key_path)
    key = _private_key(key_path)
    certificate, *chain = _chain([certificate_path, *filter(None, [files.get("extraCertChain")])])
    if certificate.public_key() != key.public_key():
        raise StartError(f"the key in {key_path} is not of the certificate in {certificate_path}")
    options = CertificateOptions(
        privateKey=key,
        # pyOpenSSL's own certificate objects are deprecated; Twisted's types know only those
        certificate=certificate,  # type: ignore[arg-type]
        extraCertChain=chain,  # type: ignore[arg-type]
        dhParameters=_parameters(files.get("dhParameters")),
    )
    try:
        options.getContext()
    except SSL.Error as e:
        why = ", ".join(error[-1] for error in e.args[0]) if e.args else "no reason given"
        raise StartError(f"OpenSSL refuses {certificate_path}: {why}") from None
    return options


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class Certificate:
    """The certificate of one ``ssl:`` endpoint; connections keep the one they were made with."""

    description: Description
    _files: dict[str, str] = field(init=False)
    _options: CertificateOptions = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        given = {"privateKey": "server.pem", **self.description.arguments}
        # absolute, for a daemon changes its folder between the first reading and the next
        self._files = {name: os.path.abspath(given[name]) for name in _FILES if name in given}
        self.reload()

    def reload(self) -> None:
        """Read the files again. `StartError` if they are bad; then nothing has changed."""
        try:
            self._options = _load(self._files)
        except StartError as e:
            raise StartError(f"{self.description.text}: {e}") from None

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make a TLS connection with the present certificate."""
        return self._options.serverConnectionForTLS(protocol)


@define
class Certificates:
    """All certificates in use, to be read again together."""

    _all: list[Certificate] = field(factory=list, init=False)

    def add(self, certificate: Certificate) -> None:
        """Have `reload` see to ``certificate`` too."""
        self._all.append(certificate)

    def reload(self) -> list[str]:
        """Read all files again. Where they are bad the old certificate stays in use, and what is
        wrong is returned, a line each."""
        faults = []
        for certificate in self._all:
            try:
                certificate.reload()
            except StartError as e:
                faults.append(str(e))
        return faults


def listen_endpoint(reactor: Any, text: str, certificates: Certificates) -> IStreamServerEndpoint:
    """The server endpoint that the string ``text`` describes.

    The certificate of an ``ssl:`` endpoint is added to ``certificates``. `StartError` says in one
    line what is wrong with the string or with the files it names.
    """
    try:
        description = Description.parse(text)
        if description.kind != "ssl":
            return cast(IStreamServerEndpoint, serverFromString(reactor, text))
    except Exception as e:  # other kinds are plug-ins, which raise as they please
        raise StartError(f"{text}: {str(e) or type(e).__name__}") from None
    certificate = Certificate(description)
    certificates.add(certificate)
    return SSL4ServerEndpoint(
        reactor,
        int(description.arguments["port"]),
        certificate,
        backlog=int(description.arguments.get("backlog", "50")),
        interface=description.arguments.get("interface", ""),
    )
