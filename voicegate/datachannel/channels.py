"""All data channels of one association (RFC 8831), opened in-band (RFC 8832) or negotiated beforehand.

1. who opens a channel -> other: DATA_CHANNEL_OPEN on a stream that is its to open, messages right behind it
2. other -> who opened: DATA_CHANNEL_ACK on the stream of the same number; from here on both are sure of it
3. both: messages
4. who closes it -> other: reset of the outgoing stream; the other answers with a reset of its own

A channel is a stream in each direction. It is over, and its number free, only when both have been reset. As
the number may be used again at once, we answer a reset only when our owner has taken all messages of the
channel: so what `poll_message` gives always belongs to the channel that `poll_event` last told of.

Attack: a peer that has all keys sends without end, opens channels without end, or breaks the rules. Wanted:
bounded memory, the other channels and the call unharmed. Construction: what waits to be read holds the
receive window of the association, and is counted; channels are counted; whatever is against the rules closes
the one channel that it came on.

Drain rule: one ``handle_*`` or command, then `poll_event`, `poll_message` and `poll_transmit`, each to None,
and `poll_timeout`. Messages may be left where they are while there is no room for them.

What is assumed and what is left out stands in ``docs/datachannel.md``.
"""

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from voicegate.datachannel.channel import NORMAL_PRIORITY, Channel
from voicegate.datachannel.establishment import DataChannelAck, DataChannelOpen, decode_establishment
from voicegate.datachannel.event import DataEstablished, DataFailed, Event
from voicegate.datachannel.message import EarlyMessages, Message, Unread
from voicegate.datachannel.payload import ProtocolId, decode_payload, encode_payload
from voicegate.datachannel.statistic import Counts, DataChannelStatistics, DropReason
from voicegate.datachannel.table import ChannelTable, Stream
from voicegate.errors import UsageError, WireError
from voicegate.sctp import (
    AssociationClosed,
    AssociationEstablished,
    Init,
    MessageReceived,
    SctpAssociation,
    StreamsReset,
)

__all__ = ["MAX_CHANNELS", "DataChannels"]

MAX_CHANNELS: Final = 256
"""Open at one time, including those that are being closed or refused. A voice call needs one or two; each
may hold two names of `MAX_NAME_LENGTH`."""


