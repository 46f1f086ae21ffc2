"""Whole DTLS 1.3 connections as browsers speak it, in both roles, read with their traffic secrets."""

import hmac
import json
from pathlib import Path
from typing import Any, Final

import pytest

from voicegate.dtls import Fingerprint, SrtpProfile
from voicegate.dtls.certificate import load_public_key
from voicegate.dtls.extension import ExtensionType, decode_key_share, decode_key_shares, decode_selected
from voicegate.dtls.handshake import Fragment, HandshakeType, Message, Reassembler
from voicegate.dtls.hello import ClientHello, ServerHello
from voicegate.dtls.record import ContentType, ProtocolVersion, Record
from voicegate.dtls.signature import DigitallySigned, verify
from voicegate.dtls.srtp import UseSrtp
from voicegate.dtls.statistic import DropReason
from voicegate.dtls.v13.cipher import CipherSuite, Plaintext, ReadEpoch
from voicegate.dtls.v13.handshake import CLIENT_CONTEXT, SERVER_CONTEXT, Transcript
from voicegate.dtls.v13.key_schedule import expand_label, export, finished_data
from voicegate.dtls.v13.message import (
    Ack,
    CertificateMessage,
    CertificateRequest,
    EncryptedExtensions,
)
from voicegate.dtls.v13.record import ProtectedRecord, is_unified
from voicegate.wire import Reader

VECTORS: Final = Path(__file__).parents[2] / "vectors" / "dtls"
SESSIONS: Final = sorted(
    path for path in VECTORS.glob("*.session.json") if "handshake_secret" in path.read_text()
)


class Session:
    """A recorded connection, taken apart."""

    def __init__(self, path: Path) -> None:
        self.facts: dict[str, Any] = json.loads(path.read_text())
        self.suite = CipherSuite(int(self.facts["suite"], 16))
        self.readers = {
            (sender, epoch): ReadEpoch.make(self.suite, self.secret(f"{sender}_{name}"), epoch)
            for sender in ("client", "server")
            for epoch, name in ((2, "handshake_traffic"), (3, "application_traffic_0"))
        }
        self.reassemblers = {"client": Reassembler(), "server": Reassembler()}
        self.messages: dict[str, list[Message]] = {"client": [], "server": []}
        self.data: list[bytes] = []
        self.acks: list[tuple[str, int, Ack]] = []
        self.repeated = 0
        for datagram in self.facts["datagrams"]:
            self.read(datagram["from"], bytes.fromhex(datagram["hex"]))

    def secret(self, name: str) -> bytes:
        return bytes.fromhex(self.facts[name])

    def read(self, sender: str, datagram: bytes) -> None:
        reader = Reader(datagram)
        while reader.remaining:
            if not is_unified(datagram[reader.position]):
                record = Record.read(reader)
                assert record.content_type == ContentType.HANDSHAKE
                self.take(sender, 0, record.fragment)
                continue
            protected = ProtectedRecord.read(reader)
            # As both browsers write it: 16 bits of number, and a length.
            assert protected.header[0] & 0xFC == 0x2C
            epoch = protected.epoch_bits
            opened = self.readers[sender, epoch].unprotect(protected)
            if opened is DropReason.REPLAYED:
                self.repeated += 1
                continue
            assert isinstance(opened, Plaintext)
            match opened.content_type:
                case ContentType.HANDSHAKE:
                    self.take(sender, epoch, opened.data)
                case ContentType.APPLICATION_DATA:
                    self.data.append(opened.data)
                case _:
                    assert opened.content_type == ContentType.ACK
                    self.acks.append((sender, epoch, Ack.decode(opened.data)))

    def take(self, sender: str, epoch: int, data: bytes) -> None:
        reader = Reader(data)
        while reader.remaining:
            self.reassemblers[sender].push(Fragment.read(reader), epoch=epoch)
        self.messages[sender] += iter(self.reassemblers[sender].pop, None)

    @property
    def ordered(self) -> list[Message]:
        client, server = self.messages["client"], self.messages["server"]
        return [*client[:1], *server, *client[1:]]

    def transcript_hash(self, stop: int) -> bytes:
        transcript = Transcript()
        transcript.choose(self.suite.hash_name)
        for message in self.ordered[:stop]:
            transcript.add(message.type, message.body)
        return transcript.digest()


@pytest.fixture(
    params=SESSIONS, ids=lambda path: path.name.split("-", 2)[0] + path.name.split("-", 2)[2][:30]
)
def session(request: pytest.FixtureRequest) -> Session:
    return Session(request.param)


def test_there_are_connections_of_both_browsers_groups_and_roles() -> None:
    facts = [json.loads(path.read_text()) for path in SESSIONS]
    assert {fact["group"] for fact in facts} == {29, 0x11EC}
    assert {fact["browser_is"] for fact in facts} == {"client", "server"}
    assert {path.name.split("-")[0] for path in SESSIONS} == {"chromium", "firefox"}


