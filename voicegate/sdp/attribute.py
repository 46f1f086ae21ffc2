"""Typed values of the attributes that WebRTC uses: each one a value with ``decode`` and ``encode``.

Contract: ``decode`` takes what is behind the attribute's colon, as `voicegate.sdp.grammar` hands it out, and
lets out only `WireError`. Syntax only: what a value means is for the policy to say.
"""

import binascii
import re
from typing import Final, Self

import attrs

from voicegate.errors import WireError
from voicegate.sdp.grammar import TOKEN, read_number

__all__ = [
    "Candidate",
    "ExtensionMap",
    "Fingerprint",
    "FormatParameters",
    "Group",
    "MediaStreamId",
    "RtcpFeedback",
    "RtpMap",
    "SctpInit",
    "SctpMap",
    "SourceAttribute",
]

_MAX_PAYLOAD_TYPE: Final = 127
_MAX_CLOCK_RATE: Final = 0xFFFF_FFFF
_MAX_CHANNELS: Final = 255
_MAX_COMPONENT: Final = 256
_MAX_PRIORITY: Final = 0x7FFF_FFFF
_MAX_PORT: Final = 0xFFFF
_MAX_SSRC: Final = 0xFFFF_FFFF
_MAX_STREAMS: Final = 0xFFFF
# RFC 8285 §7: 1-255 go on the wire, 4096-4351 are offered to be chosen from.
_MAX_EXTENSION_ID: Final = 4351

_RTPMAP: Final = re.compile(rf"([0-9]+) ({TOKEN})/([0-9]+)(?:/([0-9]+))?")
_EXTMAP: Final = re.compile(r"([0-9]+)(?:/(sendonly|recvonly|sendrecv|inactive))? ([^ ]+)(?: (.+))?")
_FINGERPRINT: Final = re.compile(rf"({TOKEN}) ([0-9A-Fa-f]{{2}}(?::[0-9A-Fa-f]{{2}})*)")
_TOKENS: Final = re.compile(rf"{TOKEN}(?: {TOKEN})*")
_SCTPMAP: Final = re.compile(rf"([0-9]+) ({TOKEN})(?: ([0-9]+))?")
_FEEDBACK: Final = re.compile(r"([0-9]+|\*) ([^ ].*)")


@attrs.frozen(kw_only=True)
class Candidate:
    """``a=candidate`` (RFC 8839 §5.1, RFC 6544 §4.5).

    The ``ufrag`` extension is decoded like any other but never encoded: some stacks refuse candidates for it.
    """

    foundation: str
    component: int = 1
    transport: str
    """``udp`` or ``tcp``, in lower case."""
    priority: int
    address: str
    """An IPv4 or IPv6 address, or a name (mDNS names are common from browsers)."""
    port: int
    type: str = "host"
    """``host``, ``srflx``, ``prflx`` or ``relay``."""
    related_address: str | None = None
    related_port: int | None = None
    tcp_type: str | None = None
    """``active``, ``passive`` or ``so``; None for UDP."""
    extensions: tuple[tuple[str, str], ...] = ()
    """What else was said, as pairs in order."""

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<foundation> <component> <transport> <priority> <address> <port> typ <type> ...``.

        Errors: WireError.
        """
        fields = value.split(" ")
        if len(fields) < 8 or len(fields) % 2 or fields[6] != "typ" or "" in fields[:8]:
            raise WireError("<foundation> 1 <transport> <priority> <address> <port> typ <type> expected")
        pairs = list(zip(fields[8::2], fields[9::2], strict=True))
        named = dict(reversed(pairs))
        related_port = named.pop("rport", None)
        return cls(
            foundation=fields[0],
            component=read_number(fields[1], maximum=_MAX_COMPONENT),
            transport=fields[2].lower(),
            priority=read_number(fields[3], maximum=_MAX_PRIORITY),
            address=fields[4],
            port=read_number(fields[5], maximum=_MAX_PORT),
            type=fields[7],
            related_address=named.pop("raddr", None),
            related_port=None if related_port is None else read_number(related_port, maximum=_MAX_PORT),
            tcp_type=named.pop("tcptype", None),
            extensions=tuple((name, text) for name, text in pairs if name in named),
        )

    def encode(self) -> str:
        """Write the value."""
        known = (
            ("raddr", self.related_address),
            ("rport", self.related_port),
            ("tcptype", self.tcp_type),
            *(pair for pair in self.extensions if pair[0] != "ufrag"),
        )
        rest = "".join(f" {name} {text}" for name, text in known if text is not None)
        return (
            f"{self.foundation} {self.component} {self.transport} {self.priority} {self.address} {self.port}"
            f" typ {self.type}{rest}"
        )


@attrs.frozen(kw_only=True)
class RtpMap:
    """``a=rtpmap`` (RFC 8866 §6.6)."""

    payload_type: int
    encoding: str
    clock_rate: int
    """Hz."""
    channels: int = 1

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<payload type> <encoding>/<clock rate>[/<channels>]``.

        Errors: WireError.
        """
        fields = _RTPMAP.fullmatch(value)
        if fields is None:
            raise WireError("<payload type> <encoding>/<clock rate>[/<channels>] expected")
        return cls(
            payload_type=read_number(fields[1], maximum=_MAX_PAYLOAD_TYPE),
            encoding=fields[2],
            clock_rate=read_number(fields[3], maximum=_MAX_CLOCK_RATE),
            channels=read_number(fields[4] or "1", maximum=_MAX_CHANNELS),
        )

    def encode(self) -> str:
        """Write the value; one channel is not mentioned."""
        channels = "" if self.channels == 1 else f"/{self.channels}"
        return f"{self.payload_type} {self.encoding}/{self.clock_rate}{channels}"


