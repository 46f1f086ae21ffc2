"""The decoders of a family as one target each: the first byte of an input picks among them.

There are a hundred small decoders, and a fuzzer is through with most of them in a minute. Together they get a
long campaign in which whatever one finds new becomes a seed for all: ``voicegate fuzz
voicegate.testing.families:dtls``.

Layer: core (sans-IO).
"""

from collections.abc import Callable, Sequence
from typing import Final

from voicegate.testing.targets import SCRIPTED, TARGETS

__all__ = ["FAMILIES", "dtls", "media", "members", "packet", "sctp", "text"]

FAMILIES: Final[dict[str, Sequence[str]]] = {
    "dtls": ("dtls",),
    "media": ("audio", "rtp", "srtp", "transceiver"),
    "packet": ("ice", "link", "wire"),
    "sctp": ("datachannel", "sctp"),
    "text": ("access", "agents", "directory", "realtime", "sdp", "signalling", "socket_call", "steering"),
}
"""The packages of each: all decoders are in one family; cores, which take scripts, are in none."""


def members(family: str) -> list[str]:
    """Return the names of a family's targets, in the order of the byte that picks them."""
    packages = FAMILIES[family]
    return sorted(name for name in TARGETS if name not in SCRIPTED and name.partition(".")[0] in packages)


def _together(family: str) -> Callable[[bytes], None]:
    targets = [TARGETS[name] for name in members(family)]

    def run(data: bytes) -> None:
        if data:
            targets[data[0] % len(targets)](data[1:])

    return run


dtls = _together("dtls")
media = _together("media")
packet = _together("packet")
sctp = _together("sctp")
text = _together("text")
