"""One SCTP association inside one DTLS association (RFC 8261): packets and time in, packets and events out.

It composes the handshake, the two halves of the data's way, the reset of streams and the ending. Either end
may begin, or both at once, or nobody with SNAP.

Drain rule: one ``handle_*`` or command, then `poll_transmit` and `poll_event` to None and `poll_timeout`,
before the next.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final

from voicegate.errors import UsageError, WireError
from voicegate.sctp.chunk import ChunkType, Data, ForwardTsn, Sack, Shutdown, encode_chunk, is_reported, stops
from voicegate.sctp.ending import Ending, describe_abort
from voicegate.sctp.event import AssociationClosed, AssociationEstablished, CloseCause, Event
from voicegate.sctp.failure import SctpError
from voicegate.sctp.handshake import Handshake, make_init
from voicegate.sctp.init import Init
from voicegate.sctp.outbox import Outbox
from voicegate.sctp.packet import Packet
from voicegate.sctp.parameter import CauseCode, Parameter, decode_parameters
from voicegate.sctp.round_trip import RoundTrip
from voicegate.sctp.send_queue import OutboundMessage
from voicegate.sctp.state import AssociationState
from voicegate.sctp.statistic import DropReason, Statistics
from voicegate.sctp.transfer import Transfer
from voicegate.sctp.tsn import TSN_MASK

__all__ = ["SctpAssociation"]

_MIN_MTU: Final = 512
_T_BIT: Final = 1
"""The tag is the receiver's own idea of the sender's (RFC 9260 §8.4, §8.5.1)."""

(
    _NEW,
    _COOKIE_WAIT,
    _COOKIE_ECHOED,
    _ESTABLISHED,
    _PENDING,
    _SHUTDOWN_SENT,
    _SHUTDOWN_RECEIVED,
    _ACK_SENT,
    _CLOSED,
) = AssociationState
_BEFORE: Final = (_NEW, _COOKIE_WAIT, _COOKIE_ECHOED)
_RECEIVING: Final = (_ESTABLISHED, _PENDING, _SHUTDOWN_SENT)
_SENDING: Final = (_ESTABLISHED, _PENDING, _SHUTDOWN_RECEIVED)
_MANIFOLD: Final = frozenset((ChunkType.DATA, ChunkType.HEARTBEAT, ChunkType.HEARTBEAT_ACK, ChunkType.ERROR))
"""Chunks that may come more than once in a packet; of others nobody sends two, and the first counts."""


class SctpAssociation:
    """An association with the peer at the other end of a DTLS association.

    Errors: nothing that arrives raises; what the peer does wrong is counted, or ends the association with
    `AssociationClosed`.
    """

    def __init__(
        self,
        *,
        random: Callable[[int], bytes],
        now: float,  # noqa: ARG002 - every core is told when it begins
        local_port: int = 5000,
        remote_port: int = 5000,
        mtu: int = 1160,
        max_message_size: int = 262_144,
        receive_window: int = 1_048_576,
        streams: int = 1024,
    ) -> None:
        """Make an association that waits for the peer's INIT, or is to be started.

        Args:
            random: Gives as many unguessable bytes as it is asked for.
            now: The time.
            local_port: Our port, as our SDP says.
            remote_port: The peer's port, as its SDP says.
            mtu: Bytes of the longest packet.
            max_message_size: Bytes of the longest message that the peer may send.
            receive_window: Bytes that may be here without having been consumed.
            streams: How many streams either end may use.

        Errors: UsageError for limits that make no sense.
        """
        if mtu < _MIN_MTU or not 0 < streams <= 0xFFFF:
            raise UsageError(f"an mtu of {mtu} bytes, {streams} streams")
        if not 0 < max_message_size <= receive_window:
            raise UsageError(f"messages of {max_message_size} bytes in a window of {receive_window}")
        self.init = make_init(random=random, window=receive_window, streams=streams)
        self._state = _NEW
        self._outbox = Outbox(local_port=local_port, remote_port=remote_port, mtu=mtu)
        self._round_trip = RoundTrip()
        self._handshake = Handshake(
            init=self.init, random=random, outbox=self._outbox, round_trip=self._round_trip
        )
        self._transfer = Transfer(
            outbox=self._outbox,
            round_trip=self._round_trip,
            init=self.init,
            max_message_size=max_message_size,
        )
        self._ending = Ending(outbox=self._outbox, round_trip=self._round_trip)
        self._packets_received = 0
        self._messages_sent = 0

    # Input

    def start(self, *, now: float) -> None:
        """Send INIT, unless the peer's has come first or the association has begun."""
        if self._state is _NEW and not self._handshake.has_answered:
            self._state = _COOKIE_WAIT
            self._handshake.send_init(now=now)

    def start_with(self, remote: Init, *, now: float) -> None:
        """Begin with the INIT that came through the signalling, the peer having ours (SNAP).

        Errors: UsageError when the association has begun already.
        """
        if self._state is not _NEW:
            raise UsageError(f"an association in state {self._state.value} cannot be given its peer")
        self._learn(remote)
        self._establish(now)
        self._advance(now)

    def handle_datagram(self, data: bytes, *, now: float) -> None:
        """Take a packet, of any content, from the DTLS association."""
        self._packets_received += 1
        try:
            packet = Packet.decode(data)
        except WireError:
            self._outbox.drop(DropReason.MALFORMED_PACKET)
            return
        if (packet.source_port, packet.destination_port) != (
            self._outbox.remote_port,
            self._outbox.local_port,
        ):
            self._outbox.drop(DropReason.WRONG_PORT)
        elif self._state is _CLOSED:
            self._outbox.drop(DropReason.AFTER_END)
            self._ending.repeat(packet)
        elif not self._is_addressed(packet):
            self._outbox.drop(DropReason.WRONG_TAG)
        else:
            self._outbox.reports = 0
            self._handle_chunks(packet.chunks, now)
            self._transfer.inbound.end_packet(now=now)
            self._advance(now)

    def handle_timeout(self, *, now: float) -> None:
        """Let time pass; harmless when nothing is due."""
        if self._state is _CLOSED:
            return
        if self._handshake.expire(now=now):
            self._repeat_handshake(now)
        elif self._state not in _BEFORE:
            self._transfer.handle_timeout(now=now)
            if self._ending.is_overdue(now):
                self._say_shutdown(now)
        if self._transfer.has_failed or self._ending.has_failed:
            self._abort(CloseCause.TIMED_OUT, "the peer does not answer")
        self._advance(now)

    def set_round_trip(self, seconds: float) -> None:
        """Learn ICE's estimate of the round trip, which counts until there is one of our own."""
        self._round_trip.suppose(seconds)

    def send(
        self,
        stream_id: int,
        protocol_id: int,
        data: bytes,
        *,
        now: float,
        is_ordered: bool = True,
        max_retransmits: int | None = None,
        lifetime: float | None = None,
        priority: int = 256,
    ) -> None:
        """Queue a whole message; before the association is established it waits.

        Args:
            stream_id: The stream.
            protocol_id: What the peer is told that the message is.
            data: The message, at least one byte.
            now: The time.
            is_ordered: Whether it comes out behind those sent before it on its stream.
            max_retransmits: How often it is sent again before it is given up; None for ever.
            lifetime: Seconds after which it is not sent again; None for ever.
            priority: The share of the line that its stream gets, in proportion to others.

        Errors: UsageError after the end, for an empty message, for a stream that there is not or that is
        being reset, and when too much is buffered.
        """
        if self._state not in (*_BEFORE, _ESTABLISHED):
            raise UsageError(f"an association in state {self._state.value} cannot send")
        if not data or priority < 1:
            raise UsageError(f"a message of {len(data)} bytes with priority {priority}")
        self._transfer.push(
            OutboundMessage(
                stream_id=stream_id,
                protocol_id=protocol_id,
                data=data,
                is_ordered=is_ordered,
                max_retransmits=max_retransmits,
                deadline=None if lifetime is None else now + lifetime,
                priority=priority,
            )
        )
        self._messages_sent += 1
        self._advance(now)

    def consume(self, length: int) -> None:
        """Say that the owner has passed on so many bytes of messages, which makes room for more.

        Errors: UsageError for more than there were.
        """
        inbound = self._transfer.inbound
        inbound.consume(length)
        if inbound.is_due and self._state in _RECEIVING:
            self._outbox.send(inbound.take_sack())

    def reset_streams(self, stream_ids: Sequence[int], *, now: float) -> None:
        """Let streams that we send on begin anew, behind what is queued on them.

        `StreamsReset` says when it is done; until then nothing can be sent on them.

        Errors: UsageError for a stream that there is not, and after the end.
        """
        if self._state not in (*_BEFORE, _ESTABLISHED):
            raise UsageError(f"an association in state {self._state.value} cannot reset streams")
        self._transfer.reset(stream_ids)
        self._advance(now)

    def shutdown(self, *, now: float) -> None:
        """End once all that is queued has arrived; harmless after the end."""
        if self._state in _BEFORE:
            self._abort(CloseCause.SHUTDOWN, "shut down before it was established", is_remote=False)
        elif self._state is _ESTABLISHED:
            self._state = _PENDING
            self._advance(now)

    def abort(self, reason: str = "", *, now: float) -> None:  # noqa: ARG002 - every command tells the time
        """End now, and tell the peer; harmless after the end."""
        if self._state is not _CLOSED:
            self._abort(CloseCause.ABORTED, reason, code=CauseCode.USER_ABORT)

    # Output

    def poll_transmit(self) -> bytes | None:
        """Return the next packet to send."""
        transmits = self._outbox.transmits
        return transmits.popleft() if transmits else None

    def poll_event(self) -> Event | None:
        """Return the next event."""
        events = self._outbox.events
        return events.popleft() if events else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        if self._state in _BEFORE:
            return self._handshake.deadline
        deadlines = [self._ending.deadline]
        if self._state in _SENDING:
            deadlines.append(self._transfer.deadline)
        elif self._state is _SHUTDOWN_SENT:
            deadlines.append(self._transfer.inbound.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    @property
    def state(self) -> AssociationState:
        """Where the association is in its life."""
        return self._state

    @property
    def is_established(self) -> bool:
        """Whether messages flow both ways."""
        return self._state is _ESTABLISHED

    @property
    def buffered_bytes(self) -> int:
        """Bytes of messages queued and not yet acknowledged."""
        return self._transfer.outbound.buffered_bytes

    def buffered(self, stream_id: int) -> int:
        """Return the same of one stream."""
        return self._transfer.outbound.buffered[stream_id]

    def statistics(self) -> Statistics:
        """Return a snapshot of the counters."""
        outbox, outbound = self._outbox, self._transfer.outbound
        return Statistics(
            packets_received=self._packets_received,
            packets_sent=outbox.packets_sent,
            messages_received=outbox.messages_received,
            messages_sent=self._messages_sent,
            retransmissions=outbound.retransmissions,
            timeouts=outbound.timeouts,
            abandoned=outbound.abandoned,
            round_trip=self._round_trip.smoothed,
            congestion_window=outbound.congestion.window,
            buffered_bytes=outbound.buffered_bytes,
            unconsumed_bytes=self._transfer.inbound.unconsumed,
            dropped=dict(outbox.dropped),
        )

    # Internals: packets

    def _is_addressed(self, packet: Packet) -> bool:
        """Tell whether the verification tag is right (RFC 9260 §8.5)."""
        first, tag = packet.chunks[0], packet.verification_tag
        if any(chunk[0] == ChunkType.INIT for chunk in packet.chunks):
            return tag == 0 and len(packet.chunks) == 1
        if first[0] in (ChunkType.ABORT, ChunkType.SHUTDOWN_COMPLETE) and first[1] & _T_BIT:
            return tag == self._outbox.tag != 0
        return tag == self.init.initiate_tag

    def _handle_chunks(self, chunks: Sequence[bytes], now: float) -> None:
        seen: set[int] = set()
        for chunk in chunks:
            chunk_type = chunk[0]
            handle = self._HANDLERS.get(chunk_type)
            if handle is None:
                self._outbox.drop(DropReason.UNKNOWN_CHUNK)
                if is_reported(chunk_type) and self._state not in _BEFORE:
                    self._outbox.report(CauseCode.UNRECOGNIZED_CHUNK, chunk)
                if stops(chunk_type):
                    return
                continue
            if chunk_type not in _MANIFOLD:
                if chunk_type in seen:
                    self._outbox.drop(DropReason.UNEXPECTED_CHUNK)
                    continue
                seen.add(chunk_type)
            try:
                handle(self, chunk, now)
            except WireError:
                self._outbox.drop(DropReason.MALFORMED_CHUNK)
            except SctpError as error:
                self._abort(CloseCause.PROTOCOL_VIOLATION, error.detail, code=error.code)
            if self._state is _CLOSED:
                return

    def _advance(self, now: float) -> None:
        """Send what has become due, in as few packets as it takes."""
        outbox, transfer = self._outbox, self._transfer
        if self._state is _COOKIE_ECHOED:
            # Until the cookie is known to have arrived, nothing goes without it (RFC 9260 §5.1).
            if not outbox.is_empty:
                transfer.outbound.transmit(now=now, is_single=True)
        elif self._state in _SENDING:
            transfer.transmit(now=now)
            if self._state is not _ESTABLISHED and transfer.outbound.is_done:
                self._state = _SHUTDOWN_SENT if self._state is _PENDING else _ACK_SENT
                self._say_shutdown(now)
        elif self._state is _SHUTDOWN_SENT and transfer.inbound.is_due:
            outbox.add(transfer.inbound.take_sack())
            self._say_shutdown(now)
        outbox.seal()

    # Internals: the beginning

    def _learn(self, remote: Init) -> None:
        """Take the peer's INIT, from wherever it came, for this association's."""
        self._outbox.tag = remote.initiate_tag
        self._transfer.begin(remote)

    def _establish(self, now: float) -> None:
        self._state = _ESTABLISHED
        self._handshake.stop()
        self._transfer.outbound.resume(now=now)
        self._outbox.events.append(
            AssociationEstablished(
                outbound_streams=self._transfer.outbound_streams,
                inbound_streams=self._transfer.inbound_streams,
            )
        )

    def _repeat_handshake(self, now: float) -> None:
        if self._handshake.has_failed:
            self._abort(CloseCause.TIMED_OUT, "the peer does not answer")
        elif self._state is _COOKIE_WAIT:
            self._handshake.send_init(now=now)
        else:
            self._handshake.repeat_echo(now=now)
            self._transfer.outbound.repeat(now=now)

    def _handle_init(self, chunk: bytes, now: float) -> None:
        remote = Init.decode(chunk)
        if remote.fault is not None:
            self._outbox.drop(DropReason.MALFORMED_CHUNK)
            if remote.initiate_tag:
                cause = Parameter(CauseCode.INVALID_PARAMETER, b"").encode()
                self._outbox.send(encode_chunk(ChunkType.ABORT, cause), tag=remote.initiate_tag)
        elif self._state in _BEFORE:
            self._handshake.answer_init(remote, now=now)
        elif remote.initiate_tag == self._outbox.tag:
            self._outbox.drop(DropReason.UNEXPECTED_CHUNK)
        else:
            # Against RFC 9260 §5.2.2: who has forgotten the association has forgotten the channels in it.
            self._outbox.tag = remote.initiate_tag
            self._abort(CloseCause.RESTARTED, "the peer began anew", code=CauseCode.RESTART, is_remote=True)

    def _handle_init_ack(self, chunk: bytes, now: float) -> None:
        if self._state is not _COOKIE_WAIT:
            self._outbox.drop(DropReason.UNEXPECTED_CHUNK)
            return
        remote = Init.decode(chunk)
        if not remote.initiate_tag:
            raise WireError("an INIT ACK with a tag of zero")
        self._learn(remote)
        if remote.fault is not None:
            raise SctpError(f"the peer's INIT ACK has {remote.fault}", code=CauseCode.INVALID_PARAMETER)
        self._handshake.echo_cookie(remote, now=now)
        self._state = _COOKIE_ECHOED

    def _handle_cookie_echo(self, chunk: bytes, now: float) -> None:
        is_before = self._state in _BEFORE
        remote = self._handshake.read_cookie(chunk[4:], now=now, is_established=not is_before)
        if remote is None:
            return
        is_known = remote.initiate_tag == self._outbox.tag
        if not is_before and not is_known:
            self._outbox.drop(DropReason.BAD_COOKIE)
            return
        if is_before:
            if self._state is not _COOKIE_ECHOED or not is_known:
                self._learn(remote)
            self._establish(now)
        self._outbox.add(encode_chunk(ChunkType.COOKIE_ACK))

    def _handle_cookie_ack(self, _chunk: bytes, now: float) -> None:
        if self._state is _COOKIE_ECHOED:
            self._establish(now)
        else:
            self._outbox.drop(DropReason.UNEXPECTED_CHUNK)

    def _is_expected(self, states: Sequence[AssociationState], now: float) -> bool:
        """Tell whether a chunk of an established association has its place now, or count it."""
        if self._state is _COOKIE_ECHOED:
            # Only who has taken our cookie sends it; the COOKIE ACK was lost or overtaken.
            self._establish(now)
        if self._state in states:
            return True
        self._outbox.drop(DropReason.UNEXPECTED_CHUNK)
        return False

    # Internals: data

    def _handle_data(self, chunk: bytes, now: float) -> None:
        data = Data.decode(chunk)
        if self._is_expected(_RECEIVING, now):
            self._transfer.handle_data(data)

    def _handle_forward_tsn(self, chunk: bytes, now: float) -> None:
        forward = ForwardTsn.decode(chunk)
        if self._is_expected(_RECEIVING, now):
            self._transfer.handle_forward_tsn(forward)

    def _handle_sack(self, chunk: bytes, now: float) -> None:
        sack = Sack.decode(chunk)
        if self._is_expected(_SENDING, now):
            self._transfer.handle_sack(sack, now=now)

    def _handle_reconfiguration(self, chunk: bytes, now: float) -> None:
        if self._is_expected((_ESTABLISHED,), now):
            self._transfer.handle_reconfiguration(chunk)

    def _handle_heartbeat(self, chunk: bytes, _now: float) -> None:
        if self._state in (_NEW, _COOKIE_WAIT):
            self._outbox.drop(DropReason.UNEXPECTED_CHUNK)
        elif self._state is _COOKIE_ECHOED or len(chunk) > self._outbox.mtu - 12:
            self._outbox.drop(DropReason.OVERSIZED_REPLY)
        else:
            self._outbox.add(encode_chunk(ChunkType.HEARTBEAT_ACK, chunk[4:]))

    def _ignore(self, _chunk: bytes, _now: float) -> None:
        """Take an answer to what we never ask."""
        self._outbox.drop(DropReason.UNEXPECTED_CHUNK)

    def _handle_error(self, chunk: bytes, now: float) -> None:
        codes = [cause.type for cause in decode_parameters(chunk[4:])]
        if self._state is _COOKIE_ECHOED and CauseCode.STALE_COOKIE in codes:
            self._state = _COOKIE_WAIT
            self._handshake.send_init(now=now)

    # Internals: the end

    def _handle_abort(self, chunk: bytes, _now: float) -> None:
        self._close(CloseCause.ABORTED, describe_abort(chunk), is_remote=True)

    def _handle_shutdown(self, chunk: bytes, now: float) -> None:
        shutdown = Shutdown.decode(chunk)
        if not self._is_expected(
            (_ESTABLISHED, _PENDING, _SHUTDOWN_SENT, _SHUTDOWN_RECEIVED, _ACK_SENT), now
        ):
            return
        if self._state is _SHUTDOWN_SENT:
            self._state = _ACK_SENT
            self._say_shutdown(now)
        elif self._state is _ACK_SENT:
            self._say_shutdown(now)
        else:
            self._ending.is_remote |= self._state is _ESTABLISHED
            self._state = _SHUTDOWN_RECEIVED
            self._transfer.outbound.handle_cumulative(shutdown.cumulative_tsn, now=now)

    def _handle_shutdown_ack(self, _chunk: bytes, _now: float) -> None:
        if self._state in (_SHUTDOWN_SENT, _ACK_SENT):
            self._ending.complete()
            self._close(CloseCause.SHUTDOWN, "all has arrived", is_remote=self._ending.is_remote)
        else:
            self._outbox.drop(DropReason.UNEXPECTED_CHUNK)

    def _handle_shutdown_complete(self, _chunk: bytes, _now: float) -> None:
        if self._state is _ACK_SENT:
            self._close(CloseCause.SHUTDOWN, "all has arrived", is_remote=self._ending.is_remote)
        else:
            self._outbox.drop(DropReason.UNEXPECTED_CHUNK)

    def _say_shutdown(self, now: float) -> None:
        if self._state is _SHUTDOWN_SENT:
            self._ending.say(Shutdown(self._transfer.inbound.cumulative_tsn & TSN_MASK).encode(), now=now)
        else:
            self._ending.say(encode_chunk(ChunkType.SHUTDOWN_ACK), now=now)

    def _abort(
        self, cause: CloseCause, detail: str, *, code: CauseCode | None = None, is_remote: bool = False
    ) -> None:
        """End, and say so."""
        self._ending.abort(detail, code=code)
        self._close(cause, detail, is_remote=is_remote)

    def _close(self, cause: CloseCause, detail: str, *, is_remote: bool) -> None:
        self._state = _CLOSED
        self._ending.deadline = None
        self._outbox.events.append(AssociationClosed(cause=cause, detail=detail, is_remote=is_remote))

    _HANDLERS: ClassVar[Mapping[int, Callable[["SctpAssociation", bytes, float], None]]] = {
        ChunkType.DATA: _handle_data,
        ChunkType.INIT: _handle_init,
        ChunkType.INIT_ACK: _handle_init_ack,
        ChunkType.SACK: _handle_sack,
        ChunkType.HEARTBEAT: _handle_heartbeat,
        ChunkType.HEARTBEAT_ACK: _ignore,
        ChunkType.ABORT: _handle_abort,
        ChunkType.SHUTDOWN: _handle_shutdown,
        ChunkType.SHUTDOWN_ACK: _handle_shutdown_ack,
        ChunkType.ERROR: _handle_error,
        ChunkType.COOKIE_ECHO: _handle_cookie_echo,
        ChunkType.COOKIE_ACK: _handle_cookie_ack,
        ChunkType.SHUTDOWN_COMPLETE: _handle_shutdown_complete,
        ChunkType.RECONFIGURATION: _handle_reconfiguration,
        ChunkType.FORWARD_TSN: _handle_forward_tsn,
    }