@attrs.frozen(kw_only=True)
class FormatParameters:
    """``a=fmtp`` (RFC 8866 §6.15)."""

    format: str
    """The payload type, as text."""
    parameters: tuple[tuple[str, str | None], ...]
    """Pairs in order, names in lower case; None for what stands alone, such as ``0-15``."""

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<format> <name>=<value>;<name>=<value>``; spaces around the semicolons are common.

        Errors: WireError.
        """
        format_, _, rest = value.partition(" ")
        parts = [part.partition("=") for part in map(str.strip, rest.split(";")) if part]
        if not format_ or not parts:
            raise WireError("<format> <parameters> expected")
        return cls(
            format=format_,
            parameters=tuple((name.lower(), text if equals else None) for name, equals, text in parts),
        )

    def encode(self) -> str:
        """Write the value."""
        parts = (name if text is None else f"{name}={text}" for name, text in self.parameters)
        return f"{self.format} {';'.join(parts)}"


@attrs.frozen(kw_only=True)
class ExtensionMap:
    """``a=extmap`` (RFC 8285 §5)."""

    id: int
    uri: str
    direction: str | None = None
    parameters: str | None = None

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<id>[/<direction>] <uri>[ <parameters>]``.

        Errors: WireError.
        """
        fields = _EXTMAP.fullmatch(value)
        if fields is None:
            raise WireError("<id>[/<direction>] <uri> expected")
        id_ = read_number(fields[1], maximum=_MAX_EXTENSION_ID)
        return cls(id=id_, uri=fields[3], direction=fields[2], parameters=fields[4])

    def encode(self) -> str:
        """Write the value."""
        direction = "" if self.direction is None else f"/{self.direction}"
        parameters = "" if self.parameters is None else f" {self.parameters}"
        return f"{self.id}{direction} {self.uri}{parameters}"


@attrs.frozen(kw_only=True)
class Fingerprint:
    """``a=fingerprint`` (RFC 8122 §5)."""

    algorithm: str
    """A hash function's name in lower case, such as ``sha-256``."""
    digest: bytes

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<algorithm> AB:CD:..``.

        Errors: WireError.
        """
        fields = _FINGERPRINT.fullmatch(value)
        if fields is None:
            raise WireError("<algorithm> and pairs of hexadecimal digits with colons between expected")
        return cls(algorithm=fields[1].lower(), digest=bytes.fromhex(fields[2].replace(":", "")))

    def encode(self) -> str:
        """Write the value, the digits in upper case."""
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


@attrs.frozen(kw_only=True)
class Group:
    """``a=group`` (RFC 5888 §5)."""

    semantics: str
    """``BUNDLE`` or another way to group."""
    mids: tuple[str, ...]

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<semantics> <mid> <mid> ...``.

        Errors: WireError.
        """
        if not _TOKENS.fullmatch(value):
            raise WireError("<semantics> <mid> <mid> ... expected")
        semantics, *mids = value.split(" ")
        return cls(semantics=semantics, mids=tuple(mids))

    def encode(self) -> str:
        """Write the value."""
        return " ".join((self.semantics, *self.mids))


