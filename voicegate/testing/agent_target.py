"""Targets of what agents are told by servers that are not ours, and of the secrets that clients bring.

Layer: core (sans-IO).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from voicegate.access import ClientSecrets
from voicegate.agents.cascade.chat import ChatReply
from voicegate.agents.cascade.stream import Decoder, EventDecoder, SampleDecoder, WordsDecoder
from voicegate.errors import WireError
from voicegate.testing.bridge_target import run_bridge, run_playback

__all__ = ["AGENT_CORES", "AGENT_TARGETS"]


def _read_stream(open_decoder: Callable[[], Decoder[Any]], data: bytes) -> None:
    decoder = open_decoder()
    middle = len(data) // 2
    try:
        decoder.push(data[:middle])
        decoder.push(data[middle:])
        decoder.finish()
    except WireError:
        return


def _read_reply(data: bytes) -> None:
    decoder, reply = EventDecoder(), ChatReply()
    try:
        for chunk in [*decoder.push(data), *decoder.finish()]:
            reply.handle_chunk(chunk)
    except WireError:
        return


def _open_secret(data: bytes) -> None:
    secrets = ClientSecrets([bytes(16)], random=bytes)
    try:
        secrets.open(data.decode("latin-1"))
    except WireError:
        return
    raise AssertionError("a secret that we never made")


AGENT_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "agents.cascade.stream.EventDecoder": partial(_read_stream, EventDecoder),
    "agents.cascade.stream.WordsDecoder": partial(_read_stream, partial(WordsDecoder, is_stream=True)),
    "agents.cascade.stream.SampleDecoder": partial(_read_stream, partial(SampleDecoder, sample_rate=24_000)),
    "agents.cascade.chat.ChatReply.handle_chunk": _read_reply,
    "access.secret.ClientSecrets.open": _open_secret,
}

AGENT_CORES: Final[Mapping[str, Callable[[bytes], None]]] = {
    "agents.realtime.bridge.Bridge": run_bridge,
    "socket_call.playback.Playback": run_playback,
}
"""Those that take a script."""
