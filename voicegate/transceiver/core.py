"""One call without any I/O: ICE, DTLS, media and data channels put together, and the watchdogs of its set-up.

A call passes through `State` in order:

1. AWAITING_CHECK: the answer is out; the relay lets only checks with our ufrag and password through.
2. AWAITING_CLIENT_HELLO: an authenticated check came, so packets from its address are worth a look. With
   SPED that check has brought the ClientHello along.
3. HANDSHAKING: DTLS runs on that path. With DTLS 1.3 what we have to say leaves right behind our flight,
   half a round trip before the client is verified; what the client says that early is held.
4. CONNECTED: the client's certificate is the one its offer promised; audio and messages flow both ways.
5. CLOSED: `Ended` says why.

Drain rule: after each ``handle_*`` or command, poll transmit, audio, event and timeout, each to None.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, Literal

from voicegate.call import AudioFrame, EncodedFrame, EndCause
from voicegate.config import SetUp
from voicegate.datachannel import (
    ChannelClosed,
    ChannelOpened,
    DataChannels,
    DataEstablished,
    DataFailed,
)
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
    KeysReady,
    ProtocolVersion,
    Role,
)
from voicegate.dtls.alert import AlertDescription
from voicegate.ice import (
    MAX_EMBEDDED_LENGTH,
    ConsentExpired,
    Credentials,
    EmbeddedDatagram,
    IceLiteAgent,
    PathClosed,
    PathSelected,
    PathValidated,
)
from voicegate.sctp import SctpAssociation, decode_init
from voicegate.sdp import Negotiated
from voicegate.srtp import SrtpSession
from voicegate.transceiver.event import (
    CallStatistics,
    DataProgressed,
    Ended,
    Event,
    KeyPressed,
    MediaReady,
    PathAdded,
    PathRemoved,
    Phase,
    State,
)
from voicegate.transceiver.media import Media
from voicegate.wire import PacketKind, Path, Transmit, classify

__all__ = ["CallCore"]

CHECK_SECONDS: Final = 15.0
"""A client checks within a second of the answer; a slow page or a permission dialog may take some more."""

CLIENT_HELLO_SECONDS: Final = 10.0
"""Clients start DTLS right after their first successful check."""

HANDSHAKE_SECONDS: Final = 10.0
"""Enough for five retransmissions; people give up sooner."""

SPED_GUARD_SECONDS: Final = 0.01
"""Between our DTLS flight and what follows it, for a client that embeds DTLS in its checks.

