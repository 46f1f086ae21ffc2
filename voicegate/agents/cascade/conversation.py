"""A call's conversation: what happens in it comes in, and is brought to the three models and back."""

import math
import secrets
from collections import deque
from typing import Final

import structlog
import trio

from voicegate.agents.cascade.answer import (
    Answer,
    ApprovalWanted,
    Finished,
    FunctionWanted,
    Sentence,
    ToolRun,
    Written,
)
from voicegate.agents.cascade.backend import Backend, BackendError
from voicegate.agents.cascade.chat import Plan, ToolCall, plan_answer
from voicegate.agents.cascade.history import History
from voicegate.agents.cascade.options import CascadeOptions
from voicegate.agents.cascade.toolbox import McpTool, Toolbox, ToolResult
from voicegate.agents.cascade.turn import (
    Forget,
    Guess,
    Recognise,
    ShowPartial,
    StopRecognising,
    TranscriptFailed,
    TranscriptKnown,
    Turns,
)
from voicegate.audio.pcm import FRAMES_PER_SECOND, SAMPLE_BYTES
from voicegate.call import AudioFrame, Call, CallEvent, EncodedFrame, Response, SpeechStarted, SpeechStopped
from voicegate.realtime.agent_event import (
    InputCommitted,
    ItemAdded,
    ItemDeleted,
    ItemTruncated,
    ResponseCancelled,
    ResponseRequested,
    SessionUpdated,
)
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["Conversation"]

_PRE_ROLL_MS: Final = 300
"""Before the first voiced frame, too soft for the detector, the first syllable may already have begun."""

_TURN_FRAMES: Final = 60 * FRAMES_PER_SECOND
"""A minute is remembered, 3 MB; of a longer turn the end is recognised."""

_MS_PER_LETTER: Final = 65
"""As long as synthesised speech takes for one, on average: to guess how long a sentence would have become."""

_MAX_APPROVALS: Final = 32
"""Tools that wait to be allowed; then the oldest are forgotten."""

_ID_BYTES: Final = 12

_log = structlog.get_logger(__name__)


