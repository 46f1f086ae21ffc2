"""A call core and a client on a virtual network, driven from deadline to deadline."""

import datetime
from collections.abc import Callable, Mapping
from math import inf
from random import Random
from types import MappingProxyType
from typing import Any

import attrs

from voicegate.call import AudioFrame
from voicegate.config import SetUp
from voicegate.datachannel import Message
from voicegate.dtls import Certificate
from voicegate.ice import Credentials, Keyring, Route
from voicegate.ice.stun import binding_request
from voicegate.sctp import SctpAssociation
from voicegate.sdp import Candidate, LocalParameters, Negotiated, SessionDescription, answer
from voicegate.testing.client import ClientCore, ClientState
from voicegate.testing.link import Link
from voicegate.transceiver.clock import SlotClock
from voicegate.transceiver.core import CallCore
from voicegate.transceiver.event import Ended, Event, State
from voicegate.wire import Path, Transmit
from voicegate.wire.path import address_bytes

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SERVER_CERTIFICATE = Certificate.generate(not_before=EPOCH)
CLIENT_CERTIFICATE = Certificate.generate(not_before=EPOCH)
RELAY = ("127.0.0.1", 4000)
HOME = Path(RELAY, address_bytes("192.0.2.1"), 5000)
ELSEWHERE = Path(RELAY, address_bytes("198.51.100.7"), 6000)


def seeded(seed: int) -> Callable[[int], bytes]:
    return Random(seed).randbytes


def negotiate(
    offer: str,
    *,
    local: Credentials,
    association: SctpAssociation | None = None,
    set_up: SetUp = SetUp(),  # noqa: B008 - it is a value
) -> Negotiated:
    """Answer an offer the way a transceiver does."""
    candidate = Candidate(foundation="1", transport="udp", priority=1, address="192.0.2.100", port=3478)
    return answer(
        SessionDescription.decode(offer),
        LocalParameters(
            ice_ufrag=local.ufrag,
            ice_pwd=local.pwd,
            fingerprint=str(SERVER_CERTIFICATE.fingerprint),
            candidates=(candidate,),
            session_id=1,
            ssrc=1234,
            cname="server",
            stream_id="s",
            track_id="t",
            sctp_init=association.init.encode() if association else None,
            has_sped=set_up.sped != "off",
        ),
    )


