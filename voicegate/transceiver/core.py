"""One call without any I/O: ICE, DTLS and media put together, and the watchdogs of its set-up.

A call passes through `State` in order:

1. AWAITING_CHECK: the answer is out; the relay lets only checks with our ufrag and password through.
2. AWAITING_CLIENT_HELLO: an authenticated check came, so packets from its address are worth a look.
3. HANDSHAKING: DTLS runs on that path.
4. CONNECTED: SRTP keys exist, and the client's certificate is the one its offer promised; frames flow.
5. CLOSED: `Ended` says why.

Drain rule: after each ``handle_*`` or command, poll transmit, audio, event and timeout, each to None.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

import attrs

from voicegate.call import AudioFrame, EndCause
from voicegate.dtls import (
    ApplicationData,
    Certificate,
    Closed,
    DtlsConnection,
    FailureCause,
    Fingerprint,
    HandshakeCompleted,
    HandshakeFailed,
    HandshakeStarted,
    Role,
    SrtpProfile,
)
from voicegate.dtls.alert import AlertDescription
from voicegate.ice import ConsentExpired, Credentials, IceLiteAgent, PathClosed, PathSelected, PathValidated
from voicegate.sdp import Negotiated
from voicegate.srtp import SrtpSession
from voicegate.transceiver.media import Media
from voicegate.wire import PacketKind, Path, Transmit, classify

__all__ = [
    "CallCore",
    "CallStatistics",
    "Ended",
    "Event",
    "MediaReady",
    "PathAdded",
    "PathRemoved",
    "Phase",
    "State",
]

CHECK_SECONDS: Final = 15.0
"""A client checks within a second of the answer; a slow page or a permission dialog may take some more."""

CLIENT_HELLO_SECONDS: Final = 10.0
"""Clients start DTLS right after their first successful check."""

HANDSHAKE_SECONDS: Final = 10.0
"""Enough for five retransmissions; people give up sooner."""


class State(Enum):
    """How far a call has come."""

    AWAITING_CHECK = "awaiting_check"
    AWAITING_CLIENT_HELLO = "awaiting_client_hello"
    HANDSHAKING = "handshaking"
    CONNECTED = "connected"
    CLOSED = "closed"


class Phase(Enum):
    """Milestones of a call, each reached at most once."""

    FIRST_CHECK = "first_check"
    CLIENT_HELLO = "client_hello"
    DTLS_COMPLETED = "dtls_completed"
    FIRST_AUDIO_OUT = "first_audio_out"
    FIRST_AUDIO_IN = "first_audio_in"


@attrs.frozen
class PathAdded:
    """Datagrams from ``path`` belong to this call from now on."""

    path: Path


@attrs.frozen
class PathRemoved:
    """Datagrams from ``path`` no longer belong to this call."""

    path: Path


@attrs.frozen
class MediaReady:
    """Audio can flow both ways."""


@attrs.frozen
class Ended:
    """The call is over for a reason of the network's or the client's; nothing follows."""

    cause: EndCause
    detail: str


Event: TypeAlias = PathAdded | PathRemoved | MediaReady | Ended


class CallStatistics(NamedTuple):
    """Counts since the call began."""

    datagrams_in: int
    datagrams_out: int
    audio_packets_in: int
    audio_packets_out: int
    frames_concealed: int
    slots_missed: int
    drops: Mapping[str, int]
    """Datagrams that went no further, by reason."""


class CallCore:
    """All protocol state of one call.

    ``now`` is in seconds of one monotonic clock; ``ntp_at_zero`` is the wallclock at its zero, in seconds
    since 1900.
    """

    def __init__(
        self,
        *,
        local: Credentials,
        negotiated: Negotiated,
        certificate: Certificate,
        ssrc: int,
        cname: str,
        random: Callable[[int], bytes],
        now: float,
        ntp_at_zero: float,
    ) -> None:
        self.state = State.AWAITING_CHECK
        self.media: Final = Media(
            negotiated.audio, ssrc=ssrc, cname=cname, random=random, now=now, ntp_at_zero=ntp_at_zero
        )
        self._ice = IceLiteAgent(
            local=local,
            remote_ufrag=negotiated.remote_ice_ufrag,
            remote_pwd=negotiated.remote_ice_pwd,
            now=now,
        )
        self._dtls = DtlsConnection(
            role=Role.CLIENT if negotiated.is_dtls_client else Role.SERVER,
            certificate=certificate,
            remote_fingerprints=[Fingerprint.parse(text) for text in negotiated.remote_fingerprints],
            random=random,
            now=now,
        )
        self._is_dtls_client = negotiated.is_dtls_client
        self._reached: dict[Phase, float] = {}
        self._watchdog: tuple[float, EndCause] | None = (now + CHECK_SECONDS, EndCause.NO_STUN)
        self._transmits: deque[Transmit] = deque()
        self._events: deque[Event] = deque()
        self._drops: Counter[str] = Counter()
        self._datagrams_in = self._datagrams_out = 0

    # Input

    def handle_datagram(self, data: bytes, *, path: Path, now: float) -> None:
        """Take a datagram that a relay forwarded for this call."""
        if self.state is State.CLOSED:
            return
        self._datagrams_in += 1
        kind = classify(data)
        if kind is PacketKind.STUN:
            self._ice.handle_datagram(data, path=path, now=now)
            self._pump_ice(now)
        # Only a check proves that the client is where its packets claim to come from.
        elif not self._ice.is_validated(path):
            self._drops["path_not_validated"] += 1
        elif kind is PacketKind.RTP:
            if self.media.handle_rtp(data, now=now):
                self._confirm(path, now)
        elif kind is PacketKind.RTCP:
            if self.media.handle_rtcp(data, now=now):
                self._confirm(path, now)
        elif kind is PacketKind.DTLS:
            self._handle_dtls(data, path, now)
        else:
            self._drops["unknown_protocol"] += 1

    def handle_refused_check(self) -> None:
        """Note that a relay saw a check for this call with a wrong password, which explains a silence."""
        if self._watchdog is not None and self._watchdog[1] is EndCause.NO_STUN:
            self._watchdog = (self._watchdog[0], EndCause.BAD_INTEGRITY)

    def handle_timeout(self, *, now: float) -> None:
        """Do all that is due."""
        if self.state is State.CLOSED:
            return
        if self._watchdog is not None and now >= self._watchdog[0]:
            self._end(self._watchdog[1], f"nothing happened in state {self.state.value}", now)
            return
        self.media.handle_timeout(now=now)
        self._flush_media()
        self._ice.handle_timeout(now=now)
        self._pump_ice(now)
        self._dtls.handle_timeout(now=now)
        self._pump_dtls(now)

    def close(self, *, now: float) -> None:
        """Say what the protocols owe, RTCP BYE and DTLS close_notify; then the call is CLOSED."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._watchdog = None
        self.media.close(now=now)
        self._flush_media()
        self._dtls.close(now=now)
        self._flush_dtls()

    # Output

    def poll_transmit(self) -> Transmit | None:
        """Return the next datagram to send."""
        if not self._transmits:
            return None
        self._datagrams_out += 1
        return self._transmits.popleft()

    def poll_audio(self) -> AudioFrame | None:
        """Return the next 20 ms of the client's voice."""
        return self.media.poll_audio()

    def poll_event(self) -> Event | None:
        """Return the next event."""
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        if self.state is State.CLOSED:
            return None
        deadlines = (
            self.media.poll_timeout(),
            self._ice.poll_timeout(),
            self._dtls.poll_timeout(),
            self._watchdog and self._watchdog[0],
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    @property
    def path(self) -> Path | None:
        """Where media goes now."""
        return self._ice.selected_path

    @property
    def phases(self) -> dict[Phase, float]:
        """When each milestone was reached."""
        audio = {Phase.FIRST_AUDIO_OUT: self.media.first_out_at, Phase.FIRST_AUDIO_IN: self.media.first_in_at}
        return self._reached | {phase: at for phase, at in audio.items() if at is not None}

    def statistics(self) -> CallStatistics:
        """Return the counts."""
        ice = {
            f"ice_{reason.value}": count for reason, count in self._ice.statistics().refused.items() if count
        }
        dtls = {f"dtls_{reason.value}": count for reason, count in self._dtls.statistics().dropped.items()}
        return CallStatistics(
            datagrams_in=self._datagrams_in,
            datagrams_out=self._datagrams_out,
            audio_packets_in=self.media.packets_in,
            audio_packets_out=self.media.packets_out,
            frames_concealed=self.media.frames_concealed,
            slots_missed=self.media.slots_missed,
            drops={**self._drops, **ice, **dtls, **self.media.all_drops()},
        )

    # Internals

    def _pump_ice(self, now: float) -> None:
        while (transmit := self._ice.poll_transmit()) is not None:
            self._transmits.append(transmit)
        while (event := self._ice.poll_event()) is not None:
            match event:
                case PathValidated(path=path):
                    self._events.append(PathAdded(path))
                    if self.state is State.AWAITING_CHECK:
                        self._begin_handshake(now)
                case PathClosed(path=path):
                    self._events.append(PathRemoved(path))
                case PathSelected():
                    self._flush_dtls()
                case ConsentExpired():
                    self._end(EndCause.CONSENT_EXPIRED, "the client's connectivity checks stopped", now)

    def _begin_handshake(self, now: float) -> None:
        self._reached[Phase.FIRST_CHECK] = now
        self.state = State.AWAITING_CLIENT_HELLO
        self._watchdog = (now + CLIENT_HELLO_SECONDS, EndCause.NO_CLIENT_HELLO)
        if self._is_dtls_client:
            self._dtls.start(now=now)
            self._pump_dtls(now)

    def _handle_dtls(self, data: bytes, path: Path, now: float) -> None:
        if not self._dtls.is_completed:
            self._ice.note_datagram(path, now=now)
            if self._ice.round_trip is not None:
                self._dtls.set_round_trip(self._ice.round_trip)
        self._dtls.handle_datagram(data, now=now)
        self._pump_dtls(now, path)

    def _pump_dtls(self, now: float, path: Path | None = None) -> None:
        """Act on what DTLS has to say of a datagram from ``path``, or of time."""
        while (event := self._dtls.poll_event()) is not None:
            if path is not None and isinstance(event, HandshakeCompleted | ApplicationData):
                self._confirm(path, now)
            self._flush_dtls()
            match event:
                case HandshakeStarted():
                    self._reached[Phase.CLIENT_HELLO] = now
                    self.state = State.HANDSHAKING
                    self._watchdog = (now + HANDSHAKE_SECONDS, EndCause.DTLS_TIMEOUT)
                case HandshakeCompleted(srtp_profile=profile):
                    self._open_media(profile, now)
                case ApplicationData():
                    self._drops["no_data_channel"] += 1
                case HandshakeFailed(cause=FailureCause.FINGERPRINT_MISMATCH, detail=detail):
                    self._end(EndCause.FINGERPRINT_MISMATCH, detail, now)
                case HandshakeFailed(alert=AlertDescription.CLOSE_NOTIFY, is_remote=True):
                    self._end(EndCause.CLIENT_CLOSED, "the client gave up the handshake", now)
                case HandshakeFailed(detail=detail):
                    self._end(EndCause.DTLS_FAILED, detail, now)
                case Closed(alert=alert):
                    self._end(EndCause.CLIENT_CLOSED, f"the client closed DTLS with alert {alert}", now)
        self._flush_dtls()

    def _open_media(self, profile: SrtpProfile, now: float) -> None:
        # RFC 5764 §4.2: two master keys, then two master salts.
        length = 2 * (profile.key_length + profile.salt_length)
        keying_material = self._dtls.export_keying_material("EXTRACTOR-dtls_srtp", length)
        srtp = SrtpSession.from_exporter(
            profile=profile, keying_material=keying_material, is_client=self._is_dtls_client
        )
        self._reached[Phase.DTLS_COMPLETED] = now
        self.state = State.CONNECTED
        self._watchdog = None
        self.media.open(srtp, now=now)
        self._events.append(MediaReady())

    def _confirm(self, path: Path, now: float) -> None:
        """Tell ICE that an authentic packet came this way; media may follow it."""
        self._ice.confirm_path(path, now=now)
        self._pump_ice(now)

    def _flush_dtls(self) -> None:
        path = self._ice.selected_path
        while path is not None and (datagram := self._dtls.poll_transmit()) is not None:
            self._transmits.append(Transmit(datagram, path))

    def _flush_media(self) -> None:
        path = self._ice.selected_path
        while (packet := self.media.poll_transmit()) is not None:
            if path is not None:
                self._transmits.append(Transmit(packet, path))
            else:  # Kept, it would only come too late, in a burst with all that follows.
                self._drops["no_path"] += 1

    def _end(self, cause: EndCause, detail: str, now: float) -> None:
        if self.state is not State.CLOSED:
            self.close(now=now)
            self._events.append(Ended(cause, detail))
