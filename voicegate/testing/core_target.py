"""The targets that are cores: each runs a script of datagrams against one, and watches it stay sound.

Where it takes keys to get anywhere, the script has a genuine peer at hand and says what becomes of that
peer's datagrams, so that a fuzzer reaches the states behind a handshake.

Layer: core (sans-IO).
"""

import datetime
import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Final

from voicegate.audio import G711Codec, Lost, ReceiveBuffer
from voicegate.dtls import Certificate, DtlsConnection, Role
from voicegate.errors import UsageError, WireError
from voicegate.ice import Credentials, IceLiteAgent, Keyring, Route
from voicegate.ice.stun import binding_request
from voicegate.relay.router import MAX_CLIENT_DATAGRAM, Router, ToClient
from voicegate.rtp import RtpPacket, RtpSender, RtpSession, decode_compound
from voicegate.sdp import Candidate, LocalParameters, SessionDescription, answer
from voicegate.srtp import SrtpSession
from voicegate.testing.client import ClientCore
from voicegate.testing.script import Step, drain, read_script, require, settle
from voicegate.transceiver.core import CallCore
from voicegate.wire import Path, hop
from voicegate.wire.path import Address, address_bytes

__all__ = [
    "keyring",
    "local_parameters",
    "run_call",
    "run_dtls",
    "run_ice_agent",
    "run_receive_buffer",
    "run_router",
    "run_rtp_session",
    "run_srtp_session",
]

_SECRET: Final = bytes(32)
_ROUTE: Final = Route(transceiver_id=1, session_id=bytes(8))
_CLIENT_UFRAG: Final = "abcd"
_RELAY: Final = ("127.0.0.1", 4000)
_HOSTS: Final = (address_bytes("192.0.2.1"), address_bytes("2001:db8::7"))
_PATHS: Final = tuple(Path(_RELAY, _HOSTS[port % 2], 5000 + port) for port in range(16))
_HOME: Final = _PATHS[0]


def run_ice_agent(script: bytes) -> None:
    """Kinds name paths. With a datagram: a STUN message; after a byte 1: an attribute of a genuine check.

    Without: something authenticated came from there.
    """
    local = keyring().mint(_ROUTE)
    agent = IceLiteAgent(local=local, remote_ufrag=_CLIENT_UFRAG, remote_pwd="x" * 22, now=0.0)
    for kind, now, data in read_script(script):
        settle(agent, now=now)
        path = _PATHS[kind]
        if not data:
            agent.confirm_path(path, now=now)
        elif data[0] == 1:
            agent.handle_datagram(_check(local, data[1:]), path=path, now=now)
        else:
            agent.handle_datagram(data, path=path, now=now)
        for transmit in drain(iter(agent.poll_transmit, None)):
            require(transmit.path == path, "an answer goes where its check came from")
            require(len(transmit.data) <= len(data) + 200, "an answer does not amplify")
        drain(iter(agent.poll_event, None))
        require(agent.statistics().paths <= 8, "paths are bounded")
        require(
            agent.selected_path is None or agent.is_validated(agent.selected_path), "media needs a valid path"
        )


def run_dtls(role: Role, script: bytes) -> None:
    """Kinds as in `_deliver`; the peer is genuine."""
    ends = {
        Role.SERVER: _dtls_connection(Role.SERVER, certificate=_certificate(0), peer=_certificate(1)),
        Role.CLIENT: _dtls_connection(Role.CLIENT, certificate=_certificate(1), peer=_certificate(0)),
    }
    end = ends.pop(role)
    (peer,) = ends.values()
    (end if role is Role.CLIENT else peer).start(now=0.0)
    sent: list[bytes] = []
    for step in read_script(script):
        settle(peer, now=step.now)
        sent += drain(iter(peer.poll_transmit, None))
        settle(end, now=step.now)
        for data in _deliver(step, sent):
            end.handle_datagram(data, now=step.now)
        for data in drain(iter(end.poll_transmit, None)):
            peer.handle_datagram(data, now=step.now)
        drain(iter(end.poll_event, None))
        if end.is_completed:
            end.send(b"said", now=step.now)


