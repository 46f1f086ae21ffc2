"""What the user says: where a turn begins and ends, the item it becomes, and its words."""

from typing import Final

from voicegate.realtime.agent_event import InputCommitted, InputTranscribed, ItemAdded
from voicegate.realtime.conversation import Conversation
from voicegate.realtime.item import copy_item, spoken_message
from voicegate.realtime.outbox import Outbox
from voicegate.wire.json_value import JSON

__all__ = ["UserTurns"]

MAX_WORDS: Final = 1024 * 1024
"""Characters of the words of one turn; the rest is cut off."""

_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"


class UserTurns:
    """The turns of one user. Positions are milliseconds of the audio in.

    Args:
        outbox: where events and notices go.
        conversation: where the turns' items go.
    """

    def __init__(self, outbox: Outbox, conversation: Conversation) -> None:
        self._outbox = outbox
        self._conversation = conversation
        self._item_id: str | None = None
        self._is_speech = False
        self._start_ms = 0
        self._committed_ms = 0
        self._words: str | None = None
        self._last: tuple[str, float] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the user is saying something."""
        return self._item_id is not None

    def begin(self, position_ms: int, *, prefix_ms: int) -> None:
        """Take it that the user speaks; a turn begins unless there is one."""
        if self._is_speech:
            return
        self._is_speech = True
        self._start_ms = max(self._committed_ms, position_ms - prefix_ms, 0)
        self._outbox.send(
            "input_audio_buffer.speech_started", audio_start_ms=self._start_ms, item_id=self._present_id()
        )

    def commit(self, position_ms: int) -> None:
        """Let the turn be over: it becomes an item."""
        item_id, end_ms = self._present_id(), max(position_ms, self._start_ms)
        if self._is_speech:
            self._outbox.send("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item_id)
        self._add_item(item_id, self._start_ms, end_ms)

    def commit_silence(self, start_ms: int, end_ms: int) -> None:
        """Take it for a turn that the user has said nothing for so long."""
        item_id = self._present_id()
        self._outbox.send(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=start_ms,
            audio_end_ms=end_ms,
            item_id=item_id,
        )
        self._add_item(item_id, start_ms, end_ms)

    def forget(self, position_ms: int) -> None:
        """Take it that nothing has been said so far."""
        self._item_id, self._is_speech, self._words = None, False, None
        self._start_ms = self._committed_ms = position_ms

    def transcribe(self, report: InputTranscribed, *, is_wanted: bool) -> None:
        """Take words of a turn; the client gets them if it has asked for a transcription."""
        item_id = report.item_id or self._item_id or (None if self._last is None else self._last[0])
        if item_id is None:
            return
        text = report.text[:MAX_WORDS]
        if report.is_final and item_id == self._item_id:
            self._words = text  # until there is an item
            return
        item = self._conversation.find(item_id)
        if item_id != self._item_id and (item is None or not _is_spoken(item)):
            return
        if report.is_final and item is not None:
            self._complete(item, text, is_wanted=is_wanted)
        elif text and is_wanted:
            self._outbox.send(f"{_TRANSCRIPTION}.delta", item_id=item_id, content_index=0, delta=text)

    def complete(self, *, is_wanted: bool) -> None:
        """Send the words of the last turn that were there before it was over."""
        if self._words is None or self._last is None:
            return
        words, self._words = self._words, None
        if (item := self._conversation.find(self._last[0])) is not None:
            self._complete(item, words, is_wanted=is_wanted)

    # Internals

    def _present_id(self) -> str:
        if self._item_id is None:
            self._item_id = self._outbox.name("item")
        return self._item_id

    def _add_item(self, item_id: str, start_ms: int, end_ms: int) -> None:
        item = spoken_message(item_id)
        previous = self._conversation.append(item)
        self._outbox.send("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous)
        for what in ("added", "done"):
            self._outbox.send(f"conversation.item.{what}", previous_item_id=previous, item=item)
        self._outbox.tell(ItemAdded(item=copy_item(item), previous_item_id=previous))
        self._outbox.tell(InputCommitted(item_id=item_id, audio_start_ms=start_ms, audio_end_ms=end_ms))
        self._last = item_id, (end_ms - start_ms) / 1000
        words = self._words
        self.forget(end_ms)
        self._words = words

    def _complete(self, item: dict[str, JSON], words: str, *, is_wanted: bool) -> None:
        item["content"][0]["transcript"] = words
        self._conversation.recount(item)
        if is_wanted:
            is_last = self._last is not None and self._last[0] == item["id"]
            self._outbox.send(
                f"{_TRANSCRIPTION}.completed",
                item_id=item["id"],
                content_index=0,
                transcript=words,
                usage={"type": "duration", "seconds": self._last[1] if is_last and self._last else 0.0},
            )


def _is_spoken(item: dict[str, JSON]) -> bool:
    content = item.get("content", ())
    return item.get("role") == "user" and len(content) > 0 and content[0]["type"] == "input_audio"
