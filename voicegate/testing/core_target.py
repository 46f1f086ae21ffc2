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

import numpy as np

from voicegate.audio import G711Codec, Lost, ReceiveBuffer
from voicegate.audio.receive import ReceiveItem
from voicegate.dtls import Certificate
from voicegate.errors import UsageError, WireError
from voicegate.ice import (
    MAX_EMBEDDED_LENGTH,
    Credentials,
    EmbeddedDatagram,
    IceLiteAgent,
    Keyring,
    Route,
)
from voicegate.ice.stun import binding_request
from voicegate.relay.flows import FlowTable
from voicegate.relay.router import MAX_CLIENT_DATAGRAM, Router, ToClient
from voicegate.rtp import RtpPacket, RtpSender, RtpSession, decode_compound
from voicegate.srtp import SrtpSession
from voicegate.testing.script import drain, read_script, require, settle
from voicegate.wire import Path, hop
from voicegate.wire.path import Address, address_bytes

__all__ = [
    "ROUTE",
    "certificate",
    "keyring",
    "make_path",
    "repeatable_random",
    "run_ice_agent",
    "run_receive_buffer",
    "run_router",
    "run_rtp_session",
    "run_srtp_session",
]

_SECRET: Final = bytes(32)
ROUTE: Final = Route(transceiver_id=1, session_id=bytes(8))
_CLIENT_UFRAG: Final = "abcd"
_RELAY: Final = ("127.0.0.1", 4000)
_HOSTS: Final = (address_bytes("192.0.2.1"), address_bytes("2001:db8::7"))
_CLIENTS: Final = tuple((_HOSTS[number & 1], number, number > 1) for number in range(4))
_TRANSCEIVERS: Final = {ROUTE.transceiver_id: ("127.0.0.1", 9000), 2: ("127.0.0.1", 9002)}
_NOT_FOUND: Final = 255
_ANSWER_ROOM: Final = 200
"""Bytes that an answer to a check may be longer than it: addresses, integrity, checksums."""


def run_ice_agent(script: bytes, *, is_sped: bool) -> None:
    """Kinds name paths. With a datagram: see `_move_ice`; without: something authenticated came there."""
    agent = IceLiteAgent(
        local=keyring().mint(ROUTE),
        remote_ufrag=_CLIENT_UFRAG,
        remote_pwd="x" * 22,
        now=0.0,
        is_sped=is_sped,
    )
    room = _ANSWER_ROOM + (MAX_EMBEDDED_LENGTH if is_sped else 0)
    for kind, now, data in read_script(script):
        settle(agent, now=now)
        path = make_path(kind)
        if data:
            _move_ice(agent, data, path, now)
        else:
            agent.confirm_path(path, now=now)
        # Events first: an answer may carry what came of its own check.
        for event in drain(iter(agent.poll_event, None)):
            if isinstance(event, EmbeddedDatagram):
                require(is_sped and event.path == path, "DTLS in a check counts where SPED was agreed")
                agent.embed((event.data, event.data[::-1]))
        for transmit in drain(iter(agent.poll_transmit, None)):
            require(transmit.path == path, "an answer goes where its check came from")
            require(len(transmit.data) <= len(data) + room, "an answer does not amplify")
        require(agent.statistics().paths <= 8, "paths are bounded")
        require(
            agent.selected_path is None or agent.is_validated(agent.selected_path), "media needs a valid path"
        )


def _move_ice(agent: IceLiteAgent, data: bytes, path: Path, now: float) -> None:
    """First byte 1: an attribute of a genuine check follows. 2: DTLS came by itself. 3: DTLS is to be sent.

    4: DTLS is done. 5: ICE restarts, as the generation in the next byte; 6: as 1, of that generation.
    Others: a STUN message, that byte included.
    """
    generation = keyring().mint(ROUTE._replace(generation=data[1] if len(data) > 1 else 1))
    if data[0] == 1:
        agent.handle_datagram(_check(keyring().mint(ROUTE), data[1:]), path=path, now=now)
    elif data[0] == 2:
        agent.note_datagram(path, now=now)
        agent.note_dtls(data[1:])
    elif data[0] == 3:
        agent.embed((data[1:], data[2:]))
    elif data[0] == 4:
        agent.end_sped()
    elif data[0] == 5:
        # A restart wants a generation that is new.
        with suppress(UsageError):
            agent.restart(local=generation, remote_ufrag=_CLIENT_UFRAG, remote_pwd="y" * 22, now=now)
    elif data[0] == 6:
        agent.handle_datagram(_check(generation, data[2:]), path=path, now=now)
    else:
        agent.handle_datagram(data, path=path, now=now)


