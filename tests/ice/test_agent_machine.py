"""Every order of events that hypothesis can think of, against what must hold after each."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.ice.checks import check, local_credentials, new_agent, path, restart
from voicegate.ice import (
    MAX_EMBEDDED_LENGTH,
    ConsentExpired,
    EmbeddedDatagram,
    Message,
    PathClosed,
    PathSelected,
    PathValidated,
)
from voicegate.ice.agent import CONSENT_SECONDS, MAX_PATHS
from voicegate.ice.stun import AttributeType, MessageClass
from voicegate.wire import Path

pytestmark = pytest.mark.slow

PATHS = [path(number) for number in range(1, MAX_PATHS + 4)]
# Most clients have a path or two, and what goes wrong goes wrong between these.
paths = st.sampled_from(PATHS[:2]) | st.sampled_from(PATHS)
FLIGHT = [b"\x16\xfe\xfd".ljust(length, b".") for length in (MAX_EMBEDDED_LENGTH, 500)]
SPED = [(AttributeType.DTLS_IN_STUN_ACK, b""), (AttributeType.DTLS_IN_STUN_DATA, b"\x16\xfe\xff hello")]


class IceLiteAgentMachine(RuleBasedStateMachine):
    """A client, strangers who copy and invent its checks, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.agent = new_agent(is_sped=True)
        self.generation = 0
        self.transaction = 0
        self.seen: list[bytes] = []
        self.validated: dict[Path, float] = {}
        self.selected: Path | None = None
        self.has_media = False
        self.alive_until: float | None = CONSENT_SECONDS

    # What happens

    @rule(at=paths, nominates=st.booleans(), is_old=st.booleans(), speaks_sped=st.booleans())
    def check(self, at: Path, nominates: bool, is_old: bool, speaks_sped: bool) -> None:
        self.transaction += 1
        generation = max(0, self.generation - is_old)
        extra = SPED if speaks_sped else []
        request = check(number=self.transaction, generation=generation, nominates=nominates, extra=extra)
        self.seen.append(request)
        self.deliver(request, at)

    @precondition(lambda self: self.seen)
    @rule(at=paths, data=st.data())
    def copied_check(self, at: Path, data: st.DataObject) -> None:
        self.deliver(data.draw(st.sampled_from(self.seen[-10:])), at)

    @precondition(lambda self: self.seen)
    @rule()
    def flood(self) -> None:
        for at in PATHS:
            self.deliver(self.seen[-1], at)

    @rule(at=paths, generation=st.integers(0, 3))
    def forged_check(self, at: Path, generation: int) -> None:
        self.agent.handle_datagram(check(generation=generation, key="a guess"), path=at, now=self.now)
        assert self.agent.poll_transmit() is None

    @rule(at=paths, garbage=st.binary(max_size=60))
    def garbage(self, at: Path, garbage: bytes) -> None:
        self.agent.handle_datagram(garbage, path=at, now=self.now)
        assert self.agent.poll_transmit() is None

    @rule(at=paths, is_controlled=st.booleans())
    def refusable_check(self, at: Path, is_controlled: bool) -> None:
        extra = [] if is_controlled else [(0x7000 + number, b"") for number in range(30)]
        request = check(generation=self.generation, controlled=is_controlled, extra=extra)
        self.agent.handle_datagram(request, path=at, now=self.now)
        transmit = self.agent.poll_transmit()
        assert transmit is not None
        assert transmit.path == at
        assert len(transmit.data) <= len(request)
        assert Message.decode(transmit.data).error_code in (420, 487)

    @rule(at=paths)
    def media(self, at: Path) -> None:
        before = self.agent.selected_path
        moved = self.agent.confirm_path(at, now=self.now)
        assert moved == (self.agent.selected_path != before)
        assert self.agent.selected_path in (before, at)
        if at in self.validated:
            self.has_media = True
        self.note_events(may_move_to=at)

    @rule(at=paths)
    def dtls(self, at: Path) -> None:
        self.agent.note_datagram(at, now=self.now)
        self.agent.note_dtls(b"\x16\xfe\xfd another")

    @rule(has_flight=st.booleans())
    def embed(self, has_flight: bool) -> None:
        self.agent.embed(FLIGHT if has_flight else ())

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.2, 0.3, 5.0, 29.0, 31.0]))
    def time(self, seconds: float) -> None:
        self.now += seconds
        self.agent.handle_timeout(now=self.now)
        self.note_events()

    @precondition(lambda self: self.agent.poll_timeout() is not None)
    @rule()
    def deadline(self) -> None:
        deadline = self.agent.poll_timeout()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.agent.handle_timeout(now=self.now)
        assert self.note_events() > 0, "a deadline is never for nothing"

    @rule()
    def restart(self) -> None:
        self.generation += 1
        restart(self.agent, self.generation, now=self.now)
        self.alive_until = self.now + CONSENT_SECONDS
        self.note_events()

    # What must hold

    def deliver(self, request: bytes, at: Path) -> None:
        before = self.agent.selected_path
        self.agent.handle_datagram(request, path=at, now=self.now)
        transmit = self.agent.poll_transmit()
        assert self.agent.poll_transmit() is None, "one answer at most"
        if transmit is not None:
            response, asked = Message.decode(transmit.data), Message.decode(request)
            assert transmit.path == at
            is_sped = asked.get(AttributeType.DTLS_IN_STUN_ACK) is not None
            assert len(transmit.data) <= (1200 if is_sped else len(request)), "never a weapon"
            assert response.message_class is MessageClass.SUCCESS
            assert response.transaction_id == asked.transaction_id
            assert response.xor_mapped_address == (at.host, at.port)
            ufrag = (asked.username or "").partition(":")[0]
            credentials = [local_credentials(number) for number in range(self.generation + 1)]
            (used,) = [each for each in credentials if each.ufrag == ufrag]
            assert response.has_valid_integrity(used.pwd.encode())
            self.alive_until = self.now + CONSENT_SECONDS
        self.note_events(checked=at if transmit is not None else None)
        if self.has_media:
            assert self.agent.selected_path == before, "a check moves no media"

    def note_events(self, *, checked: Path | None = None, may_move_to: Path | None = None) -> int:
        count = 0
        while (event := self.agent.poll_event()) is not None:
            count += 1
            match event:
                case PathValidated(path=at):
                    assert at == checked
                    assert at not in self.validated
                    self.validated[at] = self.now
                case PathClosed(path=at):
                    expired = self.now >= self.validated.pop(at) + CONSENT_SECONDS
                    assert expired or len(self.validated) == MAX_PATHS - 1
                    if at == self.selected:
                        assert expired
                        self.selected = None
                case PathSelected(path=at, previous=previous):
                    assert previous == self.selected
                    assert at in self.validated
                    assert not self.has_media or at == may_move_to
                    self.selected = at
                case EmbeddedDatagram(path=at, data=data):
                    assert at == checked
                    assert (AttributeType.DTLS_IN_STUN_DATA, data) in SPED
                case ConsentExpired():
                    assert self.alive_until is not None
                    assert self.now >= self.alive_until
                    assert not self.validated
                    self.alive_until = None
        if checked is not None:
            self.validated[checked] = self.now
        return count

    @invariant()
    def events_tell_the_state(self) -> None:
        assert self.agent.selected_path == self.selected
        assert [at for at in PATHS if self.agent.is_validated(at)] == [
            at for at in PATHS if at in self.validated
        ]

    @invariant()
    def the_selected_path_is_validated_and_lives(self) -> None:
        if self.selected is not None:
            assert self.agent.is_validated(self.selected)
        for checked_at in self.validated.values():
            assert self.now < checked_at + CONSENT_SECONDS

    @invariant()
    def the_deadline_is_that_of_the_path_checked_longest_ago(self) -> None:
        deadlines = [checked_at + CONSENT_SECONDS for checked_at in self.validated.values()]
        assert self.agent.poll_timeout() == min(deadlines, default=self.alive_until)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.agent.statistics().paths == len(self.validated) <= MAX_PATHS
        assert self.agent.poll_transmit() is None
        assert self.agent.poll_event() is None

    @invariant()
    def the_round_trip_is_no_less_than_nothing(self) -> None:
        assert self.agent.round_trip is None or self.agent.round_trip >= 0


TestIceLiteAgentMachine = IceLiteAgentMachine.TestCase
TestIceLiteAgentMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
