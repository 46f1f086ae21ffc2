"""Every parser and every core as a function of bytes: what fuzzers feed and found inputs are replayed on.

A target turns bytes into the input it needs, swallows exactly the error that hostile input may cause, and
lets out whatever else it sees: a foreign exception, or `LawBrokenError`. A new parser is fuzzed by adding a
line.

Layer: core (sans-IO).
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final, Protocol, Self, TypeVar

from voicegate.audio import G711Codec, OpusDecoder, ReceiveBuffer, packet_samples
from voicegate.dtls import DtlsConnection, Fingerprint, Role
from voicegate.dtls import extension as dtls_extension
from voicegate.dtls.alert import Alert
from voicegate.dtls.certificate import load_public_key
from voicegate.dtls.failure import DtlsError
from voicegate.dtls.handshake import Fragment
from voicegate.dtls.hello import ClientHello, HelloVerifyRequest, ServerHello
from voicegate.dtls.key_exchange import KeyShare, NamedGroup
from voicegate.dtls.record import Record
from voicegate.dtls.signature import DigitallySigned
from voicegate.dtls.srtp import UseSrtp
from voicegate.dtls.v12 import message as v12
from voicegate.errors import WireError
from voicegate.ice import IceLiteAgent, Keyring, Message
from voicegate.relay.router import Router
from voicegate.rtp import AudioLevel, RtpPacket, RtpSession, decode_compound, encode_compound
from voicegate.rtp.header_extension import decode_elements, encode_elements
from voicegate.sdp import OfferError, SessionDescription, answer, attribute
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.offer import read_offer
from voicegate.srtp import SrtpSession
from voicegate.testing.core_target import (
    keyring,
    local_parameters,
    run_call,
    run_dtls,
    run_ice_agent,
    run_receive_buffer,
    run_router,
    run_rtp_session,
    run_srtp_session,
)
from voicegate.testing.script import require
from voicegate.transceiver.core import CallCore
from voicegate.wire import PacketKind, Reader, Writer, classify, hop

__all__ = ["TARGETS", "Target"]

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


def _encode_hop(datagram: hop.HopDatagram) -> bytes:
    type_, host, port, is_stream, payload = datagram
    return hop.encode(type_, host=host, port=port, payload=payload, is_stream=is_stream)


def _read_elements(data: bytes) -> tuple[int, tuple[tuple[int, bytes], ...]]:
    # A header extension has whole 32-bit words, here behind its profile.
    profile, block = int.from_bytes(data[:2], "big"), data[2:]
    return profile, decode_elements(profile, block[: len(block) & ~3])


def _write_elements(value: tuple[int, tuple[tuple[int, bytes], ...]]) -> bytes:
    return value[0].to_bytes(2, "big") + encode_elements(*value)


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
        negotiated = answer(offer, local_parameters())
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


@cache
def _key_share(group: NamedGroup) -> KeyShare:
    return KeyShare.generate(group)


def _exchange(group: NamedGroup, peer_public: bytes) -> bytes:
    return _key_share(group).exchange(peer_public)


def _name(function: Callable[..., object]) -> str:
    """Name what is called after where it is: ``rtp.packet.RtpPacket.decode``."""
    return f"{function.__module__.removeprefix('voicegate.')}.{function.__qualname__}"


_BINARY: Final[tuple[type[_Binary], ...]] = (RtpPacket, ClientHello, ServerHello)
_EXACT: Final[tuple[type[_Binary], ...]] = (
    Alert,
    AudioLevel,
    DigitallySigned,
    HelloVerifyRequest,
    UseSrtp,
    v12.CertificateMessage,
    v12.CertificateRequest,
    v12.ClientKeyExchange,
    v12.ServerKeyExchange,
)
_TEXTUAL: Final[tuple[type[_Textual], ...]] = (
    SessionDescription,
    attribute.Candidate,
    attribute.ExtensionMap,
    attribute.Fingerprint,
    attribute.FormatParameters,
    attribute.Group,
    attribute.MediaStreamId,
    attribute.RtcpFeedback,
    attribute.RtpMap,
    attribute.SourceAttribute,
)

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
    _name(classify): _sink(classify, ok=PacketKind.__contains__),
    _name(Message.decode): _view_stun,
    _name(Keyring.open): _open_ufrag,
    _name(decode_compound): _parser(decode_compound, encode_compound, bytes),
    _name(decode_elements): _parser(_read_elements, _write_elements, bytes),
    _name(packet_samples): _sink(packet_samples, ok=lambda samples: 0 < samples <= 5760),
    _name(OpusDecoder.decode): _sink(
        lambda data: OpusDecoder().decode(data), ok=lambda pcm: len(pcm) <= 11520
    ),
    _name(OpusDecoder.decode_fec): _sink(
        lambda data: OpusDecoder().decode_fec(data, 960), ok=lambda pcm: len(pcm) <= 1920
    ),
    **{
        f"{_name(G711Codec.decode)}.{law}": _sink(
            G711Codec(law).decode, ok=lambda pcm: pcm and not len(pcm) % 2
        )
        for law in ("PCMU", "PCMA")
    },
    _name(answer): _answer,
    _name(read_offer): _read_offer,
    _name(IceLiteAgent): run_ice_agent,
    f"{_name(DtlsConnection)}.server": partial(run_dtls, Role.SERVER),
    f"{_name(DtlsConnection)}.client": partial(run_dtls, Role.CLIENT),
    _name(RtpSession): run_rtp_session,
    _name(SrtpSession): run_srtp_session,
    _name(ReceiveBuffer): run_receive_buffer,
    _name(Router): run_router,
    _name(CallCore): run_call,
}
"""All targets by name, which is where the thing is, below ``voicegate``."""
