from typing import Any, ClassVar, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.agents.process import message as module
from voicegate.agents.process.layout import kind_of
from voicegate.agents.process.message import (
    MAX_LENGTH,
    AgentFailed,
    CallClosed,
    ChannelMessage,
    Order,
    OutputReported,
    SpeechMarked,
    SpeechPushed,
    decode,
    encode,
    message_size,
)
from voicegate.agents.process.message import MessageReader as Messages
from voicegate.call import AudioFrame, Connected, EncodedFrame
from voicegate.errors import UsageError, WireError
from voicegate.wire.json_value import JSONObject

U32 = st.integers(0, 0xFFFF_FFFF)
OBJECTS = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8), max_size=3
)
LEVEL = st.none() | st.integers(0, 127)
JUDGED = st.none() | st.booleans()

BY_HAND: dict[type, st.SearchStrategy[Any]] = {
    AudioFrame: st.builds(
        AudioFrame,
        st.binary(max_size=64),
        U32,
        st.integers(0, 2**63 - 1),
        st.booleans(),
        st.integers(0, 0xFFFF),
        LEVEL,
        JUDGED,
    ),
    EncodedFrame: st.builds(EncodedFrame, st.binary(max_size=64), U32, U32, LEVEL, JUDGED),
    SpeechPushed: st.builds(SpeechPushed, U32, U32, st.none() | st.text(), st.binary(max_size=64)),
    OutputReported: st.builds(OutputReported, st.integers(0, 2**64 - 1), U32, U32, U32),
}


def strategy(annotation: Any) -> st.SearchStrategy[Any]:
    """Return values of a type as the link can carry them."""
    if annotation == JSONObject:
        return OBJECTS
    if annotation is int:
        return st.integers(-(2**63), 2**63 - 1)
    if annotation is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if isinstance(annotation, type) and (attrs.has(annotation) or hasattr(annotation, "_fields")):
        return built(annotation)
    if getattr(annotation, "__args__", None) and int in annotation.__args__:
        return st.none() | strategy(int)
    return st.from_type(annotation)


def built(owner: type) -> st.SearchStrategy[Any]:
    if owner in BY_HAND:
        return BY_HAND[owner]
    hints = {
        name: hint
        for name, hint in get_type_hints(owner).items()
        if not name.startswith("_") and hint is not ClassVar
    }
    return st.builds(owner, **{name: strategy(hint) for name, hint in hints.items()})


MESSAGES = st.sampled_from(module._CLASSES).flatmap(built)


@given(st.integers(0, 0xFFFF_FFFF), MESSAGES)
def test_what_was_written_is_read(call: int, message: object) -> None:
    data = encode(call, message)
    assert decode(data) == (call, message)
    assert encode(*decode(data)) == data


@given(st.lists(st.tuples(U32, MESSAGES), max_size=5), st.lists(st.integers(1, 64)))
def test_a_stream_may_be_cut_anywhere(sent: list[tuple[int, object]], cuts: list[int]) -> None:
    data = b"".join(encode(call, message) for call, message in sent)
    reader, received = Messages(), []
    for cut in [*cuts, len(data)]:
        piece, data = data[:cut], data[cut:]
        reader.feed(piece)
        while (message := reader.poll()) is not None:
            received.append(message)
    assert received == sent
    assert reader.pending == 0


@given(st.binary(max_size=64) | MESSAGES.map(lambda message: encode(1, message)), st.data())
def test_nothing_but_wire_errors_comes_of_any_bytes(data: bytes, draw: st.DataObject) -> None:
    if data and draw.draw(st.booleans()):
        position = draw.draw(st.integers(0, len(data) - 1))
        data = data[:position] + draw.draw(st.binary(max_size=4)) + data[position + 1 :]
    try:
        call, message = decode(data)
    except WireError:
        return
    assert decode(encode(call, message)) == (call, message)


def body(message_type: type, data: bytes) -> bytes:
    return bytes([module._CLASSES.index(message_type)]) + bytes(4) + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\xff" + bytes(8), "type 255 is unknown"),
        (bytes(5) + b"\xff\xff\xff\xff", "at most"),
        (body(CallClosed, b"x"), "1 bytes too many"),
        (body(CallClosed, b"") * 2, "not exactly one"),
        (body(CallClosed, b"")[:-1], "not exactly one"),
        (body(AudioFrame, b"123"), "without a header"),
        (body(EncodedFrame, b"123"), "without a header"),
        (body(SpeechPushed, b"123"), "without a header"),
        (body(SpeechPushed, bytes(8) + b"\0\1"), "cut off"),
        (body(SpeechPushed, bytes(8) + b"\0\1\xff"), "not UTF-8"),
        (body(OutputReported, b"123"), "report of 3 bytes"),
        (body(Order, b"\4"), "choice 4 of 4"),
        (body(ChannelMessage, bytes(8) + b"\2"), "member 2 of a union"),
        (body(ChannelMessage, bytes(8) + b"\0\0\0\0\1\xff"), "not UTF-8"),
        (body(Connected, b"\x7f\xf0" + bytes(6)), "a number that is inf"),
        (body(module.DetectionAsked, bytes(8) + b"\2\0"), "truth value of 2"),
        (body(module.AgentNamed, bytes(4) + b"\0\1\0\1"), "65537 items"),
    ],
)
def test_what_no_end_sends_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(WireError, match=fault):
        decode(data)


def test_a_long_message_is_copied_once_it_is_complete() -> None:
    data = encode(1, ChannelMessage(number=1, data=bytes(1_000_000)))
    reader = Messages()
    for start in range(0, len(data), 1000):
        assert reader.poll() is None
        reader.feed(data[start : start + 1000])
    assert reader.poll() == (1, ChannelMessage(number=1, data=bytes(1_000_000)))
    assert reader.poll() is None


@pytest.mark.parametrize(
    "message",
    [
        ChannelMessage(number=1, data=bytes(MAX_LENGTH)),
        ChannelMessage(number=2**63, data=b""),
        ChannelMessage(number=1, data=None),  # type: ignore[arg-type]
        SpeechMarked(interruptions=0, name=3),  # type: ignore[arg-type]
        SpeechPushed(0, 0, "x" * 0xFFFF, b""),
        SpeechPushed(-1, 0, None, b""),
        "a string",
    ],
)
def test_what_can_not_be_sent_is_told_to_its_sender(message: object) -> None:
    with pytest.raises(UsageError):
        encode(1, message)


def test_half_a_surrogate_pair_comes_back_as_it_was() -> None:
    message = AgentFailed(error="\ud800", traceback="")
    assert decode(encode(1, message)) == (1, message)


def test_the_size_of_a_message_is_that_of_its_bytes() -> None:
    assert message_size("é") == message_size(b"12") == 2


def test_pieces_may_pile_up_before_they_are_read() -> None:
    first, second = encode(1, CallClosed()), encode(2, AgentFailed(error="no", traceback=""))
    reader = Messages()
    reader.feed(first + second[:10])
    assert reader.poll() == (1, CallClosed())
    reader.feed(second[10:])
    assert reader.poll() == (2, AgentFailed(error="no", traceback=""))
    reader.feed(first[:9] + second[:9])
    reader.feed(second[9:])
    assert [reader.poll(), reader.poll(), reader.poll()] == [
        (1, CallClosed()),
        (2, AgentFailed(error="no", traceback="")),
        None,
    ]


def test_a_class_with_a_field_that_has_no_layout_is_refused() -> None:
    with pytest.raises(UsageError, match="no place on the link"):
        kind_of(set)
