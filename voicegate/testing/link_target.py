"""The link, fed with whatever a fuzzer likes."""

from collections import deque
from typing import Final

from voicegate.agents.link.codec import AgentCodec, Fault, GatewayCodec
from voicegate.agents.process.message import CallOpened
from voicegate.call import AudioFrame
from voicegate.errors import UsageError, WireError
from voicegate.link import FORMATS, Frame, Journal
from voicegate.testing.script import read_script, require

__all__ = ["read_from_agent", "read_from_gateway", "run_journal"]

_CALL: Final = 1
_RATE: Final = 24_000


class _Session:
    sample_rate = _RATE


def _message(data: bytes) -> bytes | str:
    """Take the first byte's word for whether the rest is text."""
    return data[1:].decode(errors="replace") if data[:1] < b"\x80" else data[1:]


def read_from_agent(data: bytes) -> None:
    """Read what an agent says, which never raises; what is no fault can be said again."""
    gateway, agent = GatewayCodec(lone_call=_CALL), AgentCodec(lone_call=_CALL)
    gateway.open(_CALL, _Session(), FORMATS["pcm16/24000"])
    opened = CallOpened(
        call_id="x", sample_rate=_RATE, codec="opus", clock_rate=48_000, metadata="{}", has_channels=True
    )
    list(agent.read(gateway.encode(_CALL, opened)))
    for call, said in gateway.read(_message(data)):
        if isinstance(said, Fault | Frame) or call != _CALL:
            continue
        try:
            again = agent.encode(call, said)
        except UsageError:  # An id that is longer as text than it was.
            continue
        for _, heard in gateway.read(again):
            require(type(heard) is type(said), "what was read is written and read the same")


def read_from_gateway(data: bytes) -> None:
    """Read what a gateway says: only WireError leaves it."""
    agent = AgentCodec(lone_call=_CALL)
    try:
        for _, heard in agent.read(_message(data)):
            require(not isinstance(heard, AudioFrame) or heard.sample_rate > 0, "a frame has a rate")
    except WireError:
        return


def run_journal(data: bytes) -> None:
    """Let messages cross a socket that breaks wherever it likes: nothing is lost and nothing comes twice."""
    sender, receiver = Journal(), Journal()
    wire: deque[bytes] = deque()
    sent: list[bytes] = []
    received: list[bytes] = []
    for kind, _, message in read_script(data):
        if kind % 4 < 2 and not sender.is_full:
            sender.send(message)
            sent.append(message)
            wire.append(message)
        elif kind % 4 == 2 and wire:
            received.append(wire.popleft())
            receiver.receive(received[-1])
            if (count := receiver.poll_acknowledgement(is_late=kind & 4 != 0)) is not None:
                sender.acknowledge(count)
        elif kind % 4 == 3:
            wire = deque(again for again in sender.resume(receiver.received) if isinstance(again, bytes))
        require(sent[: len(received)] == received, "what arrives is what was sent, in order, once")
    again = sender.resume(receiver.received)
    require([*received, *again] == sent, "what has not arrived is still there")
    require(sender.held_bytes == sum(map(len, again)), "all that is kept is counted")
