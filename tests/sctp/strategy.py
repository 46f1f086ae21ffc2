"""Chunks and packets of any kind, for properties."""

from hypothesis import strategies as st

from voicegate.sctp.chunk import ChunkType, Data, ForwardTsn, Sack, Shutdown, encode_chunk
from voicegate.sctp.init import Init
from voicegate.sctp.packet import Packet
from voicegate.sctp.parameter import Parameter, ParameterType
from voicegate.sctp.reconfiguration import AddStreams, IncomingReset, OutgoingReset, Response

__all__ = [
    "chunks",
    "data",
    "forwards",
    "inits",
    "packets",
    "parameters",
    "reconfigurations",
    "sacks",
    "u16",
    "u32",
]

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFF_FFFF)
parameters = st.lists(
    st.builds(Parameter, st.sampled_from(ParameterType).map(int) | u16, st.binary(max_size=20)), max_size=4
).map(tuple)
data = st.builds(Data, u32, u16, u16, u32, st.binary(max_size=40), st.integers(0, 255))
sacks = st.builds(
    Sack,
    u32,
    u32,
    st.lists(st.tuples(u16, u16), max_size=5).map(tuple),
    st.lists(u32, max_size=3).map(tuple),
)
forwards = st.builds(ForwardTsn, u32, st.lists(st.tuples(u16, u16), max_size=5).map(tuple))
inits = st.builds(
    Init,
    initiate_tag=u32,
    window=u32,
    outbound_streams=u16,
    inbound_streams=u16,
    initial_tsn=u32,
    parameters=parameters,
    type=st.sampled_from([1, 2]),
)
streams = st.lists(u16, max_size=4).map(tuple)
reconfigurations = st.one_of(
    st.builds(OutgoingReset, u32, u32, u32, streams),
    st.builds(IncomingReset, u32, streams),
    st.builds(AddStreams, u32, u16),
    st.builds(Response, u32, u32),
)
chunks = st.one_of(
    data.map(Data.encode),
    sacks.map(Sack.encode),
    forwards.map(ForwardTsn.encode),
    inits.map(Init.encode),
    u32.map(lambda tsn: Shutdown(tsn).encode()),
    reconfigurations.map(lambda request: encode_chunk(ChunkType.RECONFIGURATION, request.encode().encode())),
    st.builds(encode_chunk, st.sampled_from(ChunkType) | st.integers(0, 255), st.binary(max_size=40)),
)
packets = st.builds(Packet, u16, u16, u32, st.lists(chunks, min_size=1, max_size=4).map(tuple))
