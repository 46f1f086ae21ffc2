"""What machines of a cluster read of each other, and what is said of clients, as targets of fuzzing."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol, Self

from voicegate.directory.ledger import Member
from voicegate.directory.row import RelayText, Seal, TransceiverText
from voicegate.directory.url import DirectoryUrl
from voicegate.errors import UsageError, WireError
from voicegate.testing.script import require
from voicegate.testing.steering_target import find_client, find_place, read_relay_list

__all__ = ["FLEET_TARGETS"]

_SEAL: Final = Seal([b"the secret of the cluster"])
_KEY: Final = b"the key that it is found under"


class _Text(Protocol):
    @classmethod
    def decode(cls, data: bytes) -> Self: ...

    def encode(self) -> bytes: ...


def _open_lease(data: bytes) -> None:
    """Open a row; one that was changed is nobody's."""
    try:
        row = _SEAL.decode_lease(_KEY, data)
    except WireError:
        return
    require(_SEAL.encode_lease(_KEY, row) == data, "only what we wrote is ours")


def _open_flow(data: bytes) -> None:
    try:
        transceiver_id = _SEAL.decode_flow(_KEY, data)
    except WireError:
        return
    require(_SEAL.encode_flow(_KEY, transceiver_id) == data, "only what we wrote is ours")


def _text(kind: type[_Text]) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        try:
            text = kind.decode(data)
        except WireError:
            return
        require(kind.decode(text.encode()) == text, "what is read is written and read the same")

    return read


def _read_url(data: bytes) -> None:
    try:
        url = DirectoryUrl.parse(data.decode(errors="replace"))
    except UsageError:
        return
    require(all(0 < port <= 0xFFFF for _, port in url.hosts), "a host has a port")
    require(not url.password or f":{url.password}@" not in str(url), "no password is shown")


FLEET_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "directory.ledger.Member.decode": _text(Member),
    "directory.row.RelayText.decode": _text(RelayText),
    "directory.row.Seal.decode_flow": _open_flow,
    "directory.row.Seal.decode_lease": _open_lease,
    "directory.row.TransceiverText.decode": _text(TransceiverText),
    "directory.url.DirectoryUrl.parse": _read_url,
    "signalling.relays.RelayList.decode": read_relay_list,
    "steering.forwarded.Forwarded.client": find_client,
    "steering.place.Place.decode": find_place,
}
