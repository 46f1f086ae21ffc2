"""The fuzz target itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sctp import strategy
from voicegate.testing.script import DELAYS, write_script
from voicegate.testing.sctp_target import run_sctp

steps = st.tuples(
    st.sampled_from([1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 15, 15]),
    st.sampled_from(DELAYS[:11]),
    st.binary(max_size=6) | strategy.chunks,
)


@pytest.mark.slow
@given(st.lists(steps, max_size=40).map(write_script) | st.binary(max_size=400))
@settings(max_examples=80)
def test_any_script_is_survived(script: bytes) -> None:
    run_sctp(script)


def test_a_script_of_everything_gets_through() -> None:
    run_sctp(
        write_script(
            [
                *((kind, 0.02, b"\1\3\7") for kind in (15, 15, 15, 7, 6, 15, 15, 2, 9, 8, 15, 15)),
                (5, 0.02, bytes.fromhex("04000004")),
                (5, 0.02, bytes.fromhex("01000004")),
                (0, 0.02, b"anything"),
                (10, 0.02, b""),
                *((kind, 0.5, b"") for kind in (1, 3, 4, 15, 15, 15, 15)),
            ]
        )
    )