@attrs.define
class Harness:
    """The client sends from ``path``; what the server sends to any other path never reaches it."""

    core: CallCore
    client: ClientCore
    up: Link = attrs.field(factory=lambda: Link(seed=1))
    down: Link = attrs.field(factory=lambda: Link(seed=2))
    path: Path = HOME
    now: float = 100.0
    is_client_alive: bool = True
    events: list[Event] = attrs.field(factory=list)
    heard: bytearray = attrs.field(factory=bytearray)
    """What the agent would hear."""
    captured: list[bytes] = attrs.field(factory=list)
    """All that the client sent, for who would like to send it again."""
    sent: list[tuple[float, Transmit]] = attrs.field(factory=list)
    """All that the server sent, and when."""
    strays: list[Transmit] = attrs.field(factory=list)
    """What the server sent to where the client is not."""
    tamper: Callable[[bytes], bytes | None] = attrs.field(default=lambda data: data)
    """What happens to the client's datagrams; None is a loss."""
    tamper_down: Callable[[bytes], bytes | None] = attrs.field(default=lambda data: data)
    """The same for the server's."""
    clock: SlotClock[str] = attrs.field(factory=SlotClock)
    """What tells the core to send its frames."""
    frame_seconds: float | None = None

    @classmethod
    def make(
        cls,
        *,
        codec: str = "opus",
        setup: str = "actpass",
        seed: int = 1,
        certificate: Certificate = CLIENT_CERTIFICATE,
        edit_offer: Callable[[str], str] = lambda sdp: sdp,
        keepalive_interval: float = 2.5,
        client_options: Mapping[str, Any] = MappingProxyType({}),
        set_up: SetUp = SetUp(),  # noqa: B008 - it is a value
        **network: float,
    ) -> "Harness":
        """Make a call whose answer has just reached the client; ``network`` is what a `Link` takes."""
        random = seeded(seed)
        client = ClientCore(
            random=seeded(seed + 1),
            certificate=certificate,
            codec=codec,
            setup=setup,
            keepalive_interval=keepalive_interval,
            **client_options,
        )
        local = Keyring([bytes(32)]).mint(Route(transceiver_id=1, session_id=random(8), generation=0))
        has_snap = client_options.get("has_snap") and set_up.snap
        association = SctpAssociation(random=random, now=100.0) if has_snap else None
        negotiated = negotiate(
            edit_offer(client.offer()), local=local, association=association, set_up=set_up
        )
        core = CallCore(
            local=local,
            negotiated=negotiated,
            certificate=SERVER_CERTIFICATE,
            ssrc=1234,
            cname="server",
            random=random,
            now=100.0,
            ntp_at_zero=3.9e9,
            association=association,
            data_channel_id=client_options.get("negotiated_id"),
            set_up=set_up,
        )
        client.handle_answer(negotiated.answer.encode(), now=100.0)
        up = Link(seed=2 * seed, **network)  # type: ignore[arg-type] # MTU and seed are no part of it
        down = Link(seed=2 * seed + 1, **network)  # type: ignore[arg-type] # as above
        return cls(core, client, up, down)

    @classmethod
    def connected(cls, *, codec: str = "PCMU", setup: str = "actpass", seed: int = 1) -> "Harness":
        harness = cls.make(codec=codec, setup=setup, seed=seed)
        harness.connect()
        return harness

    # Time

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, deadline by deadline."""
        end = self.now + seconds
        while True:
            self._exchange()
            if until():
                return
            deadlines = [part.poll_timeout() for part in (self.up, self.down, self.core, self.clock)]
            deadlines += [self.client.poll_timeout()] if self.is_client_alive else []
            due = min((deadline for deadline in deadlines if deadline is not None), default=inf)
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            self._deliver()
            self._let_pass()

    def connect(self) -> None:
        self.run(
            10,
            until=lambda: self.core.state is State.CONNECTED and self.client.state is ClientState.CONNECTED,
        )
        states = (self.core.state.value, self.client.state.value)
        assert states == ("connected", "connected"), self.client.failure

    # What a test does to it

    def inject(self, data: bytes, path: Path) -> None:
        """Hand the server a datagram right now, from wherever."""
        self.core.handle_datagram(data, path=path, now=self.now)
        self.drain()

    def check(self, path: Path, *, nominates: bool, number: int = 0) -> None:
        """Let the client check from a path, right now."""
        self.inject(self.make_check(nominates=nominates, number=number), path)

    def make_check(self, *, nominates: bool, number: int = 0, key: str | None = None) -> bytes:
        remote = self.client._remote
        assert remote is not None
        return binding_request(
            transaction_id=number.to_bytes(12, "big"),
            username=f"{remote.ufrag}:{self.client._local.ufrag}",
            key=(key or remote.pwd).encode(),
            priority=1,
            ice_controlling=1,
            has_use_candidate=nominates,
        )

    def send_message(self, channel_id: int, data: str | bytes) -> None:
        """Let the agent say something on a channel, right now."""
        assert self.core.channels is not None
        self.core.channels.send(channel_id, data, now=self.now)
        self.core.flush(now=self.now)
        self.drain()

    def take_message(self) -> Message | None:
        """Let the agent take the client's next message."""
        assert self.core.channels is not None
        message = self.core.channels.poll_message()
        self.core.flush(now=self.now)
        self.drain()
        return message

    def vanish(self) -> None:
        """The client is gone without a word."""
        self.is_client_alive = False

    # What came of it

    @property
    def ended(self) -> Ended:
        endings = [event for event in self.events if isinstance(event, Ended)]
        assert len(endings) == 1, self.events
        return endings[0]

    @property
    def drops(self) -> dict[str, int]:
        return dict(self.core.statistics().drops)

    # Internals

    def drain(self) -> None:
        """Take what the core has to say to where it belongs."""
        while (transmit := self.core.poll_transmit()) is not None:
            self.send(transmit)
        while (frame := self.core.poll_audio()) is not None:
            assert isinstance(frame, AudioFrame)
            self.heard += frame.pcm
        while (event := self.core.poll_event()) is not None:
            self.events.append(event)
        if self.frame_seconds != self.core.frame_seconds:
            self.frame_seconds = self.core.frame_seconds
            self.clock.leave("call")
            if self.frame_seconds is not None:
                self.clock.join("call", frame_seconds=self.frame_seconds, now=self.now)

    def send(self, transmit: Transmit) -> None:
        """Put a datagram of the core's on the network."""
        self.sent.append((self.now, transmit))
        if transmit.path != self.path:
            self.strays.append(transmit)
        elif (tampered := self.tamper_down(transmit.data)) is not None:
            self.down.send(tampered, now=self.now)

    def _exchange(self) -> None:
        while (data := self.client.poll_transmit()) is not None:
            if self.is_client_alive:
                self.captured.append(data)
                if (tampered := self.tamper(data)) is not None:
                    self.up.send(tampered, now=self.now)
        self.drain()

    def _deliver(self) -> None:
        for data in self.up.receive(now=self.now):
            self.inject(data, self.path)
        for data in self.down.receive(now=self.now):
            if self.is_client_alive:
                self.client.handle_datagram(data, now=self.now)

    def _let_pass(self) -> None:
        deadline = self.core.poll_timeout()
        if deadline is not None and deadline <= self.now:
            self.core.handle_timeout(now=self.now)
            after = self.core.poll_timeout()
            assert after is None or after > self.now, "who wants the same deadline again spins for ever"
        self.clock.handle_timeout(now=self.now)
        while (frames := self.clock.poll_frames()) is not None:
            for packet in self.core.next_packets(missed=frames.missed, now=self.now):
                assert self.core.path is not None
                self.send(Transmit(packet, self.core.path))
        deadline = self.client.poll_timeout()
        if self.is_client_alive and deadline is not None and deadline <= self.now:
            self.client.handle_timeout(now=self.now)
