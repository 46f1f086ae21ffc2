"""A script: bytes that say what happens to a core and when, so that a fuzzer can write it.

Each step is one byte and a datagram behind a 16-bit length. The byte's high half says how much time passes
first (an index of `DELAYS`), its low half what the datagram is; each target says what for. The last datagram
may be cut short, and whatever its length says, none is longer than the script: any bytes are a script.

Layer: core (sans-IO).
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol, TypeVar

__all__ = [
    "Step",
    "DELAYS",
    "MAX_STEPS",
    "LawBrokenError",
    "deliver",
    "drain",
    "join_script",
    "read_script",
    "require",
    "settle",
    "split_script",
    "write_script",
]

DELAYS: Final = (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)
"""Seconds: from packets in one batch over frames, retransmissions and watchdogs to flows that expire."""

MAX_STEPS: Final = 64
"""Enough for a handshake and a little talk, and a bound on what a fuzzer's input can cost."""

_MAX_TURNS: Final = 32
"""How often a core may want `handle_timeout` at one time: once per timer, and some more for good measure."""
_MAX_TRANSMITS: Final = 64
"""Datagrams for one that came: a flight of small fragments is some forty."""

T = TypeVar("T")


class LawBrokenError(AssertionError):
    """A target found what must never be."""


class Step(NamedTuple):
    """One thing that happens."""

    kind: int
    """0 to 15."""
    now: float
    data: bytes


class _Core(Protocol):
    """What all cores have."""

    def handle_timeout(self, *, now: float) -> None:
        """Do all that is due."""

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""


def read_script(script: bytes) -> Iterator[Step]:
    """Take a script apart; time begins at 0 and stands between steps that say so."""
    now = 0.0
    for head, data in split_script(script):
        now += DELAYS[head >> 4]
        yield Step(head & 0x0F, now, data)


def write_script(steps: Iterable[tuple[int, float, bytes]]) -> bytes:
    """Put a script together from kinds, delays (of `DELAYS`) and datagrams."""
    return join_script((DELAYS.index(delay) << 4 | kind, data) for kind, delay, data in steps)


def split_script(script: bytes) -> list[tuple[int, bytes]]:
    """Take a script apart into the first byte and the datagram of each step."""
    steps: list[tuple[int, bytes]] = []
    position = 0
    while len(steps) < MAX_STEPS and len(script) - position >= 3:
        start = position + 3
        stop = start + int.from_bytes(script[position + 1 : start], "big")
        steps.append((script[position], script[start:stop]))
        position = stop
    return steps


def join_script(steps: Iterable[tuple[int, bytes]]) -> bytes:
    """Put together what `split_script` took apart."""
    return b"".join(bytes((head,)) + len(data).to_bytes(2, "big") + data for head, data in steps)


def require(condition: object, law: str) -> None:
    """Demand that a law holds.

    Errors: LawBrokenError.
    """
    if not condition:
        raise LawBrokenError(law)


def drain(values: Iterable[T], *, inputs: int = 1) -> list[T]:
    """Take what a core gives for its input, ``iter(core.poll_transmit, None)``, and see that it ends."""
    taken = []
    for value in values:
        taken.append(value)
        require(
            len(taken) <= _MAX_TRANSMITS * max(inputs, 1), "one input may not bring forth output without end"
        )
    return taken


def settle(core: _Core, *, now: float) -> None:
    """Let time come, and see that the core does not want the same instant for ever."""
    for _ in range(_MAX_TURNS):
        due = core.poll_timeout()
        if due is None or due > now:
            return
        core.handle_timeout(now=now)
    raise LawBrokenError("a core that wants the same deadline again spins for ever")


def deliver(step: Step, sent: list[bytes]) -> list[bytes]:
    """Say what arrives in a step, of what the genuine peer has sent and what the script has.

    Kind 0: the script's datagram. 1: the peer's next. 2: its next, changed (a 16-bit offset, then what is
    XORed there). 3: its next is lost. 4: its next, twice. Others: all that it has sent.
    """
    if step.kind == 0:
        return [step.data]
    if step.kind > 4:
        arriving, sent[:] = sent[:], []
        return arriving
    if not sent:
        return []
    datagram = sent.pop(0)
    if step.kind == 2:
        datagram = _changed(datagram, int.from_bytes(step.data[:2], "big"), step.data[2:])
    return [datagram] * (1, 1, 1, 0, 2)[step.kind]


def _changed(datagram: bytes, offset: int, change: bytes) -> bytes:
    changed = bytearray(datagram)
    for where, flip in zip(range(offset, len(datagram)), change, strict=False):
        changed[where] ^= flip
    return bytes(changed)
