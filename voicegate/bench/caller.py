"""One caller's way up, without any I/O: checks and DTLS, until `reference/calls.c` has its media."""

import os
from collections import deque
from collections.abc import Callable
from enum import Enum
from struct import Struct
from typing import Final

import attrs
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from voicegate.dtls import (
    Certificate,
    Closed,
    DtlsConnection,
    Fingerprint,
    HandshakeCompleted,
    HandshakeFailed,
    Role,
    SrtpProfile,
)
from voicegate.errors import UsageError, WireError
from voicegate.ice import Credentials, stun
from voicegate.sdp import SessionDescription
from voicegate.testing.checker import KEEPALIVE_INTERVAL, Checker
from voicegate.testing.offer import ClientOffer
from voicegate.wire import PacketKind, Reader, classify
from voicegate.wire.path import Address, address_bytes

__all__ = ["CALL_LIMIT", "Caller", "CallerState", "Handover", "derive_key"]

CALL_LIMIT: Final = 4096
"""Calls that the program in C has room for; as a number, the socket of those without a relay."""

_HANDOVER: Final = Struct("<IIIHHHB16s16s12s16s12s16s12s256s")
"""``struct handover`` of ``reference/calls.c``."""

_PROFILE: Final = SrtpProfile.AEAD_AES_128_GCM
_PAYLOAD_TYPE: Final = 111
_PRIORITY: Final = 0x6E7F00FF
_RTP_LABELS: Final = (0, 2)
_RTCP_LABELS: Final = (3, 5)
"""For the session's key and salt (RFC 3711 §4.3.2)."""
_HOST_CANDIDATE: Final = "candidate:1 1 udp 2113937151 {} {} typ host"


@attrs.frozen(kw_only=True)
class Handover:
    """All that the program in C needs to go on with a call; or its way to calls without a relay."""

    number: int
    """Of the call, or `CALL_LIMIT` with the socket that calls without a relay share."""
    sending: tuple[bytes, bytes] = (bytes(16), bytes(12))
    """Master key and salt of SRTP."""
    receiving: tuple[bytes, bytes] = (bytes(16), bytes(12))
    check: bytes = b""
    """A connectivity check, to be sent again and again."""
    ssrc: int = 0
    timestamp: int = 0
    """Of the first packet."""
    sequence: int = 0
    address: Address | None = None
    """The client's in hop headers; None: the call has a socket of its own."""

    def encode(self) -> bytes:
        """Return the message."""
        host, port = self.address or ("0.0.0.0", 0)  # noqa: S104 - stands for none
        keys = [
            derive_key(key, salt, label=label, length=length)
            for (key, salt), labels in (
                (self.sending, _RTP_LABELS),
                (self.receiving, _RTP_LABELS),
                (self.sending, _RTCP_LABELS),
            )
            for label, length in zip(labels, (_PROFILE.key_length, _PROFILE.salt_length), strict=True)
        ]
        return _HANDOVER.pack(
            self.number,
            self.ssrc,
            self.timestamp,
            self.sequence,
            port,
            len(self.check),
            _PAYLOAD_TYPE,
            address_bytes(host),
            *keys,
            self.check,
        )


class CallerState(Enum):
    """How far a call has come."""

    CHECKING = "checking"
    CONNECTED = "connected"
    FAILED = "failed"


