"""What one echoed frame costs the transceiver: a packet in and one out, undecoded, system calls included.

A generator in another process stands for relay and clients: it has the keys of every call, sends a frame of
each every 20 ms, in batches as the relay sends them, and counts what comes back. This process does nothing
but run the engine, so that its processor time is the answer. Then the stages are timed one by one, each over
many packets in a row, the best of several rounds: what they add up to is the cost on a machine that is quiet.

    python -m bench.packet_cost --calls 100 --calls 300
"""

import datetime
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, Self

import attrs
import trio
from cyclopts import App
from rich.console import Console
from rich.table import Table

from voicegate.agents import load_agent
from voicegate.config import SetUp
from voicegate.datagram import SegmentPort
from voicegate.dtls import Certificate
from voicegate.ice import Keyring
from voicegate.observability import configure_logging
from voicegate.rtp import RtpPacket, RtpSender
from voicegate.sdp import Candidate
from voicegate.srtp import SrtpSession
from voicegate.testing.client import ClientCore, ClientState
from voicegate.transceiver import Transceiver
from voicegate.transceiver.collector import Collector, open_collector
from voicegate.wire import hop
from voicegate.wire.path import Address, address_bytes

__all__ = ["main"]

CLIENT: Final = address_bytes("192.0.2.1")
FIRST_PORT: Final = 10000
LIMIT: Final = hop.HEADER_LENGTH + hop.MAX_PAYLOAD_LENGTH
SLOTS_PER_FRAME: Final = 4
SLOT_SECONDS: Final = 0.005
PAYLOAD: Final = b"\x78" + bytes(79)
"""A packet of Opus, as far as anybody looks: 20 ms at 32 kbit/s."""
TICKS: Final = 960
WARM_UP_SECONDS: Final = 1.0
RUN: Final = 64
"""Datagrams in a run, as GRO makes them."""
ROUNDS: Final = 60

app = App(name="packet_cost", help=__doc__)


@attrs.define
class Peer:
    """The client's end of a call that has been set up."""

    port: int
    profile: int
    payload_type: int
    keys: str

    def open(self) -> tuple[SrtpSession, RtpSender]:
        """Return what protects and what numbers its packets."""
        srtp = SrtpSession.from_exporter(
            profile=self.profile, keying_material=bytes.fromhex(self.keys), is_client=True
        )
        ssrc = self.port
        return srtp, RtpSender.begin(
            ssrc=ssrc, payload_type=self.payload_type, clock_rate=48000, random=os.urandom
        )

    def frames(self, count: int) -> Iterator[bytes]:
        """Return so many frames as they come over the hop."""
        srtp, sender = self.open()
        for _ in range(count):
            packet = srtp.protect_rtp(sender.next_packet(PAYLOAD, samples=TICKS, now=0.0))
            yield hop.encode(hop.HopType.DATA, host=CLIENT, port=self.port, payload=packet)


@attrs.define
class Bench:
    """A transceiver, and the relay's socket."""

    transceiver: Transceiver
    port: SegmentPort
    relay: SegmentPort
    peers: list[Peer] = attrs.field(factory=list)
    clients: list[ClientCore] = attrs.field(factory=list)

    @classmethod
    def make(
        cls, port: SegmentPort, relay: SegmentPort, *, calls: int, agent: str, collector: Collector
    ) -> Self:
        transceiver = Transceiver(
            port,
            agent=load_agent(agent),
            keyring=Keyring([bytes(32)]),
            transceiver_id=1,
            max_calls=calls,
            max_call_seconds=3600.0,
            max_pending_calls=calls,
            max_pending_calls_per_client=calls,
            set_up=SetUp(),
            random=os.urandom,
            clock=lambda: datetime.datetime.now(datetime.UTC),
            collector=collector,
        )
        transceiver.candidates = (
            Candidate(foundation="1", transport="udp", priority=1, address="192.0.2.100", port=3478),
        )
        return cls(transceiver, port, relay)

    async def place(self) -> None:
        """Set up one more call."""
        number = FIRST_PORT + len(self.peers)
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        client = ClientCore(random=os.urandom, certificate=Certificate.generate(not_before=yesterday))
        call_id, answer = self.transceiver.create_call(client.offer(), metadata={})
        client.handle_answer(answer, now=trio.current_time())
        while client.state is not ClientState.CONNECTED:
            client.handle_timeout(now=trio.current_time())
            self._send(client, number)
            with trio.move_on_after(0.05):
                await self.relay.wait_readable()
            for data, _source in self.relay.receive_batch():
                datagram = hop.decode(data)
                if datagram.port == number:
                    client.handle_datagram(datagram.payload, now=trio.current_time())
        self._send(client, number)
        self.clients.append(client)
        await trio.sleep(0.001)
        call = self.transceiver.find(call_id)
        assert call is not None
        assert call.core.security is not None
        assert client.media is not None
        profile = int(call.core.security.srtp_profile)
        keys = client._dtls.export_keying_material(  # type: ignore[union-attr]  # noqa: SLF001 - not a user's
            "EXTRACTOR-dtls_srtp", SrtpSession.keying_material_length(profile)
        )
        self.peers.append(Peer(number, profile, 111, keys.hex()))

    def renew_consent(self) -> None:
        """Let every client check once more, for the 30 s in which nobody but the generator will send."""
        for client, peer in zip(self.clients, self.peers, strict=True):
            client.handle_timeout(now=trio.current_time())
            self._send(client, peer.port)
        self.clients.clear()

    def _send(self, client: ClientCore, number: int) -> None:
        for data in iter(client.poll_transmit, None):
            datagram = hop.encode(hop.HopType.DATA, host=CLIENT, port=number, payload=data)
            self.relay.send_batch([(datagram, self.port.address)])

    def counts(self) -> tuple[int, int]:
        """Return the packets of all calls so far, in and out."""
        audios = [call.core.media for call in self._calls]
        return sum(media.packets_in for media in audios), sum(media.packets_out for media in audios)

    @property
    def _calls(self) -> Sequence[Any]:
        return list(self.transceiver._calls.values())  # noqa: SLF001 - a bench may look inside


