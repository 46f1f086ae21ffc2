"""What goes on while an association is established: data both ways, and streams that begin anew."""

from collections.abc import Sequence
from typing import Final

from voicegate.errors import UsageError
from voicegate.sctp.chunk import Data, ForwardTsn, Sack
from voicegate.sctp.failure import SctpError
from voicegate.sctp.inbound import Inbound
from voicegate.sctp.init import Init
from voicegate.sctp.outbound import Outbound
from voicegate.sctp.outbox import Outbox
from voicegate.sctp.parameter import CauseCode
from voicegate.sctp.round_trip import RoundTrip
from voicegate.sctp.send_queue import OutboundMessage
from voicegate.sctp.statistic import DropReason
from voicegate.sctp.stream_reset import StreamReset

__all__ = ["SEND_BUFFER", "SEND_MESSAGES", "Transfer"]

SEND_BUFFER: Final = 16 * 1024 * 1024
"""Bytes that may be queued and not yet acknowledged; whoever has more must wait for what is on its way."""
SEND_MESSAGES: Final = 65_536
"""Messages that may be queued: the shortest cost a hundred times their length."""


class Transfer:
    """Both halves of the data's way, and the reset of streams, behind one set of verbs."""

    def __init__(self, *, outbox: Outbox, round_trip: RoundTrip, init: Init, max_message_size: int) -> None:
        self._outbox = outbox
        self._init = init
        self.outbound = Outbound(outbox=outbox, round_trip=round_trip, initial_tsn=init.initial_tsn)
        self.inbound = Inbound(outbox=outbox, window=init.window, max_message_size=max_message_size)
        self._reset = StreamReset(
            outbox=outbox,
            outbound=self.outbound,
            inbound=self.inbound,
            round_trip=round_trip,
            initial_tsn=init.initial_tsn,
        )
        self.outbound_streams = init.outbound_streams
        self.inbound_streams = init.inbound_streams

    @property
    def has_failed(self) -> bool:
        """Whether the peer does not answer."""
        return self.outbound.has_failed or self._reset.has_failed

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` is wanted."""
        deadlines = (self.inbound.deadline, self.outbound.deadline, self._reset.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def begin(self, remote: Init) -> None:
        """Learn what the peer's INIT says."""
        self.outbound_streams = min(self._init.outbound_streams, remote.inbound_streams)
        self.inbound_streams = min(self._init.inbound_streams, remote.outbound_streams)
        self.inbound.begin(initial_tsn=remote.initial_tsn)
        self.outbound.begin(window=remote.window, has_forward_tsn=remote.has_forward_tsn)
        self._reset.begin(
            initial_tsn=remote.initial_tsn,
            inbound_streams=self.inbound_streams,
            outbound_streams=self.outbound_streams,
            is_able=remote.has_reconfiguration,
        )

    # Commands

    def push(self, message: OutboundMessage) -> None:
        """Queue a message.

        Errors: UsageError for a stream that there is not or that is being reset, and when too much is queued.
        """
        stream_id, outbound = message.stream_id, self.outbound
        if not 0 <= stream_id < self.outbound_streams or self._reset.is_resetting(stream_id):
            raise UsageError(f"stream {stream_id} cannot be sent on")
        if (
            outbound.buffered_bytes + len(message.data) > SEND_BUFFER
            or outbound.waiting_messages == SEND_MESSAGES
        ):
            raise UsageError(f"{outbound.waiting_messages} messages wait, {outbound.buffered_bytes} bytes")
        outbound.push(message)

    def reset(self, stream_ids: Sequence[int]) -> None:
        """Want streams of ours reset.

        Errors: UsageError for a stream that there is not.
        """
        if not all(0 <= stream_id < self.outbound_streams for stream_id in stream_ids):
            raise UsageError(f"{stream_ids} are not all streams")
        self._reset.reset(stream_ids)

    # Input

    def handle_data(self, data: Data) -> None:
        """Take DATA.

        Errors: SctpError for what ends the association.
        """
        if not data.data:
            raise SctpError("the peer sent DATA without data", code=CauseCode.NO_USER_DATA)
        if data.stream_id >= self.inbound_streams:
            self._outbox.drop(DropReason.INVALID_STREAM)
            self.inbound.skip_data(data)
            self._outbox.report(CauseCode.INVALID_STREAM, data.stream_id.to_bytes(2, "big") + bytes(2))
            return
        self.inbound.handle_data(data)
        if self.inbound.has_oversized:
            raise SctpError("the peer sent a message longer than was agreed")

    def handle_forward_tsn(self, forward: ForwardTsn) -> None:
        """Take FORWARD-TSN."""
        streams = tuple(stream for stream in forward.streams if stream[0] < self.inbound_streams)
        self.inbound.handle_forward_tsn(forward._replace(streams=streams))

    def handle_sack(self, sack: Sack, *, now: float) -> None:
        """Take SACK."""
        self.outbound.handle_sack(sack, now=now)

    def handle_reconfiguration(self, chunk: bytes) -> None:
        """Take RE-CONFIG."""
        self._reset.handle_chunk(chunk)

    def handle_timeout(self, *, now: float) -> None:
        """Let time pass."""
        self.inbound.handle_timeout(now=now)
        self.outbound.handle_timeout(now=now)
        self._reset.handle_timeout(now=now)

    # Output

    def transmit(self, *, now: float) -> None:
        """Put what has become due into packets, an acknowledgement along with it."""
        inbound, outbound = self.inbound, self.outbound
        self._reset.advance(now=now)
        if inbound.is_due or (inbound.is_pending and (outbound.is_ready or not self._outbox.is_empty)):
            self._outbox.add(inbound.take_sack())
        outbound.transmit(now=now)