class Caller:
    """A caller who offers Opus, and AEAD_AES_128_GCM for its packets.

    Args:
        number: Of the call, less than `CALL_LIMIT`.
        address: Where it sends from, as the server sees it.
        certificate: The client's own.
        random: Where random bytes come from.
    """

    def __init__(
        self,
        *,
        number: int,
        address: Address,
        certificate: Certificate,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.number: Final = number
        self.state = CallerState.CHECKING
        self.failure = ""
        self.server: Address | None = None
        """Where datagrams go, once the answer is known."""
        self._address = address
        self._certificate = certificate
        self._random = random
        self._local = Credentials(ufrag=random(4).hex(), pwd=random(16).hex())
        self._remote: Credentials | None = None
        self._checker = Checker(
            local=self._local, random=random, keepalive_interval=KEEPALIVE_INTERVAL, sped=None
        )
        self._dtls: DtlsConnection | None = None
        self._is_dtls_client = True
        self._transmits: deque[bytes] = deque()

    # Signalling

    def offer(self) -> str:
        """Return the SDP offer."""
        offer = ClientOffer(
            session_id=int.from_bytes(self._random(7), "big"),
            codec="opus",
            local=self._local,
            fingerprint=str(self._certificate.fingerprint),
            setup="actpass",
        ).encode()
        return f"{offer}a={_HOST_CANDIDATE.format(*self._address)}\r\na=end-of-candidates\r\n"

    def handle_answer(self, sdp: str, *, now: float) -> None:
        """Apply the server's answer and begin to check connectivity.

        Errors: WireError when a part of it is missing.
        """
        answer = SessionDescription.decode(sdp)
        attributes = [*answer.attributes, *(each for media in answer.media for each in media.attributes)]
        value = {attribute.name: attribute.value or "" for attribute in reversed(attributes)}
        try:
            self._remote = Credentials(ufrag=value["ice-ufrag"], pwd=value["ice-pwd"])
            self._is_dtls_client = value["setup"] == "passive"
            candidate = value["candidate"].split()
            self.server = (candidate[4], int(candidate[5]))
            fingerprints = [
                Fingerprint.parse(attribute.value or "")
                for attribute in attributes
                if attribute.name == "fingerprint" and (attribute.value or "").startswith("sha-256")
            ]
        except (KeyError, IndexError, ValueError) as error:
            raise WireError(f"an answer without {error}") from error
        self._dtls = DtlsConnection(
            role=Role.CLIENT if self._is_dtls_client else Role.SERVER,
            certificate=self._certificate,
            remote_fingerprints=fingerprints,
            random=self._random,
            now=now,
            srtp_profiles=(_PROFILE,),
        )
        self._checker.start(self._remote, now=now)
        self.handle_timeout(now=now)

    # Input

    def handle_datagram(self, data: bytes, *, now: float) -> None:
        """Take a datagram from the server; media is for others."""
        if self._dtls is None:
            return
        match classify(data):
            case PacketKind.STUN:
                self._handle_stun(data, self._dtls, now)
            case PacketKind.DTLS:
                self._dtls.handle_datagram(data, now=now)
            case _:
                return
        self._pump()

    def handle_timeout(self, *, now: float) -> None:
        """Do all that is due."""
        if self._dtls is not None:
            self._checker.handle_timeout(now=now)
            self._dtls.handle_timeout(now=now)
            self._pump()

    def close(self, *, now: float) -> None:
        """Hang up, by DTLS."""
        if self._dtls is not None:
            self._dtls.close(now=now)
            self._pump()

    # Output

    def poll_transmit(self) -> bytes | None:
        """Return the next datagram for the server."""
        return self._transmits.popleft() if self._transmits else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        deadlines = (self._checker.poll_timeout(), self._dtls.poll_timeout() if self._dtls else None)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def hand_over(self, *, has_relay: bool) -> bytes:
        """Return the message for the program in C that makes the call its own.

        Errors: UsageError when the call is not connected.
        """
        if self._dtls is None or self._remote is None or self.state is not CallerState.CONNECTED:
            raise UsageError("a call is handed over once it is connected")
        key_length, salt_length = _PROFILE.key_length, _PROFILE.salt_length
        reader = Reader(
            self._dtls.export_keying_material("EXTRACTOR-dtls_srtp", 2 * (key_length + salt_length))
        )
        keys = reader.read(key_length), reader.read(key_length)
        client, server = ((key, reader.read(salt_length)) for key in keys)
        check = stun.binding_request(
            transaction_id=self._random(12),
            username=f"{self._remote.ufrag}:{self._local.ufrag}",
            key=self._remote.pwd.encode(),
            priority=_PRIORITY,
            ice_controlling=1,
        )
        return Handover(
            number=self.number,
            sending=client if self._is_dtls_client else server,
            receiving=server if self._is_dtls_client else client,
            check=check,
            ssrc=int.from_bytes(self._random(4), "big"),
            timestamp=int.from_bytes(self._random(4), "big"),
            sequence=int.from_bytes(self._random(2), "big") >> 1,
            address=None if has_relay else self._address,
        ).encode()

    # Internals

    def _handle_stun(self, data: bytes, dtls: DtlsConnection, now: float) -> None:
        was_reached = self._checker.is_reached
        self._checker.handle_datagram(data, now=now)
        if self._checker.is_reached and not was_reached and self._is_dtls_client:
            dtls.start(now=now)
        try:
            message = stun.Message.decode(data)
        except WireError:
            return
        key = self._local.pwd.encode()
        if (
            message.message_class is stun.MessageClass.REQUEST
            and message.has_valid_integrity(key)
            and self.server is not None
        ):
            host, port = self.server
            self._transmits.append(
                stun.binding_success(message, host=address_bytes(host), port=port, key=key)
            )

    def _pump(self) -> None:
        if self._dtls is None:
            return
        while (check := self._checker.poll_transmit()) is not None:
            self._transmits.append(check)
        while (event := self._dtls.poll_event()) is not None:
            match event:
                case HandshakeCompleted():
                    self.state = CallerState.CONNECTED
                case HandshakeFailed(detail=detail):
                    self.state, self.failure = CallerState.FAILED, detail
                case Closed(is_remote=True):
                    self.state, self.failure = CallerState.FAILED, "the server has hung up"
                case _:
                    pass
        while (datagram := self._dtls.poll_transmit()) is not None:
            self._transmits.append(datagram)


def derive_key(key: bytes, salt: bytes, *, label: int, length: int) -> bytes:
    """Derive a session key or salt of SRTP from the master's (RFC 3711 §4.3.1, RFC 7714 §11)."""
    start = bytearray(salt.ljust(16, b"\0"))
    start[7] ^= label
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(start))).encryptor()
    return stream.update(bytes(length))
