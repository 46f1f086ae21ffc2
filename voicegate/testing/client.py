"""A WebRTC client without any I/O: what a browser does in a call, for tests and for load.

It offers audio, checks connectivity, nominates, opens DTLS (or accepts it), sends and hears audio. It is
honest: whatever a test wants to go wrong, the test does to its datagrams.

Layer: core (sans-IO).
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

from voicegate.dtls import (
    Certificate,
    Closed,
    DtlsConnection,
    Fingerprint,
    HandshakeCompleted,
    HandshakeFailed,
    Role,
)
from voicegate.errors import UsageError, WireError
from voicegate.ice import Credentials, Message
from voicegate.ice.stun import MessageClass, binding_request
from voicegate.sdp import AudioParameters, Candidate, SessionDescription
from voicegate.srtp import SrtpSession
from voicegate.transceiver.media import Media
from voicegate.wire import PacketKind, classify

__all__ = ["ClientCore", "ClientState"]

CHECK_INTERVAL: Final = 0.05
"""Seconds between checks until the first answer, as browsers do."""
KEEPALIVE_INTERVAL: Final = 2.5
"""Seconds between checks afterwards, as libwebrtc does on a stable path."""

_CODEC_LINES: Final = {
    "opus": "111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1",
    "PCMU": "0\r\na=rtpmap:0 PCMU/8000",
    "PCMA": "8\r\na=rtpmap:8 PCMA/8000",
}


class ClientState(Enum):
    """How far the client has come."""

    NEW = "new"
    CHECKING = "checking"
    HANDSHAKING = "handshaking"
    CONNECTED = "connected"
    FAILED = "failed"
    CLOSED = "closed"


class ClientCore:
    """One client and its one call."""

    def __init__(
        self,
        *,
        random: Callable[[int], bytes],
        certificate: Certificate,
        codec: str = "opus",
        setup: str = "actpass",
        keepalive_interval: float = KEEPALIVE_INTERVAL,
    ) -> None:
        self.state = ClientState.NEW
        self.failure = ""
        self.heard = bytearray()
        """All PCM that came from the server."""
        self.server: Candidate | None = None
        """Where datagrams go, once the answer is known."""
        self.media: Media | None = None
        self._random = random
        self._certificate = certificate
        self._codec = codec
        self._setup = setup
        self._keepalive_interval = keepalive_interval
        self._local = Credentials(ufrag=random(4).hex(), pwd=random(16).hex())
        self._remote: Credentials | None = None
        self._dtls: DtlsConnection | None = None
        self._is_dtls_client = True
        self._is_reached = False
        self._check_at: float | None = None
        self._transmits: deque[bytes] = deque()

    # Signalling

    def offer(self) -> str:
        """Return the SDP offer: audio only, no candidates, as the usual page makes it."""
        return "\r\n".join(
            (
                "v=0",
                f"o=- {int.from_bytes(self._random(7), 'big')} 2 IN IP4 127.0.0.1",
                "s=-",
                "t=0 0",
                "a=group:BUNDLE 0",
                f"m=audio 9 UDP/TLS/RTP/SAVPF {_CODEC_LINES[self._codec]}",
                "c=IN IP4 0.0.0.0",
                "a=mid:0",
                "a=sendrecv",
                "a=rtcp-mux",
                f"a=ice-ufrag:{self._local.ufrag}",
                f"a=ice-pwd:{self._local.pwd}",
                f"a=fingerprint:{self._certificate.fingerprint}",
                f"a=setup:{self._setup}",
                "",
            )
        )

    def handle_answer(self, sdp: str, *, now: float) -> None:
        """Apply the server's answer and begin to check connectivity."""
        answer = SessionDescription.decode(sdp)
        section = next(media for media in answer.media if media.port)
        value = {attribute.name: attribute.value or "" for attribute in section.attributes}
        self.server = Candidate.decode(value["candidate"])
        self._remote = Credentials(ufrag=value["ice-ufrag"], pwd=value["ice-pwd"])
        self._is_dtls_client = value["setup"] == "passive"
        self._dtls = DtlsConnection(
            role=Role.CLIENT if self._is_dtls_client else Role.SERVER,
            certificate=self._certificate,
            remote_fingerprints=[Fingerprint.parse(value["fingerprint"])],
            random=self._random,
            now=now,
        )
        self.media = Media(
            AudioParameters.negotiate(answer, section, codecs=(self._codec,), has_rtcp_reduced_size=False),
            ssrc=int.from_bytes(self._random(4), "big"),
            cname="client",
            random=self._random,
            now=now,
            ntp_at_zero=0.0,
        )
        self.state = ClientState.CHECKING
        self._check_at = now

    # Input

    def say(self, pcm: bytes) -> None:
        """Queue samples for the microphone; silence flows when there are none."""
        if self.media is None:
            raise UsageError("there is no answer yet")
        self.media.playout.push(pcm)

    def handle_datagram(self, data: bytes, *, now: float) -> None:
        """Take a datagram from the server."""
        if self._dtls is None or self.media is None or self.state in {ClientState.FAILED, ClientState.CLOSED}:
            return
        match classify(data):
            case PacketKind.STUN:
                self._handle_stun(data, now)
            case PacketKind.DTLS:
                self._dtls.handle_datagram(data, now=now)
                self._pump(now)
            case PacketKind.RTP:
                self.media.handle_rtp(data, now=now)
                self._pump(now)
            case PacketKind.RTCP:
                self.media.handle_rtcp(data, now=now)
            case PacketKind.UNKNOWN:
                pass

    def handle_timeout(self, *, now: float) -> None:
        """Do all that is due."""
        if self._dtls is None or self.media is None:
            return
        if self._check_at is not None and now >= self._check_at:
            self._check(nominates=False)
            self._check_at = now + (self._keepalive_interval if self._is_reached else CHECK_INTERVAL)
        self._dtls.handle_timeout(now=now)
        self.media.handle_timeout(now=now)
        self._pump(now)

    def close(self, *, now: float) -> None:
        """Hang up as a browser does: RTCP BYE, DTLS close_notify."""
        if self.media is not None and self._dtls is not None and self.state is not ClientState.CLOSED:
            self.media.close(now=now)
            self._dtls.close(now=now)
            self._pump(now)
        self._check_at = None
        self.state = ClientState.CLOSED

    # Output

    def poll_transmit(self) -> bytes | None:
        """Return the next datagram for the server."""
        return self._transmits.popleft() if self._transmits else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        if self._dtls is None or self.media is None or self.state in {ClientState.FAILED, ClientState.CLOSED}:
            return None
        deadlines = (self._check_at, self._dtls.poll_timeout(), self.media.poll_timeout())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # Internals

    def _check(self, *, nominates: bool) -> None:
        if self._remote is None:
            return
        self._transmits.append(
            binding_request(
                transaction_id=self._random(12),
                username=f"{self._remote.ufrag}:{self._local.ufrag}",
                key=self._remote.pwd.encode(),
                priority=0x6E7F00FF,
                ice_controlling=1,
                has_use_candidate=nominates,
            )
        )

    def _handle_stun(self, data: bytes, now: float) -> None:
        try:
            message = Message.decode(data)
        except WireError:
            return
        if (
            self._remote is None
            or self._dtls is None
            or message.message_class is not MessageClass.SUCCESS
            or not message.has_valid_integrity(self._remote.pwd.encode())
            or self._is_reached
        ):
            return
        self._is_reached = True
        if self.state is ClientState.CHECKING:  # a server that opens DTLS may be faster than its answer
            self.state = ClientState.HANDSHAKING
        self._check_at = now + self._keepalive_interval
        self._check(nominates=True)
        if self._is_dtls_client:
            self._dtls.start(now=now)
            self._pump(now)

    def _pump(self, now: float) -> None:
        if self._dtls is None or self.media is None:
            return
        while (event := self._dtls.poll_event()) is not None:
            match event:
                case HandshakeCompleted(srtp_profile=profile):
                    length = 2 * (profile.key_length + profile.salt_length)
                    material = self._dtls.export_keying_material("EXTRACTOR-dtls_srtp", length)
                    srtp = SrtpSession.from_exporter(
                        profile=profile, keying_material=material, is_client=self._is_dtls_client
                    )
                    self.media.open(srtp, now=now)
                    self.state = ClientState.CONNECTED
                case HandshakeFailed(detail=detail):
                    self.state, self.failure = ClientState.FAILED, detail
                case Closed(is_remote=True):
                    self.media.close(now=now)
                    self.state = ClientState.CLOSED
                case _:
                    pass
        while (datagram := self._dtls.poll_transmit()) is not None:
            self._transmits.append(datagram)
        while (packet := self.media.poll_transmit()) is not None:
            self._transmits.append(packet)
        while (frame := self.media.poll_audio()) is not None:
            self.heard += frame.pcm
