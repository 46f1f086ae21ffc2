import json
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.live import ServerEvent
from pydantic import TypeAdapter

from voicegate.realtime.action import (
    Action,
    CancelResponse,
    ClearOutput,
    DetectSpeech,
    EndCall,
    MuteInput,
    TellAgent,
)
from voicegate.realtime.agent_event import (
    AgentNotice,
    ClientEvent,
    ConversationTaken,
    DtmfReceived,
    FunctionCalled,
    InputCommitted,
    InputTranscribed,
    ItemAdded,
    ItemTruncated,
    ResponseBegan,
    ResponseCancelled,
    ResponseEnded,
    ResponseRequested,
    SessionUpdated,
    TextAdded,
    TranscriptAdded,
)
from voicegate.realtime.agent_event import ServerEvent as UpstreamEvent
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.live import (
    EVENT_BURST,
    MAX_APPEND,
    MAX_DELEGATIONS,
    MAX_INSTRUCTIONS,
    MAX_WAITING,
    USAGE_SECONDS,
    LiveSession,
)
from voicegate.realtime.notice import (
    InputDtmf,
    OutputBegan,
    OutputDrained,
    OutputInterrupted,
    ServerLeaving,
    SpeechBegan,
    SpeechEnded,
    TurnOver,
)

Event = dict[str, Any]

AS_THE_SDK_READS_IT: TypeAdapter[Any] = TypeAdapter(ServerEvent)

FUNCTION = {"type": "function", "name": "time", "parameters": {"type": "object", "properties": {}}}
RESPONSES = {
    "type": "responses",
    "responses": {"model": "gpt", "instructions": "Tell it.", "tools": [FUNCTION]},
}


@attrs.define
class Bench:
    """A session with a page on its channel and an application on a sideband."""

    session: LiveSession
    now: float = 100.0
    actions: list[Action] = attrs.field(factory=list)
    events: list[tuple[Event, str | None]] = attrs.field(factory=list)

    @classmethod
    def open(cls, *, conversing: bool = True, raw: bool = False, **session: Any) -> "Bench":
        made = LiveSession(
            session_id="live_1",
            model="gpt-live-1",
            session={"model": "gpt-live-1", **session},
            random=Random(1).randbytes,
            now=100.0,
            expires_at=1_800_000_000,
        )
        bench = cls(made)
        for source in ("channel", "sideband-1"):
            made.attach(source)
        bench.pump()
        if conversing:
            bench.report(ConversationTaken(is_raw=raw))
        return bench

    def pump(self) -> None:
        while (out := self.session.poll_event()) is not None:
            event = json.loads(out.text)
            AS_THE_SDK_READS_IT.validate_python(event)
            self.events.append((event, out.source))
        while (action := self.session.poll_action()) is not None:
            self.actions.append(action)

    def send(self, kind: str, *, source: str = "channel", **fields: Any) -> None:
        self.send_text(json.dumps({"type": kind, "event_id": "mine", **fields}), source=source)

    def send_text(self, text: str, *, source: str = "channel") -> None:
        self.session.handle_text(text, source=source, now=self.now)
        self.pump()

    def report(self, report: Any) -> None:
        self.session.handle_report(report, now=self.now)
        self.pump()

    def notice(self, notice: Any) -> None:
        self.session.handle_notice(notice, now=self.now)
        self.pump()

    def take_events(self) -> list[Event]:
        taken, self.events = [event for event, _ in self.events], []
        return taken

    def take_error(self) -> Event:
        (event, source) = self.events.pop()
        assert (event["type"], source) == ("error", "channel")
        assert event["error"]["type"] == "invalid_request_error"
        return dict(event["error"])

    def take_notices(self) -> list[AgentNotice]:
        taken = [action.notice for action in self.actions if isinstance(action, TellAgent)]
        self.actions = [action for action in self.actions if not isinstance(action, TellAgent)]
        return taken


def text_of(notice: AgentNotice) -> str:
    assert isinstance(notice, ItemAdded)
    return str(notice.item["content"][0]["text"])


