"""The two handshakes of DTLS 1.2 face to face, without records, so that any message can be tampered with."""

from collections.abc import Callable
from random import Random

from tests.dtls.pair import CLIENT_CERTIFICATE, SERVER_CERTIFICATE
from voicegate.dtls import Certificate, Fingerprint, SrtpProfile
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.handshake import HandshakeType, Message
from voicegate.dtls.v12.client import ClientHandshake
from voicegate.dtls.v12.flight import Flight
from voicegate.dtls.v12.handshake import Handshake
from voicegate.dtls.v12.server import ServerHandshake

__all__ = ["Duet", "client_config", "server_config"]

Tamper = Callable[[Message], Message]


def make_config(
    certificate: Certificate, fingerprint: Fingerprint, seed: str, *profiles: SrtpProfile
) -> HandshakeConfig:
    return HandshakeConfig(
        certificate=certificate,
        remote_fingerprints=(fingerprint,),
        random=Random(seed).randbytes,
        srtp_profiles=profiles or tuple(SrtpProfile),
    )


def server_config(
    *profiles: SrtpProfile, fingerprint: Fingerprint = CLIENT_CERTIFICATE.fingerprint
) -> HandshakeConfig:
    return make_config(SERVER_CERTIFICATE, fingerprint, "server", *profiles)


def client_config(
    *profiles: SrtpProfile, fingerprint: Fingerprint = SERVER_CERTIFICATE.fingerprint
) -> HandshakeConfig:
    return make_config(CLIENT_CERTIFICATE, fingerprint, "client", *profiles)


def messages_of(flight: Flight) -> list[Message]:
    messages = list(flight.messages)
    if flight.finished is not None:
        finished = flight.finished
        messages.append(
            Message(type=finished.type, message_seq=finished.message_seq, body=finished.body, epoch=1)
        )
    return messages


def unchanged(message: Message) -> Message:
    return message


class Duet:
    """Hands messages back and forth; ``tamper`` says what is done to those of a type."""

    def __init__(
        self,
        tamper: dict[HandshakeType, Tamper] | None = None,
        *,
        server: HandshakeConfig | None = None,
        client: HandshakeConfig | None = None,
    ) -> None:
        self._tamper = tamper or {}
        self.server = ServerHandshake(server or server_config())
        self.client = ClientHandshake(client or client_config())
        self.delivered: list[tuple[Handshake, Message]] = []

    def run(self, limit: int = 100) -> None:
        """Deliver up to ``limit`` messages."""
        sides: list[tuple[Handshake, Handshake]] = [(self.client, self.server), (self.server, self.client)]
        is_busy = True
        while is_busy:
            is_busy = False
            for sender, receiver in sides:
                flight = sender.take_flight()
                for message in messages_of(flight) if flight is not None else ():
                    if len(self.delivered) == limit:
                        return
                    tampered = self._tamper.get(HandshakeType(message.type), unchanged)(message)
                    self.delivered.append((receiver, tampered))
                    receiver.handle_message(tampered)
                    is_busy = True
