"""A WebRTC client without any I/O: what a browser does in a call, for tests and for load.

It offers audio and perhaps data channels, checks connectivity, nominates, opens DTLS (or accepts it), sends
and hears audio and messages. It has Chromium's habits: with SPED, DTLS begins inside its checks, whatever the
answer says of it, and once there is an answer to one goes beside them; with SNAP, data begins right after
DTLS. It is honest: whatever a test wants to go wrong, the test does to its datagrams.

Layer: core (sans-IO).
"""

from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final

from voicegate.call import AudioFrame
from voicegate.datachannel import DataChannels, DataEstablished, DataFailed, Message
from voicegate.dtls import (
    ApplicationData,
    Certificate,
    Closed,
    DtlsConnection,
    Fingerprint,
    Group,
    HandshakeCompleted,
    HandshakeFailed,
    ProtocolVersion,
    Role,
    SrtpProfile,
)
from voicegate.dtls.key_share import AVAILABLE_GROUPS
from voicegate.errors import UsageError
from voicegate.ice import Credentials
from voicegate.ice.sped import Sped, SpedState
from voicegate.sctp import SctpAssociation, decode_init
from voicegate.sdp import AudioParameters, Candidate, SessionDescription
from voicegate.srtp import SrtpSession
from voicegate.testing.checker import KEEPALIVE_INTERVAL
from voicegate.testing.client_path import RECEIVING_SECONDS, ClientPaths
from voicegate.testing.offer import ClientOffer
from voicegate.transceiver.clock import SlotClock
from voicegate.transceiver.media import Media
from voicegate.wire import PacketKind, classify

__all__ = ["ClientCore", "ClientState"]

MAX_EARLY_PACKETS: Final = 50
"""A second of media: what overtakes the server's part of the handshake, or comes before any path."""

_CHANNEL_LABEL: Final = "chat"
_SPED_MTU: Final = 900
"""Bytes of a DTLS datagram that is to fit into a check, in libwebrtc."""
_MTU: Final = 1200


class ClientState(Enum):
    """How far the client has come."""

    NEW = "new"
    CHECKING = "checking"
    HANDSHAKING = "handshaking"
    CONNECTED = "connected"
    FAILED = "failed"
    CLOSED = "closed"


