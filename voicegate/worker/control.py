"""What a worker and its supervisor say to each other, over a `voicegate.child.channel.ControlChannel`.

1. To the worker, a `WorkerSettings`: ``{"number": 0, "config": {...}, ...}``
2. From it: ``{"ready": true, "hop": ["127.0.0.1", 4711]}``, where its transceiver takes packets from relays;
   or ``{"error": "..."}``, and it ends
3. To it, at the start if there is anything to say, and when it changes:
   ``{"drain": 60.0}``, it takes no new calls, and those that it has end in so many seconds; ``null``: it does
   again; ``{"retire": true}``, it takes none any more, for as long as it lives;
   ``{"relays": [...]}``, those that answers can name
4. From it, each second, and when a drain has begun or ended, or the last call:
   ``{"calls": 3, "is_draining": false}``, the calls that it has, and whether it takes no more

All else is asked for over the workers' private sockets, which are in one folder: `worker_socket` and
`server_socket` name them. The end of its stdin tells a worker to say goodbye to its calls and end.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Self

import attrs

from voicegate.access import ApiKey
from voicegate.child.channel import ControlMessage
from voicegate.config import Address, AgentSpec, Config, Geo, Region, SetUp
from voicegate.signalling.relays import RelayList

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
    hop: Address
    """Where to take packets from relays; port 0: on a free one."""
    folder: Path
    """Where the private sockets are."""
    import_path: Sequence[str]
    """Where agents are imported from."""
    logging: Mapping[str, Any] | None = None
    """Arguments of `configure_logging`; None leaves it as it is."""
    drain_seconds: float | None = None
    """It begins with a drain that ends its calls after so long; None: it takes calls."""
    relays: RelayList = attrs.field(factory=RelayList)
    """Those that answers can name."""

    @classmethod
    def from_json(cls, value: ControlMessage) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            **{
                **value,
                "config": Config(**value["config"]),
                "hop": Address(*value["hop"]),
                "relays": RelayList.decode(value["relays"]),
                "secrets": [b64decode(secret) for secret in value["secrets"]],
                "folder": Path(value["folder"]),
            }
        )

    def to_json(self) -> ControlMessage:
        """Write it as the first line to a worker."""
        return {
            **_fields(self),
            # Its secrets may be none, or not what JSON can write; those that count are said below.
            "config": {
                name: _plain(value)
                for name, value in _fields(self.config).items()
                if name not in ("secrets", "secrets_file")
            },
            "secrets": [b64encode(secret).decode() for secret in self.secrets],
            "folder": str(self.folder),
            "relays": self.relays.encode(),
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
        case Address() | Path() | IPv4Network() | IPv6Network():
            return str(value)
        case tuple():
            return [_plain(each) for each in value]
        case SetUp() | ApiKey() | Region() | Geo():
            return {name: _plain(each) for name, each in _fields(value).items()}
        case AgentSpec():
            return {**value.options, "use": value.use}
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case _:
            return value
