"""A TLS client that trusts anyone."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from tests.support.certificates import Certificates as Files


@define
@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Lax:
    """TLS without verification, of one version only if ``version`` is given, however weak; a client
    that ``offers`` protocols (ALPN)."""

    version: int | None = None
    files: Files | None = None
    ciphers: bytes = b"ALL"
    offers: Sequence[bytes] = ()

    def _context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_cipher_list(self.ciphers + b":@SECLEVEL=0")
        if self.version is not None:
            context.set_min_proto_version(self.version)
            context.set_max_proto_version(self.version)
        if self.files is not None:
            context.use_certificate_file(str(self.files.server_certificate))
            context.use_privatekey_file(str(self.files.server_key))
        if self.offers:
            context.set_alpn_protos(list(self.offers))
        return context

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self._context(), None)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self._context(), None)
