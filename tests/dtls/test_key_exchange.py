import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.failure import DtlsError
from voicegate.dtls.key_exchange import KeyShare, NamedGroup


@pytest.mark.parametrize("group", NamedGroup)
def test_both_sides_agree_on_a_fresh_secret(group: NamedGroup) -> None:
    one, other, third = (KeyShare.generate(group) for _ in range(3))
    secret = one.exchange(other.public)
    assert len(secret) == 32
    assert secret == other.exchange(one.public)
    assert secret != one.exchange(third.public)


def test_public_keys_have_the_length_of_their_group() -> None:
    assert len(KeyShare.generate(NamedGroup.X25519).public) == 32
    point = KeyShare.generate(NamedGroup.SECP256R1).public
    assert (len(point), point[0]) == (65, 4)


@pytest.mark.parametrize(
    "low_order",
    [
        bytes(32),
        b"\1" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ],
)
def test_x25519_keys_that_would_fix_the_secret_are_refused(low_order: bytes) -> None:
    with pytest.raises(DtlsError):
        KeyShare.generate(NamedGroup.X25519).exchange(low_order)


def test_compressed_points_are_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    with pytest.raises(DtlsError, match="uncompressed"):
        KeyShare.generate(NamedGroup.SECP256R1).exchange(compressed)


@pytest.mark.parametrize("group", NamedGroup)
@given(data=st.binary(max_size=70) | st.binary(min_size=64, max_size=64).map(lambda data: b"\4" + data))
def test_any_bytes_as_key_are_taken_or_a_dtls_error(group: NamedGroup, data: bytes) -> None:
    try:
        secret = KeyShare.generate(group).exchange(data)
    except DtlsError:
        return
    assert len(secret) == 32
