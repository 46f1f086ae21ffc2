"""All responses of a session: who asked for them, what the agent says, and what the client hears of it.

A response is asked for by the client, begun by the agent, or only known by its audio; such an implicit one
lasts as long as the audio does. Only one of the conversation goes on at a time.

What is played is told apart from what is said: on WebRTC ``output_audio_buffer.started`` comes with the first
packet, and ``stopped`` when all has been played and the response is done; or ``cleared``, and the item is
truncated at what was heard.
"""

from collections import OrderedDict, deque
from typing import Final

from voicegate.realtime.action import CancelResponse, ClearOutput
from voicegate.realtime.agent_event import (
    CancelReason,
    FunctionCalled,
    ItemTruncated,
    McpCalled,
    ResponseBegan,
    ResponseCancelled,
    ResponseEnded,
    ResponseRequested,
    TextAdded,
    TranscriptAdded,
)
from voicegate.realtime.conversation import MAX_ITEMS, Conversation
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.item import MAX_ID, mcp_item
from voicegate.realtime.notice import OutputBegan, OutputDrained, OutputInterrupted
from voicegate.realtime.outbox import Outbox
from voicegate.realtime.response import Playout, Response
from voicegate.wire.json_value import JSONObject

__all__ = ["Responder"]

MAX_RESPONSES: Final = 64
"""That are remembered: those that go on, and the last ones, of which something may still be played."""


