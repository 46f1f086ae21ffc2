"""Offers and answers rewritten, so that client and server know nothing but the line between them."""

import re
from typing import Final

from voicegate.errors import VoicegateError

__all__ = ["DetourError", "redirect", "server_address", "without_candidates"]

_CANDIDATES: Final = re.compile(r"^a=(?:candidate:.*|end-of-candidates)\r?\n", re.MULTILINE)

_HOST: Final = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", re.MULTILINE | re.IGNORECASE)


class DetourError(VoicegateError):
    """An answer leads nowhere."""


def without_candidates(offer: str) -> str:
    """Take the client's addresses out of an offer: a server that knew them would send past the line.

    Nor is it said that they are complete, so that the server waits for checks from wherever.
    """
    return _CANDIDATES.sub("", offer)


def server_address(answer: str) -> tuple[str, int]:
    """Return the first UDP address that an answer gives.

    Errors: DetourError when it gives none.
    """
    found = _HOST.search(answer)
    if found is None:
        raise DetourError("the answer has no host candidate for UDP")
    return found[1], int(found[2])


def redirect(answer: str, line: tuple[str, int]) -> str:
    """Put the address of the line in place of all that an answer gives."""
    found = _HOST.search(answer)
    if found is None:
        raise DetourError("the answer has no host candidate for UDP")
    before, after = answer[: found.start()], answer[found.start() :]
    candidate = f"a=candidate:1 1 udp 2130706431 {line[0]} {line[1]} typ host\r\n"
    return _CANDIDATES.sub("", before) + candidate + _CANDIDATES.sub("", after)
