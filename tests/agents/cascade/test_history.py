"""What a chat model gets to see of the conversation."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from voicegate.agents.cascade.history import History


def user(item_id: str, text: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "id": item_id, "role": "user", "content": content}


def spoken(item_id: str) -> dict[str, Any]:
    content = [{"type": "input_audio", "transcript": None}]
    return {"type": "message", "id": item_id, "role": "user", "content": content}


def texts(history: History) -> list[Any]:
    return [(each["role"], each["content"]) for each in history.messages()]


def test_what_was_said_has_its_words_when_they_are_known() -> None:
    history = History(max_items=10)
    history.add_item(spoken("a"))
    assert history.messages() == []
    history.set_transcript("a", "good morning")
    assert texts(history) == [("user", "good morning")]


def test_words_may_be_known_before_the_item_is_there() -> None:
    history = History(max_items=10)
    history.set_transcript("a", "good morning")
    history.add_item(spoken("a"))
    assert texts(history) == [("user", "good morning")]


def test_items_stand_where_the_client_puts_them() -> None:
    history = History(max_items=10)
    history.add_item(user("a", "one"))
    history.add_item(user("c", "three"), after="a")
    history.add_item(user("b", "two"), after="a")
    history.add_item(user("z", "none"))
    assert [text for _, text in texts(history)] == ["none", "one", "two", "three"]
    history.delete("b")
    history.delete("unknown")
    assert [text for _, text in texts(history)] == ["none", "one", "three"]


def test_images_are_passed_on() -> None:
    history = History(max_items=10)
    parts = [
        {"type": "input_text", "text": "what is this"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,BB==", "detail": "auto"},
        7,
    ]
    history.add_item({"type": "message", "id": "a", "role": "user", "content": parts})
    (message,) = history.messages()
    assert message["content"] == [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,BB==", "detail": "auto"}},
    ]


def test_an_answer_is_cut_to_the_words_that_were_heard() -> None:
    history = History(max_items=10)
    history.add_words("r1", "One two three.", 1400)
    history.add_words("r1", " Four five six.", 1500)
    history.truncate_response("r1", 2000)
    assert texts(history) == [("assistant", "One two three. Four")]
    history.truncate_response("r1", 0)
    assert texts(history) == []
    history.truncate_response("unknown", 5)


def test_a_truncated_item_of_unknown_id_is_what_the_agent_said_last() -> None:
    history = History(max_items=10)
    history.add_item(user("a", "hello"))
    history.add_words("r1", "One two.", 800)
    history.truncate_item("b", 500)
    assert texts(history) == [("user", "hello"), ("assistant", "One")]
    history.add_item(user("c", "and?"), after="b")
    history.truncate_item("c", 0)
    history.delete("b")
    assert texts(history) == [("user", "hello"), ("user", "and?")]


def test_a_call_stands_before_its_result_and_neither_stands_alone() -> None:
    history = History(max_items=10)
    history.add_call("1", "get_time", "{}")
    history.add_call("2", "never_answered", "{}")
    history.add_item(user("a", "well?"), after="x")
    history.add_item({"type": "function_call_output", "id": "o", "call_id": "1", "output": "noon"})
    history.add_item({"type": "function_call_output", "id": "p", "call_id": "9", "output": "lost"})
    roles = [each["role"] for each in history.messages()]
    assert roles == ["assistant", "tool", "user"]
    assert history.messages()[0]["tool_calls"][0]["function"] == {"name": "get_time", "arguments": "{}"}
    assert history.messages()[1] == {"role": "tool", "tool_call_id": "1", "content": "noon"}


def test_a_client_may_tell_of_a_call_itself() -> None:
    history = History(max_items=10)
    item = {"type": "function_call", "id": "a", "call_id": "1", "name": "get_time", "arguments": "{}"}
    history.add_item(item)
    output = {"type": "function_call_output", "id": "b", "call_id": "1", "output": "noon"}
    history.add_item(output, after="a")
    assert [each["role"] for each in history.messages()] == ["assistant", "tool"]


def test_content_that_is_none_is_left_out() -> None:
    history = History(max_items=10)
    history.add_item({"type": "message", "id": "a", "role": "user", "content": "text"})
    assert history.messages() == []


def test_ids_of_calls_may_come_again() -> None:
    history = History(max_items=10)
    for output in ("noon", "one"):
        history.add_call("1", "get_time", "{}")
        history.add_result("1", output)
    assert [each["content"] for each in history.messages()] == [None, "noon", None, "one"]


def test_only_the_newest_items_are_shown_and_strange_ones_are_not() -> None:
    history = History(max_items=2)
    for number in range(4):
        history.add_item(user(str(number), f"text {number}"), after=str(number - 1))
    history.add_item({"type": "item_of_the_future", "id": "x"}, after="3")
    assert [text for _, text in texts(history)] == ["text 2", "text 3"]


@given(st.text(max_size=60), st.integers(0, 5000), st.integers(0, 6000))
def test_what_was_heard_is_a_beginning_of_what_was_said(text: str, length_ms: int, heard_ms: int) -> None:
    history = History(max_items=10)
    history.add_words("r", text, length_ms)
    history.truncate_response("r", heard_ms)
    for message in history.messages():
        assert text.strip().startswith(message["content"])
    if heard_ms >= length_ms:
        assert "".join(each["content"] for each in history.messages()) == text.strip()