@attrs.frozen(kw_only=True)
class MediaStreamId:
    """``a=msid`` (RFC 8830 §2)."""

    stream_id: str
    """``-`` for a track that is in no stream."""
    track_id: str | None = None

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<stream>[ <track>]``.

        Errors: WireError.
        """
        fields = value.split(" ")
        if len(fields) > 2 or not _TOKENS.fullmatch(value):
            raise WireError("<stream>[ <track>] expected")
        return cls(stream_id=fields[0], track_id=fields[1] if len(fields) == 2 else None)

    def encode(self) -> str:
        """Write the value."""
        return self.stream_id if self.track_id is None else f"{self.stream_id} {self.track_id}"


@attrs.frozen(kw_only=True)
class SourceAttribute:
    """``a=ssrc`` (RFC 5576 §4.1)."""

    ssrc: int
    name: str
    """``cname``, ``msid`` or another attribute of the source."""
    value: str | None = None

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<ssrc> <attribute>[:<value>]``.

        Errors: WireError.
        """
        ssrc, _, rest = value.partition(" ")
        name, colon, text = rest.partition(":")
        if not name:
            raise WireError("<ssrc> <attribute>[:<value>] expected")
        return cls(ssrc=read_number(ssrc, maximum=_MAX_SSRC), name=name, value=text if colon else None)

    def encode(self) -> str:
        """Write the value."""
        text = "" if self.value is None else f":{self.value}"
        return f"{self.ssrc} {self.name}{text}"


@attrs.frozen(kw_only=True)
class RtcpFeedback:
    """``a=rtcp-fb`` (RFC 4585 §4.2)."""

    payload_type: int | None
    """None where the line is for every payload type."""
    feedback: str
    """``transport-cc``, ``nack pli`` and so on."""

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<payload type or *> <feedback>``.

        Errors: WireError.
        """
        fields = _FEEDBACK.fullmatch(value)
        if fields is None:
            raise WireError("<payload type or *> <feedback> expected")
        every = fields[1] == "*"
        return cls(
            payload_type=None if every else read_number(fields[1], maximum=_MAX_PAYLOAD_TYPE),
            feedback=fields[2],
        )

    def encode(self) -> str:
        """Write the value."""
        return f"{'*' if self.payload_type is None else self.payload_type} {self.feedback}"


@attrs.frozen(kw_only=True)
class SctpMap:
    """``a=sctpmap``, of the drafts before RFC 8841."""

    port: int
    application: str
    """``webrtc-datachannel``."""
    streams: int | None = None

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read ``<port> <application>[ <streams>]``.

        Errors: WireError.
        """
        fields = _SCTPMAP.fullmatch(value)
        if fields is None:
            raise WireError("<port> <application>[ <streams>] expected")
        return cls(
            port=read_number(fields[1], maximum=_MAX_PORT),
            application=fields[2],
            streams=None if fields[3] is None else read_number(fields[3], maximum=_MAX_STREAMS),
        )

    def encode(self) -> str:
        """Write the value."""
        return f"{self.port} {self.application}" + ("" if self.streams is None else f" {self.streams}")


@attrs.frozen(kw_only=True)
class SctpInit:
    """``a=sctp-init`` (draft-hancke-tsvwg-snap): what else would be the first packet of an association."""

    chunk: bytes
    """A whole INIT chunk, unless the peer put something else there."""

    @classmethod
    def decode(cls, value: str) -> Self:
        """Read base64 with its padding, and nothing that base64 decoders merely forgive.

        Errors: WireError.
        """
        try:
            chunk = binascii.a2b_base64(value, strict_mode=True)
        except ValueError as error:
            raise WireError("base64 expected") from error
        token = cls(chunk=chunk)
        if not chunk or token.encode() != value:
            raise WireError("base64 expected")
        return token

    def encode(self) -> str:
        """Write the value."""
        return binascii.b2a_base64(self.chunk, newline=False).decode()
