from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.handshake import Fragment, Message, Reassembler
from voicegate.dtls.v13.flight import Flight, Parcel
from voicegate.dtls.v13.message import RecordNumber
from voicegate.wire import Reader

sizes = st.lists(st.integers(0, 900), min_size=1, max_size=6)


def flight_of(sizes: list[int], *, mtu: int) -> tuple[Flight, list[Message]]:
    messages = [
        Message(type=1, message_seq=number, body=bytes([number]) * size, epoch=min(number, 1) * 2)
        for number, size in enumerate(sizes)
    ]
    return Flight(messages, answers=-1, mtu=mtu), messages


def send(flight: Flight, first: int = 0) -> list[tuple[RecordNumber, Parcel]]:
    sent: list[tuple[RecordNumber, Parcel]] = []
    for parcels in flight.datagrams():
        for parcel in parcels:
            number = RecordNumber(parcel.epoch, first + len(sent))
            flight.note(number, parcel)
            sent.append((number, parcel))
    return sent


@given(sizes, st.integers(128, 1300))
def test_datagrams_keep_to_the_mtu_and_carry_everything_in_order(sizes: list[int], mtu: int) -> None:
    flight, messages = flight_of(sizes, mtu=mtu)
    reassembler = Reassembler()
    received: list[Message] = []
    for parcels in flight.datagrams():
        assert sum(parcel.record_length for parcel in parcels) <= mtu
        # As few records as will do.
        assert len({parcel.epoch for parcel in parcels}) == len(parcels)
        for parcel in parcels:
            reader = Reader(parcel.data)
            while reader.remaining:
                assert reassembler.push(Fragment.read(reader), epoch=parcel.epoch)
            received += iter(reassembler.pop, None)
    assert received == messages


@given(sizes, st.integers(128, 1300), st.data())
def test_what_is_acknowledged_is_not_sent_again(sizes: list[int], mtu: int, data: st.DataObject) -> None:
    flight, _ = flight_of(sizes, mtu=mtu)
    sent = send(flight)
    some = data.draw(st.lists(st.sampled_from(sent), unique_by=lambda item: item[0]))
    flight.acknowledge(number for number, _ in some)
    struck = {piece for _, parcel in some for piece in parcel.pieces}
    again = send(flight, first=1000)
    assert {piece for _, parcel in again for piece in parcel.pieces} == {
        piece for _, parcel in sent for piece in parcel.pieces
    } - struck
    # Either copy of a piece may be the one that arrives.
    flight.acknowledge(number for number, _ in sent)
    assert flight.is_acknowledged
    assert list(flight.datagrams()) == []


def test_numbers_that_carried_nothing_mean_nothing() -> None:
    flight, _ = flight_of([10, 10], mtu=1200)
    send(flight)
    flight.acknowledge([RecordNumber(2, 99), RecordNumber(7, 0)])
    assert not flight.is_acknowledged


def test_only_so_many_records_are_remembered() -> None:
    flight, _ = flight_of([10], mtu=1200)
    for time in range(1000):
        send(flight, first=time)
    assert len(flight._carried) == 256
    flight.acknowledge([RecordNumber(0, 0)])
    assert not flight.is_acknowledged
    flight.acknowledge([RecordNumber(0, 999)])
    assert flight.is_acknowledged
