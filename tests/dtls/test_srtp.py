import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls import SrtpProfile
from voicegate.dtls.srtp import UseSrtp
from voicegate.errors import WireError


@pytest.mark.parametrize(
    ("profile", "code", "key_length", "salt_length"),
    [
        (SrtpProfile.AES128_CM_SHA1_80, 1, 16, 14),
        (SrtpProfile.AEAD_AES_128_GCM, 7, 16, 12),
        (SrtpProfile.AEAD_AES_256_GCM, 8, 32, 12),
    ],
)
def test_profiles_have_the_lengths_of_their_rfcs(
    profile: SrtpProfile, code: int, key_length: int, salt_length: int
) -> None:
    assert (profile, profile.key_length, profile.salt_length) == (code, key_length, salt_length)


@given(st.lists(st.integers(0, 0xFFFF), max_size=10).map(tuple), st.binary(max_size=255))
def test_use_srtp_survives_the_wire(profiles: tuple[int, ...], mki: bytes) -> None:
    extension = UseSrtp(profiles=profiles, mki=mki)
    assert UseSrtp.decode(extension.encode()) == extension


@given(st.binary(max_size=30))
def test_any_bytes_decode_to_what_encodes_to_them_or_raise_a_wire_error(data: bytes) -> None:
    try:
        extension = UseSrtp.decode(data)
    except WireError:
        return
    assert extension.encode() == data