class Conversation:
    """The conversation of one call.

    Args:
        call: Not listened to by anybody else.
        options: The operator's.
        backend: The models.
        toolbox: What the model can use.
        nursery: For what goes on beside the events.
    """

    def __init__(
        self,
        call: Call,
        options: CascadeOptions,
        *,
        backend: Backend,
        toolbox: Toolbox,
        nursery: trio.Nursery,
    ) -> None:
        self._call = call
        self._options = options
        self._backend = backend
        self._toolbox = toolbox
        self._nursery = nursery
        self._ear = _Ear()
        self._history = History(max_items=options.max_history)
        self._turns = Turns(can_guess=options.guesses, partial_seconds=options.partial_seconds)
        self._recognitions: dict[int, trio.CancelScope] = {}
        self._draft: Answer | None = None
        self._failure: str | None = None
        """Why the words of the last turn are not known."""
        self._has_heard_nothing = False
        """Whether the last turn was no speech."""
        self._approvals: dict[str, ApprovalWanted] = {}
        self._approved_running = 0
        self._late_items: list[JSONObject] = []
        """What is to be shown with the next answer: it came when there was none."""
        self._changes = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Converse until cancelled."""
        self._call.use_rate(self._options.sample_rate)
        self._call.listen(self._ear)
        self._call.converse()
        while True:
            deadline = self._turns.poll_timeout()
            with trio.CancelScope(deadline=math.inf if deadline is None else deadline):
                event = await self._call.events.receive()
                self._handle(event)
            self._turns.handle_timeout(now=trio.current_time())
            self._act()

    def _handle(self, event: CallEvent) -> None:
        match event:
            case SpeechStarted(position_ms=at):
                if not self._ear.is_in_turn:
                    self._ear.start_turn(at - _PRE_ROLL_MS)
                self._turns.handle_speech_started(max(0, at - _PRE_ROLL_MS), now=trio.current_time())
            case SpeechStopped(position_ms=at):
                self._turns.handle_speech_stopped(at)
            case InputCommitted(item_id=item_id, audio_start_ms=start, audio_end_ms=end):
                self._turns.handle_committed(item_id, start, end)
                self._act()  # while what was said is still remembered
                self._ear.end_turn(end)
            case ItemAdded(item=item, previous_item_id=after):
                self._add_item(item, after)
            case ItemDeleted(item_id=item_id):
                self._history.delete(item_id)
            case ItemTruncated(item_id=item_id, audio_end_ms=end):
                self._history.truncate_item(item_id, end)
            case SessionUpdated(session=session):
                self._toolbox.follow(session.get("tools"))
            case ResponseRequested(response_id=response_id, parameters=parameters):
                self._nursery.start_soon(self._respond, self._call.respond(response_id), parameters)
            case ResponseCancelled(response_id=response_id):
                # Again, for one that was cancelled before we had begun with it.
                self._call.audio_out.handle_cancelled(response_id)
            case _:
                pass

    def _add_item(self, item: JSONObject, after: str | None) -> None:
        if item.get("type") == "mcp_approval_response":
            wanted = self._approvals.pop(str(item.get("approval_request_id")), None)
            if wanted is not None and item.get("approve") is True:
                self._approved_running += 1
                self._nursery.start_soon(self._run_approved, wanted)
            elif wanted is not None:
                self._note_call(wanted.call, ToolResult("", "the user did not allow this"))
            return
        is_typed = item.get("type") != "message" or any(
            part.get("type") != "input_audio" for part in item.get("content") or ()
        )
        if is_typed:
            self._has_heard_nothing = False
            self._failure = None
        self._history.add_item(item, after=after)

    # What the user says

    def _act(self) -> None:
        while (action := self._turns.poll_action()) is not None:
            match action:
                case Recognise(number=number, start_ms=start, end_ms=end):
                    scope = self._recognitions[number] = trio.CancelScope()
                    self._nursery.start_soon(self._recognise, number, scope, self._ear.cut(start, end))
                case StopRecognising(number=number):
                    if number in self._recognitions:
                        self._recognitions[number].cancel()
                case Guess(text=text):
                    self._prepare(text)
                case Forget():
                    self._drop_draft()
                case ShowPartial(delta=delta):
                    self._call.transcribe(delta, is_final=False)
                case TranscriptKnown(item_id=item_id, text=text):
                    self._call.transcribe(text, item_id=item_id)
                    self._history.set_transcript(item_id, text)
                    self._has_heard_nothing = not text
                    self._failure = None
                case TranscriptFailed(reason=reason):
                    self._failure = reason
        self._changes.unpark_all()

    async def _recognise(self, number: int, scope: trio.CancelScope, pcm: bytes) -> None:
        try:
            with scope:
                async with self._backend.transcribe(pcm, language=self._language()) as results:
                    async for words in results:
                        self._turns.handle_words(number, words.text, is_final=words.is_final)
                        self._act()
        except BackendError as error:
            _log.warning("not recognised", call=self._call.id, error=str(error))
            self._turns.handle_failure(number, str(error))
            self._act()
        finally:
            del self._recognitions[number]

    def _language(self) -> str | None:
        languages = self._options.languages
        audio = self._call.session.get("audio") or {}
        asked = ((audio.get("input") or {}).get("transcription") or {}).get("language")
        if isinstance(asked, str) and (not languages or asked in languages):
            return asked
        return languages[0] if len(languages) == 1 else None

    # Answers

    def _plan(self, parameters: JSONObject, guess: str | None = None) -> Plan:
        return plan_answer(
            self._options,
            session=self._call.session,
            parameters=parameters,
            history=self._history,
            tools=self._toolbox.functions(),
            guess=guess,
        )

    def _start(self, plan: Plan) -> Answer:
        answer = Answer(plan, backend=self._backend, toolbox=self._toolbox)
        self._nursery.start_soon(answer.run)
        return answer

    def _prepare(self, text: str) -> None:
        """Begin with the answer to a guess, unless the same is being prepared."""
        detection = ((self._call.session.get("audio") or {}).get("input") or {}).get("turn_detection") or {}
        if detection.get("create_response") is False:
            return
        plan = self._plan({}, guess=text)
        if self._draft is not None and self._draft.error is None and self._draft.plan.is_good_for(plan):
            return
        self._drop_draft()
        self._draft = self._start(plan)

    def _drop_draft(self) -> None:
        if self._draft is not None:
            self._draft.cancel()
            self._draft = None

    def _take(self, plan: Plan) -> Answer:
        """Return the draft if it fits, else a new answer."""
        draft, self._draft = self._draft, None
        if draft is None or draft.error is not None or not draft.plan.is_good_for(plan):
            if draft is not None:
                draft.cancel()
            draft = self._start(plan)
        draft.release()
        return draft

    async def _respond(self, response: Response, parameters: JSONObject) -> None:
        with response:
            while not self._turns.is_settled or self._approved_running:
                await self._changes.park()
            await self._toolbox.wait_ready()
            for item in [*self._toolbox.take_news(), *self._late_items]:
                response.mcp(item)
            self._late_items.clear()
            if self._failure is not None:
                response.end("failed", self._failure)
            elif not self._has_heard_nothing:
                is_apart = parameters.get("conversation") == "none"
                history = History(max_items=1) if is_apart else self._history
                await self._deliver(self._take(self._plan(parameters)), response, history)
            self._failure = None
        said = await response.wait_played()
        if said.is_interrupted:
            self._history.truncate_response(response.id, said.heard_ms)

    async def _deliver(self, answer: Answer, response: Response, history: History) -> None:
        """Let the user have the parts of an answer as they come."""
        try:
            async for part in answer.parts:
                match part:
                    case Sentence(text=text, sound=sound):
                        await self._speak(text, sound, response, history)
                    case Written(text=text):
                        response.text(text)
                        history.add_words(response.id, text, 0)
                    case FunctionWanted(call=call):
                        response.function_call(call.name, call.arguments, call.id)
                        history.add_call(*call)
                    case ApprovalWanted():
                        response.mcp(self._ask_approval(part))
                    case ToolRun(tool=tool, call=call, result=result):
                        response.mcp(_mcp_call(tool, call, result))
                        self._note_call(call, result, history)
                    case Finished(status=status, reason=reason) if answer.error is None:
                        response.end(status, reason)
                    case Finished():
                        pass
            if answer.error is not None:
                _log.warning("answer failed", call=self._call.id, error=answer.error)
                response.end("failed", answer.error)
        finally:
            answer.cancel()

    async def _speak(
        self, text: str, sound: trio.MemoryReceiveChannel[bytes], response: Response, history: History
    ) -> None:
        sent = 0
        is_whole = False
        try:
            async for pcm in sound:
                if not sent:
                    response.transcript(text)
                sent += len(pcm)
                await response.send(pcm)
            is_whole = True
        finally:
            length_ms = sent * 1000 // (SAMPLE_BYTES * self._options.sample_rate)
            if sent:
                estimate = length_ms if is_whole else max(length_ms, _MS_PER_LETTER * len(text))
                history.add_words(response.id, text, estimate)

    # Tools

    def _ask_approval(self, wanted: ApprovalWanted) -> JSONObject:
        item_id = f"mcpr_{secrets.token_hex(_ID_BYTES)}"
        self._approvals[item_id] = wanted
        if len(self._approvals) > _MAX_APPROVALS:
            del self._approvals[next(iter(self._approvals))]
        return {
            "id": item_id,
            "type": "mcp_approval_request",
            "server_label": wanted.tool.server,
            "name": wanted.tool.name,
            "arguments": wanted.call.arguments,
        }

    async def _run_approved(self, wanted: ApprovalWanted) -> None:
        result = await self._toolbox.run(wanted.tool, wanted.call)
        self._note_call(wanted.call, result)
        self._late_items.append(_mcp_call(wanted.tool, wanted.call, result))
        self._approved_running -= 1
        self._changes.unpark_all()

    def _note_call(self, call: ToolCall, result: ToolResult, history: History | None = None) -> None:
        history = self._history if history is None else history
        history.add_call(*call)
        history.add_result(call.id, result.output if result.error is None else result.error)


class _Ear:
    """What was heard lately, and when."""

    is_encoded: Final = False

    def __init__(self) -> None:
        self._frames: deque[AudioFrame] = deque(maxlen=_TURN_FRAMES)
        self.is_in_turn = False

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        if isinstance(frame, AudioFrame):
            self._frames.append(frame)

    def cut(self, start_ms: int, end_ms: int | None) -> bytes:
        """Return the samples between two moments of the call."""
        return b"".join(
            frame.pcm
            for frame in self._frames
            if frame.position * 1000 >= start_ms * frame.sample_rate
            and (end_ms is None or frame.position * 1000 < end_ms * frame.sample_rate)
        )

    def start_turn(self, start_ms: int) -> None:
        self.is_in_turn = True
        self._forget(start_ms)

    def end_turn(self, end_ms: int) -> None:
        self.is_in_turn = False
        self._forget(end_ms)

    def _forget(self, until_ms: int) -> None:
        while self._frames and self._frames[0].position * 1000 < until_ms * self._frames[0].sample_rate:
            self._frames.popleft()


def _mcp_call(tool: McpTool, call: ToolCall, result: ToolResult) -> dict[str, JSON]:
    error = None if result.error is None else {"type": "tool_execution_error", "message": result.error}
    return {
        "type": "mcp_call",
        "server_label": tool.server,
        "name": tool.name,
        "arguments": call.arguments,
        "output": result.output,
        "error": error,
    }
