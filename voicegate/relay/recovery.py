"""What to ask the directory about sources that this relay knows nothing of.

Media from an unknown source is either noise or a call whose relay was restarted, or whose packets the network
now takes to another relay. The directory tells which, off the packet path.

Attack: packets from ever new, forged addresses, to flood the directory or to keep real clients from their
turn. Wanted: bounded questions and memory, one question per client however much it sends, and a turn for
whoever is real. Construction: a rate, a short queue, a memory of what was not found. When the queue
grows, only who came before gets into it: a client sends 50 packets a second, a forged address one. Left out:
forgers who send two. They share the queue with real clients, in proportion to what each sends.
"""

from array import array
from collections import OrderedDict
from struct import Struct
from typing import Final, NamedTuple

from voicegate.relay.admission import TokenBuckets, keyed_hash
from voicegate.relay.counter import Count, Counters
from voicegate.relay.flows import Client

__all__ = [
    "Recovery",
    "ABSENCE_LIFETIME",
    "ABSENCE_LIMIT",
    "ANSWER_SECONDS",
    "BATCH_LIMIT",
    "LOOKUP_BURST",
    "LOOKUP_RATE",
    "MAX_ABSENCE_LIFETIME",
    "PENDING_LIMIT",
    "flow_key",
]

LOOKUP_RATE: Final = 4000.0
LOOKUP_BURST: Final = 4096
"""Clients to ask about per second, and at once. A worker carries some thousand calls, and all of them come
back within 20 ms of its restart; a flood costs a directory that answers 100 000 a second 4 % of its time."""

BATCH_LIMIT: Final = 512
"""Clients in one question: some 20 kB, which keep nobody else on the way waiting."""

PENDING_LIMIT: Final = 1024
"""Clients that wait to be asked about: for a quarter of a second at `LOOKUP_RATE`, as who waits longer would
rather have been chosen later. Those without room come again with their next packet."""

_CALM_LIMIT: Final = PENDING_LIMIT // 4
"""While fewer wait, the first packet is enough."""

_GLIMPSES: Final = 1 << 16
"""Clients of whom it is remembered that they came before, in half a megabyte; of 100 000 forged addresses a
second, 2000 fall between two packets of a client and make it be forgotten once in 30 times."""

ANSWER_SECONDS: Final = 1.0
"""How long an answer may take, until the client may be asked about again. With the rate, it limits how many
answers are awaited."""

ABSENCE_LIFETIME: Final = 1.0
MAX_ABSENCE_LIFETIME: Final = 10.0
"""Seconds until a client that the directory doesn't know may be asked about again: at first less than the
2.5 s until its next check, then twice as long each time: who sends on without any check is no client."""

ABSENCE_LIMIT: Final = 16_384
"""Clients remembered as unknown, in some 5 MB: all that `LOOKUP_RATE` adds in four seconds."""

_FLOW_KEY: Final = Struct("!16sH?")


class _Absence(NamedTuple):
    """A client that the directory doesn't know."""

    until: float
    lifetime: float


class Recovery:
    """Gathers unknown sources into questions, and keeps in mind what was answered.

    Args:
        seed: 16 bytes nobody can guess.
        counters: Where to count what is asked and answered.
        now: Seconds, monotonic, as everywhere below.
    """

    def __init__(self, *, seed: bytes, counters: Counters, now: float) -> None:
        self._seed = seed
        self._counters = counters
        self._budget = TokenBuckets(rate=LOOKUP_RATE, capacity=LOOKUP_BURST, now=now)
        self._glimpses = array("Q", [0]) * _GLIMPSES
        # In order of arrival, of asking, and of answers.
        self._pending: dict[Client, None] = {}
        self._asked: OrderedDict[Client, float] = OrderedDict()
        self._absent: OrderedDict[Client, _Absence] = OrderedDict()

    def note(self, client: Client, *, now: float) -> None:
        """Note that media came from an unknown source; cheap, for it comes with each packet."""
        if client in self._pending or client in self._asked or len(self._pending) >= PENDING_LIMIT:
            return
        absence = self._absent.get(client)
        if absence is not None and now < absence.until:
            return
        if len(self._pending) < _CALM_LIMIT or self._came_before(client):
            self._pending[client] = None

    def poll_lookups(self, *, now: float) -> list[Client]:
        """Return whom to ask the directory about now, in one question; empty when nobody is due."""
        self._forget_unanswered(now)
        batch: list[Client] = []
        for client in self._pending:
            if len(batch) == BATCH_LIMIT or not self._budget.take(now=now):
                break
            batch.append(client)
        for client in batch:
            del self._pending[client]
            self._asked[client] = now + ANSWER_SECONDS
        self._counters.add(Count.LOOKUPS_ASKED, len(batch))
        return batch

    def handle_answer(self, client: Client, found: bool, *, now: float) -> None:
        """Take the directory's answer about one client: whether it led to a flow."""
        self._counters.add(Count.LOOKUPS_ANSWERED)
        self._asked.pop(client, None)
        if found:
            self._absent.pop(client, None)
            self._counters.add(Count.LOOKUPS_FOUND)
        else:
            self.note_absent(client, now=now)

    def note_absent(self, client: Client, *, now: float) -> None:
        """Note that a client leads nowhere, and ask no more about it for a while."""
        absence = self._absent.pop(client, None)
        if len(self._absent) >= ABSENCE_LIMIT:
            self._absent.popitem(last=False)
        lifetime = ABSENCE_LIFETIME if absence is None else min(2 * absence.lifetime, MAX_ABSENCE_LIFETIME)
        self._absent[client] = _Absence(now + lifetime, lifetime)

    def _forget_unanswered(self, now: float) -> None:
        while self._asked and next(iter(self._asked.values())) <= now:
            self._asked.popitem(last=False)

    def _came_before(self, client: Client) -> bool:
        mark = keyed_hash(flow_key(client), seed=self._seed)
        came_before = self._glimpses[mark % _GLIMPSES] == mark
        self._glimpses[mark % _GLIMPSES] = mark
        return came_before


def flow_key(client: Client) -> bytes:
    """Return the key of a client's row in the directory."""
    return _FLOW_KEY.pack(*client)
