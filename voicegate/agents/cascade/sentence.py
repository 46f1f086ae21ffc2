"""Cutting text into pieces to be spoken while the rest of it is still being written.

A piece ends where a sentence does. The first one may also end at a comma: the sooner it is whole, the sooner
the user hears something. The cuts depend on the text alone, not on how it arrives.
"""

from typing import Final

__all__ = ["SentenceSplitter", "speakable"]

_ENDS: Final = frozenset(".!?…:;")
_WIDE_ENDS: Final = frozenset("。！？；")
"""After these no space follows."""

_CLOSING: Final = frozenset("\"'”’)]»*_")
"""They may stand between the end of a sentence and the space behind it."""

_ABBREVIATIONS: Final = frozenset(
    (
        "mr.",
        "mrs.",
        "ms.",
        "dr.",
        "prof.",
        "st.",
        "no.",
        "vs.",
        "etc.",
        "e.g.",
        "i.e.",
        "approx.",
        "jr.",
        "sr.",
    )
)

_SHORTEST: Final = 12
"""Characters; a shorter sentence is spoken together with the next one, to save a request."""

_FIRST_CLAUSE: Final = 40
"""Characters from which on a comma ends the first piece: about three seconds of speech, enough to hide the
request for the next one."""

_LONGEST: Final = 400
"""Characters, half a minute of speech; text without any end is cut here at a space."""

_MARKUP: Final = str.maketrans("", "", "*`#_~|<>")


class SentenceSplitter:
    """Text in, as it is written; pieces out, which joined are the text again."""

    def __init__(self) -> None:
        self._text = ""
        self._seen = 0
        self._has_cut = False

    def push(self, delta: str) -> list[str]:
        """Take more text, and return the pieces that have become whole."""
        self._text += delta
        pieces = []
        # Whether a piece ends at a character shows in the next one.
        while self._seen + 1 < len(self._text):
            self._seen += 1
            if length := self._cut_length():
                pieces.append(self._text[:length])
                self._text = self._text[length:]
                self._seen = 0
                self._has_cut = True
        return pieces

    def flush(self) -> str:
        """Return what is left."""
        rest, self._text, self._seen = self._text, "", 0
        return rest

    def _cut_length(self) -> int:
        """Return how much to cut off, seeing the text as far as one character behind ``_seen``."""
        piece, follower = self._text[: self._seen], self._text[self._seen]
        last = piece[-1]
        if self._seen >= _LONGEST:
            return piece.rfind(" ") + 1 or self._seen
        if last in _WIDE_ENDS or last == "\n":
            return self._seen if _is_worth_it(piece) else 0
        if not follower.isspace():
            return 0
        if not self._has_cut and last == "," and self._seen >= _FIRST_CLAUSE:
            return self._seen
        core = piece.rstrip("".join(_CLOSING))
        if not core or core[-1] not in _ENDS or not _is_worth_it(piece):
            return 0
        return 0 if core.split()[-1].lower().lstrip("(\"'") in _ABBREVIATIONS else self._seen


def speakable(piece: str) -> str:
    """Return a piece without the markup that a voice would stumble over; nothing if nothing can be said."""
    words = " ".join(piece.translate(_MARKUP).split())
    return words if any(character.isalnum() for character in words) else ""


def _is_worth_it(piece: str) -> bool:
    return len(piece.strip()) >= _SHORTEST
