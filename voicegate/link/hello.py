"""The first message of each side: versions, shapes, formats, and where an earlier socket broke off."""

from typing import Final, Literal, TypeAlias, TypeVar

import attrs

from voicegate.errors import WireError
from voicegate.link.layout import kind_of
from voicegate.wire.json_value import decode_object, encode_object

__all__ = ["SUBPROTOCOL", "VERSION", "AgentHello", "GatewayHello", "Shape"]

VERSION: Final = 1
SUBPROTOCOL: Final = "voicegate.link"

Shape: TypeAlias = Literal["calls", "call"]
"""One socket for all calls, or one for each."""

MAX_NAME_LENGTH: Final = 256
"""Characters of a session's id; ours has 32."""


_Hello = TypeVar("_Hello", "GatewayHello", "AgentHello")


@attrs.frozen(kw_only=True)
class GatewayHello:
    """What the gateway, which has opened the socket, says first."""

    versions: tuple[int, ...]
    """Of the protocol, that it can speak."""
    shape: Shape
    """Of this socket."""
    session: str
    """What this socket carries, of which another may have carried the beginning; nobody can guess it."""
    received: int | None = None
    """Messages of the agent's in this session so far; None: it begins."""
    formats: tuple[str, ...] = ()
    """Of sound, that it can give and take."""
    hold_ms: int = 0
    """How long the gateway keeps calls without a socket before it ends them."""

    @classmethod
    def decode(cls, text: str) -> "GatewayHello":
        """Read it.

        Errors: WireError.
        """
        hello = _decode(GatewayHello, text)
        if not 0 < len(hello.session) <= MAX_NAME_LENGTH:
            raise WireError("a session without a name, or with too long a one")
        return hello

    def encode(self) -> str:
        """Write it."""
        return _encode(self)


@attrs.frozen(kw_only=True)
class AgentHello:
    """What the agent answers."""

    version: int
    """The one it has chosen."""
    shape: Shape | None = None
    """The one it wants; None: the gateway's will do."""
    formats: tuple[str, ...] = ()
    """Of sound, that it takes and gives, the best first."""
    resumes: bool = False
    """Whether it counts messages, acknowledges them, and can go on in another socket."""
    received: int | None = None
    """Messages of the gateway's in this session so far; None: it knows nothing of an earlier socket."""

    @classmethod
    def decode(cls, text: str) -> "AgentHello":
        """Read it.

        Errors: WireError.
        """
        return _decode(AgentHello, text)

    def encode(self) -> str:
        """Write it."""
        return _encode(self)


def _decode(owner: type[_Hello], text: str) -> _Hello:
    value = decode_object(text)
    if value.get("type") != "hello":
        raise WireError("the first message is no hello")
    hello: _Hello = _KINDS[owner].read(value)
    if hello.received is not None and hello.received < 0:
        raise WireError(f"{hello.received} messages received")
    return hello


def _encode(hello: GatewayHello | AgentHello) -> str:
    return encode_object({"type": "hello"} | _KINDS[type(hello)].write(hello))


_KINDS: Final = {owner: kind_of(owner) for owner in (GatewayHello, AgentHello)}
