"""Every parser and every core as a function of bytes: what fuzzers feed and found inputs are replayed on.

A target turns bytes into the input it needs, swallows exactly the error that hostile input may cause, and
lets out whatever else it sees: a foreign exception, or `LawBrokenError`. A new parser is fuzzed by adding a
line.

Layer: core (sans-IO).
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final, Protocol, Self, TypeVar

import google_crc32c

from voicegate.agents.link.codec import AgentCodec, GatewayCodec
from voicegate.agents.process import message as agent_message
from voicegate.audio import (
    G711Codec,
    G722Codec,
    OpusCodec,
    OpusDecoder,
    ReceiveBuffer,
    packet_samples,
)
from voicegate.audio.byte_codec import ByteCodec
from voicegate.audio.red import RedPayload
from voicegate.datachannel import DataChannels
from voicegate.datachannel.establishment import DataChannelAck, DataChannelOpen, decode_establishment
from voicegate.datachannel.payload import decode_payload, encode_payload
from voicegate.dtls import DtlsConnection, Fingerprint, ProtocolVersion, Role
from voicegate.dtls import extension as dtls_extension
from voicegate.dtls.alert import Alert
from voicegate.dtls.certificate import load_public_key
from voicegate.dtls.failure import DtlsError
from voicegate.dtls.handshake import Fragment
from voicegate.dtls.hello import ClientHello, HelloVerifyRequest, ServerHello
from voicegate.dtls.key_exchange import KeyShare, NamedGroup
from voicegate.dtls.key_share import Group, OfferedShare, answer_share, is_available
from voicegate.dtls.record import Record
from voicegate.dtls.signature import DigitallySigned
from voicegate.dtls.srtp import UseSrtp
from voicegate.dtls.v12 import message as v12
from voicegate.dtls.v13 import message as v13
from voicegate.dtls.v13.record import ProtectedRecord
from voicegate.errors import WireError
from voicegate.ice import IceLiteAgent, Keyring, Message
from voicegate.link import AgentHello, Frame, GatewayHello, Journal, read_frames
from voicegate.realtime.live import LiveSession
from voicegate.realtime.live_config import LiveConfig
from voicegate.relay.router import MAX_CLIENT_DATAGRAM, Router
from voicegate.rtp import (
    AudioLevel,
    ExtendedReport,
    ExtensionReader,
    GenericNack,
    KeyPresses,
    OpusFormat,
    RtpPacket,
    RtpSession,
    TelephoneEvent,
    TransportFeedback,
    decode_compound,
    encode_compound,
)
from voicegate.rtp.audio_level import AUDIO_LEVEL_URI
from voicegate.rtp.extended_report import EXTENDED_REPORT
from voicegate.rtp.feedback import TRANSPORT_LAYER_FEEDBACK
from voicegate.rtp.header_extension import TRANSPORT_SEQUENCE_URI, decode_elements, encode_elements
from voicegate.rtp.rtcp import RtcpPacket
from voicegate.rtp.rtcp_header import HEADER, VERSION_BITS
from voicegate.sctp import SctpAssociation, reconfiguration
from voicegate.sctp import chunk as sctp_chunk
from voicegate.sctp.cookie import Baker
from voicegate.sctp.init import Init, decode_init
from voicegate.sctp.packet import Packet
from voicegate.sctp.parameter import Parameter, decode_parameters, encode_parameters
from voicegate.sdp import IceFragment, OfferError, SessionDescription, answer, attribute, offered_data
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.offer import read_offer
from voicegate.srtp import SrtpSession
from voicegate.testing.agent_target import AGENT_CORES, AGENT_TARGETS
from voicegate.testing.call_target import local_parameters, run_call
from voicegate.testing.core_target import (
    keyring,
    repeatable_random,
    run_ice_agent,
    run_receive_buffer,
    run_router,
    run_rtp_session,
    run_srtp_session,
)
from voicegate.testing.datachannel_target import run_data_channels
from voicegate.testing.dtls_target import run_dtls
from voicegate.testing.fleet_target import FLEET_TARGETS
from voicegate.testing.link_target import read_from_agent, read_from_gateway, run_journal
from voicegate.testing.live_target import run_key_presses, run_live_session
from voicegate.testing.realtime_target import REALTIME_CORES, REALTIME_TARGETS
from voicegate.testing.receive_target import run_uplink
from voicegate.testing.script import require
from voicegate.testing.sctp_target import run_sctp
from voicegate.transceiver.core import CallCore
from voicegate.transceiver.uplink import Uplink
from voicegate.wire import PacketKind, Reader, Writer, classify, hop
from voicegate.wire.framing import LENGTH_BYTES, FrameReader, frame
from voicegate.wire.json_value import decode_object

__all__ = ["SCRIPTED", "TARGETS", "Target"]

Target = Callable[[bytes], None]

T = TypeVar("T")
Given = TypeVar("Given", bytes, str)


# Parsers


class _Binary(Protocol):
    @classmethod
    def decode(cls, data: bytes, /) -> Self: ...

    def encode(self) -> bytes: ...


class _Textual(Protocol):
    @classmethod
    def decode(cls, value: str, /) -> Self: ...

    def encode(self) -> str: ...


class _Parametric(Protocol):
    """What goes into a parameter of SCTP."""

    @classmethod
    def decode(cls, value: bytes, /) -> Self: ...

    def encode(self) -> Parameter: ...


def _text(data: bytes) -> str:
    """Read bytes as text, lone surrogates standing for what is no UTF-8: JSON lets those in."""
    return data.decode(errors="surrogateescape")


def _parser(
    decode: Callable[[Given], T], encode: Callable[[T], Given], given: Callable[[bytes], Given]
) -> Target:
    """Make a target of a decode: only WireError leaves it, and what it has read can be written and read."""

    def target(data: bytes) -> None:
        try:
            value = decode(given(data))
        except WireError:
            return
        require(decode(encode(value)) == value, "what was decoded, encoded and decoded is the same")

    return target


def _exact(decode: Callable[[bytes], T], encode: Callable[[T], bytes]) -> Target:
    """Make a target of a decode of which all inputs are canonical: encoding gives the same bytes."""

    def target(data: bytes) -> None:
        try:
            value = decode(data)
        except WireError:
            return
        require(encode(value) == data, "what was decoded encodes to what it came from")

    return target


def _sink(
    read: Callable[[bytes], object], *, allowed: type[Exception] = WireError, ok: Callable[[Any], bool]
) -> Target:
    """Make a target of what has no encode: only ``allowed`` leaves it, and its result is ``ok``."""

    def target(data: bytes) -> None:
        try:
            value = read(data)
        except allowed:
            return
        require(ok(value), "a result is within its bounds")

    return target


def _repeated(read: Callable[[Reader], T], encode: Callable[[T], bytes]) -> Target:
    """Make a target of a ``read``, called until the end: each takes what it encodes to, so each advances."""

    def target(data: bytes) -> None:
        reader = Reader(data)
        while reader.remaining:
            start = reader.position
            try:
                value = read(reader)
            except WireError:
                return
            require(reader.position > start, "each read consumes something")
            require(encode(value) == data[start : reader.position], "what was read is written the same")

    return target


def _read_extensions(data: bytes) -> tuple[dtls_extension.Extension, ...]:
    reader = Reader(data)
    extensions = dtls_extension.read_extensions(reader)
    reader.finish()
    return extensions


def _write_extensions(extensions: tuple[dtls_extension.Extension, ...]) -> bytes:
    writer = Writer()
    dtls_extension.write_extensions(writer, extensions)
    return writer.finish()


def _read_extension_block(data: bytes) -> tuple[dtls_extension.Extension, ...]:
    reader = Reader(data)
    extensions = dtls_extension.read_extension_block(reader)
    reader.finish()
    return extensions


def _write_extension_block(extensions: tuple[dtls_extension.Extension, ...]) -> bytes:
    writer = Writer()
    dtls_extension.write_extension_block(writer, extensions)
    return writer.finish()


def _encode_value(piece: _Parametric) -> bytes:
    return piece.encode().value


def _encode_hop(datagram: hop.HopDatagram) -> bytes:
    type_, host, port, is_stream, payload = datagram
    return hop.encode(type_, host=host, port=port, payload=payload, is_stream=is_stream)


def _read_frames(data: bytes) -> None:
    """Take a stream apart, as it came and byte by byte, which makes no difference."""
    outcomes = []
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        reader = FrameReader(limit=MAX_CLIENT_DATAGRAM)
        try:
            frames = [found for piece in pieces for found in reader.feed(piece)]
        except WireError:
            frames = []
        require(reader.pending < LENGTH_BYTES + MAX_CLIENT_DATAGRAM, "memory is bounded")
        outcomes.append((frames, reader.pending))
    require(outcomes[0] == outcomes[1], "it doesn't matter how a stream is cut")
    require(FrameReader().feed(b"".join(map(frame, frames))) == frames, "framed again it is the same")


def _read_elements(data: bytes) -> tuple[int, tuple[tuple[int, bytes], ...]]:
    # A header extension has whole 32-bit words, here behind its profile.
    profile, block = int.from_bytes(data[:2], "big"), data[2:]
    return profile, decode_elements(profile, block[: len(block) & ~3])


def _write_elements(value: tuple[int, tuple[tuple[int, bytes], ...]]) -> bytes:
    return value[0].to_bytes(2, "big") + encode_elements(*value)


def _rtcp_body(packet_type: int, count: int) -> Target:
    """Make a target of what is behind the header of one kind of RTCP packet."""

    def decode(data: bytes) -> tuple[RtcpPacket, ...]:
        body = data[: min(len(data), 0x3FFFF) & ~3]
        return decode_compound(HEADER.pack(VERSION_BITS | count, packet_type, len(body) // 4) + body)

    return _parser(decode, lambda packets: encode_compound(packets)[HEADER.size :], bytes)


def _read_negotiated(data: bytes) -> None:
    """Look up in a packet what was negotiated."""
    try:
        packet = RtpPacket.decode(data)
    except WireError:
        return
    reader = ExtensionReader(((1, AUDIO_LEVEL_URI), (3, TRANSPORT_SEQUENCE_URI)))
    level, is_voice, transport_sequence = reader.read(packet)
    require(level is None or 0 <= level < 128, "a level has 7 bits")
    require((level is None) == (is_voice is None), "who tells the level tells whether it is a voice")
    require(transport_sequence is None or 0 <= transport_sequence < 0x10000, "the count has 16 bits")


def _read_opus_format(data: bytes) -> OpusFormat:
    described = attribute.FormatParameters.decode(f"111 {_text(data)}")
    return OpusFormat.read({name: text or "" for name, text in described.parameters})


def _view_stun(data: bytes) -> None:
    """Read a message and look at it through each of its views."""
    try:
        message = Message.decode(data)
    except WireError:
        return
    require(Message.decode(message.encode()) == message, "what was decoded encodes to the same message")
    for name in dir(Message):
        getattr(message, name)
    message.has_valid_integrity(bytes(20))


def _open_ufrag(data: bytes) -> None:
    ufrag = _text(data)
    opened = keyring().open(ufrag)
    require(
        opened is None or keyring().mint(opened.route).ufrag == ufrag, "only a ufrag that we minted opens"
    )


def _answer(data: bytes) -> None:
    try:
        offer = SessionDescription.decode(_text(data))
        offered_data(offer)
        negotiated = answer(offer, local_parameters(sctp_init=bytes(20), has_sped=True))
    except (WireError, OfferError):
        return
    answered = negotiated.answer
    require(SessionDescription.decode(answered.encode()) == answered, "an answer is a description")
    require(len(answered.media) == len(offer.media), "an answer has the sections of its offer")


def _read_offer(data: bytes) -> None:
    """Read an HTTP request: a line that is its Content-Type, then its body."""
    content_type, _, body = data.partition(b"\n")
    try:
        offer = read_offer(content_type.decode("latin-1"), body)
    except RequestRefused as refused:
        require(refused.status in {400, 415}, "a bad offer is the client's fault")
        return
    require(offer.sdp.startswith("v=0"), "an offer that was read is a description")


def _decode_packet(data: bytes) -> None:
    """Decode a packet as it is, and with the checksum that it should have: nobody guesses one."""
    checksum = google_crc32c.value(data[:8] + bytes(4) + data[12:]).to_bytes(4, "little")
    for packet in (data, data[:8] + checksum + data[12:]):
        _parser(Packet.decode, Packet.encode, bytes)(packet)


def _open_cookie(data: bytes) -> None:
    baker = Baker(repeatable_random())
    try:
        cookie = baker.read(data)
    except WireError:
        return
    require(baker.bake(cookie.remote, now=cookie.baked_at) == data, "only a cookie that we baked opens")


def _decode_payload(data: bytes) -> None:
    """Decode a message behind its payload protocol identifier."""
    try:
        message = decode_payload(data[0] if data else 0, data[1:])
    except WireError:
        return
    require(decode_payload(*encode_payload(message)) == message, "a message goes as it came")


@cache
def _key_share(group: NamedGroup) -> KeyShare:
    return KeyShare.generate(group)


def _exchange(group: NamedGroup, peer_public: bytes) -> bytes:
    return _key_share(group).exchange(peer_public)


@cache
def _offered_share() -> OfferedShare:
    return OfferedShare.generate(Group.X25519MLKEM768)


def _exchange_hybrid(exchange: Callable[[bytes], bytes], peer_public: bytes) -> bytes:
    # Not every build of OpenSSL has ML-KEM.
    return exchange(peer_public) if is_available(Group.X25519MLKEM768) else bytes(64)


def _name(function: Callable[..., object]) -> str:
    """Name what is called after where it is: ``rtp.packet.RtpPacket.decode``."""
    owner = getattr(function, "__objclass__", function)  # a method that is compiled names its class instead
    return f"{owner.__module__.removeprefix('voicegate.')}.{function.__qualname__}"


_BINARY: Final[tuple[type[_Binary], ...]] = (
    RtpPacket,
    TelephoneEvent,
    ClientHello,
    ServerHello,
    Init,
    sctp_chunk.ForwardTsn,
    sctp_chunk.Sack,
    sctp_chunk.Shutdown,
)
_EXACT: Final[tuple[type[_Binary], ...]] = (
    Alert,
    AudioLevel,
    DataChannelAck,
    DataChannelOpen,
    DigitallySigned,
    HelloVerifyRequest,
    RedPayload,
    UseSrtp,
    v12.CertificateMessage,
    v12.CertificateRequest,
    v12.ClientKeyExchange,
    v12.ServerKeyExchange,
    v13.Ack,
    v13.CertificateMessage,
    v13.CertificateRequest,
    v13.EncryptedExtensions,
    v13.KeyUpdate,
    sctp_chunk.Data,
)
_PARAMETERS: Final[tuple[type[_Parametric], ...]] = (
    reconfiguration.AddStreams,
    reconfiguration.IncomingReset,
    reconfiguration.OutgoingReset,
    reconfiguration.Response,
)
_TEXTUAL: Final[tuple[type[_Textual], ...]] = (
    SessionDescription,
    IceFragment,
    attribute.ExtensionMap,
    attribute.Fingerprint,
    attribute.FormatParameters,
    attribute.Group,
    attribute.MediaStreamId,
    attribute.RtcpFeedback,
    attribute.RtpMap,
    attribute.SctpInit,
    attribute.SctpMap,
    attribute.SourceAttribute,
)

_DTLS_1_2: Final = (ProtocolVersion.DTLS_1_2,)
_DTLS_1_3: Final = (ProtocolVersion.DTLS_1_3,)

_CORES: Final[Mapping[str, Target]] = {
    _name(IceLiteAgent): partial(run_ice_agent, is_sped=False),
    f"{_name(IceLiteAgent)}.sped": partial(run_ice_agent, is_sped=True),
    **{
        f"{_name(DtlsConnection)}.{role.value}.{name}": partial(
            run_dtls, role, versions=versions, peer_versions=peer_versions
        )
        for role in Role
        for name, versions, peer_versions in (
            ("v12", _DTLS_1_2, _DTLS_1_2),
            ("v13", _DTLS_1_3, _DTLS_1_3),
            ("falling_back", _DTLS_1_3 + _DTLS_1_2, _DTLS_1_2),
        )
    },
    _name(RtpSession): run_rtp_session,
    _name(SrtpSession): run_srtp_session,
    _name(ReceiveBuffer): run_receive_buffer,
    _name(Uplink): run_uplink,
    _name(Router): run_router,
    _name(Journal): run_journal,
    _name(SctpAssociation): run_sctp,
    _name(DataChannels): run_data_channels,
    **REALTIME_CORES,
    **AGENT_CORES,
    _name(LiveSession): run_live_session,
    _name(KeyPresses): run_key_presses,
    _name(CallCore): partial(run_call, has_data=False),
    f"{_name(CallCore)}.data": partial(run_call, has_data=True),
}

SCRIPTED: Final = frozenset(_CORES)
"""The names of targets that take a script."""

TARGETS: Final[Mapping[str, Target]] = {
    **{_name(kind.decode): _parser(kind.decode, kind.encode, bytes) for kind in _BINARY},
    **{_name(kind.decode): _exact(kind.decode, kind.encode) for kind in _EXACT},
    **{_name(kind.decode): _parser(kind.decode, kind.encode, _text) for kind in _TEXTUAL},
    **{
        _name(decode): _exact(decode, encode)
        for decode, encode in (
            (dtls_extension.decode_code_points, dtls_extension.encode_code_points),
            (dtls_extension.decode_versions, dtls_extension.encode_versions),
        )
    },
    _name(dtls_extension.decode_key_share): _exact(
        dtls_extension.decode_key_share, dtls_extension.encode_key_share
    ),
    _name(dtls_extension.decode_key_shares): _exact(
        dtls_extension.decode_key_shares, dtls_extension.encode_key_shares
    ),
    _name(dtls_extension.decode_selected): _exact(
        dtls_extension.decode_selected, dtls_extension.encode_selected
    ),
    _name(dtls_extension.read_extension_block): _exact(_read_extension_block, _write_extension_block),
    _name(ProtectedRecord.read): _repeated(ProtectedRecord.read, ProtectedRecord.encode),
    f"{_name(answer_share)}.x25519mlkem768": _sink(
        partial(_exchange_hybrid, lambda public: answer_share(Group.X25519MLKEM768, public)[1]),
        allowed=DtlsError,
        ok=lambda secret: len(secret) == 64,
    ),
    f"{_name(OfferedShare.finish)}.x25519mlkem768": _sink(
        partial(_exchange_hybrid, lambda public: _offered_share().finish(public)),
        allowed=DtlsError,
        ok=lambda secret: len(secret) == 64,
    ),
    _name(decode_establishment): _exact(decode_establishment, lambda message: message.encode()),
    _name(decode_payload): _decode_payload,
    _name(decode_init): _parser(decode_init, Init.encode, bytes),
    _name(Packet.decode): _decode_packet,
    _name(Baker.read): _open_cookie,
    _name(decode_parameters): _parser(decode_parameters, encode_parameters, bytes),
    **{_name(kind.decode): _parser(kind.decode, _encode_value, bytes) for kind in _PARAMETERS},
    **{
        _name(decode): _exact(decode, encode)
        for decode, encode in (
            (dtls_extension.decode_point_formats, dtls_extension.encode_point_formats),
            (dtls_extension.decode_renegotiation_info, dtls_extension.encode_renegotiation_info),
        )
    },
    _name(dtls_extension.read_extensions): _parser(_read_extensions, _write_extensions, bytes),
    _name(Record.read): _repeated(Record.read, Record.encode),
    _name(Fragment.read): _repeated(Fragment.read, Fragment.encode),
    _name(Fingerprint.parse): _parser(Fingerprint.parse, str, _text),
    _name(load_public_key): _sink(load_public_key, allowed=DtlsError, ok=bool),
    **{
        f"{_name(KeyShare.exchange)}.{group.name.lower()}": _sink(
            partial(_exchange, group), allowed=DtlsError, ok=lambda secret: len(secret) == 32
        )
        for group in NamedGroup
    },
    _name(hop.decode): _parser(hop.decode, _encode_hop, bytes),
    _name(FrameReader.feed): _read_frames,
    _name(classify): _sink(classify, ok=PacketKind.__contains__),
    _name(Message.decode): _view_stun,
    _name(Keyring.open): _open_ufrag,
    _name(decode_compound): _parser(decode_compound, encode_compound, bytes),
    _name(decode_elements): _parser(_read_elements, _write_elements, bytes),
    _name(GenericNack.read): _rtcp_body(TRANSPORT_LAYER_FEEDBACK, GenericNack.FORMAT),
    _name(TransportFeedback.read): _rtcp_body(TRANSPORT_LAYER_FEEDBACK, TransportFeedback.FORMAT),
    _name(ExtendedReport.read): _rtcp_body(EXTENDED_REPORT, 0),
    _name(ExtensionReader.read): _read_negotiated,
    _name(OpusFormat.read): _sink(
        _read_opus_format, ok=lambda asked: 0 < asked.minptime <= 120 and asked.maxplaybackrate > 0
    ),
    _name(packet_samples): _sink(packet_samples, ok=lambda samples: 0 < samples <= 5760),
    _name(OpusDecoder.decode): _sink(
        lambda data: OpusDecoder().decode(data), ok=lambda pcm: len(pcm) <= 11520
    ),
    _name(OpusDecoder.decode_fec): _sink(
        lambda data: OpusDecoder().decode_fec(data, 960), ok=lambda pcm: len(pcm) <= 1920
    ),
    _name(OpusCodec.decode): _sink(
        lambda data: OpusCodec(fmtp={}).decode(data), ok=lambda pcm: len(pcm) <= 11520
    ),
    f"{_name(ByteCodec.decode)}.G722": _sink(
        lambda data: (len(data), G722Codec().decode(data)), ok=lambda read: len(read[1]) == 4 * read[0]
    ),
    **{
        f"{_name(ByteCodec.decode)}.{law}": _sink(
            G711Codec(law).decode, ok=lambda pcm: pcm and not len(pcm) % 2
        )
        for law in ("PCMU", "PCMA")
    },
    _name(agent_message.decode): _parser(
        agent_message.decode, lambda received: agent_message.encode(*received), bytes
    ),
    _name(AgentCodec.read): read_from_gateway,
    _name(GatewayCodec.read): read_from_agent,
    _name(AgentHello.decode): _parser(AgentHello.decode, AgentHello.encode, _text),
    _name(GatewayHello.decode): _parser(GatewayHello.decode, GatewayHello.encode, _text),
    _name(read_frames): _parser(
        lambda data: list(read_frames(data)), lambda frames: b"".join(map(Frame.encode, frames)), bytes
    ),
    **REALTIME_TARGETS,
    **AGENT_TARGETS,
    **FLEET_TARGETS,
    _name(LiveConfig.read): _sink(
        lambda data: LiveConfig.read(decode_object(_text(data))),
        ok=lambda config: isinstance(config.model, str),
    ),
    # Its ufrag is read and never written, so it is what was written once that has to stay.
    _name(attribute.Candidate.decode): _parser(
        lambda text: attribute.Candidate.decode(attribute.Candidate.decode(text).encode()),
        attribute.Candidate.encode,
        _text,
    ),
    _name(answer): _answer,
    _name(read_offer): _read_offer,
    **_CORES,
}
"""All targets by name, which is where the thing is, below ``voicegate``."""
