"""What browsers really said over SCTP, out of their recorded DTLS connections."""

from collections import Counter
from pathlib import Path

import pytest

from tests.dtls import test_vector as dtls12
from tests.dtls.v13 import test_vector as dtls13
from voicegate.datachannel.establishment import decode_establishment
from voicegate.sctp.chunk import ChunkType, Data, Sack
from voicegate.sctp.init import Init
from voicegate.sctp.packet import Packet

ALL = [*dtls12.SESSIONS, *dtls13.SESSIONS]
DCEP = 50
CODECS: dict[int, type[Init | Sack | Data]] = {
    ChunkType.INIT: Init,
    ChunkType.SACK: Sack,
    ChunkType.DATA: Data,
}


def packets_of(path: Path) -> list[bytes]:
    module = dtls12 if path in dtls12.SESSIONS else dtls13
    data: list[bytes] = module.Session(path).data
    return data


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name.removesuffix(".session.json"))
def test_every_packet_of_a_browser_is_read_and_written_back(path: Path) -> None:
    chunks = Counter[int]()
    for data in packets_of(path):
        packet = Packet.decode(data)
        assert packet.encode() == data
        for chunk in packet.chunks:
            type_ = chunk[0]
            chunks[type_] += 1
            if type_ in CODECS:
                assert CODECS[type_].decode(chunk).encode() == chunk
    assert chunks[ChunkType.DATA] >= 2
    # What SNAP has agreed needs no packets.
    is_agreed = "snap" in path.name or "warp" in path.name
    assert chunks[ChunkType.INIT] == (0 if is_agreed else 1)


def test_a_browser_opens_a_channel_and_says_something() -> None:
    (path,) = (path for path in ALL if "dcep" in path.name)
    chunks = [chunk for data in packets_of(path) for chunk in Packet.decode(data).chunks]
    said = [Data.decode(chunk) for chunk in chunks if chunk[0] == ChunkType.DATA]
    establishments = [decode_establishment(data.data) for data in said if data.protocol_id == DCEP]
    assert [type(each).__name__ for each in establishments] == ["DataChannelOpen", "DataChannelAck"]
    assert {data.protocol_id for data in said} == {DCEP, 51}
