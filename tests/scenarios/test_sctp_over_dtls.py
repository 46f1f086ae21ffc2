"""SCTP where it lives, inside DTLS, over a line that loses and reorders."""

import datetime
from random import Random

import attrs
import pytest

from voicegate.dtls import ApplicationData, Certificate, DtlsConnection, HandshakeCompleted, Role
from voicegate.sctp import MessageReceived, SctpAssociation
from voicegate.testing.link import Link

NOT_BEFORE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
CERTIFICATES = {role: Certificate.generate(not_before=NOT_BEFORE) for role in Role}


@attrs.define(eq=False)
class End:
    """One end: what DTLS hears, SCTP gets, and the other way round."""

    dtls: DtlsConnection
    sctp: SctpAssociation
    line: Link
    received: list[MessageReceived] = attrs.field(factory=list)

    def drain(self, now: float) -> None:
        while (event := self.dtls.poll_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self.sctp.start(now=now)
            elif isinstance(event, ApplicationData):
                self.sctp.handle_datagram(event.data, now=now)
                while (message := self.sctp.poll_event()) is not None:
                    if isinstance(message, MessageReceived):
                        self.received.append(message)
                        self.sctp.consume(len(message.data))
        if self.dtls.is_completed:
            for packet in iter(self.sctp.poll_transmit, None):
                self.dtls.send(packet, now=now)
        for datagram in iter(self.dtls.poll_transmit, None):
            assert len(datagram) <= 1200
            self.line.send(datagram, now=now)


def make_end(role: Role, line: Link) -> End:
    other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    random = Random(role.value).randbytes
    dtls = DtlsConnection(
        role=role,
        certificate=CERTIFICATES[role],
        remote_fingerprints=[CERTIFICATES[other].fingerprint],
        random=random,
        now=0.0,
    )
    return End(dtls, SctpAssociation(random=random, now=0.0), line)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.25])
def test_messages_get_through_whatever_the_line_does(seed: int, loss: float) -> None:
    up, down = (Link(loss=loss, jitter=0.03, duplication=0.05, seed=seed * 2 + one) for one in range(2))
    client, server = make_end(Role.CLIENT, up), make_end(Role.SERVER, down)
    for end in (client, server):
        end.sctp.send(0, 51, b"first words", now=0.0)
        end.sctp.send(1, 53, bytes(30_000), now=0.0)
    client.dtls.start(now=0.0)
    now = 0.0
    client.drain(now)
    while len(client.received) < 2 or len(server.received) < 2:
        cores = (up, down, client.dtls, server.dtls, client.sctp, server.sctp)
        dues = [due for due in (core.poll_timeout() for core in cores) if due is not None]
        now = max(now, min(dues))
        assert now < 60.0
        for line, end in ((up, server), (down, client)):
            for datagram in line.receive(now=now):
                end.dtls.handle_datagram(datagram, now=now)
                end.drain(now)
        for end in (client, server):
            end.dtls.handle_timeout(now=now)
            end.sctp.handle_timeout(now=now)
            end.drain(now)
    for end in (client, server):
        assert {(message.stream_id, message.data) for message in end.received} == {
            (0, b"first words"),
            (1, bytes(30_000)),
        }
