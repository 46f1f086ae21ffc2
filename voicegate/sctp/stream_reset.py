"""Streams that begin anew, which is how a data channel closes (RFC 6525, RFC 8831 §6.7).

Either end resets the streams that it sends on: it names them together with its last TSN, and the other says
when all up to there has arrived and the streams are reset. One request is under way at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from voicegate.errors import WireError
from voicegate.sctp.chunk import ChunkType, encode_chunk
from voicegate.sctp.event import StreamsReset
from voicegate.sctp.inbound import Inbound
from voicegate.sctp.outbound import Outbound
from voicegate.sctp.outbox import Outbox
from voicegate.sctp.parameter import Parameter, ParameterType, decode_parameters, encode_parameters
from voicegate.sctp.reconfiguration import AddStreams, IncomingReset, OutgoingReset, Response, Result
from voicegate.sctp.round_trip import RoundTrip
from voicegate.sctp.statistic import DropReason
from voicegate.sctp.tsn import TSN_MASK, extend_tsn

__all__ = ["StreamReset"]

_MAX_STREAMS: Final = 512
"""Streams in one request, which must fit into a packet."""
_MAX_FAILURES: Final = 20
"""Requests without answer in a row, about a minute of them, as for data (RFC 6525 §5.1.1)."""
_MAX_PUT_OFF: Final = 3
"""How often one request is put off before it gets a new number: old libwebrtc, which itself asks with a new
one each time, answers the same number with the same words for ever."""
_SUCCESSES: Final = (Result.NOTHING_TO_DO, Result.PERFORMED)
_REQUESTS: Final = frozenset(
    (
        ParameterType.INCOMING_RESET_REQUEST,
        ParameterType.ASSOCIATION_RESET_REQUEST,
        ParameterType.ADD_OUTGOING_STREAMS,
        ParameterType.ADD_INCOMING_STREAMS,
    )
)


class StreamReset:
    """Requests and answers of both ends, with their timer."""

    def __init__(
        self, *, outbox: Outbox, outbound: Outbound, inbound: Inbound, round_trip: RoundTrip, initial_tsn: int
    ) -> None:
        self._outbox = outbox
        self._outbound = outbound
        self._inbound = inbound
        self._round_trip = round_trip
        self._wanted: dict[int, None] = {}
        """Our streams to be reset, in order."""
        self._request: OutgoingReset | None = None
        self._next_request = initial_tsn
        self._is_put_off = False
        self._put_off = 0
        self._failures = 0
        self._expected = 0
        self._asked_by: int | None = None
        """The peer's request that our next one fulfils."""
        self._deferred: OutgoingReset | None = None
        self._done_late: OutgoingReset | None = None
        """The last request, if it was put off and then done."""
        self._responses: deque[Response] = deque(maxlen=2)
        self._inbound_streams = 0
        self._outbound_streams = 0
        self._is_able = False
        self.deadline: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the peer left a request unanswered for too long."""
        return self._failures > _MAX_FAILURES

    def begin(self, *, initial_tsn: int, inbound_streams: int, outbound_streams: int, is_able: bool) -> None:
        """Learn what the peer's INIT says."""
        self._expected = initial_tsn
        self._inbound_streams = inbound_streams
        self._outbound_streams = outbound_streams
        self._is_able = is_able

    def is_resetting(self, stream_id: int) -> bool:
        """Tell whether one of our streams is on its way to a new beginning."""
        return stream_id in self._wanted or (self._request is not None and stream_id in self._request.streams)

    def reset(self, stream_ids: Iterable[int]) -> None:
        """Want streams of ours reset, after what is queued on them."""
        for stream_id in stream_ids:
            if not self.is_resetting(stream_id):
                self._wanted[stream_id] = None

    def handle_chunk(self, chunk: bytes) -> None:
        """Take a RE-CONFIG chunk."""
        handlers: Mapping[int, Callable[[bytes], Response | None]] = {
            ParameterType.OUTGOING_RESET_REQUEST: self._handle_outgoing,
            ParameterType.INCOMING_RESET_REQUEST: self._handle_incoming,
            ParameterType.ADD_OUTGOING_STREAMS: self._handle_more,
            ParameterType.RECONFIGURATION_RESPONSE: self._handle_response,
        }
        try:
            # At most two are in one chunk (RFC 6525 §3.1).
            for parameter in decode_parameters(chunk[4:])[:2]:
                handle = handlers.get(parameter.type, self._deny)
                if parameter.type not in handlers and parameter.type not in _REQUESTS:
                    self._outbox.drop(DropReason.UNKNOWN_PARAMETER)
                elif (response := handle(parameter.value)) is not None:
                    self._send(response.encode())
        except WireError:
            self._outbox.drop(DropReason.MALFORMED_CHUNK)

    def handle_timeout(self, *, now: float) -> None:
        """Let time pass: an unanswered request is sent again."""
        if self.deadline is None or now < self.deadline or self._request is None:
            return
        if self._is_put_off:
            self._is_put_off = False
            self._put_off += 1
            if self._put_off % _MAX_PUT_OFF == 0:
                self._request = self._request._replace(request=self._take_number())
        else:
            self._failures += 1
            self._round_trip.back_off()
        self._send(self._request.encode())
        self.deadline = now + self._round_trip.timeout

    def advance(self, *, now: float) -> None:
        """Do what has become possible: the peer's request, and our next."""
        deferred = self._deferred
        if deferred is not None and self._has_all(deferred.last_tsn):
            self._deferred = None
            self._done_late = deferred
            self._send(self._answer(self._perform(deferred)).encode())
        if self._wanted and self._request is None:
            self._begin_request(now)

    # Our requests

    def _begin_request(self, now: float) -> None:
        ready = [stream_id for stream_id in self._wanted if not self._outbound.is_waiting(stream_id)]
        ready = ready[:_MAX_STREAMS]
        if not ready:
            return
        for stream_id in ready:
            del self._wanted[stream_id]
        if not self._is_able:
            # The sequence numbers go on, and nobody is asked.
            self._outbox.events.append(StreamsReset(stream_ids=tuple(ready), is_remote=False))
            return
        asked_by, self._asked_by = self._asked_by, None
        self._request = OutgoingReset(
            self._take_number(),
            self._expected - 1 & TSN_MASK if asked_by is None else asked_by,
            self._outbound.last_tsn & TSN_MASK,
            tuple(ready),
        )
        self._send(self._request.encode())
        self.deadline = now + self._round_trip.timeout

    def _handle_response(self, value: bytes) -> None:
        response = Response.decode(value)
        request = self._request
        if request is None or response.request != request.request:
            return
        self._failures = 0
        if response.result in (Result.IN_PROGRESS, Result.ALREADY_IN_PROGRESS):
            self._is_put_off = True
            return
        self._request = None
        self._is_put_off = False
        self._put_off = 0
        self.deadline = None
        if response.result in _SUCCESSES:
            for stream_id in request.streams:
                self._outbound.reset(stream_id)
        self._outbox.events.append(StreamsReset(stream_ids=request.streams, is_remote=False))

    def _take_number(self) -> int:
        number = self._next_request
        self._next_request = number + 1 & TSN_MASK
        return number

    # The peer's requests

    def _handle_outgoing(self, value: bytes) -> Response | None:
        request = OutgoingReset.decode(value)
        if (early := self._check_number(request.request)) is not None:
            return early
        self._deferred = None
        done, self._done_late = self._done_late, None
        if done is not None and done[2:] == request[2:]:
            # Asked anew by who has not heard yet that it is done; the streams may be in use again.
            return self._answer(Response(request.request, Result.PERFORMED))
        if not self._are_streams(request.streams, self._inbound_streams):
            return self._answer(Response(request.request, Result.WRONG_STREAM))
        if not self._has_all(request.last_tsn):
            self._deferred = request
            return self._answer(Response(request.request, Result.IN_PROGRESS))
        return self._answer(self._perform(request))

    def _handle_incoming(self, value: bytes) -> Response | None:
        request = IncomingReset.decode(value)
        if (early := self._check_number(request.request)) is not None:
            return early
        if not self._are_streams(request.streams, self._outbound_streams):
            return self._answer(Response(request.request, Result.WRONG_STREAM))
        if not self._is_able:
            return self._answer(Response(request.request, Result.DENIED))
        # The answer is a request of ours (RFC 6525 §5.2.3).
        self._asked_by = request.request
        self.reset(request.streams or range(self._outbound_streams))
        return self._answer(Response(request.request, Result.IN_PROGRESS))

    def _handle_more(self, value: bytes) -> Response | None:
        request = AddStreams.decode(value)
        if (early := self._check_number(request.request)) is not None:
            return early
        return self._answer(Response(request.request, Result.DENIED))

    def _deny(self, value: bytes) -> Response | None:
        if len(value) < 4:
            raise WireError(f"a request of {len(value)} bytes")
        request = int.from_bytes(value[:4], "big")
        return self._check_number(request) or self._answer(Response(request, Result.DENIED))

    def _check_number(self, request: int) -> Response | None:
        """Return the answer to a request that is not the next one (RFC 6525 §5.2.1)."""
        if request == self._expected:
            self._expected = request + 1 & TSN_MASK
            return None
        for response in reversed(self._responses):
            if response.request == request:
                return response
        return Response(request, Result.BAD_SEQUENCE_NUMBER)

    def _answer(self, response: Response) -> Response:
        """Remember an answer, which a repeated request gets again."""
        self._responses.append(response)
        return response

    def _perform(self, request: OutgoingReset) -> Response:
        streams = request.streams or tuple(range(self._inbound_streams))
        self._inbound.reset(streams)
        self._outbox.events.append(StreamsReset(stream_ids=streams, is_remote=True))
        return Response(request.request, Result.PERFORMED)

    def _has_all(self, last_tsn: int) -> bool:
        cumulative = self._inbound.cumulative_tsn
        return extend_tsn(last_tsn, reference=cumulative) <= cumulative

    def _are_streams(self, stream_ids: Sequence[int], count: int) -> bool:
        return all(stream_id < count for stream_id in stream_ids)

    def _send(self, *parameters: Parameter) -> None:
        self._outbox.add(encode_chunk(ChunkType.RECONFIGURATION, encode_parameters(parameters)))
