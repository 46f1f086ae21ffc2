import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.ice import Route
from voicegate.transceiver.call_id import call_id_of, transceiver_id_of

ROUTES = st.builds(
    Route, transceiver_id=st.integers(0, 0xFFFFFFFF), session_id=st.binary(min_size=8, max_size=8)
)


@given(ROUTES)
def test_a_call_id_leads_to_its_transceiver(route: Route) -> None:
    assert transceiver_id_of(call_id_of(route)) == route.transceiver_id


@given(ROUTES, ROUTES)
def test_no_two_calls_share_an_id(one: Route, other: Route) -> None:
    # A restart of ICE makes a new generation of the same call.
    assert (call_id_of(one) == call_id_of(other)) == (one[:2] == other[:2])


@given(st.text())
def test_any_other_text_leads_nowhere(text: str) -> None:
    assert transceiver_id_of(text) is None


@pytest.mark.parametrize("text", ["rtc_0", "rtc_u0_" + "a" * 19, "rtc_u0_" + "A" * 20, "rtc_u0_" + "1" * 20])
def test_what_only_looks_like_a_call_id_leads_nowhere(text: str) -> None:
    assert transceiver_id_of(text) is None
