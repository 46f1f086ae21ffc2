"""The reference that `SrtpSession` is measured by, measured itself by the vectors of the RFCs.

These vectors start from session keys, which libsrtp does not let in: hence the detour.
"""

import pytest

from tests.srtp import reference

MASTER_KEY = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de4139")
MASTER_SALT = bytes.fromhex("0ec675ad498afeebb6960b3aabe6")

GCM_SALT = b"Quid pro quo"
RTP = bytes.fromhex("8040f17b 8041f8d3 5501a0b2") + b"Gallia est omnis divisa in partes tres"
RTCP = bytes.fromhex(
    "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61"
    "deadbeef deadbeef deadbeef deadbeef deadbeef"
)


@pytest.mark.parametrize(
    ("label", "derived"),
    [
        (0, "c61e7a93744f39ee10734afe3ff7a087"),
        (1, "cebe321f6ff7716b6fd4ab49af256a156d38baa4"),
        (2, "30cbbc08863d8c85d49db34a9ae1"),
    ],
)
def test_keys_are_derived_as_in_rfc_3711_appendix_b3(label: int, derived: str) -> None:
    expected = bytes.fromhex(derived)
    assert reference.derive_key(MASTER_KEY, MASTER_SALT, label, len(expected)) == expected


@pytest.mark.parametrize(
    ("key_length", "encrypted", "tag"),
    [
        (
            16,
            "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833",
            "899d7f27 beb16a91 52cf765e e4390cce",
        ),
        (
            32,
            "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b",
            "7aa3db36 dfffd6b0 f9bb7878 d7a76c13",
        ),
    ],
)
def test_rtp_is_protected_as_in_rfc_7714_section_16(key_length: int, encrypted: str, tag: str) -> None:
    key = bytes(range(key_length))
    expected = RTP[:12] + bytes.fromhex(encrypted + tag)
    assert reference.protect_rtp_gcm(key, GCM_SALT, RTP, rollover=0) == expected


def test_rtcp_is_protected_as_in_rfc_7714_section_17() -> None:
    expected = RTCP[:8] + bytes.fromhex(
        "63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded"
        "0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4"
    )
    assert reference.protect_rtcp_gcm(bytes(range(16)), GCM_SALT, RTCP, index=0x5D4) == expected
