"""TLS to the broker: its certificate is verified, for the host name or address in the URL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from OpenSSL.SSL import Error
from twisted.internet import ssl

from chatd.amqp.url import BadURL, BrokerURL

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def tls_options(url: BrokerURL, host: str) -> Any:
    """What `twisted.internet.endpoints.wrapClientTLS` needs, for one of the URL's hosts.

    Without ``cacertfile`` the system's authorities are trusted. Raises `BadURL` for a file that
    cannot be read or is not what it should be.
    """
    trust = own = None
    if url.cacertfile:
        found = _CERTIFICATE.findall(_read(url.cacertfile, "cacertfile"))
        if not found:
            raise BadURL(f"{url.cacertfile} (cacertfile) holds no PEM certificate.")
        try:
            trust = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(pem) for pem in found])
        except (Error, ValueError):
            raise BadURL(f"{url.cacertfile} (cacertfile) is not PEM.") from None
    if url.certfile:
        pem = _read(url.keyfile, "keyfile") + b"\n" + _read(url.certfile, "certfile")
        try:
            own = ssl.PrivateCertificate.loadPEM(pem)
        except (Error, ValueError):
            raise BadURL(
                f"{url.certfile} (certfile) and {url.keyfile} (keyfile) are not a PEM certificate"
                " and its key, without a passphrase."
            ) from None
    return ssl.optionsForClientTLS(host, trustRoot=trust, clientCertificate=own)


def _read(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise BadURL(f"{path} ({what}) cannot be read: {e.strerror}.") from None
