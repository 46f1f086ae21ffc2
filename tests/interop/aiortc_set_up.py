"""aiortc as a client of `set_up_server`, in a process of its own since it runs on asyncio.

    aiortc_set_up.py URL SETUP [ID]

Offers to URL, saying that its DTLS role may be SETUP; with an ID also a channel that both sides know. Pings
on every channel and answers pings. When everything was heard, prints one JSON line: what was heard, by
channel, and the server's report.
"""

import asyncio
import json
import sys
from collections import defaultdict

import aioice.ice
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import MediaStreamTrack
from httpx2 import AsyncClient

from voicegate.bench.aiortc_server import Tone


class Client:
    def __init__(self) -> None:
        aioice.ice.get_host_addresses = lambda **_: ["127.0.0.1"]  # others would only take time
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.on("datachannel", self.use)
        self.connection.on("track", self.listen)
        self.connection.addTrack(Tone())
        self.heard: dict[str, list[str]] = defaultdict(list)
        self.reported: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.sink = MediaBlackhole()

    def listen(self, track: MediaStreamTrack) -> None:
        self.sink.addTrack(track)

    def use(self, channel: RTCDataChannel) -> None:
        def ping() -> None:
            channel.send("ping")

        def hear(data: str) -> None:
            if data.startswith("{"):
                self.reported.set_result(json.loads(data))
                return
            self.heard[channel.label].append(data)
            if data == "ping":
                channel.send("pong")

        channel.on("message", hear)
        if channel.readyState == "open":
            ping()
        else:
            channel.on("open", ping)

    async def call(self, url: str, setup: str, channel_id: int | None) -> None:
        connection = self.connection
        self.use(connection.createDataChannel("theirs"))
        if channel_id is not None:
            self.use(connection.createDataChannel("agreed", negotiated=True, id=channel_id))
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription.sdp.replace("a=setup:actpass", f"a=setup:{setup}")
        query = {} if channel_id is None else {"dcid": str(channel_id)}
        headers = {"content-type": "application/sdp"}
        async with AsyncClient(trust_env=False) as http:
            response = await http.post(url, content=offer, headers=headers, params=query)
        assert response.status_code == 201, response.text
        await connection.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        await self.sink.start()
        server = await self.reported
        stats = {entry.type: entry for entry in (await connection.getStats()).values()}
        while stats["inbound-rtp"].packetsReceived < 5:
            await asyncio.sleep(0.05)
            stats = {entry.type: entry for entry in (await connection.getStats()).values()}
        await connection.close()
        json.dump({"heard": self.heard, "server": server}, sys.stdout)


async def main(url: str, setup: str, channel_id: int | None) -> None:
    await asyncio.wait_for(Client().call(url, setup, channel_id), 200)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if sys.argv[3:] else None))
