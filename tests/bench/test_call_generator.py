"""The program in C that talks in calls, with a server that the test is."""

import array
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import pytest
import trio

from voicegate.bench.caller import CALL_LIMIT, Handover
from voicegate.bench.compiler import build
from voicegate.bench.frame import FRAME_TICKS, Recording
from voicegate.bench.program import Program, open_program
from voicegate.bench.server import BenchError
from voicegate.bench.voice import PAYLOADS, write_voice
from voicegate.rtp import RtpPacket
from voicegate.srtp import SrtpSession
from voicegate.wire import PacketKind, classify, hop
from voicegate.wire.path import address_bytes

pytestmark = pytest.mark.slow

PROCESSOR: Final = min(os.sched_getaffinity(0))
NUMBER: Final = 5
CHECK: Final = b"\0\1\0\0" + bytes(16)
ADDRESS: Final = ("127.0.0.1", NUMBER + 1)
OURS = (bytes(range(16)), bytes(range(100, 112)))
THEIRS = (bytes(range(16, 32)), bytes(range(112, 124)))
HANDOVER: Final = Handover(
    number=NUMBER, sending=OURS, receiving=THEIRS, check=CHECK, ssrc=7, timestamp=2**32 - 5000, sequence=65530
)

HOSTILE: Final[list[bytes]] = [
    b"",
    b"\x80",
    b"\x80\x6f" + bytes(9),
    b"\x80\x6f" + bytes(10),
    b"\x8f\x6f" + bytes(20),  # 15 contributing sources and no room for them
    b"\x90\x6f" + bytes(10) + b"\xbe\xde\xff\xff",  # an extension as long as can be
    b"\x90\x6f" + bytes(12),
    b"\xbf\xff" + b"\xff" * 300,
    b"\x80\x6f" + bytes(2046),
    b"\x80\x6f" + bytes(3000),  # more than there is room for
    b"\x80\xc8" + bytes(20),
    b"\x16\xfe\xfd" + bytes(50),
    b"\xff" * 24,
]
HOSTILE_HOPS: Final[list[bytes]] = [
    b"V",
    b"V\x10" + bytes(22),
    b"V\x10\xff\xff" + bytes(20),
    b"V\x10\0\0\0\0\xff\xff" + bytes(16),
    b"V\x11\0\0\0\0\0\6" + bytes(16),
    b"V\x10\0\1\0\0\0\6" + bytes(16) + b"\x80",
]

Answer = Callable[[bytes], list[bytes]]


