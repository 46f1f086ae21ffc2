"""The reference: an echo server on aiortc, with an empty page and an offer route. Prints its port.

python -m bench.aiortc_echo
"""

import asyncio

import aioice.ice
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay

CORS = "access-control-allow-origin: *\r\naccess-control-allow-headers: content-type\r\n"


async def answer(offer: str, connections: set[RTCPeerConnection]) -> str:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # the default asks a public STUN server
    connections.add(connection)
    relay = MediaRelay()

    @connection.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        connection.addTrack(relay.subscribe(track))

    @connection.on("connectionstatechange")
    async def on_state() -> None:
        if connection.connectionState in {"failed", "closed"} and connection in connections:
            connections.discard(connection)
            await connection.close()

    await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    return str(connection.localDescription.sdp)


async def main() -> None:
    aioice.ice.get_host_addresses = lambda **_: ["127.0.0.1"]
    connections: set[RTCPeerConnection] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:  # browsers open connections that they may need
            writer.close()
            return
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = (await reader.readexactly(int(fields.get("content-length", 0)))).decode()
        kind, reply = "text/html", "<!doctype html><title>bench</title>"
        if head.startswith("POST"):
            kind, reply = "application/sdp", await answer(body, connections)
        response = f"HTTP/1.1 200 OK\r\n{CORS}content-type: {kind}\r\ncontent-length: {len(reply)}\r\n"
        writer.write(f"{response}connection: close\r\n\r\n{reply}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
