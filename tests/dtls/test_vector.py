"""What browsers really sent: their hellos, in every disorder, and whole DTLS 1.2 connections."""

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dtls.pair import DTLS_1_2, DTLS_1_3, drain_events, drain_transmits, make_connection
from voicegate.dtls import Fingerprint, HandshakeStarted, KeysReady, Role, SrtpProfile
from voicegate.dtls.certificate import load_public_key
from voicegate.dtls.extension import ExtensionType, decode_selected
from voicegate.dtls.handshake import Fragment, HandshakeType, Message, Reassembler
from voicegate.dtls.hello import ClientHello, ServerHello
from voicegate.dtls.record import ContentType, ProtocolVersion, Record
from voicegate.dtls.signature import DigitallySigned, verify
from voicegate.dtls.srtp import UseSrtp
from voicegate.dtls.v12.cipher import CipherSuite, RecordCipher
from voicegate.dtls.v12.key_schedule import MasterSecret
from voicegate.dtls.v12.message import (
    CertificateMessage,
    CertificateRequest,
    ClientKeyExchange,
    ServerKeyExchange,
)
from voicegate.wire import Reader

VECTORS: Final = Path(__file__).parent.parent / "vectors" / "dtls"
HELLOS: Final = sorted(
    path.name.removesuffix("-clienthello-message.bin") for path in VECTORS.glob("*-message.bin")
)
SESSIONS: Final = sorted(VECTORS.glob("*-dtls12*.session.json"))


def datagrams_of(hello: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(VECTORS.glob(f"{hello}-clienthello-dgram*.bin"))]


def message_of(hello: str) -> Message:
    body = (VECTORS / f"{hello}-clienthello-message.bin").read_bytes()
    return Message(type=HandshakeType.CLIENT_HELLO, message_seq=0, body=body)


def records_of(datagram: bytes, limit: int = 99) -> list[Record]:
    reader = Reader(datagram)
    records: list[Record] = []
    while reader.remaining and len(records) < limit:
        records.append(Record.read(reader))
    return records


def check_answered(datagrams: list[bytes]) -> None:
    """Feed a server of either kind, and read the flight it answers with."""
    check_answered_in_1_2(datagrams)
    server = make_connection(Role.SERVER, versions=DTLS_1_3)
    for datagram in datagrams:
        server.handle_datagram(datagram, now=0.0)
    started, *ready = drain_events(server)
    assert started == HandshakeStarted()
    hello = ServerHello.decode(
        Fragment.read(Reader(records_of(drain_transmits(server)[0], 1)[0].fragment)).body
    )
    assert hello.version == ProtocolVersion.DTLS_1_2
    version = hello.extension(ExtensionType.SUPPORTED_VERSIONS)
    if version is None:
        # Only a client that cannot do 1.3 is answered so, with the mark that tells a client that can.
        assert ready == []
        assert hello.random.endswith(b"DOWNGRD\1")
    else:
        assert decode_selected(version) == ProtocolVersion.DTLS_1_3
        assert ready == [
            KeysReady(version=0xFEFC, cipher_suite=0x1301, srtp_profile=SrtpProfile.AEAD_AES_256_GCM)
        ]
        assert not hello.random.endswith(b"DOWNGRD\1")


def check_answered_in_1_2(datagrams: list[bytes]) -> None:
    server = make_connection(Role.SERVER, versions=DTLS_1_2)
    for datagram in datagrams:
        server.handle_datagram(datagram, now=0.0)
    assert drain_events(server) == [HandshakeStarted()]
    records = [record for answer in drain_transmits(server) for record in records_of(answer)]
    messages = [Fragment.read(Reader(record.fragment)) for record in records]
    assert [message.type for message in messages] == [2, 11, 12, 13, 14]
    hello = ServerHello.decode(messages[0].body)
    assert hello.version == ProtocolVersion.DTLS_1_2
    assert hello.cipher_suite == 0xC02B
    assert hello.extension(ExtensionType.SUPPORTED_VERSIONS) is None
    assert not hello.random.endswith(b"DOWNGRD\1")
    srtp = hello.extension(ExtensionType.USE_SRTP)
    assert srtp is not None
    assert UseSrtp.decode(srtp).profiles == (SrtpProfile.AEAD_AES_256_GCM,)
    assert ServerKeyExchange.decode(messages[2].body).group == 29


@pytest.mark.parametrize("hello", HELLOS)
def test_the_server_answers_a_browser_in_the_newest_version_that_it_offers(hello: str) -> None:
    server = make_connection(Role.SERVER, versions=DTLS_1_3)
    for datagram in datagrams_of(hello):
        server.handle_datagram(datagram, now=0.0)
    is_old = "dtls12max" in hello
    assert server.version == (None if is_old else 0xFEFC)
    assert server.can_send is not is_old


def test_there_are_hellos_of_both_browsers_in_one_and_two_datagrams() -> None:
    assert {name.split("-")[0] for name in HELLOS} == {"chromium", "firefox"}
    assert {len(datagrams_of(hello)) for hello in HELLOS} == {1, 2}


