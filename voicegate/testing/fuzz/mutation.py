"""Changed inputs: of bytes, and of scripts step by step, so that what follows a change still means the same.

Layer: core (sans-IO).
"""

from collections.abc import Callable
from random import Random  # noqa: TID251 - seeded by the caller: a run can be repeated
from typing import Final

from voicegate.testing.script import MAX_STEPS, join_script, split_script

__all__ = ["mutate_bytes", "mutate_script"]

_MAX_STEP: Final = 0xFFFF
"""What the length of a datagram in a script can say."""

_NOTABLE: Final = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff",
    b"\x80\x00",
    b"\x00\x00\x00\x00",
    b"\xff" * 4,
)
"""Where arithmetic goes wrong."""


def mutate_bytes(data: bytes, max_length: int, random: Random) -> bytes:
    """Change a few bytes, take some out, put some in, or repeat some."""
    changed = bytearray(data)
    start = random.randint(0, len(changed))
    stop = min(start + 1 + int(random.expovariate(1 / 8)), len(changed))
    match random.randrange(6):
        case 0 if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        case 1 if changed:
            changed[random.randrange(len(changed))] = random.randrange(256)
        case 2:
            del changed[start:stop]
        case 3:
            changed[start:start] = random.randbytes(random.randint(1, 8))
        case 4:
            notable = random.choice(_NOTABLE)
            changed[start : start + len(notable)] = notable
        case _:
            elsewhere = random.randint(0, len(changed))
            changed[elsewhere:elsewhere] = changed[start:stop]
    return bytes(changed[:max_length])


def mutate_script(
    script: bytes, max_length: int, random: Random, mutate: Callable[[bytes, int], bytes]
) -> bytes:
    """Change what happens in a script, or when, or one of its datagrams (by ``mutate``)."""
    steps = split_script(script)
    choice = random.randrange(10)
    if not steps or choice == 0:
        # Its framing as well, once in a while: a shorter length makes new steps of old bytes.
        return mutate(script, max_length)
    where = random.randrange(len(steps))
    head, data = steps[where]
    match choice:
        case 1:
            steps[where] = random.randrange(256), data
        case 2:
            # Only when: most kinds make sense at any time.
            steps[where] = random.randrange(16) << 4 | head & 0x0F, data
        case 3:
            del steps[where]
        case 4 if len(steps) < MAX_STEPS:
            steps.insert(where, (random.randrange(16), random.choice((b"", data))))
        case 5 if len(steps) < MAX_STEPS:
            steps.insert(random.randint(0, len(steps)), (head, data))
        case _:
            room = max_length - len(join_script(steps)) + len(data)
            steps[where] = head, mutate(data, min(max(room, 1), _MAX_STEP))
    return join_script(steps)[:max_length]
