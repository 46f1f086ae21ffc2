"""SRTP and SRTCP (RFC 3711, RFC 7714) between us and one peer, keyed by DTLS (RFC 5764), done by libsrtp.

libsrtp is called through the functions that pylibsrtp binds, on a buffer of our own: that is quicker than
pylibsrtp's `Session`, raises nothing for a bad packet and allows longer ones. All sessions share the buffer,
so that it stays in the processor's cache: not for several threads.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

from pylibsrtp._binding import ffi, lib

from voicegate.errors import UsageError
from voicegate.wire import Reader

__all__ = ["MAX_PACKET_LENGTH", "MAX_SOURCES", "SrtpSession", "SrtpStatistics"]

MAX_PACKET_LENGTH: Final = 2048
"""Bytes in a packet given to us. Audio takes some 200, and few paths carry more than 1500."""
MAX_SOURCES: Final = 32
"""SSRCs of the peer that are let in. A client has one microphone, perhaps another SSRC for reports, and now
and then a new one. Each costs memory and time in libsrtp; only authentic packets count, so nobody else can
use them up.

Further ones are refused rather than the oldest forgotten: with it would go its replay window, and what
somebody has recorded of it would be accepted once more."""

_Function = Callable[[Any, Any, Any], int]
"""Takes a session, a packet and its length; changes the last two in place and returns a status."""

# Looked up once, which is a third of what looking them up each time and calling them costs.
_srtp_protect: Final[_Function] = lib.srtp_protect
_srtp_unprotect: Final[_Function] = lib.srtp_unprotect

_RTP_HEADER_LENGTH: Final = 12
_RTCP_HEADER_LENGTH: Final = 8
_RTCP_INDEX_LENGTH: Final = 4
"""The encryption flag and SRTCP index behind every packet (RFC 3711 §3.4)."""
_MAX_TRAILER_LENGTH: Final = 4 + 16 + 128
"""What libsrtp may append: SRTCP index, tag, and the longest master key identifier."""


_memory: Final = ffi.new("char[]", MAX_PACKET_LENGTH + _MAX_TRAILER_LENGTH)
_buffer: Final = ffi.buffer(_memory)
_length: Final = ffi.new("int *")


class _Profile(NamedTuple):
    """A protection profile, named in DTLS by its code point."""

    libsrtp: int
    key_length: int
    salt_length: int
    tag_length: int


_PROFILES: Final = {
    # SRTP_AES128_CM_HMAC_SHA1_80 (RFC 5764 §4.1.2)
    0x0001: _Profile(lib.srtp_profile_aes128_cm_sha1_80, 16, 14, 10),
    # SRTP_AEAD_AES_128_GCM and SRTP_AEAD_AES_256_GCM (RFC 7714 §14.2)
    0x0007: _Profile(lib.srtp_profile_aead_aes_128_gcm, 16, 12, 16),
    0x0008: _Profile(lib.srtp_profile_aead_aes_256_gcm, 32, 12, 16),
}

# What libsrtp's `srtp_err_status_t` says of a packet from the peer; all else is a failed authentication.
_DROP_REASONS: Final = {
    2: "malformed",  # bad_param
    8: "malformed",  # cipher_fail: no room for a tag behind the header
    9: "replayed",  # replay_fail
    10: "too_old",  # replay_old
    21: "malformed",  # parse_err
}


class SrtpStatistics(NamedTuple):
    """What a session has done so far, RTP and RTCP together."""

    protected: int
    unprotected: int
    dropped: dict[str, int]
    """Packets by reason: ``authentication_failed``, ``replayed``, ``too_old`` (behind the replay window),
    ``malformed`` (too short for its header and tag), ``too_long``, ``too_many_sources``."""


class SrtpSession:
    """Both directions between us and one peer, any number of our SSRCs and `MAX_SOURCES` of the peer's."""

    def __init__(
        self, *, profile: int, local_key: bytes, local_salt: bytes, remote_key: bytes, remote_salt: bytes
    ) -> None:
        """Begin with fresh keys, which no session has used before.

        Args:
            profile: The code point of the protection profile: 0x0001, 0x0007 or 0x0008.
            local_key: The master key that we protect with.
            local_salt: The master salt that we protect with.
            remote_key: The master key that the peer protects with.
            remote_salt: The master salt that the peer protects with.

        Errors: UsageError when the profile is unknown or a key or salt has the wrong length.
        """
        parameters = _parameters(profile)
        lengths = (parameters.key_length, parameters.salt_length)
        if (len(local_key), len(local_salt)) != lengths or (len(remote_key), len(remote_salt)) != lengths:
            raise UsageError(f"keys and salts of SRTP profile {profile:#06x} have {lengths} bytes")
        self._outbound = _create(parameters.libsrtp, local_key + local_salt, lib.ssrc_any_outbound)
        self._inbound = _create(parameters.libsrtp, remote_key + remote_salt, lib.ssrc_any_inbound)
        self._source = -1
        """The last of RTP among `_sources`: nearly always the only one."""
        self._shortest_rtp = _RTP_HEADER_LENGTH + parameters.tag_length
        self._protected = 0
        self._unprotected = 0
        self._shortest_rtcp = _RTCP_HEADER_LENGTH + parameters.tag_length + _RTCP_INDEX_LENGTH
        self._sources: set[int] = set()
        """The SSRCs of which an authentic packet has come."""
        self._dropped: Counter[str] = Counter()

    @classmethod
    def from_exporter(cls, *, profile: int, keying_material: bytes, is_client: bool) -> Self:
        """Begin with what DTLS exports (RFC 5764 §4.2): client key, server key, client salt, server salt.

        Args:
            profile: The code point of the protection profile.
            keying_material: As many bytes as `keying_material_length` says.
            is_client: Whether we are the DTLS client.

        Errors: UsageError when profile or length are wrong.
        """
        if len(keying_material) != cls.keying_material_length(profile):
            raise UsageError(f"{len(keying_material)} bytes of keys do not fit SRTP profile {profile:#06x}")
        parameters = _parameters(profile)
        reader = Reader(keying_material)
        keys = reader.read(parameters.key_length), reader.read(parameters.key_length)
        salts = reader.read(parameters.salt_length), reader.read(parameters.salt_length)
        local, remote = (0, 1) if is_client else (1, 0)
        return cls(
            profile=profile,
            local_key=keys[local],
            local_salt=salts[local],
            remote_key=keys[remote],
            remote_salt=salts[remote],
        )

    @staticmethod
    def keying_material_length(profile: int) -> int:
        """Say how many bytes DTLS has to export for a profile.

        Errors: UsageError when the profile is unknown.
        """
        parameters = _parameters(profile)
        return 2 * (parameters.key_length + parameters.salt_length)

    def protect_rtp(self, packet: bytes) -> bytes:
        """Encrypt and sign an RTP packet.

        Errors: UsageError when it is too long, is no RTP, or its sequence number has been used.
        """
        return self._protect(_srtp_protect, packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Encrypt and sign an RTCP compound.

        Errors: UsageError when it is too long or no RTCP.
        """
        return self._protect(lib.srtp_protect_rtcp, packet)

    def unprotect_rtp(self, packet: bytes) -> bytes | None:
        """Verify and decrypt an RTP packet of the peer's; None when it is dropped, which is counted."""
        length = len(packet)
        if length < self._shortest_rtp:
            self._dropped["malformed"] += 1
            return None
        ssrc = _u32(packet, 8)
        if ssrc != self._source or length > MAX_PACKET_LENGTH:
            plain = self._unprotect(_srtp_unprotect, packet, ssrc)
            if plain is not None:
                self._source = ssrc
            return plain
        # What `_unprotect` does for a source that is known: it is called fifty times a second in each call.
        _buffer[0:length] = packet
        _length[0] = length
        if status := _srtp_unprotect(self._inbound, _memory, _length):
            self._dropped[_DROP_REASONS.get(status, "authentication_failed")] += 1
            return None
        self._unprotected += 1
        unprotected: bytes = _buffer[0 : _length[0]]
        return unprotected

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Verify and decrypt an RTCP compound of the peer's; None when it is dropped, which is counted."""
        if len(packet) < self._shortest_rtcp:
            self._dropped["malformed"] += 1
            return None
        return self._unprotect(lib.srtp_unprotect_rtcp, packet, _u32(packet, 4))

    def statistics(self) -> SrtpStatistics:
        """Tell what has been done so far."""
        return SrtpStatistics(
            protected=self._protected, unprotected=self._unprotected, dropped=dict(self._dropped)
        )

    def _protect(self, function: _Function, packet: bytes) -> bytes:
        length = len(packet)
        if length > MAX_PACKET_LENGTH:
            raise UsageError(f"a packet of {length} bytes to protect, {MAX_PACKET_LENGTH} possible")
        _buffer[0:length] = packet
        _length[0] = length
        if status := function(self._outbound, _memory, _length):
            raise UsageError(f"libsrtp refuses to protect this packet of ours (status {status})")
        self._protected += 1
        protected: bytes = _buffer[0 : _length[0]]
        return protected

    def _unprotect(self, function: _Function, packet: bytes, ssrc: int) -> bytes | None:
        length = len(packet)
        if length > MAX_PACKET_LENGTH:
            self._dropped["too_long"] += 1
            return None
        is_new = ssrc not in self._sources
        if is_new and len(self._sources) == MAX_SOURCES:
            self._dropped["too_many_sources"] += 1
            return None
        _buffer[0:length] = packet
        _length[0] = length
        if status := function(self._inbound, _memory, _length):
            self._dropped[_DROP_REASONS.get(status, "authentication_failed")] += 1
            return None
        if is_new:
            self._sources.add(ssrc)
        self._unprotected += 1
        unprotected: bytes = _buffer[0 : _length[0]]
        return unprotected


def _u32(data: bytes, at: int) -> int:
    return data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]


def _parameters(profile: int) -> _Profile:
    try:
        return _PROFILES[profile]
    except KeyError:
        raise UsageError(f"SRTP profile {profile:#06x} is unknown") from None


def _create(profile: int, key_and_salt: bytes, ssrc_type: int) -> Any:  # noqa: ANN401 - opaque to Python
    """Make a libsrtp session for all SSRCs of one direction; it is freed with the object returned."""
    policy = ffi.new("srtp_policy_t *")
    lib.srtp_crypto_policy_set_from_profile_for_rtp(ffi.addressof(policy.rtp), profile)
    lib.srtp_crypto_policy_set_from_profile_for_rtcp(ffi.addressof(policy.rtcp), profile)
    key = ffi.new("unsigned char[]", key_and_salt)
    policy.key = key  # a pointer
    policy.ssrc.type = ssrc_type
    session = ffi.new("srtp_t *")
    status = lib.srtp_create(session, policy)
    ffi.release(key)  # which it must not be before: compiled code forgets a name after its last use
    if status:
        raise UsageError(f"libsrtp refuses to make a session (status {status})")
    return ffi.gc(session[0], lib.srtp_dealloc)