def run_rtp_session(script: bytes) -> None:
    """Kind 0: a compound of the peer's. 1: a packet of the peer's. 2: the numbers of some that are missed.

    3: a packet behind the number that the peer's transport gives it. Others: the payload of one of ours.
    """
    random = repeatable_random()
    sender = RtpSender.begin(ssrc=1, payload_type=111, clock_rate=48000, random=random)
    session = RtpSession(sender, cname="server", ntp_at_zero=3.9e9, random=random, now=0.0)
    for kind, now, data in read_script(script):
        settle(session, now=now)
        if kind == 0:
            session.handle_compound(data, now=now)
        elif kind == 2:
            session.request(tuple(data), now=now)
        elif kind in (1, 3):
            try:
                packet = RtpPacket.decode(data[2:] if kind == 3 else data)
            except WireError:
                continue
            transport_sequence = int.from_bytes(data[:2], "big") if kind == 3 else None
            session.handle_packet(packet, transport_sequence=transport_sequence, now=now)
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
    """Datagrams are RTP packets; payload type 63 is RED. An odd kind gives gaps up a packet at a time."""
    pushed = before = 0
    buffer = ReceiveBuffer(G711Codec("PCMU"), payload_type=0, red=63)
    for kind, now, data in read_script(script):
        with suppress(WireError):
            buffer.push(RtpPacket.decode(data), now=now)
            pushed += 1
        items: list[ReceiveItem] = list(iter(buffer.pop, None))
        if lost := buffer.give_up(is_whole=not kind & 1):
            items.append(lost)
        for item in items:
            require(item.position >= before, "the stream only goes forward")
            before = item.position + item.ticks
            require(not isinstance(item, Lost) or item.ticks <= 960, "no gap asks for more than 120 ms")
        statistics = buffer.statistics()
        require(statistics.received + sum(statistics.dropped.values()) <= pushed, "no packet counts twice")
        require(len(buffer.missing()) <= 100, "what is missing is bounded")


def run_router(script: bytes) -> None:
    """Kind 0-3: from a client. 4-7: a genuine check, with an attribute, from one. 8: from a transceiver.

    9: the directory is asked about unknown sources, and each byte is an answer: an id, 255 for none. 10: a
    transceiver is taken off the list, or put back. 11: flows are written down; the batch path looks them up.
    Others: from a stranger on the hop.
    """
    stranger = ("127.0.0.1", 9001)
    router = Router(keyring=keyring(), now=0.0, flows=FlowTable(flow_limit=3, source_limit=2))
    router.set_transceivers(_TRANSCEIVERS)
    for kind, now, data in read_script(script):
        router.handle_timeout(now)
        if kind < 8:
            _route_client(router, _check(keyring().mint(ROUTE), data) if kind & 4 else data, kind & 3, now)
        elif kind == 9:
            _answer_lookups(router, data, now)
        elif kind == 10:
            router.set_transceivers({id_: _TRANSCEIVERS[id_] for id_ in _TRANSCEIVERS if id_ in data})
        elif kind == 11:
            _check_flows(router, now)
        else:
            source: Address = _TRANSCEIVERS[ROUTE.transceiver_id] if kind == 8 else stranger
            sent = router.handle_hop_datagram(data, source, now=now)
            require(sent is None or source != stranger, "a stranger moves nothing")
            if isinstance(sent, ToClient):
                require(sent.data in data, "a packet for a client leaves as it came")


def _route_client(router: Router, data: bytes, client: int, now: float) -> None:
    """Give the router a client's datagram; it is forwarded as it is, or counted."""
    before = router.statistics()
    host, port, is_stream = _CLIENTS[client]
    sent = router.handle_client_datagram(data, host, port, is_stream=is_stream, now=now)
    after = router.statistics()
    forwarded = after.counts["packets_to_transceivers"] - before.counts["packets_to_transceivers"]
    dropped = sum(after.dropped.values()) - sum(before.dropped.values())
    require(forwarded + dropped == 1, "every datagram is forwarded or counted")
    require(not forwarded or len(data) <= MAX_CLIENT_DATAGRAM, "what is forwarded is bounded")
    require(after.counts["flows"] <= 3, "flows are bounded")
    if sent is not None:
        carried = hop.decode(sent.data)
        require(carried.type != hop.HopType.DATA or carried.payload == data, "packets are left untouched")
        require(carried[1:4] == _CLIENTS[client], "the hop header names the client")


def _answer_lookups(router: Router, answers: bytes, now: float) -> None:
    """Ask what is to be asked, and give these answers; without an answer they time out."""
    asked = router.recovery.poll_lookups(now=now)
    require(set(asked) <= set(_CLIENTS) and len(set(asked)) == len(asked), "each is asked about once")
    require(not router.recovery.poll_lookups(now=now), "what was asked is not asked again")
    for client, answer in zip(asked or _CLIENTS, answers, strict=False):
        router.handle_found(client, None if answer == _NOT_FOUND else answer, now=now)
        flow = router.flows.lookup(client, now=now)
        require(flow is None or flow in _TRANSCEIVERS, "no row leads to a stranger")


def _check_flows(router: Router, now: float) -> None:
    """Compare what a batch finds with what each packet finds."""
    rows = router.rows(now=now, limit=8)
    require(all(id_ in (None, *_TRANSCEIVERS) for _client, id_ in rows), "rows lead to transceivers")
    words = np.array([np.frombuffer(host, "=u8") for host, _port, _is_stream in _CLIENTS])
    tails = np.array([port | is_stream << 16 for _host, port, is_stream in _CLIENTS], np.uint32)
    numbers = router.flows.route(words[:, 0], words[:, 1], tails, now=now)
    for client, number in zip(_CLIENTS, numbers.tolist(), strict=True):
        found = None if number < 0 else router.flows.destination(number)
        require(found == router.flows.lookup(client, now=now), "a batch finds what each packet finds")


def repeatable_random() -> Callable[[int], bytes]:
    """Make randomness that is the same each time."""
    numbers = count()
    return lambda length: hashlib.shake_128(next(numbers).to_bytes(8, "big")).digest(length)


@cache
def certificate(_which: int) -> Certificate:
    """Return the certificate of one end or the other."""
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


@cache
def make_path(number: int) -> Path:
    """Return one of several ways from a client to us."""
    return Path(_RELAY, _HOSTS[number % 2], 5000 + number)
