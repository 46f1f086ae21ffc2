"""A client that speaks the Realtime API on its data channel, end to end in virtual time."""

import gc
import json
from collections import deque
from typing import Any
from weakref import ref

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.transceiver.exchange import Caller, Exchange, sleep
from voicegate.call import (
    Agent,
    Call,
    ChannelOpened,
    Connected,
    Interrupted,
    ItemAdded,
    ResponseCancelled,
    ResponseRequested,
    SessionUpdated,
    TurnEnded,
)
from voicegate.errors import UsageError, WireError
from voicegate.testing import sound
from voicegate.testing.client import ClientState
from voicegate.transceiver import event_channel, sideband
from voicegate.transceiver.conversation import MAX_SIDEBANDS

RATE = 8000
PATIENCE = 60


@attrs.define(eq=False)
class App:
    """A page: a client that reads the events of its channel."""

    caller: Caller
    events: list[dict[str, Any]] = attrs.field(factory=list)
    _taken: int = 0

    @property
    def types(self) -> list[str]:
        self._take()
        return [event["type"] for event in self.events]

    def send(self, event_type: str, **fields: Any) -> None:
        self.caller.send(json.dumps({"type": event_type, **fields}))

    async def wait_for(self, event_type: str, count: int = 1) -> dict[str, Any]:
        """Wait until an event of a type has come so many times; return the last."""
        with trio.fail_after(PATIENCE):
            while self.types.count(event_type) < count:
                await trio.sleep(0.01)
        return [event for event in self.events if event["type"] == event_type][count - 1]

    def _take(self) -> None:
        received = self.caller.core.received
        self.events += [json.loads(message.data) for message in received[self._taken :]]
        self._taken = len(received)


async def dial(nursery: trio.Nursery, agent: Agent, **terms: Any) -> tuple[Exchange, App]:
    limits = {name: terms.pop(name) for name in ("max_call_seconds", "find_agent") if name in terms}
    exchange = await Exchange.open(nursery, agent, **limits)
    caller = exchange.call(has_data=True, negotiated_id=terms.pop("negotiated_id", None), terms=terms)
    await caller.wait_for(ClientState.CONNECTED)
    return exchange, App(caller)


async def answerer(call: Call) -> None:
    """Answers each request with a second of sound and some words."""
    call.converse()
    async for event in call.events:
        if isinstance(event, ResponseRequested):
            with call.respond(event.response_id) as response:
                response.transcript("la la")
                await response.send(sound.tone(440, 1.0, rate=call.sample_rate).pcm)


# The session