def test_a_connection_is_greeted_with_the_session() -> None:
    bench = Bench.open(conversing=False, instructions="Be brief.", audio={"output": {"voice": "cedar"}})
    assert [(event["type"], source) for event, source in bench.events] == [
        ("session.started", "channel"),
        ("session.started", "sideband-1"),
    ]
    session = bench.events[0][0]["session"]
    assert session["id"] == "live_1"
    assert session["expires_at"] == 1_800_000_000
    assert (session["model"], session["status"], session["store"]) == ("gpt-live-1", "active", False)
    assert session["instructions"] == "Be brief."
    assert session["audio"] == {"output": {"voice": "cedar"}}
    assert session == bench.session.describe()


def test_an_agent_learns_the_session_in_the_words_it_knows() -> None:
    history = [
        {"role": "developer", "content": [{"type": "input_text", "text": "He is Tom."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello Tom."}]},
    ]
    bench = Bench.open(instructions="Be brief.", delegation=RESPONSES, input=history)
    updated, first, second = bench.take_notices()
    assert isinstance(updated, SessionUpdated)
    assert updated.session["instructions"] == "Be brief.\n\nTell it."
    assert updated.session["tools"] == [FUNCTION]
    assert updated.session["audio"]["output"]["voice"] == "marin"
    assert updated.session["live"] == bench.session.describe()
    assert (text_of(first), text_of(second)) == ("He is Tom.", "Hello Tom.")
    assert isinstance(first, ItemAdded)
    assert first.item["role"] == "system"
    (detect,) = bench.actions
    assert isinstance(detect, DetectSpeech)
    assert detect.barge_in


def test_a_turn_of_the_user_asks_for_an_answer() -> None:
    bench = Bench.open()
    bench.take_notices()
    bench.notice(SpeechBegan(1000))
    bench.notice(SpeechEnded(2000))
    bench.notice(TurnOver(2000))
    committed, added, asked = bench.take_notices()
    assert isinstance(committed, InputCommitted)
    assert (committed.audio_start_ms, committed.audio_end_ms) == (1000, 2000)
    assert isinstance(added, ItemAdded)
    assert added.item["id"] == committed.item_id
    assert isinstance(asked, ResponseRequested)


def test_speech_over_an_answer_cancels_it_and_says_what_was_heard() -> None:
    bench = Bench.open()
    bench.take_notices()
    bench.actions.clear()
    bench.report(ResponseBegan(response_id="r"))
    bench.notice(OutputBegan("r"))
    bench.notice(SpeechBegan(5000))
    bench.notice(OutputInterrupted("r", 700, 300))
    assert bench.take_notices() == [
        ResponseCancelled(response_id="r", reason="turn_detected"),
        ItemTruncated(item_id="r", audio_end_ms=700),
    ]
    assert bench.actions == [CancelResponse("r")]
    bench.report(ResponseBegan(response_id="s"))
    bench.report(ResponseEnded(response_id="s", status="completed"))
    bench.notice(SpeechBegan(6000))
    bench.notice(OutputDrained("s", 100))
    assert bench.take_notices() == []


def test_transcripts_stand_on_the_timeline() -> None:
    bench = Bench.open()
    bench.take_events()
    bench.notice(SpeechBegan(1000))
    bench.now = 102.0
    bench.report(InputTranscribed(text="what time", is_final=False))
    bench.notice(TurnOver(2500))
    bench.report(InputTranscribed(text="what time is it", is_final=True))
    bench.now = 103.0
    bench.report(ResponseBegan(response_id="r"))
    bench.now = 103.5
    bench.report(TranscriptAdded(response_id="r", delta="Half"))
    bench.now = 104.0
    bench.report(TranscriptAdded(response_id="r", delta=" past"))
    bench.report(TextAdded(response_id="r", delta="written, not said"))
    said = [
        (event["type"].split(".")[1], event["delta"], event["start_ms"], event["end_ms"])
        for event in bench.take_events()
    ]
    assert said == [
        ("input_transcript", "what time", 1000, 2000),
        ("input_transcript", " is it", 1000, 2500),
        ("output_transcript", "Half", 3000, 3500),
        ("output_transcript", " past", 3500, 4000),
    ]


def test_what_a_final_transcript_says_otherwise_is_not_said_twice() -> None:
    bench = Bench.open()
    bench.take_events()
    bench.report(InputTranscribed(text="what dime", is_final=False))
    bench.report(InputTranscribed(text="what time", is_final=True))
    assert [event["delta"] for event in bench.take_events()] == ["what dime"]


@pytest.mark.parametrize(
    ("kind", "acknowledgement", "is_muted"),
    [
        ("session.input_audio.mute", "session.input_audio.muted", True),
        ("session.input_audio.unmute", "session.input_audio.unmuted", False),
    ],
)
def test_muting_is_an_action_and_acknowledged(kind: str, acknowledgement: str, is_muted: bool) -> None:
    bench = Bench.open(conversing=False)
    bench.take_events()
    bench.send(kind)
    assert bench.actions == [MuteInput(is_muted=is_muted)]
    (event,) = bench.take_events()
    assert (event["type"], event["client_event_id"]) == (acknowledgement, "mine")


def test_commentary_is_to_be_said_and_thinking_to_be_known() -> None:
    bench = Bench.open()
    bench.take_notices()
    bench.take_events()
    bench.now = 101.0
    bench.send("session.thinking.append", content="It rains.", delegation_id=None)
    (known,) = bench.take_notices()
    bench.send("session.commentary.append", content="The shop is open.", delegation_id=None)
    said, asked = bench.take_notices()
    assert (text_of(known), text_of(said)) == ("It rains.", "The shop is open.")
    assert isinstance(asked, ResponseRequested)
    assert [
        (event["type"], event["start_ms"], event["end_ms"], event["client_event_id"])
        for event in bench.take_events()
    ] == [
        ("session.thinking.appended", 1000, 1000, "mine"),
        ("session.commentary.appended", 1000, 1000, "mine"),
    ]


def test_instructions_grow_up_to_a_limit() -> None:
    bench = Bench.open(instructions="Be brief.")
    bench.take_notices()
    bench.send("session.instructions.append", content="And kind.", delegation_id=None)
    (updated,) = bench.take_notices()
    assert isinstance(updated, SessionUpdated)
    assert updated.session["instructions"] == "Be brief.\n\nAnd kind."
    bench.now += 1000
    for _ in range(MAX_INSTRUCTIONS // MAX_APPEND):
        bench.send("session.instructions.append", content="x" * MAX_APPEND)
    assert bench.take_error()["code"] == "string_above_max_length"


def test_a_function_of_the_agent_is_delegated_to_the_client_which_answers_it() -> None:
    bench = Bench.open()
    bench.take_notices()
    bench.take_events()
    bench.now = 101.5
    bench.report(FunctionCalled(response_id="r", call_id="c", name="time", arguments="{}"))
    (event,) = bench.take_events()
    assert event["type"] == "session.delegation.created"
    assert event["delegation"] == {"id": "c", "type": "delegation", "target": "client"}
    assert event["offset_ms"] == 1500
    bench.send("session.commentary.append", content="Noon.", delegation_id="c")
    output, asked = bench.take_notices()
    assert isinstance(output, ItemAdded)
    assert (output.item["type"], output.item["call_id"], output.item["output"]) == (
        "function_call_output",
        "c",
        "Noon.",
    )
    assert isinstance(asked, ResponseRequested)
    bench.send("session.thinking.append", content="It was noon.", delegation_id="c")
    (more,) = bench.take_notices()
    assert text_of(more) == "It was noon.", "a call has one output"
    bench.send("session.thinking.append", content="?", delegation_id="other")
    assert bench.take_error()["code"] == "delegation_not_found"


def test_a_function_is_a_response_where_responses_are_delegated_to() -> None:
    bench = Bench.open(delegation=RESPONSES)
    bench.take_notices()
    bench.take_events()
    bench.report(FunctionCalled(response_id="r", call_id="c", name="time", arguments="{}"))
    created, *nested = bench.take_events()
    assert created["delegation"] == {
        "id": "c",
        "type": "delegation",
        "target": "responses",
        "response_id": "r",
    }
    assert [event["event"]["type"] for event in nested] == [
        "response.created",
        "response.output_item.done",
        "response.completed",
    ]
    assert {event["delegation_id"] for event in nested} == {"c"}
    assert nested[1]["event"]["item"]["name"] == "time"
    bench.send(
        "response.item.create", item={"type": "function_call_output", "call_id": "c", "output": "noon"}
    )
    bench.send("response.create")
    output, asked = bench.take_notices()
    assert isinstance(output, ItemAdded)
    assert output.item["output"] == "noon"
    assert isinstance(asked, ResponseRequested)
    assert bench.take_events() == []


@pytest.mark.parametrize("kind", ["response.item.create", "response.create"])
def test_a_client_that_does_its_work_itself_has_no_responses(kind: str) -> None:
    bench = Bench.open()
    fields: dict[str, Any] = {"item": {}} if "item" in kind else {}
    bench.send(kind, **fields)
    error = bench.take_error()
    assert (error["code"], error["client_event_id"]) == ("invalid_delegation", "mine")


def test_delegations_without_end_push_out_the_oldest() -> None:
    bench = Bench.open()
    for number in range(MAX_DELEGATIONS + 1):
        bench.report(FunctionCalled(response_id="r", call_id=f"c{number}", name="time", arguments="{}"))
    bench.send("session.thinking.append", content="x", delegation_id="c0")
    assert bench.take_error()["code"] == "delegation_not_found"
    bench.send("session.thinking.append", content="x", delegation_id="c1")
    assert bench.events[-1][0]["type"] == "session.thinking.appended"


def test_only_the_settings_of_the_delegation_can_be_updated() -> None:
    bench = Bench.open(delegation=RESPONSES)
    bench.take_notices()
    bench.send("session.update", session={"delegation": {"type": "responses", "responses": {"tools": []}}})
    (updated,) = bench.take_notices()
    assert isinstance(updated, SessionUpdated)
    assert updated.session["tools"] == []
    event, _ = bench.events[-1]
    assert (event["type"], event["client_event_id"]) == ("session.updated", "mine")
    assert event["session"]["delegation"]["responses"]["model"] == "gpt"
    for wrong, code in (
        ({"delegation": {"type": "client"}}, "invalid_value"),
        ({"instructions": "Other."}, "unknown_parameter"),
        ({"triggers": [{}]}, "unsupported_parameter"),
    ):
        bench.send("session.update", session=wrong)
        assert bench.take_error()["code"] == code
    bench.send("session.update", session={})
    assert bench.events[-1][0]["type"] == "session.updated"
    bench.send("session.update")
    assert bench.take_error()["param"] == "session"


def test_closing_is_answered_with_the_usage_and_ends_the_call() -> None:
    bench = Bench.open()
    bench.actions.clear()
    bench.now = 130.0
    bench.send("session.close")
    event, _ = bench.events[-1]
    assert (event["type"], event["reason"], event["client_event_id"]) == (
        "session.closed",
        "close_requested",
        "mine",
    )
    assert event["usage"] == {"seconds": 30.0}
    assert [type(action) for action in bench.actions] == [EndCall]
    count = len(bench.events)
    bench.send("session.close")
    bench.session.expire()
    bench.session.handle_timeout(now=1000.0)
    bench.pump()
    assert len(bench.events) == count, "nothing follows"
    assert bench.session.poll_timeout() is None


def test_a_session_that_lasted_long_enough_expires() -> None:
    bench = Bench.open()
    bench.session.expire()
    bench.pump()
    assert bench.events[-1][0]["reason"] == "expired"
    (action,) = [action for action in bench.actions if isinstance(action, EndCall)]
    assert action.code == "session_expired"


def test_usage_is_told_every_quarter_of_a_minute() -> None:
    bench = Bench.open()
    bench.take_events()
    due = bench.session.poll_timeout()
    assert due == 100.0 + USAGE_SECONDS
    bench.session.handle_timeout(now=due - 1)
    bench.session.handle_timeout(now=due)
    bench.pump()
    assert [(event["type"], event["usage"]) for event in bench.take_events()] == [
        ("session.usage.updated", {"seconds": USAGE_SECONDS})
    ]
    assert bench.session.poll_timeout() == due + USAGE_SECONDS
    for source in ("channel", "sideband-1"):
        bench.session.detach(source)
    assert bench.session.poll_timeout() is None, "nobody is there to be told"


def test_a_page_sends_and_sees_what_its_session_lets_it() -> None:
    bench = Bench.open(
        conversing=False,
        client={
            "data_channel": {
                "allowed_client_events": ["session.close"],
                "allowed_server_events": [
                    {"type": "session.started"},
                    {"type": "error"},
                    {"type": "response.event", "response_event": "response.created"},
                ],
            }
        },
        delegation=RESPONSES,
    )
    assert bench.events[0][0]["session"]["client"]["data_channel"]["allowed_client_events"] == [
        "session.close"
    ]
    bench.take_events()
    bench.send("session.input_audio.mute")
    assert bench.take_error()["code"] == "event_not_allowed"
    bench.send("session.input_audio.mute", source="sideband-1")
    assert [source for _, source in bench.events] == ["sideband-1"]
    bench.take_events()
    bench.report(FunctionCalled(response_id="r", call_id="c", name="time", arguments="{}"))
    seen = [(event["type"], event.get("event", {}).get("type"), source) for event, source in bench.events]
    assert seen == [
        ("session.delegation.created", None, "sideband-1"),
        ("response.event", "response.created", None),
        ("response.event", "response.output_item.done", "sideband-1"),
        ("response.event", "response.completed", "sideband-1"),
    ]


def test_a_restricted_page_is_told_so_if_it_may_know() -> None:
    allowed = [{"type": "session.started"}, {"type": "info"}]
    bench = Bench.open(conversing=False, client={"data_channel": {"allowed_server_events": allowed}})
    told = [(event["type"], event.get("code"), source) for event, source in bench.events]
    assert told[1] == ("info", "data_channel_permissions", "channel")
    assert len(told) == 3


def test_keys_of_a_telephone_reach_the_agent_and_the_application() -> None:
    bench = Bench.open()
    bench.take_notices()
    bench.take_events()
    bench.notice(InputDtmf("5", 160))
    assert bench.take_notices() == [DtmfReceived(digit="5", duration_ms=160)]
    ((event, source),) = bench.events
    assert (event["type"], event["event"], source) == ("transport.dtmf.received", "5", "sideband-1")


@pytest.mark.parametrize("allowed", ["all", ["voicegate.going_away"], ["session.started"]])
def test_a_client_is_told_that_the_server_goes_away(allowed: str | list[str]) -> None:
    listed = allowed if isinstance(allowed, str) else [{"type": name} for name in allowed]
    bench = Bench.open(client={"data_channel": {"allowed_server_events": listed}})
    for notice in (ServerLeaving(60.0), ServerLeaving(60.0, "who has left")):
        bench.session.handle_notice(notice, now=bench.now)
    told = []
    while (event := bench.session.poll_event()) is not None:
        told.append((json.loads(event.text)["type"], event.source))
    assert told == [("voicegate.going_away", "sideband-1" if "session.started" in allowed else None)]


def test_what_comes_before_the_agent_waits_for_it_up_to_a_limit() -> None:
    bench = Bench.open(conversing=False)
    bench.take_events()
    bench.send("session.commentary.append", content="Hello.")
    assert bench.actions == []
    assert bench.events[-1][0]["type"] == "session.commentary.appended"
    while bench.events[-1][0]["type"] != "error":
        bench.send("session.thinking.append", content="More.")
    assert bench.take_error()["code"] == "agent_not_conversing"
    assert len(bench.events) == MAX_WAITING - 1
    bench.notice(SpeechBegan(0))
    bench.report(ConversationTaken(is_raw=False))
    notices = bench.take_notices()
    assert isinstance(notices[0], SessionUpdated)
    assert text_of(notices[1]) == "Hello."
    assert len(notices) == MAX_WAITING + 1
    bench.report(ConversationTaken(is_raw=False))
    assert bench.take_notices() == []


def test_a_model_upstream_is_spoken_to_as_a_realtime_client_would() -> None:
    bench = Bench.open(raw=True)
    assert [type(notice) for notice in bench.take_notices()] == [SessionUpdated]
    assert bench.actions == [], "it finds turns itself"
    bench.send("session.commentary.append", content="The shop is open.")
    assert bench.take_notices() == [
        ClientEvent(
            event={
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "role": "system",
                    "content": [{"type": "input_text", "text": "The shop is open."}],
                },
            }
        ),
        ClientEvent(event={"type": "response.create"}),
    ]


def test_keys_reach_a_model_upstream_as_they_are_and_nobody_who_is_not_there() -> None:
    bench = Bench.open(raw=True)
    bench.take_notices()
    bench.notice(InputDtmf("5", 160))
    assert bench.take_notices() == [DtmfReceived(digit="5", duration_ms=160)]
    absent = Bench.open(conversing=False)
    absent.notice(InputDtmf("5", 160))
    absent.report(ConversationTaken(is_raw=False))
    assert [type(notice) for notice in absent.take_notices()] == [SessionUpdated], "it was told by itself"


def test_what_a_model_upstream_says_is_translated() -> None:
    bench = Bench.open(raw=True)
    bench.take_events()
    bench.actions.clear()
    for event in (
        {"type": "input_audio_buffer.speech_started"},
        {"type": "conversation.item.input_audio_transcription.delta", "delta": "what"},
        {"type": "conversation.item.input_audio_transcription.completed", "transcript": "what time"},
        {"type": "response.output_audio_transcript.delta", "delta": "Half"},
        {"type": "response.audio_transcript.delta", "delta": " past"},
        {
            "type": "response.function_call_arguments.done",
            "response_id": "r",
            "call_id": "c",
            "name": "f",
            "arguments": "{}",
        },
        {
            "type": "error",
            "error": {"type": "server_error", "code": "oops", "message": "It broke.", "param": None},
        },
        {"type": "error"},
        {"type": "rate_limits.updated"},
        {},
    ):
        bench.report(UpstreamEvent(event=event))
    assert bench.actions == [ClearOutput()]
    events = bench.take_events()
    assert [event.get("delta") or event["type"] for event in events] == [
        "what",
        " time",
        "Half",
        " past",
        "session.delegation.created",
        "error",
    ]
    assert events[-1]["error"] == {"type": "server_error", "code": "oops", "message": "It broke."}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("[]", "invalid_json"),
        ("{}", "missing_required_parameter"),
        ('{"type": 5}', "invalid_type"),
        ('{"type": "session.input_audio.commit"}', "unsupported_event"),
        ('{"type": "session.start", "session": {}}', "unsupported_event"),
        ('{"type": "session.close", "event_id": 1}', "invalid_type"),
        ('{"type": "session.close", "reason": "bored"}', "unknown_parameter"),
        ('{"type": "session.thinking.append"}', "missing_required_parameter"),
        ('{"type": "session.thinking.append", "content": ["x"]}', "invalid_type"),
        ('{"type": "session.thinking.append", "content": "%s"}' % ("x" * 9000), "string_above_max_length"),
    ],
)
def test_what_is_wrong_is_answered_by_an_error_and_changes_nothing(text: str, code: str) -> None:
    bench = Bench.open()
    bench.take_notices()
    bench.take_events()
    bench.actions.clear()
    before = bench.session.describe()
    bench.send_text(text)
    assert bench.take_error()["code"] == code
    assert (bench.actions, bench.events, bench.session.describe()) == ([], [], before)


def test_more_events_than_anybody_needs_are_refused() -> None:
    bench = Bench.open()
    for _ in range(EVENT_BURST + 1):
        bench.send("session.input_audio.mute")
    assert bench.take_error()["code"] == "rate_limit_exceeded"
    bench.now += 1
    bench.send("session.input_audio.mute")
    assert bench.events[-1][0]["type"] == "session.input_audio.muted"


def test_a_session_that_can_not_be_is_refused() -> None:
    with pytest.raises(EventRefused):
        Bench.open(tools=[])


def test_audio_of_the_agent_is_nobodys_business_here() -> None:
    bench = Bench.open()
    bench.take_events()
    bench.session.add_output("r", b"", now=101.0)
    bench.notice(SpeechEnded(5))
    bench.pump()
    assert bench.take_events() == []


KINDS = ("session.update", "session.close", "session.thinking.append", "response.create", "session.nothing")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "delegation", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(KINDS) | VALUES},
            optional={"session": VALUES, "content": VALUES, "event_id": VALUES, "delegation_id": VALUES},
        )
    )
)
def test_nothing_that_a_client_says_raises(events: list[Event]) -> None:
    bench = Bench.open()
    for event in events:
        bench.send_text(json.dumps(event))
