"""Pieces of a description that travel after it: ``application/trickle-ice-sdpfrag`` (RFC 8840 §9).

A client trickles candidates in them, or begins an ICE restart by new credentials, and reads ours in the
answer to that. Contract as in `voicegate.sdp.grammar`: what is unknown is kept, in order, as long as it is an
attribute. Stricter than RFC 8840 §4.4, which has the ufrag and password of another ICE session passed over:
credentials are given whole or not at all, and one pair only, since which of two counts could only be guessed.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import attrs

from voicegate.errors import WireError
from voicegate.sdp.attribute import Candidate
from voicegate.sdp.grammar import (
    Attribute,
    Line,
    MediaDescription,
    Section,
    join_sections,
    split_sections,
)
from voicegate.sdp.transport import PWD, UFRAG

__all__ = ["IceCredentials", "IceFragment"]

_PATTERNS: Final = {"ice-ufrag": UFRAG, "ice-pwd": PWD}


class IceCredentials(NamedTuple):
    """What one side is known by in an ICE session."""

    ufrag: str
    pwd: str


@attrs.frozen(kw_only=True)
class IceFragment(Section):
    """The lines of the session level, then those of each section that has something new."""

    media: tuple[MediaDescription, ...] = ()
    credentials: IceCredentials | None
    """Said at session level or in sections, of which all mean the same ICE session: they are bundled."""
    candidates: tuple[Candidate, ...]
    """Of all sections, in order."""

    @classmethod
    def decode(cls, text: str) -> Self:
        """Take a fragment apart.

        Errors: WireError, whose message begins with the number of the line at fault.
        """
        lines, media = split_sections(text)
        for line in (*lines, *(line for section in media for line in section.lines)):
            if not isinstance(line, Attribute):
                raise WireError(f"line {line.number}: only m= and a= stand in a fragment")
        if stray := next((line for line in lines if _is_candidate(line)), None):
            raise WireError(f"line {stray.number}: a candidate belongs to an m= section")
        for section in media:
            if section.attribute("mid") is None:
                raise WireError(f"line {section.number}: a=mid is missing")
        return cls(
            lines=lines,
            media=media,
            credentials=_credentials((*media, Section(lines=lines))),
            candidates=tuple(
                _candidate(attribute)
                for section in media
                for attribute in section.attributes_named("candidate")
            ),
        )

    @classmethod
    def of(cls, credentials: IceCredentials, candidates: Sequence[Candidate], *, like: "IceFragment") -> Self:
        """Answer ``like`` as a lite agent with all its candidates.

        They stand in the section that ``like`` begins with, which has the transport of the bundle; where it
        has none, they are the same as before.
        """
        lines = (
            Attribute("ice-lite"),
            Attribute("ice-ufrag", credentials.ufrag),
            Attribute("ice-pwd", credentials.pwd),
        )
        media = tuple(
            attrs.evolve(
                section,
                lines=(
                    *section.attributes_named("mid")[:1],
                    *(Attribute("candidate", candidate.encode()) for candidate in candidates),
                    Attribute("end-of-candidates"),
                ),
            )
            for section in like.media[:1]
        )
        said = tuple(candidates) if media else ()
        return cls(lines=lines, media=media, credentials=credentials, candidates=said)

    def encode(self) -> str:
        """Put the fragment together, with CRLF line ends."""
        return join_sections(self.lines, self.media)


def _is_candidate(line: Line | Attribute) -> bool:
    return isinstance(line, Attribute) and line.name in ("candidate", "end-of-candidates")


def _candidate(attribute: Attribute) -> Candidate:
    try:
        return Candidate.decode(attribute.value or "")
    except WireError as error:
        raise WireError(f"line {attribute.number}: {error}") from error


def _credentials(sections: tuple[Section, ...]) -> IceCredentials | None:
    said = {name: [line for each in sections for line in each.attributes_named(name)] for name in _PATTERNS}
    ufrags, pwds = said.values()
    if not ufrags and not pwds:
        return None
    for (name, pattern), attributes in zip(_PATTERNS.items(), said.values(), strict=True):
        if not attributes:
            raise WireError(f"line 1: a={name} is missing beside the other half")
        for attribute in attributes:
            if not pattern.fullmatch(attribute.value or ""):
                raise WireError(f"line {attribute.number}: does not match {pattern.pattern}")
            if attribute.value != attributes[0].value:
                raise WireError(f"line {attribute.number}: another a={name} than before")
    return IceCredentials(ufrags[0].value or "", pwds[0].value or "")