def test_a_recorded_connection_opens_with_its_traffic_secrets(session: Session) -> None:
    assert [(message.type, message.epoch) for message in session.ordered] == [
        (1, 0),
        (2, 0),
        (8, 2),
        (13, 2),
        (11, 2),
        (15, 2),
        (20, 2),
        (11, 2),
        (15, 2),
        (20, 2),
    ]
    assert len(session.data) >= 4
    # SCTP from port 5000 to port 5000.
    assert {data[:4] for data in session.data} == {bytes.fromhex("1388 1388")}


def test_the_servers_of_recorded_connections_acknowledge_in_epoch_3(session: Session) -> None:
    assert session.acks
    for sender, epoch, ack in session.acks:
        assert sender == "server"
        assert epoch == 3
        assert {number.epoch for number in ack.record_numbers} == {2}


def test_the_key_schedule_of_a_recorded_connection_follows_from_its_handshake_secret(
    session: Session,
) -> None:
    name = session.suite.hash_name
    for label, secret in ((b"c hs traffic", "client"), (b"s hs traffic", "server")):
        derived = expand_label(
            name, session.secret("handshake_secret"), label, session.transcript_hash(2), 32
        )
        assert derived == session.secret(f"{secret}_handshake_traffic")
    empty = Transcript()
    empty.choose(name)
    salt = expand_label(name, session.secret("handshake_secret"), b"derived", empty.digest(), 32)
    master = hmac.digest(salt, bytes(32), name)
    for label, secret in (
        (b"c ap traffic", "client_application_traffic_0"),
        (b"s ap traffic", "server_application_traffic_0"),
        (b"exp master", "exporter_master"),
    ):
        assert expand_label(name, master, label, session.transcript_hash(7), 32) == session.secret(secret)


def test_both_finished_messages_of_a_recorded_connection_verify(session: Session) -> None:
    for index, sender in ((6, "server"), (9, "client")):
        secret = session.secret(f"{sender}_handshake_traffic")
        expected = finished_data(session.suite.hash_name, secret, session.transcript_hash(index))
        assert session.ordered[index].body == expected


def test_the_certificates_and_signatures_of_a_recorded_connection_verify(session: Session) -> None:
    fingerprints = [session.facts["offer_fingerprint"], session.facts["answer_fingerprint"]]
    if session.facts["browser_is"] == "server":
        fingerprints.reverse()
    client, server = (Fingerprint.parse(fingerprint) for fingerprint in fingerprints)
    for index, fingerprint, context in ((4, server, SERVER_CONTEXT), (7, client, CLIENT_CONTEXT)):
        chain = CertificateMessage.decode(session.ordered[index].body)
        assert fingerprint.matches(chain.entries[0].data)
        signed = DigitallySigned.decode(session.ordered[index + 1].body)
        assert signed.scheme == 0x0403
        content = context + session.transcript_hash(index + 1)
        verify(load_public_key(chain.entries[0].data), signed, content)


def test_the_exporter_of_a_recorded_connection_gives_its_srtp_keys(session: Session) -> None:
    expected = session.secret("exporter")
    profile = SrtpProfile(session.facts["srtp_profile"])
    length = 2 * (profile.key_length + profile.salt_length)
    assert len(expected) == length
    secret = session.secret("exporter_master")
    assert export(session.suite.hash_name, secret, b"EXTRACTOR-dtls_srtp", length, b"") == expected


def test_what_the_hellos_of_a_recorded_connection_settle(session: Session) -> None:
    client = ClientHello.decode(session.ordered[0].body)
    server = ServerHello.decode(session.ordered[1].body)
    assert ProtocolVersion.DTLS_1_3 in client.versions
    version = server.extension(ExtensionType.SUPPORTED_VERSIONS)
    offered = client.extension(ExtensionType.KEY_SHARE)
    chosen = server.extension(ExtensionType.KEY_SHARE)
    assert version is not None
    assert offered is not None
    assert chosen is not None
    assert decode_selected(version) == ProtocolVersion.DTLS_1_3
    group = decode_key_share(chosen).group
    assert group == session.facts["group"]
    assert group in {share.group for share in decode_key_shares(offered)}
    srtp = EncryptedExtensions.decode(session.ordered[2].body).extension(ExtensionType.USE_SRTP)
    assert srtp is not None
    assert UseSrtp.decode(srtp).profiles == (session.facts["srtp_profile"],)


def test_every_message_of_a_recorded_connection_is_written_back_byte_for_byte(session: Session) -> None:
    codecs: dict[int, Any] = {
        HandshakeType.CLIENT_HELLO: ClientHello,
        HandshakeType.SERVER_HELLO: ServerHello,
        HandshakeType.ENCRYPTED_EXTENSIONS: EncryptedExtensions,
        HandshakeType.CERTIFICATE: CertificateMessage,
        HandshakeType.CERTIFICATE_REQUEST: CertificateRequest,
        HandshakeType.CERTIFICATE_VERIFY: DigitallySigned,
    }
    for message in session.ordered:
        if message.type in codecs:
            assert codecs[message.type].decode(message.body).encode() == message.body