class Responder:
    """The responses of one session.

    Args:
        outbox: where events and actions go.
        conversation: where items go.
        conversation_id: its name.
        session: the session at first; set ``session`` when it changes.
        is_played_here: whether the call plays the audio, or the client gets it in events.
    """

    def __init__(
        self,
        outbox: Outbox,
        conversation: Conversation,
        *,
        conversation_id: str,
        session: JSONObject,
        is_played_here: bool,
    ) -> None:
        self.session = session
        self.has_spoken = False
        """Whether the client has been sent any audio."""
        self.dropped = 0
        """Reports and audio that belonged to no response that goes on."""
        self._outbox = outbox
        self._conversation = conversation
        self._conversation_id: Final = conversation_id
        self._is_played_here: Final = is_played_here
        self._responses: OrderedDict[str, Response] = OrderedDict()
        self._implicit: dict[str | None, str] = {}
        """What the agent calls the audio of implicit responses that go on, and what we call them."""
        self._cut_names: deque[str] = deque(maxlen=MAX_RESPONSES)
        """Of audio that was cut short, so that nobody will hear what still comes of it."""
        self._audio_ms: OrderedDict[str, int] = OrderedDict()

    @property
    def active(self) -> Response | None:
        """The conversation's response that goes on."""
        for response in reversed(self._responses.values()):
            if not response.is_done and response.is_in_conversation:
                return response
        return None

    @property
    def is_silent(self) -> bool:
        """Whether nothing goes on, and nothing is being played."""
        return all(
            response.is_done and response.playout is not Playout.PLAYING
            for response in self._responses.values()
        )

    # What the client wants

    def request(self, parameters: JSONObject) -> None:
        """Ask the agent for a response.

        Errors: EventRefused if one goes on already.
        """
        is_detached = parameters.get("conversation") == "none"
        if not is_detached and (active := self.active) is not None:
            raise EventRefused(
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one.",
                code="conversation_already_has_active_response",
            )
        response = self._open(self._outbox.name("resp"), parameters, is_detached=is_detached)
        self._outbox.tell(ResponseRequested(response_id=response.id, parameters=parameters))

    def cancel(self, response_id: str | None) -> None:
        """Cancel the response that goes on, or the one of this name.

        Errors: EventRefused if there is none.
        """
        response = self.active if response_id is None else self._responses.get(response_id)
        if response is None or response.is_done:
            raise EventRefused(
                "Cancellation failed: no active response found.",
                code="response_cancel_not_active",
                param=None if response_id is None else "response_id",
            )
        if response.is_implicit:
            self._outbox.do(ClearOutput())  # It ends with its audio.
        else:
            self._cancel(response, "client_cancelled")

    def abandon(self) -> None:
        """End what another agent has begun, as this one knows nothing of it."""
        for response in list(self._responses.values()):
            if not response.is_implicit:
                self._finish(response, "cancelled", None)

    def interrupt(self) -> None:
        """Cancel what goes on, because the user speaks."""
        for response in list(self._responses.values()):
            if not response.is_done and response.is_in_conversation and not response.is_implicit:
                self._cancel(response, "turn_detected")

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int, *, now: float) -> None:
        """Take it that the user has heard only so much of an item.

        Errors: EventRefused if there is no such item, or not so much of it.
        """
        item = self._conversation.get(item_id)
        parts = item.get("content", ())
        is_audio = content_index < len(parts) and parts[content_index]["type"] == "output_audio"
        if item.get("role") != "assistant" or not is_audio:
            raise EventRefused(
                "Only audio of the assistant can be truncated.", code="invalid_value", param="content_index"
            )
        length_ms = self._length_ms(item_id, now=now)
        if audio_end_ms > length_ms:
            raise EventRefused(
                f"Audio content of {length_ms}ms is already shorter than {audio_end_ms}ms.",
                code="invalid_value",
                param="audio_end_ms",
            )
        self._truncate(item_id, content_index, audio_end_ms)

    # What the agent says

    def handle_report(
        self,
        report: ResponseBegan | TranscriptAdded | TextAdded | FunctionCalled | McpCalled | ResponseEnded,
    ) -> None:
        """Take what the agent does; what belongs to no response that goes on is dropped."""
        if isinstance(report, ResponseBegan):
            self._begin(report.response_id)
            return
        if isinstance(report, McpCalled) and report.item.get("type") == "mcp_list_tools":
            self._list_tools(report.item)
            return
        response = self._responses.get(report.response_id)
        if response is None or response.is_done:
            self.dropped += 1
            return
        response.has_begun = True
        match report:
            case TranscriptAdded(delta=delta):
                response.add_words("audio", delta)
            case TextAdded(delta=delta):
                response.add_words("text", delta)
            case FunctionCalled(call_id=call_id, name=name, arguments=arguments):
                response.call_function(call_id=call_id, name=name, arguments=arguments)
            case McpCalled(item=item):
                self._add_mcp(response, item)
            case ResponseEnded(status=status, reason=reason):
                self._finish(response, status, reason)

    def add_output(self, response_id: str | None, audio: bytes, *, ms: float) -> None:
        """Send audio in an event, or expect some to be played."""
        response = self._speaking(response_id)
        if response is None or response.is_done:
            self.dropped += 1
        elif self._is_played_here:
            response.open_part("audio")
        elif audio:
            self.has_spoken = True
            response.playout = Playout.PLAYING
            response.add_audio(audio)
            response.sent_ms += ms
            self._note_length(response, int(response.sent_ms))

    # What the client hears

    def handle_output(
        self, notice: OutputBegan | OutputDrained | OutputInterrupted, *, is_user_speaking: bool, now: float
    ) -> None:
        """Take what has become of the audio."""
        if isinstance(notice, OutputBegan):
            self._begin_output(notice.response_id, now=now)
            return
        response = self._find(notice.response_id)
        if response is None:
            self.dropped += 1
        elif isinstance(notice, OutputDrained):
            self._drain(response, notice.played_ms)
        else:
            if notice.response_id is not None:
                self._cut_names.append(notice.response_id)
            self._cut(response, notice.heard_ms, is_user_speaking=is_user_speaking)

    # Internals: responses

    def _open(
        self,
        response_id: str,
        parameters: JSONObject,
        *,
        is_detached: bool = False,
        is_implicit: bool = False,
    ) -> Response:
        while len(self._responses) >= MAX_RESPONSES:
            oldest = next(iter(self._responses.values()))
            self._finish(oldest, "cancelled", None)
            self._responses.pop(oldest.id, None)
        response = self._responses[response_id] = Response(
            response_id,
            session=self.session,
            parameters=parameters,
            conversation_id=None if is_detached else self._conversation_id,
            conversation=self._conversation,
            outbox=self._outbox,
            is_implicit=is_implicit,
        )
        return response

    def _begin(self, response_id: str) -> None:
        if response_id in self._responses or not 0 < len(response_id) <= MAX_ID:
            if (known := self._responses.get(response_id)) is not None:
                known.has_begun = True
            return
        for response in list(self._responses.values()):
            # An agent that answers under a name of its own will not answer under the one it was given.
            if not response.is_done and response.is_in_conversation and not response.has_begun:
                self._finish(response, "cancelled", None)
        self._open(response_id, {}).has_begun = True

    def _cancel(self, response: Response, reason: CancelReason) -> None:
        self._outbox.do(CancelResponse(response.id))
        self._outbox.tell(ResponseCancelled(response_id=response.id, reason=reason))
        self._finish(response, "cancelled", reason)

    def _add_mcp(self, response: Response, item: JSONObject) -> None:
        try:
            response.add_mcp(mcp_item(item, item_id=self._outbox.name("item")))
        except EventRefused:
            self.dropped += 1

    def _list_tools(self, item: JSONObject) -> None:
        """Show the tools of an MCP server, which belongs to no response."""
        try:
            listed = mcp_item(item, item_id=self._outbox.name("item"))
        except EventRefused:
            self.dropped += 1
            return
        previous = self._conversation.append(listed)
        self._outbox.send("conversation.item.added", previous_item_id=previous, item={**listed, "tools": []})
        for what in ("in_progress", "completed"):
            self._outbox.send(f"mcp_list_tools.{what}", item_id=listed["id"])
        self._outbox.send("conversation.item.done", previous_item_id=previous, item=listed)

    def _finish(self, response: Response, status: str, reason: str | None) -> None:
        if response.is_done:
            return
        response.finish(status, reason)
        if response.is_implicit:
            self._implicit = {key: name for key, name in self._implicit.items() if name != response.id}
        if response.playout is Playout.DRAINED:
            self._stop(response)

    # Internals: audio

    def _find(self, response_id: str | None) -> Response | None:
        """Return the response that the agent's audio of this name belongs to."""
        name = self._implicit.get(response_id, response_id)
        return None if name is None else self._responses.get(name)

    def _speaking(self, response_id: str | None) -> Response | None:
        """Return the response that audio belongs to, an implicit one if need be; None if it was cut."""
        response = self._find(response_id)
        if response is None and response_id not in self._cut_names:
            response = self._open(self._outbox.name("resp"), {}, is_implicit=True)
            self._implicit[response_id] = response.id
        return response

    def _begin_output(self, response_id: str | None, *, now: float) -> None:
        response = self._speaking(response_id)
        if response is None or response.playout is Playout.OVER:
            self.dropped += 1
            return
        self.has_spoken = True
        response.playing_since = now
        if not response.is_done:
            response.open_part("audio")
        if response.playout is Playout.SILENT:
            self._tell_playout(response, "started")
        response.playout = Playout.PLAYING

    def _drain(self, response: Response, played_ms: int) -> None:
        self._end_playing(response, played_ms)
        if response.playout is not Playout.PLAYING:
            return
        response.playout = Playout.DRAINED
        if response.is_implicit:
            self._finish(response, "completed", None)
        elif response.is_done:
            self._stop(response)

    def _cut(self, response: Response, heard_ms: int, *, is_user_speaking: bool) -> None:
        self._end_playing(response, heard_ms)
        if response.is_implicit:
            reason = "turn_detected" if is_user_speaking else "client_cancelled"
            self._finish(response, "cancelled", reason)
        if response.playout in (Playout.PLAYING, Playout.DRAINED):
            self._tell_playout(response, "cleared")
        response.playout = Playout.OVER
        item_id = response.audio_item_id
        # Whoever gets the audio in events knows best how much of it was heard.
        if self._is_played_here and item_id is not None:
            item = self._conversation.find(item_id)
            if item is None:
                response.cut()
            else:
                index = [part["type"] for part in item["content"]].index("output_audio")
                self._truncate(item_id, index, heard_ms)

    def _stop(self, response: Response) -> None:
        response.playout = Playout.OVER
        self._tell_playout(response, "stopped")

    def _tell_playout(self, response: Response, what: str) -> None:
        if self._is_played_here:
            self._outbox.send(f"output_audio_buffer.{what}", response_id=response.id)

    def _end_playing(self, response: Response, heard_ms: int) -> None:
        response.playing_since = None
        response.heard_ms = max(response.heard_ms, heard_ms)
        if self._is_played_here:
            self._note_length(response, response.heard_ms)

    def _note_length(self, response: Response, length_ms: int) -> None:
        if (item_id := response.audio_item_id) is not None:
            self._audio_ms[item_id] = length_ms
            if len(self._audio_ms) > MAX_ITEMS:
                self._audio_ms.popitem(last=False)

    def _length_ms(self, item_id: str, *, now: float) -> int:
        """Return how much of an item can have been heard."""
        for response in self._responses.values():
            since = response.playing_since
            if self._is_played_here and since is not None and response.audio_item_id == item_id:
                return response.heard_ms + int((now - since) * 1000)
        return self._audio_ms.get(item_id, 0)

    def _truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        self._audio_ms[item_id] = audio_end_ms
        for response in self._responses.values():
            if response.audio_item_id == item_id:
                response.cut()
        item = self._conversation.get(item_id)
        item["content"][content_index]["transcript"] = None
        self._conversation.recount(item)
        self._outbox.send(
            "conversation.item.truncated",
            item_id=item_id,
            content_index=content_index,
            audio_end_ms=audio_end_ms,
        )
        self._outbox.tell(ItemTruncated(item_id=item_id, audio_end_ms=audio_end_ms))
