"""A certificate for this machine, and both sides' settings for it."""

import datetime
import ipaddress
import ssl
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from voicegate.relay.stream import load_tls

__all__ = ["client_context", "server_context", "write_certificate"]


@cache
def _certificate() -> tuple[bytes, bytes]:
    """Make a self-signed certificate for 127.0.0.1 and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(*form)


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write certificate and key; return where they are."""
    paths = folder / "certificate.pem", folder / "key.pem"
    for path, pem in zip(paths, _certificate(), strict=True):
        path.write_bytes(pem)
    return paths


def server_context() -> ssl.SSLContext:
    with TemporaryDirectory() as folder:
        certificate, key = write_certificate(Path(folder))
        return load_tls(str(certificate), str(key))


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=_certificate()[0].decode())
