import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from voicegate.call import (
    EVENT_LIMIT,
    CallEvent,
    ClientEvent,
    Connected,
    EventInput,
    ItemAdded,
    ItemDeleted,
    ResponseRequested,
    SessionUpdated,
)
from voicegate.call.input import NOTICE_CHARACTERS, NOTICE_LIMIT
from voicegate.errors import UsageError


def read_all(events: EventInput) -> list[CallEvent]:
    found: list[CallEvent] = []
    while True:
        try:
            found.append(events.receive_nowait())
        except trio.WouldBlock:
            return found


def test_events_beyond_the_limit_are_dropped() -> None:
    events = EventInput()
    for number in range(1000):
        events.push(Connected(number))
    assert read_all(events) == [Connected(number) for number in range(EVENT_LIMIT)]
    events.push(Connected(1001.0))
    assert read_all(events) == [Connected(1001.0)]


def test_neither_kind_of_events_takes_the_room_of_the_other() -> None:
    events = EventInput()
    for _ in range(1000):
        events.push(Connected(1.0))
    history = [ItemAdded(item={"id": f"item_{number}"}) for number in range(1000)]
    for notice in history:
        events.push(notice)
    found = read_all(events)
    assert found[EVENT_LIMIT:] == history
    for notice in history:
        events.push(notice)
    events.push(Connected(2.0))
    assert read_all(events) == [*history, Connected(2.0)]


def test_notices_are_not_lost_unnoticed() -> None:
    events = EventInput()
    for number in range(NOTICE_LIMIT + 2):
        events.push(ItemDeleted(item_id=str(number)))
    for number in range(NOTICE_LIMIT):
        assert events.receive_nowait() == ItemDeleted(item_id=str(number))
    events.push(ItemDeleted(item_id="later"))
    with pytest.raises(UsageError, match="unread"):
        events.receive_nowait()


@pytest.mark.parametrize("kind", [SessionUpdated, ItemAdded, ResponseRequested, ClientEvent])
def test_what_notices_hold_is_bounded(kind: type) -> None:
    image = "x" * (NOTICE_CHARACTERS // 8)
    value = {"id": "item", "content": [{"type": "input_image", "image_url": image, "n": 1}]}
    notices: dict[type, CallEvent] = {
        SessionUpdated: SessionUpdated(session=value),
        ItemAdded: ItemAdded(item=value),
        ResponseRequested: ResponseRequested(response_id="r", parameters=value),
        ClientEvent: ClientEvent(event=value),
    }
    events = EventInput()
    for _ in range(1000):  # one at a time they are never too much
        events.push(notices[kind])
        assert events.receive_nowait() == notices[kind]
    for _ in range(8):
        events.push(notices[kind])
    for _ in range(7):
        assert events.receive_nowait() == notices[kind]
    with pytest.raises(UsageError):
        events.receive_nowait()


async def test_whoever_waits_gets_the_next_event(nursery: trio.Nursery) -> None:
    events = EventInput()
    found: set[CallEvent] = set()

    async def read() -> None:
        async for event in events:
            found.add(event)

    with trio.CancelScope() as impatient:
        impatient.cancel()
        await events.receive()
    nursery.start_soon(read)
    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    for number in range(5):
        events.push(Connected(number))
    await wait_all_tasks_blocked()
    assert found == {Connected(number) for number in range(5)}
    nursery.cancel_scope.cancel()


async def test_closing_ends_the_wait_and_keeps_nothing(nursery: trio.Nursery) -> None:
    events = EventInput()
    ended = trio.Event()

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await events.receive()
        ended.set()

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    events.close()
    await ended.wait()
    events.push(Connected(1.0))
    events.close()
    with pytest.raises(trio.ClosedResourceError):
        events.receive_nowait()
