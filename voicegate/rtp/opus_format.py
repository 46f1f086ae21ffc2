"""What the peer asks of our Opus: the parameters of its payload format (RFC 7587 §6.1).

All of them are about what their sender wants to receive, so they bind us and nothing is said back
(RFC 7587 §7). Those that describe what it sends (``sprop-*``) need no obeying, and are left out.
"""

from collections.abc import Mapping
from typing import Final, Self

import attrs

__all__ = ["OpusFormat"]

_MAX_MINPTIME: Final = 120
_MAX_RATE: Final = 1_000_000
"""More than any bit rate or sampling rate of Opus: what is above is a slip, not a wish."""


@attrs.frozen(kw_only=True)
class OpusFormat:
    """The parameters of one receiver, by their own names; each has the default of RFC 7587 §6.1."""

    minptime: int = 3
    """The least audio that a packet should hold, in milliseconds."""
    maxaveragebitrate: int | None = None
    """Bits per second."""
    maxplaybackrate: int = 48_000
    """Hz; a higher sampling rate would be wasted."""
    stereo: bool = False
    useinbandfec: bool = False
    """Whether in-band forward error correction is of use to the receiver."""
    usedtx: bool = False
    """Whether the receiver likes silence not to be sent."""
    cbr: bool = False
    """Whether all packets should be of one size."""

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> Self:
        """Read format parameters, names in lower case; one that can't be what it should counts as absent."""
        return cls(
            minptime=_number(parameters, "minptime", _MAX_MINPTIME) or 3,
            maxaveragebitrate=_number(parameters, "maxaveragebitrate", _MAX_RATE) or None,
            maxplaybackrate=_number(parameters, "maxplaybackrate", _MAX_RATE) or 48_000,
            stereo=_number(parameters, "stereo", 1) == 1,
            useinbandfec=_number(parameters, "useinbandfec", 1) == 1,
            usedtx=_number(parameters, "usedtx", 1) == 1,
            cbr=_number(parameters, "cbr", 1) == 1,
        )


def _number(parameters: Mapping[str, str], name: str, maximum: int) -> int | None:
    """Return a number from 0 to ``maximum``, or None."""
    text = parameters.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(maximum))):
        return None
    number = int(text)
    return number if number <= maximum else None