@pytest.mark.parametrize("negotiated_id", [None, 7])
async def test_the_session_is_the_first_thing_a_client_hears(
    negotiated_id: int | None, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, app = await dial(
        nursery, sleep, negotiated_id=negotiated_id, model="m", session={"instructions": "Be brief."}
    )
    created = await app.wait_for("session.created")
    assert app.types == ["session.created"]
    assert created["session"]["instructions"] == "Be brief."
    assert created["session"]["model"] == "m"
    assert created["session"]["id"].startswith("sess_")


async def test_what_was_said_before_the_channel_was_open_comes_behind_that(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def greeter(call: Call) -> None:
        call.converse()
        with call.respond() as response:
            response.text("Welcome.")
        await trio.sleep_forever()

    _, app = await dial(nursery, greeter)
    await app.wait_for("response.done")
    assert app.types[:2] == ["session.created", "response.created"]


async def test_an_update_reaches_the_agent_and_is_confirmed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    told: list[SessionUpdated] = []

    async def listener(call: Call) -> None:
        call.converse()
        async for event in call.events:
            if isinstance(event, SessionUpdated):
                told.append(event)
                assert call.session == event.session

    _, app = await dial(nursery, listener)
    await app.wait_for("session.created")
    app.send("session.update", session={"type": "realtime", "instructions": "Sing."})
    updated = await app.wait_for("session.updated")
    assert updated["session"]["instructions"] == "Sing."
    await trio.sleep(0.1)
    assert [event.session["instructions"] for event in told] == ["", "Sing."]


async def test_what_is_no_event_is_an_error_and_changes_nothing(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, app = await dial(nursery, answerer)
    app.caller.send("{", b"\xff", '{"type": "nonsense", "event_id": "mine"}')
    await app.wait_for("error", 3)
    assert app.events[-1]["error"]["event_id"] == "mine"
    app.send("response.create")
    await app.wait_for("response.done")


async def test_a_session_that_cannot_be_is_refused_with_the_offer(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    with pytest.raises(WireError):
        exchange.dial(terms={"session": {"output_modalities": "loud"}})
    assert exchange.transceiver.call_count == 0


async def test_other_channels_and_another_of_the_same_name_are_the_agents(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    opened: list[str] = []

    async def listener(call: Call) -> None:
        async for event in call.events:
            if isinstance(event, ChannelOpened):
                opened.append(event.channel.label)
                assert await call.messages.receive() == (event.channel, event.channel.label)

    _, app = await dial(nursery, listener)
    await app.wait_for("session.created")
    channels, now = app.caller.core.channels, trio.current_time()
    assert channels is not None
    for label in ("chat", "oai-events"):
        channel = channels.open(label=label, now=now)
        channels.send(channel.id, label, now=now)
    app.send("session.update", session={"type": "realtime"})
    await app.wait_for("session.updated")
    await trio.sleep(0.1)
    assert opened == ["chat", "oai-events"]


async def test_a_client_without_an_api_has_all_channels_with_the_agent(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def parrot(call: Call) -> None:
        async for message in call.messages:
            await message.channel.send(message.data)

    _, app = await dial(nursery, parrot, api="none")
    channels = app.caller.core.channels
    assert channels is not None
    channel_id = channels.open(label="oai-events", now=trio.current_time()).id
    channels.send(channel_id, "hello", now=trio.current_time())
    with trio.fail_after(PATIENCE):
        while not app.caller.core.received:
            await trio.sleep(0.01)
    assert [message.data for message in app.caller.core.received] == ["hello"]


async def test_where_there_is_no_api_at_all_the_agent_has_even_the_channel_that_was_agreed_on(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def greeter(call: Call) -> None:
        await call.send("welcome")
        await trio.sleep_forever()

    exchange = await Exchange.open(nursery, greeter)
    exchange.transceiver.has_api = False
    caller = exchange.call(has_data=True, negotiated_id=7, terms={})
    with trio.fail_after(PATIENCE):
        while not caller.core.received:
            await trio.sleep(0.01)
    assert caller.core.received[0].data == "welcome"


async def test_a_channel_that_is_opened_again_is_greeted_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, app = await dial(nursery, sleep)
    await app.wait_for("session.created")
    channels = app.caller.core.channels
    assert channels is not None
    channels.close_channel(next(iter(channels.channels)), now=trio.current_time())
    await trio.sleep(1)
    channels.open(label="oai-events", now=trio.current_time())
    await app.wait_for("session.created", 2)


# Speech


async def test_a_response_is_heard_and_told_from_its_beginning_to_its_end(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, app = await dial(nursery, answerer)
    app.send("response.create")
    await app.wait_for("output_audio_buffer.stopped")
    wanted = [
        "response.created",
        "response.output_item.added",
        "response.done",
        "output_audio_buffer.stopped",
    ]
    assert [name for name in app.types if name in wanted] == wanted
    assert app.types.index("output_audio_buffer.started") > app.types.index("response.content_part.added")
    assert sound.Sound.from_pcm(bytes(app.caller.core.heard), rate=RATE).loudness > 0.01


async def test_who_is_never_asked_to_converse_still_gives_its_client_events(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def plain(call: Call) -> None:
        await call.audio_out.send(sound.tone(440, 0.5, rate=RATE).pcm)
        await call.audio_out.drain()
        await trio.sleep_forever()

    _, app = await dial(nursery, plain)
    await app.wait_for("output_audio_buffer.stopped")
    assert "response.done" in app.types
    app.send("response.create")
    assert (await app.wait_for("error"))["error"]["code"] == "response_create_not_supported"


async def test_the_clients_clear_silences_the_agent_and_truncates_what_it_said(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    told: list[object] = []

    async def talker(call: Call) -> None:
        call.converse()
        async for event in call.events:
            told.append(event)
            if isinstance(event, ResponseRequested):
                with call.respond(event.response_id) as response:
                    response.transcript("A very long story.")
                    for _ in range(30):
                        await response.send(sound.tone(440, 1.0, rate=RATE).pcm)

    _, app = await dial(nursery, talker)
    app.send("response.create")
    await app.wait_for("output_audio_buffer.started")
    await trio.sleep(2)
    app.send("response.cancel")
    app.send("output_audio_buffer.clear")
    truncated = await app.wait_for("conversation.item.truncated")
    assert 1800 < truncated["audio_end_ms"] < 2300
    assert "output_audio_buffer.cleared" in app.types
    assert (await app.wait_for("response.done"))["response"]["status"] == "cancelled"
    await trio.sleep(0.1)
    app.caller.core.heard.clear()
    await trio.sleep(1)
    assert sound.Sound.from_pcm(bytes(app.caller.core.heard), rate=RATE).loudness < 0.002
    assert any(isinstance(event, ResponseCancelled) for event in told)
    app.send("conversation.item.retrieve", item_id=truncated["item_id"])
    retrieved = await app.wait_for("conversation.item.retrieved")
    assert "story" not in json.dumps(retrieved["item"])


async def test_a_response_that_waits_behind_another_is_not_forgotten(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def eager(call: Call) -> None:
        call.converse()
        for _ in range(2):
            with call.respond() as response:
                response.send_nowait(sound.tone(440, 2.0, rate=RATE).pcm)
        await trio.sleep_forever()

    _, app = await dial(nursery, eager)
    await app.wait_for("output_audio_buffer.stopped", 2)
    assert app.types.count("response.output_audio.done") == 2


# The user's turns


async def talk(caller: Caller, pcm: bytes) -> None:
    caller.core.say(pcm)
    caller.flush()
    await trio.sleep(len(pcm) / 2 / RATE + 1.5)


@pytest.mark.slow
async def test_the_users_turn_is_answered_and_may_interrupt(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    told: list[object] = []

    async def talker(call: Call) -> None:
        call.converse()
        async for event in call.events:
            told.append(event)
            if isinstance(event, ResponseRequested):
                response = call.respond(event.response_id)
                response.send_nowait(sound.tone(440, 20.0, rate=RATE).pcm)
                response.end()

    _, app = await dial(nursery, talker)
    await talk(app.caller, sound.speech_like(1.0, rate=RATE).pcm)
    await app.wait_for("output_audio_buffer.started")
    assert app.types.index("input_audio_buffer.speech_started") < app.types.index("response.created")
    assert "input_audio_buffer.committed" in app.types
    await talk(app.caller, sound.speech_like(1.0, seed=5, rate=RATE).pcm)
    truncated = await app.wait_for("conversation.item.truncated")
    assert 0 < truncated["audio_end_ms"] < 10_000
    await app.wait_for("output_audio_buffer.started", 2)
    assert any(isinstance(event, Interrupted) for event in told)


async def test_who_presses_a_key_to_talk_says_where_a_turn_ends(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    told: list[object] = []

    async def listener(call: Call) -> None:
        nonlocal told
        call.converse()
        async for event in call.events:
            told += [event]

    _, app = await dial(nursery, listener)
    app.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    await app.wait_for("session.updated")
    app.send("input_audio_buffer.clear")
    await talk(app.caller, sound.speech_like(1.0, rate=RATE).pcm)
    app.send("input_audio_buffer.commit")
    app.send("response.create")
    await app.wait_for("response.created")
    assert "input_audio_buffer.speech_started" not in app.types
    assert "input_audio_buffer.committed" in app.types
    await trio.sleep(0.1)
    (ended,) = [event for event in told if isinstance(event, TurnEnded)]
    assert ended.position_ms > 900
    assert [type(event) for event in told if isinstance(event, ItemAdded | ResponseRequested)] == [
        ItemAdded,
        ResponseRequested,
    ]


# Bounds


async def test_a_client_that_opens_no_channel_costs_no_memory(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_channel, "MAX_EARLY", 2000)

    async def writer(call: Call) -> None:
        call.converse()
        with call.respond() as response:
            for _ in range(100):
                response.text("x" * 100)
        await trio.sleep_forever()

    exchange = await Exchange.open(nursery, writer)
    caller = exchange.call(has_data=True, terms={})
    app = App(caller)
    await app.wait_for("session.created")
    assert "response.created" not in app.types, "what came before was too much to keep"


async def test_a_client_that_does_not_read_loses_its_channel_with_an_error(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_channel, "MAX_WAITING", 100_000)
    monkeypatch.setattr(event_channel, "AHEAD_BYTES", 10_000)

    async def writer(call: Call) -> None:
        call.converse()
        async for event in call.events:
            if isinstance(event, ResponseRequested):
                with call.respond(event.response_id) as response:
                    for _ in range(20):
                        response.text("x" * 10_000)

    exchange, app = await dial(nursery, writer)
    app.send("response.create")
    error = await app.wait_for("error")
    assert error["error"]["code"] == "client_too_slow"
    await trio.sleep(1)
    channels = app.caller.core.channels
    assert channels is not None
    assert not channels.channels
    assert exchange.describe(app.caller)["state"] == "connected", "the call goes on"


async def test_a_session_that_lasts_too_long_is_told_so_and_ends(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange, app = await dial(nursery, sleep, max_seconds=3)
    created = await app.wait_for("session.created")
    assert created["session"]["expires_at"] > 0
    ended = await exchange.wait_for_end(app.caller)
    assert ended["cause"] == "max_duration"
    assert 3000 <= ended["duration_ms"] < 4000
    assert app.types[-1] == "error"
    assert app.events[-1]["error"]["code"] == "session_expired"
    assert exchange.is_empty


async def test_what_is_known_of_a_call_is_shown(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange, app = await dial(nursery, sleep, labels={"key": "mobile"})
    await app.wait_for("session.created")
    described = exchange.describe(app.caller)
    assert described["labels"] == {"key": "mobile"}
    assert described["conversation"] == {
        "is_taken": False,
        "has_channel": True,
        "sidebands": 0,
        "events_dropped": 0,
    }


# Sidebands


@attrs.define(eq=False)
class Socket:
    """An `EventSocket` in the hands of a test."""

    is_stuck: bool = False
    sent: list[dict[str, Any]] = attrs.field(factory=list)
    closed: tuple[int, str] | None = None
    _inbox: deque[str | None] = attrs.field(factory=deque)
    _wake: trio.Event = attrs.field(factory=trio.Event)

    def say(self, text: str | None) -> None:
        self._inbox.append(text)
        self._wake.set()

    async def receive(self) -> str | None:
        while not self._inbox:
            self._wake = trio.Event()
            await self._wake.wait()
        return self._inbox.popleft()

    async def send(self, text: str) -> None:
        if self.is_stuck:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.sent.append(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = self.closed or (code, reason)

    async def wait_for(self, event_type: str) -> dict[str, Any]:
        with trio.fail_after(PATIENCE):
            while event_type not in [event["type"] for event in self.sent]:
                await trio.sleep(0.01)
        return next(event for event in self.sent if event["type"] == event_type)

    async def wait_closed(self) -> tuple[int, str]:
        with trio.fail_after(PATIENCE):
            while self.closed is None:
                await trio.sleep(0.01)
        return self.closed


async def test_a_sideband_speaks_the_same_session(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange, app = await dial(nursery, answerer)
    socket = Socket()
    nursery.start_soon(exchange.transceiver.attach, app.caller.call_id, socket)
    await socket.wait_for("session.created")
    socket.say(json.dumps({"type": "session.update", "session": {"type": "realtime", "instructions": "x"}}))
    assert (await app.wait_for("session.updated"))["session"]["instructions"] == "x"
    app.send("response.create")
    await socket.wait_for("response.done")
    socket.say("{")
    await socket.wait_for("error")
    assert "error" not in app.types
    socket.say(None)
    assert await socket.wait_closed() == (1000, "")
    exchange.scope.cancel()


async def test_a_sideband_ends_with_its_call(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange, app = await dial(nursery, sleep, max_seconds=3)
    socket = Socket()
    nursery.start_soon(exchange.transceiver.attach, app.caller.call_id, socket)
    await exchange.wait_for_end(app.caller)
    assert await socket.wait_closed() == (1000, "the call is over")
    assert socket.sent[-1]["error"]["code"] == "session_expired"
    assert not await exchange.transceiver.attach(app.caller.call_id, Socket())


async def test_a_client_without_channels_may_have_a_sideband(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, answerer)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    socket = Socket()
    nursery.start_soon(exchange.transceiver.attach, caller.call_id, socket)
    socket.say('{"type": "response.create"}')
    await socket.wait_for("output_audio_buffer.stopped")


async def test_a_sideband_that_does_not_read_is_sent_away(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sideband, "MAX_WAITING", 20_000)
    exchange, app = await dial(nursery, sleep)
    socket = Socket(is_stuck=True)
    nursery.start_soon(exchange.transceiver.attach, app.caller.call_id, socket)
    await trio.sleep(0.1)
    for _ in range(30):
        app.send("session.update", session={"type": "realtime"})
    code, _ = await socket.wait_closed()
    assert code == 1013
    await app.wait_for("session.updated", 30)


async def test_a_sideband_whose_other_side_is_gone_is_over(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    class Broken(Socket):
        async def send(self, text: str) -> None:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError

    exchange, app = await dial(nursery, sleep)
    with trio.fail_after(PATIENCE):
        assert await exchange.transceiver.attach(app.caller.call_id, Broken())


async def test_sidebands_are_counted(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange, app = await dial(nursery, sleep)
    sockets = [Socket() for _ in range(MAX_SIDEBANDS + 1)]
    for socket in sockets:
        nursery.start_soon(exchange.transceiver.attach, app.caller.call_id, socket)
    await trio.sleep(1)
    assert [socket.closed and socket.closed[0] for socket in sockets].count(1013) == 1


async def test_an_event_that_is_too_long_for_the_client_is_an_error_instead(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def writer(call: Call) -> None:
        call.converse()
        async for event in call.events:
            if isinstance(event, ResponseRequested):
                with call.respond(event.response_id) as response:
                    response.text("x" * 300_000)

    _, app = await dial(nursery, writer)
    app.send("response.create")
    assert (await app.wait_for("error"))["error"]["code"] == "event_too_long"


async def test_a_fault_of_the_sessions_ends_its_call_and_no_other(
    nursery: trio.Nursery, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, app = await dial(nursery, sleep)
    other = App(exchange.call(has_data=True, terms={}))
    await other.wait_for("session.created")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr("voicegate.realtime.session.read_client_event", fail)
        app.send("response.create")
        ended = await exchange.wait_for_end(app.caller)
    assert (ended["cause"], ended["detail"]) == ("internal_error", "RuntimeError('a fault of ours')")
    other.send("session.update", session={"type": "realtime"})
    await other.wait_for("session.updated")


async def test_a_live_session_is_spoken_where_the_client_wants_one(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def sayer(call: Call) -> None:
        call.converse()
        with call.respond() as response:
            response.transcript("Hello.")
            await response.send(sound.tone(440, 1.0, rate=call.sample_rate).pcm)
        await trio.sleep_forever()

    exchange, app = await dial(nursery, sayer, api="live")
    started = await app.wait_for("session.started")
    assert started["session"]["id"].startswith("live_")
    app.send("session.close")
    await app.wait_for("session.closed")
    ended = await exchange.wait_for_end(app.caller)
    assert ended["cause"] == "client_hangup"


async def test_an_ended_call_with_a_session_leaves_nothing_to_collect(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def leave(call: Call) -> None:
        call.converse()
        with call.respond() as response:
            await response.send(sound.tone(440, 0.5, rate=call.sample_rate).pcm)
        await call.audio_out.drain()

    exchange = await Exchange.open(nursery, leave)
    gc.collect()
    gc.disable()
    try:
        app = App(exchange.call(has_data=True, terms={}))
        active = ref(exchange.transceiver.find(app.caller.call_id))
        socket = Socket()
        nursery.start_soon(exchange.transceiver.attach, app.caller.call_id, socket)
        await app.wait_for("session.created")
        await exchange.wait_for_end(app.caller)
        await socket.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        assert active() is None
    finally:
        gc.enable()
    exchange.scope.cancel()


# Transfer


async def test_another_agent_takes_the_same_call(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    told: list[object] = []
    ids: list[str] = []

    async def second(call: Call) -> None:
        nonlocal told
        ids.append(call.id)
        call.use_rate(RATE)
        call.converse()
        call.audio_out.send_nowait(sound.tone(880, 0.5, rate=RATE).pcm)
        async for event in call.events:
            told += [event]

    async def first(call: Call) -> None:
        ids.append(call.id)
        call.converse()
        await call.events.receive()
        call.audio_out.send_nowait(sound.tone(440, 0.5, rate=RATE).pcm)
        with pytest.raises(UsageError):
            call.transfer("nobody")
        call.transfer(second)
        await trio.sleep_forever()

    _, app = await dial(nursery, first)
    await trio.sleep(3)
    heard = sound.Sound.from_pcm(bytes(app.caller.core.heard), rate=RATE)
    assert heard.tone_level(440) > 0.01, "what was queued is still said"
    assert heard.tone_level(880) > 0.01
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert any(isinstance(event, SessionUpdated) for event in told)
    assert any(isinstance(event, Connected) for event in told)


async def test_an_agent_is_named_as_the_operator_has_named_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    def find(name: str) -> Agent:
        return {"answerer": answerer}[name]

    async def receptionist(call: Call) -> None:
        call.detect_speech()
        call.transfer("answerer")  # and returns, which is not to hang up

    _, app = await dial(nursery, receptionist, find_agent=find)
    app.send("response.create")
    await app.wait_for("output_audio_buffer.stopped")
