"""A client that says something prepared over a bad line, and records the packets that come back."""

import heapq
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count, pairwise
from typing import Final

import httpx2
import trio

from voicegate.audio.opus_packet import CLOCK_RATE
from voicegate.audio.pcm import FRAMES_PER_SECOND
from voicegate.bench.quality_line import ImpairedLine, Impairment
from voicegate.bench.quality_score import Arrival
from voicegate.bench.server import BenchError
from voicegate.dtls import Certificate
from voicegate.errors import WireError
from voicegate.ice import stun
from voicegate.rtp import RtpPacket
from voicegate.srtp import SrtpSession
from voicegate.testing.client import ClientCore, ClientState
from voicegate.wire import PacketKind, classify
from voicegate.wire.path import Address, address_bytes

__all__ = ["Conversation", "QualityCaller", "make_call"]

_FRAME_TICKS: Final = CLOCK_RATE // FRAMES_PER_SECOND

_PATIENCE: Final = 30.0
"""Seconds for a call to come about."""

_LISTEN_SECONDS: Final = 1.0
"""After the last word, for what is still on its way back."""

_HOST_CANDIDATE: Final = "candidate:1 1 udp 2113937151 {} {} typ host"
_LARGEST_DATAGRAM: Final = 2048
_CREATED: Final = 201


class Conversation:
    """What was said and what came back; all times are on the server's clock."""

    def __init__(self, said_at: Sequence[float], arrivals: Sequence[Arrival]) -> None:
        self.said_at: Final = said_at
        """When each payload left."""
        self.arrivals: Final = arrivals

    @property
    def stall(self) -> float:
        """The longest time between two packets, beyond what it should be."""
        gaps = (later - earlier for earlier, later in pairwise(self.said_at))
        return max(0.0, max(gaps, default=0.0) - 1 / FRAMES_PER_SECOND)


class QualityCaller(ClientCore):
    """A client whose microphone is a row of payloads, and whose ear only writes down.

    Unlike its parent it has a candidate and answers checks, since aiortc wants to make some itself.

    Args:
        payloads: Of 20 ms each.
        address: Where it sends from.
        random: Where random bytes come from.
        certificate: The client's own.
    """

    def __init__(
        self,
        payloads: Sequence[bytes],
        *,
        address: Address,
        random: Callable[[int], bytes],
        certificate: Certificate,
    ) -> None:
        super().__init__(random=random, certificate=certificate)
        self.answers: list[bytes] = []
        """To checks of the server's, for it."""
        self.said_at: list[float] = []
        """When each packet left, on the client's clock."""
        self.heard_packets: list[bytes] = []
        """RTP that came since somebody looked."""
        self._payloads = payloads
        self._address = address
        self._ear: SrtpSession | None = None

    def offer(self) -> str:
        """Return the SDP offer, with its candidate."""
        return f"{super().offer()}a={_HOST_CANDIDATE.format(*self._address)}\r\na=end-of-candidates\r\n"

    def handle_answer(self, sdp: str, *, now: float) -> None:
        """Apply the server's answer, and take a deep breath."""
        super().handle_answer(sdp, now=now)
        if self.media is not None:
            self.media.uplink.wants = "nothing"
            for payload in self._payloads:
                self.media.downlink.push_packet(payload, _FRAME_TICKS)

    def handle_datagram(self, data: bytes, *, now: float, path: int = 0) -> None:
        """Take a datagram from the server."""
        kind = classify(data)
        if kind is PacketKind.STUN:
            self._answer_check(data)
        super().handle_datagram(data, now=now, path=path)
        if kind is not PacketKind.RTP:
            self._open_ear()
        elif self._ear is not None and (packet := self._ear.unprotect_rtp(data)) is not None:
            self.heard_packets.append(packet)

    def handle_timeout(self, *, now: float) -> None:
        """Do all that is due."""
        before = self.media.packets_out if self.media is not None else 0
        super().handle_timeout(now=now)
        if self.media is not None:
            self.said_at += [now] * (self.media.packets_out - before)

    def _answer_check(self, data: bytes) -> None:
        key = self._local.pwd.encode()
        with suppress(WireError):
            check = stun.Message.decode(data)
            if (
                check.message_class is stun.MessageClass.REQUEST
                and check.has_valid_integrity(key)
                and self.server is not None
            ):
                host = address_bytes(self.server.address)
                self.answers.append(stun.binding_success(check, host=host, port=self.server.port, key=key))

    def _open_ear(self) -> None:
        dtls = self._dtls
        if self._ear is None and dtls is not None and (profile := dtls.srtp_profile) is not None:
            length = SrtpSession.keying_material_length(profile)
            self._ear = SrtpSession.from_exporter(
                profile=profile,
                keying_material=dtls.export_keying_material("EXTRACTOR-dtls_srtp", length),
                is_client=self._is_dtls_client,
            )