class ClientCore:
    """One client and its one call.

    Args:
        random: Where random bytes come from.
        certificate: The client's own.
        codec: The one that is offered.
        setup: Of the offer, as SDP has it.
        keepalive_interval: Seconds between checks once one was answered.
        has_data: Whether data channels are offered, and one is opened.
        negotiated_id: Its number where both sides know of it; without, the server is asked in-band.
        channel_label: Its label; what is not ``oai-events`` belongs to the agent.
        has_snap: Whether the offer says the SCTP INIT.
        has_sped: Whether DTLS begins inside the checks.
        dtls_versions: The best first.
        dtls_groups: Of DTLS 1.3, the best first; those for a quantum age make the ClientHello two datagrams.
        max_paths: Candidates over UDP that are checked, the best of the answer's. With more than one, take
            `poll_transmit_on` instead of `poll_transmit`.
        receiving_seconds: Silence after which another path is taken.
        packet_ms: Audio in each packet, both ways, as the offer asks for; by default it doesn't.
    """

    def __init__(
        self,
        *,
        random: Callable[[int], bytes],
        certificate: Certificate,
        codec: str = "opus",
        setup: str = "actpass",
        keepalive_interval: float = KEEPALIVE_INTERVAL,
        has_data: bool = False,
        negotiated_id: int | None = None,
        channel_label: str = _CHANNEL_LABEL,
        has_snap: bool = False,
        has_sped: bool = False,
        dtls_versions: Sequence[ProtocolVersion] = (ProtocolVersion.DTLS_1_3, ProtocolVersion.DTLS_1_2),
        dtls_groups: Sequence[Group] = AVAILABLE_GROUPS,
        max_paths: int = 1,
        receiving_seconds: float = RECEIVING_SECONDS,
        packet_ms: int | None = None,
    ) -> None:
        self.state = ClientState.NEW
        self.failure = ""
        self.heard = bytearray()
        """All PCM that came from the server."""
        self.candidates: tuple[Candidate, ...] = ()
        """Where datagrams may go, once the answer is known, the best first."""
        self.media: Media | None = None
        self._clock = SlotClock[Media]()
        self.channels: DataChannels | None = None
        """Once the answer has accepted them; `handle_timeout` sends what was sent on them."""
        self.is_data_ready = False
        """Whether the association is up, which is when a page hears that its channels are open."""
        self.received: list[Message] = []
        """All messages of the server's."""
        self._random = random
        self._certificate = certificate
        self._codec = codec
        self._setup = setup
        self._negotiated_id = negotiated_id
        self._channel_label = channel_label
        self._keepalive_interval = keepalive_interval
        self._packet_ms = packet_ms
        self._is_reached = False
        self._has_snap = has_snap
        self._dtls_versions = dtls_versions
        self._dtls_groups = dtls_groups
        # Nothing of it happens before the answer, so any time will do.
        self._association = SctpAssociation(random=random, now=0.0) if has_data else None
        self._remote_init: bytes | None = None
        self._local = Credentials(ufrag=random(4).hex(), pwd=random(16).hex())
        self._remote: Credentials | None = None
        self._dtls: DtlsConnection | None = None
        self._is_dtls_client = True
        self._sped = Sped() if has_sped else None
        self._max_paths = max_paths
        self._receiving_seconds = receiving_seconds
        self.paths = self._new_paths(self._sped)
        """The ways to the server that are checked: its first candidates over UDP."""
        self._early: deque[bytes] = deque(maxlen=MAX_EARLY_PACKETS)
        self._unsent: deque[bytes] = deque(maxlen=MAX_EARLY_PACKETS)
        self._transmits: deque[tuple[int | None, bytes]] = deque()
        # A path for each, and None for whatever is selected when it leaves.

    @property
    def server(self) -> Candidate | None:
        """Where datagrams go unless something else is wanted: the first candidate."""
        return self.candidates[0] if self.candidates else None

    # Signalling

    def offer(self) -> str:
        """Return the SDP offer."""
        association = self._association
        return ClientOffer(
            session_id=int.from_bytes(self._random(7), "big"),
            codec=self._codec,
            local=self._local,
            fingerprint=str(self._certificate.fingerprint),
            setup=self._setup,
            has_data=association is not None,
            sctp_init=association.init.encode() if association is not None and self._has_snap else None,
            has_sped=self._sped is not None,
            packet_ms=self._packet_ms,
        ).encode()

    def handle_answer(self, sdp: str, *, now: float) -> None:
        """Apply the server's answer and begin to check connectivity."""
        answer = SessionDescription.decode(sdp)
        section = next(media for media in answer.media if media.kind == "audio" and media.port)
        value = {attribute.name: attribute.value or "" for attribute in section.attributes}
        self.candidates = tuple(
            Candidate.decode(attribute.value or "") for attribute in section.attributes_named("candidate")
        )
        self._remote = Credentials(ufrag=value["ice-ufrag"], pwd=value["ice-pwd"])
        self._is_dtls_client = value["setup"] == "passive"
        self._dtls = DtlsConnection(
            role=Role.CLIENT if self._is_dtls_client else Role.SERVER,
            certificate=self._certificate,
            remote_fingerprints=[Fingerprint.parse(value["fingerprint"])],
            random=self._random,
            now=now,
            mtu=_MTU if self._sped is None else _SPED_MTU,
            versions=self._dtls_versions,
            groups=self._dtls_groups,
        )
        self.media = Media(
            AudioParameters.negotiate(answer, section, codecs=(self._codec,), has_rtcp_reduced_size=False),
            ssrc=int.from_bytes(self._random(4), "big"),
            cname="client",
            random=self._random,
            now=now,
            ntp_at_zero=0.0,
        )
        self._open_channels(answer, now)
        self.state = ClientState.CHECKING
        self._start_paths(self._remote, now)
        if self._sped is not None and self._is_dtls_client:
            self._dtls.start(now=now)
            self._pump(now)

    def restart_ice(self) -> Credentials:
        """Return new credentials for the server; they count from `handle_restart` on."""
        self._local = Credentials(ufrag=self._random(4).hex(), pwd=self._random(16).hex())
        return self._local

    def handle_restart(self, remote: Credentials, *, now: float) -> None:
        """Apply the server's new credentials and check anew; all else goes on."""
        self._remote = remote
        self.paths = self._new_paths(None)
        self._start_paths(remote, now)

    # Input

    def say(self, pcm: bytes) -> None:
        """Queue samples for the microphone; silence flows when there are none."""
        if self.media is None:
            raise UsageError("there is no answer yet")
        self.media.downlink.playout.push(pcm)

    def handle_datagram(self, data: bytes, *, now: float, path: int = 0) -> None:
        """Take a datagram from the server, which came on a path."""
        if self._dtls is None or self.media is None or self.state in {ClientState.FAILED, ClientState.CLOSED}:
            return
        self.paths.note_heard(path, now=now)
        match classify(data):
            case PacketKind.STUN:
                self._handle_check_answer(data, self._dtls, path, now)
            case PacketKind.DTLS:
                if self._sped is not None:
                    self._sped.note_datagram(data)
                self._dtls.handle_datagram(data, now=now)
                self._pump(now)
            case PacketKind.RTP | PacketKind.RTCP if self.state is not ClientState.CONNECTED:
                self._early.append(data)
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
        self.paths.handle_timeout(now=now)
        if self._dtls_deadline is not None and now >= self._dtls_deadline:
            self._dtls.handle_timeout(now=now)
        self.media.handle_timeout(now=now)
        self._clock.handle_timeout(now=now)
        while (frames := self._clock.poll_frames()) is not None:
            for media in frames.members:
                self._send(media.next_packets(missed=frames.missed, now=now))
        if self.channels is not None and self.state is ClientState.CONNECTED:
            self.channels.handle_timeout(now=now)
        self._pump(now)

    def close(self, *, now: float) -> None:
        """Hang up as a browser does: RTCP BYE, SCTP ABORT, DTLS close_notify."""
        if self.media is not None and self._dtls is not None and self.state is not ClientState.CLOSED:
            self.media.close(now=now)
            if self.channels is not None:
                self.channels.close(now=now)
            self._pump(now)
            self._dtls.close(now=now)
            self._pump(now)
            self._clock.leave(self.media)
        self.paths.stop()
        self.state = ClientState.CLOSED

    # Output

    def poll_transmit(self) -> bytes | None:
        """Return the next datagram for the server."""
        return self._transmits.popleft()[1] if self._transmits else None

    def poll_transmit_on(self) -> tuple[int, bytes] | None:
        """Return the next datagram for the server, and the number of the path that it goes on."""
        if not self._transmits:
            return None
        path, data = self._transmits.popleft()
        return self.paths.selected if path is None else path, data

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        if self._dtls is None or self.media is None or self.state in {ClientState.FAILED, ClientState.CLOSED}:
            return None
        deadlines = (
            self.paths.poll_timeout(),
            self._dtls_deadline,
            self.media.poll_timeout(),
            self._clock.poll_timeout(),
            self.channels.poll_timeout() if self.channels is not None and self._dtls.is_completed else None,
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # Internals: from checks to DTLS

    def _new_paths(self, sped: Sped | None) -> ClientPaths:
        return ClientPaths(
            local=self._local,
            random=self._random,
            keepalive_interval=self._keepalive_interval,
            receiving_seconds=self._receiving_seconds,
            sped=sped,
        )

    def _start_paths(self, remote: Credentials, now: float) -> None:
        over_udp = [candidate for candidate in self.candidates if candidate.transport == "udp"]
        self.paths.start(remote, count=max(min(self._max_paths, len(over_udp)), 1), now=now)

    def _handle_check_answer(self, data: bytes, dtls: DtlsConnection, path: int, now: float) -> None:
        embedded = self.paths.handle_datagram(data, path=path, now=now)
        if self.paths.is_reached and not self._is_reached:  # once, whatever is restarted later
            self._is_reached = True
            self._reach(dtls, now)
        if embedded is not None:
            dtls.handle_datagram(embedded, now=now)
        self._pump(now)

    def _reach(self, dtls: DtlsConnection, now: float) -> None:
        """Go on after the first answer to a check: DTLS now goes beside the checks."""
        if self.state is ClientState.CHECKING:  # a server that opens DTLS may be faster than its answer
            self.state = ClientState.HANDSHAKING
        dtls.set_round_trip(self.paths.round_trip)
        self._pump_checks()
        if self._sped is None:
            if self._is_dtls_client:
                dtls.start(now=now)
        elif self._sped.state is SpedState.CONFIRMED:
            # To a server without SPED, Chromium says it again only when the timer of DTLS fires.
            self._send(self._sped.pending)
        self._send(self._unsent)
        self._unsent.clear()

    @property
    def _dtls_deadline(self) -> float | None:
        """When DTLS is to repeat its flight; with SPED not before two round trips beside the checks."""
        deadline = self._dtls.poll_timeout() if self._dtls is not None else None
        if deadline is None or self._sped is None:
            return deadline
        paths = self.paths
        return max(deadline, paths.began_at + 3 * paths.round_trip) if paths.is_reached else None

    def _pump_checks(self) -> None:
        while (check := self.paths.poll_transmit()) is not None:
            self._transmits.append(check)

    def _send(self, datagrams: Iterable[bytes]) -> None:
        self._transmits += ((None, datagram) for datagram in datagrams)

    # Internals: DTLS and what is inside

    def _open_channels(self, answer: SessionDescription, now: float) -> None:
        section = next((media for media in answer.media if media.kind == "application" and media.port), None)
        if section is None or self._association is None:
            return
        value = {attribute.name: attribute.value or "" for attribute in section.attributes}
        self.channels = DataChannels(
            self._association,
            is_dtls_client=self._is_dtls_client,
            max_message_size=int(value["max-message-size"]),
        )
        self.channels.open(label=self._channel_label, negotiated_id=self._negotiated_id, now=now)
        if self._has_snap and "sctp-init" in value:
            self._remote_init = b64decode(value["sctp-init"], validate=True)

    def _pump(self, now: float) -> None:
        if self._dtls is None or self.media is None:
            return
        self._pump_checks()
        while (event := self._dtls.poll_event()) is not None:
            match event:
                case HandshakeCompleted(srtp_profile=profile):
                    self._connect(self._dtls, self.media, profile, now)
                case ApplicationData(data=data) if self.channels is not None:
                    self.channels.handle_datagram(data, now=now)
                case HandshakeFailed(detail=detail):
                    self.state, self.failure = ClientState.FAILED, detail
                case Closed(is_remote=True, alert=alert):
                    self.media.close(now=now)
                    self._clock.leave(self.media)
                    self.state = ClientState.FAILED if alert else ClientState.CLOSED
                    self.failure = f"the server sent alert {alert}" if alert else ""
                case _:
                    pass
        if self.channels is not None:
            self._pump_channels(self.channels, self._dtls, now)
        self._pump_dtls(self._dtls)
        while (packet := self.media.poll_transmit()) is not None:
            self._transmits.append((None, packet))
        while (frame := self.media.poll_audio()) is not None:
            self.heard += frame.pcm if isinstance(frame, AudioFrame) else b""

    def _connect(self, dtls: DtlsConnection, media: Media, profile: SrtpProfile, now: float) -> None:
        """Go on after the handshake; as server, a browser too sends nothing before it is over."""
        material = dtls.export_keying_material(
            "EXTRACTOR-dtls_srtp", 2 * (profile.key_length + profile.salt_length)
        )
        media.open(
            SrtpSession.from_exporter(
                profile=profile, keying_material=material, is_client=self._is_dtls_client
            ),
            now=now,
        )
        if media.frame_seconds is not None:
            self._clock.join(media, frame_seconds=media.frame_seconds, now=now)
        self.state = ClientState.CONNECTED
        while self._early:
            data = self._early.popleft()
            handle = media.handle_rtp if classify(data) is PacketKind.RTP else media.handle_rtcp
            handle(data, now=now)
        if self.channels is not None:
            self.channels.set_round_trip(self.paths.round_trip)
            if self._remote_init is not None:
                self.channels.start_with(decode_init(self._remote_init), now=now)
            else:
                self.channels.start(now=now)

    def _pump_channels(self, channels: DataChannels, dtls: DtlsConnection, now: float) -> None:
        while (event := channels.poll_event()) is not None:
            if isinstance(event, DataEstablished | DataFailed):
                self.is_data_ready = isinstance(event, DataEstablished)
        while (message := channels.poll_message()) is not None:
            self.received.append(message)
        while self.state is ClientState.CONNECTED and (packet := channels.poll_transmit()) is not None:
            dtls.send(packet, now=now)

    def _pump_dtls(self, dtls: DtlsConnection) -> None:
        datagrams = iter(dtls.poll_transmit, None)
        if self._sped is None or self.paths.is_reached:
            self._send(datagrams)
        else:
            # Until a check is answered the flight goes nowhere but into checks, and what follows it waits.
            flight = dtls.flight
            self._unsent += (datagram for datagram in datagrams if datagram not in flight)
        if self._sped is None:
            return
        self._sped.embed(dtls.flight)
        if dtls.is_completed and not self._sped.pending:
            self._sped.end()
