"""Pieces of text that can be spoken while the rest is written."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.agents.cascade.sentence import SentenceSplitter, speakable

texts = st.text(st.sampled_from("ab .,!?:\n。，'\"*(é"), max_size=600)


def split(*deltas: str) -> list[str]:
    splitter = SentenceSplitter()
    pieces = [piece for delta in deltas for piece in splitter.push(delta)]
    return [*pieces, *filter(None, [splitter.flush()])]


@given(texts)
def test_the_pieces_are_the_text(text: str) -> None:
    assert "".join(split(text)) == text


@given(texts, st.lists(st.integers(0, 600), max_size=20))
def test_it_does_not_matter_how_the_text_arrives(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    deltas = [text[start:stop] for start, stop in pairwise(places)]
    assert split(*deltas) == split(text)


@given(texts)
def test_no_piece_is_longer_than_half_a_minute(text: str) -> None:
    assert all(0 < len(piece) <= 401 for piece in split(text))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("It is half past nine. Time to go!", ["It is half past nine.", " Time to go!"]),
        ("It costs 3.50 euros today.", ["It costs 3.50 euros today."]),
        ("I met Dr. Miller there. He was well.", ["I met Dr. Miller there.", " He was well."]),
        ("Fruit, e.g. apples. More text here.", ["Fruit, e.g. apples.", " More text here."]),
        ("Yes. No. I do not really know that.", ["Yes. No. I do not really know that."]),
        ('She said "I will come." And she came.', ['She said "I will come."', " And she came."]),
        (
            "今日はとても良い天気ですね。散歩しましょう。",
            ["今日はとても良い天気ですね。", "散歩しましょう。"],
        ),
        (
            "Well, if you ask me about the weather of today, I would say it is fine, more or less.",
            [
                "Well, if you ask me about the weather of today,",
                " I would say it is fine, more or less.",
            ],
        ),
        ("- one thing to do\n- another thing\n", ["- one thing to do\n", "- another thing\n"]),
    ],
)
def test_pieces_end_where_sentences_do(text: str, pieces: list[str]) -> None:
    assert split(text) == pieces


def test_text_without_any_end_is_cut_at_a_space() -> None:
    pieces = split("word " * 200)
    assert all(piece.endswith("word ") for piece in pieces)
    assert max(map(len, pieces)) <= 401


@pytest.mark.parametrize(
    ("piece", "spoken"),
    [
        (" It is **very** late. ", "It is very late."),
        ("## A title\n", "A title"),
        ("`x`", "x"),
        ("...", ""),
        (" \n", ""),
        ("- 5 apples", "- 5 apples"),
    ],
)
def test_markup_is_not_spoken(piece: str, spoken: str) -> None:
    assert speakable(piece) == spoken
