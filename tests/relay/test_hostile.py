"""Noise at a million datagrams a minute beside live calls, which must not notice."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import pytest
import trio

from tests.relay.checks import DTLS, MEDIA, check, foreign_check, success
from tests.relay.place import Place, open_place
from tests.watch import open_watch
from voicegate.wire import hop
from voicegate.wire.path import Address, address_bytes

pytestmark = pytest.mark.slow

CALLS = 100
RATE = 1_000_000 / 60
TICK = 0.005
ATTEMPTS = 4
MOST_GROWTH = 2 * 1024 * 1024
"""Bytes in an attack; a leak of nine for each datagram is more."""


def noise(random: Random) -> Iterator[bytes]:
    """Make datagrams that nobody asked for, from pure noise to nearly right."""
    request = check()
    models = [
        request,
        check(1, pwd="wrong" * 5),
        foreign_check(),
        success(request),
        MEDIA,
        DTLS,
        b"\x80\xc8\x00\x06" + bytes(24),
        hop.encode(hop.HopType.DATA, host=address_bytes("127.0.0.1"), port=9, payload=MEDIA),
        hop.encode(hop.HopType.FLOW_GONE, host=address_bytes("127.0.0.1"), port=9),
    ]
    while True:
        model = bytearray(random.choice(models))
        for _ in range(random.randrange(4)):
            model[random.randrange(len(model))] ^= 1 << random.randrange(8)
        yield bytes(model[: random.randrange(len(model))] if random.random() < 0.2 else model)
        yield random.randbytes(random.choice([0, 1, 2, 20, 100, 1200, 3000]))


async def attack(sockets: Sequence[socket.socket], target: Address, *, count: int) -> None:
    """Send so much noise from many addresses, at `RATE` or as near to it as this machine comes."""
    random = Random(2026)
    source = noise(random)
    datagrams = [next(source) for _ in range(20_000)]
    began = trio.current_time()
    sent = 0
    while sent < count:
        due = min(int((trio.current_time() - began) * RATE), count) - sent
        # Not more at once after a stall than what a socket's buffer can hold.
        for _ in range(min(due, 500)):
            random.choice(sockets).sendto(datagrams[sent % len(datagrams)], target)
            sent += 1
        await trio.sleep(TICK)


def resident_bytes(pid: int) -> int:
    status = Path("/proc", str(pid), "status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def is_silent(sock: socket.socket) -> bool:
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    return False


async def test_noise_at_a_million_datagrams_a_minute_is_nothing_to_calls() -> None:
    with trio.fail_after(540), ExitStack() as stack:
        watch = stack.enter_context(open_watch())
        sockets = [stack.enter_context(closing(bind(number))) for number in range(100)]
        async with open_place(workers=1, calls=CALLS) as place:
            before = await place.wait_heard(1.0)
            (relay,) = before["relays"]
            # Noise fills what is bounded; from then on, nothing may grow.
            await attack(sockets, place.udp, count=50_000)
            # A machine that others take meanwhile has nothing left for voices, and more is waiting after it.
            least, growth = 0.0, 0
            for _ in range(ATTEMPTS):
                resident = resident_bytes(relay)
                calm = await heard_in(place, 3.0) / 3.0
                counted = [caller.packets_heard for caller in place.crowd.callers]
                watch.anew()
                began = trio.current_time()
                await attack(sockets, place.udp, count=250_000)
                expected = calm * (trio.current_time() - began)
                heard = [
                    caller.packets_heard - count
                    for caller, count in zip(place.crowd.callers, counted, strict=True)
                ]
                least = min(heard) / expected
                growth = resident_bytes(relay) - resident
                if (least > 0.5 and growth < MOST_GROWTH) or not watch.was_late:
                    break
            assert least > 0.5, "nobody loses their voice"
            after = await place.wait_heard(1.0)
            assert growth < MOST_GROWTH
            assert after["relays"] == [relay]
            assert after["silences"].keys() == before["silences"].keys(), "every call goes on"
            assert all(map(is_silent, sockets)), "a relay answers nobody who is not authenticated"


async def heard_in(place: Place, seconds: float) -> float:
    """Return how many packets a caller hears in this time, on average."""
    before = sum(caller.packets_heard for caller in place.crowd.callers)
    await trio.sleep(seconds)
    return (sum(caller.packets_heard for caller in place.crowd.callers) - before) / CALLS


def bind(number: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((f"127.66.{number % 10}.{1 + number}", 0))
    return sock