class DataChannels:
    """The channels of one association, which is theirs alone from now on.

    Args:
        association: Fresh; nobody else may call it.
        is_dtls_client: Decides whose the even streams are.
        max_message_size: The longest message that the peer takes; 0 when it takes any.
    """

    def __init__(self, association: SctpAssociation, *, is_dtls_client: bool, max_message_size: int) -> None:
        self._association = association
        self._max_message_size = max_message_size
        self._events: deque[Event] = deque()
        self._table = ChannelTable(
            parity=0 if is_dtls_client else 1,
            stream_limit=association.init.outbound_streams,
            events=self._events,
        )
        self._unread = Unread()
        self._apart: dict[int, Unread] = {}
        """Of the channels whose messages have a reader of their own."""
        self._early = EarlyMessages()
        self._counts = Counts()
        self._is_established = False
        self._is_over = False
        self._now: float | None = None
        """Of the last input, for what is due at once."""

    # Input

    def start(self, *, now: float) -> None:
        """Begin the association, without waiting for the peer to."""
        self._association.start(now=now)
        self._work(now)

    def start_with(self, remote: Init, *, now: float) -> None:
        """Begin the association with what SDP says of the peer's end."""
        self._association.start_with(remote, now=now)
        self._work(now)

    def handle_datagram(self, data: bytes, *, now: float) -> None:
        """Take an SCTP packet."""
        self._association.handle_datagram(data, now=now)
        self._work(now)

    def handle_timeout(self, *, now: float) -> None:
        """Do what is due."""
        self._association.handle_timeout(now=now)
        self._work(now)

    def set_round_trip(self, seconds: float) -> None:
        """Tell the association how far away the peer is, before it has measured that itself."""
        self._association.set_round_trip(seconds)

    def open(
        self,
        *,
        now: float,
        label: str = "",
        protocol: str = "",
        is_ordered: bool = True,
        max_retransmits: int | None = None,
        lifetime_ms: int | None = None,
        priority: int = NORMAL_PRIORITY,
        negotiated_id: int | None = None,
    ) -> Channel:
        """Open a channel; messages may be sent on it at once, even before the association is up.

        Args:
            now: The time.
            label: For people, or to tell channels apart.
            protocol: What the messages are, in words of the applications.
            is_ordered: Whether messages arrive in the order in which they are sent.
            max_retransmits: How often a message is sent again before it is given up.
            lifetime_ms: How long a message is tried for.
            priority: Against the other channels, in proportion.
            negotiated_id: The number that the peer knows too; without one the peer is asked.

        Errors: UsageError when an argument is out of range, the number taken, there are too many channels, or
        the association is over.
        """
        if self._is_over:
            raise UsageError("a channel on an association that is over")
        if len(self._table) >= MAX_CHANNELS:
            raise UsageError(f"more than {MAX_CHANNELS} channels")
        is_negotiated = negotiated_id is not None
        channel = Channel(
            id=self._table.free_id() if negotiated_id is None else self._table.check_id(negotiated_id),
            label=label,
            protocol=protocol,
            is_ordered=is_ordered,
            max_retransmits=max_retransmits,
            lifetime_ms=lifetime_ms,
            priority=priority,
            is_negotiated=is_negotiated,
        )
        channel.validate()
        if not is_negotiated:
            self._send_establishment(channel, channel.to_open(), now=now)
        elif self._is_established:
            self._table.announce(channel)
        self._adopt(channel, is_unconfirmed=not is_negotiated, now=now)
        self._work(now)
        return channel

    def send(self, channel_id: int, data: str | bytes, *, now: float) -> None:
        """Send a message.

        Errors: UsageError when the channel is not open, the message longer than the peer takes, or too much
        is waiting already; a string with lone surrogates is one too.
        """
        channel, stream = self._table.channels.get(channel_id), self._table.get(channel_id)
        if channel is None or stream is None:
            raise UsageError(f"channel {channel_id} is not open")
        protocol_id, payload = encode_payload(data)
        self._check_length(len(payload))
        self._association.send(
            channel_id,
            protocol_id,
            payload,
            now=now,
            # RFC 8832 §6: nothing may overtake DATA_CHANNEL_OPEN.
            is_ordered=channel.is_ordered or stream.is_unconfirmed,
            max_retransmits=channel.max_retransmits,
            lifetime=channel.lifetime_ms / 1000 if channel.lifetime_ms is not None else None,
            priority=channel.priority,
        )
        self._counts.messages_sent += 1
        self._counts.bytes_sent += len(payload) if data else 0
        self._work(now)

    def close_channel(self, channel_id: int, *, now: float) -> None:
        """Close a channel once what was sent has arrived; messages not taken yet are dropped.

        Does nothing where there is none.
        """
        stream = self._table.get(channel_id)
        if stream is None or stream.channel is None:
            return
        for length in self._apart.pop(channel_id, self._unread).discard(channel_id):
            self._drop(DropReason.UNREAD, length)
        stream.unread = 0
        self._table.close(channel_id)
        self._work(now)

    def set_apart(self, channel_id: int) -> None:
        """Let the messages of a channel wait for whoever polls for its number, as long as it is there."""
        self._apart[channel_id] = self._unread.split(channel_id)

    def close(self, *, now: float) -> None:
        """End the association at once; messages not taken yet are dropped."""
        for unread in (self._unread, *self._apart.values()):
            while (taken := unread.pop()) is not None:
                message, length = taken
                self._drop(DropReason.UNREAD, length)
                self._table.note_read(message.channel_id)
        self._association.abort("the data channels are closed", now=now)
        self._work(now)

    # Output

    def poll_event(self) -> Event | None:
        """Return what happened next."""
        return self._events.popleft() if self._events else None

    def poll_message(self, channel_id: int | None = None) -> Message | None:
        """Return the next message of the peer's, and let it send as much again.

        With a number: of that channel, which was set apart; else of all that were not.
        """
        unread = self._unread if channel_id is None else self._apart.get(channel_id)
        taken = unread.pop() if unread is not None else None
        if taken is None:
            return None
        message, length = taken
        self._association.consume(length)
        self._table.note_read(message.channel_id)
        return message

    def poll_transmit(self) -> bytes | None:
        """Return the next SCTP packet to send."""
        return self._association.poll_transmit()

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` wants to be called."""
        return self._now if self._table.resets else self._association.poll_timeout()

    @property
    def channels(self) -> Mapping[int, Channel]:
        """The channels that can be sent on, by number."""
        return MappingProxyType(self._table.channels)

    def buffered(self, channel_id: int) -> int:
        """Return how many bytes sent on a channel the peer has not acknowledged yet."""
        return self._association.buffered(channel_id)

    def statistics(self) -> DataChannelStatistics:
        """Tell what has been done so far."""
        return self._counts.statistics(channels=len(self._table.channels))

    # Internals

    def _work(self, now: float) -> None:
        """Take what the association says, and have it reset what is to be reset."""
        self._now = now
        while (event := self._association.poll_event()) is not None:
            match event:
                case MessageReceived():
                    self._take(event, now)
                case StreamsReset():
                    self._note_resets(event, now)
                case AssociationEstablished():
                    self._establish(min(event.outbound_streams, event.inbound_streams))
                case AssociationClosed():  # pragma: no branch - there is no other
                    self._end(event)
        if self._table.resets:
            stream_ids = self._table.resets.copy()
            self._table.resets.clear()
            # One that is being shut down takes its channels with it.
            if self._association.is_established or not self._is_established:
                self._association.reset_streams(stream_ids, now=now)

    def _establish(self, stream_limit: int) -> None:
        self._is_established = True
        self._events.append(DataEstablished())
        self._table.limit(stream_limit)
        for channel in self._table.channels.values():
            if channel.is_negotiated:
                self._table.announce(channel)

    def _end(self, event: AssociationClosed) -> None:
        """Close everything, except what our owner has still something to read of."""
        self._is_over = True
        self._table.end()
        self._events.append(DataFailed(detail=event.detail, is_remote=event.is_remote))

    def _note_resets(self, event: StreamsReset, now: float) -> None:
        for stream_id in event.stream_ids:
            stream = self._table.get(stream_id)
            if event.is_remote and stream is not None and stream.is_incoming_reset:
                # It ends the next channel, which so far is only held. Or it is the same reset once more.
                stream.is_next_reset = stream_id in self._early
                continue
            if event.is_remote:
                self._discard_early(stream_id)
            self._table.note_reset(stream_id, is_remote=event.is_remote)
            if stream is not None and self._table.get(stream_id) is None:
                self._take_early(stream_id, now)
                if stream.is_next_reset:
                    self._table.close(stream_id)
                    self._table.note_reset(stream_id, is_remote=True)

    # Internals: what the peer sends

    def _take(self, received: MessageReceived, now: float) -> None:
        stream_id, length = received.stream_id, len(received.data)
        stream = self._table.get(stream_id)
        if stream_id >= self._table.stream_limit:
            self._drop(DropReason.NO_STREAM, length)
        elif stream is not None and stream.is_closing:
            # The peer may know before us that both halves are reset, and use the number for another channel.
            if stream.is_incoming_reset:
                self._hold(received)
            else:
                self._drop(DropReason.CLOSING, length)
        elif received.protocol_id == ProtocolId.ESTABLISHMENT:
            self._association.consume(length)
            if (reason := self._take_establishment(stream_id, stream, received.data, now)) is not None:
                self._counts.dropped[reason] += 1
        elif stream is None:
            # Against RFC 8832 §6, which wants a stream closed that nothing is known of yet: the peer may have
            # negotiated the channel a little earlier than we.
            self._hold(received)
        else:
            self._take_message(stream, received)

    def _take_message(self, stream: Stream, received: MessageReceived) -> None:
        length = len(received.data)
        self._table.confirm(stream)
        try:
            data = decode_payload(received.protocol_id, received.data)
        except WireError:
            # RFC 8831 §6.6: what cannot be understood closes the channel.
            self._drop(DropReason.UNREADABLE, length)
            self._table.close(stream.id)
            return
        unread = self._apart.get(stream.id, self._unread)
        if not unread.push(Message(channel_id=stream.id, data=data), length):
            self._drop(DropReason.TOO_MANY_UNREAD, length)
            self._table.close(stream.id)
            return
        stream.unread += 1
        self._counts.messages_received += 1
        self._counts.bytes_received += length if data else 0

    def _take_establishment(
        self, stream_id: int, stream: Stream | None, data: bytes, now: float
    ) -> DropReason | None:
        """Do what the peer says about a channel, or say why not."""
        try:
            message = decode_establishment(data)
        except WireError:
            self._refuse(stream_id)
            return DropReason.MALFORMED
        if isinstance(message, DataChannelOpen):
            reason = self._accept(stream_id, stream, message, now)
            if reason is not None:
                # RFC 8832 §6: whatever is wrong with an OPEN, the answer is a reset instead of an ACK.
                self._refuse(stream_id)
            return reason
        if stream is None:
            return DropReason.UNEXPECTED_ACK
        self._table.confirm(stream)
        return None

    def _accept(
        self, stream_id: int, stream: Stream | None, message: DataChannelOpen, now: float
    ) -> DropReason | None:
        """Open the channel that the peer asks for, or say why not."""
        if stream is not None:
            return DropReason.STREAM_IN_USE
        if self._table.is_ours(stream_id):
            return DropReason.WRONG_PARITY
        if len(self._table) >= MAX_CHANNELS:
            return DropReason.TOO_MANY_CHANNELS
        try:
            channel = Channel.from_open(stream_id, message)
        except WireError:
            return DropReason.MALFORMED
        try:
            self._send_establishment(channel, DataChannelAck(), now=now)
        except UsageError:
            return DropReason.NO_ROOM
        self._table.announce(channel, is_remote=True)
        self._adopt(channel, now=now)
        return None

    def _refuse(self, stream_id: int) -> None:
        """Close whatever is on a stream because of what the peer sent there."""
        self._discard_early(stream_id)
        self._table.close(stream_id)

    # Internals: the small steps

    def _adopt(self, channel: Channel, *, now: float, is_unconfirmed: bool = False) -> None:
        """Let a channel be, and have what came for it already."""
        self._apart.pop(channel.id, None)  # of the one that had the number before: all of it has been read
        self._table.add(channel, is_unconfirmed=is_unconfirmed)
        self._counts.channels_opened += 1
        self._take_early(channel.id, now)

    def _take_early(self, stream_id: int, now: float) -> None:
        for received in self._early.pop(stream_id):
            self._take(received, now)

    def _hold(self, received: MessageReceived) -> None:
        if not self._early.push(received):
            self._drop(DropReason.TOO_EARLY, len(received.data))
            self._refuse(received.stream_id)

    def _discard_early(self, stream_id: int) -> None:
        for received in self._early.pop(stream_id):
            self._drop(DropReason.TOO_EARLY, len(received.data))

    def _drop(self, reason: DropReason, length: int) -> None:
        self._counts.dropped[reason] += 1
        self._association.consume(length)

    def _check_length(self, length: int) -> None:
        if 0 < self._max_message_size < length:
            raise UsageError(f"a message of {length} bytes, and the peer takes {self._max_message_size}")

    def _send_establishment(
        self, channel: Channel, message: DataChannelOpen | DataChannelAck, *, now: float
    ) -> None:
        # RFC 8832 §6: ordered and reliable, whatever the channel is.
        data = message.encode()
        self._check_length(len(data))
        self._association.send(channel.id, ProtocolId.ESTABLISHMENT, data, now=now, priority=channel.priority)