Chromium takes the first protected packet as a sign that the handshake is over, and when that comes before it
has sent its own last flight, forgets to; two round trips are lost then. Networks push packets closer
together, so this is some times the 2 ms that it needs."""

MAX_HELD_PACKETS: Final = 64
"""SRTP that came before the client was verified: a second of audio, for a last flight lost once."""

_CONNECTED: Final = State.CONNECTED
"""By this name it costs a tenth, which counts where every packet passes."""

_MTU: Final = 1200
"""Bytes of a handshake datagram that every path carries."""

_VERSIONS: Final = {"1.2": ProtocolVersion.DTLS_1_2, "1.3": ProtocolVersion.DTLS_1_3}
_CHANNEL_LABEL: Final = "oai-events"
"""Label of a channel agreed with the offer; nothing on the wire says it, and clients of this API use it."""


class CallCore:
    """All protocol state of one call.

    ``now`` is in seconds of one monotonic clock; ``ntp_at_zero`` is the wallclock at its zero, in seconds
    since 1900. ``association`` is the one whose INIT chunk went out with the answer, if one did;
    ``data_channel_id`` is that of a channel both sides know of without a word.
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
        association: SctpAssociation | None = None,
        data_channel_id: int | None = None,
        set_up: SetUp = SetUp(),  # noqa: B008 - it is a value
        uplink: Literal["fast", "accurate"] = "fast",
    ) -> None:
        self.state = State.AWAITING_CHECK
        self.path: Path | None = None
        """Where media goes now: what ICE has selected."""
        self._heard_at: float | None = None
        """When an authentic packet came on `path`, if ICE has not been told."""
        self._datagrams_in = self._datagrams_out = 0
        self.media: Final = Media(
            negotiated.audio,
            ssrc=ssrc,
            cname=cname,
            random=random,
            now=now,
            ntp_at_zero=ntp_at_zero,
            uplink=uplink,
        )
        self._ice = IceLiteAgent(
            local=local,
            remote_ufrag=negotiated.remote_ice_ufrag,
            remote_pwd=negotiated.remote_ice_pwd,
            is_sped=negotiated.is_sped,
            now=now,
        )
        self._dtls = _open_dtls(negotiated, certificate, set_up, random=random, now=now)
        self.channels: Final = _open_channels(negotiated, association, random=random, now=now)
        if self.channels is not None and data_channel_id is not None:
            self.channels.open(label=_CHANNEL_LABEL, negotiated_id=data_channel_id, now=now)
        snap = negotiated.data and negotiated.data.sctp_init
        self._remote_init = decode_init(snap) if snap else None
        self._set_up = set_up
        self._is_embedding = negotiated.is_sped and set_up.sped == "full"
        self._is_dtls_client = negotiated.is_dtls_client
        self._security: KeysReady | None = None
        self._srtp: SrtpSession | None = None
        self._sending_at: float | None = None
        self._is_sending = False
        self._held: list[tuple[bytes, Path]] = []
        self._reached: dict[Phase, float] = {}
        self._watchdog: tuple[float, EndCause] | None = (now + CHECK_SECONDS, EndCause.NO_STUN)
        self._transmits: deque[Transmit] = deque()
        self._events: deque[Event] = deque()
        self._drops: Counter[str] = Counter()

    # Input

    def handle_datagram(self, data: bytes, *, path: Path, now: float) -> None:
        """Take a datagram that a relay forwarded for this call."""
        if self.state is State.CLOSED:
            return
        self._datagrams_in += 1
        self._tell_ice()
        kind = classify(data)
        if kind is PacketKind.STUN:
            self._ice.handle_datagram(data, path=path, now=now)
            self._follow_ice(now)
        # Only a check proves that the client is where its packets claim to come from.
        elif not self._ice.is_validated(path):
            self._drops["path_not_validated"] += 1
        elif kind is PacketKind.RTP or kind is PacketKind.RTCP:
            self._handle_media(kind, data, path, now)
        elif kind is PacketKind.DTLS:
            if not self._dtls.is_completed:
                self._ice.note_dtls(data)
                self._ice.note_datagram(path, now=now)
            self._handle_dtls(data, path, now)
        else:
            self._drops["unknown_protocol"] += 1
        self.flush(now=now)

    def handle_rtp(self, data: bytes, *, path: Path, now: float) -> bool:
        """Take an RTP packet as `handle_datagram` does, by the short way.

        Returns whether anything but audio may have come of it; otherwise only `poll_audio` is due.
        """
        if self.state is not _CONNECTED or not (path is self.path or path == self.path):
            self.handle_datagram(data, path=path, now=now)
            return True
        self._datagrams_in += 1
        media = self.media
        if media.handle_rtp(data, now=now):
            self._heard_at = now
        if media.has_more:
            self.flush(now=now)
            return True
        return False

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
        if self._sending_at is not None and now >= self._sending_at:
            self._begin_sending(now)
        self.media.handle_timeout(now=now)
        self._tell_ice()
        self._ice.handle_timeout(now=now)
        self._follow_ice(now)
        self._dtls.handle_timeout(now=now)
        self._follow_dtls(now)
        if self.channels is not None and self._is_sending:
            self.channels.handle_timeout(now=now)
        self.flush(now=now)

    def restart_ice(self, *, local: Credentials, remote: Credentials, now: float) -> None:
        """Begin an ICE restart; media goes on as it is until a check with the new credentials has come.

        Errors: UsageError when ``local`` is not new.
        """
        self._ice.restart(local=local, remote_ufrag=remote.ufrag, remote_pwd=remote.pwd, now=now)

    def flush(self, *, now: float) -> None:
        """Put all that is to be sent in order: the answers to checks first, what they brought about next.

        To be called after a command to `channels`.
        """
        if self._is_embedding:
            self._ice.embed(self._dtls.flight)
            self._is_embedding = not self._dtls.is_completed
        while (transmit := self._ice.poll_transmit()) is not None:
            self._transmits.append(transmit)
        path = self.path
        while (packet := self.media.poll_transmit()) is not None:
            if path is not None:
                self._transmits.append(Transmit(packet, path))
            else:  # Kept, it would only come too late, in a burst with all that follows.
                self._drops["no_path"] += 1
        while (press := self.media.poll_press()) is not None:
            self._events.append(KeyPressed(*press))
        self.media.has_more = False
        if self.channels is not None:
            self._follow_channels(self.channels, now)
        while path is not None and (datagram := self._dtls.poll_transmit()) is not None:
            self._transmits.append(Transmit(datagram, path))

    def close(self, *, now: float) -> None:
        """Say what the protocols owe, RTCP BYE, SCTP ABORT, DTLS close_notify; then the call is CLOSED."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._watchdog = None
        self.media.close(now=now)
        if self.channels is not None:
            self.channels.close(now=now)
        self.flush(now=now)
        self._dtls.close(now=now)
        self.flush(now=now)

    # Output

    def poll_transmit(self) -> Transmit | None:
        """Return the next datagram to send."""
        if not self._transmits:
            return None
        self._datagrams_out += 1
        return self._transmits.popleft()

    @property
    def frame_seconds(self) -> float | None:
        """How often `next_packets` is to be asked for; None while nothing is sent."""
        return self.media.frame_seconds if self.state is not State.CLOSED else None

    def next_packets(self, *, missed: int, now: float) -> Sequence[bytes]:
        """Return what leaves on `path` in the slot that has begun; see `Media.next_packets`."""
        packets = self.media.next_packets(missed=missed, now=now)
        if packets and self.path is None:  # Kept, they would only come too late.
            self._drops["no_path"] += len(packets)
            return ()
        self._datagrams_out += len(packets)
        return packets

    def poll_audio(self) -> AudioFrame | EncodedFrame | None:
        """Return the client's voice, as the uplink has it next."""
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
            self.channels.poll_timeout() if self.channels is not None and self._is_sending else None,
            self._sending_at,
            self._watchdog and self._watchdog[0],
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    @property
    def ufrags(self) -> tuple[str, ...]:
        """Ours that a check may name: two while an ICE restart is going on."""
        return self._ice.ufrags

    @property
    def credentials(self) -> tuple[Credentials, Credentials]:
        """Ours and the client's, since the last ICE restart."""
        return self._ice.local, self._ice.remote

    @property
    def phases(self) -> dict[Phase, float]:
        """When each milestone was reached."""
        audio = {Phase.FIRST_AUDIO_OUT: self.media.first_out_at, Phase.FIRST_AUDIO_IN: self.media.first_in_at}
        return self._reached | {phase: at for phase, at in audio.items() if at is not None}

    @property
    def security(self) -> KeysReady | None:
        """What DTLS has settled, once there are keys."""
        return self._security

    def statistics(self) -> CallStatistics:
        """Return the counts."""
        ice = {
            f"ice_{reason.value}": count for reason, count in self._ice.statistics().refused.items() if count
        }
        dtls = {f"dtls_{reason.value}": count for reason, count in self._dtls.statistics().dropped.items()}
        channels = self.channels.statistics() if self.channels is not None else None
        data = (
            {f"data_{reason.value}": count for reason, count in channels.dropped.items()} if channels else {}
        )
        uplink = self.media.uplink.statistics()
        return CallStatistics(
            datagrams_in=self._datagrams_in,
            datagrams_out=self._datagrams_out,
            audio_packets_in=self.media.packets_in,
            audio_packets_out=self.media.packets_out,
            slots_missed=self.media.slots_missed,
            concealed_ms=uplink.concealed_ms,
            fec_recovered=uplink.fec_recovered,
            red_recovered=uplink.red_recovered,
            nack_recovered=uplink.nack_recovered,
            compressed_ms=uplink.compressed_ms,
            expanded_ms=uplink.expanded_ms,
            **self.media.downlink.statistics()._asdict(),
            messages_in=channels.messages_received if channels else 0,
            messages_out=channels.messages_sent if channels else 0,
            drops={**self._drops, **ice, **dtls, **data, **self.media.all_drops()},
        )

    # Internals: ICE

    def _tell_ice(self) -> None:
        """Say that the selected path is alive, before anything that this bears upon."""
        if self._heard_at is not None and self.path is not None:
            self._ice.confirm_path(self.path, now=self._heard_at)
        self._heard_at = None

    def _follow_ice(self, now: float) -> None:
        self.path = self._ice.selected_path
        while (event := self._ice.poll_event()) is not None:
            match event:
                case PathValidated(path=path):
                    self._events.append(PathAdded(path))
                    if self.state is State.AWAITING_CHECK:
                        self._begin_handshake(now)
                case EmbeddedDatagram(path=path, data=data):
                    self._handle_dtls(data, path, now)
                case PathClosed(path=path):
                    self._events.append(PathRemoved(path))
                case PathSelected():
                    pass  # What waits to be sent finds out by itself.
                case ConsentExpired():
                    self._end(EndCause.CONSENT_EXPIRED, "the client's connectivity checks stopped", now)

    def _confirm(self, path: Path, now: float) -> None:
        """Tell ICE that an authentic packet came this way; media may follow it."""
        self._ice.confirm_path(path, now=now)
        self._follow_ice(now)

    # Internals: DTLS

    def _begin_handshake(self, now: float) -> None:
        self._reached[Phase.FIRST_CHECK] = now
        self.state = State.AWAITING_CLIENT_HELLO
        self._watchdog = (now + CLIENT_HELLO_SECONDS, EndCause.NO_CLIENT_HELLO)
        if self._is_dtls_client:
            self._dtls.start(now=now)

    def _handle_dtls(self, data: bytes, path: Path, now: float) -> None:
        if self._ice.round_trip is not None and not self._dtls.is_completed:
            self._dtls.set_round_trip(self._ice.round_trip)
            if self.channels is not None:
                self.channels.set_round_trip(self._ice.round_trip)
        self._dtls.handle_datagram(data, now=now)
        self._follow_dtls(now, path)

    def _follow_dtls(self, now: float, path: Path | None = None) -> None:
        """Act on what DTLS has to say of a datagram from ``path``, or of time."""
        while (event := self._dtls.poll_event()) is not None:
            if path is not None and isinstance(event, HandshakeCompleted | ApplicationData):
                self._confirm(path, now)
            match event:
                case HandshakeStarted():
                    self._reached[Phase.CLIENT_HELLO] = now
                    self.state = State.HANDSHAKING
                    self._watchdog = (now + HANDSHAKE_SECONDS, EndCause.DTLS_TIMEOUT)
                case KeysReady():
                    self._take_keys(event, now)
                case HandshakeCompleted():
                    self._connect(now)
                case ApplicationData(data=data):
                    self._handle_data(data, now)
                case HandshakeFailed(cause=FailureCause.FINGERPRINT_MISMATCH, detail=detail):
                    self._end(EndCause.FINGERPRINT_MISMATCH, detail, now)
                case HandshakeFailed(alert=AlertDescription.CLOSE_NOTIFY, is_remote=True):
                    self._end(EndCause.CLIENT_CLOSED, "the client gave up the handshake", now)
                case HandshakeFailed(detail=detail):
                    self._end(EndCause.DTLS_FAILED, detail, now)
                case Closed(alert=alert):
                    self._end(EndCause.CLIENT_CLOSED, f"the client closed DTLS with alert {alert}", now)

    def _take_keys(self, security: KeysReady, now: float) -> None:
        self._security = security
        profile = security.srtp_profile
        # RFC 5764 §4.2: two master keys, then two master salts.
        length = 2 * (profile.key_length + profile.salt_length)
        keying_material = self._dtls.export_keying_material("EXTRACTOR-dtls_srtp", length)
        self._srtp = SrtpSession.from_exporter(
            profile=profile, keying_material=keying_material, is_client=self._is_dtls_client
        )
        self._reached[Phase.KEYS_READY] = now
        if self._set_up.early:
            self._sending_at = now + (SPED_GUARD_SECONDS if self._ice.is_sped_active else 0.0)
            if self._sending_at <= now:
                self._begin_sending(now)

    def _begin_sending(self, now: float) -> None:
        """Say what there is to say: the next frame of audio, and the first packet of the data channels."""
        self._sending_at = None
        if self._is_sending or self._srtp is None:
            return
        self._is_sending = True
        self.media.open(self._srtp, now=now)
        if self.channels is None:
            return
        if self._remote_init is not None:
            self.channels.start_with(self._remote_init, now=now)
        elif self._set_up.sctp_init:
            self.channels.start(now=now)

    def _connect(self, now: float) -> None:
        self._reached[Phase.DTLS_COMPLETED] = now
        self.state = State.CONNECTED
        self._watchdog = None
        self._ice.end_sped()
        self._begin_sending(now)
        if self._ice.round_trip is not None:
            self.media.set_round_trip(self._ice.round_trip)
        self._events.append(MediaReady())
        held, self._held = self._held, []
        for data, path in held:
            self._handle_media(classify(data), data, path, now)

    # Internals: media and data

    def _handle_media(self, kind: PacketKind, data: bytes, path: Path, now: float) -> None:
        # What comes before the client is verified may be an impostor's, who knows our password, not its key.
        if self.state is not State.CONNECTED:
            if len(self._held) < MAX_HELD_PACKETS:
                self._held.append((data, path))
            else:
                self._drops["before_keys"] += 1
        elif (self.media.handle_rtp if kind is PacketKind.RTP else self.media.handle_rtcp)(data, now=now):
            self._confirm(path, now)

    def _handle_data(self, data: bytes, now: float) -> None:
        if self.channels is None:
            self._drops["no_data_channel"] += 1
        else:
            self.channels.handle_datagram(data, now=now)
            self._events.append(DataProgressed())
            if Phase.FIRST_MESSAGE_IN not in self._reached and self.channels.statistics().messages_received:
                self._reached[Phase.FIRST_MESSAGE_IN] = now

    def _follow_channels(self, channels: DataChannels, now: float) -> None:
        while (event := channels.poll_event()) is not None:
            match event:
                case ChannelOpened() | ChannelClosed():
                    self._events.append(event)
                case DataEstablished():
                    self._reached.setdefault(Phase.DATA_READY, now)
                case DataFailed(is_remote=is_remote):
                    # Either end aborts it when it hangs up; should the call go on, its channels are closed.
                    if not is_remote and self.state is not State.CLOSED:
                        self._drops["data_association_failed"] += 1
        while self._is_sending and (packet := channels.poll_transmit()) is not None:
            if self._dtls.can_send:
                self._dtls.send(packet, now=now)

    # Internals: the end

    def _end(self, cause: EndCause, detail: str, now: float) -> None:
        if self.state is not State.CLOSED:
            self.close(now=now)
            self._events.append(Ended(cause, detail))


def _open_dtls(
    negotiated: Negotiated,
    certificate: Certificate,
    set_up: SetUp,
    *,
    random: Callable[[int], bytes],
    now: float,
) -> DtlsConnection:
    return DtlsConnection(
        role=Role.CLIENT if negotiated.is_dtls_client else Role.SERVER,
        certificate=certificate,
        remote_fingerprints=[Fingerprint.parse(text) for text in negotiated.remote_fingerprints],
        random=random,
        now=now,
        versions=[_VERSIONS[version] for version in set_up.dtls],
        mtu=MAX_EMBEDDED_LENGTH if negotiated.is_sped else _MTU,
    )


def _open_channels(
    negotiated: Negotiated,
    association: SctpAssociation | None,
    *,
    random: Callable[[int], bytes],
    now: float,
) -> DataChannels | None:
    if negotiated.data is None:
        return None
    return DataChannels(
        association or SctpAssociation(random=random, now=now, remote_port=negotiated.data.sctp_port),
        is_dtls_client=negotiated.is_dtls_client,
        max_message_size=negotiated.data.max_message_size,
    )
