"""An answer of the agent's: what is said, in which words, and how it ends."""

import secrets
from types import TracebackType
from typing import Final, NamedTuple, Self

import trio

from voicegate.call.control import CallControl
from voicegate.call.output import AudioOutput
from voicegate.errors import UsageError
from voicegate.realtime.agent_event import (
    AgentReport,
    FunctionCalled,
    McpCalled,
    ResponseBegan,
    ResponseEnded,
    ResponseStatus,
    TextAdded,
    TranscriptAdded,
)
from voicegate.wire.json_value import JSONObject

__all__ = ["Response", "Said"]

_ID_BYTES: Final = 12
"""Nobody guesses or meets an identifier twice."""


class Said(NamedTuple):
    """What became of something that was said."""

    heard_ms: int
    """How much of it the client has received."""
    is_interrupted: bool
    """Whether it was cut short: the user spoke, or it was cancelled."""


class Response:
    """One answer; as a context manager, it ends with its block.

    Inside ``with call.respond() as response:`` what is awaited is cancelled as soon as nobody wants the
    answer any more: the user talks over it, or the client cancels it. The program then goes on behind the
    block. An exception that leaves the block ends the response as failed, an outer cancellation as cancelled.

    Nothing comes of what is sent for a response that has been cut short.
    """

    def __init__(self, response_id: str | None, *, control: CallControl, output: AudioOutput) -> None:
        self.id: Final = response_id or f"resp_{secrets.token_hex(_ID_BYTES)}"
        self._control = control
        self._output = output
        self._playback = output.follow(self.id)
        control.report(ResponseBegan(response_id=self.id))

    @property
    def is_cut(self) -> bool:
        """Whether it was interrupted or cancelled: no more of it is wanted."""
        return self._playback.is_cut

    async def send(self, pcm: bytes) -> None:
        """Say 16-bit mono samples, and wait until no more than two seconds are ahead of the client's ear.

        Errors: UsageError when the last sample is incomplete, or when the response has ended.
        Cancellation: a checkpoint always; when cancelled, the samples are already queued.
        """
        self._check_open()
        await self._output.send(pcm, response_id=self.id)

    def send_nowait(self, pcm: bytes) -> None:
        """Say 16-bit mono samples; past a minute the oldest that wait are dropped.

        Errors: as `send`.
        """
        self._check_open()
        self._output.send_nowait(pcm, response_id=self.id)

    def transcript(self, delta: str) -> None:
        """Add to the words of what is said.

        Errors: UsageError when the response has ended.
        """
        self._report(TranscriptAdded(response_id=self.id, delta=delta))

    def text(self, delta: str) -> None:
        """Add to an answer in writing.

        Errors: UsageError when the response has ended.
        """
        self._report(TextAdded(response_id=self.id, delta=delta))

    def function_call(self, name: str, arguments: str, call_id: str | None = None) -> str:
        """Have the client run a function; return the id with which its output will come as an item.

        Args:
            name: Of a tool of the session's.
            arguments: A JSON object, as text.
            call_id: To choose that id, as when it comes from a model.

        Errors: UsageError when the response has ended.
        """
        call_id = call_id or f"call_{secrets.token_hex(_ID_BYTES)}"
        self._report(FunctionCalled(response_id=self.id, call_id=call_id, name=name, arguments=arguments))
        return call_id

    def mcp(self, item: JSONObject) -> None:
        """Show what came of an MCP server: an ``mcp_call``, ``mcp_list_tools`` or ``mcp_approval_request``.

        Errors: UsageError when the response has ended.
        """
        self._report(McpCalled(response_id=self.id, item=item))

    def end(self, status: ResponseStatus = "completed", reason: str | None = None) -> None:
        """Say that nothing more comes of it; what was sent is still played. Only the first end counts."""
        if not self._playback.is_ended:
            self._playback.is_ended = True
            self._control.report(ResponseEnded(response_id=self.id, status=status, reason=reason))

    async def wait_played(self) -> Said:
        """Wait until all that was sent has left for the client, or has been cut short.

        Whatever else is queued counts, too.
        Cancellation: a checkpoint always.
        """
        playback = self._playback
        await self._output.wait_played(playback)
        if not playback.is_cut:
            return Said(round(playback.sent_ms), is_interrupted=False)
        heard_ms = playback.heard_ms
        return Said(self._output.heard_ms_of(self.id) if heard_ms is None else heard_ms, is_interrupted=True)

    def __enter__(self) -> Self:
        self._playback.scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if _is_cancellation(fault) or (fault is None and self.is_cut):
            self.end("cancelled")
        else:
            self.end("completed" if fault is None else "failed")
        return self._playback.scope.__exit__(kind, fault, traceback)

    def _report(self, event: AgentReport) -> None:
        self._check_open()
        if not self.is_cut:
            self._control.report(event)

    def _check_open(self) -> None:
        if self._playback.is_ended:
            raise UsageError("this response has ended")


def _is_cancellation(fault: BaseException | None) -> bool:
    if isinstance(fault, BaseExceptionGroup):
        return fault.split(trio.Cancelled)[1] is None
    return isinstance(fault, trio.Cancelled)
