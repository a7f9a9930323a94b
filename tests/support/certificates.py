"""A certificate authority of the tests' own, with a server's and a client's certificate."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)


@frozen
class Certificates:
    """PEM files: the authority, and what it signed for ``localhost`` and for a client."""

    authority: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, years: float = 50
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_BEGIN + timedelta(days=365 * years))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def _write_certificate(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def make_certificates(
    folder: Path, authority: str = "chatd tests", years: float = 50
) -> Certificates:
    """Make an authority in ``folder``; the server is ``localhost`` and ``127.0.0.1``. All but the
    authority is valid for some ``years`` from 2020 on."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = (
        _builder(authority, authority, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    paths = {}
    for who, common_name in (("server", "localhost"), ("client", "chatd")):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(common_name, authority, key, years).add_extension(issuer, critical=False)
        if who == "server":
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        paths[f"{who}_key"] = _write_key(folder / f"{who}.key", key)
        paths[f"{who}_certificate"] = _write_certificate(folder / f"{who}.pem", certificate)
    return Certificates(authority=_write_certificate(folder / "ca.pem", ca), **paths)
