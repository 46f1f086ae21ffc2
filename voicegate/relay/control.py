"""What a relay worker and its supervisor say to each other, over a `voicegate.child.channel.ControlChannel`.

1. To the worker, a `WorkerConfig`: ``{"secrets": ["<base64>"], "public": [5], "hop": 6, ...}``. Sockets are
   numbers of descriptors that the worker inherits.
2. From it: ``{"ready": true}``, or ``{"error": "..."}``, and it ends
3. To it, at any time: ``{"transceivers": {"17": ["127.0.0.1", 9000]}}``, the whole list
4. From it, when there is a directory: ``{"rows": {"<key>": 17, "<key>": null}}``, flows that lead to a
   transceiver, and such as have ended
5. From it, when there is a directory: ``{"lookup": 1, "keys": ["<key>"]}``, and to it:
   ``{"found": 1, "flows": {"<key>": 17}}``, those of them that are known

A key is the hexadecimal text of what names a client. Figures are not asked for: they are in memory that both
see (`voicegate.relay.counter`).
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import attrs

from voicegate.child.channel import ControlMessage
from voicegate.wire.path import Address

__all__ = [
    "FlowRows",
    "RelayConfig",
    "WorkerConfig",
    "decode_rows",
    "decode_transceivers",
    "encode_rows",
]

FlowRows: TypeAlias = Mapping[bytes, int | None]
"""Clients by key, with the id of the transceiver that each leads to; None for one whose flow has ended."""


@attrs.frozen(kw_only=True)
class RelayConfig:
    """What a relay needs to know from the start."""

    secrets: Sequence[bytes] = attrs.field(repr=False)
    """The cluster's secrets, the present one first."""
    public: Sequence[Address]
    """Where clients send to. One per family at most: a reply must leave from the address that the client
    sent to."""
    hop: Address
    """Where transceivers send to. Each worker has a port of its own: a free one each for port 0, otherwise
    this one and those that follow."""
    streams: Sequence[Address] = ()
    """Where clients connect to over TCP and TLS."""
    tls: Sequence[str] = ()
    """PEM files: our certificate and, if it isn't in there, its key. None: no TLS."""
    workers: int = 1
    """Processes that share the public addresses."""
    flow_limit: int = 65_536
    """Clients that one worker can tell apart."""
    hop_offload: bool = True
    """Whether a batch on the hop is one send and one receive (UDP_SEGMENT, UDP_GRO), where the system can."""
    transceivers: Mapping[int, Address] = attrs.Factory(dict)
    """Those that are there already, id to hop address; `Relay.set_transceivers` replaces them."""


@attrs.frozen(kw_only=True)
class WorkerConfig:
    """What a worker needs to know from the start: sockets and memory by the numbers of their descriptors."""

    secrets: Sequence[bytes] = attrs.field(repr=False)
    public: Sequence[int]
    """Bound UDP sockets, one per family."""
    hop: int
    """A bound UDP socket."""
    streams: Sequence[int] = ()
    """Listening TCP sockets."""
    tls: Sequence[str] = ()
    """As in `RelayConfig`."""
    counters: int
    """Memory of `Counters.SIZE` bytes."""
    flow_limit: int
    hop_offload: bool
    """As in `RelayConfig`."""
    transceivers: Mapping[int, Address]
    has_directory: bool
    """Whether rows and lookups are of any use."""

    @classmethod
    def from_json(cls, value: ControlMessage) -> Self:
        """Read what `to_json` wrote."""
        secrets = [b64decode(secret) for secret in value["secrets"]]
        return cls(
            **{**value, "secrets": secrets, "transceivers": decode_transceivers(value["transceivers"])}
        )

    def to_json(self) -> ControlMessage:
        """Write it as the first line to a worker."""
        secrets = [b64encode(secret).decode() for secret in self.secrets]
        return {**attrs.asdict(self), "secrets": secrets}


def decode_transceivers(value: Mapping[str, Sequence[Any]]) -> dict[int, Address]:
    """Read the ``transceivers`` of a message."""
    return {int(id_): (host, port) for id_, (host, port) in value.items()}


def encode_rows(rows: FlowRows) -> ControlMessage:
    """Write flows as the ``rows`` or ``flows`` of a message."""
    return {key.hex(): id_ for key, id_ in rows.items()}


def decode_rows(value: ControlMessage) -> dict[bytes, int | None]:
    """Read the ``rows`` or ``flows`` of a message."""
    return {bytes.fromhex(key): id_ for key, id_ in value.items()}
