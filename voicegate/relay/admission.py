"""Which connectivity checks are looked at: a budget for those who have proved nothing yet.

Attacks: checks without end, from one address, from forged ones, or forged to come from a client that is to
lose its call; a caller who repeats his own genuine check without end. Wanted: bounded work and memory
whatever arrives, calls of others untouched, and an office behind one address that connects as if it were
many. Construction: who has verified before, from this address and port and with this very USERNAME, is
*familiar* and draws on the budget of its call, which no stranger can touch without knowing the USERNAME.
Everybody else is a *stranger* and draws on the budget of its source and on that of all strangers. Budgets
lie in arrays, found by a keyed hash: some share one, but nobody can choose whose. Left out: a favour for
genuine strangers among forged ones, who come through in proportion and repeat their checks; and for a call
whose USERNAME somebody reads off the wire, to use up its budget with forgeries.
"""

from array import array
from enum import Enum
from struct import Struct
from typing import Final

from voicegate.relay.flows import Client
from voicegate.wire.path import MAPPED_PREFIX

__all__ = [
    "Admission",
    "CALL_BURST",
    "CALL_RATE",
    "FAILURE_COST",
    "SOURCE_BURST",
    "SOURCE_RATE",
    "STRANGER_BURST",
    "STRANGER_RATE",
    "Standing",
    "TokenBuckets",
    "keyed_hash",
    "source_of",
]

SOURCE_RATE: Final = 1000.0
SOURCE_BURST: Final = 16_384
"""Strangers' checks of one source (IPv4 address, or IPv6 /64) per second, and at once. A call takes some four
until it is familiar: the first check of each of its paths, and again while the first answer is on its way.
So the rate connects 15 000 calls a minute and costs 1 % of a core. The burst is for an office whose every
client checks again within 2.5 s of a relay's restart: as many as one source may have flows."""

FAILURE_COST: Final = 10
"""What a check that doesn't verify costs its source, where one that does costs 1: 100 a second are left to
those who only fail. Not more, for they may be forged, and those of the source who mean it share the rest."""

STRANGER_RATE: Final = 20_000.0
STRANGER_BURST: Final = 20_000
"""Strangers' checks per second, and at once: a fifth of a core, and more than the million hostile datagrams a
minute that calls are tested beside. Success and failure cost the same here, since it is the work that is
limited; a lower limit would only drown the genuine ones earlier."""

CALL_RATE: Final = 200.0
CALL_BURST: Final = 400
"""Verified checks of one call per second, and at once, from wherever: its credentials work from any number of
addresses. The most eager client checks each of its paths every 48 ms (libwebrtc), and hardly any has ten."""

_SOURCE_BUCKETS: Final = 1 << 14
_CALL_BUCKETS: Final = 1 << 16
_FAMILIAR_LIMIT: Final = 1 << 17
"""Places for those who are remembered, twice the flows of a worker. Who is pushed out is a stranger for one
check. All arrays together take 2 MB."""

_MASK_64: Final = (1 << 64) - 1
_CLIENT: Final = Struct("!16sH?")


class Standing(Enum):
    """What a check is to the relay before it is looked at."""

    REFUSED = "refused"
    """Beyond its budget: not to be looked at."""
    STRANGER = "stranger"
    FAMILIAR = "familiar"


class Admission:
    """Admits checks before anything expensive is done for them.

    Args:
        seed: 16 bytes nobody can guess.
        now: Seconds, monotonic, as everywhere below.
    """

    def __init__(self, *, seed: bytes, now: float) -> None:
        self._seed = seed
        self._sources = TokenBuckets(_SOURCE_BUCKETS, rate=SOURCE_RATE, capacity=SOURCE_BURST, now=now)
        self._strangers = TokenBuckets(1, rate=STRANGER_RATE, capacity=STRANGER_BURST, now=now)
        self._calls = TokenBuckets(_CALL_BUCKETS, rate=CALL_RATE, capacity=CALL_BURST, now=now)
        self._familiar = array("Q", [0]) * _FAMILIAR_LIMIT
        self._call_of = array("H", [0]) * _FAMILIAR_LIMIT

    def admit(self, client: Client, username: bytes, *, now: float) -> Standing:
        """Decide on a check that nothing is known of yet but its USERNAME; ``b""`` if not even that is."""
        mark = self._mark(client, username)
        place = mark % _FAMILIAR_LIMIT
        if self._familiar[place] == mark:
            is_admitted = self._calls.take(self._call_of[place], now=now)
            return Standing.FAMILIAR if is_admitted else Standing.REFUSED
        # The source first: one that is beyond its own budget takes nothing from the others'.
        if self._sources.take(self._source_bucket(client), now=now) and self._strangers.take(now=now):
            return Standing.STRANGER
        return Standing.REFUSED

    def admit_verified(self, client: Client, username: bytes, session_id: bytes, *, now: float) -> bool:
        """Take a stranger's check that verified off the budget of its call too, and remember the stranger.

        A client may write what it likes behind our ufrag, and forge its address: the session is what is sure.
        So one call neither fills the flow table nor displaces all others here.
        """
        call = keyed_hash(session_id, seed=self._seed) % _CALL_BUCKETS
        if not self._calls.take(call, now=now):
            return False
        if username:
            mark = self._mark(client, username)
            self._familiar[mark % _FAMILIAR_LIMIT] = mark
            self._call_of[mark % _FAMILIAR_LIMIT] = call
        return True

    def note_failed(self, client: Client, *, now: float) -> None:
        """Charge the source of a stranger whose check didn't verify."""
        self._sources.charge(self._source_bucket(client), FAILURE_COST - 1, now=now)

    def _mark(self, client: Client, username: bytes) -> int:
        return keyed_hash(_CLIENT.pack(*client) + username, seed=self._seed)

    def _source_bucket(self, client: Client) -> int:
        return keyed_hash(source_of(client[0]), seed=self._seed) % _SOURCE_BUCKETS


class TokenBuckets:
    """A row of budgets: each lets through ``capacity`` at once and ``rate`` per second in the long run.

    A bucket is one number, the time at which it will be full again.
    """

    def __init__(self, count: int = 1, *, rate: float, capacity: int, now: float) -> None:
        self._interval = 1 / rate
        # Half a token serves as a whole one, so that rounding never takes one away.
        self._longest_wait = (capacity - 0.5) / rate
        self._full_at = array("d", [now]) * count

    def take(self, bucket: int = 0, *, now: float) -> bool:
        """Take one token, if there is one."""
        full_at = self._full_at[bucket]
        if full_at - now > self._longest_wait:
            return False
        self._full_at[bucket] = max(full_at, now) + self._interval
        return True

    def charge(self, bucket: int, tokens: int, *, now: float) -> None:
        """Take tokens; those that aren't there are owed."""
        self._full_at[bucket] = max(self._full_at[bucket], now) + tokens * self._interval


def keyed_hash(data: bytes, *, seed: bytes) -> int:
    """Return 64 bits that nobody without the seed can aim at.

    Python's SipHash costs a sixth of BLAKE2. Its own key is random too, unless PYTHONHASHSEED fixes it.
    """
    return hash(seed + data) & _MASK_64


def source_of(host: bytes) -> bytes:
    """Return what counts as one source: an IPv4 address, or the /64 of an IPv6 one, which anybody has."""
    return host if host.startswith(MAPPED_PREFIX) else host[:8]
