"""What clients and transceivers send, for the tests of the relay."""

from typing import Final

from voicegate.ice.credentials import Keyring, Route
from voicegate.ice.stun import Message, binding_request, binding_success
from voicegate.wire.path import address_bytes

__all__ = ["ALICE", "DTLS", "MEDIA", "SECRET", "check", "success"]

SECRET: Final = bytes(range(32))
ALICE: Final = address_bytes("192.0.2.1")
MEDIA: Final = b"\x80\x6f" + bytes(50)
DTLS: Final = b"\x16\xfe\xfd" + bytes(50)

_KEYRING: Final = Keyring([SECRET])


def check(
    transceiver_id: int = 1, *, session_id: bytes = b"session1", generation: int = 0, pwd: str | None = None
) -> bytes:
    """Build a client's connectivity check; with ``pwd``, signed by that instead of the right password."""
    credentials = _KEYRING.mint(Route(transceiver_id, session_id, generation))
    return binding_request(
        transaction_id=b"transaction!",
        username=f"{credentials.ufrag}:client",
        key=(pwd or credentials.pwd).encode(),
        priority=1,
        ice_controlling=1,
    )


def foreign_check() -> bytes:
    """Build a check for a server that has nothing to do with us."""
    return binding_request(
        transaction_id=b"transaction!", username="elsewhere:client", key=b"password", priority=1
    )


def success(request: bytes, *, host: bytes = ALICE, port: int = 1000) -> bytes:
    """Build a transceiver's answer to a check."""
    message = Message.decode(request)
    opened = _KEYRING.open((message.username or "").partition(":")[0])
    if opened is None:
        raise AssertionError("not a check for us")
    return binding_success(message, host=host, port=port, key=opened.pwd.encode())
