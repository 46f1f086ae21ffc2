"""The two handshakes of DTLS 1.3 face to face, without records, so that any message can be tampered with."""

from collections.abc import Callable
from typing import Any

import attrs

from tests.dtls.pair import CLIENT_CERTIFICATE, SERVER_CERTIFICATE
from tests.dtls.v12.duet import client_config, server_config
from voicegate.dtls.extension import Extension
from voicegate.dtls.handshake import HandshakeType, Message
from voicegate.dtls.v13.client import ClientHandshake
from voicegate.dtls.v13.handshake import Handshake
from voicegate.dtls.v13.server import ServerHandshake

__all__ = [
    "CLIENT_CERTIFICATE",
    "SERVER_CERTIFICATE",
    "Duet",
    "Tamper",
    "body",
    "message_field",
    "with_extension",
]

Tamper = Callable[[Message], Message]


def body(change: Callable[[bytes], bytes]) -> Tamper:
    return lambda message: attrs.evolve(message, body=change(message.body))


def message_field(kind: Any, **changes: Any) -> Tamper:
    """Change fields of a message on its way."""
    return body(lambda data: attrs.evolve(kind.decode(data), **changes).encode())


def with_extension(kind: Any, type_: int, data: bytes | None) -> Tamper:
    """Replace, add or remove one extension of a message on its way."""

    def change(encoded: bytes) -> bytes:
        message = kind.decode(encoded)
        extensions = [extension for extension in message.extensions if extension.type != type_]
        if data is not None:
            extensions.append(Extension(type_, data))
        encoded_again: bytes = attrs.evolve(message, extensions=tuple(extensions)).encode()
        return encoded_again

    return body(change)


def unchanged(message: Message) -> Message:
    return message


class Duet:
    """Hands messages back and forth; ``tamper`` says what is done to those of a type.

    A list says it for the first, the second and so on of that type.
    """

    def __init__(
        self,
        tamper: dict[HandshakeType, Tamper | list[Tamper]] | None = None,
        *,
        server: dict[str, Any] | None = None,
        client: dict[str, Any] | None = None,
    ) -> None:
        self._tamper = tamper or {}
        self.server = ServerHandshake(attrs.evolve(server_config(), **(server or {})))
        self.client = ClientHandshake(attrs.evolve(client_config(), **(client or {})))
        self.delivered: list[tuple[Handshake, Message]] = []

    def run(self, limit: int = 100) -> None:
        """Deliver up to ``limit`` messages."""
        sides: list[tuple[Handshake, Handshake]] = [(self.client, self.server), (self.server, self.client)]
        is_busy = True
        while is_busy:
            is_busy = False
            for sender, receiver in sides:
                flight = sender.take_flight()
                for message in flight.messages if flight is not None else ():
                    if len(self.delivered) == limit:
                        return
                    tampered = self._alter(message)
                    self.delivered.append((receiver, tampered))
                    receiver.handle_message(tampered)
                    is_busy = True

    def _alter(self, message: Message) -> Message:
        tamper = self._tamper.get(HandshakeType(message.type), unchanged)
        if isinstance(tamper, list):
            tamper = tamper.pop(0) if tamper else unchanged
        return tamper(message)
