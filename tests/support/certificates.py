"""Certificates for servers and clients of tests: one authority, a server on loopback, a client, each a PEM file of its own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


@dataclass(frozen=True)
class Certificates:
    """Paths: the authority's certificate, and certificate and key of a server and of a client."""

    authority: Path
    server: tuple[Path, Path]
    client_files: tuple[Path, Path]

    @property
    def options(self) -> str:
        """How a store's URL names them."""
        names = {"ssl_ca_certs": self.authority, "ssl_certfile": self.client_files[0], "ssl_keyfile": self.client_files[1]}
        return urlencode({name: str(path) for name, path in names.items()}, safe="/")

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(*self.client_files)
        return context


def make_certificates(
    folder: Path, *, names: tuple[str, ...] = ("localhost",), addresses: tuple[str, ...] = ("127.0.0.1",)
) -> Certificates:
    """Write a new set into ``folder``; the server's certificate is good for these names and addresses."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", authority_key, issuer=None, signer=authority_key)
    entries = [*(x509.DNSName(name) for name in names), *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses)]
    files = {}
    for who, alternatives in (("server", entries), ("client", [x509.DNSName("client")])):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(who, key, issuer=authority, signer=authority_key, alternatives=alternatives)
        files[who] = (_written(folder / f"{who}.pem", certificate), _written(folder / f"{who}.key", key))
    return Certificates(_written(folder / "authority.pem", authority), files["server"], files["client"])


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    *,
    issuer: x509.Certificate | None,
    signer: EllipticCurvePrivateKey,
    alternatives: list[x509.GeneralName] | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _written(path: Path, what: x509.Certificate | EllipticCurvePrivateKey) -> Path:
    pem = serialization.Encoding.PEM
    if isinstance(what, x509.Certificate):
        path.write_bytes(what.public_bytes(pem))
    else:
        path.write_bytes(what.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        path.chmod(0o600)
    return path
