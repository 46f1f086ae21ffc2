"""What holds whatever clients, agents and media do, in whatever order."""

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.realtime.desk import Desk
from voicegate.testing.realtime_target import run_realtime_session
from voicegate.testing.script import DELAYS, write_script

MADE = st.tuples(st.integers(2, 4), st.sampled_from(DELAYS[:9]), st.binary(min_size=4, max_size=4))
TEXTS = st.tuples(st.integers(0, 1), st.just(0.0), st.binary(max_size=30))
OTHER = st.tuples(st.integers(5, 8), st.sampled_from(DELAYS), st.binary(max_size=8))
TAKEN = (3, 0.0, bytes(4))
TRANSPORTS: tuple[Literal["webrtc", "websocket"], ...] = ("webrtc", "websocket")


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
@settings(max_examples=300)
@given(steps=st.lists(st.one_of(MADE, MADE, MADE, TEXTS, OTHER), max_size=40), is_taken=st.booleans())
def test_responses_are_well_formed_however_things_interleave(
    transport: Literal["webrtc", "websocket"], steps: list[tuple[int, float, bytes]], is_taken: bool
) -> None:
    run_realtime_session(transport, write_script([TAKEN, *steps] if is_taken else steps))


@given(st.text())
def test_any_text_is_an_event_or_an_error(text: str) -> None:
    desk = Desk()
    before = desk.core.describe()
    (answer,) = desk.say(text)
    assert answer["type"] == "error"
    assert desk.core.describe() == before
