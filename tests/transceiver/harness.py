"""A call core and a client on a virtual network, driven from deadline to deadline."""

import datetime
import itertools
from collections.abc import Callable
from math import inf
from random import Random

import attrs

from voicegate.dtls import Certificate
from voicegate.ice import Keyring, Route
from voicegate.sdp import Candidate, LocalParameters, SessionDescription, answer
from voicegate.testing.client import ClientCore
from voicegate.testing.link import Link
from voicegate.transceiver.core import CallCore, Event
from voicegate.wire import Path
from voicegate.wire.path import address_bytes

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SERVER_CERTIFICATE = Certificate.generate(not_before=EPOCH)
CLIENT_CERTIFICATE = Certificate.generate(not_before=EPOCH)
RELAY = ("127.0.0.1", 4000)
HOME = Path(RELAY, address_bytes("192.0.2.1"), 5000)
ELSEWHERE = Path(RELAY, address_bytes("198.51.100.7"), 6000)


def seeded(seed: int) -> Callable[[int], bytes]:
    return Random(seed).randbytes


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
    strays: list[tuple[bytes, Path]] = attrs.field(factory=list)
    tamper: Callable[[bytes], bytes] = attrs.field(default=lambda data: data)

    @classmethod
    def make(
        cls,
        *,
        codec: str = "opus",
        setup: str = "actpass",
        seed: int = 1,
        certificate: Certificate = CLIENT_CERTIFICATE,
    ) -> "Harness":
        random = seeded(seed)
        client = ClientCore(random=seeded(seed + 1), certificate=certificate, codec=codec, setup=setup)
        local = Keyring([bytes(32)]).mint(Route(transceiver_id=1, session_id=random(8), generation=0))
        candidate = Candidate(foundation="1", transport="udp", priority=1, address="192.0.2.100", port=3478)
        negotiated = answer(
            SessionDescription.decode(client.offer()),
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
            ),
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
        )
        client.handle_answer(negotiated.answer.encode(), now=100.0)
        return cls(core, client)

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, deadline by deadline."""
        end = self.now + seconds
        for _ in itertools.count():
            self._exchange()
            if until():
                return
            deadlines = [self.up.poll_timeout(), self.down.poll_timeout(), self.core.poll_timeout()]
            deadlines += [self.client.poll_timeout()] if self.is_client_alive else []
            due = min((deadline for deadline in deadlines if deadline is not None), default=inf)
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            for data in self.up.receive(now=self.now):
                self.core.handle_datagram(data, path=self.path, now=self.now)
                self._drain_core()
            for data in self.down.receive(now=self.now):
                if self.is_client_alive:
                    self.client.handle_datagram(data, now=self.now)
            deadline = self.core.poll_timeout()
            if deadline is not None and deadline <= self.now:
                self.core.handle_timeout(now=self.now)
                after = self.core.poll_timeout()
                assert after is None or after > self.now, (
                    "a core that wants the same deadline again spins for ever"
                )
            deadline = self.client.poll_timeout()
            if self.is_client_alive and deadline is not None and deadline <= self.now:
                self.client.handle_timeout(now=self.now)

    def connect(self) -> None:
        self.run(
            10, until=lambda: self.core.state.value == "connected" and self.client.state.value == "connected"
        )
        assert self.client.state.value == "connected", self.client.failure

    def _exchange(self) -> None:
        while (data := self.client.poll_transmit()) is not None:
            if self.is_client_alive:
                self.up.send(self.tamper(data), now=self.now)
        self._drain_core()

    def _drain_core(self) -> None:
        while (transmit := self.core.poll_transmit()) is not None:
            if transmit.path == self.path:
                self.down.send(transmit.data, now=self.now)
            else:
                self.strays.append(transmit)
        while (frame := self.core.poll_audio()) is not None:
            self.heard += frame.pcm
        while (event := self.core.poll_event()) is not None:
            self.events.append(event)
