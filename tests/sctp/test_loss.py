"""Messages over lines that lose, repeat and reorder."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sctp.pair import Pair, drain_transmits, established
from voicegate.sctp import AssociationEstablished, SctpAssociation, StreamsReset
from voicegate.testing.link import Link


def bad_line(seed: int, *, loss: float, jitter: float = 0.05, duplication: float = 0.05) -> Link:
    return Link(delay=0.03, jitter=jitter, loss=loss, duplication=duplication, seed=seed)


def talk(
    end: SctpAssociation, seed: int, *, count: int, now: float, longest: int = 20_000
) -> list[tuple[int, bytes]]:
    """Send random messages on a few streams; return them."""
    random = Random(seed)
    said = []
    for _ in range(count):
        length = random.choice([1, 7, 100, 1131, 1132, 1133, random.randint(1, longest)])
        stream_id = random.randrange(4)
        said.append((stream_id, random.randbytes(length)))
        end.send(stream_id, 53, said[-1][1], now=now, priority=random.choice([128, 256, 512]))
    return said


def by_stream(messages: list[tuple[int, bytes]]) -> dict[int, list[bytes]]:
    streams: dict[int, list[bytes]] = {}
    for stream_id, data in messages:
        streams.setdefault(stream_id, []).append(data)
    return streams


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.15, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_messages_arrive_whole_and_in_order_over_a_bad_line(seed: int, loss: float) -> None:
    pair = established()
    pair.there, pair.back = bad_line(seed, loss=loss), bad_line(~seed, loss=loss)
    upward = talk(pair.one, seed, count=60, now=0.0)
    downward = talk(pair.other, ~seed, count=60, now=0.0)
    pair.run()
    for end, said in ((pair.other, upward), (pair.one, downward)):
        heard = [(message.stream_id, message.data) for message in pair.received(end)]
        assert by_stream(heard) == by_stream(said)
    for end in (pair.one, pair.other):
        assert end.is_established
        assert end.buffered_bytes == 0
        assert end.statistics().unconsumed_bytes == 0
        assert end.poll_timeout() is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_unordered_messages_all_arrive_once_over_a_bad_line(seed: int) -> None:
    pair = established()
    pair.there, pair.back = bad_line(seed, loss=0.2, jitter=0.3), bad_line(~seed, loss=0.2)
    random = Random(seed)
    said = [random.randbytes(random.randint(4, 5000)) for _ in range(80)]
    for data in said:
        pair.one.send(1, 53, data, now=0.0, is_ordered=False)
    pair.run()
    assert sorted(message.data for message in pair.received(pair.other)) == sorted(said)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limits", [{"max_retransmits": 0}, {"max_retransmits": 1}, {"lifetime": 0.3}])
def test_limited_messages_arrive_or_are_given_up_without_stopping_others(
    seed: int, limits: dict[str, float]
) -> None:
    pair = established()
    pair.there, pair.back = bad_line(seed, loss=0.3), bad_line(~seed, loss=0.3)
    random = Random(seed)
    for number in range(200):
        data = number.to_bytes(2, "big") * random.choice([1, 10, 1500])
        if number % 10:
            pair.one.send(1, 53, data, now=pair.now, is_ordered=bool(seed % 2), **limits)  # type: ignore[arg-type]
        else:
            pair.one.send(2, 53, data, now=pair.now)
        pair.run(until=pair.now + 0.02)
    pair.run()
    heard = [
        (message.stream_id, int.from_bytes(message.data[:2], "big")) for message in pair.received(pair.other)
    ]
    reliable = [number for stream_id, number in heard if stream_id == 2]
    limited = [number for stream_id, number in heard if stream_id == 1]
    assert reliable == list(range(0, 200, 10))
    assert len(set(limited)) == len(limited)
    assert limited == sorted(limited) or not seed % 2
    assert 20 < len(limited) < 180
    assert all(
        message.data == message.data[:2] * (len(message.data) // 2) for message in pair.received(pair.other)
    )
    assert pair.one.buffered_bytes == 0
    # What was given up may have arrived all the same, and only its acknowledgement been lost.
    assert pair.one.statistics().abandoned >= 180 - len(limited)
    assert pair.other._transfer.inbound._held == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_streams_are_reset_behind_their_messages_and_used_again_over_a_bad_line(seed: int) -> None:
    pair = established()
    pair.there, pair.back = bad_line(seed, loss=0.25), bad_line(~seed, loss=0.25)
    for turn in range(5):
        said = talk(pair.one, seed * 10 + turn, count=10, now=pair.now)
        pair.other_events.clear()
        pair.one.reset_streams([0, 1, 2, 3], now=pair.now)
        pair.run()
        resets = [event for event in pair.other_events if isinstance(event, StreamsReset)]
        assert sorted(stream_id for reset in resets for stream_id in reset.stream_ids) == [0, 1, 2, 3]
        heard = [(message.stream_id, message.data) for message in pair.received(pair.other)]
        assert by_stream(heard) == by_stream(said)
        assert pair.one.is_established
    ours = [event for event in pair.one_events if isinstance(event, StreamsReset)]
    assert sum(len(event.stream_ids) for event in ours) == 20


fates = st.lists(st.booleans(), max_size=14)


@pytest.mark.slow
@given(fates, st.sampled_from(["one", "both"]), st.booleans())
@settings(max_examples=100)
def test_any_beginning_of_losses_ends_in_an_association_that_works(
    fate: list[bool], who: str, has_early: bool
) -> None:
    pair = Pair()
    rest = iter(fate)
    pair.fate = lambda _packet: next(rest, True)
    pair.one.start(now=0.0)
    if who == "both":
        pair.other.start(now=0.0)
    if has_early:
        pair.one.send(0, 51, b"early", now=0.0)
        pair.other.send(1, 51, bytes(4000), now=0.0)
    pair.run()
    for end, events in ((pair.one, pair.one_events), (pair.other, pair.other_events)):
        assert end.is_established
        assert sum(isinstance(event, AssociationEstablished) for event in events) == 1
        assert isinstance(events[0], AssociationEstablished)
    if has_early:
        assert [message.data for message in pair.received(pair.other)] == [b"early"]
        assert [message.data for message in pair.received(pair.one)] == [bytes(4000)]
    assert pair.next_due() is None


@pytest.mark.parametrize("lost", range(10))
@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_a_simultaneous_open_outlives_every_single_loss(lost: int, delay: float) -> None:
    pair = Pair(there=Link(delay=0.02 + delay))
    numbers = iter(range(1000))
    pair.fate = lambda _packet: next(numbers) != lost
    pair.one.start(now=0.0)
    pair.other.start(now=0.0)
    pair.one.send(0, 51, b"said", now=0.0)
    pair.other.send(0, 51, b"answered", now=0.0)
    pair.run()
    assert [message.data for message in pair.received(pair.other)] == [b"said"]
    assert [message.data for message in pair.received(pair.one)] == [b"answered"]


def test_without_loss_nothing_is_sent_twice() -> None:
    pair = established()
    said = talk(pair.one, 5, count=40, now=0.0)
    pair.run()
    assert by_stream([(m.stream_id, m.data) for m in pair.received(pair.other)]) == by_stream(said)
    assert pair.one.statistics().retransmissions == 0
    assert pair.one.statistics().timeouts == 0
    assert pair.other.statistics().dropped == {}


def test_a_lost_packet_is_mended_without_waiting_for_the_timer() -> None:
    pair = established()
    numbers = iter(range(100_000))
    pair.fate = lambda _packet: next(numbers) != 3
    pair.one.send(0, 53, bytes(60_000), now=0.0)
    pair.run()
    assert len(pair.received(pair.other)) == 1
    assert pair.one.statistics().timeouts == 0
    assert pair.one.statistics().retransmissions == 1


def test_packets_that_change_places_are_not_taken_for_lost() -> None:
    pair = established()
    pair.one.send(0, 53, bytes(10_000), now=0.0)
    packets = drain_transmits(pair.one)
    for number in (0, 3, 1, 2, 5, 4, 7, 6, 8):
        pair.other.handle_datagram(packets[number], now=0.0)
        for answer in drain_transmits(pair.other):
            pair.one.handle_datagram(answer, now=0.05)
    assert pair.one.buffered_bytes == 0
    assert pair.one.statistics().retransmissions == 0
    assert drain_transmits(pair.one) == []


def test_a_silent_peer_is_given_up() -> None:
    pair = established()
    pair.fate = lambda _packet: False
    pair.one.send(0, 53, b"anybody there?", now=0.0)
    pair.run()
    assert not pair.one.is_established
    assert 20 < pair.now < 120
