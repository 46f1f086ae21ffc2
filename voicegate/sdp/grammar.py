"""The grammar of a session description (RFC 8866 §5, §9), and nothing of what it means.

Contract: every line is kept, known or not, in its order and with its number, so that ``encode(decode(text))``
is ``text`` where line ends are CRLF and ports have no leading zeros. Lines of unknown types are kept as well,
against RFC 8866 §5, which would refuse the whole. Taken although the grammar forbids it: bare LF line ends,
none or several of them at the end, an empty ``s=``, and another order of lines within a section.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar, Final, Self

import attrs

from voicegate.errors import WireError

__all__ = [
    "SessionDescription",
    "MediaDescription",
    "Section",
    "Line",
    "Attribute",
    "TOKEN",
    "join_sections",
    "read_number",
    "split_sections",
]

MAX_LENGTH: Final = 64 * 1024
"""Characters. Ten times the largest browser offer seen (audio, video and data: 5.7 kB)."""
MAX_LINES: Final = 2048
"""Ten times the largest browser offer seen (171 lines); bounds what a description costs in objects."""
MAX_MEDIA: Final = 64
"""A voice call has one to three; each one costs a section in the answer."""

TOKEN: Final = r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"  # noqa: S105 - the RFC 8866 §9 `token`, no secret
"""Pattern of the RFC 8866 §9 ``token``."""

# Control characters (RFC 8866 §9 lets some pass, no client sends any); lone surrogates, which JSON lets in.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TOKEN: Final = re.compile(TOKEN)
_MEDIA: Final = re.compile(
    rf"({TOKEN}) ([0-9]{{1,5}})(?:/([0-9]{{1,5}}))? ({TOKEN}(?:/{TOKEN})*) ({TOKEN}(?: {TOKEN})*)"
)
_MAX_PORT: Final = 0xFFFF
_ORIGIN_FIELDS: Final = 6


@attrs.frozen
class Line:
    """One line that is not an attribute."""

    type: str
    """The letter before the equals sign."""
    value: str
    number: int = attrs.field(default=0, eq=False, kw_only=True)
    """Where it stood in the text, counted from 1; 0 if it was never decoded."""

    @property
    def text(self) -> str:
        """The line as it stands in a description, without its line end."""
        return f"{self.type}={self.value}"


@attrs.frozen
class Attribute:
    """One ``a=`` line (RFC 8866 §5.13)."""

    type: ClassVar[str] = "a"
    name: str
    value: str | None = None
    """What is behind the colon; None where there is no colon."""
    number: int = attrs.field(default=0, eq=False, kw_only=True)
    """Where it stood in the text, counted from 1; 0 if it was never decoded."""

    @property
    def text(self) -> str:
        """The line as it stands in a description, without its line end."""
        return f"a={self.name}" if self.value is None else f"a={self.name}:{self.value}"


@attrs.frozen(kw_only=True)
class Section:
    """The lines of the session level or of one media description, with look-up of attributes."""

    lines: tuple[Line | Attribute, ...]

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The ``a=`` lines in order."""
        return tuple(line for line in self.lines if isinstance(line, Attribute))

    def attribute(self, name: str) -> Attribute | None:
        """Return the first attribute of this name."""
        return next((attribute for attribute in self.attributes if attribute.name == name), None)

    def attributes_named(self, name: str) -> tuple[Attribute, ...]:
        """Return every attribute of this name, in order."""
        return tuple(attribute for attribute in self.attributes if attribute.name == name)


@attrs.frozen(kw_only=True)
class MediaDescription(Section):
    """An ``m=`` line (RFC 8866 §5.14) and the lines that belong to it."""

    kind: str
    """``audio``, ``video``, ``application`` or what else was said."""
    port: int
    port_count: int | None = None
    """The number behind the port's slash, which WebRTC never uses."""
    protocol: str
    formats: tuple[str, ...]
    """RTP payload types, or ``webrtc-datachannel``; at least one."""
    lines: tuple[Line | Attribute, ...] = ()
    number: int = attrs.field(default=0, eq=False)
    """Where the ``m=`` line stood in the text, counted from 1; 0 if it was never decoded."""

    @property
    def text(self) -> str:
        """The ``m=`` line as it stands in a description, without its line end."""
        count = "" if self.port_count is None else f"/{self.port_count}"
        return f"m={self.kind} {self.port}{count} {self.protocol} {' '.join(self.formats)}"


