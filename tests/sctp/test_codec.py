"""What is on the wire: each codec's laws, fields and refusals."""

import json
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sctp import strategy
from voicegate.errors import WireError
from voicegate.sctp import Init, decode_init
from voicegate.sctp.chunk import Data, ForwardTsn, Sack, Shutdown, encode_chunk, is_reported, stops
from voicegate.sctp.packet import Packet
from voicegate.sctp.parameter import Parameter, decode_parameters, encode_parameters
from voicegate.sctp.reconfiguration import AddStreams, IncomingReset, OutgoingReset, Response
from voicegate.sctp.tsn import extend_tsn

TOKEN = (Path(__file__).parents[1] / "vectors" / "sctp" / "chromium-156.0.8078.79-snap-init.bin").read_bytes()

CHUNKS: list[tuple[Any, Any]] = [
    (Data, strategy.data),
    (Sack, strategy.sacks),
    (ForwardTsn, strategy.forwards),
    (Init, strategy.inits),
    (Shutdown, st.builds(Shutdown, strategy.u32)),
]
REQUESTS = [OutgoingReset, IncomingReset, AddStreams, Response]


@pytest.mark.parametrize(("chunk", "strategies"), CHUNKS)
@pytest.mark.slow
@given(choice=st.data())
def test_a_chunk_is_read_as_it_was_written(chunk: Any, strategies: Any, choice: st.DataObject) -> None:
    value = choice.draw(strategies)
    assert chunk.decode(value.encode()) == value


@pytest.mark.parametrize("chunk", [chunk for chunk, _strategy in CHUNKS])
@pytest.mark.slow
@given(data=st.binary(max_size=60) | strategy.chunks)
def test_of_any_bytes_a_chunk_is_read_whole_or_refused(chunk: Any, data: bytes) -> None:
    try:
        value = chunk.decode(data)
    except WireError:
        return
    if chunk in (Data, Shutdown):
        assert value.encode()[2:] == data[2:]
    else:
        assert chunk.decode(value.encode()) == value


@pytest.mark.parametrize("chunk", [chunk for chunk, _strategy in CHUNKS])
@pytest.mark.parametrize("length", range(20))
def test_a_chunk_that_is_cut_short_is_refused(chunk: Any, length: int) -> None:
    values: dict[Any, Any] = {
        Data: Data(1, 2, 3, 4, b"data", 3),
        Sack: Sack(1, 2, ((2, 3),), (4,)),
        ForwardTsn: ForwardTsn(1, ((2, 3), (4, 5), (6, 7))),
        Init: Init(initiate_tag=1, window=2, outbound_streams=3, inbound_streams=4, initial_tsn=5),
        Shutdown: Shutdown(1),
    }
    whole = values[chunk].encode()
    if length < len(whole):
        with pytest.raises(WireError):
            chunk.decode(whole[:length])
    with pytest.raises(WireError):
        chunk.decode(whole[:3] + bytes([length + 1 + (length >= len(whole) - 1)]) + whole[4:])


@pytest.mark.slow
@given(strategy.packets)
def test_a_packet_is_read_as_it_was_written(packet: Packet) -> None:
    data = packet.encode()
    assert Packet.decode(data) == packet
    assert len(data) % 4 == 0
    assert Packet.decode(data).encode() == data


@pytest.mark.slow
@given(st.binary(max_size=80))
def test_bytes_that_are_no_packet_are_refused(data: bytes) -> None:
    try:
        Packet.decode(data)
    except WireError:
        return
    pytest.fail("a checksum was guessed")


@pytest.mark.slow
@given(st.binary(min_size=4, max_size=60))
def test_any_chunks_behind_a_right_checksum_are_read_whole_or_refused(body: bytes) -> None:
    header = bytes(8)
    checksum = google_crc32c.value(header + bytes(4) + body).to_bytes(4, "little")
    try:
        packet = Packet.decode(header + checksum + body)
    except WireError:
        return
    joined = b"".join(chunk + bytes(-len(chunk) % 4) for chunk in packet.chunks)
    assert len(joined) - len(body) in range(4)