def _deliver(step: Step, sent: list[bytes]) -> list[bytes]:
    """Say what arrives in a step, of what the genuine peer has sent and what the script has.

    Kind 0: the script's datagram. 1: the peer's next. 2: its next, changed (a 16-bit offset, then what is
    XORed there). 3: its next is lost. 4: its next, twice. Others: all that it has sent.
    """
    if step.kind == 0:
        return [step.data]
    if step.kind > 4:
        arriving, sent[:] = sent[:], []
        return arriving
    if not sent:
        return []
    datagram = sent.pop(0)
    if step.kind == 2:
        datagram = _changed(datagram, int.from_bytes(step.data[:2], "big"), step.data[2:])
    return [datagram] * (1, 1, 1, 0, 2)[step.kind]


def _changed(datagram: bytes, offset: int, change: bytes) -> bytes:
    changed = bytearray(datagram)
    for where, flip in zip(range(offset, len(datagram)), change, strict=False):
        changed[where] ^= flip
    return bytes(changed)


def run_rtp_session(script: bytes) -> None:
    """Kind 0: a compound of the peer's. 1: a packet of the peer's. Others: the payload of one of ours."""
    random = _random()
    sender = RtpSender.begin(ssrc=1, payload_type=111, clock_rate=48000, random=random)
    session = RtpSession(sender, cname="server", ntp_at_zero=3.9e9, random=random, now=0.0)
    for kind, now, data in read_script(script):
        settle(session, now=now)
        if kind == 0:
            session.handle_compound(data, now=now)
        elif kind == 1:
            try:
                packet = RtpPacket.decode(data)
            except WireError:
                continue
            session.handle_packet(packet.ssrc, packet.sequence_number, packet.timestamp, now=now)
        else:
            session.next_packet(data, samples=960, now=now)
        for compound in drain(iter(session.poll_transmit, None)):
            require(
                decode_compound(compound) and len(compound) < 1200, "a report is RTCP and fits a datagram"
            )
        drain(iter(session.poll_event, None))
        session.statistics()


def run_srtp_session(script: bytes) -> None:
    """Bit 0: RTCP rather than RTP. Bit 1: the peer protects it first; the script's else."""
    ours, theirs = (
        SrtpSession.from_exporter(profile=7, keying_material=bytes(range(56)), is_client=is_client)
        for is_client in (False, True)
    )
    for tried, (kind, _now, data) in enumerate(read_script(script), 1):
        protect, unprotect = (
            (theirs.protect_rtcp, ours.unprotect_rtcp)
            if kind & 1
            else (theirs.protect_rtp, ours.unprotect_rtp)
        )
        is_genuine = False
        if kind & 2:
            # The script may be too short to be protected, or use a sequence number twice.
            with suppress(UsageError):
                data, is_genuine = protect(data), True
        plain = unprotect(data)
        require(plain is None or (is_genuine and len(plain) < len(data)), "only what was protected is let in")
        statistics = ours.statistics()
        require(
            statistics.unprotected + sum(statistics.dropped.values()) == tried,
            "every packet is accounted for",
        )


def run_receive_buffer(script: bytes) -> None:
    """Datagrams are RTP packets."""
    buffer = ReceiveBuffer(G711Codec("PCMU"))
    for _kind, now, data in read_script(script):
        try:
            buffer.push(RtpPacket.decode(data), now=now)
        except WireError:
            buffer.handle_timeout(now)
        items = drain(iter(buffer.poll, None))
        lost = [item.samples for item in items if isinstance(item, Lost)]
        require(all(0 <= samples <= 960 for samples in lost), "no gap asks for more than 120 ms")
        due = buffer.poll_timeout()
        require(due is None or due > now, "nothing is held for too long")


def run_router(script: bytes) -> None:
    """Kind 0-3: from a client. 4-7: a genuine check, with an attribute, from one. 8: from the transceiver.

    Others: from a stranger on the hop.
    """
    hop_address, stranger = ("127.0.0.1", 9000), ("127.0.0.1", 9001)
    router = Router(keyring=keyring(), now=0.0)
    router.set_transceivers({_ROUTE.transceiver_id: hop_address})
    for kind, now, data in read_script(script):
        router.handle_timeout(now)
        if kind < 8:
            _route_client(router, _check(keyring().mint(_ROUTE), data) if kind & 4 else data, kind & 3, now)
            continue
        source: Address = hop_address if kind == 8 else stranger
        sent = router.handle_hop_datagram(data, source, now=now)
        require(sent is None or source == hop_address, "a stranger moves nothing")
        if isinstance(sent, ToClient):
            require(sent.data in data, "a packet for a client leaves as it came")