@attrs.frozen(kw_only=True)
class SessionDescription(Section):
    """A whole description: the lines of the session level, then the media descriptions."""

    media: tuple[MediaDescription, ...] = ()

    @classmethod
    def decode(cls, text: str) -> Self:
        """Take a description apart.

        Errors: WireError, whose message begins with the number of the line at fault.
        """
        session, media = split_sections(text)
        _check_session(session)
        return cls(lines=session, media=media)

    def encode(self) -> str:
        """Put the description together, with CRLF line ends."""
        return join_sections(self.lines, self.media)


def split_sections(text: str) -> tuple[tuple[Line | Attribute, ...], tuple[MediaDescription, ...]]:
    """Take lines apart into those of the session level and those of each media description.

    Errors: WireError, whose message begins with the number of the line at fault.
    """
    if len(text) > MAX_LENGTH:
        raise WireError(f"a description of {len(text)} characters, {MAX_LENGTH} are taken")
    rows = text.rstrip("\r\n").split("\n")
    if len(rows) > MAX_LINES:
        raise WireError(f"line {MAX_LINES + 1}: no more than {MAX_LINES} lines are taken")
    lines = [_read_line(row.removesuffix("\r"), row_number) for row_number, row in enumerate(rows, 1)]
    starts = [index for index, line in enumerate(lines) if line.type == "m"]
    if len(starts) > MAX_MEDIA:
        raise WireError(f"line {starts[MAX_MEDIA] + 1}: no more than {MAX_MEDIA} m= lines are taken")
    session = tuple(lines[: starts[0]] if starts else lines)
    media = tuple(
        _read_media(lines[start].text, tuple(lines[start + 1 : stop]), start + 1)
        for start, stop in pairwise([*starts, len(lines)])
    )
    return session, media


def join_sections(session: Iterable[Line | Attribute], media: Iterable[MediaDescription]) -> str:
    """Put lines together, with CRLF line ends."""
    rows = [line.text for line in session]
    for section in media:
        rows.append(section.text)
        rows += [line.text for line in section.lines]
    return "".join(f"{row}\r\n" for row in rows)


def read_number(text: str, *, maximum: int) -> int:
    """Read an unsigned decimal number, as every SDP grammar writes them.

    Errors: WireError when there is anything but ASCII digits, or more than ``maximum``.
    """
    # Compared by length first: int() of a long run of digits is slow, and beyond 4300 digits refused.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(maximum)) and int(text) <= maximum):
        raise WireError(f"a number from 0 to {maximum} expected")
    return int(text)


def _read_line(row: str, row_number: int) -> Line | Attribute:
    if _FORBIDDEN.search(row):
        raise WireError(f"line {row_number}: control character or lone surrogate")
    if row[1:2] != "=" or not "a" <= row[0] <= "z":
        raise WireError(f"line {row_number}: a small letter and an equals sign expected")
    if row[0] != "a":
        return Line(row[0], row[2:], number=row_number)
    name, colon, value = row[2:].partition(":")
    if not _TOKEN.fullmatch(name):
        raise WireError(f"line {row_number}: not the name of an attribute")
    return Attribute(name, value if colon else None, number=row_number)


def _check_session(lines: tuple[Line | Attribute, ...]) -> None:
    """Demand the lines that every description has (RFC 8866 §5)."""
    for row_number, letter in enumerate("vos", 1):
        if len(lines) < row_number or lines[row_number - 1].type != letter:
            raise WireError(f"line {row_number}: {letter}= expected")
    if lines[0].value != "0":
        raise WireError("line 1: v=0 expected")
    if len((lines[1].value or "").split()) != _ORIGIN_FIELDS:
        raise WireError(f"line 2: o= with {_ORIGIN_FIELDS} fields expected")
    if not any(line.type == "t" for line in lines):
        raise WireError(f"line {len(lines) + 1}: t= expected before the media")


def _read_media(text: str, lines: tuple[Line | Attribute, ...], row_number: int) -> MediaDescription:
    fields = _MEDIA.fullmatch(text, 2)
    if fields is None:
        raise WireError(f"line {row_number}: m=<media> <port> <protocol> <formats> expected")
    kind, port, port_count, protocol, formats = fields.groups()
    if int(port) > _MAX_PORT:
        raise WireError(f"line {row_number}: port {port} is beyond {_MAX_PORT}")
    return MediaDescription(
        kind=kind,
        port=int(port),
        port_count=None if port_count is None else int(port_count),
        protocol=protocol,
        formats=tuple(formats.split(" ")),
        lines=lines,
        number=row_number,
    )