@pytest.mark.slow
@given(strategy.packets, st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_is_noticed(packet: Packet, where: int, flip: int) -> None:
    data = bytearray(packet.encode())
    data[where % len(data)] ^= flip
    with pytest.raises(WireError):
        Packet.decode(bytes(data))


@pytest.mark.parametrize("body", ["", "0b0000", "0b000003", "0b000005", "0b00000400"])
def test_chunks_of_impossible_length_are_refused(body: str) -> None:
    header = bytes(8)
    checksum = google_crc32c.value(header + bytes(4) + bytes.fromhex(body)).to_bytes(4, "little")
    with pytest.raises(WireError):
        Packet.decode(header + checksum + bytes.fromhex(body))


def test_the_checksum_is_little_endian() -> None:
    packet = Packet(5000, 5000, 1, (encode_chunk(11),)).encode()
    assert packet.hex() == "1388138800000001" + packet[8:12].hex() + "0b000004"
    assert int.from_bytes(packet[8:12], "little") == google_crc32c.value(packet[:8] + bytes(4) + packet[12:])


@pytest.mark.slow
@given(strategy.parameters)
def test_parameters_are_read_as_they_were_written(parameters: tuple[Parameter, ...]) -> None:
    data = encode_parameters(parameters)
    assert decode_parameters(data) == parameters
    assert decode_parameters(data + bytes(-len(data) % 4)) == parameters


@pytest.mark.slow
@given(st.binary(max_size=40))
def test_of_any_bytes_parameters_are_read_whole_or_refused(data: bytes) -> None:
    try:
        parameters = decode_parameters(data)
    except WireError:
        return
    assert decode_parameters(encode_parameters(parameters)) == parameters


@pytest.mark.parametrize("bad", ["00070000", "00070003", "00070005", "000700", "0007000400"])
def test_parameters_of_impossible_length_are_refused(bad: str) -> None:
    with pytest.raises(WireError):
        decode_parameters(bytes.fromhex(bad))


@pytest.mark.slow
@given(strategy.reconfigurations)
def test_a_request_is_read_as_it_was_written(request: Any) -> None:
    assert type(request).decode(request.encode().value) == request


@pytest.mark.parametrize("request_class", REQUESTS)
@pytest.mark.slow
@given(value=st.binary(max_size=24))
def test_of_any_bytes_a_request_is_read_whole_or_refused(request_class: Any, value: bytes) -> None:
    try:
        request = request_class.decode(value)
    except WireError:
        return
    assert request_class.decode(request.encode().value) == request


def test_what_is_not_known_says_itself_what_to_do_with_it() -> None:
    assert [(stops(kind), is_reported(kind)) for kind in (0x3F, 0x7F, 0xBF, 0xFF)] == [
        (True, False),
        (True, True),
        (False, False),
        (False, True),
    ]
    found = [Parameter(kind << 8, b"") for kind in (0x3F, 0x7F, 0xBF, 0xFF)]
    assert [(parameter.stops, parameter.is_reported) for parameter in found] == [
        (True, False),
        (True, True),
        (False, False),
        (False, True),
    ]


def test_an_acknowledgement_whose_counts_are_wrong_is_refused() -> None:
    with pytest.raises(WireError):
        Sack.decode(Sack(1, 2).encode()[:-1] + b"\1")


def test_the_token_of_chromium_is_read() -> None:
    init = decode_init(TOKEN)
    assert init == Init(
        initiate_tag=0xC1DD5CD9,
        window=0x500000,
        outbound_streams=0xFFFF,
        inbound_streams=0xFFFF,
        initial_tsn=0xCDE88E64,
        parameters=(Parameter(0xC000, b""), Parameter(0x8008, b"\x82\xc0")),
    )
    assert init.has_forward_tsn
    assert init.has_reconfiguration
    assert init.encode() == TOKEN


def test_the_manifest_names_the_vectors() -> None:
    folder = Path(__file__).parents[1] / "vectors" / "sctp"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest) == {path.name for path in folder.glob("*.bin")}


def test_a_token_without_parameters_is_enough() -> None:
    init = decode_init(TOKEN[:3] + bytes([20]) + TOKEN[4:20])
    assert not init.has_forward_tsn
    assert not init.has_reconfiguration


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"initiate_tag": 0}, "tag"),
        ({"window": 1499}, "window"),
        ({"outbound_streams": 0}, "streams"),
        ({"inbound_streams": 0}, "streams"),
        ({"type": 2}, "INIT ACK"),
    ],
)
def test_a_token_from_which_nothing_can_begin_is_refused(change: dict[str, int], words: str) -> None:
    values: dict[str, Any] = {
        "initiate_tag": 1,
        "window": 1500,
        "outbound_streams": 1,
        "inbound_streams": 1,
        "initial_tsn": 0,
    }
    decode_init(Init(**values).encode())
    with pytest.raises(WireError, match=words):
        decode_init(Init(**{**values, **change}).encode())


@pytest.mark.parametrize("token", [b"", TOKEN[:-1], TOKEN + b"\0\0", b"\x02" + TOKEN[1:], TOKEN[:19]])
def test_a_token_of_wrong_length_is_refused(token: bytes) -> None:
    with pytest.raises(WireError):
        decode_init(token)


@pytest.mark.slow
@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**40))
def test_a_tsn_is_put_closest_to_its_reference(offset: int, reference: int) -> None:
    assert extend_tsn(reference + offset & 0xFFFF_FFFF, reference=reference) == reference + offset