def _route_client(router: Router, data: bytes, client: int, now: float) -> None:
    """Give the router a client's datagram; it is forwarded as it is, or counted."""
    before = router.statistics()
    sent = router.handle_client_datagram(data, _HOSTS[client & 1], client, is_stream=client > 1, now=now)
    after = router.statistics()
    forwarded = after.packets_to_transceivers - before.packets_to_transceivers
    dropped = sum(after.dropped.values()) - sum(before.dropped.values())
    require(forwarded + dropped == 1, "every datagram is forwarded or counted")
    require(not forwarded or len(data) <= MAX_CLIENT_DATAGRAM, "what is forwarded is bounded")
    if sent is not None:
        carried = hop.decode(sent.data)
        require(carried.type != hop.HopType.DATA or carried.payload == data, "packets are left untouched")
        require(carried[1:4] == (_HOSTS[client & 1], client, client > 1), "the hop header names the client")


def run_call(script: bytes) -> None:
    """Kinds as in `_deliver`, from home; 8 and more: the script's datagram, from elsewhere."""
    core, client = _connectable_call()
    sent: list[bytes] = []
    for step in read_script(script):
        settle(client, now=step.now)
        sent += drain(iter(client.poll_transmit, None))
        settle(core, now=step.now)
        if step.kind >= 8:
            core.handle_datagram(step.data, path=_PATHS[step.kind], now=step.now)
        else:
            for data in _deliver(step, sent):
                core.handle_datagram(data, path=_HOME, now=step.now)
        for transmit in drain(iter(core.poll_transmit, None)):
            require(transmit.path == _HOME, "nothing is sent to where no genuine check came from")
            client.handle_datagram(transmit.data, now=step.now)
        drain(iter(core.poll_audio, None))
        drain(iter(core.poll_event, None))
        core.statistics()
    core.close(now=1e6)
    require(core.poll_timeout() is None, "a closed call wants nothing more")


def _random() -> Callable[[int], bytes]:
    """Make randomness that is the same each time."""
    numbers = count()
    return lambda length: hashlib.shake_128(next(numbers).to_bytes(8, "big")).digest(length)


@cache
def _certificate(_which: int) -> Certificate:
    return Certificate.generate(not_before=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))


@cache
def keyring() -> Keyring:
    """Return the keys that genuine checks are made with."""
    return Keyring([_SECRET])


def _check(local: Credentials, extra: bytes) -> bytes:
    """Build a check that is signed as it must be; ``extra`` is an attribute more: a 16-bit type, a value."""
    type_, value = int.from_bytes(extra[:2], "big"), extra[2:1500]
    return binding_request(
        transaction_id=bytes(12),
        username=f"{local.ufrag}:{_CLIENT_UFRAG}",
        key=local.pwd.encode(),
        priority=1,
        extra=((type_, value),) if extra else (),
    )


def local_parameters() -> LocalParameters:
    """Return our side of a call."""
    local = keyring().mint(_ROUTE)
    return LocalParameters(
        ice_ufrag=local.ufrag,
        ice_pwd=local.pwd,
        fingerprint=str(_certificate(0).fingerprint),
        candidates=(
            Candidate(foundation="1", transport="udp", priority=1, address="192.0.2.100", port=3478),
        ),
        session_id=1,
        ssrc=1234,
        cname="server",
        stream_id="s",
        track_id="t",
    )


def _dtls_connection(role: Role, *, certificate: Certificate, peer: Certificate) -> DtlsConnection:
    return DtlsConnection(
        role=role,
        certificate=certificate,
        remote_fingerprints=[peer.fingerprint],
        random=_random(),
        now=0.0,
        mtu=300,
    )


def _connectable_call() -> tuple[CallCore, ClientCore]:
    """Make a call that was offered and answered, and the client it is with."""
    random = _random()
    client = ClientCore(random=random, certificate=_certificate(1), codec="PCMU")
    negotiated = answer(SessionDescription.decode(client.offer()), local_parameters())
    client.handle_answer(negotiated.answer.encode(), now=0.0)
    core = CallCore(
        local=keyring().mint(_ROUTE),
        negotiated=negotiated,
        certificate=_certificate(0),
        ssrc=1234,
        cname="server",
        random=random,
        now=0.0,
        ntp_at_zero=3.9e9,
    )
    return core, client
