"""What a relay worker and its supervisor say to each other: a JSON object per line, on the worker's stdio.

1. To the worker: ``{"secrets": ["<base64>"], "public": [["127.0.0.1", 3478]], "hop": ["127.0.0.1", 0]}``
2. From it: ``{"ready": {"public": [["127.0.0.1", 3478]], "hop": ["127.0.0.1", 4711]}}``,
   or ``{"error": "cannot bind UDP ..."}``, and it ends
3. To it, at any time: ``{"transceivers": {"17": ["127.0.0.1", 9000]}}``, the whole list
4. To it, at any time: ``{"statistics": 1}``, and from it: ``{"statistics": 1, "relay": {...}}``

The end of its stdin tells the worker that its supervisor is gone. Secrets go this way because command
lines and environments can be read by others.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import attrs
import trio

from voicegate.errors import WireError
from voicegate.relay.router import RouterStatistics
from voicegate.wire.path import Address

__all__ = ["ControlChannel", "ControlMessage", "RelayConfig", "RelayStatistics", "decode_transceivers"]

ControlMessage: TypeAlias = dict[str, Any]

_LINE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes in a line at most: a table of some 300 000 transceivers."""


@attrs.frozen(kw_only=True)
class RelayConfig:
    """What a relay needs to know from the start."""

    secrets: Sequence[bytes] = attrs.field(repr=False)
    """The cluster's secrets, the present one first."""
    public: Sequence[Address]
    """Where clients send to. One per family at most: a reply must leave from the address that the client
    sent to."""
    hop: Address
    """Where transceivers send to."""

    @classmethod
    def from_json(cls, value: ControlMessage) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            secrets=[b64decode(secret) for secret in value["secrets"]],
            public=[(host, port) for host, port in value["public"]],
            hop=(value["hop"][0], value["hop"][1]),
        )

    def to_json(self) -> ControlMessage:
        """Write it as the first line to a worker."""
        secrets = [b64encode(secret).decode() for secret in self.secrets]
        return {"secrets": secrets, "public": list(self.public), "hop": self.hop}


@attrs.frozen(kw_only=True)
class RelayStatistics:
    """The counters of one worker since it was started."""

    router: RouterStatistics
    socket_errors: Mapping[str, int]
    """What the kernel refused, by socket, direction and errno name, such as ``public IPv4 send EAGAIN``."""
    clients_without_socket: int
    """Packets for clients of a kind (IPv4, IPv6, stream) that this relay has no public address for."""

    @classmethod
    def from_json(cls, value: ControlMessage) -> Self:
        """Read what `to_json` wrote."""
        return cls(**{**value, "router": RouterStatistics(**value["router"])})

    def to_json(self) -> ControlMessage:
        """Write it as the ``relay`` of an answer."""
        return attrs.asdict(self)


class ControlChannel:
    """One end of the conversation; leaving it closes the stream.

    One task may send while another receives. Both always checkpoint.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stream.aclose()

    async def send(self, message: ControlMessage) -> None:
        """Send one message; not to be cancelled if more are to follow.

        Errors: trio.BrokenResourceError when the other end is gone.
        """
        await self._stream.send_all(json.dumps(message).encode() + b"\n")

    async def receive(self) -> ControlMessage | None:
        """Wait for a message; None when the other end is gone.

        Errors: WireError when a line is too long or not a JSON object.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LINE_LIMIT:
                raise WireError(f"control line longer than {_LINE_LIMIT} bytes")
            chunk = await self._stream.receive_some()
            if not chunk:
                return None
            self._buffer += chunk
        line = self._buffer[:end]
        del self._buffer[: end + 1]
        try:
            message = json.loads(line)
        except ValueError as error:
            raise WireError("control line is not JSON") from error
        if not isinstance(message, dict):
            raise WireError("control line is not a JSON object")
        return message


def decode_transceivers(value: Mapping[str, Sequence[Any]]) -> dict[int, Address]:
    """Read the ``transceivers`` of a message."""
    return {int(id_): (host, port) for id_, (host, port) in value.items()}
