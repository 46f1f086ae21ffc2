"""How many round trips each way of setting up a call takes, and that a lost datagram only delays it.

All counts begin when the client's first check leaves. Against Chromium the same numbers were measured, but
for one: it opens a channel in-band only when the association is up, which costs a round trip more.
"""

from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest

from tests.transceiver.harness import Harness
from voicegate.config import SetUp
from voicegate.dtls import Group
from voicegate.testing.checker import CHECK_INTERVAL

ONE_WAY: Final = 0.1
STOLEN: Final = 14
"""Datagrams of each direction that are lost in turn: more than any set-up here takes."""


@attrs.frozen
class Row:
    """A way to set up a call, and when the client hears, is told something, and is heard itself."""

    name: str
    set_up: SetUp
    client: dict[str, Any]
    audio: float
    greeting: float
    question: float
    wait: float = 0.0
    """Seconds that pass until the client's next check."""


PLAIN: Final = {"has_data": True}
NEGOTIATED: Final = {**PLAIN, "negotiated_id": 0}
SNAP: Final = {**NEGOTIATED, "has_snap": True}
WARP: Final = {**SNAP, "has_sped": True, "dtls_groups": (Group.X25519,)}
WARP_HYBRID: Final = {**WARP, "dtls_groups": (Group.X25519MLKEM768, Group.X25519)}

ROWS: Final = (
    Row("DTLS 1.2, channel in-band", SetUp(dtls=("1.2",), sctp_init=False), PLAIN, 3.0, 5.0, 5.5),
    Row("DTLS 1.3, channel negotiated", SetUp(sctp_init=False), NEGOTIATED, 2.0, 4.0, 4.5),
    Row("and the server's INIT at once", SetUp(), NEGOTIATED, 2.0, 3.0, 3.5),
    Row("DTLS 1.3 with SNAP", SetUp(), SNAP, 2.0, 2.0, 2.5),
    Row("with SPED and SNAP", SetUp(), WARP, 1.0, 1.0, 1.5),
    Row("with SPED in checks only, and SNAP", SetUp(sped="minimal"), WARP, 1.0, 1.0, 1.5),
    Row("with a ClientHello of two datagrams", SetUp(), WARP_HYBRID, 1.0, 1.0, 1.5, wait=CHECK_INTERVAL),
)
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@attrs.define
class Progress:
    """What has happened to a call, and when."""

    call: Harness
    has_greeted: bool = False
    has_asked: bool = False
    greeted_at: float | None = None
    asked_at: float | None = None

    @classmethod
    def of(cls, row: Row) -> "Progress":
        return cls(
            Harness.make(codec="PCMU", delay=ONE_WAY, client_options=row.client, set_up=row.set_up),
        )

    @property
    def heard_at(self) -> float | None:
        assert self.call.client.media is not None
        return self.call.client.media.first_in_at

    def step(self) -> bool:
        """Let both sides say what they have to say as soon as they can; return whether all was heard."""
        call, client = self.call, self.call.client
        channels = call.core.channels
        assert channels is not None
        if channels.channels and not self.has_greeted:
            call.send_message(next(iter(channels.channels)), "welcome")
            self.has_greeted = True
        if client.is_data_ready and not self.has_asked:
            assert client.channels is not None
            client.channels.send(next(iter(client.channels.channels)), "a question", now=call.now)
            self.has_asked = True
            client.handle_timeout(now=call.now)
            call._exchange()
        if client.received and self.greeted_at is None:
            self.greeted_at = call.now
        if call.take_message() is not None:
            self.asked_at = call.now
        return None not in (self.heard_at, self.greeted_at, self.asked_at)

    def run(self) -> None:
        self.call.run(12.0, until=self.step)
        assert self.step(), self
        assert [message.data for message in self.call.client.received] == ["welcome"]


def round_trips(at: float | None, row: Row) -> float:
    """Count round trips, by halves; all else, guards and slots and roundings, takes some 20 ms at most."""
    assert at is not None
    one_way_trips, rest = divmod(at - 100.0 - row.wait + 1e-6, ONE_WAY)
    assert rest < 0.02
    return one_way_trips / 2


@rows
def test_a_set_up_takes_as_many_round_trips_as_it_must(row: Row) -> None:
    progress = Progress.of(row)
    progress.run()
    assert round_trips(progress.heard_at, row) == row.audio
    assert round_trips(progress.greeted_at, row) == row.greeting
    assert round_trips(progress.asked_at, row) == row.question
    assert not progress.call.strays


def losing(number: int) -> Callable[[bytes], bytes | None]:
    """Lose one datagram of a direction."""
    seen = 0

    def tamper(data: bytes) -> bytes | None:
        nonlocal seen
        seen += 1
        return None if seen == number else data

    return tamper


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["up", "down"])
@rows
def test_the_loss_of_any_one_datagram_only_delays(row: Row, direction: str) -> None:
    undisturbed = Progress.of(row)
    undisturbed.run()
    for number in range(1, STOLEN):
        progress = Progress.of(row)
        if direction == "up":
            progress.call.tamper = losing(number)
        else:
            progress.call.tamper_down = losing(number)
        progress.run()
        delay = progress.call.now - undisturbed.call.now
        assert delay < 1.05, f"datagram {number}: SCTP's first timeout is the longest of all"
