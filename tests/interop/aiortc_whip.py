"""aiortc as a WHIP client that only sends, in a process of its own since it runs on asyncio.

    aiortc_whip.py URL SAY.wav

Says a WAV file over and over until a line comes on stdin; prints the status of each request as JSON.
"""

import asyncio
import json
import sys
from pathlib import Path

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from httpx2 import URL, AsyncClient

from tests.interop.aiortc_client import Speech

FRAGMENT = "application/trickle-ice-sdpfrag"


def fragment_of(sdp: str) -> str:
    """Return what a client says of its candidates: credentials, and those of the first section."""
    lines = sdp.splitlines()
    wanted = ("a=ice-ufrag:", "a=ice-pwd:", "a=mid:", "a=candidate:", "a=end-of-candidates")
    section = [next(line for line in lines if line.startswith("m="))]
    section += [line for line in lines if line.startswith(wanted)]
    return "".join(f"{line}\r\n" for line in section)


async def main(url: str, say: Path) -> None:
    aioice.ice.get_host_addresses = lambda **_: ["127.0.0.1"]
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTransceiver(Speech(say), direction="sendonly")
    await connection.setLocalDescription(await connection.createOffer())
    statuses = []
    async with AsyncClient(trust_env=False) as http:
        offer = connection.localDescription.sdp
        created = await http.post(url, content=offer, headers={"content-type": "application/sdp"})
        call = URL(url).join(created.headers["location"])
        tag = created.headers["etag"]
        await connection.setRemoteDescription(RTCSessionDescription(created.text, "answer"))
        statuses.append(created.status_code)
        for if_match in ({"if-match": tag}, {"if-match": '"another"'}, {}):
            patched = await http.patch(
                call, content=fragment_of(offer), headers={"content-type": FRAGMENT, **if_match}
            )
            statuses.append(patched.status_code)
        await asyncio.to_thread(sys.stdin.readline)
        statuses.append((await http.delete(call)).status_code)
    await connection.close()
    json.dump(statuses, sys.stdout)


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
