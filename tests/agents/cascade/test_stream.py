"""What models send, however it is cut up on its way."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.agents.cascade import stream
from voicegate.agents.cascade.stream import (
    EventDecoder,
    ObjectDecoder,
    SampleDecoder,
    Words,
    WordsDecoder,
    encode_wav,
)
from voicegate.errors import WireError

PCM = bytes(range(256)) * 100


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


def decode(decoder: Any, *data: bytes) -> list[Any]:
    things = [thing for each in data for thing in decoder.push(each)]
    return [*things, *decoder.finish()]


objects = st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers(), max_size=4)


@given(
    st.lists(objects, max_size=5),
    st.lists(st.integers(0, 200), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_events_are_read_however_they_arrive(
    events: list[Any], cuts: list[int], line_end: str, is_ended: bool
) -> None:
    lines = [": a comment", "event: x"]
    for event in events:
        lines += [f"data: {json.dumps(event)}", ""]
    if is_ended:
        lines += ["data: [DONE]", "", 'data: {"too": "late"}', ""]
    data = line_end.join(lines).encode()
    decoder = EventDecoder()
    assert decode(decoder, *pieces(data, cuts)) == events
    assert decoder.is_done is is_ended


def test_an_event_may_have_several_lines_and_no_end() -> None:
    assert decode(EventDecoder(), b'data: {"a":\ndata:1}') == [{"a": 1}]


@given(st.binary(max_size=200), st.sampled_from(["events", "object", "words", "samples"]))
def test_nothing_but_a_wire_error_comes_of_strange_bytes(data: bytes, kind: str) -> None:
    decoders: dict[str, Any] = {
        "events": EventDecoder(),
        "object": ObjectDecoder(),
        "words": WordsDecoder(is_stream=True),
        "samples": SampleDecoder(sample_rate=24000),
    }
    try:
        decode(decoders[kind], b"data: " + data if kind in {"events", "words"} else data)
    except WireError:
        return


@pytest.mark.parametrize("decoder", [EventDecoder(), ObjectDecoder()])
def test_what_does_not_end_is_refused(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_EVENT", 100)
    with pytest.raises(WireError, match="does not end"):
        decode(decoder, *[b"data: xxxxxxxxxxxxxxxx"] * 10)
    with pytest.raises(WireError, match="does not end"):
        decode(EventDecoder(), *[b"data: xxxxxxxxxxxxxxxx\n"] * 10)


def events(*values: Any) -> bytes:
    return b"".join(f"data: {json.dumps(value)}\n\n".encode() for value in values)


@pytest.mark.parametrize(
    ("data", "is_stream", "words"),
    [
        (b'{"text": "good morning"}', False, [("good morning", True)]),
        (b"{}", False, [("", True)]),
        (
            events(
                {"type": "transcript.text.delta", "delta": "good "},
                {"type": "usage"},
                {"type": "transcript.text.delta", "delta": "morning"},
                {"type": "transcript.text.done", "text": "Good morning."},
            ),
            True,
            [("good ", False), ("good morning", False), ("Good morning.", True)],
        ),
        (
            events({"choices": [{"delta": {"content": "good"}}]}, {"choices": []}) + b"data: [DONE]\n\n",
            True,
            [("good", False), ("good", True)],
        ),
    ],
)
def test_transcripts_come_in_several_ways(data: bytes, is_stream: bool, words: list[Any]) -> None:
    assert decode(WordsDecoder(is_stream=is_stream), data) == [Words(*each) for each in words]


def test_nothing_counts_after_the_last_words_and_they_may_not_go_on_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = {"type": "transcript.text.done", "text": "yes"}
    delta = {"type": "transcript.text.delta", "delta": "and so on "}
    assert decode(WordsDecoder(is_stream=True), events(done, delta)) == [Words("yes", is_final=True)]
    monkeypatch.setattr(stream, "MAX_EVENT", 100)
    with pytest.raises(WireError, match="does not end"):
        decode(WordsDecoder(is_stream=True), *[events(delta)] * 20)


def test_an_error_among_the_words_is_told() -> None:
    with pytest.raises(WireError, match="overloaded"):
        decode(WordsDecoder(is_stream=True), events({"error": {"message": "overloaded"}}))


@given(st.lists(st.integers(0, 26_000), max_size=8), st.booleans())
def test_samples_stay_whole_with_or_without_a_header(cuts: list[int], has_header: bool) -> None:
    data = encode_wav(PCM, sample_rate=24000) if has_header else PCM
    chunks = decode(SampleDecoder(sample_rate=24000), *pieces(data, cuts))
    assert b"".join(chunks) == PCM
    assert all(0 < len(chunk) <= 4800 and len(chunk) % 2 == 0 for chunk in chunks)


def test_half_a_sample_at_the_end_is_none() -> None:
    assert decode(SampleDecoder(sample_rate=24000), b"abcde") == [b"abcd"]
    assert decode(SampleDecoder(sample_rate=24000), b"") == []


@pytest.mark.parametrize(
    "data",
    [
        encode_wav(PCM, sample_rate=16000),
        encode_wav(PCM, sample_rate=24000)[:30],
        b"RIFF" + bytes(9000),
    ],
)
def test_other_wav_files_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(SampleDecoder(sample_rate=24000), data)