# The generator


class _InheritedPort(SegmentPort):
    """A port on a socket of the parent process."""

    def __init__(self, fd: int) -> None:
        super().__init__(("127.0.0.1", 0), datagram_limit=LIMIT)
        self._socket.close()
        self._socket = socket.socket(fileno=fd)


def generate(relay: SegmentPort, server: Address, peers: list[Peer], seconds: float) -> int:
    """Send a frame of each call every 20 ms; return how many came back while it did."""
    slots = int(seconds / SLOT_SECONDS)
    batches: list[list[bytes]] = [[] for _ in range(slots)]
    for index, peer in enumerate(peers):
        own = range(index % SLOTS_PER_FRAME, slots, SLOTS_PER_FRAME)
        for slot, data in zip(own, peer.frames(len(own)), strict=True):
            batches[slot].append(data)
    relay.receive_batch()
    print("ready", flush=True)
    began = time.monotonic()
    echoed = 0
    for slot, batch in enumerate(batches):
        while (left := began + slot * SLOT_SECONDS - time.monotonic()) > 0:
            time.sleep(min(left, 0.002))
            echoed += len(relay.receive_batch())
        relay.send_run(batch, server)
        echoed += len(relay.receive_batch())
    return echoed


@app.command(name="generate", show=False)
def run_generator(fd: int) -> None:
    """Run in the child process: calls come on standard input."""
    task = json.loads(sys.stdin.readline())
    host, port = task["server"]
    print(
        generate(_InheritedPort(fd), (host, port), [Peer(**each) for each in task["peers"]], task["seconds"])
    )


# The whole


async def measure(calls: int, seconds: float, agent: str) -> dict[str, float]:
    """Return what so many calls cost together."""
    with (
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=LIMIT)) as port,
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=LIMIT)) as relay,
        open_collector() as collector,
    ):
        bench = Bench.make(port, relay, calls=calls, agent=agent, collector=collector)
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.transceiver.run)
            for _ in range(calls):
                await bench.place()
            bench.renew_consent()
            figures = await observe(bench, seconds)
            nursery.cancel_scope.cancel()
    return {"calls": calls, **figures}


async def observe(bench: Bench, seconds: float) -> dict[str, float]:
    """Let the generator run and look at the clocks meanwhile."""
    fd = bench.relay._socket.fileno()  # noqa: SLF001 - it is handed down
    command = [sys.executable, "-m", "bench.packet_cost", "generate", str(fd)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=[fd], text=True) as child:  # noqa: ASYNC220
        assert child.stdin is not None
        assert child.stdout is not None
        task = {
            "server": bench.port.address,
            "peers": [attrs.asdict(peer) for peer in bench.peers],
            "seconds": seconds,
        }
        child.stdin.write(json.dumps(task) + "\n")
        child.stdin.flush()
        await trio.to_thread.run_sync(child.stdout.readline)
        await trio.sleep(WARM_UP_SECONDS)
        late = bench.transceiver.engine.lateness
        late.reset()  # of the set-up
        before, cpu, wall = bench.counts(), time.process_time(), time.monotonic()
        await trio.sleep(seconds - WARM_UP_SECONDS - 0.5)
        cpu, wall, after = time.process_time() - cpu, time.monotonic() - wall, bench.counts()
        echoed = int(await trio.to_thread.run_sync(child.stdout.readline))
    taken, sent = (late_count - early for late_count, early in zip(after, before, strict=True))
    return {
        "frames_in": taken,
        "frames_out": sent,
        "echoed": echoed,
        "us_per_frame": cpu / max(1, taken + sent) * 2e6,
        "core_share": cpu / wall,
        "p50_ms": late.quantile_ms(0.5),
        "p99_ms": late.quantile_ms(0.99),
        "max_ms": late.longest * 1000,
    }


# The stages


async def measure_stages(agent: str) -> dict[str, float]:
    """Return the microseconds of each stage per frame, by 64 calls that have nothing else to do."""
    with (
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=LIMIT)) as port,
        closing(SegmentPort(("127.0.0.1", 0), datagram_limit=LIMIT)) as relay,
        open_collector() as collector,
    ):
        bench = Bench.make(port, relay, calls=RUN, agent=agent, collector=collector)
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.transceiver.run)
            for _ in range(RUN):
                await bench.place()
            stages = time_ways(bench) | time_parts(bench.peers[0])
            nursery.cancel_scope.cancel()
    return stages


