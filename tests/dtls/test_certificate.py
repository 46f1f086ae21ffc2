import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.dtls.pair import SERVER_CERTIFICATE
from tests.dtls.peer import NOT_BEFORE, Identity, make_identity
from voicegate.dtls import Certificate, FailureCause, Fingerprint
from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.certificate import check_fingerprint, load_public_key
from voicegate.dtls.failure import DtlsError
from voicegate.errors import WireError


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-384", "sha-512"])
def test_a_fingerprint_survives_the_sdp_in_any_case_of_letters(algorithm: str) -> None:
    fingerprint = Fingerprint.compute(SERVER_CERTIFICATE.der, algorithm)
    assert Fingerprint.parse(str(fingerprint)) == fingerprint
    assert Fingerprint.parse(f" {str(fingerprint).lower()} ") == fingerprint
    assert Fingerprint.parse(str(fingerprint).upper()) == fingerprint
    assert fingerprint.matches(SERVER_CERTIFICATE.der)
    assert not fingerprint.matches(SERVER_CERTIFICATE.der + b"\0")


def test_a_fingerprint_is_written_as_the_sdp_wants_it() -> None:
    assert str(Fingerprint("sha-256", bytes([0, 0xAB, 0x0C]))) == "sha-256 00:AB:0C"


def test_the_fingerprint_of_ours_is_sha_256() -> None:
    value = hashlib.sha256(SERVER_CERTIFICATE.der).digest()
    assert SERVER_CERTIFICATE.fingerprint == Fingerprint("sha-256", value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha-256",
        "sha-1 " + ":".join(["AB"] * 20),
        "md5 " + ":".join(["AB"] * 16),
        "sha-256 " + ":".join(["AB"] * 31),
        "sha-256 " + ":".join(["AB"] * 33),
        "sha-256 " + "AB" * 32,
        "sha-256 " + ":".join(["ABC", "D"] * 16),
        "sha-256 " + ":".join(["XY"] * 32),
    ],
)
def test_a_fingerprint_of_another_kind_or_form_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        Fingerprint.parse(text)


@given(st.text(max_size=40).map(lambda text: "sha-256 " + text) | st.text(max_size=40))
def test_any_text_is_no_fingerprint_but_a_wire_error(text: str) -> None:
    with pytest.raises(WireError):
        Fingerprint.parse(text)


def test_a_fingerprint_with_an_unknown_hash_matches_nothing() -> None:
    digest = hashlib.sha1(SERVER_CERTIFICATE.der, usedforsecurity=False).digest()
    assert not Fingerprint("sha-1", digest).matches(SERVER_CERTIFICATE.der)


def test_a_generated_certificate_is_p256_self_signed_and_fresh() -> None:
    parsed = x509.load_der_x509_certificate(SERVER_CERTIFICATE.der)
    assert parsed.issuer == parsed.subject
    assert parsed.not_valid_before_utc == NOT_BEFORE - timedelta(days=1)
    assert parsed.not_valid_after_utc == NOT_BEFORE + timedelta(days=30)
    key = parsed.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key == SERVER_CERTIFICATE.private_key.public_key()
    assert Certificate.generate(not_before=NOT_BEFORE).fingerprint != SERVER_CERTIFICATE.fingerprint


def test_a_certificate_does_not_show_its_key() -> None:
    assert "key" not in repr(SERVER_CERTIFICATE)


def test_any_of_several_fingerprints_will_do() -> None:
    wrong = Fingerprint("sha-256", bytes(32))
    right = Fingerprint.compute(SERVER_CERTIFICATE.der, "sha-512")
    check_fingerprint(SERVER_CERTIFICATE.der, [wrong, right])
    with pytest.raises(DtlsError) as caught:
        check_fingerprint(SERVER_CERTIFICATE.der, [wrong])
    assert caught.value.cause is FailureCause.FINGERPRINT_MISMATCH
    assert caught.value.alert == AlertDescription.BAD_CERTIFICATE


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_the_keys_of_browsers_and_sip_gateways_are_accepted(kind: str) -> None:
    identity = make_identity(kind)
    assert load_public_key(identity.der) == identity.key.public_key()


@pytest.mark.parametrize("kind", ["p521", "rsa1024"])
def test_other_keys_are_refused(kind: str) -> None:
    with pytest.raises(DtlsError) as caught:
        load_public_key(make_identity(kind).der)
    assert caught.value.cause is FailureCause.BAD_CERTIFICATE
    assert caught.value.alert == AlertDescription.UNSUPPORTED_CERTIFICATE


def test_an_enormous_rsa_key_is_refused() -> None:
    # Made of numbers, since generating one takes minutes.
    enormous = rsa.RSAPublicNumbers(65537, (1 << 8200) + 1).public_key()
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder(name, name, enormous, 1, NOT_BEFORE, NOT_BEFORE)
        .sign(SERVER_CERTIFICATE.private_key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    with pytest.raises(DtlsError, match="size"):
        load_public_key(certificate)


@given(
    st.binary(max_size=200)
    | st.integers(0, len(SERVER_CERTIFICATE.der) - 1).map(lambda cut: SERVER_CERTIFICATE.der[:cut])
)
def test_what_is_no_certificate_is_a_bad_certificate(data: bytes) -> None:
    with pytest.raises(DtlsError) as caught:
        load_public_key(data)
    assert caught.value.cause is FailureCause.BAD_CERTIFICATE


@given(st.integers(0, len(SERVER_CERTIFICATE.der) - 1), st.integers(1, 255))
def test_a_damaged_certificate_yields_a_key_or_a_dtls_error(position: int, flip: int) -> None:
    damaged = bytearray(SERVER_CERTIFICATE.der)
    damaged[position] ^= flip
    try:
        key = load_public_key(bytes(damaged))
    except DtlsError:
        return
    assert isinstance(key, ec.EllipticCurvePublicKey)


def test_a_certificate_of_an_unheard_of_version_is_a_bad_certificate() -> None:
    version_4 = SERVER_CERTIFICATE.der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020103"), 1)
    assert version_4 != SERVER_CERTIFICATE.der
    with pytest.raises(DtlsError, match="cannot be read"):
        load_public_key(version_4)


def test_expired_certificates_are_not_refused() -> None:
    identity = Identity(ec.generate_private_key(ec.SECP256R1()))
    assert identity.certificate.not_valid_after_utc < NOT_BEFORE
    assert load_public_key(identity.der) == identity.key.public_key()