@pytest.mark.parametrize("hello", HELLOS)
def test_the_hello_of_a_browser_is_answered_whatever_the_order_of_its_datagrams(hello: str) -> None:
    datagrams = datagrams_of(hello)
    check_answered(datagrams)
    check_answered(datagrams[::-1])
    check_answered([datagrams[-1]] * 2 + datagrams[:1])


@pytest.mark.parametrize("hello", HELLOS)
@given(st.lists(st.integers(60, 700), min_size=1, max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_hello_of_a_browser_is_answered_whatever_its_boundaries(
    hello: str, limits: list[int], random: Random
) -> None:
    fragments = [piece for limit in limits for piece in message_of(hello).fragments(limit)]
    random.shuffle(fragments)
    datagrams = [
        Record(ContentType.HANDSHAKE, ProtocolVersion.DTLS_1_0, 0, number, fragment).encode()
        for number, fragment in enumerate(fragments)
    ]
    check_answered(datagrams)


class Session:
    """A recorded connection, taken apart."""

    def __init__(self, path: Path) -> None:
        self.facts: dict[str, Any] = json.loads(path.read_text())
        self.suite = CipherSuite(int(self.facts["suite"], 16))
        self.master = MasterSecret(
            hash_name=self.suite.hash_name,
            secret=bytes.fromhex(self.facts["master_secret"]),
            client_random=bytes.fromhex(self.facts["client_random"]),
            server_random=bytes.fromhex(self.facts["server_random"]),
        )
        keys = self.master.key_block(self.suite)
        ciphers = {
            "client": RecordCipher(key=keys.client_key, iv=keys.client_iv),
            "server": RecordCipher(key=keys.server_key, iv=keys.server_iv),
        }
        reassemblers = {"client": Reassembler(), "server": Reassembler()}
        self.messages: list[Message] = []
        self.data: list[bytes] = []
        for datagram in self.facts["datagrams"]:
            sender = datagram["from"]
            for record in records_of(bytes.fromhex(datagram["hex"])):
                plaintext: bytes | None = record.fragment
                if record.epoch:
                    plaintext = ciphers[sender].unprotect(record)
                assert plaintext is not None
                if record.content_type == ContentType.HANDSHAKE:
                    reader = Reader(plaintext)
                    while reader.remaining:
                        reassemblers[sender].push(Fragment.read(reader), epoch=record.epoch)
                    self.messages += iter(reassemblers[sender].pop, None)
                elif record.content_type == ContentType.APPLICATION_DATA:
                    self.data.append(plaintext)

    def transcript(self, stop: int) -> bytes:
        return b"".join(message.encode() for message in self.messages[:stop])


@pytest.fixture(params=SESSIONS, ids=lambda path: path.name[:30])
def session(request: pytest.FixtureRequest) -> Session:
    return Session(request.param)


def test_a_recorded_connection_opens_with_the_keys_of_its_master_secret(session: Session) -> None:
    assert [message.type for message in session.messages] == [1, 2, 11, 12, 13, 14, 11, 16, 15, 20, 20]
    assert len(session.data) >= 4
    # SCTP from port 5000 to port 5000.
    assert {data[:4] for data in session.data} == {bytes.fromhex("1388 1388")}


def test_both_finished_messages_of_a_recorded_connection_verify(session: Session) -> None:
    for index, label in ((9, b"client finished"), (10, b"server finished")):
        transcript_hash = hashlib.new(session.suite.hash_name, session.transcript(index)).digest()
        assert session.messages[index].body == session.master.verify_data(label, transcript_hash)


def test_the_certificates_and_signatures_of_a_recorded_connection_verify(session: Session) -> None:
    server, client = (
        CertificateMessage.decode(session.messages[index].body).certificates for index in (2, 6)
    )
    assert Fingerprint.parse(session.facts["answer_fingerprint"]).matches(server[0])
    assert Fingerprint.parse(session.facts["offer_fingerprint"]).matches(client[0])
    exchange = ServerKeyExchange.decode(session.messages[3].body)
    parameters = ServerKeyExchange.parameters(exchange.group, exchange.public)
    randoms = session.master.client_random + session.master.server_random
    verify(load_public_key(server[0]), exchange.signed, randoms + parameters)
    signed = DigitallySigned.decode(session.messages[8].body)
    verify(load_public_key(client[0]), signed, session.transcript(8))


def test_the_exporter_of_a_recorded_connection_gives_its_srtp_keys(session: Session) -> None:
    expected = bytes.fromhex(session.facts["exporter"])
    assert SrtpProfile(session.facts["srtp_profile"]) is SrtpProfile.AEAD_AES_256_GCM
    assert len(expected) == 88
    assert session.master.export(b"EXTRACTOR-dtls_srtp", 88, None) == expected


def test_every_message_of_a_recorded_connection_is_written_back_byte_for_byte(session: Session) -> None:
    codecs: dict[int, Any] = {
        1: ClientHello,
        2: ServerHello,
        11: CertificateMessage,
        12: ServerKeyExchange,
        13: CertificateRequest,
        15: DigitallySigned,
        16: ClientKeyExchange,
    }
    for message in session.messages:
        if message.type in codecs:
            assert codecs[message.type].decode(message.body).encode() == message.body
