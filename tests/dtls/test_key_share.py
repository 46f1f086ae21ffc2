import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.failure import DtlsError
from voicegate.dtls.key_share import AVAILABLE_GROUPS, Group, OfferedShare, answer_share

LENGTHS = {Group.X25519MLKEM768: (1216, 1120, 64), Group.X25519: (32, 32, 32), Group.SECP256R1: (65, 65, 32)}


def test_the_post_quantum_group_is_the_first_of_those_there_are() -> None:
    assert AVAILABLE_GROUPS == (Group.X25519MLKEM768, Group.X25519, Group.SECP256R1)
    assert [int(group) for group in Group] == [0x11EC, 29, 23]


@pytest.mark.parametrize("group", Group)
def test_both_sides_agree_on_a_fresh_secret(group: Group) -> None:
    share, other = OfferedShare.generate(group), OfferedShare.generate(group)
    answer, secret = answer_share(group, share.public)
    assert share.finish(answer) == secret
    assert (len(share.public), len(answer), len(secret)) == LENGTHS[group]
    assert answer_share(group, share.public)[1] != secret
    assert other.finish(answer) != secret


def test_the_post_quantum_secret_comes_first() -> None:
    share = OfferedShare.generate(Group.X25519MLKEM768)
    answer, secret = answer_share(Group.X25519MLKEM768, share.public)
    # Another ciphertext changes the first half, another X25519 key the second.
    changed = bytes([answer[0] ^ 1]) + answer[1:]
    assert share.finish(changed)[:32] != secret[:32]
    assert share.finish(changed)[32:] == secret[32:]
    classic = answer[:-32] + OfferedShare.generate(Group.X25519).public
    assert share.finish(classic)[:32] == secret[:32]
    assert share.finish(classic)[32:] != secret[32:]


@pytest.mark.parametrize("group", Group)
@given(
    data=st.binary(max_size=70) | st.sampled_from([1184, 1088, 1216, 1120]).map(lambda size: b"\xff" * size)
)
def test_any_bytes_as_share_are_taken_or_a_dtls_error(group: Group, data: bytes) -> None:
    share = OfferedShare.generate(group)
    for is_server in (True, False):
        try:
            secret = answer_share(group, data)[1] if is_server else share.finish(data)
        except DtlsError:
            continue
        assert len(secret) == LENGTHS[group][2]


def test_an_encapsulation_key_that_is_none_is_malformed() -> None:
    # Coefficients must be below the modulus (FIPS 203 §7.2).
    good = OfferedShare.generate(Group.X25519MLKEM768).public
    with pytest.raises(DtlsError) as caught:
        answer_share(Group.X25519MLKEM768, b"\xff" * 1152 + good[1152:])
    assert caught.value.alert == 50
    with pytest.raises(DtlsError):
        answer_share(Group.X25519MLKEM768, good[:-32] + bytes(32))
