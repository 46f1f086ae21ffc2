"""Flow rows that wait."""

import pytest

from voicegate.directory import flow_queue
from voicegate.directory.flow_queue import FlowQueue


def test_the_last_word_on_each_flow_is_kept_in_the_order_of_the_words() -> None:
    queue = FlowQueue()
    queue.add({b"one": 1, b"two": 2})
    queue.add({b"one": None, b"three": 3})
    assert len(queue) == 3
    assert list(queue.take().items()) == [(b"two", 2), (b"one", None), (b"three", 3)]
    assert queue.take() == {}


def test_the_oldest_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_queue, "QUEUE_LIMIT", 2)
    queue = FlowQueue()
    queue.add({b"one": 1, b"two": 2, b"three": 3})
    assert queue.dropped == 1
    assert queue.take() == {b"two": 2, b"three": 3}


def test_what_could_not_be_written_comes_first_again_unless_there_is_newer_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow_queue, "BATCH_LIMIT", 2)
    monkeypatch.setattr(flow_queue, "QUEUE_LIMIT", 3)
    queue = FlowQueue()
    queue.add({b"one": 1, b"two": 2, b"three": 3})
    taken = queue.take()
    assert taken == {b"one": 1, b"two": 2}
    queue.add({b"two": 7, b"four": 4})
    queue.put_back(taken)
    assert queue.dropped == 1
    assert queue.take() == {b"three": 3, b"two": 7}
    assert queue.take() == {b"four": 4}
