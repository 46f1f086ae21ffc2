"""What a worker and its supervisor say to each other, over a `voicegate.child.channel.ControlChannel`.

1. To the worker, a `WorkerSettings`: ``{"number": 0, "config": {...}, ...}``
2. From it: ``{"ready": true, "hop": ["127.0.0.1", 4711]}``, where its transceiver takes packets from relays;
   or ``{"error": "..."}``, and it ends
3. From it, each second: ``{"calls": 3}``, those that it has

All else is asked for over the workers' private sockets, which are in one folder: `worker_socket` and
`server_socket` name them. The end of its stdin tells a worker to say goodbye to its calls and end.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from voicegate.access import ApiKey
from voicegate.child.channel import ControlMessage
from voicegate.config import Address, AgentSpec, Config, SetUp
from voicegate.sdp import Candidate

__all__ = ["WorkerSettings", "server_socket", "worker_socket"]


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """What a worker needs to know from the start."""

    number: int
    """Which worker, from 0."""
    count: int
    """How many there are."""
    transceiver_id: int
    config: Config
    """The server's, with this worker's share of what is shared out, and the address to listen on."""
    secrets: Sequence[bytes] = attrs.field(repr=False)
    hop_host: str
    """Where relays are: the address to take packets from them on."""
    candidates: Sequence[Candidate]
    """The relays' addresses, as answers list them."""
    folder: Path
    """Where the private sockets are."""
    import_path: Sequence[str]
    """Where agents are imported from."""
    logging: Mapping[str, Any] | None = None
    """Arguments of `configure_logging`; None leaves it as it is."""

    @classmethod
    def from_json(cls, value: ControlMessage) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            **{
                **value,
                "config": Config(**value["config"]),
                "secrets": [b64decode(secret) for secret in value["secrets"]],
                "candidates": [Candidate.decode(candidate) for candidate in value["candidates"]],
                "folder": Path(value["folder"]),
            }
        )

    def to_json(self) -> ControlMessage:
        """Write it as the first line to a worker."""
        return {
            **_fields(self),
            # Its secrets may be none, or not what JSON can write; those that count are said below.
            "config": {
                name: _plain(value) for name, value in _fields(self.config).items() if name != "secrets"
            },
            "secrets": [b64encode(secret).decode() for secret in self.secrets],
            "candidates": [candidate.encode() for candidate in self.candidates],
            "folder": str(self.folder),
        }


def worker_socket(folder: Path, transceiver_id: int) -> Path:
    """Return where the worker with this transceiver answers for its own calls."""
    return folder / f"{transceiver_id:08x}"


def server_socket(folder: Path) -> Path:
    """Return where the supervisor answers for all of them."""
    return folder / "server"


def _fields(value: attrs.AttrsInstance) -> dict[str, Any]:
    return attrs.asdict(value, recurse=False)


def _plain(value: object) -> object:
    """Write a setting as a file could have it."""
    match value:
        case Address() | Path():
            return str(value)
        case tuple():
            return [_plain(each) for each in value]
        case SetUp() | ApiKey():
            return _fields(value)
        case AgentSpec():
            return {**value.options, "use": value.use}
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case _:
            return value
