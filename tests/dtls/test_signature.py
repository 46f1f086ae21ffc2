import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.dtls.pair import SERVER_CERTIFICATE
from voicegate.dtls import FailureCause
from voicegate.dtls.alert import AlertDescription
from voicegate.dtls.failure import DtlsError
from voicegate.dtls.signature import OWN_SCHEME, DigitallySigned, SignatureScheme, sign, verify
from voicegate.errors import WireError

RSA_KEY = rsa.generate_private_key(65537, 2048)
P384_KEY = ec.generate_private_key(ec.SECP384R1())
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}

signatures = st.builds(DigitallySigned, scheme=st.integers(0, 0xFFFF), signature=st.binary(max_size=100))


@given(signatures)
def test_a_signature_survives_the_wire(signed: DigitallySigned) -> None:
    assert DigitallySigned.decode(signed.encode()) == signed


@given(st.binary(max_size=20))
def test_any_bytes_decode_to_what_encodes_to_them_or_raise_a_wire_error(data: bytes) -> None:
    try:
        signed = DigitallySigned.decode(data)
    except WireError:
        return
    assert signed.encode() == data


def test_our_signature_verifies_over_its_data_only() -> None:
    signed = sign(SERVER_CERTIFICATE.private_key, b"data")
    assert signed.scheme == 0x0403
    assert signed.scheme == OWN_SCHEME
    public_key = SERVER_CERTIFICATE.private_key.public_key()
    verify(public_key, signed, b"data")
    with pytest.raises(DtlsError) as caught:
        verify(public_key, signed, b"other data")
    assert caught.value.cause is FailureCause.AUTHENTICATION_FAILED
    assert caught.value.alert == AlertDescription.DECRYPT_ERROR


@pytest.mark.parametrize("scheme", [scheme for scheme in SignatureScheme if "RSA" in scheme.name])
def test_every_rsa_scheme_is_verified_with_its_own_padding_and_hash(scheme: SignatureScheme) -> None:
    algorithm = HASHES[scheme.name[-3:]]
    pad = (
        padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
        if "PSS" in scheme.name
        else padding.PKCS1v15()
    )
    signature = RSA_KEY.sign(b"data", pad, algorithm)
    verify(RSA_KEY.public_key(), DigitallySigned(scheme=scheme, signature=signature), b"data")
    for other in set(SignatureScheme) - {scheme}:
        with pytest.raises(DtlsError):
            verify(RSA_KEY.public_key(), DigitallySigned(scheme=other, signature=signature), b"data")


@pytest.mark.parametrize("scheme", [0x0403, 0x0503])
def test_p384_keys_are_verified_with_either_hash(scheme: int) -> None:
    algorithm = hashes.SHA256() if scheme == 0x0403 else hashes.SHA384()
    signature = P384_KEY.sign(b"data", ec.ECDSA(algorithm))
    verify(P384_KEY.public_key(), DigitallySigned(scheme=scheme, signature=signature), b"data")


@pytest.mark.parametrize("scheme", [0x0201, 0x0203, 0x0603, 0x0804, 0xFFFF])
def test_schemes_that_are_not_ours_or_not_the_keys_are_illegal(scheme: int) -> None:
    with pytest.raises(DtlsError) as caught:
        verify(P384_KEY.public_key(), DigitallySigned(scheme=scheme, signature=b"x"), b"data")
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER
    assert caught.value.cause is FailureCause.PROTOCOL_VIOLATION


@given(st.binary(max_size=300), st.sampled_from(SignatureScheme))
def test_any_bytes_as_signature_are_only_a_dtls_error(signature: bytes, scheme: SignatureScheme) -> None:
    for key in (RSA_KEY, P384_KEY):
        with pytest.raises(DtlsError):
            verify(key.public_key(), DigitallySigned(scheme=scheme, signature=signature), b"data")


def test_the_signature_is_not_in_the_repr() -> None:
    assert "secret" not in repr(DigitallySigned(scheme=1, signature=b"secret"))