def time_ways(bench: Bench) -> dict[str, float]:
    """Time the way in and the way out as wholes, and the kernel's part of both."""
    engine, server, here = bench.transceiver.engine, bench.port.address, bench.relay.address
    sources = [peer.frames(ROUNDS) for peer in bench.peers]
    runs = [[next(source) for source in sources] for _ in range(ROUNDS)]
    size = len(runs[0][0])
    now = trio.current_time()

    def turn(number: int) -> None:
        for slot in range(SLOTS_PER_FRAME):
            engine._turn(now + (number * SLOTS_PER_FRAME + slot) * SLOT_SECONDS)  # noqa: SLF001

    best = dict.fromkeys(("way in", "way out", "receive", "send"), float("inf"))
    send_run = bench.port.send_run
    bench.port.send_run = lambda datagrams, destination: None  # type: ignore[method-assign]  # noqa: ARG005
    for number, run in enumerate(runs):
        joined = b"".join(run)
        took = timed(lambda: engine._take_run(joined, size, here, now))  # noqa: B023, SLF001
        best["way in"] = min(best["way in"], took)
        best["way out"] = min(best["way out"], timed(lambda: turn(number + 1)))  # noqa: B023
    bench.port.send_run = send_run  # type: ignore[method-assign] # as it was
    for run in runs:
        bench.relay.send_run(run, server)
        best["receive"] = min(best["receive"], timed(bench.port.receive_run))
        best["send"] = min(best["send"], timed(lambda: bench.port.send_run(run, here)))  # noqa: B023
        bench.relay.receive_batch()
    return best


def time_parts(peer: Peer) -> dict[str, float]:
    """Time what the two ways are made of."""
    material = bytes.fromhex(peer.keys)
    client, sender = peer.open()
    server = SrtpSession.from_exporter(profile=peer.profile, keying_material=material, is_client=False)
    best: dict[str, float] = {}

    def note(name: str, function: Callable[[], object]) -> None:
        best[name] = min(best.get(name, float("inf")), timed(function))

    for _ in range(ROUNDS):
        plain = [sender.next_packet(PAYLOAD, samples=TICKS, now=0.0) for _ in range(RUN)]
        note("of that, build", lambda: [sender.next_packet(PAYLOAD, samples=0, now=0.0) for _ in range(RUN)])
        sender.sequence_number = (sender.sequence_number - RUN) & 0xFFFF
        packets = [client.protect_rtp(packet) for packet in plain]
        note("of that, unprotect", lambda: [server.unprotect_rtp(packet) for packet in packets])  # noqa: B023
        note("of that, parse", lambda: [RtpPacket.decode(packet) for packet in plain])  # noqa: B023
        note("of that, protect", lambda: [server.protect_rtp(packet) for packet in plain])  # noqa: B023
    return best


def timed(function: Callable[[], object]) -> float:
    """Return the microseconds of processor time of one of the 64 that a function does."""
    began = time.process_time_ns()
    function()
    return (time.process_time_ns() - began) / 1000 / RUN


# The report


def show(figures: list[dict[str, float]], stages: dict[str, float]) -> None:
    """Print both."""
    table = Table(title="Processor time of one echoed frame, both directions")
    for heading in (
        "calls",
        "in",
        "out",
        "came back",
        "µs a frame",
        "of a core",
        "late p50 ms",
        "p99",
        "max",
    ):
        table.add_column(heading, justify="right")
    for row in figures:
        table.add_row(
            *(f"{row[key]:.0f}" for key in ("calls", "frames_in", "frames_out", "echoed")),
            f"{row['us_per_frame']:.1f}",
            f"{row['core_share']:.0%}",
            *(f"{row[key]:.1f}" for key in ("p50_ms", "p99_ms", "max_ms")),
        )
    Console().print(table)
    table = Table(title="Its stages, best of many rounds")
    for heading in ("stage", "µs a frame"):
        table.add_column(heading, justify="right" if heading != "stage" else "left")
    for name, microseconds in stages.items():
        table.add_row(name, f"{microseconds:.2f}")
    whole = sum(stages[name] for name in ("way in", "way out", "receive", "send"))
    table.add_row("whole", f"{whole:.2f}")
    Console().print(table)


@app.default
def main(
    *, calls: tuple[int, ...] = (100, 300), seconds: float = 5.0, agent: str = "echo"
) -> dict[str, list[dict[str, float]] | dict[str, float]]:
    """Measure.

    Args:
        calls: How many at once; several are measured one after the other.
        seconds: How long each is measured.
        agent: A ready one; ``echo`` passes packets through.
    """
    configure_logging(level="error")
    stages = trio.run(measure_stages, agent)
    figures = [trio.run(measure, count, seconds, agent) for count in calls]
    show(figures, stages)
    return {"whole": figures, "stages": stages}


if __name__ == "__main__":
    app(result_action="return_none")
