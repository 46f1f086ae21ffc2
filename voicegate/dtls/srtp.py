"""What DTLS settles for SRTP (RFC 5764)."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Self

import attrs

from voicegate.dtls.failure import DtlsError, no_shared
from voicegate.wire import Reader, Writer

__all__ = ["SrtpProfile", "UseSrtp", "accept_profile", "choose_profile"]


class SrtpProfile(IntEnum):
    """The protection profiles we can run (RFC 5764 §4.1.2, RFC 7714 §14.2)."""

    AES128_CM_SHA1_80 = 0x0001
    AEAD_AES_128_GCM = 0x0007
    AEAD_AES_256_GCM = 0x0008

    @property
    def key_length(self) -> int:
        """Bytes of a master key."""
        return 32 if self is SrtpProfile.AEAD_AES_256_GCM else 16

    @property
    def salt_length(self) -> int:
        """Bytes of a master salt."""
        return 14 if self is SrtpProfile.AES128_CM_SHA1_80 else 12


@attrs.frozen(kw_only=True)
class UseSrtp:
    """The use_srtp extension (RFC 5764 §4.1.1): an offer of profiles, or the one chosen."""

    profiles: tuple[int, ...]
    mki: bytes = b""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the extension's data.

        Errors: WireError.
        """
        reader = Reader(data)
        block = reader.block16()
        profiles = []
        while block.remaining:
            profiles.append(block.u16())
        mki = reader.block8()
        reader.finish()
        return cls(profiles=tuple(profiles), mki=mki.rest())

    def encode(self) -> bytes:
        """Write the extension's data."""
        writer = Writer()
        writer.u16(2 * len(self.profiles))
        for profile in self.profiles:
            writer.u16(profile)
        writer.block8(self.mki)
        return writer.finish()


def choose_profile(offer: bytes | None, profiles: Sequence[SrtpProfile]) -> SrtpProfile:
    """Choose, as server, the first of our profiles that a client's use_srtp offers.

    The client's MKI is not taken up (RFC 5764 §4.1.3).

    Errors: DtlsError, WireError.
    """
    offered = UseSrtp.decode(offer).profiles if offer is not None else ()
    for profile in profiles:
        if profile in offered:
            return profile
    raise no_shared("SRTP profile")


def accept_profile(answer: bytes | None, profiles: Sequence[SrtpProfile]) -> SrtpProfile:
    """Take, as client, the profile that a server's use_srtp chose.

    Errors: DtlsError, WireError.
    """
    if answer is None:
        raise no_shared("SRTP profile")
    chosen = UseSrtp.decode(answer)
    # One of ours, and the MKI we sent: none (RFC 5764 §4.1.1, §4.1.3).
    if len(chosen.profiles) != 1 or chosen.profiles[0] not in profiles or chosen.mki:
        raise DtlsError("the server chose an SRTP profile or MKI that was not offered")
    return SrtpProfile(chosen.profiles[0])
