import json
from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from voicegate.cli.drain import ANSWER_SECONDS, MAX_ANSWER, Answer, Operator, follow_drain, open_operator
from voicegate.errors import UsageError

DRAINING = {"is_draining": True, "seconds_left": 41.2, "calls": 3}


def reply(content: object, status: int = 200) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class FakeServer:
    """Answers each connection with the next of some replies; None: not at all."""

    def __init__(self, nursery: trio.Nursery, *replies: bytes | None) -> None:
        self.requests: list[bytes] = []
        self._nursery = nursery
        self._replies = list(replies)

    async def connect(self) -> trio.abc.Stream:
        if not self._replies:
            raise ConnectionRefusedError("refused")
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._answer, theirs, self._replies.pop(0))
        return ours

    async def _answer(self, stream: trio.abc.Stream, said: bytes | None) -> None:
        self.requests.append(bytes(await stream.receive_some(10_000)))
        if said is None:
            await trio.sleep_forever()
        else:
            await stream.send_all(said)
            await stream.aclose()

    def operator(self, key: str | None = None) -> Operator:
        return Operator(self.connect, host="a:1", key=key)


async def test_it_is_asked_and_answers(nursery: trio.Nursery) -> None:
    server = FakeServer(nursery, reply(DRAINING), reply({**DRAINING, "is_draining": False}))
    answer = await server.operator(key="vg_key").ask("POST", {"seconds": 50.0})
    assert answer == Answer(is_draining=True, seconds_left=41.2, left=3)
    assert answer.describe() == "takes no new calls; it has 3 calls, for 42 s more"
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/drain HTTP/1.1\r\n")
    assert b"Authorization: Bearer vg_key" in head
    assert json.loads(body) == {"seconds": 50.0}
    assert (await server.operator().ask("DELETE")).describe() == "takes calls; it has 3 calls"
    assert b"Authorization" not in server.requests[1]


async def test_a_relay_has_clients_and_is_waited_for_as_long_as_it_said(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    replies = [reply({"is_draining": True, "seconds_left": left, "flows": 1}) for left in (2.0, 1.0, 0.0)]
    operator = FakeServer(nursery, *replies, b"not asked for").operator()
    answer = await operator.ask("POST")
    assert answer.describe() == "takes no new clients; it has 1 client, for 2 s more"
    said: list[Answer] = []
    await follow_drain(operator, answer, said.append)
    assert said == []


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (reply({}, 401), "a:1: it wants an API key: --key, or VOICEGATE_KEY"),
        (reply({}, 403), "may not do that"),
        (reply({}, 404), "is it a voicegate"),
        (reply({"error": {"message": "no\nway"}}, 409), r"409, 'no\\nway'"),
        (reply(b"<html>", 500), "it answers with 500"),
        (reply({"calls": 1}), "not about a drain"),
        (reply(b"\xff"), "not about a drain"),
        (reply(b"x" * (MAX_ANSWER + 1)), "more than"),
    ],
)
async def test_what_is_wrong_is_a_line(nursery: trio.Nursery, said: bytes, fault: str) -> None:
    with pytest.raises(UsageError, match=fault) as caught:
        await FakeServer(nursery, said).operator().ask("GET")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_who_does_not_speak_http_is_not_there(nursery: trio.Nursery, said: bytes) -> None:
    with pytest.raises(ConnectionError):
        await FakeServer(nursery, said).operator().ask("GET")


async def test_who_does_not_answer_is_not_there(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        with pytest.raises(ConnectionError, match="no answer in 10 seconds"):
            await FakeServer(nursery, None).operator().ask("GET")
        assert trio.current_time() == pytest.approx(start + ANSWER_SECONDS)
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@given(data=st.binary(max_size=300), is_framed=st.booleans())
def test_any_answer_is_one_or_an_error(data: bytes, is_framed: bool) -> None:
    async def ask() -> None:
        async with trio.open_nursery() as nursery:
            server = FakeServer(nursery, reply(data) if is_framed else data)
            with pytest.raises((UsageError, ConnectionError)):
                await server.operator().ask("GET")

    trio.run(ask)


def states(*calls: int) -> list[bytes]:
    return [reply({**DRAINING, "calls": count}) for count in calls]


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (states(3, 2, 2, 0), [2, 0]),
        (states(1), [1]),  # and then it is gone
        ([*states(2), reply({**DRAINING, "is_draining": False})], [2, 3]),
    ],
)
async def test_a_drain_is_followed_to_its_end(
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
    replies: list[bytes],
    expected: list[int],
) -> None:
    said: list[Answer] = []
    operator = FakeServer(nursery, *replies).operator()
    await follow_drain(operator, Answer(True, None, 3), said.append)
    assert [answer.left for answer in said] == expected


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://a", "http://", "http://a:x", "http://[::1", "http://a:99999"]
)
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(UsageError, match="'"):
        open_operator(url, key=None)


@pytest.mark.parametrize("key", ["a b", "a\r\nb", "ü"])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UsageError, match="the API key has characters that none has"):
        open_operator("http://a", key=key)


@pytest.mark.parametrize("make", [lambda: open_operator("https://voice.example/", key="k")])
def test_an_address_may_be_of_tls(make: Callable[[], Operator]) -> None:
    assert make().host == "voice.example"


async def test_nobody_there_is_no_traceback(nursery: trio.Nursery) -> None:
    with pytest.raises(ConnectionError, match="refused"):
        await FakeServer(nursery).operator().ask("GET")
