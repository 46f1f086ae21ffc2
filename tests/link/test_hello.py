import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.link import AgentHello, GatewayHello

COUNTS = st.none() | st.integers(0, 2**40)
NAMES = st.lists(st.text(max_size=5), max_size=3).map(tuple)


@given(
    st.builds(
        GatewayHello,
        versions=st.lists(st.integers(0, 9), max_size=3).map(tuple),
        shape=st.sampled_from(["calls", "call"]),
        session=st.text(min_size=1, max_size=9),
        received=COUNTS,
        formats=NAMES,
        hold_ms=st.integers(0, 9),
    )
)
def test_the_gateways_hello_is_read_as_it_was_written(hello: GatewayHello) -> None:
    assert GatewayHello.decode(hello.encode()) == hello


@given(
    st.builds(
        AgentHello,
        version=st.integers(0, 9),
        shape=st.sampled_from(["calls", "call", None]),
        formats=NAMES,
        resumes=st.booleans(),
        received=COUNTS,
    )
)
def test_the_agents_hello_is_read_as_it_was_written(hello: AgentHello) -> None:
    assert AgentHello.decode(hello.encode()) == hello


def test_an_agent_need_not_say_more_than_its_version() -> None:
    assert AgentHello.decode('{"type": "hello", "version": 1}') == AgentHello(version=1)


@pytest.mark.parametrize("session", ["", "x" * 257])
def test_a_session_has_a_name_of_some_length(session: str) -> None:
    hello = GatewayHello(versions=(1,), shape="call", session=session)
    with pytest.raises(WireError, match="name"):
        GatewayHello.decode(hello.encode())
