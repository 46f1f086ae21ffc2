"""What a handshake of either version is given."""

from collections.abc import Callable

import attrs

from voicegate.dtls.certificate import Certificate, Fingerprint
from voicegate.dtls.key_share import AVAILABLE_GROUPS, Group
from voicegate.dtls.record import ProtocolVersion
from voicegate.dtls.srtp import SrtpProfile

__all__ = ["HandshakeConfig"]


@attrs.frozen(kw_only=True)
class HandshakeConfig:
    """Our identity, the peer's, and our wishes."""

    certificate: Certificate
    remote_fingerprints: tuple[Fingerprint, ...]
    """Any of these will do."""
    random: Callable[[int], bytes]
    srtp_profiles: tuple[SrtpProfile, ...]
    """In order of preference."""
    versions: tuple[ProtocolVersion, ...] = (ProtocolVersion.DTLS_1_3, ProtocolVersion.DTLS_1_2)
    """In order of preference."""
    groups: tuple[Group, ...] = AVAILABLE_GROUPS
    """For DTLS 1.3, in order of preference."""