async def make_call(
    http: httpx2.AsyncClient,
    url: str,
    payloads: Sequence[bytes],
    impairment: Impairment,
    *,
    certificate: Certificate,
    seed: int,
) -> Conversation:
    """Say payloads to a server over a bad line, from the beginning to the end.

    Errors: BenchError when the server refuses the offer, or the call does not come about.
    """
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))
        caller = QualityCaller(
            payloads, address=sock.getsockname(), random=os.urandom, certificate=certificate
        )
        clock = _Clock(impairment.drift)
        caller.handle_answer(await _post(http, url, caller.offer()), now=clock.client(trio.current_time()))
        if caller.server is None:
            raise BenchError("an answer without a candidate")
        await sock.connect((caller.server.address, caller.server.port))
        exchange = _Exchange(caller, sock, clock, ImpairedLine(impairment, seed=seed))
        with trio.move_on_after(_PATIENCE):
            await exchange.run(lambda: caller.state is ClientState.CONNECTED)
        if caller.state is not ClientState.CONNECTED:
            raise BenchError(f"no call came about: {caller.failure or caller.state.value}")
        await exchange.run(lambda: len(caller.said_at) >= len(payloads))
        with trio.move_on_after(_LISTEN_SECONDS):
            await exchange.run(lambda: False)
        caller.close(now=clock.client(trio.current_time()))
        await exchange.flush()
    said_at = [clock.server(at) for at in caller.said_at[: len(payloads)]]
    return Conversation(said_at, exchange.arrivals)


async def _post(http: httpx2.AsyncClient, url: str, offer: str) -> str:
    response = await http.post(
        f"{url}/v1/realtime/calls",
        content=offer,
        headers={"content-type": "application/sdp"},
        timeout=_PATIENCE,
    )
    if response.status_code != _CREATED:
        raise BenchError(f"{url} refused an offer: {response.status_code} {response.text[:200]}")
    return str(response.text)


class _Clock:
    """The client's clock, which runs faster than the server's, or slower."""

    def __init__(self, drift: float) -> None:
        self._began_at = trio.current_time()
        self._speed = 1 + drift

    def client(self, at: float) -> float:
        return self._began_at + (at - self._began_at) * self._speed

    def server(self, at: float) -> float:
        return self._began_at + (at - self._began_at) / self._speed


class _Exchange:
    """The way between a caller and its server."""

    def __init__(
        self, caller: QualityCaller, sock: trio.socket.SocketType, clock: _Clock, line: ImpairedLine
    ) -> None:
        self.arrivals: list[Arrival] = []
        self._caller = caller
        self._socket = sock
        self._clock = clock
        self._line = line
        self._waiting: list[tuple[float, int, bytes]] = []
        self._numbers = count()

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Carry datagrams both ways until then."""
        caller, clock = self._caller, self._clock
        while not is_over():
            await self.flush()
            due = caller.poll_timeout()
            deadline = math.inf if due is None else clock.server(due)
            if self._waiting:
                deadline = min(deadline, self._waiting[0][0])
            with trio.CancelScope(deadline=deadline), suppress(ConnectionRefusedError):
                data = await self._socket.recv(_LARGEST_DATAGRAM)
                caller.handle_datagram(data, now=clock.client(trio.current_time()))
                self._hear()
            now = clock.client(trio.current_time())
            if due is not None and due <= now:
                caller.handle_timeout(now=now)

    async def flush(self) -> None:
        """Send what is due."""
        now = trio.current_time()
        while self._caller.answers:
            heapq.heappush(self._waiting, (now, next(self._numbers), self._caller.answers.pop(0)))
        while (data := self._caller.poll_transmit()) is not None:
            arrival = self._line.arrival(now) if classify(data) is PacketKind.RTP else now
            if arrival is not None:
                heapq.heappush(self._waiting, (arrival, next(self._numbers), data))
        while self._waiting and self._waiting[0][0] <= now:
            with suppress(ConnectionRefusedError):
                await self._socket.send(heapq.heappop(self._waiting)[2])

    def _hear(self) -> None:
        now = trio.current_time()
        for packet in self._caller.heard_packets:
            with suppress(WireError):
                rtp = RtpPacket.decode(packet)
                self.arrivals.append(Arrival(now, rtp.timestamp, rtp.payload))
        self._caller.heard_packets.clear()
