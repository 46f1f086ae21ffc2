"""One answer in the making: chat, cut into sentences, each of which is synthesised while the next is written.

It can be made before it is wanted. Then it goes as far as it can without anybody noticing: nothing is heard,
no tool runs, and a bounded amount of sound waits.
"""

import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import trio

from voicegate.agents.cascade.backend import Backend, BackendError
from voicegate.agents.cascade.chat import ChatReply, Plan, ToolCall
from voicegate.agents.cascade.sentence import SentenceSplitter, speakable
from voicegate.agents.cascade.toolbox import McpTool, Toolbox, ToolResult
from voicegate.errors import WireError
from voicegate.realtime.agent_event import ResponseStatus
from voicegate.wire.json_value import JSON

__all__ = ["Answer", "ApprovalWanted", "Finished", "FunctionWanted", "Part", "Sentence", "ToolRun", "Written"]

MAX_ROUNDS: Final = 8
"""Replies in one answer, each after tools have run: a model that only ever calls tools is stopped."""

_ID_BYTES: Final = 12
_SENTENCES_AHEAD: Final = 2
"""So many are synthesised at once: the one that is heard, and the next."""

_WAITING_PARTS: Final = 64
_WAITING_CHUNKS: Final = 300
"""Of a tenth of a second each: half a minute of a sentence waits until the one before it has been played."""


class Sentence(NamedTuple):
    """Words, and their sound as it comes."""

    text: str
    sound: trio.MemoryReceiveChannel[bytes]


class Written(NamedTuple):
    """Words that are to be read."""

    text: str


class FunctionWanted(NamedTuple):
    """The client is to run a function."""

    call: ToolCall


class ApprovalWanted(NamedTuple):
    """The client is to allow that a tool runs."""

    tool: McpTool
    call: ToolCall


class ToolRun(NamedTuple):
    """A tool has run."""

    tool: McpTool
    call: ToolCall
    result: ToolResult


class Finished(NamedTuple):
    """All has been said."""

    status: ResponseStatus
    reason: str | None


Part: TypeAlias = Sentence | Written | FunctionWanted | ApprovalWanted | ToolRun | Finished

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Answer:
    """Makes the parts of an answer; `parts` is to be read in order."""

    def __init__(self, plan: Plan, *, backend: Backend, toolbox: Toolbox) -> None:
        self.plan: Final = plan
        self.error: str | None = None
        """What went wrong; the parts are not all of the answer then."""
        self._sender, self.parts = trio.open_memory_channel[Part](_WAITING_PARTS)
        self._backend = backend
        self._toolbox = toolbox
        self._wanted = trio.Event()
        self._scope = trio.CancelScope()
        self._voices = trio.Semaphore(_SENTENCES_AHEAD)

    async def run(self) -> None:
        """Make it."""
        with self._scope, self._sender:
            try:
                async with trio.open_nursery() as nursery:
                    await self._think(nursery)
            except* (BackendError, WireError) as group:
                self.error = self.error or str(_first(group))

    def release(self) -> None:
        """It is wanted: tools may run."""
        self._wanted.set()

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._scope.cancel()
        self._sender.close()
        self.parts.close()

    async def _think(self, nursery: trio.Nursery) -> None:
        messages = list(self.plan.messages)
        for _ in range(MAX_ROUNDS):
            reply = await self._reply(nursery, messages)
            if not reply.calls:
                reason = _INCOMPLETE.get(reply.finish_reason or "")
                await self._sender.send(Finished("incomplete" if reason else "completed", reason))
                return
            await self._wanted.wait()
            if not await self._run_tools(reply.calls, messages):
                await self._sender.send(Finished("completed", None))
                return
        raise BackendError(f"chat: still calling tools after {MAX_ROUNDS} replies")

    async def _reply(self, nursery: trio.Nursery, messages: Sequence[JSON]) -> ChatReply:
        reply, splitter = ChatReply(), SentenceSplitter()
        async with self._backend.chat({**self.plan.body, "messages": messages}) as chunks:
            async for chunk in chunks:
                text = reply.handle_chunk(chunk)
                if not self.plan.is_spoken:
                    await self._write(text)
                    continue
                for piece in splitter.push(text):
                    await self._say(nursery, piece)
            if rest := splitter.flush():
                await self._say(nursery, rest)
        return reply

    async def _write(self, text: str) -> None:
        if text:
            await self._sender.send(Written(text))

    async def _say(self, nursery: trio.Nursery, piece: str) -> None:
        sender, receiver = trio.open_memory_channel[bytes](_WAITING_CHUNKS)
        await self._voices.acquire()
        nursery.start_soon(self._synthesise, speakable(piece), sender)
        await self._sender.send(Sentence(piece, receiver))

    async def _synthesise(self, text: str, sender: trio.MemorySendChannel[bytes]) -> None:
        with sender:
            try:
                if text:
                    voice, speed = self.plan.voice, self.plan.speed
                    async with self._backend.speak(text, voice=voice, speed=speed) as sound:
                        async for pcm in sound:
                            await sender.send(pcm)
            except BackendError as error:
                self.error = str(error)  # before whoever hears it wonders why there is no more
                raise
            finally:
                self._voices.release()

    async def _run_tools(self, calls: Sequence[ToolCall], messages: list[JSON]) -> bool:
        """Run what is ours; return whether the model can go on, as it can when all has been run."""
        is_all_run = True
        for given in calls:
            call = given._replace(id=given.id or f"call_{secrets.token_hex(_ID_BYTES)}")
            tool = self._toolbox.find(call.name)
            if tool is None:
                await self._sender.send(FunctionWanted(call))
                is_all_run = False
            elif tool.needs_approval:
                await self._sender.send(ApprovalWanted(tool, call))
                is_all_run = False
            else:
                result = await self._toolbox.run(tool, call)
                await self._sender.send(ToolRun(tool, call, result))
                messages += _exchange(call, result)
        return is_all_run


def _exchange(call: ToolCall, result: ToolResult) -> list[JSON]:
    function = {"name": call.name, "arguments": call.arguments}
    said: JSON = {"id": call.id, "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [said]},
        {"role": "tool", "tool_call_id": call.id, "content": result.error or result.output},
    ]


def _first(fault: BaseException) -> BaseException:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault
