"""What relay, transceiver and the echo agent add to a voice: from a packet's departure to its echo's arrival.

A client in this process sends one loud G.711 frame among silent ones, at a moment of its own choosing, to a
server in another process; the frame comes back in the server's next slot: 0 to 20 ms is the wait for that.
"""

import datetime
import os
import signal
import statistics
import sys
from array import array
from math import inf

import httpx2
import trio
from rich.console import Console

from voicegate.dtls import Certificate
from voicegate.testing.client import ClientCore, ClientState

__all__ = ["main"]

LOUD = array("h", [8000] * 160).tobytes()
HTTP = ("127.0.0.1", 18080)
UDP = ("127.0.0.1", 13478)
TRIALS_PER_CALL = 20
"""Within a call the wait for the slot is always the same: only several calls show it from 0 to 20 ms."""


async def echo_delays(url: str, trials: int) -> list[float]:
    """Return the delays in milliseconds."""
    made_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    core = ClientCore(random=os.urandom, certificate=Certificate.generate(not_before=made_at), codec="PCMU")
    async with httpx2.AsyncClient(trust_env=False) as http:
        response = await http.post(url, content=core.offer(), headers={"content-type": "application/sdp"})
    core.handle_answer(response.text, now=trio.current_time())
    assert core.server is not None
    assert core.media is not None
    delays: list[float] = []
    sent_at: float | None = None
    say_at = inf
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.connect((core.server.address, core.server.port))
        while len(delays) < trials:
            while (data := core.poll_transmit()) is not None:
                await sock.send(data)
            due = core.poll_timeout() or inf
            with trio.CancelScope(deadline=min(due, say_at)):
                data = await sock.recv(2048)
                core.heard.clear()
                core.handle_datagram(data, now=trio.current_time())
                if (
                    sent_at is not None
                    and core.heard
                    and max(core.heard[1::2], default=0) in range(0x10, 0x80)
                ):
                    delays.append((trio.current_time() - sent_at) * 1000)
                    sent_at = None
                    say_at = trio.current_time() + 0.1 + os.urandom(1)[0] / 2560
            now = trio.current_time()
            if core.state is ClientState.CONNECTED and say_at == inf and sent_at is None and not delays:
                say_at = now + 0.5
            if sent_at is not None and now - sent_at > 1:
                sent_at, say_at = None, now  # echo leaves a frame out after a stall
            if now >= say_at:
                core.say(LOUD)
                say_at = inf
            if now >= due:
                was_queued = core.media.downlink.playout.queued_samples
                core.handle_timeout(now=now)
                if was_queued and not core.media.downlink.playout.queued_samples:
                    sent_at = now
        core.close(now=trio.current_time())
        while (data := core.poll_transmit()) is not None:
            await sock.send(data)
    return delays


async def measure(calls: int) -> list[float]:
    http, udp = (f"{host}:{port}" for host, port in (HTTP, UDP))
    command = [sys.executable, "-m", "voicegate", "serve", "--agent", "echo", "--http", http, "--udp", udp]
    process = await trio.lowlevel.open_process([*command, "--log-level", "error"])
    try:
        for _ in range(100):
            try:
                stream = await trio.open_tcp_stream(*HTTP)
            except OSError:
                await trio.sleep(0.1)
            else:
                await stream.aclose()
                break
        url = f"http://{http}/v1/realtime/calls"
        return [delay for _ in range(calls) for delay in await echo_delays(url, TRIALS_PER_CALL)]
    finally:
        process.send_signal(signal.SIGTERM)
        with trio.CancelScope(shield=True):
            await process.wait()


def main(calls: int) -> dict[str, float]:
    delays = sorted(trio.run(measure, calls))
    figures = {
        "median_ms": statistics.median(delays),
        "p99_ms": delays[int(0.99 * len(delays))],
        "min_ms": delays[0],
    }
    Console().print(
        f"echo of one frame, {len(delays)} trials in {calls} calls: median {figures['median_ms']:.1f} ms, "
        f"p99 {figures['p99_ms']:.1f} ms, least {figures['min_ms']:.1f} ms"
    )
    return figures
