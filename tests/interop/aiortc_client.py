"""aiortc as a client, in a process of its own since it runs on asyncio.

    aiortc_client.py URL SAY.wav HEARD.wav SECONDS

Offers to URL as raw SDP, says one WAV file, writes what it hears into the other, and prints one JSON line.
"""

import asyncio
import fractions
import json
import sys
import time
import wave
from pathlib import Path

import aioice.ice
import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from httpx2 import AsyncClient

FRAME = 960


class Speech(MediaStreamTrack):
    kind = "audio"

    def __init__(self, path: Path) -> None:
        super().__init__()
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48000, 1, 2)
            self._pcm = file.readframes(file.getnframes())
        self._position = 0
        self._began_at = time.monotonic()

    async def recv(self) -> av.AudioFrame:
        await asyncio.sleep(max(0.0, self._began_at + self._position / 48000 - time.monotonic()))
        start = self._position * 2 % len(self._pcm)
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(self._pcm[start : start + 2 * FRAME].ljust(2 * FRAME, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._position, fractions.Fraction(1, 48000)
        self._position += FRAME
        return frame


async def listen(track: MediaStreamTrack, heard: bytearray) -> None:
    while True:
        try:
            frame = await track.recv()
            assert isinstance(frame, av.AudioFrame)
        except MediaStreamError:
            return
        stereo = bytes(frame.planes[0])[: frame.samples * 4]
        heard += b"".join(stereo[i : i + 2] for i in range(0, len(stereo), 4))


async def main(url: str, say: Path, heard_path: Path, seconds: float) -> None:
    # Gathering on other interfaces would only take time.
    aioice.ice.get_host_addresses = lambda **_: ["127.0.0.1"]
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # the default asks a public STUN server
    connection.addTrack(Speech(say))
    heard = bytearray()
    connected = asyncio.Event()
    listeners = []

    @connection.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        listeners.append(asyncio.ensure_future(listen(track, heard)))

    @connection.on("connectionstatechange")
    def on_state() -> None:
        if connection.connectionState == "connected":
            connected.set()

    await connection.setLocalDescription(await connection.createOffer())
    async with AsyncClient(trust_env=False) as http:
        response = await http.post(
            url, content=connection.localDescription.sdp, headers={"content-type": "application/sdp"}
        )
    assert response.status_code == 201, response.text
    await connection.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
    await asyncio.wait_for(connected.wait(), 120)
    await asyncio.sleep(seconds)
    stats = {entry.type: entry for entry in (await connection.getStats()).values()}
    await connection.close()
    with wave.open(str(heard_path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(bytes(heard))
    inbound = stats["inbound-rtp"]
    json.dump({"packets": inbound.packetsReceived, "lost": inbound.packetsLost}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
