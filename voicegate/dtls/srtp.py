"""What DTLS settles for SRTP (RFC 5764)."""

from enum import IntEnum
from typing import Self

import attrs

from voicegate.wire import Reader, Writer

__all__ = ["SrtpProfile", "UseSrtp"]


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
