"""The target that is an SCTP association: a script of packets and commands against one with a genuine peer.

Layer: core (sans-IO).
"""

from random import Random  # noqa: TID251 - seeded: a failing run can be repeated
from typing import Final

from voicegate.errors import UsageError
from voicegate.sctp import AssociationClosed, AssociationEstablished, MessageReceived, SctpAssociation
from voicegate.sctp.packet import Packet
from voicegate.testing.script import Step, drain, read_script, require, settle

__all__ = ["run_sctp"]

_WINDOW: Final = 65_536
_LONGEST: Final = 16_384
_STREAMS: Final = 16
_CHUNKS: Final = 5
_COMMANDS: Final = {6, 7, 8, 9, 10}


def run_sctp(script: bytes) -> None:
    """Run a script; both ends have begun, and the kinds say what happens.

    Kind 0: the script's datagram arrives. 1: the peer's next. 2: its next, changed (a 16-bit offset, then
    what is XORed there) and its checksum mended. 3: its next is lost. 4: its next, twice. 5: a packet with
    the right tag and checksum, of the script's bytes as chunks. 6 and 7: the end, or the peer, sends a
    message (stream, flags, length in 64 bytes). 8 and 9: the end, or the peer, resets the streams named.
    10: the peer shuts down. Others: all that the peer has sent arrives.
    """
    end, peer = _association(1), _association(2)
    end.start(now=0.0)
    peer.start(now=0.0)
    sent: list[bytes] = []
    closed = established = 0
    for step in read_script(script):
        settle(peer, now=step.now)
        settle(end, now=step.now)
        if step.kind in _COMMANDS:
            _command(step, end, peer)
        sent += drain(iter(peer.poll_transmit, None))
        arriving = _arriving(step, end, sent)
        for data in arriving:
            end.handle_datagram(data, now=step.now)
        for data in drain(iter(end.poll_transmit, None), inputs=len(arriving)):
            peer.handle_datagram(data, now=step.now)
        for event in iter(end.poll_event, None):
            require(not closed, "nothing follows the end")
            established += isinstance(event, AssociationEstablished)
            closed += isinstance(event, AssociationClosed)
            if isinstance(event, MessageReceived):
                require(established, "messages follow the establishment")
                require(0 < len(event.data) <= _LONGEST, "messages are as long as agreed")
                end.consume(len(event.data))
        for event in iter(peer.poll_event, None):
            if isinstance(event, MessageReceived):
                peer.consume(len(event.data))
        require(established <= 1, "an association is established once")
        statistics = end.statistics()
        require(statistics.buffered_bytes >= 0, "no byte is acknowledged twice")
        require(statistics.unconsumed_bytes == 0, "what was consumed is counted")


def _association(seed: int) -> SctpAssociation:
    return SctpAssociation(
        random=Random(seed).randbytes,  # noqa: S311 - repeatable, not secret
        now=0.0,
        receive_window=_WINDOW,
        max_message_size=_LONGEST,
        streams=_STREAMS,
    )


def _command(step: Step, end: SctpAssociation, peer: SctpAssociation) -> None:
    data = step.data or b"\0"
    try:
        match step.kind:
            case 6 | 7:
                flags = data[1] if len(data) > 1 else 0
                (end if step.kind == 6 else peer).send(
                    data[0] % _STREAMS,
                    53,
                    bytes(64 * (data[2] if len(data) > 2 else 0) + 1),
                    now=step.now,
                    is_ordered=not flags & 1,
                    max_retransmits=flags >> 2 if flags & 2 else None,
                    lifetime=0.1 if flags & 64 else None,
                )
            case 8 | 9:
                ids = [number % _STREAMS for number in data]
                (end if step.kind == 8 else peer).reset_streams(ids, now=step.now)
            case _:
                peer.shutdown(now=step.now)
    except UsageError:
        pass  # Streams that are being reset, and associations that are over.


def _arriving(step: Step, end: SctpAssociation, sent: list[bytes]) -> list[bytes]:
    if step.kind == 0:
        return [step.data]
    if step.kind == _CHUNKS:
        return _packet(end, step.data)
    if step.kind in _COMMANDS:
        return []
    if step.kind > _CHUNKS:
        arriving, sent[:] = sent[:], []
        return arriving
    if not sent:
        return []
    datagram = sent.pop(0)
    if step.kind == 2:
        where = int.from_bytes(step.data[:2], "big")
        changed = bytearray(datagram)
        for offset, mask in enumerate(step.data[2:], where):
            changed[offset % len(changed)] ^= mask
        datagram = _mended(bytes(changed))
    return [datagram] * (1, 1, 1, 0, 2)[step.kind]


def _packet(end: SctpAssociation, body: bytes) -> list[bytes]:
    """Make a genuine packet of any chunks: with the end's tag, or with none where they begin with INIT."""
    tag = 0 if body[:1] == b"\1" else end.init.initiate_tag
    return [Packet(5000, 5000, tag, (body,)).encode()]


def _mended(data: bytes) -> bytes:
    """Give a packet the checksum that it should have."""
    source, destination = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    return Packet(source, destination, int.from_bytes(data[4:8], "big"), (data[12:],)).encode()