def make_server() -> SrtpSession:
    return SrtpSession(
        profile=7, local_key=THEIRS[0], local_salt=THEIRS[1], remote_key=OURS[0], remote_salt=OURS[1]
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the program once."""
    folder = tmp_path_factory.mktemp("built")
    write_voice(folder / "voice")
    return trio.run(build, "calls.c", folder)


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """Make a folder with the program and its voice."""
    for name in ("calls_c", "voice"):
        (tmp_path / name).symlink_to(built.parent / name)
    return tmp_path


@asynccontextmanager
async def open_generator(folder: Path) -> AsyncIterator[tuple[Program, socket.socket]]:
    command = [str(folder / name) for name in ("calls_c", "board", "voice")]
    async with open_program("the load generator", command, processor=PROCESSOR) as (program, said):
        assert said == {"payloads": PAYLOADS}
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as giver:
            giver.connect(str(folder / "board"))
            yield program, giver


def give(giver: socket.socket, handover: Handover, sock: socket.socket | None = None) -> None:
    rights = (
        [] if sock is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))]
    )
    giver.sendmsg([handover.encode()], rights)


async def talk(folder: Path, answer: Answer, *, is_direct: bool = False, seconds: float = 0.5) -> Recording:
    """Have one call, in which each datagram is answered as the test likes."""

    async def serve(sock: trio.socket.SocketType) -> None:
        while True:
            data, client = await sock.recvfrom(2048)
            for reply in answer(data):
                await sock.sendto(reply, client)

    with trio.fail_after(60), trio.socket.socket(type=socket.SOCK_DGRAM) as server:
        await server.bind(("127.0.0.1", 0))
        async with open_generator(folder) as (program, giver), trio.open_nursery() as nursery:
            nursery.start_soon(serve, server)
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.connect(server.getsockname())
                if is_direct:
                    give(giver, Handover(number=CALL_LIMIT), client)
                    give(giver, attrs.evolve(HANDOVER, address=ADDRESS))
                else:
                    give(giver, HANDOVER, client)
                said = await program.ask(f"run 0.1 {seconds} {folder / 'records'} {os.getpid()}")
                assert said["calls"] == 1
                assert await program.ask(f"drop {NUMBER}") == {"calls": 0}
            nursery.cancel_scope.cancel()
    return Recording.read(said, folder / "records", [NUMBER])


async def talk_enough(
    folder: Path, make: Callable[[], Answer], *, packets: int, is_direct: bool, seconds: float = 0.5
) -> Recording:
    """Have calls until so many packets came back in one: a stall may leave little of a second."""
    with trio.fail_after(240):
        while True:
            recording = await talk(folder, make(), is_direct=is_direct, seconds=seconds)
            if len(recording.records) >= packets:
                return recording


def make_echo(others: list[bytes] | None = None) -> Answer:
    """Answer checks, and packets by packets that libsrtp has unprotected and protected; note the rest."""
    srtp = make_server()

    def answer(data: bytes) -> list[bytes]:
        if data == CHECK:
            if others is not None:
                others.append(data)
            return [b"\1\1" + data[2:]]
        if classify(data) is PacketKind.RTCP:
            plain = srtp.unprotect_rtcp(data)
            assert plain is not None
            if others is not None:
                others.append(plain)
            return []
        plain = srtp.unprotect_rtp(data)
        assert plain is not None
        return [srtp.protect_rtp(plain)]

    return answer


def wrap(answer: Answer) -> Answer:
    """Do the same behind the hop; what comes may be several datagrams' worth of padding."""

    def unwrapped(data: bytes) -> list[bytes]:
        datagram = hop.decode(data)
        assert (datagram.host, datagram.port) == (address_bytes(ADDRESS[0]), ADDRESS[1])
        return [
            hop.encode(hop.HopType.DATA, host=datagram.host, port=datagram.port, payload=reply)
            for reply in answer(datagram.payload)
        ]

    return unwrapped


@pytest.mark.parametrize("is_direct", [False, True])
async def test_what_is_said_back_is_recognised(folder: Path, is_direct: bool) -> None:
    def make() -> Answer:
        return wrap(make_echo()) if is_direct else make_echo()

    # Sequence numbers and timestamps have wrapped meanwhile.
    recording = await talk_enough(folder, make, packets=20, is_direct=is_direct, seconds=1.0)
    assert (recording.damaged, recording.refused, recording.undelivered) == (0, 0, 0)
    packets = recording.records
    assert set(np.diff(packets["sequence"])) == {1}
    assert set(np.diff(packets["timestamp"])) == {FRAME_TICKS}
    assert set(np.diff(packets["payload"]) % PAYLOADS) == {1}
    assert set(packets["call"]) == {NUMBER}
    assert (np.diff(packets["at"]) >= 0).all()


async def test_packets_are_rtp_of_the_call_and_begin_with_a_marker(folder: Path) -> None:
    srtp, heard = make_server(), list[RtpPacket]()

    def listen(data: bytes) -> list[bytes]:
        if data != CHECK:
            heard.append(RtpPacket.decode(srtp.unprotect_rtp(data) or b""))
        return []

    recording = await talk(folder, listen)
    assert len(recording.records) == 0
    first, *others = heard
    assert (first.ssrc, first.payload_type, first.sequence_number) == (7, 111, 65530)
    assert first.marker
    assert not any(packet.marker for packet in others)
    assert {len(packet.payload) for packet in heard} == {80}


async def test_the_path_is_checked_and_what_came_is_reported(folder: Path) -> None:
    others: list[bytes] = []
    # The check comes after 2.5 s, and a stall may keep its answer beyond the end.
    while not (await talk(folder, make_echo(others), seconds=2.8)).answers:
        others.clear()
    assert CHECK in others
    # A report of no loss goes with the check, on the SSRC that came back.
    report = next(other for other in others if other != CHECK)
    assert report[:8] == b"\x81\xc9\0\7" + bytes([0, 0, 0, 7])
    assert report[8:16] == bytes([0, 0, 0, 7]) + bytes(4)
    assert len(report) == 32


@pytest.mark.parametrize("is_direct", [False, True])
async def test_nonsense_is_counted_and_harms_nothing(folder: Path, is_direct: bool) -> None:
    def make() -> Answer:
        echo = make_echo()

        def confuse(data: bytes) -> list[bytes]:
            return [*HOSTILE, *echo(data)]

        wrapped = wrap(confuse)
        return (lambda data: [*HOSTILE_HOPS, *wrapped(data)]) if is_direct else confuse

    recording = await talk_enough(folder, make, packets=10, is_direct=is_direct)
    assert recording.damaged > 0
    assert (recording.records["payload"] >= 0).all()


async def test_a_packet_that_was_changed_is_not_taken(folder: Path) -> None:
    echo = make_echo()

    def change(data: bytes) -> list[bytes]:
        return [reply[:-1] + bytes([reply[-1] ^ 1]) for reply in echo(data)]

    recording = await talk(folder, change)
    assert recording.damaged > 0
    assert len(recording.records) == 0


async def test_what_is_for_no_call_goes_to_whom_the_calls_come_from(folder: Path) -> None:
    async with open_generator(folder) as (_, giver):
        with (
            socket.socket(type=socket.SOCK_DGRAM) as client,
            socket.socket(type=socket.SOCK_DGRAM) as server,
            trio.fail_after(20),
        ):
            server.bind(("127.0.0.1", 0))
            client.bind(("127.0.0.1", 0))
            client.connect(server.getsockname())
            server.connect(client.getsockname())
            give(giver, Handover(number=CALL_LIMIT), client)
            datagram = hop.encode(hop.HopType.DATA, host=bytes(16), port=9, payload=b"hello")
            server.send(datagram)
            giver.setblocking(False)
            await trio.lowlevel.wait_readable(giver)
            assert giver.recv(100) == datagram


@pytest.mark.parametrize("line", ["nonsense", "drop 5", "drop 5000", "run 0 1", "run 0 0.1 /nowhere/records"])
async def test_what_it_does_not_understand_ends_it(folder: Path, line: str) -> None:
    async with open_generator(folder) as (program, _):
        with (
            trio.fail_after(20),
            pytest.raises(BenchError, match="the load generator ended with exit status 2"),
        ):
            await program.ask(line)


@pytest.mark.parametrize("handovers", [[attrs.evolve(HANDOVER, number=5000)], [HANDOVER]])
async def test_a_call_that_cannot_be_ends_it(folder: Path, handovers: list[Handover]) -> None:
    async with open_generator(folder) as (program, giver):
        for handover in handovers:
            give(giver, handover)
        with trio.fail_after(20), pytest.raises(BenchError, match="exit status 3"):
            await program.read()


@pytest.mark.parametrize("source", ["calls.c", "floor.c"])
async def test_programs_end_with_their_input(tmp_path: Path, source: str) -> None:
    write_voice(tmp_path / "voice")
    arguments = [str(tmp_path / "board"), str(tmp_path / "voice")] if source == "calls.c" else ["0.005"]
    command = [str(await build(source, tmp_path)), *arguments]
    async with open_program(source, command, processor=PROCESSOR) as (program, _):
        with trio.fail_after(20):
            await program.close()
